/* Walks while the engine computes, on a thread of their own. */
#include "ahead/beside.h"

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>

#include "ahead/runahead_internal.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/thread.h"

/* How many experts of a layer it computes: with none half of what it names is read in vain, and
 * with all it is no faster than an engine that does not wait. So as many as let it stay ahead. Of a
 * token's first layer it computes all that are there: what that layer adds is most of the state. */
static const int experts_of_level[] = {2, 4, UMBRA_MAX_USED};
enum {
    LEVELS = sizeof experts_of_level / sizeof experts_of_level[0],
    STACK_BYTES = 256 << 10,
    THREAD_BYTES =
        100000 /* touched of it, and what belongs to a thread, as the engine counts its */
};
/* Of the engine's time for a layer: if a walked one takes less, more experts are computed; if it
 * takes longer than `late`, fewer. One level more takes about so many times as long. */
static const double early = 0.6, late = 0.9, dearer = 4.0 / 3;
/* It looks for its next walk for so long before it sleeps: about a layer. */
static const uint64_t look_ns = 300000;
static const double recent = 1.0 / 64; /* the newest layer's part in a running mean */
/* Farther than is read for, so that the nearest are named in time again when it begins anew. */
enum { FAR_ENOUGH = UMBRA_MAX_DISTANCE + 2 };
/* The next token is guessed while the engine has so many layers to compute yet. */
enum { GUESS_LAYERS = 2 };
static const double patience = 4; /* walked layers: shorter waits are not walked in */

struct umbra_beside {
    umbra_runahead *runahead;
    trip trip; /* who has the walk: the engine's thread while it is idle, else the own one */
    pthread_t thread;
    bool has_thread;
    /* Running means: of what the engine takes from one layer with experts to the next, and when it
     * came to the last; of a layer that is walked, which the own thread sets. */
    double layer_ns;
    int layer;
    uint64_t routed_ns;
    int level;          /* of experts_of_level */
    bool first;         /* the walk goes from the token's first layer with experts */
    bool alone;         /* the only row of its step */
    atomic_int reached; /* the engine's newest layer */
    int last;           /* the model's last one */
    int reach; /* layers with experts from the engine's newest as far as it walks: never to itself
                  in the next token */
    _Atomic double step_ns;
    atomic_bool busy; /* a walk was begun, and not ended */
    atomic_bool stop; /* the walk is to end */
    atomic_bool asleep;
    atomic_bool quit;
    pthread_mutex_t posts; /* guards a newer state of the walk's row, when it was so, and the
                              walk's end */
    uint64_t posted_clock;
    pthread_mutex_t mutex; /* only to sleep */
    pthread_cond_t woken;
};

bool umbra_beside_is_possible(const umbra_model *model, int threads)
{
    return umbra_system_has_spare(threads) && umbra_walk_goes_beside(model);
}

uint64_t umbra_beside_bytes(const umbra_model *model, int context, int threads)
{
    return umbra_beside_is_possible(model, threads)
               ? sizeof(umbra_beside) + THREAD_BYTES + umbra_walk_bytes_beside(model, context)
               : 0;
}

/* ---- the thread ---- */

/* From the engine's newest layer, if it has come to another. Called with the lock of posts. */
static bool renew(umbra_beside *b)
{
    if (!umbra_walk_renew(b->trip.walk))
        return false;
    b->first = false;
    b->trip.source = umbra_walk_layer(b->trip.walk);
    b->trip.clock = b->posted_clock;
    return true;
}

/* Behind the token's last layer: on into the next token, which is guessed once. It must be time
 * enough for that, since the engine waits for the walk at the step's end. */
static bool cross(umbra_beside *b)
{
    trip *at = &b->trip;
    next_token *n = &at->next;
    umbra_walk_next said;
    if (!b->alone || umbra_walk_tokens(at->walk) > 0)
        return false;
    if (n->guess.position != at->position + 1) {
        if (atomic_load_explicit(&b->reached, memory_order_relaxed) > b->last - GUESS_LAYERS ||
            !umbra_walk_guess(at->walk, &said))
            return false;
        *n = umbra_trip_guess(at, &said);
    }
    return umbra_walk_token(at->walk, n->guess.best) && umbra_walk_step(at->walk);
}

/* One layer on, and what is foretold there. */
static bool go_on(umbra_beside *b)
{
    uint64_t start_ns = umbra_clock_ns();
    double step_ns = atomic_load_explicit(&b->step_ns, memory_order_relaxed);
    if (umbra_walk_distance(b->trip.walk) >= b->reach)
        return false;
    umbra_walk_limit(b->trip.walk, b->first && umbra_walk_distance(b->trip.walk) == 0
                                       ? UMBRA_MAX_USED
                                       : experts_of_level[b->level]);
    if (!umbra_walk_step(b->trip.walk))
        return cross(b) && (umbra_runahead_foretell(b->runahead, &b->trip), true);
    umbra_runahead_foretell(b->runahead, &b->trip);
    if (umbra_walk_was_new(b->trip.walk)) {
        step_ns += ((double)(umbra_clock_ns() - start_ns) - step_ns) * recent;
        atomic_store_explicit(&b->step_ns, step_ns, memory_order_relaxed);
    }
    return true;
}

static void walk(umbra_beside *b)
{
    for (bool more = true; more;) {
        more = !atomic_load_explicit(&b->stop, memory_order_relaxed) && go_on(b);
        pthread_mutex_lock(&b->posts);
        more = !atomic_load_explicit(&b->stop, memory_order_relaxed) && (renew(b) || more);
        if (!more)
            atomic_store_explicit(&b->busy, false, memory_order_release);
        pthread_mutex_unlock(&b->posts);
    }
}

static void sleep_until_woken(umbra_beside *b)
{
    pthread_mutex_lock(&b->mutex);
    atomic_store(&b->asleep, true);
    while (!atomic_load(&b->busy) && !atomic_load(&b->quit))
        pthread_cond_wait(&b->woken, &b->mutex);
    atomic_store(&b->asleep, false);
    pthread_mutex_unlock(&b->mutex);
}

static void *work(void *beside)
{
    umbra_beside *b = beside;
    uint64_t idle_since_ns = umbra_clock_ns();
    while (!atomic_load(&b->quit)) {
        if (atomic_load_explicit(&b->busy, memory_order_acquire)) {
            walk(b);
            idle_since_ns = umbra_clock_ns();
        } else if (umbra_clock_ns() - idle_since_ns > look_ns) {
            sleep_until_woken(b);
            idle_since_ns = umbra_clock_ns();
        }
    }
    return NULL;
}

static void wake(umbra_beside *b)
{
    if (!atomic_load(&b->asleep))
        return;
    pthread_mutex_lock(&b->mutex);
    pthread_cond_signal(&b->woken);
    pthread_mutex_unlock(&b->mutex);
}

/* ---- the engine's thread ---- */

/* The step is over: what the walk reads of its sequence may change from now on. */
static void end_walk(void *beside)
{
    umbra_beside *b = beside;
    atomic_store_explicit(&b->stop, true, memory_order_relaxed);
    while (atomic_load_explicit(&b->busy, memory_order_acquire))
        sched_yield();
    atomic_store_explicit(&b->stop, false, memory_order_relaxed);
    umbra_runahead_take_guess(b->runahead, &b->trip);
    b->trip.next.guess.position = -1;
}

static void take_layer(umbra_beside *b, int layer)
{
    uint64_t now_ns = umbra_clock_ns();
    if (layer > b->layer) /* else a chunk has begun since */
        b->layer_ns += ((double)(now_ns - b->routed_ns) - b->layer_ns) * recent;
    b->layer = layer;
    b->routed_ns = now_ns;
}

/* No walk is under way. A level's time is guessed from the other's until it is measured. */
static void choose_level(umbra_beside *b)
{
    double step_ns = atomic_load_explicit(&b->step_ns, memory_order_relaxed);
    if (b->layer_ns <= 0 || step_ns <= 0)
        return;
    if (step_ns < early * b->layer_ns && b->level + 1 < LEVELS) {
        b->level++;
        step_ns *= dearer;
    } else if (step_ns > late * b->layer_ns && b->level > 0) {
        b->level--;
        step_ns /= dearer;
    }
    atomic_store_explicit(&b->step_ns, step_ns, memory_order_relaxed);
}

/* Nothing is known of the first walks: then it is taken to be. */
static bool is_faster(const umbra_beside *b)
{
    double step_ns = atomic_load_explicit(&b->step_ns, memory_order_relaxed);
    return b->layer_ns <= 0 || step_ns < b->layer_ns;
}

bool umbra_beside_suffices(const umbra_beside *b, double wait_ns)
{
    double step_ns = atomic_load_explicit(&b->step_ns, memory_order_relaxed);
    return is_faster(b) && wait_ns < patience * step_ns;
}

/* A walk that is under way is told the newest state of its row. False: there is none. */
static bool post(umbra_beside *b, const umbra_rows *rows)
{
    if (!atomic_load_explicit(&b->busy, memory_order_acquire))
        return false;
    pthread_mutex_lock(&b->posts);
    bool busy = atomic_load_explicit(&b->busy, memory_order_acquire);
    if (busy && b->alone && is_faster(b) && umbra_walk_takes_posts(b->trip.walk)) {
        umbra_walk_post(b->trip.walk, rows, 0);
        b->posted_clock = umbra_store_clock(umbra_engine_store(b->runahead->engine));
    }
    pthread_mutex_unlock(&b->posts);
    return busy;
}

void umbra_beside_begin(umbra_beside *b, const umbra_rows *rows)
{
    bool first = rows->layer <= b->layer;
    take_layer(b, rows->layer);
    atomic_store_explicit(&b->reached, rows->layer, memory_order_relaxed);
    if (post(b, rows))
        return;
    choose_level(b);
    int turns = 0;
    if ((!first && !is_faster(b)) || !umbra_trip_turn(&b->trip, rows, false, &turns))
        return;
    b->first = first;
    b->alone = rows->n == 1;
    b->trip.source = rows->layer;
    b->trip.clock = umbra_store_clock(umbra_engine_store(b->runahead->engine));
    umbra_trip_begin(&b->trip, rows, UMBRA_TAP_ROUTED);
    atomic_store(&b->busy, true);
    wake(b);
}

int umbra_beside_open(umbra_beside **out, umbra_runahead *runahead, umbra_error *err)
{
    umbra_engine *engine = runahead->engine;
    *out = NULL;
    if (umbra_engine_ranks(engine) > 1 ||
        !umbra_beside_is_possible(umbra_engine_model(engine),
                                  umbra_engine_get_plan(engine)->threads))
        return UMBRA_OK;
    umbra_beside *b = umbra_calloc(1, sizeof *b);
    if (!b)
        return umbra_fail_nomem(err, "walks on a core to spare", sizeof *b);
    b->runahead = runahead;
    b->layer = INT_MAX;
    b->trip.next.guess.position = -1;
    b->trip.source = -1;
    b->reach = runahead->whole - 1 < FAR_ENOUGH ? runahead->whole - 1 : FAR_ENOUGH;
    b->last = umbra_engine_model(engine)->config.layers - 1;
    pthread_mutex_init(&b->posts, NULL);
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->woken, NULL);
    int rc = umbra_walk_open_beside(&b->trip.walk, engine, err);
    if (rc == UMBRA_OK) {
        umbra_walk_take_known(b->trip.walk, true);
        umbra_walk_take_experts(b->trip.walk, true);
        b->has_thread = umbra_thread_start(&b->thread, work, b, STACK_BYTES) == 0;
    }
    if (!b->has_thread) {
        umbra_beside_close(&b);
        return rc;
    }
    umbra_engine_attach_end(engine, end_walk, b);
    *out = b;
    return UMBRA_OK;
}

void umbra_beside_close(umbra_beside **beside)
{
    umbra_beside *b = *beside;
    if (!b)
        return;
    if (b->has_thread) {
        umbra_engine_attach_end(b->runahead->engine, NULL, NULL);
        end_walk(b);
        atomic_store(&b->quit, true);
        wake(b);
        pthread_join(b->thread, NULL);
    }
    umbra_walk_close(&b->trip.walk);
    pthread_cond_destroy(&b->woken);
    pthread_mutex_destroy(&b->posts);
    pthread_mutex_destroy(&b->mutex);
    umbra_free(b);
    *beside = NULL;
}

/* Walks while the engine waits, and foretells what the walk names. */
#include "ahead/runahead_internal.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"

/* Layers with experts behind which a walk has done its work in a wait, twice as many as are read
 * for. While there is time it goes on all the same, as far as a whole token: what it names there is
 * read when it has come near enough, without being walked to once more, and not evicted until then.
 */
enum { FAR_ENOUGH = 2 * UMBRA_MAX_DISTANCE };

/* How many experts of a layer a walk computes. Where waits are short, a walk that leaves them out
 * gets far enough to be of use, at 40 % of a layer's cost; where the disk is the bottleneck there
 * is time for the real ones, which name more of what is missing. */
static const int experts_of_level[] = {0, 2, UMBRA_MAX_USED};
enum { LEVELS = sizeof experts_of_level / sizeof experts_of_level[0] };
/* Of these a walk takes attention from the walks before it, where there are such: what is short is
 * time. */
enum { HURRIED_LEVELS = LEVELS - 1 };
/* Of the waits on each level, if so many let the walk come far enough: do more; */
static const float enough[LEVELS - 1] = {0.6f, 0.9f};
static const float too_few = 0.08f;    /* if so few do: do less */
static const float recent = 1.0f / 64; /* the newest wait's part in that share */

/* What that share is taken to be when a level begins. */
static float first_share(int level)
{
    return (enough[level < LEVELS - 1 ? level : 0] + too_few) / 2;
}

/* Rows of floats and bytes that belong to it beside the walk. */
static uint64_t table_bytes(const umbra_model *model, int sequences)
{
    const umbra_config *c = &model->config;
    return (uint64_t)sequences * ((uint64_t)c->layers * ((uint64_t)c->experts + sizeof(foretold)) +
                                  sizeof(next_token)) +
           (uint64_t)c->experts * (2 * sizeof(float) + 1) + sizeof(umbra_runahead);
}

uint64_t umbra_runahead_bytes(const umbra_model *model, int context, int threads, int sequences)
{
    return umbra_walk_bytes(model, context, threads) + umbra_beside_bytes(model, context, threads) +
           table_bytes(model, sequences > 0 ? sequences : 1);
}

static int open_tables(umbra_runahead *r, const umbra_model *model, umbra_error *err)
{
    size_t layers = (size_t)model->config.layers, experts = (size_t)model->config.experts;
    size_t sequences = (size_t)r->sequences, rows = sequences * layers;
    r->foretold = umbra_calloc(rows, sizeof *r->foretold);
    r->steps = umbra_calloc((rows + 1) * experts, sizeof *r->steps);
    r->next = umbra_calloc(sequences, sizeof *r->next);
    r->probability = umbra_calloc(experts, sizeof *r->probability);
    r->order = umbra_calloc(experts, sizeof *r->order);
    if (!r->foretold || !r->steps || !r->next || !r->probability || !r->order)
        return umbra_fail_nomem(err, "running ahead", table_bytes(model, r->sequences));
    for (size_t i = 0; i < rows; i++)
        r->foretold[i].row.step = r->steps + i * experts;
    r->unlearnt.step = r->steps + rows * experts;
    for (size_t i = 0; i < sequences; i++)
        r->next[i].guess.position = -1;
    return UMBRA_OK;
}

int umbra_runahead_open(umbra_runahead **out, umbra_engine *engine, umbra_recall *recall,
                        umbra_error *err)
{
    *out = NULL;
    const umbra_model *model = umbra_engine_model(engine);
    umbra_runahead *r = umbra_calloc(1, sizeof *r);
    if (!r)
        return umbra_fail_nomem(err, "running ahead", sizeof *r);
    r->engine = engine;
    r->recall = recall;
    r->sequences = umbra_engine_sequences(engine);
    r->whole = model->info.moe_layers;
    r->trip.source = r->waits_in = r->pending.position = -1;
    r->ended = first_share(0);
    umbra_margins_init(&r->margins);
    pthread_mutex_init(&r->names, NULL);
    int rc = open_tables(r, model, err);
    if (rc == UMBRA_OK)
        rc = umbra_walk_open(&r->trip.walk, engine, err);
    if (rc == UMBRA_OK)
        rc = umbra_beside_open(&r->beside, r, err);
    if (rc != UMBRA_OK) {
        umbra_runahead_close(&r);
        return rc;
    }
    *out = r;
    return UMBRA_OK;
}

void umbra_runahead_close(umbra_runahead **runahead)
{
    umbra_runahead *r = *runahead;
    if (!r)
        return;
    umbra_beside_close(&r->beside);
    umbra_walk_close(&r->trip.walk);
    umbra_free(r->foretold);
    umbra_free(r->steps);
    umbra_free(r->next);
    umbra_free(r->probability);
    umbra_free(r->order);
    pthread_mutex_destroy(&r->names);
    umbra_free(r);
    *runahead = NULL;
}

/* ---- what has come true ---- */

/* What the layer that waited last has waited in all, walks included; another one comes. */
static void take_wait(umbra_runahead *r, int layer)
{
    uint64_t waited_ns = umbra_store_waited_ns(umbra_engine_store(r->engine)) + r->stats.predict_ns;
    if (r->waits_in >= 0)
        r->wait_ns += ((double)(waited_ns - r->waits_ns) - r->wait_ns) * recent;
    r->waits_ns = waited_ns;
    r->waits_in = layer;
}

void umbra_runahead_enter(umbra_runahead *r, const umbra_rows *rows)
{
    take_wait(r, -1);
    r->trip.source = r->pending.position = -1;
    for (int t = 0; t < rows->n; t++) {
        next_token *n = &r->next[rows->tokens[t].sequence];
        if (n->guess.position == rows->position[t])
            umbra_calibration_add(&r->guessed, 0, n->said, n->guess.best == rows->tokens[t].id);
        n->guess.position = -1;
    }
}

static foretold *foretold_of(umbra_runahead *r, int sequence, int layer)
{
    int layers = umbra_engine_model(r->engine)->config.layers;
    return &r->foretold[(size_t)sequence * (size_t)layers + (size_t)layer];
}

/* What was foretold of the layer has come true or not, unless it was of another token. */
static void learn(umbra_runahead *r, const umbra_rows *rows, int t)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    foretold *f = foretold_of(r, rows->tokens[t].sequence, rows->layer);
    bool same = f->position == rows->position[t] && (f->id < 0 || f->id == rows->tokens[t].id);
    if (same)
        umbra_margins_learn(&r->margins, &f->row, c->experts,
                            rows->experts + (size_t)t * (size_t)c->experts_used, c->experts_used);
    f->row.distance = 0;
}

/* ---- walking ---- */

/* How likely the token is into which the walk has gone. */
static float surety(const umbra_runahead *r, const next_token *n)
{
    return umbra_calibration_apply(&r->guessed, 0, n->said);
}

/* Where the token itself is a guess, its experts are as likely as that; else any may be. */
static void temper(const umbra_config *c, float sure, float *probability)
{
    float any = (float)c->experts_used / (float)c->experts;
    for (int e = 0; e < c->experts; e++)
        probability[e] = sure * probability[e] + (1 - sure) * any;
}

/* Whether the layer is foretold already by a walk from as near, for the token at the position. */
static bool is_known(const foretold *f, int position, int distance)
{
    return f->row.distance > 0 && f->position == position && f->distance <= distance;
}

/* From where the trip is, probability (experts) by what its router says, or 0 and 1 where the id of
 * the token names the experts. */
static void rate(umbra_runahead *r, const trip *at, umbra_margin_row *row)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    const int32_t *experts = umbra_walk_experts(at->walk);
    bool named = umbra_engine_token_experts(r->engine, umbra_walk_layer(at->walk), 0) != NULL;
    if (!named) {
        umbra_margins_foretell(&r->margins, c->router.gating, umbra_walk_scores(at->walk),
                               umbra_walk_preference(at->walk), c->experts, c->experts_used,
                               umbra_walk_distance(at->walk), umbra_walk_missing(at->walk),
                               r->order, r->probability, row);
        return;
    }
    memset(r->probability, 0, (size_t)c->experts * sizeof *r->probability);
    for (int j = 0; j < c->experts_used; j++)
        r->probability[experts[j]] = 1;
    row->distance = 0; /* nothing is to be learnt of it */
}

static void foretell(umbra_runahead *r, const trip *at)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    int layer = umbra_walk_layer(at->walk), distance = umbra_walk_distance(at->walk);
    int tokens = umbra_walk_tokens(at->walk), position = at->position + tokens;
    foretold *f = foretold_of(r, at->sequence, layer);
    if (is_known(f, position, distance))
        return;
    f->position = position;
    f->id = tokens > 0 ? at->next.guess.best : -1;
    f->distance = distance;
    rate(r, at, &f->row);
    if (tokens > 0)
        temper(c, surety(r, &at->next), r->probability);
    const umbra_recall_place place = {at->sequence, layer, distance, tokens > 0,
                                      at->clock + (uint64_t)distance};
    umbra_store_foretell(umbra_engine_store(r->engine), at->sequence, layer, distance, place.due,
                         r->probability);
    if (r->recall)
        umbra_recall_name(r->recall, &place, umbra_walk_experts(at->walk));
    r->stats.predictions++;
}

bool umbra_trip_turn(trip *at, const umbra_rows *rows, bool drafts, int *turns)
{
    while (*turns < rows->n) {
        ++*turns;
        at->row = (at->row + 1) % rows->n;
        if (!rows->prompt[at->row] && (drafts || !umbra_is_draft(rows, at->row)))
            return true;
    }
    return false;
}

void umbra_trip_begin(trip *at, const umbra_rows *rows, umbra_tap_place place)
{
    at->sequence = rows->tokens[at->row].sequence;
    at->position = rows->position[at->row];
    umbra_walk_begin(at->walk, rows, at->row, place);
}

void umbra_runahead_foretell(umbra_runahead *r, const trip *at)
{
    pthread_mutex_lock(&r->names);
    foretell(r, at);
    pthread_mutex_unlock(&r->names);
}

/* Of the layer to which the trip has come, for a token that is a draft, of the sequence's next step
 * or of this one: it is computed there whatever becomes of it, and joins what was foretold of the
 * rows before it from as far. */
static void foretell_draft(umbra_runahead *r, const trip *at, int distance)
{
    pthread_mutex_lock(&r->names);
    rate(r, at, &r->unlearnt);
    umbra_store_foretell(umbra_engine_store(r->engine), at->sequence, umbra_walk_layer(at->walk),
                         distance, at->clock + (uint64_t)distance, r->probability);
    r->stats.predictions++;
    pthread_mutex_unlock(&r->names);
}

void umbra_runahead_routed(umbra_runahead *r, const umbra_rows *rows)
{
    pthread_mutex_lock(&r->names);
    for (int t = 0; t < rows->n; t++)
        if (!umbra_is_draft(rows, t))
            learn(r, rows, t);
    pthread_mutex_unlock(&r->names);
}

void umbra_runahead_beside(umbra_runahead *r, const umbra_rows *rows)
{
    if (r->beside)
        umbra_beside_begin(r->beside, rows);
}

next_token umbra_trip_guess(const trip *at, const umbra_walk_next *said)
{
    return (next_token){{.best = said->best,
                         .second = said->second,
                         .second_probability = said->second_probability,
                         .position = at->position + 1,
                         .layer = at->source},
                        said->probability};
}

void umbra_runahead_take_guess(umbra_runahead *r, const trip *at)
{
    next_token *n = &r->next[at->sequence];
    if (at->source >= 0 && at->next.guess.position == at->position + 1 &&
        (n->guess.position != at->next.guess.position || n->guess.layer < at->next.guess.layer))
        *n = at->next;
}

/* Whether a guess of the token at the position is on its way, of the trip's sequence. */
static bool is_pending(const umbra_runahead *r, const trip *at, int position)
{
    return r->pending.position == position && r->pending.sequence == at->sequence;
}

/* The trip is behind the last layer: whether a guess is to be made here, or has been begun in an
 * earlier wait. One from a later layer is the better one, but no other's is given up for it. */
static bool is_to_guess(umbra_runahead *r, const trip *at, int position, const next_token *n)
{
    if (r->pending.position >= 0)
        return is_pending(r, at, position);
    if (n->guess.position == position && n->guess.layer >= at->source)
        return false;
    if (!umbra_walk_guess_begin(at->walk))
        return false;
    r->pending = (pending_guess){at->sequence, position, at->source};
    return true;
}

/* A piece of it. False: it is not done yet. */
static bool guess_on(umbra_runahead *r, const trip *at, next_token *n)
{
    umbra_walk_next said;
    if (!umbra_walk_guess_on(at->walk, &said))
        return false;
    if (said.best >= 0) {
        *n = umbra_trip_guess(at, &said);
        n->guess.layer = r->pending.layer; /* where the walk began that guessed */
    }
    r->pending.position = -1;
    return true;
}

/* Whether the row is one of a text whose drafts are checked, or such a draft: what the next step
 * begins with is open then. */
static bool is_checked(const umbra_rows *rows, int t)
{
    return umbra_is_draft(rows, t) || (t + 1 < rows->n && umbra_is_draft(rows, t + 1));
}

/* Behind the token's last layer: into the next one, as far as it is guessed. False: there is
 * nothing more to do. */
static bool cross(umbra_runahead *r, const umbra_rows *rows, trip *at)
{
    next_token *n = &r->next[rows->tokens[at->row].sequence];
    int position = rows->position[at->row] + 1;
    if (umbra_walk_tokens(at->walk) > 0 || is_checked(rows, at->row))
        return false;
    if (is_to_guess(r, at, position, n) && !guess_on(r, at, n))
        return true;
    at->next = *n;
    return n->guess.position == position && umbra_walk_token(at->walk, n->guess.best);
}

/* One layer on, at most to this distance, and what is foretold there; or a piece of a guess. False:
 * it goes no further. */
static bool go_on(umbra_runahead *r, const umbra_rows *rows, trip *at, int reach)
{
    if (at->source < 0 || umbra_walk_distance(at->walk) >= reach)
        return false;
    if (!umbra_walk_step(at->walk))
        return cross(r, rows, at);
    if (umbra_is_draft(rows, at->row))
        foretell_draft(r, at, umbra_walk_distance(at->walk));
    else
        umbra_runahead_foretell(r, at);
    return true;
}

/* The walk of the next row that decodes, of those that had no turn in this layer. */
static bool next_row(umbra_runahead *r, const umbra_rows *rows)
{
    if (!umbra_trip_turn(&r->trip, rows, umbra_walk_takes_drafts(r->trip.walk), &r->turns))
        return false;
    umbra_trip_begin(&r->trip, rows, UMBRA_TAP_WAIT);
    return true;
}

/* A layer's waits are over: whether walks get far enough to do more, or should do less. */
static void choose_level(umbra_runahead *r)
{
    bool ended = !r->more || umbra_walk_distance(r->trip.walk) >= FAR_ENOUGH;
    r->ended += recent * ((ended ? 1.0f : 0.0f) - r->ended);
    int level = r->level;
    if (level + 1 < LEVELS && r->ended > enough[level])
        level++;
    else if (r->ended < too_few && level > 0)
        level--;
    if (level != r->level)
        r->ended = first_share(level);
    r->level = level;
    umbra_walk_limit(r->trip.walk, experts_of_level[level]);
    umbra_walk_take_known(r->trip.walk, level < HURRIED_LEVELS);
}

void umbra_runahead_wait(umbra_runahead *r, const umbra_rows *rows)
{
    umbra_store *store = umbra_engine_store(r->engine);
    uint64_t start_ns = umbra_clock_ns();
    if (r->waits_in != rows->layer)
        take_wait(r, rows->layer);
    if (r->beside && umbra_beside_suffices(r->beside, r->wait_ns))
        return;
    if (r->trip.source != rows->layer) {
        choose_level(r);
        r->trip.source = rows->layer;
        r->trip.clock = umbra_store_clock(store);
        r->turns = 0;
        r->more = next_row(r, rows);
    }
    /* Of several rows each is to have its turn. */
    int reach = rows->n > 1 ? UMBRA_MAX_DISTANCE : r->whole;
    while (r->more && !umbra_store_ready(store))
        r->more = go_on(r, rows, &r->trip, reach) || next_row(r, rows);
    r->stats.predict_ns += umbra_clock_ns() - start_ns;
}

/* ---- guesses of tokens ---- */

bool umbra_runahead_get_guess(const umbra_runahead *r, int sequence, umbra_token_guess *out)
{
    if (sequence < 0 || sequence >= r->sequences ||
        r->next[sequence].guess.position != umbra_engine_length(r->engine, sequence))
        return false; /* what it was guessed behind may have been cut off */
    *out = r->next[sequence].guess;
    out->probability = surety(r, &r->next[sequence]);
    return true;
}

int umbra_runahead_draft(umbra_runahead *r, int sequence, int32_t id, int n, umbra_token_guess *out)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    int have = 0;
    if (sequence < 0 || sequence >= r->sequences || id < 0 || id >= c->vocabulary)
        return 0;
    int position = umbra_engine_length(r->engine, sequence);
    umbra_walk_limit(r->trip.walk, UMBRA_MAX_USED); /* the next wait sets its own */
    umbra_walk_take_known(r->trip.walk, false);
    r->trip.clock = umbra_store_clock(umbra_engine_store(r->engine));
    r->trip.sequence = sequence;
    bool there = umbra_walk_begin_token(r->trip.walk, sequence, position, id);
    while (there && have < n) {
        umbra_walk_next said;
        /* Tokens that are to be checked: what they need in the next step, layer by layer. */
        for (int distance = 1; umbra_walk_step(r->trip.walk); distance++)
            foretell_draft(r, &r->trip, distance);
        if (!umbra_walk_guess(r->trip.walk, &said))
            break;
        have++;
        out[have - 1] = (umbra_token_guess){.best = said.best,
                                            .second = said.second,
                                            .probability = said.probability,
                                            .second_probability = said.second_probability,
                                            .position = position + have,
                                            .layer = -1};
        there = umbra_walk_token(r->trip.walk, said.best);
    }
    return have;
}

void umbra_runahead_get_stats(const umbra_runahead *r, umbra_runner_stats *out)
{
    *out = r->stats;
}

/* Runs nets. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "grammar/automaton.h"

enum {
    UNKNOWN = -3,
    MOST_DEPTH = 256,      /* of calls: what would nest deeper may not come */
    MOST_PLACES = 1 << 14, /* of a state */
    TABLE = 256
};

/* A stack of calls: where to go on, and the stack below. Stack 0 is empty. */
typedef struct frame {
    int next, below, depth;
} frame;

/* A node that reads a byte, and the stack there. */
typedef struct place {
    int node, stack;
} place;

typedef struct state {
    int first, n; /* of its places */
    bool ends;
    int *to; /* (256) UNKNOWN: not looked at yet */
} state;

/* Numbers by hash: slots hold an index + 1, or 0. */
typedef struct numbering {
    int *slots; /* (mask + 1) */
    uint32_t mask;
    int count;
} numbering;

struct umbra_automaton {
    const umbra_net *net;
    frame *frames;
    int n_frames, frames_room;
    numbering frames_by;
    place *places; /* of all states */
    int n_places, places_room;
    state *states;
    int n_states, states_room;
    numbering states_by;
    place *work; /* (MOST_PLACES) the state in work, and what is still to be followed */
    int n_work;
    place *todo;
    int n_todo;
    numbering seen;
    int start;
    bool failed;
};

/* ---- indexes ---- */

static uint32_t mix(uint32_t hash, uint32_t x)
{
    hash = (hash ^ x) * 0x9e3779b1u;
    return hash ^ hash >> 15;
}

static bool index_open(numbering *x)
{
    *x = (numbering){.slots = umbra_calloc(TABLE, sizeof *x->slots), .mask = TABLE - 1};
    return x->slots != NULL;
}

/* Room for one more; hash(user, i) tells where entry i belongs. */
static bool index_grow(numbering *x, uint32_t (*hash)(const umbra_automaton *a, int i),
                       const umbra_automaton *a)
{
    if ((uint32_t)x->count * 2 < x->mask)
        return true;
    uint32_t mask = x->mask * 2 + 1;
    int *slots = umbra_calloc((size_t)mask + 1, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; i <= x->mask; i++) {
        if (x->slots[i] == 0)
            continue;
        uint32_t at = hash(a, x->slots[i] - 1) & mask;
        while (slots[at] != 0)
            at = (at + 1) & mask;
        slots[at] = x->slots[i];
    }
    umbra_free(x->slots);
    x->slots = slots;
    x->mask = mask;
    return true;
}

/* ---- stacks ---- */

static uint32_t frame_hash(const umbra_automaton *a, int i)
{
    return mix(mix(1, (uint32_t)a->frames[i].next), (uint32_t)a->frames[i].below);
}

/* Doubles an array that is full. */
static bool make_room(void **list, int n, int *room, size_t size)
{
    if (n < *room)
        return true;
    int larger = 2 * *room + 64;
    void *p = umbra_reallocarray(*list, (size_t)larger, size);
    if (!p)
        return false;
    *list = p;
    *room = larger;
    return true;
}

/* The stack with one call more; -1: too deep, or no memory (a->failed). */
static int push(umbra_automaton *a, int below, int next)
{
    if (a->frames[below].depth == MOST_DEPTH)
        return -1;
    uint32_t at = mix(mix(1, (uint32_t)next), (uint32_t)below) & a->frames_by.mask;
    for (; a->frames_by.slots[at] != 0; at = (at + 1) & a->frames_by.mask) {
        const frame *f = &a->frames[a->frames_by.slots[at] - 1];
        if (f->next == next && f->below == below)
            return a->frames_by.slots[at] - 1;
    }
    if (!make_room((void **)&a->frames, a->n_frames, &a->frames_room, sizeof *a->frames)) {
        a->failed = true;
        return -1;
    }
    a->frames[a->n_frames] = (frame){next, below, a->frames[below].depth + 1};
    a->frames_by.slots[at] = a->n_frames + 1;
    a->frames_by.count++;
    if (!index_grow(&a->frames_by, frame_hash, a))
        a->failed = true;
    return a->n_frames++;
}

/* ---- states ---- */

static uint32_t places_hash(const place *p, int n, bool ends)
{
    uint32_t hash = ends ? 7 : 3;
    for (int i = 0; i < n; i++)
        hash = mix(mix(hash, (uint32_t)p[i].node), (uint32_t)p[i].stack);
    return hash;
}

static uint32_t state_hash(const umbra_automaton *a, int i)
{
    const state *s = &a->states[i];
    return places_hash(a->places + s->first, s->n, s->ends);
}

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    return (x->stack > y->stack) - (x->stack < y->stack);
}

/* Keeps the places of a->work as a new state. */
static int keep_state(umbra_automaton *a, uint32_t at, bool ends)
{
    int *to = umbra_calloc(TABLE, sizeof *to);
    bool room = to && make_room((void **)&a->states, a->n_states, &a->states_room, sizeof(state));
    for (int i = 0; room && i < a->n_work; i++) {
        room = make_room((void **)&a->places, a->n_places, &a->places_room, sizeof(place));
        if (room)
            a->places[a->n_places++] = a->work[i];
    }
    if (!room) {
        umbra_free(to);
        a->failed = true;
        return AUTOMATON_NO_MEMORY;
    }
    for (int i = 0; i < TABLE; i++)
        to[i] = UNKNOWN;
    a->states[a->n_states] =
        (state){.first = a->n_places - a->n_work, .n = a->n_work, .ends = ends, .to = to};
    a->states_by.slots[at] = a->n_states + 1;
    a->states_by.count++;
    if (!index_grow(&a->states_by, state_hash, a))
        a->failed = true;
    return a->n_states++;
}

static int find_state(umbra_automaton *a, bool ends)
{
    if (a->n_work == 0 && !ends)
        return AUTOMATON_DEAD;
    qsort(a->work, (size_t)a->n_work, sizeof *a->work, by_place);
    uint32_t at = places_hash(a->work, a->n_work, ends) & a->states_by.mask;
    for (; a->states_by.slots[at] != 0; at = (at + 1) & a->states_by.mask) {
        const state *s = &a->states[a->states_by.slots[at] - 1];
        if (s->n == a->n_work && s->ends == ends &&
            memcmp(a->places + s->first, a->work, (size_t)s->n * sizeof *a->work) == 0)
            return a->states_by.slots[at] - 1;
    }
    return keep_state(a, at, ends);
}

/* ---- following ---- */

static uint32_t todo_hash(const umbra_automaton *a, int i)
{
    return places_hash(&a->todo[i], 1, false);
}

/* Adds a place to be followed, unless it was met. */
static void meet(umbra_automaton *a, int node, int stack)
{
    place p = {node, stack};
    if (node < 0 || stack < 0 || !a->net->nodes[node].lives || a->n_todo == MOST_PLACES)
        return;
    uint32_t at = places_hash(&p, 1, false) & a->seen.mask;
    for (; a->seen.slots[at] != 0; at = (at + 1) & a->seen.mask)
        if (by_place(&a->todo[a->seen.slots[at] - 1], &p) == 0)
            return;
    a->todo[a->n_todo++] = p;
    a->seen.slots[at] = a->n_todo;
    a->seen.count++;
    if (!index_grow(&a->seen, todo_hash, a))
        a->failed = true;
}

static void forget(umbra_automaton *a)
{
    if (a->seen.count > 0)
        memset(a->seen.slots, 0, ((size_t)a->seen.mask + 1) * sizeof *a->seen.slots);
    a->seen.count = a->n_todo = a->n_work = 0;
}

/* From the places met to all that read a byte. Returns the state. */
static int close_over(umbra_automaton *a)
{
    bool ends = false;
    for (int i = 0; i < a->n_todo && !a->failed; i++) {
        place p = a->todo[i];
        const net_node *n = &a->net->nodes[p.node];
        switch ((net_kind)n->kind) {
        case NET_BYTES:
            a->work[a->n_work++] = p;
            break;
        case NET_CALL:
            meet(a, n->other, push(a, p.stack, n->next));
            break;
        case NET_SPLIT:
            meet(a, n->next, p.stack);
            meet(a, n->other, p.stack);
            break;
        case NET_RETURN:
            ends = ends || p.stack == 0;
            if (p.stack > 0)
                meet(a, a->frames[p.stack].next, a->frames[p.stack].below);
        }
    }
    return a->failed ? AUTOMATON_NO_MEMORY : find_state(a, ends);
}

int umbra_automaton_step(umbra_automaton *a, int from, unsigned char byte)
{
    const state *s = &a->states[from];
    if (s->to[byte] != UNKNOWN)
        return s->to[byte];
    forget(a);
    for (int i = 0; i < s->n; i++) {
        place p = a->places[s->first + i];
        const net_node *n = &a->net->nodes[p.node];
        if (a->net->sets[n->other].bits[byte / 64] >> byte % 64 & 1)
            meet(a, n->next, p.stack);
    }
    int to = a->n_todo > 0 ? close_over(a) : AUTOMATON_DEAD;
    if (to != AUTOMATON_NO_MEMORY)
        a->states[from].to[byte] = to;
    return to;
}

int umbra_automaton_enter(umbra_automaton *a, int rule)
{
    forget(a);
    meet(a, rule, 0);
    return a->n_todo > 0 ? close_over(a) : AUTOMATON_DEAD;
}

/* ---- opening ---- */

umbra_automaton *umbra_automaton_open(const umbra_net *net, int rule)
{
    umbra_automaton *a = umbra_calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->net = net;
    a->work = umbra_calloc(MOST_PLACES, sizeof *a->work);
    a->todo = umbra_calloc(MOST_PLACES, sizeof *a->todo);
    bool whole = a->work && a->todo && index_open(&a->frames_by) && index_open(&a->states_by) &&
                 index_open(&a->seen) &&
                 make_room((void **)&a->frames, 0, &a->frames_room, sizeof *a->frames);
    if (whole) {
        a->frames[0] = (frame){-1, -1, 0};
        a->n_frames = 1;
        a->start = umbra_automaton_enter(a, rule);
    }
    if (!whole || a->failed) {
        umbra_automaton_close(a);
        return NULL;
    }
    return a;
}

void umbra_automaton_close(umbra_automaton *a)
{
    if (!a)
        return;
    for (int i = 0; i < a->n_states; i++)
        umbra_free(a->states[i].to);
    umbra_free(a->states);
    umbra_free(a->places);
    umbra_free(a->frames);
    umbra_free(a->frames_by.slots);
    umbra_free(a->states_by.slots);
    umbra_free(a->seen.slots);
    umbra_free(a->work);
    umbra_free(a->todo);
    umbra_free(a);
}

int umbra_automaton_start(const umbra_automaton *a)
{
    return a->start;
}

bool umbra_automaton_ends(const umbra_automaton *a, int s)
{
    return a->states[s].ends;
}

int umbra_automaton_states(const umbra_automaton *a)
{
    return a->n_states;
}

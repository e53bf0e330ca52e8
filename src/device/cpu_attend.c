/* Attention of rows over what they see. Tokens of one sequence that follow each other are a tile:
 * their query heads go through the cache together, block by block of positions, so that keys and
 * values are read and expanded once for all of them. Each query head joins its blocks in the order
 * of positions. So it gets the same bits in every tile, and where blocks are shared by the threads,
 * as they are where there are few tokens. */
#include <math.h>
#include <string.h>

#include "device/device.h"

enum {
    BLOCK = UMBRA_ATTEND_BLOCK,
    PARTS = 2,           /* of what a row sees: its layer's positions, and pooled rows */
    LEAST_SHARED = 4,    /* blocks of a tile from which on it pays to share them */
    LEAST_JOINED = 8192, /* values of the blocks that a piece joins */
    LEAST_HEADS = 4,     /* that go through the cache together where threads are left over */
};

typedef struct attend_run {
    const umbra_kernels *kernels;
    const umbra_attend_step *s;
    int group;  /* query heads of a key/value head */
    int pieces; /* of a group */
    int tiles;
    int tile_rows; /* most query heads of a tile's piece */
    /* Where blocks are shared: those of every tile that are under way. */
    int first, wave;
} attend_run;

/* Query heads [head, head + heads) of a tile's tokens. */
typedef struct piece {
    int first, tokens; /* rows of the step */
    int kv_head, head, heads;
} piece;

/* Positions from `first` on, before `end`. */
typedef struct stretch {
    int first, end;
} stretch;

static piece find_piece(const attend_run *run, int item)
{
    const umbra_attend_step *s = run->s;
    int per_tile = s->form->heads * run->pieces, tile = item / per_tile;
    piece p = {.first = s->room->tiles[tile]};
    p.tokens = s->room->tiles[tile + 1] - p.first;
    p.kv_head = item % per_tile / run->pieces;
    int from = item % run->pieces * s->together, left = run->group - from;
    p.head = p.kv_head * run->group + from;
    p.heads = left < s->together ? left : s->together;
    return p;
}

static bool has_picks(const umbra_attend_step *s, int t)
{
    return s->picks && s->picks->n[t] > 0;
}

static const int32_t *find_picks(const umbra_picks *p, int t, int kv_head)
{
    return umbra_picks_of(p, t, p->lists > 1 ? kv_head : 0);
}

/* Positions of a row's picks: of a view's units the last may have fewer than the others. */
static int count_picked(const umbra_attend_step *s, int t, int kv_head)
{
    const umbra_picks *p = s->picks;
    const umbra_kv_view *v = s->pooled_form ? &s->pooled_view[t] : &s->view[t];
    int last = find_picks(p, t, kv_head)[p->n[t] - 1];
    int missing = (last + 1) * p->positions - umbra_kv_positions(v);
    return p->n[t] * p->positions - (missing > 0 ? missing : 0);
}

/* What a row sees: positions; or, where it has picks, places in the list of all that it sees, which
 * is its first part. */
static stretch find_seen(const umbra_attend_step *s, int t, int kv_head, int part)
{
    if (has_picks(s, t)) {
        int own = s->pooled_form ? umbra_kv_positions(&s->view[t]) : 0;
        return (stretch){0, part == 0 ? own + count_picked(s, t, kv_head) : 0};
    }
    if (part == 1 && !s->pooled_form)
        return (stretch){0, 0};
    const umbra_kv_view *v = part == 0 ? &s->view[t] : &s->pooled_view[t];
    return (stretch){v->first, v->kept + v->extras};
}

/* Of all tokens together: later ones begin and end later. */
static stretch find_tile_seen(const umbra_attend_step *s, const piece *p, int part)
{
    return (stretch){find_seen(s, p->first, p->kv_head, part).first,
                     find_seen(s, p->first + p->tokens - 1, p->kv_head, part).end};
}

static int count_blocks(stretch seen)
{
    return seen.first < seen.end ? (seen.end + BLOCK - 1) / BLOCK - seen.first / BLOCK : 0;
}

static int count_all_blocks(const umbra_attend_step *s, const piece *p)
{
    return count_blocks(find_tile_seen(s, p, 0)) + count_blocks(find_tile_seen(s, p, 1));
}

/* Of any key/value head: lists of picks need not be equally long in positions. */
static int count_most_blocks(const umbra_attend_step *s, piece p)
{
    int most = 0;
    for (p.kv_head = 0; p.kv_head < s->form->heads; p.kv_head++) {
        int blocks = count_all_blocks(s, &p);
        most = blocks > most ? blocks : most;
    }
    return most;
}

/* A block of what a tile sees, and the tokens that see something of it. */
typedef struct place {
    int part;
    int begin;    /* where it begins, a multiple of BLOCK */
    stretch seen; /* of it, by any token */
    int token, tokens;
} place;

static stretch find_common(stretch a, stretch b)
{
    return (stretch){a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};
}

static place find_place(const umbra_attend_step *s, const piece *p, int block)
{
    stretch all = find_tile_seen(s, p, 0);
    int part = block < count_blocks(all) ? 0 : 1;
    if (part == 1) {
        block -= count_blocks(all);
        all = find_tile_seen(s, p, 1);
    }
    place at = {.part = part, .begin = (all.first / BLOCK + block) * BLOCK};
    at.seen = find_common(all, (stretch){at.begin, at.begin + BLOCK});
    for (int t = 0; t < p->tokens; t++) {
        stretch own = find_common(find_seen(s, p->first + t, p->kv_head, part), at.seen);
        if (own.first >= own.end)
            continue;
        at.token = at.tokens > 0 ? at.token : t;
        at.tokens = t + 1 - at.token;
    }
    return at;
}

/* All that a row with picks sees; returns how many runs. */
static int list_picked(const umbra_attend_step *s, int t, int kv_head, umbra_kv_run *runs)
{
    const umbra_picks *p = s->picks;
    const int32_t *units = find_picks(p, t, kv_head);
    int n = 0;
    if (!s->pooled_form)
        return umbra_kv_picked_runs(s->form, &s->view[t], kv_head, units, p->n[t], p->positions,
                                    runs);
    n = umbra_kv_runs(s->form, &s->view[t], kv_head, runs);
    return n + umbra_kv_picked_runs(s->pooled_form, &s->pooled_view[t], kv_head, units, p->n[t],
                                    p->positions, runs + n);
}

/* Of n runs what lies in [first, end) of their positions, one behind the other. */
static int cut_runs(const umbra_attend_step *s, const umbra_kv_run *all, int n, stretch part,
                    umbra_kv_run *runs)
{
    const umbra_kv_form *f = s->form;
    size_t key = (size_t)f->key * f->unit, value = (f->value ? (size_t)f->value : (size_t)f->key);
    int cut = 0;
    value *= f->unit;
    for (int r = 0, at = 0; r < n; at += all[r++].positions) {
        stretch own = find_common((stretch){at, at + all[r].positions}, part);
        if (own.first >= own.end)
            continue;
        size_t skipped = (size_t)(own.first - at);
        runs[cut++] = (umbra_kv_run){(const char *)all[r].k + skipped * key,
                                     (const char *)all[r].v + skipped * value, own.end - own.first};
    }
    return cut;
}

static int find_runs(const umbra_attend_step *s, const piece *p, const place *at,
                     umbra_kv_run *runs, int worker)
{
    int last = p->first + p->tokens - 1;
    if (has_picks(s, last)) {
        umbra_kv_run *all = s->runs + (size_t)worker * (size_t)s->runs_stride;
        return cut_runs(s, all, list_picked(s, last, p->kv_head, all), at->seen, runs);
    }
    const umbra_kv_form *form = at->part == 0 ? s->form : s->pooled_form;
    const umbra_kv_view *view = at->part == 0 ? &s->view[last] : &s->pooled_view[last];
    return umbra_kv_runs_of(form, view, p->kv_head, at->seen.first, at->seen.end, runs);
}

/* What the piece's query heads get of a block; parts (tokens of the tile, heads). */
static void attend_block(const attend_run *run, const piece *p, const place *at,
                         umbra_attend_row *parts, int worker)
{
    const umbra_attend_step *s = run->s;
    umbra_kv_run runs[BLOCK];
    for (int i = 0; i < at->tokens * p->heads; i++) {
        int t = p->first + at->token + i / p->heads;
        stretch own = find_common(find_seen(s, t, p->kv_head, at->part), at->seen);
        size_t row = (size_t)(t * s->heads + p->head + i % p->heads);
        umbra_attend_row *part = &parts[at->token * p->heads + i];
        part->q = s->q + row * (size_t)s->form->key;
        part->from = own.first - at->begin;
        part->to = own.end - at->begin;
    }
    umbra_attend a = {
        .runs = runs,
        .n_runs = find_runs(s, p, at, runs, worker),
        .first = at->seen.first - at->begin,
        .rows = parts + at->token * p->heads,
        .n_rows = at->tokens * p->heads,
        .head_dim = s->form->key,
        .value_dim = s->value_dim,
        .value_stride = s->form->value ? s->form->value : s->form->key,
        .scale = s->scale,
        .scratch = s->room->blocks + (size_t)worker * s->room->block_stride,
    };
    run->kernels->attend(&a);
}

/* The state of a query head, the r-th of the piece, before its first block. */
static umbra_attend_row begin_row(const umbra_attend_step *s, const piece *p, int r)
{
    int head = p->head + r % p->heads;
    size_t row = (size_t)((p->first + r / p->heads) * s->heads + head);
    umbra_attend_row total = {.mixed = s->out->f32 + row * (size_t)s->value_dim};
    total.most = s->sinks ? s->sinks[head] : -INFINITY;
    total.sum = s->sinks ? 1 : 0;
    memset(total.mixed, 0, (size_t)s->value_dim * sizeof *total.mixed);
    return total;
}

static void end_row(const attend_run *run, const umbra_attend_row *total)
{
    const umbra_attend_step *s = run->s;
    float inverse = (float)(1 / total->sum);
    for (int i = 0; i < s->value_dim; i++)
        total->mixed[i] *= inverse;
    if (s->round_heads)
        umbra_round_rows(run->kernels, s->out, (int)((total->mixed - s->out->f32) / s->value_dim),
                         1);
}

/* Where the parts of some of a step's query heads are, with room for what they mix. */
static umbra_attend_row *find_parts(const umbra_attend_room *room, size_t first, int n)
{
    umbra_attend_row *parts = room->parts + first;
    for (int i = 0; i < n; i++)
        parts[i].mixed = room->mixed + (first + (size_t)i) * room->width;
    return parts;
}

/* All blocks of a piece. */
static void attend_piece(const attend_run *run, const piece *p, int worker)
{
    const umbra_attend_step *s = run->s;
    size_t first = (size_t)worker * UMBRA_ATTEND_ROWS;
    umbra_attend_row *parts = find_parts(s->room, first, p->tokens * p->heads);
    umbra_attend_row *totals = s->room->totals + first;
    for (int r = 0; r < p->tokens * p->heads; r++)
        totals[r] = begin_row(s, p, r);
    for (int b = 0, blocks = count_all_blocks(s, p); b < blocks; b++) {
        place at = find_place(s, p, b);
        attend_block(run, p, &at, parts, worker);
        for (int r = at.token * p->heads; r < (at.token + at.tokens) * p->heads; r++)
            run->kernels->join(&totals[r], &parts[r], s->value_dim);
    }
    for (int r = 0; r < p->tokens * p->heads; r++)
        end_row(run, &totals[r]);
}

/* Items are the pieces of all tiles; the last tiles, which see most, first. */
static void attend_pieces(void *context, int begin, int end, int worker)
{
    const attend_run *run = context;
    int items = run->tiles * run->s->form->heads * run->pieces;
    for (int i = begin; i < end; i++) {
        piece p = find_piece(run, items - 1 - i);
        attend_piece(run, &p, worker);
    }
}

/* Items are blocks of the wave, piece by piece. */
static void attend_blocks(void *context, int begin, int end, int worker)
{
    const attend_run *run = context;
    const umbra_attend_room *room = run->s->room;
    for (int i = begin; i < end; i++) {
        piece p = find_piece(run, i / run->wave);
        int block = run->first + i % run->wave;
        if (block >= count_all_blocks(run->s, &p))
            continue;
        place at = find_place(run->s, &p, block);
        size_t first = (size_t)i * (size_t)run->tile_rows;
        attend_block(run, &p, &at, find_parts(room, first, p.tokens * p.heads), worker);
    }
}

/* Items are query heads of all pieces: what the wave's blocks gave joins what was before. */
static void join_wave(void *context, int begin, int end, int worker)
{
    (void)worker;
    const attend_run *run = context;
    const umbra_attend_step *s = run->s;
    for (int i = begin; i < end; i++) {
        int item = i / run->tile_rows, r = i % run->tile_rows;
        piece p = find_piece(run, item);
        if (r >= p.tokens * p.heads)
            continue;
        umbra_attend_row *total = &s->room->totals[i];
        if (run->first == 0)
            *total = begin_row(s, &p, r);
        int blocks = count_all_blocks(s, &p), last = run->first + run->wave;
        for (int b = run->first; b < last && b < blocks; b++) {
            place at = find_place(s, &p, b);
            int slot = (item * run->wave + b - run->first) * run->tile_rows + r;
            if (r / p.heads >= at.token && r / p.heads < at.token + at.tokens)
                run->kernels->join(total, &s->room->parts[slot], s->value_dim);
        }
        if (blocks > run->first && blocks <= last)
            end_row(run, total);
    }
}

/* Few pieces of many blocks: the threads share blocks, as many at a time as there is room for. */
static void share_blocks(const umbra_device *d, attend_run *run, int items, int most)
{
    int joined = LEAST_JOINED / (run->wave * run->s->value_dim);
    int grain = joined > 4 ? joined : 4;
    for (run->first = 0; run->first < most; run->first += run->wave) {
        umbra_device_run(d, items * run->wave, 1, attend_blocks, run);
        umbra_device_run(d, items * run->tile_rows, grain, join_wave, run);
    }
}

/* Whether row t can go through the cache with the one before. */
static bool follows(const umbra_attend_step *s, int t)
{
    const umbra_kv_view *v = &s->view[t], *before = v - 1;
    return v->page == before->page && v->extras == 0 && before->extras == 0 &&
           v->kept > before->kept && !has_picks(s, t) && !has_picks(s, t - 1);
}

static int make_tiles(const umbra_attend_step *s, int rows)
{
    int limit = UMBRA_ATTEND_ROWS / s->together, tiles = 0;
    for (int t = 0; t < rows; t++)
        if (t == 0 || t - s->room->tiles[tiles - 1] == limit || !follows(s, t))
            s->room->tiles[tiles++] = t;
    s->room->tiles[tiles] = rows;
    return tiles;
}

/* Positions that a row sees, pooled rows included. */
static uint64_t count_seen(const umbra_attend_step *s, int t)
{
    stretch own = find_seen(s, t, 0, 0), pooled = find_seen(s, t, 0, 1);
    return (uint64_t)(own.end - own.first + pooled.end - pooled.first);
}

static void count_work(umbra_profiler *profiler, const umbra_attend_step *s, int rows)
{
    const umbra_kv_form *f = s->form;
    uint64_t positions = 0, kept = (uint64_t)(f->key + f->value) * f->unit * (uint64_t)f->heads;
    for (int t = 0; t < rows; t++)
        positions += count_seen(s, t);
    uint64_t per_position = (uint64_t)s->heads * (uint64_t)(f->key + s->value_dim);
    uint64_t seen = rows > 0 ? count_seen(s, rows - 1) : 0;
    umbra_profiler_count(profiler, seen * kept, positions * per_position);
}

static int count_pieces(attend_run *run)
{
    run->pieces = (run->group + run->s->together - 1) / run->s->together;
    return run->tiles * run->s->form->heads * run->pieces;
}

/* Single tokens that see little: fewer heads to a piece, so that no thread is without one. */
static int spread_heads(attend_run *run, umbra_attend_step *s, int items, int threads)
{
    int heads = (s->together * items + threads - 1) / threads;
    heads = heads < LEAST_HEADS ? LEAST_HEADS : heads;
    if (heads < s->together)
        s->together = heads;
    return count_pieces(run);
}

void umbra_device_attend(const umbra_device *d, const umbra_attend_step *s, int rows)
{
    umbra_attend_step own = *s;
    attend_run run = {.kernels = d->kernels, .s = &own, .group = s->heads / s->form->heads};
    if (d->profiler)
        count_work(d->profiler, s, rows);
    run.tiles = make_tiles(s, rows);
    int items = count_pieces(&run), most = 0;
    for (int i = 0; i < run.tiles; i++) {
        piece p = find_piece(&run, i * s->form->heads * run.pieces);
        int blocks = count_most_blocks(s, p), rows_of = p.tokens * s->together;
        most = blocks > most ? blocks : most;
        run.tile_rows = rows_of > run.tile_rows ? rows_of : run.tile_rows;
    }
    if (items < d->threads && most < LEAST_SHARED && run.tiles == rows)
        items = spread_heads(&run, &own, items, d->threads);
    if (d->threads > 1 && items < 2 * d->threads && most >= LEAST_SHARED)
        run.wave = d->threads * UMBRA_ATTEND_ROWS / (items * run.tile_rows);
    if (run.wave > most)
        run.wave = most;
    if (run.wave > 1)
        share_blocks(d, &run, items, most);
    else
        umbra_device_run(d, items, 1, attend_pieces, &run);
}

/* Many rows times many tokens for AMX: strips of panels, which share what is prepared of the
 * tokens. */
#ifndef UMBRA_KERNELS_X86_AMX_STRIP_H
#define UMBRA_KERNELS_X86_AMX_STRIP_H

#include "kernels/x86/amx_floats.h"

enum {
    STRIP_PANELS = 16,
    STRIP_GROUPS = 8,            /* that pass over a strip; their sums are on the stack */
    LEAST_TOKENS = GROUP_TOKENS, /* fewer are faster with AVX-512 */
};

typedef void load_group_fn(token_group *to, const umbra_matmul *m, int token, int tokens, int size,
                           size_t at, int parts);

/* A weight type as the strips see it. */
typedef struct strip_type {
    const row_type *rows;
    /* fill_panel of the type. */
    void (*fill)(panel *w, const umbra_matmul *m, int row, int rows, size_t part);
    load_group_fn *load_group;
    add_group_fn *const *add_group;
    bool floats;
} strip_type;

/* Sums of a strip: of each panel, the groups. */
typedef panel_sums strip_sums[STRIP_PANELS][STRIP_GROUPS];

/* Some rows times some tokens. */
typedef struct strip {
    const umbra_matmul *m;
    const strip_type *type;
    int row, rows, panels;
    int token, tokens, groups;
} strip;

UMBRA_INLINE int group_tokens(const strip *s, int group)
{
    return umbra_min_int(GROUP_TOKENS, s->tokens - group * GROUP_TOKENS);
}

static void clear_sums(strip_sums sums, const strip *s)
{
    for (int i = 0; i < s->panels; i++) {
        memset(sums[i], 0, (size_t)s->groups * sizeof sums[i][0]);
    }
}

static void store_strip(strip_sums sums, const strip *s)
{
    for (int t = 0; t < s->tokens; t++) {
        float *out = umbra_output(s->m, s->token + t, s->row);
        for (int i = 0; i < s->panels; i++, out += LANE_ROWS) {
            const float *from = sums[i][t / GROUP_TOKENS][t % GROUP_TOKENS];
            store_sums(out, _mm512_loadu_ps(from), s->rows - i * LANE_ROWS);
        }
    }
}

static void multiply_strip(const strip *s)
{
    size_t all = (size_t)s->m->x->columns / UMBRA_Q16_BLOCK;
    strip_sums sums;
    panel w[STRIP_PANELS];
    token_group x;
    int size = 0;
    clear_sums(sums, s);
    for (size_t part = 0; part < all; part += PARTS) {
        int parts = all - part < PARTS ? (int)(all - part) : PARTS;
        for (int i = 0; i < s->panels; i++) {
            int first = i * LANE_ROWS;
            s->type->fill(&w[i], s->m, s->row + first, umbra_min_int(LANE_ROWS, s->rows - first),
                          part);
        }
        for (int g = 0; g < s->groups; g++) {
            int tokens = group_tokens(s, g), fours = (tokens + 3) / 4;
            if (4 * fours != size) {
                set_tiles(size = 4 * fours, s->type->floats);
            }
            s->type->load_group(&x, s->m, s->token + g * GROUP_TOKENS, tokens, size, part, parts);
            for (int i = 0; i < s->panels; i++) {
                s->type->add_group[fours - 1](sums[i][g], &w[i], &x, parts);
            }
        }
    }
    store_strip(sums, s);
}

/* A block of tokens stays in the second-level cache while the strips of the rows go by. */
static void matmul_strips(const umbra_matmul *m, int row_begin, int row_end, const strip_type *type)
{
    strip s = {.m = m, .type = type};
    for (; s.token < m->tokens; s.token += s.tokens) {
        s.tokens = umbra_min_int(STRIP_GROUPS * GROUP_TOKENS, m->tokens - s.token);
        s.groups = (s.tokens + GROUP_TOKENS - 1) / GROUP_TOKENS;
        for (s.row = row_begin; s.row < row_end; s.row += s.rows) {
            s.rows = umbra_min_int(STRIP_PANELS * LANE_ROWS, row_end - s.row);
            s.panels = (s.rows + LANE_ROWS - 1) / LANE_ROWS;
            multiply_strip(&s);
        }
    }
    UMBRA_TILES_RELEASE();
}

#endif

/* Many rows times many tokens for AMX: strips of panels, which share what is prepared of the
 * tokens. */
#ifndef UMBRA_KERNELS_X86_AMX_STRIP_H
#define UMBRA_KERNELS_X86_AMX_STRIP_H

#include "kernels/x86/amx_panel.h"

enum {
    STRIP_PANELS = 4,
    STRIP_GROUPS = 8, /* that pass over a strip; their sums are on the stack */
    FEW_TOKENS = 3,   /* so many and fewer are multiplied without tile registers */
};

/* A weight type as the strips see it. */
typedef struct strip_type {
    const byte_type *unit;
    /* unpack_lines of the type. */
    void (*unpack)(panel_lines *to, const uint8_t *from, uint64_t row_bytes, int rows,
                   const chunk *c, const uint8_t *stream);
    add_group_fn *const *add_group;
    add_token_fn *add_token;
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

/* Rows of panel i, from byte `from` of each. */
static void unpack_panel(panel_lines *to, const strip *s, int i, size_t from, const chunk *c)
{
    const uint8_t *w = umbra_weight_row(s->m, s->row);
    int first = i * PANEL_ROWS;
    size_t before = from * (size_t)s->rows + (size_t)first * (size_t)(c->units * c->bytes);
    s->type->unpack(to, w + (uint64_t)first * s->m->row_bytes + from, s->m->row_bytes,
                    umbra_min_int(PANEL_ROWS, s->rows - first), c, w + before);
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
        for (int i = 0; i < s->panels; i++, out += PANEL_ROWS) {
            const float *from = sums[i][t / GROUP_TOKENS][t % GROUP_TOKENS];
            int rows = umbra_min_int(PANEL_ROWS, s->rows - i * PANEL_ROWS);
            if (rows == PANEL_ROWS) {
                copy_floats(out, from, PANEL_ROWS);
            } else {
                memcpy(out, from, (size_t)rows * sizeof *out);
            }
        }
    }
}

static void multiply_strip(const strip *s)
{
    size_t parts = (size_t)s->m->x->columns / UMBRA_Q16_BLOCK, byte = 0, at = 0;
    strip_sums sums;
    panel w[STRIP_PANELS];
    panel_lines lines;
    token_group x;
    bool half_sums = s->type->unit->halves && s->type->unit->offset;
    int size = 0;
    clear_sums(sums, s);
    while (at < parts) {
        chunk c = choose_chunk(parts - at, s->type->unit);
        int of_chunk = c.units * c.parts;
        for (int i = 0; i < s->panels; i++) {
            unpack_panel(&lines, s, i, byte, &c);
            turn_lines(&w[i], &lines, of_chunk, s->type->unit);
        }
        for (int g = 0; g < s->groups; g++) {
            int tokens = group_tokens(s, g), fours = (tokens + 3) / 4;
            if (4 * fours != size) {
                set_tiles(size = 4 * fours, s->type->unit->halves);
            }
            load_group(&x, s->m, s->token + g * GROUP_TOKENS, tokens, size, at, of_chunk,
                       half_sums);
            for (int i = 0; i < s->panels; i++) {
                s->type->add_group[fours - 1](sums[i][g], &w[i], &x, of_chunk);
            }
        }
        at += (size_t)of_chunk;
        byte += (size_t)(c.units * c.bytes);
    }
    store_strip(sums, s);
}

/* Too few tokens to repay the turning. */
static void multiply_few(const strip *s)
{
    size_t parts = (size_t)s->m->x->columns / UMBRA_Q16_BLOCK, byte = 0, at = 0;
    strip_sums sums;
    panel_lines w;
    square number[2];
    token_group x;
    bool half_sums = s->type->unit->halves && s->type->unit->offset;
    clear_sums(sums, s);
    while (at < parts) {
        chunk c = choose_chunk(parts - at, s->type->unit);
        int of_chunk = c.units * c.parts;
        load_group(&x, s->m, s->token, s->tokens, s->tokens, at, of_chunk, half_sums);
        for (int i = 0; i < s->panels; i++) {
            unpack_panel(&w, s, i, byte, &c);
            turn_all_numbers(number, w.number, s->type->unit);
            for (int t = 0; t < s->tokens; t++) {
                s->type->add_token(sums[i][0][t], &w, number[0][0], &x, t, of_chunk);
            }
        }
        at += (size_t)of_chunk;
        byte += (size_t)(c.units * c.bytes);
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
            s.rows = umbra_min_int(STRIP_PANELS * PANEL_ROWS, row_end - s.row);
            s.panels = (s.rows + PANEL_ROWS - 1) / PANEL_ROWS;
            if (s.tokens <= FEW_TOKENS) {
                multiply_few(&s);
            } else {
                multiply_strip(&s);
            }
        }
    }
    if (m->tokens > FEW_TOKENS && row_begin < row_end) {
        UMBRA_TILES_RELEASE();
    }
}

#endif

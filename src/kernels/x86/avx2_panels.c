/* Products of quantised weights with many tokens for AVX2: every type's panel (avx2_panel.h). */
#include "kernels/x86/avx2_grid_columns.h"
#include "kernels/x86/avx2_panel.h"

typedef struct column_type {
    void (*load_numbers)(unit_numbers *n, const lane_units *u, int parts);
    /* The same of one part, which takes its turn with unpacking then; NULL: there is none. */
    void (*load_part_numbers)(unit_numbers *n, const lane_units *u, int p);
    void (*load_bits)(unit_bits *b, const lane_units *u);
    void (*fill_columns)(part_pairs *to, const lane_units *u, const unit_bits *b, int first);
    int bytes; /* of a unit */
    int group; /* parts that fill_columns unpacks */
} column_type;

/* By blocks of a unit. */
#define PART_NUMBERS_1(name) NULL
#define PART_NUMBERS_4(name) part_numbers_##name
#define part_numbers_nvfp4   NULL
#define DEFINE_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)             \
    static const column_type type_##name = {                                                       \
        .load_numbers = numbers_##name,                                                            \
        .load_part_numbers = PART_NUMBERS_##blocks(name),                                          \
        .load_bits = bits_##name,                                                                  \
        .fill_columns = columns_##name,                                                            \
        .bytes = UMBRA_##TYPE##_BYTES * PARTS / UMBRA_##TYPE##_PARTS,                              \
        .group = (blocks) > 1 ? 1 : (parts_at_once),                                               \
    };
UMBRA_BLOCK_UNITS(DEFINE_TYPE)

/* `parts` parts of a unit of eight rows. */
UMBRA_INLINE void fill_unit(panel *to, int unit, int strip, const lane_units *u, int parts,
                            const column_type *type)
{
    unit_bits bits;
    unit_numbers *n = &to->numbers[unit][strip];
    if (!type->load_part_numbers) {
        type->load_numbers(n, u, parts);
    }
    type->load_bits(&bits, u);
    for (int first = 0; first < parts; first += type->group) {
        if (type->load_part_numbers) {
            type->load_part_numbers(n, u, first);
        }
        part_pairs *w = to->w + unit * PARTS + first;
        type->fill_columns((part_pairs *)(void *)&(*w)[0][strip], u, &bits, first);
    }
}

/* Asks for the bytes that come `ahead` behind those of each row; into the second-level cache, as
 * the first is full. */
UMBRA_INLINE void prefetch_units(const lane_units *u, uintptr_t ahead, int bytes)
{
    for (int r = 0; r < LANE_ROWS; r++) {
        for (int at = 0; at < bytes; at += UMBRA_CACHE_LINE) {
            uintptr_t from = (uintptr_t)u->at[r] + ahead + (uintptr_t)at;
            __builtin_prefetch((const void *)from, 0, 2);
        }
    }
}

/* Rows beyond the last repeat it. The next panel's parts lie `ahead` behind this one's. */
UMBRA_INLINE void fill_panel(panel *to, const umbra_matmul *m, int row, int rows, size_t part,
                             int parts, uintptr_t ahead, const column_type *type)
{
    const uint8_t *from = umbra_weight_row(m, row) + part / PARTS * (size_t)type->bytes;
    for (int k = 0; k < PANEL_STRIPS && k * LANE_ROWS < rows; k++) {
        lane_units u;
        for (int r = 0; r < LANE_ROWS; r++) {
            u.at[r] = from;
            from += k * LANE_ROWS + r + 1 < rows ? m->row_bytes : 0;
        }
        for (int first = 0; first < parts; first += PARTS) {
            const int here = umbra_min_int(PARTS, parts - first);
            prefetch_units(&u, ahead, type->bytes * here / PARTS);
            fill_unit(to, first / PARTS, k, &u, here, type);
            for (int r = 0; r < LANE_ROWS; r++) {
                u.at[r] += type->bytes;
            }
        }
    }
}

typedef void fill_panel_fn(panel *to, const umbra_matmul *m, int row, int rows, size_t part,
                           int parts, uintptr_t ahead);

typedef struct panel_type {
    fill_panel_fn *fill;
    size_t bytes; /* of a unit */
    bool halves, offset;
} panel_type;

#define DEFINE_FILL(TYPE, name, halves, offset)                                                    \
    static void fill_##name(panel *to, const umbra_matmul *m, int row, int rows, size_t part,      \
                            int parts, uintptr_t ahead)                                            \
    {                                                                                              \
        fill_panel(to, m, row, rows, part, parts, ahead, &type_##name);                            \
    }
UMBRA_BLOCK_TYPES(DEFINE_FILL)

#define PANEL_TYPE(TYPE, name, halves, offset)                                                     \
    [UMBRA_##TYPE] = {fill_##name, UMBRA_##TYPE##_BYTES * PARTS / UMBRA_##TYPE##_PARTS, halves,    \
                      offset},
static const panel_type types[UMBRA_DTYPE_COUNT] = {UMBRA_BLOCK_TYPES(PANEL_TYPE)};

static void find_half_sums(panel_span *s, const umbra_matmul *m)
{
    const __m256i one = _mm256_set1_epi16(1);
    for (int t = s->token; t < s->token_end; t++) {
        size_t from = umbra_token_row(m, t) * (size_t)m->x->columns + s->part * UMBRA_Q16_BLOCK;
        const int16_t *q = m->x->q + from;
        for (size_t i = 0; i < 2 * (s->part_end - s->part); i += 8, q += 8 * UMBRA_HALF_PART) {
            __m256i of[8];
            UMBRA_UNROLL(8)
            for (int h = 0; h < 8; h++) {
                const int16_t *half = q + h * UMBRA_HALF_PART;
                of[h] = _mm256_madd_epi16(load_32((const uint8_t *)half), one);
            }
            __m256i front =
                _mm256_hadd_epi32(_mm256_hadd_epi32(of[0], of[1]), _mm256_hadd_epi32(of[2], of[3]));
            __m256i back =
                _mm256_hadd_epi32(_mm256_hadd_epi32(of[4], of[5]), _mm256_hadd_epi32(of[6], of[7]));
            __m256i all = _mm256_add_epi32(_mm256_permute2x128_si256(front, back, 0x20),
                                           _mm256_permute2x128_si256(front, back, 0x31));
            _mm256_storeu_ps(s->half[t - s->token] + i, _mm256_cvtepi32_ps(all));
        }
    }
}

/* The span's tokens over the panel. */
static void pass_tokens(const umbra_matmul *m, const panel *w, const panel_span *s, int row,
                        int rows, size_t part, int parts, const panel_type *type,
                        const struct umbra_avx2_groups *by)
{
    for (int token = s->token; token < s->token_end;) {
        int left = s->token_end - token;
        int count = left == MOST_TOKENS ? 1 : (left + GROUP_TOKENS - 1) / GROUP_TOKENS;
        int tokens = (left + count - 1) / count;
        by->of[type->halves][type->offset][tokens](m, w, s, row, rows, token, part, parts);
        token += tokens;
    }
}

static void pass_rows(const umbra_matmul *m, const panel_span *s, int row, int rows,
                      const panel_type *type, const struct umbra_avx2_groups *by)
{
    for (size_t part = s->part; part < s->part_end; part += PANEL_PARTS) {
        bool last = s->part_end - part <= PANEL_PARTS;
        int parts = last ? (int)(s->part_end - part) : PANEL_PARTS;
        uintptr_t ahead = last ? PANEL_ROWS * m->row_bytes - (part - s->part) / PARTS * type->bytes
                               : PANEL_UNITS * type->bytes;
        panel w;
        type->fill(&w, m, row, rows, part, parts, ahead);
        pass_tokens(m, &w, s, row, rows, part, parts, type, by);
    }
}

void umbra_avx2_pass_panels(const umbra_matmul *m, int row_begin, int row_end, umbra_dtype dtype,
                            const struct umbra_avx2_groups *by)
{
    const panel_type *type = &types[dtype];
    const size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    int blocks = (m->tokens + PANEL_TOKENS - 1) / PANEL_TOKENS;
    panel_span s;
    s.token_end = 0;
    for (int b = 0; b < blocks; b++) {
        s.token = s.token_end;
        s.token_end += (m->tokens - s.token + blocks - b - 1) / (blocks - b);
        for (s.part = 0; s.part < all; s.part = s.part_end) {
            s.part_end = all - s.part < SPAN_PARTS ? all : s.part + SPAN_PARTS;
            if (type->halves && type->offset) {
                find_half_sums(&s, m);
            }
            for (int row = row_begin; row < row_end; row += PANEL_ROWS) {
                pass_rows(m, &s, row, umbra_min_int(PANEL_ROWS, row_end - row), type, by);
            }
        }
    }
}

void umbra_avx2_matmul_panels(const umbra_matmul *m, int row_begin, int row_end, umbra_dtype dtype)
{
    umbra_avx2_pass_panels(m, row_begin, row_end, dtype, &groups);
}

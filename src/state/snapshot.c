/* A sequence to bytes and back: for each layer and head, the keys of the rows that its last
 * position sees, then their values. */
#include <string.h>

#include "state/internal.h"

/* Rows [*first, returned) of a layer belong to a sequence of so many positions. */
static int rows_of(const umbra_kv_form *f, int length, int *first)
{
    *first = umbra_state_first_seen(f, length > 0 ? length - 1 : 0);
    return umbra_kv_rows(f, length);
}

uint64_t umbra_state_save_bytes(const umbra_state *s, int length)
{
    uint64_t bytes = umbra_recurrent_save_bytes(s);
    for (int l = 0; l < s->layers; l++) {
        const umbra_kv_form *f = &s->forms[l];
        int first, end = rows_of(f, length, &first);
        bytes +=
            (uint64_t)(end - first) * (uint64_t)f->heads * (uint64_t)(f->key + f->value) * f->unit;
    }
    return bytes;
}

/* Copies rows [first, length) of one layer between its pages and bytes. Returns the end of the
 * bytes. */
static char *copy_layer(const umbra_kv_form *f, char *const *table, int length, char *bytes,
                        bool out)
{
    size_t sizes[2] = {(size_t)f->key * f->unit, (size_t)f->value * f->unit};
    for (int h = 0; h < f->heads; h++) {
        for (int part = 0; part < 2; part++) {
            int at, end = rows_of(f, length, &at);
            for (; at < end; at++, bytes += sizes[part]) {
                int row = at % UMBRA_KV_PAGE;
                char *place =
                    table[at / UMBRA_KV_PAGE] +
                    (part == 0 ? umbra_kv_key_at(f, h, row) : umbra_kv_value_at(f, h, row));
                memcpy(out ? bytes : place, out ? place : bytes, sizes[part]);
            }
        }
    }
    return bytes;
}

void umbra_state_save(const umbra_state *s, int sequence, char *out)
{
    out = umbra_recurrent_save(s, sequence, out);
    for (int l = 0; l < s->layers; l++)
        out = copy_layer(&s->forms[l], umbra_state_table(s, sequence, l), s->length[sequence], out,
                         true);
}

void umbra_state_load(umbra_state *s, int sequence, int length, const char *in)
{
    umbra_state_truncate(s, sequence, 0);
    in = umbra_recurrent_load(s, sequence, length, in);
    for (int l = 0; l < s->layers; l++) {
        int first;
        rows_of(&s->forms[l], length, &first);
        umbra_state_hold(s, sequence, l, first, length);
        in = copy_layer(&s->forms[l], umbra_state_table(s, sequence, l), length, (char *)in, false);
    }
    s->length[sequence] = s->reserved[sequence] = length;
}

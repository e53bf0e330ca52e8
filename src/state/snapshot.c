/* A sequence to bytes and back: u64, whether its last position can be taken back; then, for each
 * layer and head, the keys of the rows that the last position sees, and their values. Where it
 * cannot be taken back (the sequence was restored, and cut by one), the first row of a window may
 * be gone: zeros stand for it. */
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
    uint64_t bytes = sizeof(uint64_t) + umbra_recurrent_save_bytes(s);
    for (int l = 0; l < s->layers; l++) {
        const umbra_kv_form *f = &s->forms[l];
        int first, end = rows_of(f, length, &first);
        bytes +=
            (uint64_t)(end - first) * (uint64_t)f->heads * (uint64_t)(f->key + f->value) * f->unit;
    }
    return bytes;
}

/* Copies rows [first, length) of one layer, of which those from `held` on are there, between its
 * pages and bytes. Returns the end of the bytes. */
static char *copy_layer(const umbra_kv_form *f, char *const *table, int held, int length,
                        char *bytes, bool out)
{
    size_t sizes[2] = {(size_t)f->key * f->unit, (size_t)f->value * f->unit};
    for (int h = 0; h < f->heads; h++) {
        for (int part = 0; part < 2; part++) {
            int at, end = rows_of(f, length, &at);
            for (; at < end; at++, bytes += sizes[part]) {
                if (at < held) {
                    if (out)
                        memset(bytes, 0, sizes[part]);
                    continue;
                }
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
    int length = s->length[sequence];
    uint64_t goes_back = length == 0 || umbra_state_reaches(s, sequence, length - 1);
    const int *held = s->first + (size_t)sequence * (size_t)s->layers;
    memcpy(out, &goes_back, sizeof goes_back);
    out = umbra_recurrent_save(s, sequence, out + sizeof goes_back);
    for (int l = 0; l < s->layers; l++)
        out =
            copy_layer(&s->forms[l], umbra_state_table(s, sequence, l), held[l], length, out, true);
}

void umbra_state_load(umbra_state *s, int sequence, int length, const char *in)
{
    uint64_t goes_back;
    umbra_state_truncate(s, sequence, 0);
    memcpy(&goes_back, in, sizeof goes_back);
    in = umbra_recurrent_load(s, sequence, length, in + sizeof goes_back);
    for (int l = 0; l < s->layers; l++) {
        int held;
        rows_of(&s->forms[l], length, &held);
        held += !goes_back && held > 0;
        umbra_state_hold(s, sequence, l, held, length);
        in = copy_layer(&s->forms[l], umbra_state_table(s, sequence, l), held, length, (char *)in,
                        false);
    }
    s->length[sequence] = s->reserved[sequence] = length;
}

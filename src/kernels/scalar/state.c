/* Recurrent states and the convolutions in front of them: in float, and for the reference table
 * with sums in double. */
#include <math.h>
#include <string.h>

#include "kernels/internal.h"

/* What is written of one position, (UMBRA_STATE_COLUMNS), of which those behind `columns` are 0:
 * found is S^T k. */
#define DEFINE_WRITTEN(NAME, REAL)                                                                 \
    static void NAME(const umbra_recur *r, const REAL *found, REAL *written)                       \
    {                                                                                              \
        for (int j = 0; j < UMBRA_STATE_COLUMNS; j++) {                                            \
            REAL v = j < r->columns ? r->v[j] : 0;                                                 \
            written[j] = (REAL)r->rate * (r->delta ? v - found[j] : v);                            \
        }                                                                                          \
    }

/* Sums, and what is written, are REAL; S itself is float. */
#define DEFINE_RECUR(NAME, WRITTEN, REAL)                                                          \
    static void NAME(const umbra_recur *r)                                                         \
    {                                                                                              \
        REAL found[UMBRA_STATE_COLUMNS] = {0}, out[UMBRA_STATE_COLUMNS] = {0};                     \
        REAL written[UMBRA_STATE_COLUMNS];                                                         \
        for (int i = 0; i < r->keys; i++) {                                                        \
            const float *from = r->from + (size_t)i * UMBRA_STATE_COLUMNS;                         \
            float *to = r->to + (size_t)i * UMBRA_STATE_COLUMNS;                                   \
            float decay = r->decay[r->key_decay ? i : 0];                                          \
            for (int j = 0; j < UMBRA_STATE_COLUMNS; j++) {                                        \
                to[j] = from[j] * decay;                                                           \
                found[j] += (REAL)r->k[i] * to[j];                                                 \
            }                                                                                      \
        }                                                                                          \
        WRITTEN(r, found, written);                                                                \
        for (int i = 0; i < r->keys; i++) {                                                        \
            float *to = r->to + (size_t)i * UMBRA_STATE_COLUMNS;                                   \
            REAL k = r->k[i], q = r->q ? r->q[i] : 0;                                              \
            for (int j = 0; j < UMBRA_STATE_COLUMNS; j++) {                                        \
                to[j] = (float)(to[j] + k * written[j]);                                           \
                out[j] += q * to[j];                                                               \
            }                                                                                      \
        }                                                                                          \
        for (int j = 0; r->q && j < r->columns; j++) {                                             \
            r->out[j] = (float)out[j];                                                             \
        }                                                                                          \
    }

DEFINE_WRITTEN(written_floats, float)
DEFINE_RECUR(recur, written_floats, float)
DEFINE_WRITTEN(written_doubles, double)
DEFINE_RECUR(recur_exact, written_doubles, double)

#define DEFINE_CONVOLVE(NAME, REAL, EXP)                                                           \
    static void NAME(const umbra_causal *c)                                                        \
    {                                                                                              \
        for (int i = 0; i < c->n; i++) {                                                           \
            REAL sum = c->bias ? c->bias[i] : 0;                                                   \
            for (int j = 0; j < c->taps; j++) {                                                    \
                const float *input = c->input[j];                                                  \
                REAL weight = c->weights[(size_t)i * (size_t)c->taps + (size_t)j];                 \
                sum += weight * (input ? input[i] : 0);                                            \
            }                                                                                      \
            c->out[i] = (float)(sum / (1 + EXP(-sum)));                                            \
        }                                                                                          \
    }

DEFINE_CONVOLVE(convolve, float, expf)
DEFINE_CONVOLVE(convolve_exact, double, exp)

void umbra_kernels_fill_scalar_state(umbra_kernels *k)
{
    k->recur = recur;
    k->convolve = convolve;
}

void umbra_kernels_fill_reference_state(umbra_kernels *k)
{
    k->recur = recur_exact;
    k->convolve = convolve_exact;
}

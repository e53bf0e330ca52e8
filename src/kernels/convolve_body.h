/* The causal convolution in front of recurrent states. An instruction set's file includes this
 * behind vector_body.h, once it has defined load_taps: the weights of LANES channels, TAPS of each
 * one behind the other, as a vector for each tap. Other numbers of taps, and the channels that do
 * not fill a vector, see the same operations in the same order. */
#ifndef UMBRA_KERNELS_CONVOLVE_BODY_H
#define UMBRA_KERNELS_CONVOLVE_BODY_H

static void sum_taps(const umbra_causal *c, int begin)
{
    for (int i = begin; i < c->n; i++) {
        float sum = c->bias ? c->bias[i] : 0;
        for (int j = 0; j < c->taps; j++) {
            const float *input = c->input[j];
            float weight = c->weights[(size_t)i * (size_t)c->taps + (size_t)j];
            sum = fmaf(weight, input ? input[i] : 0, sum);
        }
        c->out[i] = sum;
    }
}

static void convolve(const umbra_causal *c)
{
    int i = 0;
    for (; c->taps == TAPS && i + LANES <= c->n; i += LANES) {
        vec tap[TAPS], sum = c->bias ? vec_load(c->bias + i) : vec_zero();
        load_taps(c->weights + (size_t)i * TAPS, tap);
        UMBRA_UNROLL(4)
        for (int j = 0; j < TAPS; j++) {
            vec input = c->input[j] ? vec_load(c->input[j] + i) : vec_zero();
            sum = vec_fma(tap[j], input, sum);
        }
        vec_store(c->out + i, sum);
    }
    sum_taps(c, i);
    silu(c->out, c->n);
}

#endif

/* The exponential of vectors, from what vector_body.h says of vec_set, vec_min, vec_max, vec_mul,
 * vec_fma, vec_fnma, vec_round and vec_scale2. */
#ifndef UMBRA_KERNELS_EXP_BODY_H
#define UMBRA_KERNELS_EXP_BODY_H

/* exp(x) to about one unit in the last place: x = n ln2 + r, |r| <= ln2 / 2, the series of
 * exp(r) up to r^7, then 2^n in two steps so that results below 2^-126 round once, correctly.
 * Below -105 the result is 0, above 88.73 infinity; NaN stays NaN. */
UMBRA_INLINE vec exp_lanes(vec x)
{
    x = vec_min(vec_set(89.0f), vec_max(vec_set(-105.0f), x));
    vec n = vec_round(vec_mul(x, vec_set(0x1.715476p+0f)));
    vec r = vec_fnma(n, vec_set(0x1.62e4p-1f), x);
    r = vec_fnma(n, vec_set(0x1.7f7d1cp-20f), r);

    vec p = vec_set(1.0f / 5040);
    p = vec_fma(p, r, vec_set(1.0f / 720));
    p = vec_fma(p, r, vec_set(1.0f / 120));
    p = vec_fma(p, r, vec_set(1.0f / 24));
    p = vec_fma(p, r, vec_set(1.0f / 6));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p, r, vec_set(1.0f));
    p = vec_fma(p, r, vec_set(1.0f));
    return vec_scale2(p, n);
}

#endif

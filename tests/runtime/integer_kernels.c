/* The kernels of ssm_integer.h under names that a shared library exports: k_NAME is ssm_NAME. */

#include "ssm_integer.h"

#define EXPORT(name, parameters, arguments)                                                        \
    void k_##name parameters;                                                                      \
    void k_##name parameters                                                                       \
    {                                                                                              \
        ssm_##name arguments;                                                                      \
    }

/* Use the vector unit of this level, or the best one below it that the processor has. */
void set_level(int level);
void set_level(int level)
{
    ssm_find_level();
#if SSM_DISPATCH
    if (ssm_level_found > level)
        ssm_level_found = level;
#else
    (void)level;
#endif
}

EXPORT(quantize_a8,
       (const int32_t *v, const int32_t *m, const int32_t *b, int8_t *q, int32_t limit, uint32_t s,
        size_t T, size_t K),
       (v, m, b, q, limit, s, T, K))
EXPORT(quantize_a16,
       (const int32_t *v, const int32_t *m, const int32_t *b, int16_t *q, int32_t limit, uint32_t s,
        size_t T, size_t K),
       (v, m, b, q, limit, s, T, K))
EXPORT(dot_a8, (const int8_t *q, const int8_t *w, int32_t *y, size_t T, size_t K, size_t M),
       (q, w, y, T, K, M))
EXPORT(dot_a16, (const int16_t *q, const int8_t *w, int32_t *y, size_t T, size_t K, size_t M),
       (q, w, y, T, K, M))
EXPORT(requant,
       (int32_t *v, const int32_t *m, const int32_t *b, uint32_t s, size_t T, size_t M),
       (v, m, b, s, T, M))
EXPORT(ifeedthrough_a8,
       (int32_t *v, const int8_t *q, const int32_t *m, uint32_t s, size_t T, size_t H),
       (v, q, m, s, T, H))
EXPORT(ifeedthrough_a16,
       (int32_t *v, const int16_t *q, const int32_t *m, uint32_t s, size_t T, size_t H),
       (v, q, m, s, T, H))
EXPORT(rotate_l16, (int32_t *x, const int16_t *l, int32_t *d, size_t T, size_t N), (x, l, d, T, N))
EXPORT(rotate_l32, (int32_t *x, const int32_t *l, int32_t *d, size_t T, size_t N), (x, l, d, T, N))
EXPORT(iinput, (const int16_t *c, int32_t *v, uint32_t k, size_t n), (c, v, k, n))
EXPORT(igelu, (int32_t *v, uint32_t p, size_t n), (v, p, n))
EXPORT(igate, (const int32_t *v, int32_t *y, uint32_t p, size_t T, size_t H), (v, y, p, T, H))
EXPORT(iembedding,
       (const int16_t *c, const int8_t *w, const int32_t *m, int32_t *y, uint32_t s, size_t T,
        size_t V, size_t H),
       (c, w, m, y, s, T, V, H))
EXPORT(iadd, (int32_t *v, const int32_t *u, size_t n), (v, u, n))
EXPORT(ilayernorm,
       (int32_t *v, const int32_t *m, const int32_t *b, uint32_t s, uint32_t mean_shift,
        int32_t mean_factor, int32_t eps, size_t T, size_t H),
       (v, m, b, s, mean_shift, mean_factor, eps, T, H))
EXPORT(ipool_mean, (int32_t *v, int32_t *state, size_t T, size_t H), (v, state, T, H))
EXPORT(ipool_ema, (int32_t *v, int32_t *state, int32_t gain, size_t T, size_t H),
       (v, state, gain, T, H))
EXPORT(encode, (const float *x, const float *factor, int16_t *c, size_t T, size_t U),
       (x, factor, c, T, U))
EXPORT(decode, (const int32_t *v, const float *scale, float *y, size_t T, size_t Y),
       (v, scale, y, T, Y))

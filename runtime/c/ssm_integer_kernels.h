/* ssm_integer_kernels.h - the kernels of ssm_integer.h but the matrix product, over vectors.
   Included once for every vector unit of a build.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

/* Run `code` over n values: k values from i on. The full vectors are a loop of their own, in which k
   is a constant. */
#ifndef SSM_EACH
#define SSM_EACH(n, code)                                                                          \
    do {                                                                                           \
        size_t i, k = SSM_VALUES;                                                                  \
        for (i = 0; i + SSM_VALUES <= (n); i += SSM_VALUES)                                        \
            code;                                                                                  \
        if (SSM_VALUES > 1 && i < (n)) {                                                           \
            k = (n) - i;                                                                           \
            code;                                                                                  \
        }                                                                                          \
    } while (0)
#endif

/* ---- k values ------------------------------------------------------------------------------- */

/* R(v << s, m) + b */
static inline SSM_V(t) SSM_V(requant)(SSM_V(t) v, const int32_t *m, const int32_t *b, uint32_t s,
                                      size_t k)
{
    v = SSM_V(scale)(v, s, SSM_V(load)(m, k));
    return b == NULL ? v : SSM_V(add)(v, SSM_V(load)(b, k));
}

static inline SSM_V(t) SSM_V(quantize)(const int32_t *v, const int32_t *m, const int32_t *b,
                                       int32_t limit, uint32_t s, size_t k)
{
    const SSM_V(t) q = SSM_V(requant)(SSM_V(load)(v, k), m, b, s, k);
    return SSM_V(max)(SSM_V(min)(q, SSM_V(all)(limit)), SSM_V(all)(-limit));
}

/* One step of k modes: re and im point into x, d_re and d_im into d; l_re, l_im in Q31. */
static inline void SSM_V(rotate)(int32_t *re, int32_t *im, SSM_V(t) l_re, SSM_V(t) l_im,
                                 int32_t *d_re, int32_t *d_im, size_t k)
{
    const SSM_V(t) a = SSM_V(load)(re, k), b = SSM_V(load)(im, k);
    SSM_V(t) c = SSM_V(sub)(SSM_V(rot)(a, l_re), SSM_V(rot)(b, l_im));
    SSM_V(t) d = SSM_V(add)(SSM_V(rot)(a, l_im), SSM_V(rot)(b, l_re));
    c = SSM_V(add)(c, SSM_V(load)(d_re, k));
    d = SSM_V(add)(d, SSM_V(load)(d_im, k));
    SSM_V(store)(re, c, k);
    SSM_V(store)(im, d, k);
    SSM_V(store)(d_re, c, k);
    SSM_V(store)(d_im, d, k);
}

/* A function by 32 parabolas over [0, 32 << p) codes, of min(|v|, its end): in segment g at the
   fraction F in Q31, c0[g] + R(F, c1[g] + R(F, c2[g])), table = c0, c1, c2. */
static inline SSM_V(t) SSM_V(curve)(SSM_V(t) v, const int32_t *table, uint32_t p)
{
    const SSM_V(t) a = SSM_V(min)(SSM_V(abs)(v), SSM_V(all)(ssm_shift(32, p) - 1));
    const SSM_V(t) g = SSM_V(sar)(a, p);
    const SSM_V(t) f = SSM_V(and)(a, SSM_V(all)(ssm_shift(1, p) - 1));
    SSM_V(t) y = SSM_V(scale)(f, 31 - p, SSM_V(table)(table + 64, g));
    y = SSM_V(scale)(f, 31 - p, SSM_V(add)(y, SSM_V(table)(table + 32, g)));
    return SSM_V(add)(y, SSM_V(table)(table, g));
}

/* max(v, 0) - g(|v|): GELU(x) = max(x, 0) - |x| Phi(-|x|) */
static inline void SSM_V(gelu)(int32_t *p_v, uint32_t p, size_t k)
{
    const SSM_V(t) v = SSM_V(load)(p_v, k);
    const SSM_V(t) g = SSM_V(add)(SSM_V(curve)(v, ssm_gelu_table, p), SSM_V(all)(1 << (28 - p)));
    const SSM_V(t) y = SSM_V(sub)(SSM_V(max)(v, SSM_V(all)(0)), SSM_V(sar)(g, 29 - p));
    SSM_V(store)(p_v, y, k);
}

/* sigmoid in Q30; sigmoid(-x) = 1 - sigmoid(x) */
static inline SSM_V(t) SSM_V(sigmoid)(SSM_V(t) v, uint32_t p)
{
    const SSM_V(t) sign = SSM_V(sar)(v, 31);
    const SSM_V(t) y = SSM_V(xor)(SSM_V(curve)(v, ssm_sigmoid_table, p), sign); /* ~y = -y - 1 */
    return SSM_V(add)(y, SSM_V(and)(sign, SSM_V(all)((1 << 30) + 1)));
}

/* ---- kernels -------------------------------------------------------------------------------- */

SSM_GLUE void SSM_I(quantize_a8)(const int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                                 const int32_t *SSM_RESTRICT b, int8_t *SSM_RESTRICT q,
                                 int32_t limit, uint32_t s, size_t T, size_t K)
{
    const size_t pad = (0 - K) & 3;
    for (; T > 0; T--, v += K, q += K + pad) {
        SSM_EACH(K, SSM_V(store8)(q + i, SSM_V(quantize)(v + i, m + i, b != NULL ? b + i : NULL,
                                                         limit, s, k), k));
        memset(q + K, 0, pad);
    }
}

SSM_GLUE void SSM_I(quantize_a16)(const int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                                  const int32_t *SSM_RESTRICT b, int16_t *SSM_RESTRICT q,
                                  int32_t limit, uint32_t s, size_t T, size_t K)
{
    const size_t pad = (0 - K) & 3;
    for (; T > 0; T--, v += K, q += K + pad) {
        SSM_EACH(K, SSM_V(store16)(q + i, SSM_V(quantize)(v + i, m + i, b != NULL ? b + i : NULL,
                                                          limit, s, k), k));
        memset(q + K, 0, pad * sizeof *q);
    }
}

SSM_GLUE void SSM_I(requant)(int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                             const int32_t *SSM_RESTRICT b, uint32_t s, size_t T, size_t M)
{
    for (; T > 0; T--, v += M)
        SSM_EACH(M, SSM_V(store)(v + i, SSM_V(requant)(SSM_V(load)(v + i, k), m + i,
                                                       b != NULL ? b + i : NULL, s, k), k));
}

SSM_GLUE void SSM_I(ifeedthrough_a8)(int32_t *SSM_RESTRICT v, const int8_t *SSM_RESTRICT q,
                                     const int32_t *SSM_RESTRICT m, uint32_t s, size_t T,
                                     size_t H)
{
    for (; T > 0; T--, v += H, q += H + ((0 - H) & 3))
        SSM_EACH(H, SSM_V(store)(v + i, SSM_V(add)(SSM_V(load)(v + i, k),
                                                   SSM_V(scale)(SSM_V(load8)(q + i, k), s,
                                                                SSM_V(load)(m + i, k))), k));
}

SSM_GLUE void SSM_I(ifeedthrough_a16)(int32_t *SSM_RESTRICT v, const int16_t *SSM_RESTRICT q,
                                      const int32_t *SSM_RESTRICT m, uint32_t s, size_t T,
                                      size_t H)
{
    for (; T > 0; T--, v += H, q += H + ((0 - H) & 3))
        SSM_EACH(H, SSM_V(store)(v + i, SSM_V(add)(SSM_V(load)(v + i, k),
                                                   SSM_V(scale)(SSM_V(load16)(q + i, k), s,
                                                                SSM_V(load)(m + i, k))), k));
}

SSM_GLUE void SSM_I(rotate_l16)(int32_t *SSM_RESTRICT x, const int16_t *SSM_RESTRICT l,
                                int32_t *SSM_RESTRICT d, size_t T, size_t N)
{
    for (; T > 0; T--, d += 2 * N)
        SSM_EACH(N, SSM_V(rotate)(x + i, x + N + i, SSM_V(shl)(SSM_V(load16)(l + i, k), 16),
                                  SSM_V(shl)(SSM_V(load16)(l + N + i, k), 16), d + i, d + N + i,
                                  k));
}

SSM_GLUE void SSM_I(rotate_l32)(int32_t *SSM_RESTRICT x, const int32_t *SSM_RESTRICT l,
                                int32_t *SSM_RESTRICT d, size_t T, size_t N)
{
    for (; T > 0; T--, d += 2 * N)
        SSM_EACH(N, SSM_V(rotate)(x + i, x + N + i, SSM_V(load)(l + i, k),
                                  SSM_V(load)(l + N + i, k), d + i, d + N + i, k));
}

SSM_GLUE void SSM_I(iinput)(const int16_t *SSM_RESTRICT c, int32_t *SSM_RESTRICT v, uint32_t shift,
                            size_t n)
{
    SSM_EACH(n, SSM_V(store)(v + i, SSM_V(shl)(SSM_V(load16)(c + i, k), shift), k));
}

SSM_GLUE void SSM_I(igelu)(int32_t *v, uint32_t p, size_t n)
{
    SSM_EACH(n, SSM_V(gelu)(v + i, p, k));
}

SSM_GLUE void SSM_I(igate)(const int32_t *SSM_RESTRICT v, int32_t *SSM_RESTRICT y, uint32_t p,
                           size_t T, size_t H)
{
    for (; T > 0; T--, v += 2 * H, y += H)
        SSM_EACH(H, SSM_V(store)(y + i, SSM_V(scale)(SSM_V(load)(v + i, k), 2,
                                                     SSM_V(sigmoid)(SSM_V(load)(v + H + i, k), p)),
                                 k));
}

SSM_GLUE void SSM_I(iembedding)(const int16_t *SSM_RESTRICT c, const int8_t *SSM_RESTRICT w,
                                const int32_t *SSM_RESTRICT m, int32_t *SSM_RESTRICT y, uint32_t s,
                                size_t T, size_t V, size_t H)
{
    for (; T > 0; T--, c++, y += H) {
        const int32_t last = (int32_t)V - 1;
        const int32_t low = *c > 0 ? *c : 0;
        const int8_t *row = w + H * (size_t)(low < last ? low : last);
        SSM_EACH(H, SSM_V(store)(y + i, SSM_V(scale)(SSM_V(load8)(row + i, k), s,
                                                     SSM_V(load)(m + i, k)), k));
    }
}

SSM_GLUE void SSM_I(iadd)(int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT u, size_t n)
{
    SSM_EACH(n, SSM_V(store)(v + i, SSM_V(add)(SSM_V(load)(v + i, k), SSM_V(load)(u + i, k)), k));
}

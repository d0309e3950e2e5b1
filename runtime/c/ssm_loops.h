/* ssm_loops.h - the kernels of ssm_kernels.h for one kind of vector register; included once a level.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h) */

/* Lanes of a vector register, and how many outputs a frame alone, four frames together, or eight, keep
   in registers. GNU vector types because gcc 12 turns some plain tiles into code 20 times slower;
   -DSSM_PLAIN does without. */
#if SSM_LEVEL > 0 || defined(__FMA__) || defined(__aarch64__) || defined(__ARM_FEATURE_FMA) || \
    (defined(__riscv_flen) && __riscv_flen >= 32)
#define SSM_HAS_FMA 1
#else
#define SSM_HAS_FMA 0
#endif
#if !defined(__GNUC__) || defined(SSM_PLAIN) || (defined(SSM_FMA) && !SSM_HAS_FMA)
#define SSM_LANES 1
#elif SSM_LEVEL == 2 || (defined(__AVX512F__) && !defined(SSM_NARROW_STACK))
#define SSM_LANES 16
#elif SSM_LEVEL == 1 || (defined(__AVX__) && !defined(SSM_NARROW_STACK))
#define SSM_LANES 8
#elif defined(__SSE2__) || defined(__ARM_NEON) || defined(__wasm_simd128__) || SSM_HELIUM
#define SSM_LANES 4
#else
#define SSM_LANES 1
#endif

#if SSM_LANES == 16
#define SSM_WIDE 64
#define SSM_FOUR 64
#if defined(SSM_FMA)
#define SSM_EIGHT 32
#endif
#elif SSM_LANES == 8 || (defined(__aarch64__) && !SSM_NEON_FMA)
#define SSM_WIDE 64
#define SSM_FOUR 16
#elif defined(__aarch64__)
#define SSM_WIDE 32
#define SSM_FOUR 16
#elif SSM_LANES == 4 && !SSM_HELIUM
#define SSM_WIDE 32
#define SSM_FOUR 8
#elif SSM_CORTEX_M || SSM_HELIUM /* frame by frame the tile written by hand is faster */
#define SSM_WIDE 16
#define SSM_FOUR 0
#else
#define SSM_WIDE 16
#define SSM_FOUR 4
#endif
#ifndef SSM_EIGHT
#define SSM_EIGHT 0
#endif

#if SSM_LANES >= 4
#define SSM_V4 SSM_JOIN(ssm_v4_, SSM_LEVEL), 4
typedef float SSM_JOIN(ssm_v4_, SSM_LEVEL) \
    __attribute__((vector_size(16), aligned(4), may_alias));
#else
#define SSM_V4 float, 1
#endif
#if SSM_LANES >= 8
#define SSM_V8 SSM_JOIN(ssm_v8_, SSM_LEVEL), 8
typedef float SSM_JOIN(ssm_v8_, SSM_LEVEL) \
    __attribute__((vector_size(32), aligned(4), may_alias));
#else
#define SSM_V8 SSM_V4
#endif
#if SSM_LANES >= 16
#define SSM_V16 SSM_JOIN(ssm_v16_, SSM_LEVEL), 16
typedef float SSM_JOIN(ssm_v16_, SSM_LEVEL) \
    __attribute__((vector_size(64), aligned(4), may_alias));
#else
#define SSM_V16 SSM_V8
#endif

/* An input that meets L weights at once: in every lane of a register where the compiler would otherwise
   load it again for each of them, elsewhere as it is. */
#if SSM_LANES == 16
#define SSM_INPUT(V, R, name, value)                                                               \
    V name;                                                                                        \
    memset(&name, 0, sizeof name);                                                                 \
    name = (value) - name;                                                                         \
    if (R > 1)                                                                                     \
        __asm__("" : "+v"(name))
#else
#define SSM_INPUT(V, R, name, value) const float name = (value)
#endif

/* a = a + w x, for L lanes of a and w */
#if !defined(SSM_FMA)
#define SSM_MADD(L, a, w, x) (a) += (w) * (x)
#else
#define SSM_MADD(L, a, w, x) (a) = SSM_JOIN(SSM_FMA_, L)(a, w, x)
#if SSM_HAS_FMA && defined(__GNUC__)
#define SSM_FMA_1(a, w, x) __builtin_fmaf(w, x, a)
#else
#define SSM_FMA_1(a, w, x) ssm_fma_slow(w, x, a)
#endif
#if SSM_LANES == 16
#define SSM_FMA_4(a, w, x) _mm_fmadd_ps(w, x, a)
#define SSM_FMA_8(a, w, x) _mm256_fmadd_ps(w, x, a)
#define SSM_FMA_16(a, w, x) _mm512_fmadd_ps(w, x, a)
#elif defined(__x86_64__)
#define SSM_FMA_4(a, w, x) _mm_fmadd_ps(w, _mm_set1_ps(x), a)
#define SSM_FMA_8(a, w, x) _mm256_fmadd_ps(w, _mm256_set1_ps(x), a)
#elif defined(__aarch64__) || SSM_HELIUM
#define SSM_FMA_4(a, w, x) vfmaq_n_f32(a, w, x)
#else
#define SSM_FMA_4(a, w, x) vfmaq_f32(a, w, vdupq_n_f32(x))
#endif
#endif

/* The name of a function of this level. */
#define SSM_HERE(name) SSM_JOIN(name, SSM_LEVEL)

/* ---- matrix product ------------------------------------------------------------------------- */

/* A tile: y[r][o] = b[o] + sum over i of x[r][i] w[i][o] for R frames and W neighbouring outputs.
   x (R, K); w (K, M), b (M) or NULL and y (R, M) from the first of the W columns on. V is a type of
   L floats. */
#define SSM_TILE(R, W, ...)                                                                        \
    SSM_TILE_OF(SSM_HERE(ssm_tile_##R##_##W##_level), SSM_HERE(ssm_tile_##R##_##W##_call), R, W,   \
                __VA_ARGS__)
#define SSM_TILE_OF(name, call, R, W, ...) SSM_TILE_NAMED(name, call, R, W, __VA_ARGS__)
#define SSM_TILE_NAMED(name, call, R, W, V, L)                                                     \
    SSM_INLINE void name(const float *SSM_RESTRICT x, const float *SSM_RESTRICT w,                 \
                         const float *SSM_RESTRICT b, float *SSM_RESTRICT y, size_t K, size_t M)   \
    {                                                                                              \
        V a[R][W / L];                                                                             \
        V c;                                                                                       \
        size_t i, r, o;                                                                            \
        SSM_UNROLL                                                                                 \
        for (o = 0; o < W / L; o++) {                                                              \
            memset(&c, 0, sizeof c);                                                               \
            if (b != NULL)                                                                         \
                c = *(const V *)(b + o * L);                                                       \
            for (r = 0; r < R; r++)                                                                \
                a[r][o] = c;                                                                       \
        }                                                                                          \
        for (i = 0; i < K; i++, w += M)                                                            \
            for (r = 0; r < R; r++) {                                                              \
                SSM_INPUT(V, R, input, x[r * K + i]);                                                 \
                for (o = 0; o < W / L; o++)                                                        \
                    SSM_MADD(L, a[r][o], *(const V *)(w + o * L), input);                          \
            }                                                                                      \
        for (r = 0; r < R; r++)                                                                    \
            for (o = 0; o < W / L; o++)                                                            \
                *(V *)(y + r * M + o * L) = a[r][o];                                               \
    }                                                                                              \
    SSM_KERNEL void call(const float *x, const float *w, const float *b, float *y, size_t K,       \
                         size_t M)                                                                 \
    {                                                                                              \
        name(x, w, b, y, K, M);                                                                    \
    }

#define SSM_COMMON_TILES(X, R)                                                                     \
    X(R, 1, float, 1)                                                                              \
    X(R, 2, float, 1)                                                                              \
    X(R, 4, SSM_V4)
#if SSM_WIDE == 64
#define SSM_TILES_OF_1(X)                                                                          \
    SSM_COMMON_TILES(X, 1) X(1, 8, SSM_V8) X(1, 16, SSM_V16) X(1, 32, SSM_V16) X(1, 64, SSM_V16)
#elif SSM_NEON_FMA
#define SSM_TILES_OF_1(X) SSM_COMMON_TILES(X, 1) X(1, 8, SSM_V8) X(1, 16, SSM_V16)
#define SSM_TILES_BY_HAND(X) X(1, 32, )
#elif SSM_WIDE == 32
#define SSM_TILES_OF_1(X) SSM_COMMON_TILES(X, 1) X(1, 8, SSM_V8) X(1, 16, SSM_V16) X(1, 32, SSM_V16)
#elif SSM_CORTEX_M || SSM_HELIUM
#define SSM_TILES_OF_1(X) SSM_COMMON_TILES(X, 1) X(1, 8, SSM_V8)
#define SSM_TILES_BY_HAND(X) X(1, 16, )
#else
#define SSM_TILES_OF_1(X) SSM_COMMON_TILES(X, 1) X(1, 8, SSM_V8) X(1, 16, SSM_V16)
#endif
#ifndef SSM_TILES_BY_HAND
#define SSM_TILES_BY_HAND(X)
#endif
#if SSM_FOUR == 64
#define SSM_TILES_OF_4(X)                                                                          \
    SSM_COMMON_TILES(X, 4) X(4, 8, SSM_V8) X(4, 16, SSM_V16) X(4, 32, SSM_V16) X(4, 64, SSM_V16)
#elif SSM_FOUR == 16
#define SSM_TILES_OF_4(X) SSM_COMMON_TILES(X, 4) X(4, 8, SSM_V8) X(4, 16, SSM_V16)
#elif SSM_FOUR == 8
#define SSM_TILES_OF_4(X) SSM_COMMON_TILES(X, 4) X(4, 8, SSM_V8)
#elif SSM_FOUR == 0
#define SSM_TILES_OF_4(X)
#else
#define SSM_TILES_OF_4(X) SSM_COMMON_TILES(X, 4)
#endif
#if SSM_EIGHT == 32
#define SSM_TILES_OF_8(X)                                                                          \
    SSM_COMMON_TILES(X, 8) X(8, 8, SSM_V8) X(8, 16, SSM_V16) X(8, 32, SSM_V16)
#else
#define SSM_TILES_OF_8(X)
#endif
SSM_TILES_OF_1(SSM_TILE)
SSM_TILES_OF_4(SSM_TILE)
SSM_TILES_OF_8(SSM_TILE)

/* y = x w + b.  x (T, K), w (K, M), b (M) or NULL, y (T, M).
   Tiles are a power of two wide; the last one may overlap the one before it and writes the same bits
   again. */
#define SSM_TILE_CASE(R, W, ...)                                                                   \
    case R * 100 + W:                                                                              \
        if (small)                                                                                 \
            SSM_HERE(ssm_tile_##R##_##W##_level)(x, w + at, bias, y + at, K, M);                   \
        else                                                                                       \
            SSM_HERE(ssm_tile_##R##_##W##_call)(x, w + at, bias, y + at, K, M);                    \
        break;
SSM_INLINE void SSM_HERE(ssm_linear_level)(const float *x, const float *w, const float *b, float *y,
                                           size_t T, size_t K, size_t M)
{
    const int small = SSM_SMALL(T * K * M);
    SSM_HIDE(w);
    if (b != NULL)
        SSM_HIDE(b);
    while (T > 0) {
        const size_t rows = T >= 8 && SSM_EIGHT > 0 ? 8 : T >= 4 && SSM_FOUR > 0 ? 4 : 1;
        const size_t limit = rows == 8 ? SSM_EIGHT : rows == 4 ? SSM_FOUR : SSM_WIDE;
        size_t at, done = 0;
        while (done < M) {
            size_t width = limit;
            const float *bias;
            while (width > M || (width > 1 && width / 2 >= M - done))
                width /= 2;
            at = done + width <= M ? done : M - width;
            done = at + width;
            bias = b != NULL ? b + at : NULL;
            switch (rows * 100 + width) {
                SSM_TILES_OF_1(SSM_TILE_CASE)
                SSM_TILES_BY_HAND(SSM_TILE_CASE)
                SSM_TILES_OF_4(SSM_TILE_CASE)
                SSM_TILES_OF_8(SSM_TILE_CASE)
            default:
                break;
            }
        }
        x += rows * K;
        y += rows * M;
        T -= rows;
    }
}

/* ---- everything else ------------------------------------------------------------------------ */

/* v = scale v + shift.  v (T, H), scale (H), shift (H). */
SSM_INLINE void SSM_HERE(ssm_affine_level)(float *SSM_RESTRICT v, const float *SSM_RESTRICT scale,
                                           const float *SSM_RESTRICT shift, size_t T, size_t H)
{
    size_t i;
    SSM_HIDE(scale);
    SSM_HIDE(shift);
    for (; T > 0; T--, v += H)
        for (i = 0; i < H; i++)
            v[i] = v[i] * scale[i] + shift[i];
}

/* Sum of (v - offset)^power, power 1 or 2, in eight interleaved partial sums that fold 8, 4, 2, 1:
   an order of its own, because a plain sum cannot be vectorised without changing its bits. */
SSM_INLINE float SSM_HERE(ssm_sum_level)(const float *v, float offset, int power, size_t H)
{
    float lane[8] = {0};
    size_t i, j, half;
    for (i = 0; i < H; i += 8)
        for (j = 0; j < 8 && i + j < H; j++) {
            const float d = v[i + j] - offset;
            lane[j] += power == 2 ? d * d : d;
        }
    for (half = 4; half > 0; half /= 2)
        for (j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

/* v = ((v - mean) / sqrt(variance + eps)) scale + shift over each frame.
   v (T, H), scale (H), shift (H). */
SSM_INLINE void SSM_HERE(ssm_layernorm_level)(float *SSM_RESTRICT v, const float *SSM_RESTRICT scale,
                                              const float *SSM_RESTRICT shift, float eps, size_t T,
                                              size_t H)
{
    size_t i;
    SSM_HIDE(scale);
    SSM_HIDE(shift);
    for (; T > 0; T--, v += H) {
        const float mean = SSM_HERE(ssm_sum_level)(v, 0.0f, 1, H) / (float)H;
        const float variance = SSM_HERE(ssm_sum_level)(v, mean, 2, H) / (float)H;
        const float r = ssm_rsqrt(variance + eps);
        for (i = 0; i < H; i++)
            v[i] = (v[i] - mean) * r * scale[i] + shift[i];
    }
}

/* state = flush(lam state + v), frame by frame; each frame's state replaces it in v.
   state (2N), lam (2, N), v (T, 2N), all planar: N real parts, then N imaginary parts. */
SSM_INLINE void SSM_HERE(ssm_scan_level)(float *SSM_RESTRICT state, const float *SSM_RESTRICT lam,
                                         float *SSM_RESTRICT v, size_t T, size_t N)
{
    size_t i;
    SSM_HIDE(lam);
    for (; T > 0; T--, v += 2 * N)
        for (i = 0; i < N; i++) {
            const float re = lam[i] * state[i] - lam[N + i] * state[N + i] + v[i];
            const float im = lam[i] * state[N + i] + lam[N + i] * state[i] + v[N + i];
            v[i] = state[i] = ssm_flush(re);
            v[N + i] = state[N + i] = ssm_flush(im);
        }
}

/* x = b v, v of the channel that a mode belongs to.  v (T, H), b (2N), modes (H): how many modes each
   channel has, N in all; x (T, 2N), planar like b, modes channel after channel. */
SSM_INLINE void SSM_HERE(ssm_drive_level)(const float *SSM_RESTRICT v, const float *SSM_RESTRICT b,
                                          const uint16_t *SSM_RESTRICT modes, float *SSM_RESTRICT x,
                                          size_t T, size_t H, size_t N)
{
    size_t h, i, end;
    SSM_HIDE(b);
    SSM_HIDE(modes);
    for (; T > 0; T--, v += H, x += 2 * N)
        for (h = 0, i = 0; h < H; h++)
            for (end = i + modes[h]; i < end; i++) {
                x[i] = b[i] * v[h];
                x[N + i] = b[N + i] * v[h];
            }
}

/* y = sum of c x over the modes of each channel, real parts in order, then imaginary parts: what ssm_linear
   gives with zeros for all other modes.  x (T, 2N), c (2N), modes (H), y (T, H). */
SSM_INLINE void SSM_HERE(ssm_readout_level)(const float *SSM_RESTRICT x, const float *SSM_RESTRICT c,
                                            const uint16_t *SSM_RESTRICT modes, float *SSM_RESTRICT y,
                                            size_t T, size_t H, size_t N)
{
    size_t h, i, start, end;
    SSM_HIDE(c);
    SSM_HIDE(modes);
    for (; T > 0; T--, x += 2 * N, y += H)
        for (h = 0, start = 0; h < H; h++, start = end) {
            float sum = 0.0f;
            end = start + modes[h];
            for (i = start; i < end; i++)
                SSM_MADD(1, sum, c[i], x[i]);
            for (i = start; i < end; i++)
                SSM_MADD(1, sum, c[N + i], x[N + i]);
            y[h] = sum;
        }
}

/* y = y + d v.  y (T, H), d (H), v (T, H). */
SSM_INLINE void SSM_HERE(ssm_feedthrough_level)(float *SSM_RESTRICT y, const float *SSM_RESTRICT d,
                                                const float *SSM_RESTRICT v, size_t T, size_t H)
{
    size_t i;
    SSM_HIDE(d);
    for (; T > 0; T--, y += H, v += H)
        for (i = 0; i < H; i++)
            y[i] = y[i] + d[i] * v[i];
}

/* v = gelu(v).  v (n). */
SSM_INLINE void SSM_HERE(ssm_gelu_level)(float *v, size_t n)
{
    size_t i;
#if SSM_HELIUM
    for (; n >= 4; n -= 4, v += 4)
        vstrwq_f32(v, ssm_gelu_helium(vldrwq_f32(v)));
#endif
    for (i = 0; i < n; i++)
        v[i] = ssm_gelu1(v[i]);
}

/* y = first half of v, times the sigmoid of the second.  v (T, 2H), y (T, H). */
SSM_INLINE void SSM_HERE(ssm_gate_level)(const float *SSM_RESTRICT v, float *SSM_RESTRICT y,
                                         size_t T, size_t H)
{
    size_t i;
    for (; T > 0; T--, v += 2 * H, y += H) {
        i = 0;
#if SSM_HELIUM
        for (; i + 4 <= H; i += 4)
            vstrwq_f32(y + i, vmulq_f32(vldrwq_f32(v + i), ssm_sigmoid_helium(vldrwq_f32(v + H + i))));
#endif
        for (; i < H; i++)
            y[i] = v[i] * ssm_sigmoid(v[H + i]);
    }
}

/* v = v + s.  v (n), s (n). */
SSM_INLINE void SSM_HERE(ssm_add_level)(float *SSM_RESTRICT v, const float *SSM_RESTRICT s, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        v[i] = v[i] + s[i];
}

/* sum = flush(decay sum + v), count = decay count + 1, v = sum / count, frame by frame.
   v (T, H), sum (H), count (1). */
SSM_INLINE void SSM_HERE(ssm_pool_level)(float *SSM_RESTRICT v, float *SSM_RESTRICT sum,
                                         float *SSM_RESTRICT count, float decay, size_t T, size_t H)
{
    size_t i;
    for (; T > 0; T--, v += H) {
        const float c = decay * *count + 1.0f;
        *count = c;
        for (i = 0; i < H; i++) {
            sum[i] = ssm_flush(decay * sum[i] + v[i]);
            v[i] = sum[i] / c;
        }
    }
}

#define SSM_OUT_OF_LINE(name, work, parameters, arguments)                                         \
    SSM_KERNEL void SSM_HERE(ssm_##name##_call) parameters                                         \
    {                                                                                              \
        SSM_HERE(ssm_##name##_level) arguments;                                                    \
    }
SSM_KERNELS(SSM_OUT_OF_LINE)

#undef SSM_LANES
#undef SSM_WIDE
#undef SSM_FOUR
#undef SSM_EIGHT
#undef SSM_V4
#undef SSM_V8
#undef SSM_V16
#undef SSM_HERE
#undef SSM_MADD
#undef SSM_INPUT
#undef SSM_HAS_FMA
#undef SSM_FMA_1
#undef SSM_FMA_4
#undef SSM_FMA_8
#undef SSM_FMA_16
#undef SSM_TILE
#undef SSM_TILE_OF
#undef SSM_TILE_NAMED
#undef SSM_TILE_CASE
#undef SSM_COMMON_TILES
#undef SSM_TILES_OF_1
#undef SSM_TILES_BY_HAND
#undef SSM_TILES_OF_4
#undef SSM_TILES_OF_8
#undef SSM_OUT_OF_LINE

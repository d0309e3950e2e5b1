/* ssm_kernels.h - the arithmetic of a streaming state-space model, float32, C99 (and C++).

   SPDX-License-Identifier: 0BSD

   Permission to use, copy, modify, and/or distribute this software for any purpose with or without
   fee is hereby granted.

   THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS
   SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE
   AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES
   WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT,
   NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE
   OF THIS SOFTWARE.

   - No malloc, no libm, no static data, no recursion; only <stdint.h>, <stddef.h>, <string.h>.
   - Same bits everywhere: each output is a sum over the inputs in order, starting from its bias, and
     every operation is rounded once. Tiles and vector registers change the speed, never the bits.
     Compile with -std=c99 -O3 -ffp-contract=off and never with -ffast-math.
   - No float comparison in a loop: compilers then vectorise it on every machine. Clamp, sign and
     choice work on the bit pattern (for non-negative floats, integer order is float order).

   Every function works on T frames at once and gives each frame the bits it would have alone.
   Letters: T frames, K values in, M values out, H width, N modes. Arrays are row-major, shapes stand
   beside the pointers. Two pointers of one call never overlap. */

#ifndef SSM_KERNELS_H
#define SSM_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SSM_KERNELS_VERSION 1

#if defined(__FAST_MATH__)
#error "-ffast-math changes results; compile with -O3 -ffp-contract=off"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2
#error "x87 arithmetic rounds differently; on 32-bit x86 add -msse2 -mfpmath=sse"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#if defined(__cplusplus)
#define SSM_RESTRICT __restrict
#else
#define SSM_RESTRICT restrict
#endif
/* SSM_KERNEL: one copy of the function, however often and with whatever constants it is called. */
#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ < 8)
#define SSM_ALIGNED __attribute__((aligned(64)))
#define SSM_KERNEL __attribute__((noinline, unused)) static
#elif defined(__GNUC__)
#define SSM_ALIGNED __attribute__((aligned(64)))
#define SSM_KERNEL __attribute__((noipa, unused)) static
#else
#define SSM_ALIGNED
#define SSM_KERNEL static inline
#endif

/* Lanes of a vector register, and how many outputs a frame alone, or four frames together, keep in
   registers. GNU vector types because gcc 12 turns some plain tiles into code 20 times slower;
   -DSSM_PLAIN does without. */
#if !defined(__GNUC__) || defined(SSM_PLAIN)
#define SSM_LANES 1
#define SSM_WIDE 16
#define SSM_NARROW 4
#elif defined(__AVX512F__)
#define SSM_LANES 16
#define SSM_WIDE 64
#define SSM_NARROW 16
#elif defined(__AVX__)
#define SSM_LANES 8
#define SSM_WIDE 64
#define SSM_NARROW 16
#elif defined(__aarch64__)
#define SSM_LANES 4
#define SSM_WIDE 64
#define SSM_NARROW 16
#elif defined(__SSE2__) || defined(__ARM_NEON) || defined(__wasm_simd128__)
#define SSM_LANES 4
#define SSM_WIDE 32
#define SSM_NARROW 8
#else
#define SSM_LANES 1
#define SSM_WIDE 16
#define SSM_NARROW 4
#endif

/* ---- scalar functions; accuracy is against float64 ---------------------------------------- */

static inline int32_t ssm_bits(float x)
{
    int32_t i;
    memcpy(&i, &x, sizeof i);
    return i;
}

static inline float ssm_float(int32_t i)
{
    float x;
    memcpy(&x, &i, sizeof x);
    return x;
}

/* 1 if none of x (n) is NaN or infinite; looks at all of them, so that the time is always the same */
static inline int ssm_all_finite(const float *x, size_t n)
{
    uint32_t seen = 0;
    size_t i;
    for (i = 0; i < n; i++) /* an exponent of all ones carries into the sign bit */
        seen |= ((uint32_t)ssm_bits(x[i]) & 0x7fffffffu) + 0x00800000u;
    return seen >> 31 == 0;
}

/* x, or 0 where |x| < 2^-96: what decays stays far above the subnormal numbers, which cost some
   processors a hundred cycles each. Numbers are compared as integers, NaN passes. */
static inline float ssm_flush(float x)
{
    const uint32_t b = (uint32_t)ssm_bits(x);
    const uint32_t below = ((b & 0x7fffffffu) - 0x0f800000u) >> 31; /* 1 where the difference is negative */
    return ssm_float((int32_t)(b & (below - 1u)));
}

/* min(|x|, limit), limit as bits */
static inline float ssm_magnitude(float x, int32_t limit)
{
    const int32_t b = ssm_bits(x) & 0x7fffffff;
    return ssm_float(b < limit ? b : limit);
}

/* negative where x has its sign bit set, else positive */
static inline float ssm_by_sign(float x, float negative, float positive)
{
    const int32_t mask = -(int32_t)((uint32_t)ssm_bits(x) >> 31);
    return ssm_float((ssm_bits(negative) & mask) | (ssm_bits(positive) & ~mask));
}

/* exp(x) for x in [-87, 0]: x = n ln 2 + r, polynomial in r, 2^n by its exponent bits; 1e-7 relative */
static inline float ssm_exp_negative(float x)
{
    const float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
    const float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    float p;
    r = r + n * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    return p * ssm_float((int32_t)(((uint32_t)ssm_bits(shifted) + 127u) << 23));
}

/* 1 / (1 + exp(-x)); 1e-7 absolute, 2e-7 relative for |x| <= 87 */
static inline float ssm_sigmoid(float x)
{
    const float e = ssm_exp_negative(-ssm_magnitude(x, 0x42ae0000)); /* 87 */
    return ssm_by_sign(x, e, 1.0f) / (1.0f + e);
}

/* x Phi(x), the exact GELU: Phi(-a) = exp(-a^2 / 2) q P(q), q = 1 / (1 + 0.21 a), P a minimax fit;
   4e-7 absolute for |x| <= 12 */
static inline float ssm_gelu1(float x)
{
    const float a = ssm_magnitude(x, 0x414c0000); /* 12.75 */
    const float q = 1.0f / (1.0f + 0.21f * a);
    float p = 0.4986349f;
    p = p * q + -0.83388255f;
    p = p * q + 0.90696872f;
    p = p * q + -0.33407783f;
    p = p * q + 0.18933958f;
    p = p * q + 0.07301721f;
    p = p * q * ssm_exp_negative(-(a * a * 0.5f));
    return x * ssm_by_sign(x, p, 1.0f - p);
}

/* 1 / sqrt(x) for x >= 0: a guess from the exponent bits, four Newton steps; 1.2e-7 relative */
static inline float ssm_rsqrt(float x)
{
    const float half = 0.5f * x;
    float y = ssm_float(0x5f3759df - (ssm_bits(x) >> 1));
    int k;
    for (k = 0; k < 4; k++)
        y = y * (1.5f - half * y * y);
    return y;
}

/* ---- matrix product ------------------------------------------------------------------------- */

/* A tile: y[r][o] = b[o] + sum over i of x[r][i] w[i][o] for R frames and W neighbouring outputs.
   x (R, K); w (K, M), b (M) or NULL and y (R, M) from the first of the W columns on. V is a type of
   L floats that + and * work on. */
#define SSM_TILE(R, W, V, L)                                                                       \
    static inline void ssm_tile_##R##_##W(                                                         \
        const float *SSM_RESTRICT x, const float *SSM_RESTRICT w, const float *SSM_RESTRICT b,     \
        float *SSM_RESTRICT y, size_t K, size_t M)                                                 \
    {                                                                                              \
        V a[R][W / L];                                                                             \
        V c;                                                                                       \
        size_t i, r, o;                                                                            \
        for (o = 0; o < W / L; o++) {                                                              \
            memset(&c, 0, sizeof c);                                                               \
            if (b != NULL)                                                                         \
                memcpy(&c, b + o * L, sizeof c);                                                   \
            for (r = 0; r < R; r++)                                                                \
                a[r][o] = c;                                                                       \
        }                                                                                          \
        for (i = 0; i < K; i++, w += M)                                                            \
            for (o = 0; o < W / L; o++) {                                                          \
                memcpy(&c, w + o * L, sizeof c);                                                   \
                for (r = 0; r < R; r++)                                                            \
                    a[r][o] += c * x[r * K + i];                                                   \
            }                                                                                      \
        for (r = 0; r < R; r++)                                                                    \
            for (o = 0; o < W / L; o++)                                                            \
                memcpy(y + r * M + o * L, &a[r][o], sizeof c);                                     \
    }

#if SSM_LANES >= 4
typedef float ssm_v4 __attribute__((vector_size(16)));
#define SSM_V4 ssm_v4, 4
#else
#define SSM_V4 float, 1
#endif
#if SSM_LANES >= 8
typedef float ssm_v8 __attribute__((vector_size(32)));
#define SSM_V8 ssm_v8, 8
#else
#define SSM_V8 SSM_V4
#endif
#if SSM_LANES >= 16
typedef float ssm_v16 __attribute__((vector_size(64)));
#define SSM_V16 ssm_v16, 16
#else
#define SSM_V16 SSM_V8
#endif
#define SSM_TILE_OF(R, W, VL) SSM_TILE_EXPANDED(R, W, VL)
#define SSM_TILE_EXPANDED(R, W, ...) SSM_TILE(R, W, __VA_ARGS__)

SSM_TILE(1, 1, float, 1)
SSM_TILE(1, 2, float, 1)
SSM_TILE_OF(1, 4, SSM_V4)
SSM_TILE_OF(1, 8, SSM_V8)
SSM_TILE_OF(1, 16, SSM_V16)
SSM_TILE(4, 1, float, 1)
SSM_TILE(4, 2, float, 1)
SSM_TILE_OF(4, 4, SSM_V4)
#if SSM_WIDE >= 32
SSM_TILE_OF(1, 32, SSM_V16)
SSM_TILE_OF(4, 8, SSM_V8)
#endif
#if SSM_WIDE >= 64
SSM_TILE_OF(1, 64, SSM_V16)
SSM_TILE_OF(4, 16, SSM_V16)
#endif

/* Width of the next tile with `rest` outputs to go: a power of two, at most `limit` and M. */
static inline size_t ssm_tile_width(size_t rest, size_t M, size_t limit)
{
    size_t w = 1;
    while (w < rest && w < limit && 2 * w <= M)
        w *= 2;
    return w;
}

/* y = x w + b.  x (T, K), w (K, M), b (M) or NULL, y (T, M).
   The last tile may overlap the one before it: it writes the same bits again. */
#define SSM_CASE(R, W)                                                                             \
    case R * 100 + W:                                                                              \
        ssm_tile_##R##_##W(x, w + at, b != NULL ? b + at : NULL, y + at, K, M);                    \
        break
SSM_KERNEL void ssm_linear(const float *x, const float *w, const float *b, float *y, size_t T,
                           size_t K, size_t M)
{
    while (T > 0) {
        const size_t rows = T >= 4 ? 4 : 1;
        size_t at, done = 0;
        while (done < M) {
            const size_t width = ssm_tile_width(M - done, M, rows == 4 ? SSM_NARROW : SSM_WIDE);
            at = done + width <= M ? done : M - width;
            done = at + width;
            switch (rows * 100 + width) {
                SSM_CASE(1, 1);
                SSM_CASE(1, 2);
                SSM_CASE(1, 4);
                SSM_CASE(1, 8);
                SSM_CASE(1, 16);
                SSM_CASE(4, 1);
                SSM_CASE(4, 2);
                SSM_CASE(4, 4);
#if SSM_WIDE >= 32
                SSM_CASE(1, 32);
                SSM_CASE(4, 8);
#endif
#if SSM_WIDE >= 64
                SSM_CASE(1, 64);
                SSM_CASE(4, 16);
#endif
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

/* y = w[index], index = x rounded to nearest even and clamped to [0, V-1]; NaN gives 0.
   x (T), w (V, H), y (T, H), V <= 2^20. */
SSM_KERNEL void ssm_embedding(const float *SSM_RESTRICT x, const float *SSM_RESTRICT w,
                              float *SSM_RESTRICT y, size_t T, size_t V, size_t H)
{
    const float last = (float)(V - 1);
    size_t t;
    for (t = 0; t < T; t++) {
        float index = x[t] > 0.0f ? x[t] : 0.0f;
        index = index < last ? index : last;
        index = (index + 8388608.0f) - 8388608.0f; /* 2^23: rounds to an integer, nearest even */
        memcpy(y + t * H, w + (size_t)index * H, H * sizeof *y);
    }
}

/* v = scale v + shift.  v (T, H), scale (H), shift (H). */
SSM_KERNEL void ssm_affine(float *SSM_RESTRICT v, const float *SSM_RESTRICT scale,
                           const float *SSM_RESTRICT shift, size_t T, size_t H)
{
    size_t i;
    for (; T > 0; T--, v += H)
        for (i = 0; i < H; i++)
            v[i] = v[i] * scale[i] + shift[i];
}

/* Sum of (v - offset)^power, power 1 or 2, in eight interleaved partial sums that fold 8, 4, 2, 1:
   an order of its own, because a plain sum cannot be vectorised without changing its bits. */
static inline float ssm_sum(const float *v, float offset, int power, size_t H)
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
SSM_KERNEL void ssm_layernorm(float *SSM_RESTRICT v, const float *SSM_RESTRICT scale,
                              const float *SSM_RESTRICT shift, float eps, size_t T, size_t H)
{
    size_t i;
    for (; T > 0; T--, v += H) {
        const float mean = ssm_sum(v, 0.0f, 1, H) / (float)H;
        const float r = ssm_rsqrt(ssm_sum(v, mean, 2, H) / (float)H + eps);
        for (i = 0; i < H; i++)
            v[i] = (v[i] - mean) * r * scale[i] + shift[i];
    }
}

/* state = flush(lam state + v), frame by frame; each frame's state replaces it in v.
   state (2N), lam (2, N), v (T, 2N), all planar: N real parts, then N imaginary parts. */
SSM_KERNEL void ssm_scan(float *SSM_RESTRICT state, const float *SSM_RESTRICT lam,
                         float *SSM_RESTRICT v, size_t T, size_t N)
{
    size_t i;
    for (; T > 0; T--, v += 2 * N)
        for (i = 0; i < N; i++) {
            const float re = lam[i] * state[i] - lam[N + i] * state[N + i] + v[i];
            const float im = lam[i] * state[N + i] + lam[N + i] * state[i] + v[N + i];
            v[i] = state[i] = ssm_flush(re);
            v[N + i] = state[N + i] = ssm_flush(im);
        }
}

/* y = y + d v.  y (T, H), d (H), v (T, H). */
SSM_KERNEL void ssm_feedthrough(float *SSM_RESTRICT y, const float *SSM_RESTRICT d,
                                const float *SSM_RESTRICT v, size_t T, size_t H)
{
    size_t i;
    for (; T > 0; T--, y += H, v += H)
        for (i = 0; i < H; i++)
            y[i] = y[i] + d[i] * v[i];
}

/* v = gelu(v).  v (n). */
SSM_KERNEL void ssm_gelu(float *v, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        v[i] = ssm_gelu1(v[i]);
}

/* y = first half of v, times the sigmoid of the second.  v (T, 2H), y (T, H). */
SSM_KERNEL void ssm_gate(const float *SSM_RESTRICT v, float *SSM_RESTRICT y, size_t T, size_t H)
{
    size_t i;
    for (; T > 0; T--, v += 2 * H, y += H)
        for (i = 0; i < H; i++)
            y[i] = v[i] * ssm_sigmoid(v[H + i]);
}

/* v = v + s.  v (n), s (n). */
SSM_KERNEL void ssm_add(float *SSM_RESTRICT v, const float *SSM_RESTRICT s, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        v[i] = v[i] + s[i];
}

/* sum = flush(decay sum + v), count = decay count + 1, v = sum / count, frame by frame.
   v (T, H), sum (H), count (1). */
SSM_KERNEL void ssm_pool(float *SSM_RESTRICT v, float *SSM_RESTRICT sum, float *SSM_RESTRICT count,
                         float decay, size_t T, size_t H)
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

#endif

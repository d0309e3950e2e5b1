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

   - No malloc, no libm, no recursion; only <stdint.h>, <stddef.h>, <string.h>.
   - Same bits everywhere: each output is a sum over the inputs in order, starting from its bias, and
     every operation is rounded once. Tiles and vector registers change the speed, never the bits.
     Compile with -std=c99 -O3 -ffp-contract=off and never with -ffast-math.
   - No float comparison in a loop over the values of a vector: compilers then vectorise it on every
     machine. Clamp, sign and choice work on the bit pattern (for non-negative floats, integer order is
     float order).

   Every function works on T frames at once and gives each frame the bits it would have alone.
   Letters: T frames, K values in, M values out, H width, N modes. Arrays are row-major, shapes stand
   beside the pointers. Two pointers of one call never overlap. */

#ifndef SSM_KERNELS_H
#define SSM_KERNELS_H

#include "ssm_machine.h"

/* -DSSM_FMA: matrix products use fused multiply-adds. Other bits than without, again the same everywhere;
   fast where the processor has the instruction, correct where it has not. */
#if defined(SSM_FMA)
#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#endif

#define SSM_KERNELS_VERSION 3

#if defined(__FAST_MATH__)
#error "-ffast-math changes results; compile with -O3 -ffp-contract=off"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2
#error "x87 arithmetic rounds differently; on 32-bit x86 add -msse2 -mfpmath=sse"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

/* ---- scalar functions; accuracy is against float64 ---------------------------------------- */

SSM_INLINE int32_t ssm_bits(float x)
{
    int32_t i;
    memcpy(&i, &x, sizeof i);
    return i;
}

SSM_INLINE float ssm_float(int32_t i)
{
    float x;
    memcpy(&x, &i, sizeof x);
    return x;
}

/* 1 if none of x (n) is NaN or infinite; looks at all of them, so that the time is always the same */
SSM_INLINE int ssm_all_finite(const float *x, size_t n)
{
    uint32_t seen = 0;
    size_t i;
    for (i = 0; i < n; i++) /* an exponent of all ones carries into the sign bit */
        seen |= ((uint32_t)ssm_bits(x[i]) & 0x7fffffffu) + 0x00800000u;
    return seen >> 31 == 0;
}

/* x, or 0 where |x| < 2^-96: what decays stays far above the subnormal numbers, which cost some
   processors a hundred cycles each. Numbers are compared as integers, NaN passes. */
SSM_INLINE float ssm_flush(float x)
{
    const uint32_t b = (uint32_t)ssm_bits(x);
    const uint32_t below = ((b & 0x7fffffffu) - 0x0f800000u) >> 31; /* 1 where the difference is negative */
    return ssm_float((int32_t)(b & (below - 1u)));
}

/* min(|x|, limit), limit as bits */
SSM_INLINE float ssm_magnitude(float x, int32_t limit)
{
    const int32_t b = ssm_bits(x) & 0x7fffffff;
    return ssm_float(b < limit ? b : limit);
}

/* negative where x has its sign bit set, else positive */
SSM_INLINE float ssm_by_sign(float x, float negative, float positive)
{
    const int32_t mask = -(int32_t)((uint32_t)ssm_bits(x) >> 31);
    return ssm_float((ssm_bits(negative) & mask) | (ssm_bits(positive) & ~mask));
}

/* exp(x) for x in [-87, 0]: x = n ln 2 + r, polynomial in r, 2^n by its exponent bits; 1e-7 relative */
SSM_INLINE float ssm_exp_negative(float x)
{
    const float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
    const float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    float r2, p;
    r = r + n * 2.12194440e-4f;
    r2 = r * r; /* the terms in pairs: three short chains instead of a long one */
    p = (1.9875691500e-4f * r + 1.3981999507e-3f) * r2 + (8.3334519073e-3f * r + 4.1665795894e-2f);
    p = p * r2 + (1.6666665459e-1f * r + 0.5f);
    p = p * r2 + r + 1.0f;
    return p * ssm_float((int32_t)(((uint32_t)ssm_bits(shifted) + 127u) << 23));
}

/* 1 / (1 + exp(-x)); 1e-7 absolute, 2e-7 relative for |x| <= 64 */
SSM_INLINE float ssm_sigmoid(float x)
{
    const float e = ssm_exp_negative(-ssm_magnitude(x, 0x42800000)); /* 64 */
    return ssm_by_sign(x, e, 1.0f) / (1.0f + e);
}

/* x Phi(x), the exact GELU: Phi(-a) = exp(-a^2 / 2) q P(q), q = 1 / (1 + 0.21 a), P a minimax fit;
   4e-7 absolute for |x| <= 1e12 */
SSM_INLINE float ssm_gelu1(float x)
{
    const float a = ssm_magnitude(x, 0x41200000); /* 10 */
    const float q = 1.0f / (1.0f + 0.21f * a);
    const float q2 = q * q;
    float p = (0.4986349f * q - 0.83388255f) * q2 + (0.90696872f * q - 0.33407783f);
    p = p * q2 + (0.18933958f * q + 0.07301721f);
    p = p * q * ssm_exp_negative(-(a * a * 0.5f));
    return x * ssm_by_sign(x, p, 1.0f - p);
}

/* 1 / sqrt(x) for x >= 0: a guess from the exponent bits, four Newton steps; 1.2e-7 relative */
SSM_INLINE float ssm_rsqrt(float x)
{
    const float half = 0.5f * x;
    float y = ssm_float(0x5f3759df - (int32_t)((uint32_t)ssm_bits(x) >> 1)); /* no overflow, whatever x is */
    int k;
    for (k = 0; k < 4; k++)
        y = y * (1.5f - half * y * y);
    return y;
}

/* a b + c, rounded once, where the processor does not do it. The product is exact in double; the sum
   is rounded to odd there, so that rounding it again to float cannot go wrong. */
SSM_INLINE float ssm_fma_slow(float a, float b, float c)
{
    const double product = (double)a * (double)b, sum = product + (double)c;
    const double part = sum - product;
    const double rest = (product - (sum - part)) + ((double)c - part); /* exactly what the sum lost */
    uint64_t bits;
    double odd;
    memcpy(&bits, &sum, sizeof bits);
    if ((rest > 0.0 || rest < 0.0) && (bits & 1u) == 0) /* away from zero, or towards it */
        bits += (rest > 0.0) == (sum > 0.0) ? 1u : ~(uint64_t)0;
    memcpy(&odd, &bits, sizeof odd);
    return (float)odd;
}

/* y = w[index], index = x rounded to nearest even and clamped to [0, V-1]; NaN gives 0.
   x (T), w (V, H), y (T, H), V <= 2^20. */
SSM_INLINE void ssm_embedding(const float *SSM_RESTRICT x, const float *SSM_RESTRICT w,
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

#if SSM_HELIUM
#include "ssm_helium.h"
#elif SSM_CORTEX_M
#include "ssm_cortex_m.h"
#elif SSM_NEON_FMA
#include "ssm_neon.h"
#endif

/* ---- the kernels ---------------------------------------------------------------------------- */

/* Each is written in ssm_loops.h, where its comment stands: ssm_NAME parameters, called with these
   arguments; `work` is about how many multiply-adds it is, and too many for a copy of its own where a scan
   has so few modes that gcc 12 would lay them out by hand and fuse their products. */
#define SSM_KERNELS(X)                                                                             \
    X(linear, T * K * M,                                                                           \
      (const float *x, const float *w, const float *b, float *y, size_t T, size_t K, size_t M),    \
      (x, w, b, y, T, K, M))                                                                       \
    X(affine, T * H * 16, (float *v, const float *scale, const float *shift, size_t T, size_t H),  \
      (v, scale, shift, T, H))                                                                     \
    X(layernorm, T * H * 16,                                                                       \
      (float *v, const float *scale, const float *shift, float eps, size_t T, size_t H),           \
      (v, scale, shift, eps, T, H))                                                                \
    X(scan, N < 4 ? 1 << 20 : T * N * 16,                                                          \
      (float *state, const float *lam, float *v, size_t T, size_t N), (state, lam, v, T, N))       \
    X(drive, T * N * 16,                                                                           \
      (const float *v, const float *b, const uint16_t *modes, float *x, size_t T, size_t H,        \
       size_t N),                                                                                  \
      (v, b, modes, x, T, H, N))                                                                   \
    X(readout, T * N * 16,                                                                         \
      (const float *x, const float *c, const uint16_t *modes, float *y, size_t T, size_t H,        \
       size_t N),                                                                                  \
      (x, c, modes, y, T, H, N))                                                                   \
    X(feedthrough, T * H * 16, (float *y, const float *d, const float *v, size_t T, size_t H),     \
      (y, d, v, T, H))                                                                             \
    X(gelu, n * 16, (float *v, size_t n), (v, n))                                                  \
    X(gate, T * H * 16, (const float *v, float *y, size_t T, size_t H), (v, y, T, H))              \
    X(add, n * 16, (float *v, const float *s, size_t n), (v, s, n))                                \
    X(pool, T * H * 16,                                                                            \
      (float *v, float *sum, float *count, float decay, size_t T, size_t H),                       \
      (v, sum, count, decay, T, H))

#define SSM_JOIN(a, b) SSM_JOINED(a, b)
#define SSM_JOINED(a, b) a##b
#define SSM_LEVEL 0
#include "ssm_loops.h"
#undef SSM_LEVEL

#if SSM_DISPATCH
SSM_TARGET("avx2,fma")
#define SSM_LEVEL 1
#include "ssm_loops.h"
#undef SSM_LEVEL
SSM_TARGET_END
SSM_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#define SSM_LEVEL 2
#include "ssm_loops.h"
#undef SSM_LEVEL
SSM_TARGET_END
#define SSM_CALL(name, arguments)                                                                  \
    (ssm_level() == 0   ? ssm_##name##_call0 arguments                                             \
     : ssm_level() == 1 ? ssm_##name##_call1 arguments                                             \
                        : ssm_##name##_call2 arguments)
#else
#define SSM_CALL(name, arguments) ssm_##name##_call0 arguments
#endif

#define SSM_FRONT(name, work, parameters, arguments)                                               \
    SSM_INLINE void ssm_##name parameters                                                          \
    {                                                                                              \
        if (SSM_SMALL(work))                                                                       \
            ssm_##name##_level0 arguments;                                                         \
        else                                                                                       \
            SSM_CALL(name, arguments);                                                             \
    }
SSM_KERNELS(SSM_FRONT)

#endif

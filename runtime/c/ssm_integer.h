/* ssm_integer.h - the arithmetic of a streaming state-space model in integers, C99 (and C++).

   SPDX-License-Identifier: 0BSD

   Permission to use, copy, modify, and/or distribute this software for any purpose with or without
   fee is hereby granted.

   THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS
   SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE
   AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES
   WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT,
   NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE
   OF THIS SOFTWARE.

   - int8 weights, int8 (_a8) or int16 (_a16) codes, int32 sums and states; no float instruction.
   - No malloc, no libm, no recursion; only <stdint.h>, <stddef.h>, <string.h>.
   - Same bits on every target: every function below is defined in integers, and the vector units
     (AVX2, AVX-512, NEON, Helium, the DSP instructions of Cortex-M4) compute exactly that.
   - Constant time: no branch, loop count or division depends on the data, only on T, K, M, H, N.
   - The exporter proves for a model that nothing below overflows. Bytes that break its proof give
     other numbers, never an access out of bounds.

   Every function works on T frames at once and gives each frame the bits it would have alone.
   Letters: T frames, K codes in, M sums out, H width, N modes, Kp = K rounded up to a multiple of 4.
   Arrays are row-major, shapes stand beside the pointers. Two pointers of one call never overlap.

   The one definition of rounding (>> is floor, as every compiler here does it):
       R(a, b)   = (a b + 2^31) >> 32
       rot(x, l) = R(2 x, l) = (x l + 2^30) >> 31       l in Q31, |x| < 2^30

   What is in ssm_integer_*.h belongs to this file. -DSSM_PLAIN does without vector units. */

#ifndef SSM_INTEGER_H
#define SSM_INTEGER_H

#include "ssm_machine.h"

#define SSM_INTEGER_VERSION 2

/* SSM_GLUE: what is done to each element between two matrix products. On hosts it becomes part of its
   caller, compiled for the sizes of the model; elsewhere, and where it is picked at run time, it stands
   once. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__)) && !SSM_DISPATCH
#define SSM_GLUE SSM_INLINE
#else
#define SSM_GLUE SSM_KERNEL
#endif

/* for loops that are only fast when they are gone */
#if defined(__clang__)
#define SSM_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define SSM_UNROLL _Pragma("GCC unroll 16")
#endif

/* DSP instructions of Cortex-M4, M7 and M33, where there is no Helium */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_PROFILE) && defined(__GNUC__) &&              \
    !defined(__ARM_FEATURE_MVE) && !defined(SSM_PLAIN)
#if __ARM_ARCH_PROFILE == 'M'
#define SSM_ARM_DSP
#endif
#endif

/* ---- codes and matrix products -------------------------------------------------------------- */

/* q = clamp(R(v << s, m) + b, -limit, limit); the codes K..Kp-1 of a frame become 0.
   v (T, K), m (K), b (K) or NULL, q (T, Kp); 0 < limit <= 127 (a8) or 32767 (a16), 1 <= s <= 30. */
SSM_GLUE void ssm_quantize_a8(const int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                                const int32_t *SSM_RESTRICT b, int8_t *SSM_RESTRICT q,
                                int32_t limit, uint32_t s, size_t T, size_t K);
SSM_GLUE void ssm_quantize_a16(const int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                                 const int32_t *SSM_RESTRICT b, int16_t *SSM_RESTRICT q,
                                 int32_t limit, uint32_t s, size_t T, size_t K);

/* y = W q, exact.  q (T, Kp) with zeros in the pad, W (M, K) packed, y (T, M).
   Packed: columns in groups of 16 (the last group has what is left of Kp); inside a group row by
   row, so W[o][k] lies at 16 M (k / 16) + o min(16, Kp - k / 16 * 16) + k % 16. |W| <= 127. */
SSM_KERNEL void ssm_dot_a8(const int8_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,
                           int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M);
SSM_KERNEL void ssm_dot_a16(const int16_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,
                            int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M);

/* The same for an SSM of H channels, whose N modes belong to one each and stand channel after channel;
   modes (H): how many each has, N in all. w (2N) is what is not zero of a matrix, planar.
   drive: y = w q of a mode's channel.  q (T, Hp), y (T, 2N).
   readout: y = sum of w q over the modes of a channel.  q (T, Kp) of K = 2N codes, y (T, H). */
SSM_KERNEL void ssm_drive_a8(const int8_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,
                             const uint16_t *SSM_RESTRICT modes, int32_t *SSM_RESTRICT y, size_t T,
                             size_t H, size_t N);
SSM_KERNEL void ssm_drive_a16(const int16_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,
                              const uint16_t *SSM_RESTRICT modes, int32_t *SSM_RESTRICT y, size_t T,
                              size_t H, size_t N);
SSM_KERNEL void ssm_readout_a8(const int8_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,
                               const uint16_t *SSM_RESTRICT modes, int32_t *SSM_RESTRICT y, size_t T,
                               size_t H, size_t N);
SSM_KERNEL void ssm_readout_a16(const int16_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,
                                const uint16_t *SSM_RESTRICT modes, int32_t *SSM_RESTRICT y, size_t T,
                                size_t H, size_t N);

/* v = R(v << s, m) + b.  v (T, M), m (M), b (M) or NULL, 1 <= s <= 30. */
SSM_GLUE void ssm_requant(int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                            const int32_t *SSM_RESTRICT b, uint32_t s, size_t T, size_t M);

/* v = v + R(q << s, m).  v (T, H), q (T, Hp), m (H), 1 <= s <= 30. */
SSM_GLUE void ssm_ifeedthrough_a8(int32_t *SSM_RESTRICT v, const int8_t *SSM_RESTRICT q,
                                    const int32_t *SSM_RESTRICT m, uint32_t s, size_t T, size_t H);
SSM_GLUE void ssm_ifeedthrough_a16(int32_t *SSM_RESTRICT v, const int16_t *SSM_RESTRICT q,
                                     const int32_t *SSM_RESTRICT m, uint32_t s, size_t T, size_t H);

/* ---- state ---------------------------------------------------------------------------------- */

/* x_re = rot(x_re, l_re) - rot(x_im, l_im) + d_re,  x_im = rot(x_re, l_im) + rot(x_im, l_re) + d_im,
   frame by frame; each frame's state replaces its d.
   x (2N), l (2, N), d (T, 2N), all planar: N real parts, then N imaginary parts.
   l in Q31 (_l32), or its upper halves in Q15 (_l16). */
SSM_GLUE void ssm_rotate_l16(int32_t *SSM_RESTRICT x, const int16_t *SSM_RESTRICT l,
                               int32_t *SSM_RESTRICT d, size_t T, size_t N);
SSM_GLUE void ssm_rotate_l32(int32_t *SSM_RESTRICT x, const int32_t *SSM_RESTRICT l,
                               int32_t *SSM_RESTRICT d, size_t T, size_t N);

/* ---- element by element --------------------------------------------------------------------- */

/* v = c << k.  c (n), v (n). */
SSM_GLUE void ssm_iinput(const int16_t *SSM_RESTRICT c, int32_t *SSM_RESTRICT v, uint32_t k,
                           size_t n);

/* v = GELU(v), one code is (5/32) / 2^p, 1 <= p <= 25.  v (n). */
SSM_GLUE void ssm_igelu(int32_t *v, uint32_t p, size_t n);

/* y = R(v_value << 2, sigmoid(v_gate)); one code of v_gate is (1/3) / 2^p, 1 <= p <= 25.
   v (T, 2H): H values, |v| < 2^29, then H gates; y (T, H). */
SSM_GLUE void ssm_igate(const int32_t *SSM_RESTRICT v, int32_t *SSM_RESTRICT y, uint32_t p,
                          size_t T, size_t H);

/* y = R(w[index] << s, m), index = clamp(c, 0, V - 1).  c (T), w (V, H), m (H), y (T, H). */
SSM_GLUE void ssm_iembedding(const int16_t *SSM_RESTRICT c, const int8_t *SSM_RESTRICT w,
                               const int32_t *SSM_RESTRICT m, int32_t *SSM_RESTRICT y, uint32_t s,
                               size_t T, size_t V, size_t H);

/* v = v + u.  v (n), u (n). */
SSM_GLUE void ssm_iadd(int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT u, size_t n);

/* ---- normalisation and pooling: exact definitions, line by line, beside the code ------------------ */

/* v = R(n << s, m) + b, n = (v - mean) / sqrt(variance + eps) / sqrt(H) in units of 2^-29, per frame.
   mean_shift = floor(log2 H), mean_factor = 2^mean_shift / H in Q31, eps: the root of eps in codes.
   v (T, H), |v| < 2^29, m (H), b (H). */
SSM_KERNEL void ssm_ilayernorm(int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                               const int32_t *SSM_RESTRICT b, uint32_t s, uint32_t mean_shift,
                               int32_t mean_factor, int32_t eps, size_t T, size_t H);

/* v = mean of all v so far, over the last 2^33 frames at most. v (T, H), |v| < 2^29;
   state (2H + 2): int64 sums (H) and an int64 count, each as its lower, then its upper word. */
SSM_KERNEL void ssm_ipool_mean(int32_t *SSM_RESTRICT v, int32_t *SSM_RESTRICT state, size_t T,
                               size_t H);

/* v = exponential mean of all v so far: weight gain / 2^31 for the newest, a multiple of 4.
   v (T, H), |v| < 2^28; state (H + 1): sums (H), then their weight. */
SSM_KERNEL void ssm_ipool_ema(int32_t *SSM_RESTRICT v, int32_t *SSM_RESTRICT state, int32_t gain,
                              size_t T, size_t H);

/* ---- edges: the only floats, absent with -DSSM_NO_FLOAT --------------------------------------- */

#ifndef SSM_NO_FLOAT
#if defined(__FAST_MATH__)
#error "-ffast-math changes the codes of inputs; compile with -O3 -ffp-contract=off, or without floats"
#endif
/* 1 if none of x (n) is NaN or infinite */
SSM_KERNEL int ssm_ifinite(const float *x, size_t n);

/* c = x factor, rounded to nearest even, saturated at +-32767.  x (T, U) finite, factor (U), c (T, U) */
SSM_KERNEL void ssm_encode(const float *SSM_RESTRICT x, const float *SSM_RESTRICT factor,
                           int16_t *SSM_RESTRICT c, size_t T, size_t U);

/* y = v scale.  v (T, Y), scale (Y), y (T, Y) */
SSM_KERNEL void ssm_decode(const int32_t *SSM_RESTRICT v, const float *SSM_RESTRICT scale,
                           float *SSM_RESTRICT y, size_t T, size_t Y);
#endif

/* ---- tables: 32 parabolas each, c0 + F (c1 + F c2): c0 (32), c1 (32), c2 (32) ---------------- */

/* |x| Phi(-|x|) / (5/32) in units of 2^-29; a segment is 5/32 wide */
static const int32_t ssm_gelu_table[3 * 32] = {
    0, 235105427, 405155305, 514790761, 571199574, 583384698, 561300832, 514980664,
    453762323, 385701247, 317210838, 252935708, 195827070, 147367127, 107880077, 76870371,
    53340619, 36057733, 23752362, 15250520, 9545836, 5825882, 3467229, 2012436,
    1139248, 629075, 338846, 178049, 91271, 45646, 22272, 10603,
    536667586, 403369459, 276507863, 161804975, 63711174, -14978773, -73266893, -111849766,
    -132814623, -139205365, -134542246, -122373306, -105916100, -87821561, -70064759, -53945681,
    -40169876, -28974529, -20268627, -13763466, -9079168, -5821512, -3630000, -2202072,
    -1300036, -747137, -418091, -227853, -120957, -62556, -31523, -15479,
    -132913463, -126539407, -114473899, -97974698, -78681852, -58377920, -38746886, -21173833,
    -6615055, 4449094, 11983969, 16312060, 17992430, 17694923, 16090691, 13772356,
    11208207, 8727574, 6529888, 4708199, 3278517, 2208415, 1440827, 911391,
    559381, 333356, 192994, 108596, 59414, 31616, 16368, 8247,
};

/* 1 / (1 + exp(-|x|)) in units of 2^-30; a segment is 1/3 wide */
static const int32_t ssm_sigmoid_table[3 * 32] = {
    536870912, 625529996, 709481749, 784968172, 849750123, 903157422, 945748661, 978823393,
    1003981710, 1022818680, 1036756577, 1046979425, 1054429278, 1059832865, 1063738889, 1066555430,
    1068582760, 1070040151, 1071086865, 1071838128, 1072377081, 1072763590, 1073040708, 1073239359,
    1073381745, 1073483791, 1073556923, 1073609330, 1073646885, 1073673795, 1073693078, 1073706896,
    179769564, 174741467, 160866821, 140876383, 118095691, 95441923, 74887788, 57414008,
    43242461, 32136139, 23646137, 17272314, 12549340, 9082506, 6554968, 4721229,
    3395513, 2439494, 1751324, 1256602, 901282, 646252, 463294, 332085,
    238011, 170574, 122238, 87596, 62769, 44978, 32230, 23094,
    -4902791, -13675925, -19787950, -22624960, -22562190, -20518888, -17476646, -14194749,
    -11137039, -8520693, -6400883, -4745215, -3484333, -2540917, -1843772, -1333139,
    -961461, -692133, -497594, -357396, -256525, -184034, -131983, -94629,
    -67836, -48622, -34847, -24973, -17896, -12824, -9190, -6585,
};

/* ---- scalars -------------------------------------------------------------------------------- */

/* wrapping, so that no bytes of a damaged model are undefined behaviour */
static inline int32_t ssm_sum32(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t ssm_shift(int32_t a, uint32_t s)
{
    return (int32_t)((uint32_t)a << s);
}

/* R(a, b) */
static inline int32_t ssm_mulr(int32_t a, int32_t b)
{
#if defined(SSM_ARM_DSP)
    int32_t r;
    __asm__("smmulr %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
    return r;
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
    /* these cores multiply to 32 bits only, and the library's 64-bit product branches */
    const int32_t a_high = a >> 16, b_high = b >> 16;
    const uint32_t a_low = (uint32_t)a & 0xffff, b_low = (uint32_t)b & 0xffff;
    const int32_t p = a_high * (int32_t)b_low, q = b_high * (int32_t)a_low;
    const uint32_t carry = ((uint32_t)p & 0xffff) + ((uint32_t)q & 0xffff) +
                           ((a_low * b_low) >> 16) + 0x8000;
    return a_high * b_high + (p >> 16) + (q >> 16) + (int32_t)(carry >> 16);
#else
    return (int32_t)(((int64_t)a * b + 0x80000000) >> 32);
#endif
}

#include "ssm_integer_channels.h"
#include "ssm_integer_frame.h"
#include "ssm_integer_state.h"

/* ---- the functions above, by the best that the compiler's flags allow ----------------------------- */

#define SSM_I(name) ssm_##name
#if defined(SSM_PLAIN) || !defined(__GNUC__)
#include "ssm_integer_scalar.h"
#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#include "ssm_integer_helium.h"
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include "ssm_integer_neon.h"
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512VNNI__)
#include "ssm_integer_avx512.h"
#elif defined(__AVX2__)
#include "ssm_integer_avx2.h"
#elif SSM_DISPATCH
#include "ssm_integer_dispatch.h"
#else
#include "ssm_integer_scalar.h"
#endif

#endif

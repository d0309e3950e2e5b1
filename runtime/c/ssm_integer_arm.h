/* ssm_integer_arm.h - the vector units of Arm for ssm_integer.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

/* ---- the DSP instructions of Cortex-M4, M7, M33: two products at once ------------------------- */

#if defined(SSM_ARM_DSP)

static inline uint32_t ssm_four_bytes(const void *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Codes 0 and 2, and 1 and 3, of four, as two int16 each: how bytes come apart. */
static inline void ssm_four_a8(const int8_t *q, uint32_t *even, uint32_t *odd)
{
    const uint32_t x = ssm_four_bytes(q);
    __asm__("sxtb16 %0, %1" : "=r"(*even) : "r"(x));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(*odd) : "r"(x));
}

static inline void ssm_four_a16(const int16_t *q, uint32_t *even, uint32_t *odd)
{
    const uint32_t a = ssm_four_bytes(q), b = ssm_four_bytes(q + 2);
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(*even) : "r"(a), "r"(b));
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(*odd) : "r"(b), "r"(a));
}

/* sum += four codes times the weights at w + at. One statement, or the compiler loads the weights of
   all rows first and runs out of registers. */
#define SSM_DSP_ROW(sum, w, at)                                                                    \
    __asm__ volatile("ldr %1, [%3, %6]\n\t"                                                        \
                     "sxtb16 %2, %1\n\t"                                                           \
                     "smlad %0, %4, %2, %0\n\t"                                                    \
                     "sxtb16 %1, %1, ror #8\n\t"                                                   \
                     "smlad %0, %5, %1, %0"                                                        \
                     : "+r"(sum), "=&r"(four), "=&r"(two)                                          \
                     : "r"(w), "r"(even), "r"(odd), "i"(at)                                        \
                     : "memory")

/* Four columns of eight rows, 16 bytes apart. */
#define SSM_DSP_ROWS8(at)                                                                          \
    SSM_DSP_ROW(s0, w, (at));                                                                      \
    SSM_DSP_ROW(s1, w, (at) + 16);                                                                 \
    SSM_DSP_ROW(s2, w, (at) + 32);                                                                 \
    SSM_DSP_ROW(s3, w, (at) + 48);                                                                 \
    SSM_DSP_ROW(s4, w, (at) + 64);                                                                 \
    SSM_DSP_ROW(s5, w, (at) + 80);                                                                 \
    SSM_DSP_ROW(s6, w, (at) + 96);                                                                 \
    SSM_DSP_ROW(s7, w, (at) + 112)

/* y = W q of eight rows, or of one, from row `o` on. */
#define SSM_DSP_DOT(code_t, name, four_codes)                                                      \
    static inline void name##_rows8(const code_t *q, const int8_t *weights, int32_t *y, size_t o,  \
                                    size_t full, size_t rest, size_t M)                            \
    {                                                                                              \
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;                    \
        const int8_t *w = weights + 16 * o, *end = weights + full * M;                             \
        uint32_t even, odd, four, two;                                                             \
        size_t k;                                                                                  \
        for (; w < end; w += 16 * M, q += 16) {                                                    \
            four_codes(q, &even, &odd);                                                            \
            SSM_DSP_ROWS8(0);                                                                      \
            four_codes(q + 4, &even, &odd);                                                        \
            SSM_DSP_ROWS8(4);                                                                      \
            four_codes(q + 8, &even, &odd);                                                        \
            SSM_DSP_ROWS8(8);                                                                      \
            four_codes(q + 12, &even, &odd);                                                       \
            SSM_DSP_ROWS8(12);                                                                     \
        }                                                                                          \
        for (k = 0; k < rest; k += 4, q += 4) {                                                    \
            const int8_t *row = end + rest * o + k;                                                \
            four_codes(q, &even, &odd);                                                            \
            SSM_DSP_ROW(s0, row, 0);                                                               \
            SSM_DSP_ROW(s1, row += rest, 0);                                                       \
            SSM_DSP_ROW(s2, row += rest, 0);                                                       \
            SSM_DSP_ROW(s3, row += rest, 0);                                                       \
            SSM_DSP_ROW(s4, row += rest, 0);                                                       \
            SSM_DSP_ROW(s5, row += rest, 0);                                                       \
            SSM_DSP_ROW(s6, row += rest, 0);                                                       \
            SSM_DSP_ROW(s7, row += rest, 0);                                                       \
        }                                                                                          \
        y[o] = s0;                                                                                 \
        y[o + 1] = s1;                                                                             \
        y[o + 2] = s2;                                                                             \
        y[o + 3] = s3;                                                                             \
        y[o + 4] = s4;                                                                             \
        y[o + 5] = s5;                                                                             \
        y[o + 6] = s6;                                                                             \
        y[o + 7] = s7;                                                                             \
    }                                                                                              \
    static inline void name##_row(const code_t *q, const int8_t *weights, int32_t *y, size_t o,    \
                                  size_t full, size_t rest, size_t M)                              \
    {                                                                                              \
        int32_t s0 = 0;                                                                            \
        const int8_t *w = weights + 16 * o, *end = weights + full * M;                             \
        uint32_t even, odd, four, two;                                                             \
        size_t k;                                                                                  \
        for (; w < end; w += 16 * M - 16)                                                          \
            for (k = 0; k < 16; k += 4, q += 4, w += 4) {                                          \
                four_codes(q, &even, &odd);                                                        \
                SSM_DSP_ROW(s0, w, 0);                                                             \
            }                                                                                      \
        for (k = 0, w = end + rest * o; k < rest; k += 4, q += 4, w += 4) {                        \
            four_codes(q, &even, &odd);                                                            \
            SSM_DSP_ROW(s0, w, 0);                                                                 \
        }                                                                                          \
        y[o] = s0;                                                                                 \
    }                                                                                              \
    SSM_KERNEL void name(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,               \
                         int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M)                    \
    {                                                                                              \
        const size_t rest = (K + 3) / 4 * 4 % 16, full = (K + 3) / 4 * 4 - rest;                   \
        size_t o;                                                                                  \
        for (; T > 0; T--, q += full + rest, y += M) {                                             \
            for (o = 0; o + 8 <= M; o += 8)                                                        \
                name##_rows8(q, w, y, o, full, rest, M);                                           \
            for (; o < M; o++)                                                                     \
                name##_row(q, w, y, o, full, rest, M);                                             \
        }                                                                                          \
    }

SSM_DSP_DOT(int8_t, ssm_dot_a8, ssm_four_a8)
SSM_DSP_DOT(int16_t, ssm_dot_a16, ssm_four_a16)

#endif

/* ---- Helium of Cortex-M55: four int32, sixteen int8 -------------------------------------------- */

#if defined(SSM_HELIUM)

#include <arm_mve.h>

#define SSM_V(name) ssm_v_##name
#define SSM_I(name) ssm_##name
#define SSM_VALUES 4

typedef int32x4_t ssm_v_t;

static inline ssm_v_t ssm_v_load(const int32_t *p, size_t k)
{
    return k == 4 ? vldrwq_s32(p) : vldrwq_z_s32(p, vctp32q((uint32_t)k));
}

static inline ssm_v_t ssm_v_load16(const int16_t *p, size_t k)
{
    return k == 4 ? vldrhq_s32(p) : vldrhq_z_s32(p, vctp32q((uint32_t)k));
}

static inline ssm_v_t ssm_v_load8(const int8_t *p, size_t k)
{
    return k == 4 ? vldrbq_s32(p) : vldrbq_z_s32(p, vctp32q((uint32_t)k));
}

static inline void ssm_v_store(int32_t *p, ssm_v_t a, size_t k)
{
    if (k == 4)
        vstrwq_s32(p, a);
    else
        vstrwq_p_s32(p, a, vctp32q((uint32_t)k));
}

static inline void ssm_v_store16(int16_t *p, ssm_v_t a, size_t k)
{
    if (k == 4)
        vstrhq_s32(p, a);
    else
        vstrhq_p_s32(p, a, vctp32q((uint32_t)k));
}

static inline void ssm_v_store8(int8_t *p, ssm_v_t a, size_t k)
{
    if (k == 4)
        vstrbq_s32(p, a);
    else
        vstrbq_p_s32(p, a, vctp32q((uint32_t)k));
}

static inline ssm_v_t ssm_v_all(int32_t a)
{
    return vdupq_n_s32(a);
}

static inline ssm_v_t ssm_v_add(ssm_v_t a, ssm_v_t b)
{
    return vaddq_s32(a, b);
}

static inline ssm_v_t ssm_v_sub(ssm_v_t a, ssm_v_t b)
{
    return vsubq_s32(a, b);
}

static inline ssm_v_t ssm_v_min(ssm_v_t a, ssm_v_t b)
{
    return vminq_s32(a, b);
}

static inline ssm_v_t ssm_v_max(ssm_v_t a, ssm_v_t b)
{
    return vmaxq_s32(a, b);
}

static inline ssm_v_t ssm_v_and(ssm_v_t a, ssm_v_t b)
{
    return vandq_s32(a, b);
}

static inline ssm_v_t ssm_v_xor(ssm_v_t a, ssm_v_t b)
{
    return veorq_s32(a, b);
}

static inline ssm_v_t ssm_v_abs(ssm_v_t a)
{
    return vabsq_s32(a);
}

static inline ssm_v_t ssm_v_shl(ssm_v_t a, uint32_t s)
{
    return vshlq_r_s32(a, (int32_t)s);
}

static inline ssm_v_t ssm_v_sar(ssm_v_t a, uint32_t s)
{
    return vshlq_r_s32(a, -(int32_t)s);
}

static inline ssm_v_t ssm_v_scale(ssm_v_t a, uint32_t s, ssm_v_t b)
{
    return vrmulhq_s32(ssm_v_shl(a, s), b);
}

static inline ssm_v_t ssm_v_rot(ssm_v_t a, ssm_v_t b)
{
    return vqrdmulhq_s32(a, b);
}

static inline ssm_v_t ssm_v_table(const int32_t *table, ssm_v_t a)
{
    return vldrwq_gather_shifted_offset_s32(table, vreinterpretq_u32_s32(a));
}

#include "ssm_integer_kernels.h"

/* Eight rows share the loaded codes: sum = add(sum, codes, weights), `stride` bytes from row to row. */
#define SSM_HELIUM_ROWS8(add, x, w, stride)                                                        \
    do {                                                                                           \
        const int8_t *row = (w);                                                                   \
        s0 = add(s0, x, row);                                                                      \
        s1 = add(s1, x, row += (stride));                                                          \
        s2 = add(s2, x, row += (stride));                                                          \
        s3 = add(s3, x, row += (stride));                                                          \
        s4 = add(s4, x, row += (stride));                                                          \
        s5 = add(s5, x, row += (stride));                                                          \
        s6 = add(s6, x, row += (stride));                                                          \
        s7 = add(s7, x, row += (stride));                                                          \
    } while (0)

#define SSM_HELIUM_STORE8                                                                          \
    do {                                                                                           \
        y[0] = s0;                                                                                 \
        y[1] = s1;                                                                                 \
        y[2] = s2;                                                                                 \
        y[3] = s3;                                                                                 \
        y[4] = s4;                                                                                 \
        y[5] = s5;                                                                                 \
        y[6] = s6;                                                                                 \
        y[7] = s7;                                                                                 \
    } while (0)

#define SSM_ADD_A8(sum, x, w) vmladavaq_s8(sum, x, vldrbq_s8(w))
#define SSM_ADD_A16(sum, x, w) vmladavaq_s16(sum, x, vldrbq_s16(w))
#define SSM_ADD_SOME_A8(sum, x, w) vmladavaq_s8(sum, x, vldrbq_z_s8(w, some))
#define SSM_ADD_SOME_A16(sum, x, w) vmladavaq_s16(sum, x, vldrbq_z_s16(w, some))

/* Rows of sums from row o on, over `full` columns in groups of 16, then `rest` of them. */
static inline void ssm_rows8_a8(const int8_t *q, const int8_t *w, int32_t *y, size_t full,
                                size_t rest, size_t M, size_t o)
{
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    const int8_t *p = w + 16 * o, *end = w + full * M;
    for (; p < end; p += 16 * M, q += 16) {
        const int8x16_t x = vldrbq_s8(q);
        SSM_HELIUM_ROWS8(SSM_ADD_A8, x, p, 16);
    }
    if (rest > 0) {
        const mve_pred16_t some = vctp8q((uint32_t)rest);
        const int8x16_t x = vldrbq_z_s8(q, some);
        SSM_HELIUM_ROWS8(SSM_ADD_SOME_A8, x, end + rest * o, rest);
    }
    SSM_HELIUM_STORE8;
}

static inline void ssm_rows8_a16(const int16_t *q, const int8_t *w, int32_t *y, size_t full,
                                 size_t rest, size_t M, size_t o)
{
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    const int8_t *p = w + 16 * o, *end = w + full * M;
    size_t k;
    for (; p < end; p += 16 * M, q += 16) {
        const int16x8_t a = vldrhq_s16(q), b = vldrhq_s16(q + 8);
        SSM_HELIUM_ROWS8(SSM_ADD_A16, a, p, 16);
        SSM_HELIUM_ROWS8(SSM_ADD_A16, b, p + 8, 16);
    }
    for (k = 0; k < rest; k += 8) {
        const mve_pred16_t some = vctp16q((uint32_t)(rest - k));
        const int16x8_t x = vldrhq_z_s16(q + k, some);
        SSM_HELIUM_ROWS8(SSM_ADD_SOME_A16, x, end + rest * o + k, rest);
    }
    SSM_HELIUM_STORE8;
}

static inline int32_t ssm_row_a8(const int8_t *q, const int8_t *w, size_t full, size_t rest,
                                 size_t M, size_t o)
{
    int32_t sum = 0;
    const int8_t *p = w + 16 * o, *end = w + full * M;
    const mve_pred16_t some = vctp8q((uint32_t)rest);
    for (; p < end; p += 16 * M, q += 16)
        sum = SSM_ADD_A8(sum, vldrbq_s8(q), p);
    return SSM_ADD_SOME_A8(sum, vldrbq_z_s8(q, some), end + rest * o);
}

static inline int32_t ssm_row_a16(const int16_t *q, const int8_t *w, size_t full, size_t rest,
                                  size_t M, size_t o)
{
    int32_t sum = 0;
    const int8_t *p = w + 16 * o, *end = w + full * M;
    size_t k;
    for (; p < end; p += 16 * M, q += 16) {
        sum = SSM_ADD_A16(sum, vldrhq_s16(q), p);
        sum = SSM_ADD_A16(sum, vldrhq_s16(q + 8), p + 8);
    }
    for (k = 0; k < rest; k += 8) {
        const mve_pred16_t some = vctp16q((uint32_t)(rest - k));
        sum = SSM_ADD_SOME_A16(sum, vldrhq_z_s16(q + k, some), end + rest * o + k);
    }
    return sum;
}

#define SSM_HELIUM_DOT(code_t, name)                                                               \
    SSM_KERNEL void ssm_dot_##name(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,     \
                                   int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M)          \
    {                                                                                              \
        const size_t rest = (K + 3) / 4 * 4 % 16, full = (K + 3) / 4 * 4 - rest;                   \
        size_t o;                                                                                  \
        for (; T > 0; T--, q += full + rest, y += M) {                                             \
            for (o = 0; o + 8 <= M; o += 8)                                                        \
                ssm_rows8_##name(q, w, y + o, full, rest, M, o);                                   \
            for (; o < M; o++)                                                                     \
                y[o] = ssm_row_##name(q, w, full, rest, M, o);                                     \
        }                                                                                          \
    }

SSM_HELIUM_DOT(int8_t, a8)
SSM_HELIUM_DOT(int16_t, a16)

#endif

/* ---- NEON of 64-bit Arm: four int32, sixteen int8 ----------------------------------------------- */

#if defined(SSM_NEON)

#include <arm_neon.h>

#define SSM_V(name) ssm_v_##name
#define SSM_I(name) ssm_##name
#define SSM_VALUES 4

typedef int32x4_t ssm_v_t;

static inline ssm_v_t ssm_v_load(const int32_t *p, size_t k)
{
    int32_t some[4] = {0, 0, 0, 0};
    if (k == 4)
        return vld1q_s32(p);
    memcpy(some, p, k * sizeof *p);
    return vld1q_s32(some);
}

static inline ssm_v_t ssm_v_load16(const int16_t *p, size_t k)
{
    int16_t some[4] = {0, 0, 0, 0};
    memcpy(some, p, k * sizeof *p);
    return vmovl_s16(vld1_s16(some));
}

static inline ssm_v_t ssm_v_load8(const int8_t *p, size_t k)
{
    int8_t some[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    memcpy(some, p, k);
    return vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(some))));
}

static inline void ssm_v_store(int32_t *p, ssm_v_t a, size_t k)
{
    int32_t some[4];
    vst1q_s32(some, a);
    memcpy(p, some, k * sizeof *p);
}

static inline void ssm_v_store16(int16_t *p, ssm_v_t a, size_t k)
{
    int16_t some[4];
    vst1_s16(some, vmovn_s32(a));
    memcpy(p, some, k * sizeof *p);
}

static inline void ssm_v_store8(int8_t *p, ssm_v_t a, size_t k)
{
    const int16x4_t low = vmovn_s32(a);
    int8_t some[8];
    vst1_s8(some, vmovn_s16(vcombine_s16(low, low)));
    memcpy(p, some, k);
}

static inline ssm_v_t ssm_v_all(int32_t a)
{
    return vdupq_n_s32(a);
}

static inline ssm_v_t ssm_v_add(ssm_v_t a, ssm_v_t b)
{
    return vaddq_s32(a, b);
}

static inline ssm_v_t ssm_v_sub(ssm_v_t a, ssm_v_t b)
{
    return vsubq_s32(a, b);
}

static inline ssm_v_t ssm_v_min(ssm_v_t a, ssm_v_t b)
{
    return vminq_s32(a, b);
}

static inline ssm_v_t ssm_v_max(ssm_v_t a, ssm_v_t b)
{
    return vmaxq_s32(a, b);
}

static inline ssm_v_t ssm_v_and(ssm_v_t a, ssm_v_t b)
{
    return vandq_s32(a, b);
}

static inline ssm_v_t ssm_v_xor(ssm_v_t a, ssm_v_t b)
{
    return veorq_s32(a, b);
}

static inline ssm_v_t ssm_v_abs(ssm_v_t a)
{
    return vabsq_s32(a);
}

static inline ssm_v_t ssm_v_shl(ssm_v_t a, uint32_t s)
{
    return vshlq_s32(a, vdupq_n_s32((int32_t)s));
}

static inline ssm_v_t ssm_v_sar(ssm_v_t a, uint32_t s)
{
    return vshlq_s32(a, vdupq_n_s32(-(int32_t)s));
}

static inline ssm_v_t ssm_v_scale(ssm_v_t a, uint32_t s, ssm_v_t b)
{
    return vqrdmulhq_s32(ssm_v_shl(a, s - 1), b);
}

static inline ssm_v_t ssm_v_rot(ssm_v_t a, ssm_v_t b)
{
    return vqrdmulhq_s32(a, b);
}

static inline ssm_v_t ssm_v_table(const int32_t *table, ssm_v_t a)
{
    const int32_t b[4] = {table[vgetq_lane_s32(a, 0)], table[vgetq_lane_s32(a, 1)],
                          table[vgetq_lane_s32(a, 2)], table[vgetq_lane_s32(a, 3)]};
    return vld1q_s32(b);
}

#include "ssm_integer_kernels.h"

#define SSM_PER_SUM 1
#define SSM_TILE_1 16
#define SSM_TILE_4 4

typedef int32x4_t ssm_v_sum_t;
typedef int8x16_t ssm_v_a8_t, ssm_v_weights_a8_t;
typedef int16x8x2_t ssm_v_a16_t, ssm_v_weights_a16_t;

static inline ssm_v_a8_t ssm_v_codes_a8(const int8_t *q, size_t n)
{
    int8_t some[16] = {0};
    memcpy(some, q, n);
    return vld1q_s8(some);
}

static inline ssm_v_weights_a8_t ssm_v_weights_a8(const int8_t *w, size_t n, size_t rows)
{
    (void)rows;
    return ssm_v_codes_a8(w, n);
}

static inline ssm_v_a16_t ssm_v_codes_a16(const int16_t *q, size_t n)
{
    int16_t some[16] = {0};
    ssm_v_a16_t x;
    memcpy(some, q, n * sizeof *q);
    x.val[0] = vld1q_s16(some);
    x.val[1] = vld1q_s16(some + 8);
    return x;
}

static inline ssm_v_weights_a16_t ssm_v_weights_a16(const int8_t *w, size_t n, size_t rows)
{
    const int8x16_t bytes = ssm_v_weights_a8(w, n, rows);
    ssm_v_weights_a16_t x;
    x.val[0] = vmovl_s8(vget_low_s8(bytes));
    x.val[1] = vmovl_high_s8(bytes);
    return x;
}

static inline ssm_v_sum_t ssm_v_mac_a8(ssm_v_sum_t s, ssm_v_weights_a8_t w, ssm_v_a8_t x)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(s, w, x);
#else
    /* two products of at most 127^2 fit int16 */
    return vpadalq_s16(s, vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x));
#endif
}

static inline ssm_v_sum_t ssm_v_mac_a16(ssm_v_sum_t s, ssm_v_weights_a16_t w, ssm_v_a16_t x)
{
    s = vmlal_s16(s, vget_low_s16(w.val[0]), vget_low_s16(x.val[0]));
    s = vmlal_high_s16(s, w.val[0], x.val[0]);
    s = vmlal_s16(s, vget_low_s16(w.val[1]), vget_low_s16(x.val[1]));
    return vmlal_high_s16(s, w.val[1], x.val[1]);
}

static inline ssm_v_sum_t ssm_v_start_a8(const int8_t *q, size_t K)
{
    (void)q;
    (void)K;
    return vdupq_n_s32(0);
}

static inline ssm_v_sum_t ssm_v_start_a16(const int16_t *q, size_t K)
{
    (void)q;
    (void)K;
    return vdupq_n_s32(0);
}

/* rows in fours: [a0 + a1, a2 + a3, b0 + b1, b2 + b3] and so on */
SSM_INLINE void ssm_v_fold_a8(int32_t *y, const ssm_v_sum_t *s, size_t R, size_t rows)
{
    size_t r;
    (void)rows;
    if (R == 1)
        *y = vaddvq_s32(s[0]);
    for (r = 0; r + 4 <= R; r += 4)
        vst1q_s32(y + r, vpaddq_s32(vpaddq_s32(s[r], s[r + 1]), vpaddq_s32(s[r + 2], s[r + 3])));
}

SSM_INLINE void ssm_v_fold_a16(int32_t *y, const ssm_v_sum_t *s, size_t R, size_t rows)
{
    ssm_v_fold_a8(y, s, R, rows);
}

#include "ssm_integer_dot.h"

#endif

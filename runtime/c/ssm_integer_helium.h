/* ssm_integer_helium.h - ssm_integer.h in Helium, of Cortex-M55: four int32, sixteen int8. What the
   functions mean is said in ssm_integer_scalar.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

#include <arm_mve.h>

#define SSM_V(name) ssm_v_##name
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

/* ssm_integer_neon.h - ssm_integer.h in NEON of 64-bit Arm: eight int32 in two registers, sixteen int8.
   What the functions mean is said in ssm_integer_scalar.h and ssm_integer_dot.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

#include <arm_neon.h>

#define SSM_V(name) ssm_v_##name
#define SSM_VALUES 8

typedef int32x4x2_t ssm_v_t;

static inline ssm_v_t ssm_v_two(int32x4_t low, int32x4_t high)
{
    ssm_v_t a;
    a.val[0] = low;
    a.val[1] = high;
    return a;
}

static inline ssm_v_t ssm_v_load(const int32_t *p, size_t k)
{
    int32_t some[8] = {0};
    if (k < 8)
        p = (const int32_t *)memcpy(some, p, k * sizeof *p);
    return ssm_v_two(vld1q_s32(p), vld1q_s32(p + 4));
}

static inline ssm_v_t ssm_v_load16(const int16_t *p, size_t k)
{
    int16_t some[8] = {0};
    int16x8_t a;
    if (k < 8)
        p = (const int16_t *)memcpy(some, p, k * sizeof *p);
    a = vld1q_s16(p);
    return ssm_v_two(vmovl_s16(vget_low_s16(a)), vmovl_high_s16(a));
}

static inline ssm_v_t ssm_v_load8(const int8_t *p, size_t k)
{
    int8_t some[8] = {0};
    int16x8_t a;
    if (k < 8)
        p = (const int8_t *)memcpy(some, p, k);
    a = vmovl_s8(vld1_s8(p));
    return ssm_v_two(vmovl_s16(vget_low_s16(a)), vmovl_high_s16(a));
}

static inline void ssm_v_store(int32_t *p, ssm_v_t a, size_t k)
{
    int32_t some[8];
    int32_t *to = k < 8 ? some : p;
    vst1q_s32(to, a.val[0]);
    vst1q_s32(to + 4, a.val[1]);
    if (k < 8)
        memcpy(p, some, k * sizeof *p);
}

static inline void ssm_v_store16(int16_t *p, ssm_v_t a, size_t k)
{
    int16_t some[8];
    int16_t *to = k < 8 ? some : p;
    vst1q_s16(to, vmovn_high_s32(vmovn_s32(a.val[0]), a.val[1]));
    if (k < 8)
        memcpy(p, some, k * sizeof *p);
}

static inline void ssm_v_store8(int8_t *p, ssm_v_t a, size_t k)
{
    int8_t some[8];
    int8_t *to = k < 8 ? some : p;
    vst1_s8(to, vmovn_s16(vmovn_high_s32(vmovn_s32(a.val[0]), a.val[1])));
    if (k < 8)
        memcpy(p, some, k);
}

static inline ssm_v_t ssm_v_all(int32_t a)
{
    return ssm_v_two(vdupq_n_s32(a), vdupq_n_s32(a));
}

#define SSM_NEON_OF_TWO(name, function)                                                            \
    static inline ssm_v_t ssm_v_##name(ssm_v_t a, ssm_v_t b)                                       \
    {                                                                                              \
        return ssm_v_two(function(a.val[0], b.val[0]), function(a.val[1], b.val[1]));              \
    }
SSM_NEON_OF_TWO(add, vaddq_s32)
SSM_NEON_OF_TWO(sub, vsubq_s32)
SSM_NEON_OF_TWO(min, vminq_s32)
SSM_NEON_OF_TWO(max, vmaxq_s32)
SSM_NEON_OF_TWO(and, vandq_s32)
SSM_NEON_OF_TWO(xor, veorq_s32)
SSM_NEON_OF_TWO(rot, vqrdmulhq_s32) /* (2 a b + 2^31) >> 32 */
SSM_NEON_OF_TWO(shift, vshlq_s32)   /* left by b, right by -b */

static inline ssm_v_t ssm_v_abs(ssm_v_t a)
{
    return ssm_v_two(vabsq_s32(a.val[0]), vabsq_s32(a.val[1]));
}

static inline ssm_v_t ssm_v_shl(ssm_v_t a, uint32_t s)
{
    return ssm_v_shift(a, ssm_v_all((int32_t)s));
}

static inline ssm_v_t ssm_v_sar(ssm_v_t a, uint32_t s)
{
    return ssm_v_shift(a, ssm_v_all(-(int32_t)s));
}

static inline ssm_v_t ssm_v_scale(ssm_v_t a, uint32_t s, ssm_v_t b)
{
    return ssm_v_rot(ssm_v_shl(a, s - 1), b);
}

/* The 128 bytes of a table are two halves for instructions that look up bytes: 4 a .. 4 a + 3. */
static inline int32x4_t ssm_neon_table(int8x16x4_t low, int8x16x4_t high, int32x4_t a)
{
    const int32x4_t bytes = vmlaq_s32(vdupq_n_s32(0x03020100), a, vdupq_n_s32(0x04040404));
    const uint8x16_t at = vreinterpretq_u8_s32(bytes);
    return vreinterpretq_s32_s8(vqtbx4q_s8(vqtbl4q_s8(low, at), high, vsubq_u8(at, vdupq_n_u8(64))));
}

static inline ssm_v_t ssm_v_table(const int32_t *table, ssm_v_t a)
{
    const int8x16x4_t low = vld1q_s8_x4((const int8_t *)table);
    const int8x16x4_t high = vld1q_s8_x4((const int8_t *)(table + 16));
    return ssm_v_two(ssm_neon_table(low, high, a.val[0]), ssm_neon_table(low, high, a.val[1]));
}

#include "ssm_integer_kernels.h"

#define SSM_PER_SUM_a8 1
#define SSM_PER_SUM_a16 1
#define SSM_TILE_1_a8 16
#define SSM_TILE_1_a16 8
#define SSM_TILE_4_a8 4
#define SSM_TILE_4_a16 4

typedef int32x4_t ssm_v_sum_t;
typedef int8x16_t ssm_v_a8_t, ssm_v_weights_a8_t;
typedef int16x8x2_t ssm_v_a16_t, ssm_v_weights_a16_t;

static inline ssm_v_a8_t ssm_v_codes_a8(const int8_t *q, size_t n)
{
    int32_t some[4] = {0, 0, 0, 0};
    if (n == 16)
        return vld1q_s8(q);
    memcpy(some, q, 4);
    if (n > 4)
        memcpy(some + 1, q + 4, 4);
    if (n > 8)
        memcpy(some + 2, q + 8, 4);
    return vreinterpretq_s8_s32(vld1q_s32(some));
}

static inline ssm_v_a16_t ssm_v_codes_a16(const int16_t *q, size_t n)
{
    const int16x4_t zero = vdup_n_s16(0);
    ssm_v_a16_t x;
    if (n == 16) {
        x.val[0] = vld1q_s16(q);
        x.val[1] = vld1q_s16(q + 8);
    } else {
        x.val[0] = vcombine_s16(vld1_s16(q), n > 4 ? vld1_s16(q + 4) : zero);
        x.val[1] = vcombine_s16(n > 8 ? vld1_s16(q + 8) : zero, zero);
    }
    return x;
}

/* n = 4, 8 or 12: the first four bytes again where there are no more, because the codes are 0 there. */
static inline ssm_v_weights_a8_t ssm_v_weights_a8(const int8_t *w, size_t n, size_t rows)
{
    int32_t some[4];
    (void)rows;
    if (n == 16)
        return vld1q_s8(w);
    memcpy(some, w, 4);
    memcpy(some + 1, w + (n > 4 ? 4 : 0), 4);
    memcpy(some + 2, w + (n > 8 ? 8 : 0), 4);
    some[3] = 0;
    return vreinterpretq_s8_s32(vld1q_s32(some));
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

static inline ssm_v_sum_t ssm_v_zero(void)
{
    return vdupq_n_s32(0);
}

static inline int32_t ssm_v_start_a8(const int8_t *q, size_t n)
{
    (void)q;
    (void)n;
    return 0;
}

static inline int32_t ssm_v_start_a16(const int16_t *q, size_t n)
{
    (void)q;
    (void)n;
    return 0;
}

/* four rows at once: [a0 + a1, a2 + a3, b0 + b1, b2 + b3], and so on */
SSM_INLINE void ssm_v_fold_a8(int32_t *y, const ssm_v_sum_t *s, size_t R, size_t rows, int32_t start,
                               int more)
{
    size_t r;
    (void)rows;
    (void)start;
    if (R == 1)
        *y = vaddvq_s32(s[0]) + (more ? *y : 0);
    SSM_UNROLL for (r = 0; r + 4 <= R; r += 4) {
        const int32x4_t a = vpaddq_s32(s[r], s[r + 1]), b = vpaddq_s32(s[r + 2], s[r + 3]);
        const int32x4_t sum = vpaddq_s32(a, b);
        vst1q_s32(y + r, more ? vaddq_s32(sum, vld1q_s32(y + r)) : sum);
    }
}

SSM_INLINE void ssm_v_fold_a16(int32_t *y, const ssm_v_sum_t *s, size_t R, size_t rows, int32_t start,
                               int more)
{
    ssm_v_fold_a8(y, s, R, rows, start, more);
}

#include "ssm_integer_dot.h"

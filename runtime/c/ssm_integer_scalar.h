/* ssm_integer_scalar.h - vectors of one value: what ssm_integer.h is where no vector unit is known.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h)

   A vector file gives ssm_integer_kernels.h: SSM_V(NAME) and SSM_I(NAME), the names of its vector
   functions and of its kernels; SSM_VALUES, how many int32 a vector holds; and the functions below.
   k is how many of them a load or store touches, SSM_VALUES but for the last ones of an array. */

#define SSM_V(name) ssm_v_##name
#define SSM_VALUES 1

typedef int32_t ssm_v_t;

static inline ssm_v_t ssm_v_load(const int32_t *p, size_t k)
{
    (void)k;
    return *p;
}

static inline ssm_v_t ssm_v_load16(const int16_t *p, size_t k)
{
    (void)k;
    return *p;
}

static inline ssm_v_t ssm_v_load8(const int8_t *p, size_t k)
{
    (void)k;
    return *p;
}

static inline void ssm_v_store(int32_t *p, ssm_v_t a, size_t k)
{
    (void)k;
    *p = a;
}

/* the values fit */
static inline void ssm_v_store16(int16_t *p, ssm_v_t a, size_t k)
{
    (void)k;
    *p = (int16_t)a;
}

static inline void ssm_v_store8(int8_t *p, ssm_v_t a, size_t k)
{
    (void)k;
    *p = (int8_t)a;
}

static inline ssm_v_t ssm_v_all(int32_t a)
{
    return a;
}

/* a + b and a - b, wrapping */
static inline ssm_v_t ssm_v_add(ssm_v_t a, ssm_v_t b)
{
    return ssm_sum32(a, b);
}

static inline ssm_v_t ssm_v_sub(ssm_v_t a, ssm_v_t b)
{
    return (int32_t)((uint32_t)a - (uint32_t)b);
}

/* Smaller or larger. Without a conditional move compilers branch, and then time would depend on data. */
#if defined(__riscv) || defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
/* all bits where a < b: the sign of a - b, or of a where that may overflow */
static inline int32_t ssm_v_less(int32_t a, int32_t b)
{
    const uint32_t difference = (uint32_t)a - (uint32_t)b;
    return (int32_t)((uint32_t)(a & ~b) | (~(uint32_t)(a ^ b) & difference)) >> 31;
}

static inline ssm_v_t ssm_v_min(ssm_v_t a, ssm_v_t b)
{
    return b ^ ((a ^ b) & ssm_v_less(a, b));
}

static inline ssm_v_t ssm_v_max(ssm_v_t a, ssm_v_t b)
{
    return b ^ ((a ^ b) & ssm_v_less(b, a));
}
#else
static inline ssm_v_t ssm_v_min(ssm_v_t a, ssm_v_t b)
{
    return a < b ? a : b;
}

static inline ssm_v_t ssm_v_max(ssm_v_t a, ssm_v_t b)
{
    return a > b ? a : b;
}
#endif

static inline ssm_v_t ssm_v_and(ssm_v_t a, ssm_v_t b)
{
    return a & b;
}

static inline ssm_v_t ssm_v_xor(ssm_v_t a, ssm_v_t b)
{
    return a ^ b;
}

/* a << s and floor(a / 2^s), 0 <= s <= 31 */
static inline ssm_v_t ssm_v_shl(ssm_v_t a, uint32_t s)
{
    return ssm_shift(a, s);
}

static inline ssm_v_t ssm_v_sar(ssm_v_t a, uint32_t s)
{
    return a >> s;
}

/* |a| of a > -2^31 */
static inline ssm_v_t ssm_v_abs(ssm_v_t a)
{
    const int32_t sign = a >> 31;
    return ssm_v_sub(a ^ sign, sign);
}

/* R(a << s, b), 1 <= s <= 31, and rot(a, b) */
static inline ssm_v_t ssm_v_scale(ssm_v_t a, uint32_t s, ssm_v_t b)
{
    return ssm_mulr(ssm_shift(a, s), b);
}

static inline ssm_v_t ssm_v_rot(ssm_v_t a, ssm_v_t b)
{
    return ssm_mulr(ssm_shift(a, 1), b);
}

/* table[a], 0 <= a < 32 */
static inline ssm_v_t ssm_v_table(const int32_t *table, ssm_v_t a)
{
    return table[a];
}

#include "ssm_integer_kernels.h"

#if defined(SSM_ARM_DSP)
#include "ssm_integer_dsp.h"
#elif defined(__SSE2__) && defined(__GNUC__) && !defined(SSM_PLAIN)
#include "ssm_integer_sse2.h"
#else

/* Four rows `width` bytes apart, whose codes are loaded once. Sums wrap, so that no bytes are undefined
   behaviour. */
#define SSM_FOUR_ROWS(width)                                                                       \
    for (i = 0; i < (width); i++, q++, w++) {                                                      \
        s0 += (uint32_t)(*q * w[0]);                                                               \
        s1 += (uint32_t)(*q * w[(width)]);                                                         \
        s2 += (uint32_t)(*q * w[2 * (width)]);                                                     \
        s3 += (uint32_t)(*q * w[3 * (width)]);                                                     \
    }

#define SSM_ONE_ROW(width)                                                                         \
    for (i = 0; i < (width); i++, q++, w++)                                                        \
        s0 += (uint32_t)(*q * w[0]);

/* Rows from o on of one frame: full columns in groups of 16, then rest. */
#define SSM_SCALAR_DOT(aX, code_t)                                                                 \
    static inline void ssm_v_rows4_##aX(const code_t *q, const int8_t *packed, int32_t *y,         \
                                        size_t full, size_t rest, size_t M, size_t o)              \
    {                                                                                              \
        const int8_t *w = packed + 16 * o, *end = packed + full * M;                               \
        uint32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;                                                   \
        size_t i;                                                                                  \
        for (; w < end; w += 16 * M - 16)                                                          \
            SSM_FOUR_ROWS(16)                                                                      \
        w = end + rest * o;                                                                        \
        SSM_FOUR_ROWS(rest)                                                                        \
        y[0] = (int32_t)s0;                                                                        \
        y[1] = (int32_t)s1;                                                                        \
        y[2] = (int32_t)s2;                                                                        \
        y[3] = (int32_t)s3;                                                                        \
    }                                                                                              \
    static inline int32_t ssm_v_row_##aX(const code_t *q, const int8_t *packed, size_t full,       \
                                         size_t rest, size_t M, size_t o)                          \
    {                                                                                              \
        const int8_t *w = packed + 16 * o, *end = packed + full * M;                               \
        uint32_t s0 = 0;                                                                           \
        size_t i;                                                                                  \
        for (; w < end; w += 16 * M - 16)                                                          \
            SSM_ONE_ROW(16)                                                                        \
        w = end + rest * o;                                                                        \
        SSM_ONE_ROW(rest)                                                                          \
        return (int32_t)s0;                                                                        \
    }                                                                                              \
    SSM_KERNEL void SSM_I(dot_##aX)(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,    \
                                    int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M)         \
    {                                                                                              \
        const size_t rest = (K + 3) / 4 * 4 % 16, full = (K + 3) / 4 * 4 - rest;                   \
        size_t o;                                                                                  \
        for (; T > 0; T--, q += full + rest, y += M) {                                             \
            for (o = 0; o + 4 <= M; o += 4)                                                        \
                ssm_v_rows4_##aX(q, w, y + o, full, rest, M, o);                                   \
            for (; o < M; o++)                                                                     \
                y[o] = ssm_v_row_##aX(q, w, full, rest, M, o);                                     \
        }                                                                                          \
    }

SSM_SCALAR_DOT(a8, int8_t)
SSM_SCALAR_DOT(a16, int16_t)
#endif

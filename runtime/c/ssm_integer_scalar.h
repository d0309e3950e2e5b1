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

static inline ssm_v_t ssm_v_min(ssm_v_t a, ssm_v_t b)
{
    return a < b ? a : b;
}

static inline ssm_v_t ssm_v_max(ssm_v_t a, ssm_v_t b)
{
    return a > b ? a : b;
}

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
#else

/* Four rows of a group of columns: every code is loaded once for four rows. */
#define SSM_DOT4(code_t, name)                                                                     \
    static inline void name(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,            \
                            uint32_t *SSM_RESTRICT sum, size_t width)                              \
    {                                                                                              \
        uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];                               \
        size_t i;                                                                                  \
        for (i = 0; i < width; i++) {                                                              \
            const int32_t x = q[i];                                                                \
            s0 += (uint32_t)(x * w[i]);                                                            \
            s1 += (uint32_t)(x * w[width + i]);                                                    \
            s2 += (uint32_t)(x * w[2 * width + i]);                                                \
            s3 += (uint32_t)(x * w[3 * width + i]);                                                \
        }                                                                                          \
        sum[0] = s0;                                                                               \
        sum[1] = s1;                                                                               \
        sum[2] = s2;                                                                               \
        sum[3] = s3;                                                                               \
    }

#define SSM_DOT1(code_t, name)                                                                     \
    static inline uint32_t name(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,        \
                                uint32_t sum, size_t width)                                        \
    {                                                                                              \
        size_t i;                                                                                  \
        for (i = 0; i < width; i++)                                                                \
            sum += (uint32_t)(q[i] * w[i]);                                                        \
        return sum;                                                                                \
    }

/* The product of T frames. K is padded; a last group of fewer than 16 columns has shorter rows. */
#define SSM_DOT(code_t, name)                                                                      \
    SSM_DOT4(code_t, name##_rows)                                                                  \
    SSM_DOT1(code_t, name##_row)                                                                   \
    SSM_KERNEL void name(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,               \
                         int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M)                    \
    {                                                                                              \
        const size_t rest = (K + 3) / 4 * 4 % 16, full = (K + 3) / 4 * 4 - rest;                   \
        size_t k, o;                                                                               \
        for (; T > 0; T--, q += full + rest, y += M) {                                             \
            for (o = 0; o + 4 <= M; o += 4) {                                                      \
                uint32_t sum[4] = {0, 0, 0, 0};                                                    \
                for (k = 0; k < full; k += 16)                                                     \
                    name##_rows(q + k, w + k * M + o * 16, sum, 16);                               \
                name##_rows(q + full, w + full * M + o * rest, sum, rest);                         \
                memcpy(y + o, sum, sizeof sum);                                                    \
            }                                                                                      \
            for (; o < M; o++) {                                                                   \
                uint32_t sum = 0;                                                                  \
                for (k = 0; k < full; k += 16)                                                     \
                    sum = name##_row(q + k, w + k * M + o * 16, sum, 16);                          \
                sum = name##_row(q + full, w + full * M + o * rest, sum, rest);                    \
                y[o] = (int32_t)sum;                                                               \
            }                                                                                      \
        }                                                                                          \
    }

SSM_DOT(int8_t, ssm_dot_a8)
SSM_DOT(int16_t, ssm_dot_a16)
#endif

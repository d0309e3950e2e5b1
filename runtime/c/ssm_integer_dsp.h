/* ssm_integer_dsp.h - the matrix product of ssm_integer.h by the DSP instructions of Cortex-M4, M7 and
   M33: two products at once.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

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

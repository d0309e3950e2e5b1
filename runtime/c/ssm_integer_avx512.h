/* ssm_integer_avx512.h - ssm_integer.h in AVX-512 with VNNI: sixteen int32, four rows of sixteen int8.
   What the functions mean is said in ssm_integer_scalar.h and ssm_integer_dot.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

/* gcc 12's own header warns of itself in C++: what a mask leaves out is undefined on purpose there. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define SSM_V(name) ssm_avx512_##name
#define SSM_VALUES 16

typedef __m512i ssm_avx512_t;

static inline __mmask16 ssm_avx512_first(size_t k)
{
    return (__mmask16)((1u << k) - 1u);
}

static inline ssm_avx512_t ssm_avx512_load(const int32_t *p, size_t k)
{
    return k == 16 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi32(ssm_avx512_first(k), p);
}

static inline ssm_avx512_t ssm_avx512_load16(const int16_t *p, size_t k)
{
    return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(ssm_avx512_first(k), p));
}

static inline ssm_avx512_t ssm_avx512_load8(const int8_t *p, size_t k)
{
    return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(ssm_avx512_first(k), p));
}

static inline void ssm_avx512_store(int32_t *p, ssm_avx512_t a, size_t k)
{
    if (k == 16)
        _mm512_storeu_si512(p, a);
    else
        _mm512_mask_storeu_epi32(p, ssm_avx512_first(k), a);
}

static inline void ssm_avx512_store16(int16_t *p, ssm_avx512_t a, size_t k)
{
    _mm256_mask_storeu_epi16(p, ssm_avx512_first(k), _mm512_cvtepi32_epi16(a));
}

static inline void ssm_avx512_store8(int8_t *p, ssm_avx512_t a, size_t k)
{
    _mm_mask_storeu_epi8(p, ssm_avx512_first(k), _mm512_cvtepi32_epi8(a));
}

static inline ssm_avx512_t ssm_avx512_all(int32_t a)
{
    return _mm512_set1_epi32(a);
}

static inline ssm_avx512_t ssm_avx512_add(ssm_avx512_t a, ssm_avx512_t b)
{
    return _mm512_add_epi32(a, b);
}

static inline ssm_avx512_t ssm_avx512_sub(ssm_avx512_t a, ssm_avx512_t b)
{
    return _mm512_sub_epi32(a, b);
}

static inline ssm_avx512_t ssm_avx512_min(ssm_avx512_t a, ssm_avx512_t b)
{
    return _mm512_min_epi32(a, b);
}

static inline ssm_avx512_t ssm_avx512_max(ssm_avx512_t a, ssm_avx512_t b)
{
    return _mm512_max_epi32(a, b);
}

static inline ssm_avx512_t ssm_avx512_and(ssm_avx512_t a, ssm_avx512_t b)
{
    return _mm512_and_si512(a, b);
}

static inline ssm_avx512_t ssm_avx512_xor(ssm_avx512_t a, ssm_avx512_t b)
{
    return _mm512_xor_si512(a, b);
}

static inline ssm_avx512_t ssm_avx512_abs(ssm_avx512_t a)
{
    return _mm512_abs_epi32(a);
}

static inline ssm_avx512_t ssm_avx512_shl(ssm_avx512_t a, uint32_t s)
{
    return _mm512_sll_epi32(a, _mm_cvtsi32_si128((int)s));
}

static inline ssm_avx512_t ssm_avx512_sar(ssm_avx512_t a, uint32_t s)
{
    return _mm512_sra_epi32(a, _mm_cvtsi32_si128((int)s));
}

/* Even and odd products of 64 bits; of each, the rounded upper half. */
static inline ssm_avx512_t ssm_avx512_mulr(ssm_avx512_t a, ssm_avx512_t b)
{
    const ssm_avx512_t half = _mm512_set1_epi64((long long)1 << 31);
    const ssm_avx512_t upper =
        _mm512_setr_epi32(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    const ssm_avx512_t even = _mm512_add_epi64(_mm512_mul_epi32(a, b), half);
    const ssm_avx512_t odd = _mm512_add_epi64(
        _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32)), half);
    return _mm512_permutex2var_epi32(even, upper, odd);
}

static inline ssm_avx512_t ssm_avx512_scale(ssm_avx512_t a, uint32_t s, ssm_avx512_t b)
{
    return ssm_avx512_mulr(ssm_avx512_shl(a, s), b);
}

static inline ssm_avx512_t ssm_avx512_rot(ssm_avx512_t a, ssm_avx512_t b)
{
    return ssm_avx512_mulr(_mm512_slli_epi32(a, 1), b);
}

/* The 32 values of a table lie in two registers. */
static inline ssm_avx512_t ssm_avx512_table(const int32_t *table, ssm_avx512_t a)
{
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(table), a, _mm512_loadu_si512(table + 16));
}

#include "ssm_integer_kernels.h"

/* ---- 8-bit codes: four rows a register, four partial sums each ----------------------------------- */

#define SSM_PER_SUM_a8 4
#if defined(__clang__)
#define SSM_TILE_1_a8 4 /* clang 14 keeps the sums of 8 in memory */
#else
#define SSM_TILE_1_a8 8
#endif
#define SSM_TILE_4_a8 4

typedef __m512i ssm_avx512_sum_t, ssm_avx512_a8_t, ssm_avx512_weights_a8_t;

/* n codes, then zeros, four times */
static inline ssm_avx512_a8_t ssm_avx512_codes_a8(const int8_t *q, size_t n)
{
    const __m128i *all = (const __m128i *)(const void *)q;
    return _mm512_broadcast_i32x4(n == 16 ? _mm_loadu_si128(all)
                                          : _mm_maskz_loadu_epi8(ssm_avx512_first(n), q));
}

/* Weights plus 128, as vpdpbusd multiplies unsigned by signed; `start` takes 128 times the codes off. */
static inline ssm_avx512_weights_a8_t ssm_avx512_weights_a8(const int8_t *w, size_t n, size_t rows)
{
    const unsigned words = 0x1111u * ((1u << n / 4) - 1u); /* n / 4 of each 4 */
    const __m512i offset = _mm512_set1_epi8(-128);
    if (n == 16 && rows == 4)
        return _mm512_xor_si512(_mm512_loadu_si512(w), offset);
    return _mm512_xor_si512(
        _mm512_maskz_expandloadu_epi32((__mmask16)(words & ((1u << 4 * rows) - 1u)), w), offset);
}

static inline ssm_avx512_sum_t ssm_avx512_mac_a8(ssm_avx512_sum_t s, __m512i w, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(w), "v"(x)); /* gcc 12 copies s for the intrinsic */
    return s;
}

static inline ssm_avx512_sum_t ssm_avx512_zero(void)
{
    return _mm512_setzero_si512();
}

static inline int32_t ssm_avx512_start_a8(const int8_t *q, size_t n)
{
    __m512i s = _mm512_setzero_si512();
    size_t k;
    for (k = 0; k < n; k += 64) {
        const __mmask64 some = ~(__mmask64)0 >> (n - k < 64 ? 64 - (n - k) : 0);
        s = _mm512_dpbusd_epi32(s, _mm512_set1_epi8(-128), _mm512_maskz_loadu_epi8(some, q + k));
    }
    return -_mm512_reduce_add_epi32(s);
}

/* In each quarter i: the sum over quarter i of a, of b, of c, of d. */
static inline __m512i ssm_avx512_quarters(__m512i a, __m512i b, __m512i c, __m512i d)
{
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* y = or += start + the first k of a */
static inline void ssm_avx512_put(int32_t *y, __m512i a, size_t k, int32_t start, int more)
{
    a = _mm512_add_epi32(a, _mm512_set1_epi32(start));
    ssm_avx512_store(y, more ? _mm512_add_epi32(a, ssm_avx512_load(y, k)) : a, k);
}

/* Row i of register r is quarter i, place r of `quarters`. */
SSM_INLINE void ssm_avx512_fold_a8(int32_t *y, const ssm_avx512_sum_t *s, size_t R, size_t rows,
                                   int32_t start, int more)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const size_t step = R > 1;
    size_t r;
    SSM_UNROLL for (r = 0; r < R; r += 4) {
        const __m512i a =
            ssm_avx512_quarters(s[r], s[r + step], s[r + 2 * step], s[r + 3 * step]);
        ssm_avx512_put(y + 4 * r, _mm512_permutexvar_epi32(order, a), R > 1 ? 16 : rows, start,
                       more);
    }
}

/* ---- 16-bit codes: two rows a register, eight partial sums each ---------------------------------- */

#define SSM_PER_SUM_a16 2
#define SSM_TILE_1_a16 8
#define SSM_TILE_4_a16 4

typedef __m512i ssm_avx512_a16_t, ssm_avx512_weights_a16_t;

/* n codes, then zeros, twice */
static inline ssm_avx512_a16_t ssm_avx512_codes_a16(const int16_t *q, size_t n)
{
    const __m256i *all = (const __m256i *)(const void *)q;
    return _mm512_broadcast_i64x4(n == 16 ? _mm256_loadu_si256(all)
                                          : _mm256_maskz_loadu_epi16(ssm_avx512_first(n), q));
}

static inline ssm_avx512_weights_a16_t ssm_avx512_weights_a16(const int8_t *w, size_t n, size_t rows)
{
    const unsigned words = 0x11u * ((1u << n / 4) - 1u) & ((1u << 4 * rows) - 1u);
    if (n == 16 && rows == 2)
        return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)w));
    return _mm512_cvtepi8_epi16(_mm256_maskz_expandloadu_epi32((__mmask8)words, w));
}

static inline ssm_avx512_sum_t ssm_avx512_mac_a16(ssm_avx512_sum_t s, __m512i w, __m512i x)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(s) : "v"(w), "v"(x));
    return s;
}

static inline int32_t ssm_avx512_start_a16(const int16_t *q, size_t n)
{
    (void)q;
    (void)n;
    return 0;
}

/* In quarters 0 and 2: the sum over the lower and over the upper half of four registers. */
static inline __m512i ssm_avx512_halves(const ssm_avx512_sum_t *s, size_t step)
{
    const __m512i a = ssm_avx512_quarters(s[0], s[step], s[2 * step], s[3 * step]);
    return _mm512_add_epi32(a, _mm512_shuffle_i32x4(a, a, 0xb1));
}

SSM_INLINE void ssm_avx512_fold_a16(int32_t *y, const ssm_avx512_sum_t *s, size_t R, size_t rows,
                                    int32_t start, int more)
{
    const __m512i order =
        _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27);
    const __m512i a = ssm_avx512_halves(s, R > 1), b = R == 8 ? ssm_avx512_halves(s + 4, 1) : a;
    ssm_avx512_put(y, _mm512_permutex2var_epi32(a, order, b), R > 1 ? 2 * R : rows, start,
                   more);
}

#include "ssm_integer_dot.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

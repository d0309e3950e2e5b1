/* ssm_integer_avx2.h - ssm_integer.h in AVX2: eight int32, two rows of sixteen int8. What the functions
   mean is said in ssm_integer_scalar.h and ssm_integer_dot.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

#include <immintrin.h>

#define SSM_V(name) ssm_avx2_##name
#define SSM_VALUES 8

typedef __m256i ssm_avx2_t;

/* all bits of the first k of eight */
static inline ssm_avx2_t ssm_avx2_first(size_t k)
{
    const ssm_avx2_t order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)k), order);
}

static inline ssm_avx2_t ssm_avx2_load(const int32_t *p, size_t k)
{
    if (k == 8)
        return _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm256_maskload_epi32((const int *)p, ssm_avx2_first(k));
}

static inline ssm_avx2_t ssm_avx2_load16(const int16_t *p, size_t k)
{
    int16_t some[8] = {0};
    if (k < 8)
        p = (const int16_t *)memcpy(some, p, k * sizeof *p);
    return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline ssm_avx2_t ssm_avx2_load8(const int8_t *p, size_t k)
{
    int8_t some[8] = {0};
    if (k < 8)
        p = (const int8_t *)memcpy(some, p, k);
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

static inline void ssm_avx2_store(int32_t *p, ssm_avx2_t a, size_t k)
{
    if (k == 8)
        _mm256_storeu_si256((__m256i *)(void *)p, a);
    else
        _mm256_maskstore_epi32((int *)p, ssm_avx2_first(k), a);
}

static inline void ssm_avx2_store16(int16_t *p, ssm_avx2_t a, size_t k)
{
    int16_t some[8];
    const __m128i low = _mm256_castsi256_si128(a), high = _mm256_extracti128_si256(a, 1);
    _mm_storeu_si128((__m128i *)(void *)(k < 8 ? some : p), _mm_packs_epi32(low, high));
    if (k < 8)
        memcpy(p, some, k * sizeof *p);
}

static inline void ssm_avx2_store8(int8_t *p, ssm_avx2_t a, size_t k)
{
    int8_t some[8];
    const __m128i low = _mm256_castsi256_si128(a), high = _mm256_extracti128_si256(a, 1);
    const __m128i words = _mm_packs_epi32(low, high);
    _mm_storel_epi64((__m128i *)(void *)(k < 8 ? some : p), _mm_packs_epi16(words, words));
    if (k < 8)
        memcpy(p, some, k);
}

static inline ssm_avx2_t ssm_avx2_all(int32_t a)
{
    return _mm256_set1_epi32(a);
}

static inline ssm_avx2_t ssm_avx2_add(ssm_avx2_t a, ssm_avx2_t b)
{
    return _mm256_add_epi32(a, b);
}

static inline ssm_avx2_t ssm_avx2_sub(ssm_avx2_t a, ssm_avx2_t b)
{
    return _mm256_sub_epi32(a, b);
}

static inline ssm_avx2_t ssm_avx2_min(ssm_avx2_t a, ssm_avx2_t b)
{
    return _mm256_min_epi32(a, b);
}

static inline ssm_avx2_t ssm_avx2_max(ssm_avx2_t a, ssm_avx2_t b)
{
    return _mm256_max_epi32(a, b);
}

static inline ssm_avx2_t ssm_avx2_and(ssm_avx2_t a, ssm_avx2_t b)
{
    return _mm256_and_si256(a, b);
}

static inline ssm_avx2_t ssm_avx2_xor(ssm_avx2_t a, ssm_avx2_t b)
{
    return _mm256_xor_si256(a, b);
}

static inline ssm_avx2_t ssm_avx2_abs(ssm_avx2_t a)
{
    return _mm256_abs_epi32(a);
}

static inline ssm_avx2_t ssm_avx2_shl(ssm_avx2_t a, uint32_t s)
{
    return _mm256_sll_epi32(a, _mm_cvtsi32_si128((int)s));
}

static inline ssm_avx2_t ssm_avx2_sar(ssm_avx2_t a, uint32_t s)
{
    return _mm256_sra_epi32(a, _mm_cvtsi32_si128((int)s));
}

/* Even and odd products of 64 bits; of each, the rounded upper half. */
static inline ssm_avx2_t ssm_avx2_mulr(ssm_avx2_t a, ssm_avx2_t b)
{
    const ssm_avx2_t half = _mm256_set1_epi64x((long long)1 << 31);
    const ssm_avx2_t even = _mm256_add_epi64(_mm256_mul_epi32(a, b), half);
    const ssm_avx2_t odd = _mm256_add_epi64(
        _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32)), half);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

static inline ssm_avx2_t ssm_avx2_scale(ssm_avx2_t a, uint32_t s, ssm_avx2_t b)
{
    return ssm_avx2_mulr(ssm_avx2_shl(a, s), b);
}

static inline ssm_avx2_t ssm_avx2_rot(ssm_avx2_t a, ssm_avx2_t b)
{
    return ssm_avx2_mulr(_mm256_slli_epi32(a, 1), b);
}

static inline ssm_avx2_t ssm_avx2_table(const int32_t *table, ssm_avx2_t a)
{
    return _mm256_i32gather_epi32((const int *)table, a, 4);
}

#include "ssm_integer_kernels.h"

#define SSM_PER_SUM_a8 1
#define SSM_PER_SUM_a16 1
#define SSM_TILE_1_a8 8
#define SSM_TILE_1_a16 8
#define SSM_TILE_4_a8 2
#define SSM_TILE_4_a16 2

/* 16 codes or weights as int16: products of two neighbours add up in int32. The same for both kinds of
   codes, because products of int8 pairs in int16 take more instructions here. */
typedef __m256i ssm_avx2_sum_t, ssm_avx2_a8_t, ssm_avx2_a16_t, ssm_avx2_weights_a8_t,
    ssm_avx2_weights_a16_t;

/* n = 4, 8, 12 or 16 bytes, then zeros */
static inline __m128i ssm_avx2_bytes(const void *p, size_t n)
{
    const __m128i words = _mm_cmpgt_epi32(_mm_set1_epi32((int)n / 4), _mm_setr_epi32(0, 1, 2, 3));
    if (n == 16)
        return _mm_loadu_si128((const __m128i *)p);
    return _mm_maskload_epi32((const int *)p, words);
}

static inline ssm_avx2_a8_t ssm_avx2_codes_a8(const int8_t *q, size_t n)
{
    return _mm256_cvtepi8_epi16(ssm_avx2_bytes(q, n));
}

static inline ssm_avx2_a16_t ssm_avx2_codes_a16(const int16_t *q, size_t n)
{
    return ssm_avx2_load((const int32_t *)(const void *)q, n / 2);
}

static inline ssm_avx2_weights_a8_t ssm_avx2_weights_a8(const int8_t *w, size_t n, size_t rows)
{
    (void)rows;
    return _mm256_cvtepi8_epi16(ssm_avx2_bytes(w, n));
}

static inline ssm_avx2_weights_a16_t ssm_avx2_weights_a16(const int8_t *w, size_t n, size_t rows)
{
    return ssm_avx2_weights_a8(w, n, rows);
}

static inline ssm_avx2_sum_t ssm_avx2_mac_a8(ssm_avx2_sum_t s, __m256i w, __m256i x)
{
    return _mm256_add_epi32(s, _mm256_madd_epi16(w, x));
}

static inline ssm_avx2_sum_t ssm_avx2_mac_a16(ssm_avx2_sum_t s, __m256i w, __m256i x)
{
    return ssm_avx2_mac_a8(s, w, x);
}

static inline ssm_avx2_sum_t ssm_avx2_zero(void)
{
    return _mm256_setzero_si256();
}

static inline int32_t ssm_avx2_start_a8(const int8_t *q, size_t n)
{
    (void)q;
    (void)n;
    return 0;
}

static inline int32_t ssm_avx2_start_a16(const int16_t *q, size_t n)
{
    (void)q;
    (void)n;
    return 0;
}

/* [a, b, c, d] of four registers, summed over each half */
static inline __m256i ssm_avx2_halves(const ssm_avx2_sum_t *s)
{
    return _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
}

SSM_INLINE void ssm_avx2_fold_a8(int32_t *y, const ssm_avx2_sum_t *s, size_t R, size_t rows, int32_t start,
                               int more)
{
    (void)rows;
    (void)start;
    if (R == 8) {
        const __m256i a = ssm_avx2_halves(s), b = ssm_avx2_halves(s + 4);
        const __m256i sum = _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                                             _mm256_permute2x128_si256(a, b, 0x31));
        ssm_avx2_store(y, more ? _mm256_add_epi32(sum, ssm_avx2_load(y, 8)) : sum, 8);
    } else { /* two rows, or one twice */
        const __m256i a = _mm256_hadd_epi32(s[0], s[R - 1]), b = _mm256_hadd_epi32(a, a);
        int32_t two[4];
        size_t r;
        _mm_storeu_si128((__m128i *)(void *)two, _mm_add_epi32(_mm256_castsi256_si128(b),
                                                               _mm256_extracti128_si256(b, 1)));
        SSM_UNROLL for (r = 0; r < R; r++)
            y[r] = ssm_sum32(two[r], more ? y[r] : 0);
    }
}

SSM_INLINE void ssm_avx2_fold_a16(int32_t *y, const ssm_avx2_sum_t *s, size_t R, size_t rows, int32_t start,
                               int more)
{
    ssm_avx2_fold_a8(y, s, R, rows, start, more);
}

#include "ssm_integer_dot.h"

/* ssm_integer_sse2.h - the matrix product of ssm_integer.h in SSE2: what every x86-64 has. The rest stays
   scalar there, as SSE2 cannot multiply signed 32-bit numbers. What the functions mean is said in
   ssm_integer_dot.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

#include <emmintrin.h>

#define SSM_PER_SUM_a8 1
#define SSM_PER_SUM_a16 1
#define SSM_TILE_1_a8 8
#define SSM_TILE_1_a16 8
#define SSM_TILE_4_a8 1
#define SSM_TILE_4_a16 1

/* 16 codes or weights as int16 */
typedef struct {
    __m128i low, high;
} ssm_v_words_t;

typedef __m128i ssm_v_sum_t;
typedef ssm_v_words_t ssm_v_a8_t, ssm_v_a16_t, ssm_v_weights_a8_t, ssm_v_weights_a16_t;

/* n = 4, 8, 12 or 16 bytes, then zeros */
SSM_INLINE ssm_v_words_t ssm_v_codes_a8(const int8_t *q, size_t n)
{
    int32_t some[4] = {0, 0, 0, 0};
    ssm_v_words_t x;
    __m128i bytes;
    if (n == 16) {
        bytes = _mm_loadu_si128((const __m128i *)(const void *)q);
    } else {
        memcpy(some, q, 4);
        if (n > 4)
            memcpy(some + 1, q + 4, 4);
        if (n > 8)
            memcpy(some + 2, q + 8, 4);
        bytes = _mm_loadu_si128((const __m128i *)(const void *)some);
    }
    x.low = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    x.high = _mm_srai_epi16(_mm_unpackhi_epi8(bytes, bytes), 8);
    return x;
}

SSM_INLINE ssm_v_words_t ssm_v_codes_a16(const int16_t *q, size_t n)
{
    int16_t some[16] = {0};
    ssm_v_words_t x;
    if (n < 16)
        q = (const int16_t *)memcpy(some, q, n * sizeof *q);
    x.low = _mm_loadu_si128((const __m128i *)(const void *)q);
    x.high = _mm_loadu_si128((const __m128i *)(const void *)(q + 8));
    return x;
}

SSM_INLINE ssm_v_words_t ssm_v_weights_a8(const int8_t *w, size_t n, size_t rows)
{
    (void)rows;
    return ssm_v_codes_a8(w, n);
}

SSM_INLINE ssm_v_words_t ssm_v_weights_a16(const int8_t *w, size_t n, size_t rows)
{
    (void)rows;
    return ssm_v_codes_a8(w, n);
}

SSM_INLINE ssm_v_sum_t ssm_v_mac_a16(ssm_v_sum_t s, ssm_v_words_t w, ssm_v_words_t x)
{
    s = _mm_add_epi32(s, _mm_madd_epi16(w.low, x.low));
    return _mm_add_epi32(s, _mm_madd_epi16(w.high, x.high));
}

SSM_INLINE ssm_v_sum_t ssm_v_mac_a8(ssm_v_sum_t s, ssm_v_words_t w, ssm_v_words_t x)
{
    return ssm_v_mac_a16(s, w, x);
}

static inline ssm_v_sum_t ssm_v_zero(void)
{
    return _mm_setzero_si128();
}

SSM_INLINE int32_t ssm_v_start_a8(const int8_t *q, size_t n)
{
    (void)q;
    (void)n;
    return 0;
}

SSM_INLINE int32_t ssm_v_start_a16(const int16_t *q, size_t n)
{
    (void)q;
    (void)n;
    return 0;
}

/* the four sums of four registers */
SSM_INLINE __m128i ssm_v_four_sums(const ssm_v_sum_t *s, size_t step)
{
    const __m128i a = s[0], b = s[step], c = s[2 * step], d = s[3 * step];
    const __m128i ab = _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    const __m128i cd = _mm_add_epi32(_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
    return _mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
}

SSM_INLINE void ssm_v_fold_a8(int32_t *y, const ssm_v_sum_t *s, size_t R, size_t rows, int32_t start,
                               int more)
{
    size_t r;
    (void)rows;
    (void)start;
    if (R == 1)
        *y = ssm_sum32(_mm_cvtsi128_si32(ssm_v_four_sums(s, 0)), more ? *y : 0);
    SSM_UNROLL for (r = 0; r + 4 <= R; r += 4) {
        __m128i *to = (__m128i *)(void *)(y + r);
        const __m128i sum = ssm_v_four_sums(s + r, 1);
        _mm_storeu_si128(to, more ? _mm_add_epi32(sum, _mm_loadu_si128(to)) : sum);
    }
}

SSM_INLINE void ssm_v_fold_a16(int32_t *y, const ssm_v_sum_t *s, size_t R, size_t rows, int32_t start,
                               int more)
{
    ssm_v_fold_a8(y, s, R, rows, start, more);
}

#include "ssm_integer_dot.h"

/* ssm_integer_dispatch.h - ssm_integer.h for any x86-64 processor: the kernels three times, picked by
   what ssm_find_level() found.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

#include <immintrin.h>

#undef SSM_I
#define SSM_I(name) ssm_##name##_any
#include "ssm_integer_scalar.h"
#include "ssm_integer_end.h"

SSM_TARGET("avx2,fma")
#define SSM_I(name) ssm_##name##_avx2
#include "ssm_integer_avx2.h"
SSM_TARGET_END
#include "ssm_integer_end.h"

SSM_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#define SSM_I(name) ssm_##name##_avx512
#include "ssm_integer_avx512.h"
SSM_TARGET_END

/* ssm_NAME parameters, with these arguments */
#define SSM_PICK(name, parameters, arguments)                                                      \
    SSM_KERNEL void ssm_##name parameters                                                          \
    {                                                                                              \
        if (ssm_level() >= 3)                                                                      \
            ssm_##name##_avx512 arguments;                                                         \
        else if (ssm_level() >= 1)                                                                 \
            ssm_##name##_avx2 arguments;                                                           \
        else                                                                                       \
            ssm_##name##_any arguments;                                                            \
    }

#define SSM_PICK_CODES(aX, code_t)                                                                 \
    SSM_PICK(quantize_##aX,                                                                        \
             (const int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,                        \
              const int32_t *SSM_RESTRICT b, code_t *SSM_RESTRICT q, int32_t limit, uint32_t s,    \
              size_t T, size_t K),                                                                 \
             (v, m, b, q, limit, s, T, K))                                                         \
    SSM_PICK(dot_##aX,                                                                             \
             (const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,                          \
              int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M),                              \
             (q, w, y, T, K, M))                                                                   \
    SSM_PICK(ifeedthrough_##aX,                                                                    \
             (int32_t *SSM_RESTRICT v, const code_t *SSM_RESTRICT q,                               \
              const int32_t *SSM_RESTRICT m, uint32_t s, size_t T, size_t H),                      \
             (v, q, m, s, T, H))

SSM_PICK_CODES(a8, int8_t)
SSM_PICK_CODES(a16, int16_t)
SSM_PICK(requant,
         (int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m, const int32_t *SSM_RESTRICT b,
          uint32_t s, size_t T, size_t M),
         (v, m, b, s, T, M))
SSM_PICK(rotate_l16,
         (int32_t *SSM_RESTRICT x, const int16_t *SSM_RESTRICT l, int32_t *SSM_RESTRICT d, size_t T,
          size_t N),
         (x, l, d, T, N))
SSM_PICK(rotate_l32,
         (int32_t *SSM_RESTRICT x, const int32_t *SSM_RESTRICT l, int32_t *SSM_RESTRICT d, size_t T,
          size_t N),
         (x, l, d, T, N))
SSM_PICK(iinput, (const int16_t *SSM_RESTRICT c, int32_t *SSM_RESTRICT v, uint32_t k, size_t n),
         (c, v, k, n))
SSM_PICK(igelu, (int32_t * v, uint32_t p, size_t n), (v, p, n))
SSM_PICK(igate,
         (const int32_t *SSM_RESTRICT v, int32_t *SSM_RESTRICT y, uint32_t p, size_t T, size_t H),
         (v, y, p, T, H))
SSM_PICK(iembedding,
         (const int16_t *SSM_RESTRICT c, const int8_t *SSM_RESTRICT w,
          const int32_t *SSM_RESTRICT m, int32_t *SSM_RESTRICT y, uint32_t s, size_t T, size_t V,
          size_t H),
         (c, w, m, y, s, T, V, H))
SSM_PICK(iadd, (int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT u, size_t n), (v, u, n))

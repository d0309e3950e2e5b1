/* ssm_integer_dot.h - the matrix product of ssm_integer.h, over vectors. Included once for every vector
   unit of a build.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h)

   One register of sums belongs to SSM_PER_SUM_aX neighbouring rows; each row has several partial sums,
   which `fold` adds up at the end. A tile keeps the sums of R registers for F frames, so that codes are
   loaded once for all its rows and weights once for all its frames. The groups of 16 columns come
   first; what is left of K is a second pass that adds to y. What a vector file gives:

       sum_t, aX_t, weights_aX_t   registers of sums, of 16 codes, of 16 weights of each row
       codes_aX(q, n)              n = 4, 8, 12 or 16 codes, then zeros
       weights_aX(w, n, rows)      n weights of each of `rows` rows; it reads nothing else
       mac_aX(sum, weights, codes) sum + their products
       zero()                      sums of nothing
       start_aX(q, n)              int32: what is missing in the sums of each row, for n codes
       fold_aX(y, sums, R, rows, start, more)
                                   y = start + the sums of R registers, of `rows` rows if R is 1;
                                   more: y += that
   and registers of sums in a tile: SSM_TILE_1_aX of one frame, SSM_TILE_4_aX of four. */

#define SSM_DOT_KERNEL(aX, code_t)                                                                 \
    SSM_INLINE void SSM_V(tile_##aX)(const code_t *q, const int8_t *w, int32_t *y,                 \
                                     const int32_t *start, size_t Kp, size_t M,                    \
                                     size_t columns, size_t n, size_t F, size_t R, size_t rows,    \
                                     int more)                                                     \
    {                                                                                              \
        SSM_V(sum_t) s[16]; /* (F, R) */                                                           \
        SSM_V(aX##_t) x[4];                                                                        \
        size_t f, r, k;                                                                            \
        SSM_UNROLL for (f = 0; f < F; f++)                                                         \
            SSM_UNROLL for (r = 0; r < R; r++)                                                     \
                s[f * R + r] = SSM_V(zero)();                                                      \
        for (k = 0; k < columns; k += n, w += n * M) {                                             \
            SSM_UNROLL for (f = 0; f < F; f++)                                                     \
                x[f] = SSM_V(codes_##aX)(q + f * Kp + k, n);                                       \
            SSM_UNROLL for (r = 0; r < R; r++) {                                                   \
                const SSM_V(weights_##aX##_t) weights =                                            \
                    SSM_V(weights_##aX)(w + r * SSM_PER_SUM_##aX * n, n, rows);                    \
                SSM_UNROLL for (f = 0; f < F; f++)                                                 \
                    s[f * R + r] = SSM_V(mac_##aX)(s[f * R + r], weights, x[f]);                   \
            }                                                                                      \
        }                                                                                          \
        SSM_UNROLL for (f = 0; f < F; f++)                                                         \
            SSM_V(fold_##aX)(y + f * M, s + f * R, R, rows, start[f], more);                       \
    }                                                                                              \
    /* columns in groups of n, for F frames: tiles of R registers, of SSM_TILE_4_##aX, of one */   \
    SSM_INLINE void SSM_V(columns_##aX)(const code_t *q, const int8_t *w, int32_t *y, size_t Kp,   \
                                        size_t M, size_t columns, size_t n, size_t F, size_t R,    \
                                        int more)                                                  \
    {                                                                                              \
        const size_t step = R * SSM_PER_SUM_##aX, one = SSM_PER_SUM_##aX;                          \
        int32_t start[4];                                                                          \
        size_t f, o = 0;                                                                           \
        SSM_UNROLL for (f = 0; f < F; f++)                                                         \
            start[f] = SSM_V(start_##aX)(q + f * Kp, columns);                                     \
        for (; o + step <= M; o += step)                                                           \
            SSM_V(tile_##aX)(q, w + n * o, y + o, start, Kp, M, columns, n, F, R, one, more);      \
        if (R > SSM_TILE_4_##aX)                                                                   \
            for (; o + SSM_TILE_4_##aX * one <= M; o += SSM_TILE_4_##aX * one)                     \
                SSM_V(tile_##aX)(q, w + n * o, y + o, start, Kp, M, columns, n, F, SSM_TILE_4_##aX,\
                                 one, more);                                                       \
        for (; o + one <= M; o += one)                                                             \
            SSM_V(tile_##aX)(q, w + n * o, y + o, start, Kp, M, columns, n, F, 1, one, more);      \
        if (one > 1 && o < M)                                                                      \
            SSM_V(tile_##aX)(q, w + n * o, y + o, start, Kp, M, columns, n, F, 1, M - o, more);    \
    }                                                                                              \
    SSM_INLINE void SSM_V(frames_##aX)(const code_t *q, const int8_t *w, int32_t *y, size_t Kp,    \
                                       size_t M, size_t F, size_t R)                               \
    {                                                                                              \
        const size_t rest = Kp % 16, full = Kp - rest;                                             \
        if (full > 0)                                                                              \
            SSM_V(columns_##aX)(q, w, y, Kp, M, full, 16, F, R, 0);                                \
        if (rest > 0)                                                                              \
            SSM_V(columns_##aX)(q + full, w + full * M, y, Kp, M, rest, rest, F, SSM_TILE_4_##aX,  \
                                full > 0);                                                         \
    }                                                                                              \
    SSM_KERNEL void SSM_I(dot_##aX)(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,    \
                                    int32_t *SSM_RESTRICT y, size_t T, size_t K, size_t M)         \
    {                                                                                              \
        const size_t Kp = (K + 3) / 4 * 4;                                                         \
        for (; T >= 4; T -= 4, q += 4 * Kp, y += 4 * M)                                            \
            SSM_V(frames_##aX)(q, w, y, Kp, M, 4, SSM_TILE_4_##aX);                                \
        for (; T > 0; T--, q += Kp, y += M)                                                        \
            SSM_V(frames_##aX)(q, w, y, Kp, M, 1, SSM_TILE_1_##aX);                                \
    }

SSM_DOT_KERNEL(a8, int8_t)
SSM_DOT_KERNEL(a16, int16_t)

/* ssm_integer_channels.h - the products of an SSM with channels, see ssm_integer.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h)

   Part of ssm_integer.h, one copy for all vector units: 2N multiplications a frame, in runs as short as
   a channel has modes. Sums wrap, so that no bytes are undefined behaviour. */

#define SSM_DRIVE_HEAD(aX, code_t)                                                                 \
    SSM_KERNEL void ssm_drive_##aX(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,     \
                                   const uint16_t *SSM_RESTRICT modes, int32_t *SSM_RESTRICT y,    \
                                   size_t T, size_t H, size_t N)

#if defined(__x86_64__) || defined(__aarch64__) || defined(__wasm_simd128__)
/* First every code to its modes, then all products: a loop so long that compilers use vectors. */
#define SSM_DRIVE(aX, code_t)                                                                      \
    SSM_DRIVE_HEAD(aX, code_t)                                                                     \
    {                                                                                              \
        size_t h, i, end;                                                                          \
        for (; T > 0; T--, q += (H + 3) / 4 * 4, y += 2 * N) {                                     \
            for (h = 0, i = 0; h < H; h++)                                                         \
                for (end = i + modes[h]; i < end; i++)                                             \
                    y[i] = y[N + i] = q[h];                                                        \
            for (i = 0; i < 2 * N; i++)                                                            \
                y[i] *= w[i];                                                                      \
        }                                                                                          \
    }
#else
#define SSM_DRIVE(aX, code_t)                                                                      \
    SSM_DRIVE_HEAD(aX, code_t)                                                                     \
    {                                                                                              \
        size_t h, i, end;                                                                          \
        for (; T > 0; T--, q += (H + 3) / 4 * 4, y += 2 * N)                                       \
            for (h = 0, i = 0; h < H; h++)                                                         \
                for (end = i + modes[h]; i < end; i++) {                                           \
                    y[i] = w[i] * q[h];                                                            \
                    y[N + i] = w[N + i] * q[h];                                                    \
                }                                                                                  \
    }
#endif

#define SSM_READOUT(aX, code_t)                                                                    \
    SSM_KERNEL void ssm_readout_##aX(const code_t *SSM_RESTRICT q, const int8_t *SSM_RESTRICT w,   \
                                     const uint16_t *SSM_RESTRICT modes, int32_t *SSM_RESTRICT y,  \
                                     size_t T, size_t H, size_t N)                                 \
    {                                                                                              \
        size_t h, i, end;                                                                          \
        for (; T > 0; T--, q += (2 * N + 3) / 4 * 4, y += H)                                       \
            for (h = 0, i = 0; h < H; h++) {                                                       \
                uint32_t sum = 0;                                                                  \
                for (end = i + modes[h]; i < end; i++)                                             \
                    sum += (uint32_t)(w[i] * q[i]) + (uint32_t)(w[N + i] * q[N + i]);              \
                y[h] = (int32_t)sum;                                                               \
            }                                                                                      \
    }

SSM_DRIVE(a8, int8_t)
SSM_DRIVE(a16, int16_t)
SSM_READOUT(a8, int8_t)
SSM_READOUT(a16, int16_t)

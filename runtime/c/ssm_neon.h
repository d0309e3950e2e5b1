/* ssm_neon.h - the matrix product of ssm_loops.h with fused multiply-adds for aarch64.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   By hand because four inputs in one register, taken lane by lane, save a sixth of all instructions. */

#define SSM_NEON_ROW(lane)                                                                         \
    SSM_UNROLL                                                                                     \
    for (o = 0; o < 8; o++)                                                                        \
        a[o] = vfmaq_laneq_f32(a[o], vld1q_f32(w + 4 * o), inputs, lane);                        \
    w += M;

/* The tile of one frame and 32 outputs. */
SSM_INLINE void ssm_tile_1_32_level0(const float *x, const float *w, const float *b, float *y, size_t K,
                                     size_t M)
{
    float32x4_t a[8];
    size_t o;
    SSM_UNROLL
    for (o = 0; o < 8; o++)
        a[o] = b != NULL ? vld1q_f32(b + 4 * o) : vdupq_n_f32(0.0f);
    for (; K >= 4; K -= 4, x += 4) {
        const float32x4_t inputs = vld1q_f32(x);
        SSM_NEON_ROW(0)
        SSM_NEON_ROW(1)
        SSM_NEON_ROW(2)
        SSM_NEON_ROW(3)
    }
    for (; K > 0; K--, x++) {
        const float32x4_t inputs = vdupq_n_f32(*x);
        SSM_NEON_ROW(0)
    }
    SSM_UNROLL
    for (o = 0; o < 8; o++)
        vst1q_f32(y + 4 * o, a[o]);
}

SSM_KERNEL void ssm_tile_1_32_call0(const float *x, const float *w, const float *b, float *y, size_t K,
                                    size_t M)
{
    ssm_tile_1_32_level0(x, w, b, y, K, M);
}

/* ssm_helium.h - parts of ssm_loops.h for the vectors of Cortex-M55 and M85.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   By hand because gcc 12 turns none of these loops into vectors: half the instructions of a step. The same
   operations in the same order as in ssm_kernels.h. */

#if defined(SSM_FMA)
#define SSM_MADD_HELIUM(a, w, x) vfmaq_n_f32(a, w, x)
#else
#define SSM_MADD_HELIUM(a, w, x) vaddq_f32(a, vmulq_n_f32(w, x))
#endif

/* The tile of one frame and 16 outputs. */
#define ssm_tile_1_16_level0 ssm_tile_1_16_call0
SSM_KERNEL void ssm_tile_1_16_call0(const float *x, const float *w, const float *b, float *y, size_t K,
                                    size_t M)
{
    float32x4_t a0 = vdupq_n_f32(0.0f), a1 = a0, a2 = a0, a3 = a0;
    if (b != NULL) {
        a0 = vldrwq_f32(b);
        a1 = vldrwq_f32(b + 4);
        a2 = vldrwq_f32(b + 8);
        a3 = vldrwq_f32(b + 12);
    }
    for (; K > 0; K--, w += M) {
        const float input = *x++;
        a0 = SSM_MADD_HELIUM(a0, vldrwq_f32(w), input);
        a1 = SSM_MADD_HELIUM(a1, vldrwq_f32(w + 4), input);
        a2 = SSM_MADD_HELIUM(a2, vldrwq_f32(w + 8), input);
        a3 = SSM_MADD_HELIUM(a3, vldrwq_f32(w + 12), input);
    }
    vstrwq_f32(y, a0);
    vstrwq_f32(y + 4, a1);
    vstrwq_f32(y + 8, a2);
    vstrwq_f32(y + 12, a3);
}

/* a x + b */
SSM_INLINE float32x4_t ssm_line_helium(float32x4_t x, float a, float b)
{
    return vaddq_n_f32(vmulq_n_f32(x, a), b);
}

/* a b + c */
SSM_INLINE float32x4_t ssm_sum_helium(float32x4_t a, float32x4_t b, float32x4_t c)
{
    return vaddq_f32(vmulq_f32(a, b), c);
}

/* a / b: there is no division of vectors */
SSM_INLINE float32x4_t ssm_divide_helium(float32x4_t a, float32x4_t b)
{
    float32x4_t q = a;
    q[0] = a[0] / b[0];
    q[1] = a[1] / b[1];
    q[2] = a[2] / b[2];
    q[3] = a[3] / b[3];
    return q;
}

/* ssm_magnitude */
SSM_INLINE float32x4_t ssm_magnitude_helium(float32x4_t x, int32_t limit)
{
    const int32x4_t b = vandq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(0x7fffffff));
    return vreinterpretq_f32_s32(vminq_s32(b, vdupq_n_s32(limit)));
}

/* ssm_by_sign */
SSM_INLINE float32x4_t ssm_by_sign_helium(float32x4_t x, float32x4_t negative, float32x4_t positive)
{
    return vpselq_f32(negative, positive, vcmpltq_n_s32(vreinterpretq_s32_f32(x), 0));
}

/* ssm_exp_negative */
SSM_INLINE float32x4_t ssm_exp_helium(float32x4_t x)
{
    const float32x4_t shifted = ssm_line_helium(x, 1.44269504f, 12582912.0f);
    const float32x4_t n = vsubq_n_f32(shifted, 12582912.0f);
    const int32x4_t power = vshlq_n_s32(vaddq_n_s32(vreinterpretq_s32_f32(shifted), 127), 23);
    float32x4_t r = vsubq_f32(x, vmulq_n_f32(n, 0.693359375f));
    float32x4_t r2, p;
    r = vaddq_f32(r, vmulq_n_f32(n, 2.12194440e-4f));
    r2 = vmulq_f32(r, r);
    p = ssm_sum_helium(ssm_line_helium(r, 1.9875691500e-4f, 1.3981999507e-3f), r2,
                       ssm_line_helium(r, 8.3334519073e-3f, 4.1665795894e-2f));
    p = ssm_sum_helium(p, r2, ssm_line_helium(r, 1.6666665459e-1f, 0.5f));
    p = vaddq_n_f32(ssm_sum_helium(p, r2, r), 1.0f);
    return vmulq_f32(p, vreinterpretq_f32_s32(power));
}

/* 1 / (1 + exp(-x)) of four */
SSM_INLINE float32x4_t ssm_sigmoid_helium(float32x4_t x)
{
    const float32x4_t e = ssm_exp_helium(vnegq_f32(ssm_magnitude_helium(x, 0x42800000)));
    const float32x4_t top = ssm_by_sign_helium(x, e, vdupq_n_f32(1.0f));
    return ssm_divide_helium(top, vaddq_n_f32(e, 1.0f));
}

/* GELU of four */
SSM_INLINE float32x4_t ssm_gelu_helium(float32x4_t x)
{
    const float32x4_t one = vdupq_n_f32(1.0f), a = ssm_magnitude_helium(x, 0x41200000);
    const float32x4_t q = ssm_divide_helium(one, ssm_line_helium(a, 0.21f, 1.0f));
    const float32x4_t q2 = vmulq_f32(q, q);
    float32x4_t p = ssm_sum_helium(ssm_line_helium(q, 0.4986349f, -0.83388255f), q2,
                                   ssm_line_helium(q, 0.90696872f, -0.33407783f));
    p = ssm_sum_helium(p, q2, ssm_line_helium(q, 0.18933958f, 0.07301721f));
    p = vmulq_f32(vmulq_f32(p, q), ssm_exp_helium(vnegq_f32(vmulq_n_f32(vmulq_f32(a, a), 0.5f))));
    return vmulq_f32(x, ssm_by_sign_helium(x, p, vsubq_f32(one, p)));
}

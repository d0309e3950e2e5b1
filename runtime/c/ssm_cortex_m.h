/* ssm_cortex_m.h - the matrix product of ssm_loops.h for the FPU of Cortex-M4, M7 and M33.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   By hand because compilers load weights one by one: one instruction for eight of them saves a quarter of
   all instructions, and on Cortex-M4 a cycle a weight. */

#if defined(SSM_FMA)
#define SSM_EIGHT_ROUNDS(a0, a1, a2, a3, a4, a5, a6, a7)                                           \
    "vfma.f32 s" #a0 ", s16, s24\n vfma.f32 s" #a1 ", s17, s24\n"                                  \
    "vfma.f32 s" #a2 ", s18, s24\n vfma.f32 s" #a3 ", s19, s24\n"                                  \
    "vfma.f32 s" #a4 ", s20, s24\n vfma.f32 s" #a5 ", s21, s24\n"                                  \
    "vfma.f32 s" #a6 ", s22, s24\n vfma.f32 s" #a7 ", s23, s24\n"
#else
#define SSM_EIGHT_ROUNDS(a0, a1, a2, a3, a4, a5, a6, a7)                                           \
    "vmul.f32 s16, s16, s24\n vmul.f32 s17, s17, s24\n vmul.f32 s18, s18, s24\n"                   \
    "vmul.f32 s19, s19, s24\n vmul.f32 s20, s20, s24\n vmul.f32 s21, s21, s24\n"                   \
    "vmul.f32 s22, s22, s24\n vmul.f32 s23, s23, s24\n"                                            \
    "vadd.f32 s" #a0 ", s" #a0 ", s16\n vadd.f32 s" #a1 ", s" #a1 ", s17\n"                        \
    "vadd.f32 s" #a2 ", s" #a2 ", s18\n vadd.f32 s" #a3 ", s" #a3 ", s19\n"                        \
    "vadd.f32 s" #a4 ", s" #a4 ", s20\n vadd.f32 s" #a5 ", s" #a5 ", s21\n"                        \
    "vadd.f32 s" #a6 ", s" #a6 ", s22\n vadd.f32 s" #a7 ", s" #a7 ", s23\n"
#endif

/* The tile of one frame and 16 outputs: sums in s0 to s15, weights in s16 to s23, the input in s24. */
#define ssm_tile_1_16_level0 ssm_tile_1_16_call0
SSM_KERNEL void ssm_tile_1_16_call0(const float *x, const float *w, const float *b, float *y, size_t K,
                                    size_t M)
{
    const size_t next_row = (M - 8) * sizeof *w;
    size_t o;
    for (o = 0; o < 16; o++)
        y[o] = b != NULL ? b[o] : 0.0f;
    if (K == 0)
        return;
    __asm__ volatile("vldmia %[y], {s0-s15}\n"
                     "1:\n"
                     "vldmia %[x]!, {s24}\n"
                     "vldmia %[w]!, {s16-s23}\n"
                     SSM_EIGHT_ROUNDS(0, 1, 2, 3, 4, 5, 6, 7)
                     "vldmia %[w], {s16-s23}\n"
                     "add %[w], %[next_row]\n"
                     SSM_EIGHT_ROUNDS(8, 9, 10, 11, 12, 13, 14, 15)
                     "subs %[K], #1\n"
                     "bne 1b\n"
                     "vstmia %[y], {s0-s15}\n"
                     : [x] "+r"(x), [w] "+r"(w), [K] "+r"(K)
                     : [y] "r"(y), [next_row] "r"(next_row)
                     : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13",
                       "s14", "s15", "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "cc",
                       "memory");
}

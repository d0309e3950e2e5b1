/* ssm_machine.h - what the kernels need to know of compiler and processor.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   Host builds for any x86-64 processor (no -march) hold every kernel three times, for SSE2, AVX2 and
   AVX-512; ssm_find_level() picks once, before the first kernel runs. -DSSM_NO_DISPATCH leaves the
   copies out. All levels compute the same bits. */

#ifndef SSM_MACHINE_H
#define SSM_MACHINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__cplusplus)
#define SSM_RESTRICT __restrict
#else
#define SSM_RESTRICT restrict
#endif

/* SSM_KERNEL: one copy of the function, however often and with whatever constants it is called.
   SSM_INLINE: none of its own; becomes part of each caller. */
#if defined(__GNUC__)
#define SSM_ALIGNED __attribute__((aligned(64)))
#define SSM_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__) || __GNUC__ < 8
#define SSM_KERNEL __attribute__((noinline, unused)) static
#else
#define SSM_KERNEL __attribute__((noipa, unused)) static
#endif
#else
#define SSM_ALIGNED
#define SSM_INLINE static inline
#define SSM_KERNEL static inline
#endif

/* for loops that are only fast when they are gone */
#if defined(__clang__)
#define SSM_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define SSM_UNROLL _Pragma("GCC unroll 16")
#else
#define SSM_UNROLL
#endif

/* Processors whose kernels are partly written by hand: Helium with floats, the FPU of other Cortex-M, and
   aarch64 where multiply-adds are fused. */
#if defined(__GNUC__) && !defined(SSM_PLAIN) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#define SSM_HELIUM 1
#include <arm_mve.h>
#else
#define SSM_HELIUM 0
#endif
#if defined(__GNUC__) && !defined(SSM_PLAIN) && !SSM_HELIUM && defined(__ARM_FP) && defined(__thumb2__) &&   \
    defined(__ARM_ARCH_PROFILE)
#define SSM_CORTEX_M (__ARM_ARCH_PROFILE == 'M' && (__ARM_FP & 4) != 0)
#else
#define SSM_CORTEX_M 0
#endif

#if defined(__GNUC__) && !defined(SSM_PLAIN) && defined(__aarch64__) && defined(SSM_FMA)
#define SSM_NEON_FMA 1
#else
#define SSM_NEON_FMA 0
#endif

/* From here on the compiler does not know what p points to. With weights known, gcc 12 turns sums of both
   signs into fused multiply-adds, whatever -ffp-contract says. */
#if defined(__GNUC__)
#define SSM_HIDE(p) __asm__("" : "+r"(p))
#else
#define SSM_HIDE(p) (void)(p)
#endif

/* gcc for Windows spills wide vectors to a stack it does not align. */
#if defined(__MINGW32__) && !defined(__clang__)
#define SSM_NARROW_STACK 1
#endif

#if defined(__GNUC__) && defined(__x86_64__) && !defined(__AVX__) && !defined(SSM_NO_DISPATCH) && \
    !defined(SSM_PLAIN) && !defined(SSM_NARROW_STACK)
#define SSM_DISPATCH 1

/* The kernels of a level stand between SSM_TARGET_... and SSM_TARGET_END. */
#define SSM_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define SSM_TARGET(list)                                                                           \
    SSM_PRAGMA(clang attribute push(__attribute__((target(list))), apply_to = function))
#define SSM_TARGET_END SSM_PRAGMA(clang attribute pop)
#else
#define SSM_TARGET(list) SSM_PRAGMA(GCC push_options) SSM_PRAGMA(GCC target(list))
#define SSM_TARGET_END SSM_PRAGMA(GCC pop_options)
#endif

/* 0: SSE2, 1: AVX2 and FMA, 2: AVX-512 F, BW, DQ and VL, 3: its VNNI. No higher than: */
#ifndef SSM_LEVEL_LIMIT
#define SSM_LEVEL_LIMIT 3
#endif

static int ssm_level_found = 0; /* the only static data; every thread would write the same number */

SSM_INLINE int ssm_level(void)
{
    return __atomic_load_n(&ssm_level_found, __ATOMIC_RELAXED);
}

/* Registers b and c of a leaf of cpuid, and a of leaf 0. */
SSM_INLINE uint32_t ssm_cpuid(uint32_t leaf, uint32_t *b, uint32_t *c)
{
    uint32_t a = leaf, d;
    *c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(*b), "+c"(*c), "=d"(d));
    return a;
}

/* Ask processor and operating system. Takes a microsecond or more under a hypervisor: not for every step. */
SSM_KERNEL void ssm_find_level(void)
{
    const uint32_t fma_xsave_avx = 1u << 12 | 1u << 27 | 1u << 28;
    const uint32_t avx2 = 1u << 5, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, vnni = 1u << 11;
    uint32_t b, c, saved, high;
    int level = 0;
    if (ssm_cpuid(0, &b, &c) >= 7) {
        ssm_cpuid(1, &b, &c);
        if ((c & fma_xsave_avx) == fma_xsave_avx) {
            __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0)); /* registers the system saves */
            ssm_cpuid(7, &b, &c);
            if ((saved & 0x06u) == 0x06u && (b & avx2) != 0)
                level = 1;
            if (level == 1 && (saved & 0xe6u) == 0xe6u && (b & avx512) == avx512)
                level = (c & vnni) != 0 ? 3 : 2;
        }
    }
    __atomic_store_n(&ssm_level_found, level < SSM_LEVEL_LIMIT ? level : SSM_LEVEL_LIMIT, __ATOMIC_RELAXED);
}

#else
#define SSM_DISPATCH 0
SSM_INLINE void ssm_find_level(void)
{
}
#endif

/* A generated network: becomes part of both callers on hosts, so that the one for a single frame is
   compiled for a single frame; on microcontrollers it stands once. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define SSM_NETWORK SSM_INLINE
#else
#define SSM_NETWORK static
#endif

/* True where n is a small constant at the call: a copy for exactly this size is then smaller or faster
   than a call; where a call finds wider registers, only the smallest. Not on microcontrollers, where flash
   is scarce, nor where the caller's own level would have to emulate fused multiply-adds. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__)) && \
    !(SSM_DISPATCH && defined(SSM_FMA))
#define SSM_SMALL(n) (__builtin_constant_p(n) && (n) <= (SSM_DISPATCH ? 256 : 2048))
#else
#define SSM_SMALL(n) 0
#endif

#endif

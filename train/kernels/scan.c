/* The linear recurrence over time and its adjoint, in place, on planar states.
 *
 *     x_k = lam * x_{k-1} + v_k            g_k = e_k + conj(lam) * g_{k+1}
 *
 * A row holds N complex modes as [re (N) | im (N)]; arrays are C-contiguous (batch, steps, 2N).
 * Modes never meet, so a block of LANES of them walks through time in registers, and the
 * (sequence, block) pairs are shared out among the threads: every number is summed in the same
 * order whatever their count. REAL is float or double, chosen by the unit that includes this file.
 * Licence: Apache-2.0 (this file trains models; it is not part of what is deployed).
 */
#include <stdint.h>

#ifndef REAL
#define REAL float
#endif
#define LANES 32
/* dlam is summed over SEGMENT steps in REAL, then added to a double: float32 sums stay short. */
#define SEGMENT 64
#define INLINE static inline __attribute__((always_inline))

typedef REAL real;

INLINE void forward_lanes(real *restrict x, int64_t steps, int64_t N, const real *restrict lam,
                          real *restrict state, const int width)
{
    real a[LANES], b[LANES], re[LANES], im[LANES];
    for (int j = 0; j < width; j++) {
        a[j] = lam[j];
        b[j] = lam[N + j];
        re[j] = state[j];
        im[j] = state[N + j];
    }
    for (int64_t k = 0; k < steps; k++) {
        real *restrict row = x + k * 2 * N;
#pragma omp simd
        for (int j = 0; j < width; j++) {
            const real r = a[j] * re[j] - b[j] * im[j] + row[j];
            im[j] = a[j] * im[j] + b[j] * re[j] + row[N + j];
            re[j] = r;
            row[j] = r;
            row[N + j] = im[j];
        }
    }
    for (int j = 0; j < width; j++) {
        state[j] = re[j];
        state[N + j] = im[j];
    }
}

/* x == 0: only the recursion, no gradient of lam. */
INLINE void backward_lanes(real *restrict g, const real *restrict x, const real *restrict x0,
                           int64_t steps, int64_t N, const real *restrict lam,
                           real *restrict adjoint, double *restrict dlam, const int width)
{
    real a[LANES], b[LANES], re[LANES], im[LANES];
    for (int j = 0; j < width; j++) {
        a[j] = lam[j];
        b[j] = lam[N + j];
        re[j] = adjoint[j];
        im[j] = adjoint[N + j];
    }
    for (int64_t end = steps; end > 0; end -= SEGMENT) {
        const int64_t begin = end > SEGMENT ? end - SEGMENT : 0;
        real dre[LANES] = {0}, dim[LANES] = {0};
        for (int64_t k = end - 1; k >= begin; k--) {
            real *restrict row = g + k * 2 * N;
            if (x) {
                const real *restrict before = k > 0 ? x + (k - 1) * 2 * N : x0;
#pragma omp simd
                for (int j = 0; j < width; j++) {
                    const real r = row[j] + re[j], m = row[N + j] + im[j];
                    row[j] = r;
                    row[N + j] = m;
                    dre[j] += r * before[j] + m * before[N + j];
                    dim[j] += m * before[j] - r * before[N + j];
                    re[j] = a[j] * r + b[j] * m;
                    im[j] = a[j] * m - b[j] * r;
                }
            } else {
#pragma omp simd
                for (int j = 0; j < width; j++) {
                    const real r = row[j] + re[j], m = row[N + j] + im[j];
                    row[j] = r;
                    row[N + j] = m;
                    re[j] = a[j] * r + b[j] * m;
                    im[j] = a[j] * m - b[j] * r;
                }
            }
        }
        if (x)
            for (int j = 0; j < width; j++) {
                dlam[j] += dre[j];
                dlam[N + j] += dim[j];
            }
    }
    for (int j = 0; j < width; j++) {
        adjoint[j] = re[j];
        adjoint[N + j] = im[j];
    }
}

/* Runs f(n, width) over the modes first..last in pieces of constant width (32, 16, 8, 4, 1), so that
 * each copy of the loop is unrolled and vectorised. */
#define IN_PIECES(first, last, f)                                                                  \
    for (int64_t n = (first); n < (last);) {                                                       \
        const int64_t left = (last) - n;                                                           \
        if (left >= 32) { f(n, 32); n += 32; }                                                     \
        else if (left >= 16) { f(n, 16); n += 16; }                                                \
        else if (left >= 8) { f(n, 8); n += 8; }                                                   \
        else if (left >= 4) { f(n, 4); n += 4; }                                                   \
        else { f(n, 1); n += 1; }                                                                  \
    }

/* x (batch, steps, 2N): inputs v on entry, states on return. lam (2N).
 * state (batch, 2N): the state before the first step on entry, after the last on return. */
void scan_forward(real *x, int64_t batch, int64_t steps, int64_t N, const real *lam, real *state,
                  int threads)
{
    const int64_t blocks = (N + LANES - 1) / LANES;
    (void)threads;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t job = 0; job < batch * blocks; job++) {
        const int64_t i = job / blocks, first = job % blocks * LANES;
        const int64_t last = first + LANES < N ? first + LANES : N;
        real *xi = x + i * steps * 2 * N, *si = state + i * 2 * N;
#define STEP(n, width) forward_lanes(xi + n, steps, N, lam + n, si + n, width)
        IN_PIECES(first, last, STEP)
#undef STEP
    }
}

/* g (batch, steps, 2N): e on entry, the adjoint states on return.
 * adjoint (batch, 2N): what reaches the last state from later steps on entry, and what reaches
 * the state before the first step on return.
 * x (batch, steps, 2N) states and x0 (batch, 2N) the state before them, or x = 0;
 * then dlam (batch, 2N) += sum_k g_k conj(x_{k-1}). */
void scan_backward(real *g, const real *x, const real *x0, int64_t batch, int64_t steps, int64_t N,
                   const real *lam, real *adjoint, double *dlam, int threads)
{
    const int64_t blocks = (N + LANES - 1) / LANES;
    (void)threads;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t job = 0; job < batch * blocks; job++) {
        const int64_t i = job / blocks, first = job % blocks * LANES;
        const int64_t last = first + LANES < N ? first + LANES : N;
        const int64_t at = i * steps * 2 * N;
        real *ai = adjoint + i * 2 * N;
#define STEP(n, width)                                                                             \
    (x ? backward_lanes(g + at + n, x + at + n, x0 + i * 2 * N + n, steps, N, lam + n, ai + n,     \
                        dlam + i * 2 * N + n, width)                                               \
       : backward_lanes(g + at + n, 0, 0, steps, N, lam + n, ai + n, 0, width))
        IN_PIECES(first, last, STEP)
#undef STEP
    }
}

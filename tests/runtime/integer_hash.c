/* Prints a hash of what the kernels of ssm_integer.h answer to sizes around every vector length: equal
   from two builds means equal bits. Arrays end where their memory ends, so that a sanitizer sees a read
   beyond them. */

#include "ssm_integer.h"

enum { MOST = 40, FRAMES = 5 };

static uint32_t seed = 1;
static uint64_t h = UINT64_C(0xcbf29ce484222325);

/* [-limit, limit], limit < 2^30 */
static int32_t number(int32_t limit)
{
    seed = seed * 1664525u + 1013904223u;
    return (int32_t)((int64_t)(int32_t)seed * limit / INT64_C(2147483647));
}

static void hash(const void *values, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)values;
    for (; bytes > 0; bytes--)
        h = (h ^ *p++) * UINT64_C(0x100000001b3);
}

static int32_t *words(int32_t *end, size_t n, int32_t limit)
{
    size_t i;
    for (i = 0; i < n; i++)
        end[-1 - (ptrdiff_t)i] = number(limit);
    return end - n;
}

static int16_t *shorts(int16_t *end, size_t n, int32_t limit)
{
    size_t i;
    for (i = 0; i < n; i++)
        end[-1 - (ptrdiff_t)i] = (int16_t)number(limit);
    return end - n;
}

static int8_t *bytes(int8_t *end, size_t n, int32_t limit)
{
    size_t i;
    for (i = 0; i < n; i++)
        end[-1 - (ptrdiff_t)i] = (int8_t)number(limit);
    return end - n;
}

static int32_t v[2 * MOST * FRAMES], m[2 * MOST], b[2 * MOST], y[2 * MOST * FRAMES], state[2 * MOST + 2];
static int16_t q16[2 * MOST * FRAMES], l16[2 * MOST];
static int8_t q8[2 * MOST * FRAMES], w[MOST * MOST];
#define END(array) ((array) + sizeof(array) / sizeof((array)[0]))

static void products(size_t K, size_t M)
{
    const size_t Kp = (K + 3) / 4 * 4;
    const int8_t *weights = bytes(END(w), Kp * M, 127);
    size_t t, k;
    int8_t *a = bytes(END(q8), FRAMES * Kp, 127);
    int16_t *c = shorts(END(q16), FRAMES * Kp, 32767);
    for (t = 0; t < FRAMES; t++)
        for (k = K; k < Kp; k++)
            a[t * Kp + k] = (int8_t)(c[t * Kp + k] = 0);
    for (t = 1; t <= FRAMES; t += FRAMES - 1) {
        ssm_dot_a8(a, weights, END(y) - t * M, t, K, M);
        hash(END(y) - t * M, t * M * sizeof *y);
        ssm_dot_a16(c, weights, END(y) - t * M, t, K, M);
        hash(END(y) - t * M, t * M * sizeof *y);
    }
}

/* Channels of 0 to 4 modes, so that N of them come to be */
static void channels(size_t N)
{
    static uint16_t modes[2 * MOST];
    const size_t Kp = (2 * N + 3) / 4 * 4, T = 3;
    uint16_t *first = END(modes);
    size_t H = 0, left = N, t, k, Hp;
    int8_t *a8;
    int16_t *a16;
    for (; left > 0; H++) {
        size_t some = (size_t)(number(4) + 4) / 2;
        some = some < left ? some : left;
        *--first = (uint16_t)some;
        left -= some;
        if (H + 1 == MOST) {
            *first = (uint16_t)(*first + left);
            left = 0;
        }
    }
    Hp = (H + 3) / 4 * 4;
    a8 = bytes(END(q8), T * Hp, 127);
    a16 = shorts(END(q16), T * Hp, 32767);
    for (t = 0; t < T; t++)
        for (k = H; k < Hp; k++)
            a8[t * Hp + k] = (int8_t)(a16[t * Hp + k] = 0);
    ssm_drive_a8(a8, bytes(END(w), 2 * N, 127), first, END(y) - T * 2 * N, T, H, N);
    hash(END(y) - T * 2 * N, T * 2 * N * sizeof *y);
    ssm_drive_a16(a16, END(w) - 2 * N, first, END(y) - T * 2 * N, T, H, N);
    hash(END(y) - T * 2 * N, T * 2 * N * sizeof *y);
    a8 = bytes(END(q8), T * Kp, 127);
    a16 = shorts(END(q16), T * Kp, 32767);
    ssm_readout_a8(a8, END(w) - 2 * N, first, END(y) - T * H, T, H, N);
    hash(END(y) - T * H, T * H * sizeof *y);
    ssm_readout_a16(a16, END(w) - 2 * N, first, END(y) - T * H, T, H, N);
    hash(END(y) - T * H, T * H * sizeof *y);
}

static void elements(size_t n)
{
    const size_t np = (n + 3) / 4 * 4, T = 3;
    const int32_t *scale = words(END(m), n, 1 << 29), *shift = words(END(b), n, 1 << 10);
    int32_t *x = words(END(v), T * n, (1 << 29) - 1), *to = END(y) - T * n, *pool;
    const int16_t *index;
    ssm_quantize_a8(x, scale, shift, END(q8) - T * np, 127, 1, T, n);
    hash(END(q8) - T * np, T * np);
    ssm_quantize_a16(x, scale, NULL, END(q16) - T * np, 32767, 1, T, n);
    hash(END(q16) - T * np, T * np * sizeof *q16);
    ssm_ifeedthrough_a8(x, END(q8) - T * np, scale, 20, T, n);
    ssm_ifeedthrough_a16(x, END(q16) - T * np, scale, 12, T, n);
    ssm_requant(x, scale, shift, 1, T, n);
    hash(x, T * n * sizeof *x);
    ssm_iinput(shorts(END(q16), T * n, 32767), to, 13, T * n);
    ssm_iadd(to, x, T * n);
    hash(to, T * n * sizeof *to);
    index = shorts(END(q16), T, 9);
    ssm_iembedding(index, bytes(END(w), 7 * n, 127), scale, to, 20, T, 7, n);
    hash(to, T * n * sizeof *to);
    ssm_igelu(words(END(v), T * n, (1 << 30) - 1), 23, T * n);
    hash(END(v) - T * n, T * n * sizeof *v);
    ssm_igate(words(END(v), 2 * T * n, (1 << 29) - 1), to, 22, T, n);
    hash(to, T * n * sizeof *to);
    x = words(END(v), 2 * T * n, 1 << 20);
    pool = words(END(state), 2 * n, 1 << 26);
    ssm_rotate_l16(pool, shorts(END(l16), 2 * n, 23000), x, T, n);
    ssm_rotate_l32(pool, words(END(m), 2 * n, (1 << 30) - 1), x, T, n);
    hash(x, 2 * T * n * sizeof *x);
    x = words(END(v), T * n, (1 << 28) - 1);
    pool = END(state) - 2 * n - 2;
    memset(pool, 0, (2 * n + 2) * sizeof *pool);
    ssm_ipool_mean(x, pool, T, n);
    memset(pool, 0, (2 * n + 2) * sizeof *pool);
    ssm_ipool_ema(x, pool, 1 << 28, T, n);
    ssm_ilayernorm(x, words(END(m), n, 1 << 29), shift, 2, 3, 0x7fffffff, 5, T, n);
    hash(x, T * n * sizeof *x);
}

/* What tests/native calls in WebAssembly; its arguments are for models. */
uint64_t feed(int data, uint32_t frames, uint32_t block, int fresh);
uint64_t feed(int data, uint32_t frames, uint32_t block, int fresh)
{
    size_t K, M;
    (void)data;
    (void)frames;
    (void)block;
    (void)fresh;
    ssm_find_level();
    for (K = 1; K <= 33; K++) {
        elements(K);
        channels(K);
        for (M = 1; M <= 21; M += 1 + M / 5)
            products(K, M);
    }
    products(MOST, MOST);
    return h;
}

#if !defined(__wasm__)
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#include "semihosting.h"
#define PRINT semihost_print
#else
#include <stdio.h>
#define PRINT(line) fputs(line, stdout)
#endif

int main(void)
{
    static char line[18] = "0000000000000000\n";
    uint64_t rest = feed(0, 0, 0, 0);
    int i;
    for (i = 15; i >= 0; i--, rest >>= 4)
        line[i] = "0123456789abcdef"[rest & 15];
    PRINT(line);
    return 0;
}
#endif

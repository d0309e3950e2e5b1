/* ssm_integer_frame.h - the kernels of ssm_integer.h that need a whole frame or 64 bits: layer norm
   and pooling; and the edges in float.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h) */

/* floor(log2 x), x > 0: six steps whatever x is */
static inline uint32_t ssm_log2(uint64_t x)
{
    uint32_t n = 0, step;
    for (step = 32; step > 0; step /= 2) {
        const uint32_t up = step & (0u - (uint32_t)(x >> step > 0));
        x >>= up;
        n += up;
    }
    return n;
}

/* min(floor(2^62 / w), 2^31 - 1), 2^31 <= w < 2^32: division bit by bit, always 32 steps */
static inline int32_t ssm_reciprocal(uint32_t w)
{
    uint64_t rest = (uint64_t)1 << 30; /* the upper half of 2^62, below w; its lower half is 0 */
    uint32_t quotient = 0;
    int step;
    for (step = 0; step < 32; step++) {
        uint32_t fits;
        rest <<= 1;
        fits = (uint32_t)(rest >= w);
        rest -= w & (0u - fits);
        quotient = quotient * 2 + fits;
    }
    return (int32_t)(quotient < 0x7fffffff ? quotient : 0x7fffffff);
}

/* 1 / sqrt(t / 2^32) in units of 2^-30, 2^30 <= t < 2^32: a line, then three Newton steps */
static inline uint64_t ssm_inverse_root(uint32_t t)
{
    uint64_t y = 2290047076u - (((uint64_t)t * 1308598328u) >> 32);
    int step;
    for (step = 0; step < 3; step++) {
        const uint64_t square = (y * y) >> 32;
        y = (y * ((3u << 28) - ((square * t) >> 32))) >> 29;
    }
    return y;
}

/* One frame: v becomes D = (v - mean) << left, as large as fits; returned is the f with which
   R(D << 1, f) = (v - mean) / sqrt(variance + eps) / sqrt(H) in units of 2^-29. */
static inline int32_t ssm_normalise(int32_t *v, uint32_t mean_shift, int32_t mean_factor, int32_t eps,
                                    size_t H)
{
    int64_t total = 0;
    uint64_t power = 0, factor;
    uint32_t largest = (uint32_t)eps, left, root, half;
    int32_t mean;
    size_t i;
    for (i = 0; i < H; i++)
        total += v[i];
    mean = ssm_mulr(ssm_shift((int32_t)(total >> mean_shift), 1), mean_factor);
    for (i = 0; i < H; i++) {
        const uint32_t d = (uint32_t)v[i] - (uint32_t)mean, sign = 0u - (d >> 31);
        const uint32_t size = (d ^ sign) - sign;
        v[i] = (int32_t)d;
        largest = largest > size ? largest : size;
    }
    left = (29 - ssm_log2(largest)) & 31;
    for (i = 0; i < H; i++) {
        int32_t e;
        v[i] = ssm_shift(v[i], left);
        e = v[i] >> 16; /* fits int16 */
        power += (uint32_t)(e * e);
    }
    root = (((uint32_t)eps << left) + 0x8000) >> 16;
    power += (uint64_t)root * root * H;
    half = (ssm_log2(power) + 2) >> 1; /* 2^(2 half - 2) <= power < 2^(2 half), 14 <= half < 32 */
    factor = ssm_inverse_root((uint32_t)((power << ((64 - 2 * half) & 63)) >> 32));
    factor >>= (half - 14) & 31;
    return (int32_t)(factor < 0x7fffffff ? factor : 0x7fffffff);
}

SSM_KERNEL void ssm_ilayernorm(int32_t *SSM_RESTRICT v, const int32_t *SSM_RESTRICT m,
                               const int32_t *SSM_RESTRICT b, uint32_t s, uint32_t mean_shift,
                               int32_t mean_factor, int32_t eps, size_t T, size_t H)
{
    size_t i;
    for (; T > 0; T--, v += H) {
        const int32_t factor = ssm_normalise(v, mean_shift, mean_factor, eps, H);
        for (i = 0; i < H; i++) {
            const int32_t n = ssm_mulr(ssm_shift(v[i], 1), factor);
            v[i] = ssm_sum32(ssm_mulr(ssm_shift(n, s), m[i]), b[i]);
        }
    }
}

/* A 64-bit state word is kept as two of 32 bits, lower first: the same blob on every machine. */
static inline int64_t ssm_pair(const int32_t *p)
{
    return (int64_t)((uint64_t)(uint32_t)p[1] << 32 | (uint32_t)p[0]);
}

static inline void ssm_set_pair(int32_t *p, uint64_t x)
{
    p[0] = (int32_t)(uint32_t)(x & 0xffffffff);
    p[1] = (int32_t)(uint32_t)(x >> 32);
}

SSM_KERNEL void ssm_ipool_mean(int32_t *SSM_RESTRICT v, int32_t *SSM_RESTRICT state, size_t T,
                               size_t H)
{
    size_t i;
    for (; T > 0; T--, v += H) {
        const uint64_t count = (uint64_t)ssm_pair(state + 2 * H);
        const uint64_t full = (uint64_t)((count >> 33) > 0); /* from then on 2^-33 is forgotten */
        const uint64_t n = count + 1 - full;
        const uint32_t e = ssm_log2(n);
        const int32_t r = ssm_reciprocal((uint32_t)((n << (63 - e)) >> 32));
        for (i = 0; i < H; i++) {
            const int64_t old = ssm_pair(state + 2 * i);
            const uint64_t forgotten = (uint64_t)(old >> 33) & (0 - full);
            const uint64_t sum = (uint64_t)old + (uint64_t)(int64_t)v[i] - forgotten;
            ssm_set_pair(state + 2 * i, sum);
            v[i] = ssm_mulr(ssm_shift((int32_t)((int64_t)sum >> e), 1), r);
        }
        ssm_set_pair(state + 2 * H, n);
    }
}

SSM_KERNEL void ssm_ipool_ema(int32_t *SSM_RESTRICT v, int32_t *SSM_RESTRICT state, int32_t gain,
                              size_t T, size_t H)
{
    const int32_t keep = (int32_t)(0x80000000 - (uint32_t)gain);
    size_t i;
    for (; T > 0; T--, v += H) {
        const int32_t w = ssm_sum32(ssm_mulr(ssm_shift(state[H], 1), keep), gain >> 2);
        const uint32_t e = ssm_log2((uint32_t)w); /* at most 29 */
        const int32_t r = ssm_reciprocal((uint32_t)w << (31 - e));
        state[H] = w;
        for (i = 0; i < H; i++) {
            const int32_t x = ssm_mulr(ssm_shift(v[i], 1), gain);
            state[i] = ssm_sum32(ssm_mulr(ssm_shift(state[i], 1), keep), x);
            v[i] = ssm_mulr(ssm_shift(state[i], (30 - e) & 31), r);
        }
    }
}

#ifndef SSM_NO_FLOAT
SSM_KERNEL int ssm_ifinite(const float *x, size_t n)
{
    uint32_t bits, finite = 1;
    size_t i;
    for (i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        finite &= (uint32_t)((bits & 0x7f800000) != 0x7f800000);
    }
    return (int)finite;
}

SSM_KERNEL void ssm_encode(const float *SSM_RESTRICT x, const float *SSM_RESTRICT factor,
                           int16_t *SSM_RESTRICT c, size_t T, size_t U)
{
    size_t i;
    for (; T > 0; T--, x += U, c += U)
        for (i = 0; i < U; i++) {
            float y = x[i] * factor[i];
            int32_t bits, size;
            memcpy(&bits, &y, sizeof bits);
            size = bits & 0x7fffffff; /* integer order is float order */
            size = size < 0x46fffe00 ? size : 0x46fffe00; /* 32767.0 */
            bits = size | (bits & INT32_MIN);
            memcpy(&y, &bits, sizeof y);
            y += 12582912.0f; /* 1.5 * 2^23: its lowest bit is worth 1 */
            memcpy(&bits, &y, sizeof bits);
            c[i] = (int16_t)(bits - 0x4b400000);
        }
}

SSM_KERNEL void ssm_decode(const int32_t *SSM_RESTRICT v, const float *SSM_RESTRICT scale,
                           float *SSM_RESTRICT y, size_t T, size_t Y)
{
    size_t i;
    for (; T > 0; T--, v += Y, y += Y)
        for (i = 0; i < Y; i++)
            y[i] = (float)v[i] * scale[i];
}
#endif

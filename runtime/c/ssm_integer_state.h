/* ssm_integer_state.h - whether saved states are such as the kernels of ssm_integer.h leave behind.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_integer.h)

   Part of ssm_integer.h. p: the words of one op, of any alignment. */

/* 1 if the n 32-bit words at p lie in [low, high] */
static inline int ssm_words_in(const unsigned char *p, size_t n, int32_t low, int32_t high)
{
    int32_t x;
    for (; n > 0; n--, p += sizeof x) {
        memcpy(&x, p, sizeof x);
        if (x < low || x > high)
            return 0;
    }
    return 1;
}

/* 1 if the n pairs of words at p lie in [low, high] */
static inline int ssm_pairs_in(const unsigned char *p, size_t n, int64_t low, int64_t high)
{
    int32_t pair[2];
    for (; n > 0; n--, p += sizeof pair) {
        memcpy(pair, p, sizeof pair);
        if (ssm_pair(pair) < low || ssm_pair(pair) > high)
            return 0;
    }
    return 1;
}

/* the states (n) of ssm_rotate_l16 or _l32 */
static inline int ssm_modes_fit(const unsigned char *p, size_t n)
{
    return ssm_words_in(p, n, -(1 << 30), 1 << 30);
}

/* the state (n = H + 1) of ssm_ipool_ema: the weight of its sums is at most 2^29 */
static inline int ssm_pool_ema_fits(const unsigned char *p, size_t n)
{
    return ssm_words_in(p, n - 1, -(1 << 30), 1 << 30) &&
           ssm_words_in(p + 4 * (n - 1), 1, 0, 1 << 29);
}

/* the state (n = 2H + 2) of ssm_ipool_mean: of at most 2^33 frames */
static inline int ssm_pool_mean_fits(const unsigned char *p, size_t n)
{
    const int64_t limit = (int64_t)1 << 62;
    return ssm_pairs_in(p, n / 2 - 1, -limit, limit) &&
           ssm_pairs_in(p + 4 * (n - 2), 1, 0, (int64_t)1 << 33);
}

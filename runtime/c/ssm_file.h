/* ssm_file.h - how ssm.c reads an .ssmc file; the format stands in ssm.h.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h) */

#ifndef SSM_FILE_H
#define SSM_FILE_H

#include <string.h>

#include "ssm.h"

enum { HEADER_BYTES = 128, SIGNAL_BYTES = 32, BLOB_HEADER_BYTES = 16, MAX_OPS = 4096, MAX_DIM = 1 << 20 };
enum { SINCE_CHANNELS = 3 }; /* version */

typedef struct {
    uint32_t kind, in, out, n;
    uint32_t slot;      /* of an ssm with channels the offset of their modes */
    float scalar;       /* eps of a layernorm, decay of a pool */
    uint32_t tensor[4]; /* offsets from the file's start */
} op_t;

/* The file is little-endian and so must be the machine (ssm_open checks it): plain copies. */
static inline uint32_t word(const unsigned char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline op_t op_read(const ssm_t *m, uint32_t index)
{
    op_t op;
    memcpy(&op, m->bytes + m->ops_at + (size_t)index * sizeof op, sizeof op);
    return op;
}

static inline const float *tensor(const ssm_t *m, uint32_t offset)
{
    return offset == 0 ? NULL : (const float *)(const void *)(m->bytes + offset);
}

/* CRC-32 as in zlib, half a byte at a time: small, no table to set up. */
static const uint32_t crc32_of_half[16] = {
    0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
    0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
    0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};

static inline uint32_t crc32(const unsigned char *p, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (; n > 0; n--) {
        crc ^= *p++;
        crc = (crc >> 4) ^ crc32_of_half[crc & 15u];
        crc = (crc >> 4) ^ crc32_of_half[crc & 15u];
    }
    return ~crc;
}

/* Whether `floats` floats at `offset` lie inside a file of n bytes; 0 = absent, where allowed. */
static inline int inside(uint32_t offset, uint64_t floats, uint64_t n)
{
    return offset >= HEADER_BYTES && offset % 4 == 0 && offset <= n && floats * 4 <= n - offset;
}

static inline int inside_or_none(uint32_t offset, uint64_t floats, uint64_t n)
{
    return offset == 0 || inside(offset, floats, n);
}

/* Whether the modes of each of H channels, u16 at `offset`, lie inside a file of n bytes and are N in all. */
static inline int modes_inside(const ssm_t *m, uint32_t offset, uint64_t H, uint64_t N, uint64_t n)
{
    uint64_t found = 0, h;
    uint16_t modes;
    if (!inside(offset, (2 * H + 3) / 4, n))
        return 0;
    for (h = 0; h < H; h++) {
        memcpy(&modes, m->bytes + offset + 2 * (size_t)h, sizeof modes);
        found += modes;
    }
    return found == N;
}

/* Note how much memory the model wants; refused if the machine could not address it. */
static inline int room(ssm_t *m, uint64_t state_words, uint64_t scratch_words)
{
    if (state_words > (UINT32_MAX - BLOB_HEADER_BYTES) / 4 ||
        scratch_words > (SIZE_MAX - 4 * state_words) / 4)
        return SSM_E_DAMAGED;
    m->state_words = (uint32_t)state_words;
    m->state_bytes = BLOB_HEADER_BYTES + 4 * m->state_words;
    m->scratch_bytes = 4 * (size_t)scratch_words;
    return SSM_OK;
}

#endif

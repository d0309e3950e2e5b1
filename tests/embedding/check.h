/* SPDX-License-Identifier: 0BSD
 * CHECK(what): or the driver ends here and says where. Frames that need no file: see feed.c. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)                                                                                        \
    do {                                                                                                   \
        if (!(what)) {                                                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                     \
            exit(1);                                                                                       \
        }                                                                                                  \
    } while (0)

static uint32_t seed = 1;

/* Uniform in [-2, 2), the same everywhere. */
static inline float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)((int32_t)(seed >> 8) - (1 << 23)) * (1.0f / 4194304.0f);
}

#endif

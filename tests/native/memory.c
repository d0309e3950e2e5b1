/* SPDX-License-Identifier: 0BSD
 * The three functions a model may ask of a C library, for WebAssembly modules without one. */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
    unsigned char *a = (unsigned char *)to;
    const unsigned char *b = (const unsigned char *)from;
    size_t i;
    for (i = 0; i < n; i++)
        a[i] = b[i];
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    unsigned char *a = (unsigned char *)to;
    const unsigned char *b = (const unsigned char *)from;
    size_t i;
    if (a < b)
        return memcpy(to, from, n);
    for (i = n; i > 0; i--)
        a[i - 1] = b[i - 1];
    return to;
}

void *memset(void *to, int value, size_t n)
{
    unsigned char *a = (unsigned char *)to;
    size_t i;
    for (i = 0; i < n; i++)
        a[i] = (unsigned char)value;
    return to;
}

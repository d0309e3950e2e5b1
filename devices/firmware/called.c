/* SPDX-License-Identifier: 0BSD
 *
 * A generated model without an operating system, a C library or a main: whoever emulates the processor
 * calls step() and reads and writes the frames where they lie. Compiled together with NAME.c:
 *
 *     zig cc -target … -fno-builtin -DMODEL=kws -DUPPER=KWS -DMODEL_HEADER='"kws.h"' called.c kws.c
 */
#include <stddef.h>
#include <string.h>

#include MODEL_HEADER

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define M(suffix) JOIN(MODEL, suffix)
#define OF(name) JOIN(UPPER, name)

#ifdef __wasm__
#define EXPORTED(name) __attribute__((export_name(#name), used))
#else
#define EXPORTED(name) __attribute__((used, noinline))
#endif

typedef unsigned __attribute__((may_alias)) word;

static M(_t) model;
float frame[OF(_INPUTS)], result[OF(_OUTPUTS)];
EXPORTED(start) int start(void)
{
    return M(_init)(&model);
}

EXPORTED(step) int step(void)
{
    return M(_step)(&model, frame, result);
}

EXPORTED(address) void *address(int which)
{
    return which == 0 ? (void *)frame : (void *)result;
}

/* Bytes of one instance, of the model's constants, and values in a frame of inputs and of outputs. */
EXPORTED(number) unsigned number(int which)
{
    return which == 0 ? (unsigned)sizeof model : which == 1 ? OF(_FLASH_BYTES) : which == 2 ? OF(_INPUTS) : OF(_OUTPUTS);
}

/* Words where both ends are aligned, as C libraries for microcontrollers do. */
void *memcpy(void *to, const void *from, size_t bytes)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if ((((size_t)t | (size_t)f) & 3) == 0)
        for (; bytes >= 4; bytes -= 4, t += 4, f += 4)
            *(word *)(void *)t = *(const word *)(const void *)f;
    while (bytes-- > 0)
        *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t < f)
        return memcpy(to, from, bytes);
    while (bytes-- > 0)
        t[bytes] = f[bytes];
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    unsigned char *t = to;
    const word four = (unsigned char)value * 0x01010101u;
    if (((size_t)t & 3) == 0)
        for (; bytes >= 4; bytes -= 4, t += 4)
            *(word *)(void *)t = four;
    while (bytes-- > 0)
        *t++ = (unsigned char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
    const unsigned char *x = a, *y = b;
    for (; bytes > 0; bytes--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

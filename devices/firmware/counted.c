/* SPDX-License-Identifier: 0BSD
 *
 * Runs a generated model where instructions can be counted and time means nothing: on a board or a
 * processor that QEMU emulates, with icount.c's mark=mark. Compiled together with NAME.c:
 *
 *     cc -DMODEL=kws -DUPPER=KWS -DMODEL_HEADER='"kws.h"' counted.c kws.c
 *
 *     counted FRAMES OUTPUT
 *
 * FRAMES  raw float32 frames, (T, inputs); from a fresh state each is one step
 * OUTPUT  is written: raw float32, (T, outputs)
 *
 * Prints "frames T", "stack BYTES" (deepest use of a step), "flash BYTES" (constants of the model) and
 * "ram BYTES" (of one instance). mark() is called twice with nothing between, then before and after
 * each step.
 *
 * Exit code: 0 done, 2 wrong arguments or files, 3 the model returned an error.
 */
#include <stddef.h>
#include <stdint.h>

#include MODEL_HEADER

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define M(suffix) JOIN(MODEL, suffix)
#define OF(name) JOIN(UPPER, name)

enum { WRONG = 2, REFUSED = 3, DEPTH = 8192 };
#define PAINT 0xA5u

static M(_t) model;
static float in[OF(_INPUTS)], out[OF(_OUTPUTS)];

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#include "semihosting.h"
typedef int file_t;
static int open_file(file_t *file, const char *path, int write)
{
    *file = semihost_open(path, write ? SEMIHOST_WRITE_BINARY : SEMIHOST_READ_BINARY);
    return *file >= 0;
}

static int read_whole(file_t file, void *to, size_t bytes)
{
    return semihost_read(file, to, bytes) == 0;
}

static int write_whole(file_t file, const void *from, size_t bytes)
{
    return semihost_write(file, from, bytes) == 0;
}

static int close_file(file_t file)
{
    return semihost_close(file) == 0;
}

static void print(const char *text)
{
    semihost_print(text);
}
#else
#include <stdio.h>
typedef FILE *file_t;
static int open_file(file_t *file, const char *path, int write)
{
    *file = fopen(path, write ? "wb" : "rb");
    return *file != NULL;
}

static int read_whole(file_t file, void *to, size_t bytes)
{
    return fread(to, 1, bytes, file) == bytes;
}

static int write_whole(file_t file, const void *from, size_t bytes)
{
    return fwrite(from, 1, bytes, file) == bytes;
}

static int close_file(file_t file)
{
    return fclose(file) == 0;
}

static void print(const char *text)
{
    fputs(text, stdout);
}
#endif

static volatile unsigned char *stack_pointer(void) __attribute__((always_inline));
static inline volatile unsigned char *stack_pointer(void)
{
    volatile unsigned char *here;
#if defined(__arm__) || defined(__aarch64__)
    __asm__ volatile("mov %0, sp" : "=r"(here));
#elif defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(here));
#else
#error "how is the stack pointer read here?"
#endif
    return here;
}

/* What the counter looks for. */
void mark(void) __attribute__((noinline));
void mark(void)
{
    __asm__ volatile("" ::: "memory");
}

/* One step, marked, and the bytes of stack that it took: what it left of the paint below us. */
static int step(size_t *deepest) __attribute__((noinline));
static int step(size_t *deepest)
{
    volatile unsigned char *const here = stack_pointer();
    size_t depth;
    int status;
    for (depth = 1; depth <= DEPTH; depth++)
        here[-(ptrdiff_t)depth] = PAINT;
    mark();
    status = M(_step)(&model, in, out);
    mark();
    for (depth = DEPTH; depth > *deepest && here[-(ptrdiff_t)depth] == PAINT; depth--)
        ;
    *deepest = depth;
    return status;
}

static void tell(const char *name, size_t value)
{
    char text[24];
    size_t at = sizeof text - 1;
    text[at] = '\0';
    text[--at] = '\n';
    do
        text[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    text[--at] = ' ';
    print(name);
    print(text + at);
}

int main(int argc, char **argv)
{
    file_t frames, output;
    size_t count = 0, deepest = 0;
    if (argc != 3 || !open_file(&frames, argv[1], 0) || !open_file(&output, argv[2], 1))
        return WRONG;
    if (M(_init)(&model) != 0)
        return REFUSED;
    mark();
    mark();
    for (; read_whole(frames, in, sizeof in); count++) {
        if (step(&deepest) != 0)
            return REFUSED;
        if (!write_whole(output, out, sizeof out))
            return WRONG;
    }
    if (!close_file(output) || !close_file(frames))
        return WRONG;
    tell("frames", count);
    tell("stack", deepest);
    tell("flash", OF(_FLASH_BYTES));
    tell("ram", sizeof model);
    return 0;
}

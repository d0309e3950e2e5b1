/* SPDX-License-Identifier: 0BSD
 * Runs a model with every way out closed: the allocator counts its calls, and Linux's strict seccomp mode
 * kills the process at any system call but read, write and exit. Prints "allocations N".
 *
 * Wrapped around feed.c: its main is renamed. BREAK=1 allocates in the loop, BREAK=2 makes a system call:
 * proof that the traps work.
 */
#define _GNU_SOURCE
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define main feed_main
#include "feed.c"
#undef main

static volatile unsigned allocations;

/* These replace the C library's allocator in the whole program. */
static void *trapped(void)
{
    static char room[1 << 16];
    allocations++;
    return room;
}

void *malloc(size_t n)
{
    (void)n;
    return trapped();
}

void *calloc(size_t n, size_t size)
{
    (void)n;
    (void)size;
    return trapped();
}

void *realloc(void *p, size_t n)
{
    (void)p;
    (void)n;
    return trapped();
}

void *aligned_alloc(size_t alignment, size_t n)
{
    (void)alignment;
    (void)n;
    return trapped();
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
    (void)alignment;
    (void)n;
    *p = trapped();
    return 0;
}

void free(void *p)
{
    (void)p;
    allocations++;
}

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        syscall(SYS_exit, 3);
}

int main(void)
{
    static char line[] = "allocations 000000\n";
    unsigned n;
    int i, data, block;
    uint64_t h = 1;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
        return 2;
    allocations = 0;
    for (data = 0; data < 4; data++)
        for (block = 0; block < 8; block += 7)
            if (feed(data, 64, (uint32_t)block, 1) == 0)
                h = 0;
#if BREAK == 1
    free(malloc(n = 1));
#elif BREAK == 2
    syscall(SYS_getppid);
#endif
    n = allocations;
    for (i = 17; i >= 12; i--, n /= 10)
        line[i] = (char)('0' + n % 10);
    say(h != 0 ? line : "the model refused\n");
    syscall(SYS_exit, 0);
    return 1;
}

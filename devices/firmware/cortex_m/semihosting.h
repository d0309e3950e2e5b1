/* SPDX-License-Identifier: 0BSD
 *
 * What a bare-metal program asks of its debugger or emulator: print, exit, command line.
 * Arm's semihosting for Cortex-M: operation in r0, argument in r1, then "bkpt 0xab". Without a
 * debugger or emulator behind it the instruction faults.
 */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum { SEMIHOST_WRITE0 = 0x04, SEMIHOST_COMMAND_LINE = 0x15, SEMIHOST_EXIT = 0x20 };

static inline int semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static inline void semihost_print(const char *text)
{
    semihost(SEMIHOST_WRITE0, text);
}

__attribute__((noreturn)) static inline void semihost_exit(int code)
{
    const uint32_t block[2] = {0x20026u /* "the application ended" */, (uint32_t)code};
    semihost(SEMIHOST_EXIT, block);
    for (;;)
        ;
}

/* The command line, zero-terminated, into line (size bytes); 0 if it was there and fitted. */
static inline int semihost_command_line(char *line, size_t size)
{
    struct {
        char *line;
        size_t size;
    } block = {line, size};
    return semihost(SEMIHOST_COMMAND_LINE, &block);
}

#endif

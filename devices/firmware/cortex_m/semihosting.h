/* SPDX-License-Identifier: 0BSD
 *
 * What a bare-metal program asks of its debugger or emulator: print, exit, command line, files.
 * Arm's semihosting for Cortex-M: operation in r0, argument in r1, then "bkpt 0xab". Without a
 * debugger or emulator behind it the instruction faults.
 */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum {
    SEMIHOST_OPEN = 0x01,
    SEMIHOST_CLOSE = 0x02,
    SEMIHOST_WRITE0 = 0x04,
    SEMIHOST_WRITE = 0x05,
    SEMIHOST_READ = 0x06,
    SEMIHOST_COMMAND_LINE = 0x15,
    SEMIHOST_EXIT = 0x20
};
enum { SEMIHOST_READ_BINARY = 1, SEMIHOST_WRITE_BINARY = 5 }; /* "rb", "wb" */

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

/* A file of the host; a negative handle if it cannot be opened. */
static inline int semihost_open(const char *path, int mode)
{
    struct {
        const char *path;
        size_t mode, length;
    } block = {path, (size_t)mode, 0};
    while (path[block.length] != '\0')
        block.length++;
    return semihost(SEMIHOST_OPEN, &block);
}

/* Both return how many of the bytes they did not get to; 0 is success. */
static inline size_t semihost_read(int file, void *to, size_t bytes)
{
    struct {
        size_t file;
        void *to;
        size_t bytes;
    } block = {(size_t)file, to, bytes};
    return (size_t)semihost(SEMIHOST_READ, &block);
}

static inline size_t semihost_write(int file, const void *from, size_t bytes)
{
    struct {
        size_t file;
        const void *from;
        size_t bytes;
    } block = {(size_t)file, from, bytes};
    return (size_t)semihost(SEMIHOST_WRITE, &block);
}

static inline int semihost_close(int file)
{
    const size_t block[1] = {(size_t)file};
    return semihost(SEMIHOST_CLOSE, block);
}

#endif

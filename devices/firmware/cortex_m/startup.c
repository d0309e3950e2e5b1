/* SPDX-License-Identifier: 0BSD
 *
 * From reset to main(argc, argv) on any Cortex-M: vector table, floating-point unit, .data, .bss.
 * The arguments come by semihosting; main's result becomes the exit code. A fault exits with 99.
 *
 *     arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard -nostartfiles \
 *         -L . -T mps2.ld startup.c program.c
 */
#include "semihosting.h"

enum { FAULT = 99, LINE = 256, ARGUMENTS = 16 };

extern uint32_t load_start, data_start, data_end, bss_start, bss_end, stack_top; /* linker script */
extern int main(int argc, char **argv);

/* Splits at spaces, in place. */
static int split(char *line, char **argv)
{
    int argc = 0;
    while (*line != '\0' && argc < ARGUMENTS) {
        while (*line == ' ')
            *line++ = '\0';
        if (*line != '\0')
            argv[argc++] = line;
        while (*line != '\0' && *line != ' ')
            line++;
    }
    return argc;
}

__attribute__((noreturn, noinline, used)) static void start(void)
{
    static char line[LINE];
    static char *argv[ARGUMENTS];
    const uint32_t *from = &load_start;
    uint32_t *to;
    for (to = &data_start; to < &data_end;)
        *to++ = *from++;
    for (to = &bss_start; to < &bss_end;)
        *to++ = 0;
    if (semihost_command_line(line, sizeof line) != 0)
        line[0] = '\0';
    semihost_exit(main(split(line, argv), argv));
}

/* The unit must be on before the compiler may use it: nothing else happens in this function. */
__attribute__((noreturn)) static void reset(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to CP10 and CP11 */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    start();
}

__attribute__((noreturn)) static void fault(void)
{
    semihost_exit(FAULT);
}

/* Initial stack pointer, reset, then the system exceptions up to SysTick. */
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top,    (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault, NULL,          NULL,          NULL,          NULL,          (void *)fault,
    (void *)fault, NULL,          (void *)fault, (void *)fault};

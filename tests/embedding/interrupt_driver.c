/* SPDX-License-Identifier: 0BSD
 * A board for interrupt.c: the core's own timer, and a vector table in RAM that has its interrupt. Prints the
 * bits of the answer to frame FRAMES. */

#include "interrupt.h"
#include "semihosting.h"

enum { FRAMES = 50, SYSTICK = 15, VECTORS = 16, TICKS = 25000 /* a millisecond at 25 MHz */ };

#define VTOR (*(const uint32_t *volatile *)0xE000ED08u)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)

static uint32_t table[VECTORS] __attribute__((aligned(128)));
static uint32_t seed = 1, taken;

void read_sensors(float in[MOTOR_INPUTS])
{
    int i;
    for (i = 0; i < MOTOR_INPUTS; i++) {
        seed = seed * 1664525u + 1013904223u;
        in[i] = (float)((int32_t)(seed >> 8) - (1 << 23)) * (1.0f / 4194304.0f);
    }
    if (++taken == FRAMES)
        SYST_CSR = 0; /* this frame is the last */
}

int main(void)
{
    static char line[10] = "00000000\n";
    float out[MOTOR_OUTPUTS];
    union {
        float value;
        uint32_t bits;
    } answer;
    int i;
    for (i = 0; i < VECTORS; i++)
        table[i] = VTOR[i];
    table[SYSTICK] = (uint32_t)&SysTick_Handler;
    VTOR = table;
    if (motor_start() != MOTOR_OK)
        return 1;
    SYST_RVR = TICKS - 1;
    SYST_CVR = 0;
    SYST_CSR = 7; /* the core's clock, interrupt, on */
    while (motor_newest(out) < FRAMES)
        __asm__ volatile("wfi");
    answer.value = out[0];
    for (i = 7; i >= 0; i--, answer.bits >>= 4)
        line[i] = "0123456789abcdef"[answer.bits & 15];
    semihost_print(line);
    return 0;
}

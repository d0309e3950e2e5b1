/* SPDX-License-Identifier: 0BSD
 * Fifty frames of a 12-bit converter for codes.c. Prints the last torque's code and how often it was too much. */

#include "codes.h"

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#include "semihosting.h"
#define print semihost_print
#else
#include <stdio.h>
static void print(const char *line)
{
    fputs(line, stdout);
}
#endif

static void print_hex(uint32_t number)
{
    static char text[10] = "00000000 ";
    int i;
    for (i = 7; i >= 0; i--, number >>= 4)
        text[i] = "0123456789abcdef"[number & 15];
    print(text);
}

int main(void)
{
    int16_t counts[MOTOR_INT8_INPUTS];
    int32_t torque = 0;
    uint32_t seed = 1, too_much = 0;
    int k, i;
    if (codes_start(2.0f / 2048.0f, 0.25f) != MOTOR_INT8_OK)
        return 1;
    for (k = 0; k < 50; k++) {
        for (i = 0; i < MOTOR_INT8_INPUTS; i++) {
            seed = seed * 1664525u + 1013904223u;
            counts[i] = (int16_t)((int32_t)(seed >> 20) - 2048);
        }
        i = codes_frame(counts, &torque);
        if (i < 0)
            return 1;
        too_much += (uint32_t)i;
    }
    print_hex((uint32_t)torque);
    print_hex(too_much);
    print("\n");
    return 0;
}

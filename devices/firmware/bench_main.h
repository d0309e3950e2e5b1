/* SPDX-License-Identifier: 0BSD
 *
 * A board gives these three functions to bench_main.c and calls bench_report() for ever, a pause of a
 * second or so between two reports.
 */
#ifndef BENCH_MAIN_H
#define BENCH_MAIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A counter that runs with the core's clock over all 32 bits and wraps; one step must not take longer than it. */
uint32_t bench_cycles(void);

/* Send one byte to the host; may wait until there is room. */
void bench_putchar(char c);

/* Counts of bench_cycles() in a second; 0 says that they are no time, as on an emulator. */
uint32_t bench_hz(void);

/* Measure and print once; 0, or the model's error. The board's name has no line break. */
int bench_report(const char *board);

#ifdef __cplusplus
}
#endif

#endif

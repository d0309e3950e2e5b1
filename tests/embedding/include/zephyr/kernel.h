/* The few declarations of Zephyr that the example touches, for compiling it without Zephyr: a timer whose
   waits return at once. SPDX-License-Identifier: 0BSD */

#ifndef ZEPHYR_KERNEL_H
#define ZEPHYR_KERNEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t us;
} k_timeout_t;
struct k_timer {
    k_timeout_t period;
    uint32_t waits;
};
#define K_USEC(n) ((k_timeout_t){(int64_t)(n)})
#define K_TIMER_DEFINE(name, expired, stopped) struct k_timer name

void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t period);
uint32_t k_timer_status_sync(struct k_timer *timer);

#endif

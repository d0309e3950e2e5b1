/* SPDX-License-Identifier: 0BSD
 *
 * The clocks of host_loop.c. Times are those of CLOCK_MONOTONIC. Reading it makes the processor wait
 * until all that came before is done, which steps back to back do not do for each other: it can cost
 * a short step a quarter more. Where the kernel's clock is the processor's own counter, that is read
 * instead, without waiting, and scaled. Between two readings then may be some 20 ns more or less than
 * the step, never in the sum of many.
 */
#ifndef HOST_CLOCK_H
#define HOST_CLOCK_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SPIN_NS = 300000, SCALE_NS = 20000000 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + (int64_t)t.tv_nsec;
}

/* Whether the kernel itself takes its time from a counter that we can read: it knows which ones run
 * at one rate whatever the processor's frequency is. */
static int has_counter(void)
{
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
    char name[32] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");
    if (file == NULL) return 0;
    if (fgets(name, sizeof name, file) == NULL) name[0] = '\0';
    fclose(file);
    return strcmp(name, "tsc\n") == 0 || strcmp(name, "arch_sys_counter\n") == 0;
#else
    return 0;
#endif
}

static int64_t ticks(void)
{
#if defined(__GNUC__) && defined(__x86_64__)
    uint32_t low, high;
    __asm__ __volatile__("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (int64_t)((uint64_t)high << 32 | low);
#elif defined(__GNUC__) && defined(__aarch64__)
    uint64_t count;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(count) : : "memory");
    return (int64_t)count;
#else
    return now_ns();
#endif
}

/* The counter may move in steps of several ticks, as in some virtual machines. Readings with more and
 * more work between them then differ by multiples of a step, to a rounding; else the answer is 1. */
static int64_t ticks_at_once(void)
{
    enum { READINGS = 1000, OFTEN = 20, ROUNDING = 2 };
    int64_t found[READINGS], step = INT64_MAX;
    int multiples = 0;
    for (int i = 0; i < READINGS; i++) {
        int64_t from = ticks(), to;
        for (volatile int work = 0; work < i / 8; work++) {
        }
        do to = ticks();
        while (to == from);
        found[i] = to - from;
    }
    for (int i = 0; i < READINGS; i++) {
        int same = 0;
        for (int k = 0; k < READINGS; k++) same += found[k] == found[i];
        if (same >= OFTEN && found[i] < step) step = found[i];
    }
    if (step <= 4 * ROUNDING || step == INT64_MAX) return 1;
    for (int i = 0; i < READINGS; i++) /* few enough steps that roundings do not add up */
        multiples += (found[i] + ROUNDING) % step <= 2 * ROUNDING;
    return multiples > READINGS * 9 / 10 ? step : 1;
}

static int64_t reading(int counter)
{
    return counter ? ticks() : now_ns();
}

/* What a tick of the counter lasts: two parts in a million after 20 ms. */
static double ns_per_tick(void)
{
    int64_t from = now_ns(), first = ticks(), to, last;
    do {
        to = now_ns();
        last = ticks();
    } while (to - from < SCALE_NS);
    return last > first ? (double)(to - from) / (double)(last - first) : 1.0;
}

/* Sleep until shortly before `due`, then spin: a sleep alone wakes up tens of us late. */
static void wait_until(int64_t due, int64_t spin)
{
    int64_t left = due - now_ns();
    if (left > spin) {
        struct timespec nap = {0, 0};
        nap.tv_sec = (time_t)((left - spin) / 1000000000);
        nap.tv_nsec = (long)((left - spin) % 1000000000);
        nanosleep(&nap, NULL);
    }
    while (now_ns() < due) {
    }
}

#endif

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

/* The counter moves in steps of so many: what divides all differences. */
static int64_t ticks_at_once(void)
{
    int64_t step = 0, from = ticks();
    for (int i = 0; i < 1000; i++) {
        int64_t to = ticks(), a = to - from, b = step;
        while (b != 0) {
            int64_t rest = a % b;
            a = b;
            b = rest;
        }
        step = a;
        from = to;
    }
    return step > 0 ? step : 1;
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

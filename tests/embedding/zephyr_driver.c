/* SPDX-License-Identifier: 0BSD
 * A kernel and a board for the Zephyr application: fifty frames, one of them late. */

#include <zephyr/kernel.h>

#include "check.h"
#include "motor.h"

enum { FRAMES = 50, LATE = 20 };

static uint32_t late;

void read_sensors(float in[MOTOR_INPUTS]);
void drive(const float out[MOTOR_OUTPUTS]);
void report_late(uint32_t frames);

void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t period)
{
    CHECK(first.us == 1000 && period.us == 1000);
    timer->waits = 0;
}

uint32_t k_timer_status_sync(struct k_timer *timer)
{
    if (timer->waits == FRAMES) {
        CHECK(late == 2);
        exit(0);
    }
    return timer->waits++ == LATE ? 3 : 1;
}

void read_sensors(float in[MOTOR_INPUTS])
{
    int i;
    for (i = 0; i < MOTOR_INPUTS; i++)
        in[i] = noise();
}

void drive(const float out[MOTOR_OUTPUTS])
{
    printf("%.9g\n", (double)out[0]);
}

void report_late(uint32_t frames)
{
    late += frames;
}

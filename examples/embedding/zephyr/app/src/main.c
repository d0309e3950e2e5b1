/* A model in a Zephyr thread that a timer wakes. SPDX-License-Identifier: 0BSD */

#include <zephyr/kernel.h>

#include "motor.h"

void read_sensors(float in[MOTOR_INPUTS]);       /* yours */
void drive(const float out[MOTOR_OUTPUTS]);      /* yours */
void report_late(uint32_t frames);               /* yours: log it, do not print it from here */

K_TIMER_DEFINE(frame_timer, NULL, NULL);
static motor_t model; /* MOTOR_RAM_BYTES; CONFIG_MAIN_STACK_SIZE holds MOTOR_STACK_BYTES more than yours */

int main(void)
{
    float in[MOTOR_INPUTS], out[MOTOR_OUTPUTS];
    const k_timeout_t period = K_USEC((uint32_t)MOTOR_PERIOD_US);
    motor_init(&model);
    k_timer_start(&frame_timer, period, period);
    for (;;) {
        const uint32_t expired = k_timer_status_sync(&frame_timer);
        if (expired > 1)
            report_late(expired - 1);
        read_sensors(in);
        if (motor_step(&model, in, out) == MOTOR_OK)
            drive(out);
    }
}

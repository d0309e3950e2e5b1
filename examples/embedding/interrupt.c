/* A model in a timer interrupt of a Cortex-M; the main loop reads its newest answer.
   SPDX-License-Identifier: 0BSD

   The interrupt's stack holds MOTOR_STACK_BYTES for the model, and the registers that the core saves:
   104 bytes with a floating-point unit, 32 without. */

#include "interrupt.h"

static motor_t model;

/* The interrupt writes, the main loop reads and may be interrupted while it does: it reads again if the
   count has changed. One core; with two, use the barriers of your RTOS. */
static volatile uint32_t count;
static volatile float newest[MOTOR_OUTPUTS];

int motor_start(void)
{
    return motor_init(&model); /* then start the timer: MOTOR_PERIOD_US between two interrupts */
}

void SysTick_Handler(void) /* the name that your vector table has for the timer */
{
    float in[MOTOR_INPUTS], out[MOTOR_OUTPUTS];
    int i;
    read_sensors(in);
    if (motor_step(&model, in, out) != MOTOR_OK)
        return; /* an input was NaN: the model is as it was, the last answer stands */
    for (i = 0; i < MOTOR_OUTPUTS; i++)
        newest[i] = out[i];
    count++;
}

uint32_t motor_newest(float out[MOTOR_OUTPUTS])
{
    uint32_t before;
    int i;
    do {
        before = count;
        for (i = 0; i < MOTOR_OUTPUTS; i++)
            out[i] = newest[i];
    } while (before != count);
    return before;
}

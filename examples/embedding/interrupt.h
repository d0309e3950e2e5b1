/* What interrupt.c offers to the main loop, and what it wants from the board.
   SPDX-License-Identifier: 0BSD */

#ifndef INTERRUPT_H
#define INTERRUPT_H

#include "motor.h"

void read_sensors(float in[MOTOR_INPUTS]); /* yours: called in the interrupt */

int motor_start(void);                           /* before the timer runs */
void SysTick_Handler(void);                      /* every MOTOR_PERIOD_US */
uint32_t motor_newest(float out[MOTOR_OUTPUTS]); /* frames so far, and the last one's answer */

#endif

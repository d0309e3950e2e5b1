/* What codes.c offers. SPDX-License-Identifier: 0BSD */

#ifndef CODES_H
#define CODES_H

#include "motor_int8.h"

/* Once, before the first frame: what a count of the converter is worth, and the torque to warn of. */
int codes_start(float volts_per_count, float newton_metres);

/* One frame of converter counts, zero in the middle. torque: in output codes. 1 if it is beyond what
   codes_start() was told, else 0; negative on an error. */
int codes_frame(const int16_t counts[MOTOR_INT8_INPUTS], int32_t *torque);

#endif

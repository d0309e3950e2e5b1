/* An integer model fed with what a converter gives: counts in, codes out, no float in a frame.
   SPDX-License-Identifier: 0BSD

   Compile motor_int8.c with -DMOTOR_INT8_NO_FLOAT: what is left of it has no float instruction, for cores
   that have none. The real value of a code is code * scale; the scales are in motor_int8_meta. */

#include "codes.h"

static motor_int8_t model;
static int32_t gain[MOTOR_INT8_INPUTS]; /* codes per count, in 65536ths */
static int32_t limit;                   /* of the torque, in codes */

int codes_start(float volts_per_count, float newton_metres)
{
    int i;
    for (i = 0; i < MOTOR_INT8_INPUTS; i++)
        gain[i] = (int32_t)(volts_per_count / motor_int8_meta.input_scale[i] * 65536.0f + 0.5f);
    limit = (int32_t)(newton_metres / motor_int8_meta.output_scale[0]);
    return motor_int8_init(&model);
}

static int16_t code_of(int16_t count, int32_t codes_per_count)
{
    const int64_t code = ((int64_t)count * codes_per_count + 32768) >> 16;
    return (int16_t)(code > 32767 ? 32767 : code < -32767 ? -32767 : code);
}

int codes_frame(const int16_t counts[MOTOR_INT8_INPUTS], int32_t *torque)
{
    int16_t in[MOTOR_INT8_INPUTS];
    int i, status;
    for (i = 0; i < MOTOR_INT8_INPUTS; i++)
        in[i] = code_of(counts[i], gain[i]);
    status = motor_int8_step_codes(&model, in, torque);
    if (status != MOTOR_INT8_OK)
        return status;
    return *torque > limit || *torque < -limit;
}

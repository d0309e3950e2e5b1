// A model in an Arduino sketch, one frame every MOTOR_PERIOD_US. SPDX-License-Identifier: 0BSD

#include <motor.h>

static motor_t model;
static uint32_t due;

void setup()
{
    Serial.begin(115200);
    motor_init(&model);
    due = micros();
}

void loop()
{
    if ((int32_t)(micros() - due) < 0)
        return; // not yet
    due += (uint32_t)MOTOR_PERIOD_US; // from the plan, not from now: the rate does not drift

    float in[MOTOR_INPUTS], out[MOTOR_OUTPUTS];
    for (int i = 0; i < MOTOR_INPUTS; i++)
        in[i] = (float)analogRead(A0 + i) * (5.0f / 1023.0f); // volts, as in training
    if (motor_step(&model, in, out) == MOTOR_OK)
        Serial.println(out[0], 6);
}

// SPDX-License-Identifier: 0BSD
// A board for the sketch: a clock that jumps a quarter of a millisecond a look; fifty frames.

#include <Arduino.h>

#include "check.h"
#include "motor.h"

void setup();
void loop();

SerialPort Serial;
static uint32_t now;
static int printed, readings;

uint32_t micros()
{
    return now += 250;
}

int analogRead(int pin)
{
    CHECK(pin == A0 + readings % MOTOR_INPUTS);
    return 37 * readings++ % 1024;
}

void SerialPort::begin(long baud)
{
    CHECK(baud == 115200);
}

void SerialPort::println(double value, int)
{
    printf("%.9g\n", value);
    printed++;
}

int main()
{
    setup();
    while (printed < 50)
        loop();
    CHECK(now == 49250); // the first frame at once, then one a millisecond
    return 0;
}

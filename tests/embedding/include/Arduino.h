// The few declarations of Arduino that the sketch touches, for compiling it without a board: time passes by
// a microsecond a look. SPDX-License-Identifier: 0BSD

#pragma once

#include <stdint.h>

enum { A0 = 14 };
uint32_t micros();
int analogRead(int pin);

struct SerialPort {
    void begin(long baud);
    void println(double value, int digits);
};
extern SerialPort Serial;

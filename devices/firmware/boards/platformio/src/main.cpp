// SPDX-License-Identifier: 0BSD
//
// NUCLEO-F446RE, Raspberry Pi Pico 2 (Arm cores) and ESP32-S3 through their Arduino cores.
#include <Arduino.h>

#include "bench_main.h"

#if defined(ESP32)
static const char *const BOARD = "ESP32-S3";
static void start_counter() {}
uint32_t bench_cycles(void) { return ESP.getCycleCount(); }
uint32_t bench_hz(void) { return 1000000u * ESP.getCpuFreqMHz(); }
#else
#if defined(ARDUINO_ARCH_RP2040) // RP2350, too
static const char *const BOARD = "Raspberry Pi Pico 2";
uint32_t bench_hz(void) { return rp2040.f_cpu(); }
#else
static const char *const BOARD = "NUCLEO-F446RE";
uint32_t bench_hz(void) { return SystemCoreClock; }
#endif
// The cycle counter that Cortex-M3 and larger cores have: DWT_CYCCNT.
static volatile uint32_t &register_at(uintptr_t address) { return *reinterpret_cast<volatile uint32_t *>(address); }
static void start_counter()
{
    register_at(0xE000EDFC) |= 1u << 24; // DEMCR.TRCENA
    register_at(0xE0001004) = 0;         // DWT_CYCCNT
    register_at(0xE0001000) |= 1u;       // DWT_CTRL.CYCCNTENA
}
uint32_t bench_cycles(void) { return register_at(0xE0001004); }
#endif

void bench_putchar(char c) { Serial.write(static_cast<uint8_t>(c)); }

void setup()
{
    Serial.begin(115200);
    start_counter();
}

void loop()
{
    bench_report(BOARD);
    Serial.flush();
    delay(1000);
}

/* SPDX-License-Identifier: 0BSD
 *
 * Any board of Zephyr with a console on a serial port and timing functions.
 */
#include <zephyr/device.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include <zephyr/timing/timing.h>

#include "bench_main.h"

static const struct device *const console = DEVICE_DT_GET(DT_CHOSEN(zephyr_console));

uint32_t bench_cycles(void)
{
    return (uint32_t)timing_counter_get();
}

void bench_putchar(char c)
{
    uart_poll_out(console, (unsigned char)c);
}

uint32_t bench_hz(void)
{
    return (uint32_t)timing_freq_get();
}

int main(void)
{
    timing_init();
    timing_start();
    for (;;) {
        bench_report(CONFIG_BOARD);
        k_msleep(1000);
    }
}

/* SPDX-License-Identifier: 0BSD
 *
 * Times a generated model on a microcontroller and prints what it found, one report: the outputs of
 * recorded frames, then what each of many steps took. The lines are those of ssmith's serial protocol,
 * version 1; a host that opens the port at any time waits for the first line of the next report.
 *
 * bench_model.h is written by `python -m ssmith.devices.firmware_project`: model, frames, number of steps.
 * Your board gives three functions; bench_main.h says what they do. No heap, no printf, no interrupt.
 */
#include <stddef.h>

#include "bench_main.h"
#include "bench_model.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define M(suffix) JOIN(MODEL, suffix)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

enum { ON_A_LINE = 12, READINGS = 32 };

static JOIN(MODEL, _t) model;
static float output[MODEL_OUTPUTS];
static uint16_t check; /* CRC-16/CCITT of the line so far */
static uint32_t lines;

static void put(char c)
{
    check ^= (uint16_t)((unsigned char)c << 8);
    for (int bit = 0; bit < 8; bit++) {
        uint32_t twice = (uint32_t)check << 1;
        check = (uint16_t)((twice & 0x10000u) != 0 ? twice ^ 0x1021u : twice);
    }
    bench_putchar(c);
}

static void words(const char *text)
{
    while (*text != '\0') put(*text++);
}

static void begin_line(const char *kind)
{
    bench_putchar('@');
    check = 0xFFFFu;
    words("ssm1 ");
    words(kind);
}

static void hex(uint32_t value, int digits)
{
    while (digits-- > 0) put("0123456789abcdef"[(value >> (4 * digits)) & 15u]);
}

static void number(uint32_t value)
{
    char digits[10];
    int n = 0;
    do {
        digits[n++] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0);
    put(' ');
    while (n > 0) put(digits[--n]);
}

static void end_line(void)
{
    uint16_t sum = check;
    put(' ');
    hex(sum, 4);
    bench_putchar('\r');
    bench_putchar('\n');
    lines++;
}

/* A value of a list: a new line before every twelfth. */
static void item(const char *kind, uint32_t index, uint32_t value)
{
    if (index % ON_A_LINE == 0) {
        if (index != 0) end_line();
        begin_line(kind);
        number(index);
    }
    put(' ');
    hex(value, 8);
}

static void text(const char *key, const char *value)
{
    begin_line("text ");
    words(key);
    put(' ');
    words(value);
    end_line();
}

static uint32_t bits(float value)
{
    union {
        float f;
        uint32_t u;
    } both;
    both.f = value;
    return both.u;
}

/* What two readings with nothing between them differ by, the smallest of many. */
static uint32_t reading_costs(void)
{
    uint32_t least = UINT32_MAX;
    for (int i = 0; i < READINGS; i++) {
        uint32_t start = bench_cycles(), took = bench_cycles() - start;
        if (took < least) least = took;
    }
    return least;
}

static int failed(int status)
{
    begin_line("fail");
    number((uint32_t)(status < 0 ? -status : status));
    end_line();
    return status;
}

int bench_report(const char *board)
{
    int status;
    uint32_t index = 0;
    lines = 0;
    begin_line("begin " TEXT(MODEL) " " MODEL_PRECISION " " MODEL_SHA256);
    number(MODEL_INPUTS);
    number(MODEL_OUTPUTS);
    number(BENCH_FRAMES);
    number(BENCH_STEPS);
    number(bench_hz());
    number(reading_costs());
    number(MODEL_FLASH_BYTES);
    number((uint32_t)sizeof(model));
    end_line();
    text("board", board);
#ifdef __VERSION__
    text("compiler", __VERSION__);
#endif
    text("compiler_flags", BENCH_FLAGS);

    if ((status = M(_init)(&model)) != 0) return failed(status);
    for (uint32_t t = 0; t < BENCH_FRAMES; t++) {
        if ((status = M(_step)(&model, bench_frames[t], output)) != 0) return failed(status);
        for (int y = 0; y < MODEL_OUTPUTS; y++) item("out", index++, bits(output[y]));
    }
    end_line();

    if ((status = M(_init)(&model)) != 0) return failed(status);
    for (uint32_t k = 0; k < BENCH_STEPS; k++) {
        const float *frame = bench_frames[k % BENCH_FRAMES];
        uint32_t start = bench_cycles();
        status = M(_step)(&model, frame, output);
        uint32_t took = bench_cycles() - start; /* right across one wrap of the counter */
        if (status != 0) return failed(status);
        item("count", k, took);
    }
    end_line();
    begin_line("end");
    number(lines);
    end_line();
    return 0;
}

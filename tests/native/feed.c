/* SPDX-License-Identifier: 0BSD
 * Feeds a model frames that need no file and prints a hash of every bit it answers: the same program on
 * a host, under an emulator, on a bare board, and as a WebAssembly module.
 *
 *     feed DATA FRAMES BLOCK FRESH
 *
 * DATA    0 noise, 1 silence, 2 the largest values, 3 the smallest (subnormal floats; codes of ±1)
 * FRAMES  how many
 * BLOCK   frames a call, at most 16; 0 for one step each
 * FRESH   1: new frames all the time, all outputs hashed; 0: sixteen frames in a circle, the last output
 *         hashed, so that two runs of different length differ by the model's own instructions
 *
 * MODEL, UPPER and MODEL_HEADER say which model; CODES feeds codes to an int8 model; ENGINE, INPUTS,
 * OUTPUTS and MEMORY take the loadable form, whose file is model_bytes of the header.
 */
#include <stdint.h>
#include <string.h>

#include MODEL_HEADER

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#if defined(ENGINE)
#include "ssm.h"
#define F(name) JOIN(ssm, name)
enum { U = INPUTS, Y = OUTPUTS };
static uint64_t memory[MEMORY / 8];
#else
#define F(name) JOIN(MODEL, name)
enum { U = JOIN(UPPER, _INPUTS), Y = JOIN(UPPER, _OUTPUTS) };
#endif

#if defined(CODES)
typedef int16_t input_t;
typedef int32_t output_t;
#define STEP F(_step_codes)
#define PROCESS F(_process_codes)
#else
typedef float input_t;
typedef float output_t;
#define STEP F(_step)
#define PROCESS F(_process)
#endif

enum { RING = 16, FAILED = 1 };

static F(_t) model;
static input_t in[RING * U];
static output_t out[RING * Y];
static uint32_t seed;

static int open_model(void)
{
#if defined(ENGINE)
    return ssm_open(&model, model_bytes, sizeof model_bytes, memory, sizeof memory);
#else
    return F(_init)(&model);
#endif
}

/* A linear congruential generator; its upper 24 bits as a signed number. */
static int32_t noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (int32_t)(seed >> 8) - (1 << 23);
}

static input_t value(int data)
{
    const int32_t n = noise();
#if defined(CODES)
    if (data == 0)
        return (int16_t)(n / 256);
    return (int16_t)(data == 1 ? 0 : data == 2 ? (n < 0 ? -32767 : 32767) : (n < 0 ? -1 : 1));
#else
    const uint32_t smallest = 0x00001234u | (n < 0 ? 0x80000000u : 0u);
    float x = (float)n * (1.0f / 4194304.0f); /* exact; [-2, 2) */
    if (data == 1)
        x = 0.0f;
    if (data == 2)
        x = n < 0 ? -1048576.0f : 1048576.0f;
    if (data == 3)
        memcpy(&x, &smallest, sizeof x);
    return x;
#endif
}

static void fill(int data, uint32_t frames)
{
    uint32_t i;
    for (i = 0; i < frames * U; i++)
        in[i] = value(data);
}

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t h, const output_t *values, uint32_t n)
{
    const unsigned char *bytes = (const unsigned char *)values;
    uint32_t i;
    for (i = 0; i < n * sizeof(output_t); i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* The hash, or 0 if the model returned an error. */
uint64_t feed(int data, uint32_t frames, uint32_t block, int fresh);
uint64_t feed(int data, uint32_t frames, uint32_t block, int fresh)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    uint32_t t, n = 1;
    seed = 1;
    if (open_model() != 0 || block > RING)
        return 0;
    fill(data, RING);
    seed = 1;
    for (t = 0; t < frames; t += n) {
        const uint32_t at = fresh ? 0 : t % RING;
        int status;
        if (block > 0)
            n = frames - t < block ? frames - t : block;
        if (!fresh && n > RING - at)
            n = RING - at;
        if (fresh)
            fill(data, n);
        if (block > 0)
            status = PROCESS(&model, in + at * U, out, n);
        else
            status = STEP(&model, in + at * U, out);
        if (status != 0)
            return 0;
        if (fresh || t + n == frames)
            h = hash(h, out, n * Y);
    }
    return h;
}

#if !defined(__wasm__)
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#include "semihosting.h"
static void print(const char *line)
{
    semihost_print(line);
}
#else
#include <stdio.h>
static void print(const char *line)
{
    fputs(line, stdout);
}
#endif

static uint32_t number(const char *text)
{
    uint32_t n = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        n = 10 * n + (uint32_t)(*text - '0');
    return n;
}

int main(int argc, char **argv)
{
    static char line[18] = "0000000000000000\n";
    uint64_t h;
    int i;
    if (argc != 5)
        return FAILED;
    h = feed((int)number(argv[1]), number(argv[2]), number(argv[3]), (int)number(argv[4]));
    for (i = 15; i >= 0; i--, h >>= 4)
        line[i] = "0123456789abcdef"[h & 15];
    print(line);
    return 0;
}
#endif

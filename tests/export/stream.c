/* SPDX-License-Identifier: 0BSD
 * Feeds a generated model from standard input and checks what its header promises.
 *
 *     cc -DMODEL=net -DUPPER=NET -DMODEL_HEADER='"net.h"' stream.c net.c
 *     stream BLOCK < frames.f32 > outputs.f32
 *
 * An int8 model adds -DMAGIC='"SSM2"', or SSM3 with 8-bit activations.
 * BLOCK frames a call, 0 for one step each. Exit code: 0, or the line of the first broken promise.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include MODEL_HEADER

#ifndef MAGIC /* how a saved state begins */
#define MAGIC "SSM1"
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define F(name) JOIN(MODEL, name)
#define C(name) JOIN(UPPER, name)
#define PROMISE(x) \
    do { \
        if (!(x)) return __LINE__ % 256; \
    } while (0)

enum { FRAMES = 4096, U = C(_INPUTS), Y = C(_OUTPUTS), WIDEST = U > Y ? U : Y };

static F(_t) model, other;
static float in[FRAMES * U], out[FRAMES * Y], again[FRAMES * WIDEST];
static unsigned char state[C(_STATE_BYTES) + 4], kept[C(_STATE_BYTES)];

/* A saved state is taken whole or not at all. */
static int states(void)
{
    enum { N = C(_STATE_BYTES) };
    const float nan = NAN;
    size_t k;
    PROMISE(F(_state_get)(&model, NULL, N) == C(_E_NULL));
    PROMISE(F(_state_set)(&model, NULL, N) == C(_E_NULL));
    PROMISE(F(_process)(&model, in, out, 2) == C(_OK));
    PROMISE(F(_state_get)(&model, kept, N - 1) == C(_E_STATE));
    PROMISE(F(_state_get)(&model, kept, N + 1) == C(_E_STATE));
    PROMISE(F(_state_get)(&model, kept, N) == C(_OK));
    PROMISE(memcmp(kept, MAGIC, 4) == 0);
    for (k = 0; k < 16; k++) { /* every byte of the header counts */
        memcpy(state, kept, N);
        state[k] ^= 1;
        PROMISE(F(_state_set)(&model, state, N) == C(_E_STATE));
    }
    for (k = 16; k < N; k += 4) {
        memcpy(state, kept, N);
        memcpy(state + k, &nan, sizeof nan);
        PROMISE(F(_state_set)(&model, state, N) == C(_E_STATE));
    }
    PROMISE(F(_state_set)(&model, kept, N - 1) == C(_E_STATE));
    PROMISE(F(_state_set)(&model, kept, N + 1) == C(_E_STATE));
    PROMISE(F(_state_get)(&model, state, N) == C(_OK));
    PROMISE(memcmp(state, kept, N) == 0);
    PROMISE(F(_reset)(&model) == C(_OK));
    memcpy(state + 1, kept, N); /* of any alignment */
    PROMISE(F(_state_set)(&model, state + 1, N) == C(_OK));
    PROMISE(F(_state_get)(&model, state + 3, N) == C(_OK));
    PROMISE(memcmp(state + 3, kept, N) == 0);
    return 0;
}

/* A frame that is not finite is refused whole, and the rest of its call with it. */
static int only_finite(void)
{
    enum { N = C(_STATE_BYTES) };
    const float bad[] = {NAN, INFINITY, -INFINITY};
    size_t k;
    PROMISE(F(_state_get)(&model, kept, N) == C(_OK));
    for (k = 0; k < 3 * U * 2; k++) {
        const float value = in[k / 3];
        in[k / 3] = bad[k % 3];
        memset(out, 7, sizeof *out * Y);
        memcpy(again, out, sizeof *out * Y);
        PROMISE(F(_process)(&model, in, out, 2) == C(_E_NONFINITE));
        PROMISE(F(_step)(&model, in + k / 3 / U * U, out) == C(_E_NONFINITE));
        PROMISE(memcmp(again, out, sizeof *out * Y) == 0);
        in[k / 3] = value;
    }
    PROMISE(F(_state_get)(&model, state, N) == C(_OK));
    PROMISE(memcmp(state, kept, N) == 0);
    return 0;
}

/* The model tells its inputs, and whether the caller's are the same. */
static int meta(void)
{
    const char *names[U];
    const double period = F(_meta).period_s;
    uint32_t k;
    PROMISE(strcmp(F(_meta).sha256, C(_MODEL_SHA256)) == 0);
    PROMISE(F(_meta).inputs_n == U && F(_meta).outputs_n == Y);
    for (k = 0; k < U; k++) names[k] = F(_meta).inputs[k].name;
    PROMISE(F(_check)(names, U, 0.0) == C(_OK));
    PROMISE(F(_check)(names, U, period) == C(_OK));
    PROMISE(F(_check)(names, U, period * 1.0000009) == C(_OK));
    PROMISE(F(_check)(names, U, period * 1.000002) == (period > 0 ? C(_E_PERIOD) : C(_OK)));
    PROMISE(F(_check)(names, U, period * 0.999998) == (period > 0 ? C(_E_PERIOD) : C(_OK)));
    PROMISE(F(_check)(names, U, (double)NAN) == (period > 0 ? C(_E_PERIOD) : C(_OK)));
    PROMISE(F(_check)(names, U - 1, 0.0) == C(_E_NAMES));
    PROMISE(F(_check)(NULL, U, 0.0) == C(_E_NULL));
    for (k = 0; k < U; k++) {
        const char *name = names[k];
        names[k] = "";
        PROMISE(F(_check)(names, U, 0.0) == C(_E_NAMES));
        names[k] = NULL;
        PROMISE(F(_check)(names, U, 0.0) == C(_E_NULL));
        names[k] = name;
    }
    return 0;
}

static int errors(void)
{
    static F(_t) closed;
    PROMISE(F(_init)(NULL) == C(_E_NULL));
    PROMISE(F(_step)(&closed, in, out) == C(_E_INIT));
    PROMISE(F(_reset)(&closed) == C(_E_INIT));
    PROMISE(F(_state_get)(&closed, state, C(_STATE_BYTES)) == C(_E_INIT));
    PROMISE(F(_state_set)(&closed, state, C(_STATE_BYTES)) == C(_E_INIT));
    PROMISE(F(_init)(&model) == C(_OK));
    PROMISE(F(_process)(&model, NULL, NULL, 0) == C(_OK));
    PROMISE(F(_step)(&model, NULL, out) == C(_E_NULL));
    PROMISE(F(_step)(&model, in, NULL) == C(_E_NULL));
    PROMISE(F(_process)(&model, in, in, 2) == (Y > U ? C(_E_ALIAS) : C(_OK)));
    PROMISE(F(_reset)(&model) == C(_OK));
    PROMISE(sizeof model == C(_RAM_BYTES));
    PROMISE(sizeof model >= C(_STATE_BYTES) - 16 + C(_SCRATCH_BYTES));
    return 0;
}

int main(int argc, char **argv)
{
    size_t block = argc > 1 ? (size_t)atoi(argv[1]) : 0, frames, t, n;
    int status = errors();
    if (status == 0) status = states();
    if (status == 0) status = only_finite();
    if (status == 0) status = meta();
    if (status != 0) return status;
    PROMISE(F(_reset)(&model) == C(_OK));
    frames = fread(in, sizeof(float) * U, FRAMES, stdin);
    PROMISE(frames > 1);
    for (t = 0; t < frames; t += n) {
        n = block == 0 ? 1 : frames - t < block ? frames - t : block;
        if (block == 0)
            PROMISE(F(_step)(&model, in + t * U, out + t * Y) == C(_OK));
        else
            PROMISE(F(_process)(&model, in + t * U, out + t * Y, (uint32_t)n) == C(_OK));
    }
    /* in == out, frame by frame, in a second stream */
    PROMISE(F(_init)(&other) == C(_OK));
    for (t = 0; t < frames; t++) {
        memcpy(again, in + t * U, U * sizeof(float));
        PROMISE(F(_step)(&other, again, again) == C(_OK));
        PROMISE(memcmp(again, out + t * Y, Y * sizeof(float)) == 0);
    }
    /* in == out for a whole block */
    if (Y <= U) {
        PROMISE(F(_reset)(&other) == C(_OK));
        memcpy(again, in, frames * U * sizeof(float));
        PROMISE(F(_process)(&other, again, again, (uint32_t)frames) == C(_OK));
        PROMISE(memcmp(again, out, frames * Y * sizeof(float)) == 0);
    }
    PROMISE(fwrite(out, sizeof(float) * Y, frames, stdout) == frames);
    return 0;
}

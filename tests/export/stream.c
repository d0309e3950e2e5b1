/* SPDX-License-Identifier: 0BSD
 * Feeds a generated model from standard input and checks what its header promises.
 *
 *     cc -DMODEL=net -DUPPER=NET -DMODEL_HEADER='"net.h"' stream.c net.c
 *     stream BLOCK < frames.f32 > outputs.f32
 *
 * BLOCK frames a call, 0 for one step each. Exit code: 0, or the line of the first broken promise.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include MODEL_HEADER

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
static float state[C(_STATE_FLOATS) + 1], kept[C(_STATE_FLOATS) + 1];

static int errors(void)
{
    static F(_t) closed;
    PROMISE(F(_init)(NULL) == C(_E_NULL));
    PROMISE(F(_step)(&closed, in, out) == C(_E_INIT));
    PROMISE(F(_reset)(&closed) == C(_E_INIT));
    PROMISE(F(_state_get)(&closed, state) == C(_E_INIT));
    PROMISE(F(_init)(&model) == C(_OK));
    PROMISE(F(_process)(&model, NULL, NULL, 0) == C(_OK));
    PROMISE(F(_step)(&model, NULL, out) == C(_E_NULL));
    PROMISE(F(_step)(&model, in, NULL) == C(_E_NULL));
    PROMISE(F(_process)(&model, in, in, 2) == (Y > U ? C(_E_ALIAS) : C(_OK)));
    PROMISE(F(_reset)(&model) == C(_OK));
    PROMISE(F(_state_get)(&model, NULL) == C(_E_NULL));
    PROMISE(F(_state_get)(&model, kept) == C(_OK));
    state[0] = NAN;
    if (C(_STATE_FLOATS) > 0) PROMISE(F(_state_set)(&model, state) == C(_E_STATE));
    PROMISE(F(_state_get)(&model, state) == C(_OK));
    PROMISE(memcmp(state, kept, C(_STATE_BYTES)) == 0);
    PROMISE(sizeof model >= C(_STATE_BYTES) + C(_SCRATCH_BYTES));
    return 0;
}

int main(int argc, char **argv)
{
    size_t block = argc > 1 ? (size_t)atoi(argv[1]) : 0, frames, t, n;
    int status = errors();
    if (status != 0) return status;
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

/* SPDX-License-Identifier: 0BSD
 * Checks what ssm.h promises about wrong use, on one .ssmc file of floats.
 *
 *     cc engine.c ssm.c
 *     engine FILE
 *
 * Exit code: 0, or the line of the first broken promise.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssm.h"

#define PROMISE(x) \
    do { \
        if (!(x)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #x); \
            exit(1); \
        } \
    } while (0)

enum { MOST = 1 << 18, FRAMES = 9 };

static union {
    double align;
    unsigned char bytes[MOST];
} file, memory, other_memory;
static float in[FRAMES * 64], out[FRAMES * 64], kept[FRAMES * 64];
static unsigned char blob[MOST], saved[MOST];

/* Nothing but ssm_open() works on a handle that is closed; ssm_open() closes it when it fails. */
static void closed(ssm_t *m)
{
    ssm_signal_t signal;
    const char *names[] = {"x"};
    PROMISE(ssm_reset(m) == SSM_E_INIT);
    PROMISE(ssm_step(m, in, out) == SSM_E_INIT);
    PROMISE(ssm_process(m, in, out, 0) == SSM_E_INIT);
    PROMISE(ssm_state_get(m, blob, sizeof blob) == SSM_E_INIT);
    PROMISE(ssm_state_set(m, blob, sizeof blob) == SSM_E_INIT);
    PROMISE(ssm_check(m, names, 1, 0.0) == SSM_E_INIT);
    PROMISE(ssm_signal(m, 0, &signal) == SSM_E_INIT);
}

static void opening(size_t n)
{
    ssm_t m;
    const size_t need = ssm_memory_bytes(file.bytes, n);
    size_t shift;
    memset(&m, 0, sizeof m);
    closed(&m);
    PROMISE(need > 0 && need % 4 == 0 && need < MOST);
    PROMISE(ssm_memory_bytes(NULL, n) == 0 && ssm_memory_bytes(file.bytes, n - 1) == 0);
    PROMISE(ssm_open(NULL, file.bytes, n, memory.bytes, need) == SSM_E_NULL);
    PROMISE(ssm_open(&m, file.bytes, n, memory.bytes, need) == SSM_OK);
    PROMISE(ssm_open(&m, NULL, n, memory.bytes, need) == SSM_E_NULL);
    closed(&m);
    PROMISE(ssm_open(&m, file.bytes, n, NULL, need) == SSM_E_NULL);
    PROMISE(ssm_open(&m, file.bytes, n, memory.bytes, need - 1) == SSM_E_MEMORY);
    PROMISE(ssm_open(&m, file.bytes, n, memory.bytes, 0) == SSM_E_MEMORY);
    PROMISE(ssm_open(&m, file.bytes, 0, memory.bytes, need) == SSM_E_FORMAT);
    for (shift = 1; shift < 4; shift++) {
        PROMISE(ssm_open(&m, file.bytes, n, memory.bytes + shift, need) == SSM_E_ALIGN);
        memmove(file.bytes + shift, file.bytes, n);
        PROMISE(ssm_open(&m, file.bytes + shift, n, memory.bytes, need) == SSM_E_ALIGN);
        PROMISE(ssm_memory_bytes(file.bytes + shift, n) == 0);
        memmove(file.bytes, file.bytes + shift, n);
    }
    closed(&m);
    memcpy(file.bytes + 4, "\1\0\0\0", 4); /* the version before */
    PROMISE(ssm_open(&m, file.bytes, n, memory.bytes, need) == SSM_E_FORMAT);
    memcpy(file.bytes + 4, "\2\0\0\0", 4);
    for (shift = 4; shift < 64; shift += 4) { /* any multiple of 4 does, and gives the same bits */
        PROMISE(ssm_open(&m, file.bytes, n, memory.bytes + shift, need) == SSM_OK);
        PROMISE(ssm_process(&m, in, out, FRAMES) == SSM_OK);
        PROMISE(shift == 4 || memcmp(out, kept, sizeof(float) * FRAMES * m.outputs) == 0);
        memcpy(kept, out, sizeof kept);
    }
}

static void running(ssm_t *m)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const uint32_t U = m->inputs, Y = m->outputs;
    size_t k;
    PROMISE(ssm_reset(NULL) == SSM_E_NULL && ssm_step(NULL, in, out) == SSM_E_NULL);
    PROMISE(ssm_step(m, NULL, out) == SSM_E_NULL && ssm_step(m, in, NULL) == SSM_E_NULL);
    PROMISE(ssm_process(m, NULL, NULL, 0) == SSM_OK);
    PROMISE(ssm_process(m, in, in, 2) == (Y > U ? SSM_E_ALIAS : SSM_OK));
    PROMISE(ssm_state_get(m, saved, m->state_bytes) == SSM_OK);
    for (k = 0; k < 3 * (size_t)U * FRAMES; k++) {
        const float value = in[k / 3];
        in[k / 3] = bad[k % 3];
        PROMISE(ssm_process(m, in, out, FRAMES) == SSM_E_NONFINITE);
        PROMISE(ssm_step(m, in + k / 3 / U * U, out) == SSM_E_NONFINITE);
        in[k / 3] = value;
    }
    PROMISE(ssm_state_get(m, blob, m->state_bytes) == SSM_OK);
    PROMISE(memcmp(blob, saved, m->state_bytes) == 0);
}

static void states(ssm_t *m)
{
    const size_t n = m->state_bytes;
    const float nan = NAN;
    size_t k;
    PROMISE(ssm_reset(m) == SSM_OK && ssm_process(m, in, out, 3) == SSM_OK);
    PROMISE(ssm_state_get(NULL, saved, n) == SSM_E_NULL && ssm_state_get(m, NULL, n) == SSM_E_NULL);
    PROMISE(ssm_state_set(NULL, saved, n) == SSM_E_NULL && ssm_state_set(m, NULL, n) == SSM_E_NULL);
    PROMISE(ssm_state_get(m, saved, n) == SSM_OK);
    PROMISE(ssm_state_get(m, blob, n - 1) == SSM_E_STATE && ssm_state_get(m, blob, n + 1) == SSM_E_STATE);
    PROMISE(ssm_state_set(m, saved, n - 1) == SSM_E_STATE && ssm_state_set(m, saved, n + 1) == SSM_E_STATE);
    for (k = 0; k < 16; k++) { /* every byte of the header: magic, size, digest */
        memcpy(blob, saved, n);
        blob[k] ^= 0x10;
        PROMISE(ssm_state_set(m, blob, n) == SSM_E_STATE);
    }
    for (k = 16; k < n; k += 4) {
        memcpy(blob, saved, n);
        memcpy(blob + k, &nan, sizeof nan);
        PROMISE(ssm_state_set(m, blob, n) == SSM_E_STATE);
    }
    PROMISE(ssm_state_get(m, blob, n) == SSM_OK && memcmp(blob, saved, n) == 0);
    PROMISE(ssm_process(m, in, kept, FRAMES) == SSM_OK);
    memmove(blob + 1, blob, n); /* of any alignment */
    PROMISE(ssm_state_set(m, blob + 1, n) == SSM_OK);
    PROMISE(ssm_process(m, in, out, FRAMES) == SSM_OK);
    PROMISE(memcmp(out, kept, sizeof(float) * FRAMES * m->outputs) == 0);
}

/* Another model in other memory, opened while this one is in the middle of its stream. */
static void swapping(ssm_t *m, size_t n)
{
    ssm_t next;
    const size_t frame = sizeof(float) * m->outputs;
    PROMISE(ssm_reset(m) == SSM_OK && ssm_process(m, in, kept, FRAMES) == SSM_OK);
    PROMISE(ssm_reset(m) == SSM_OK && ssm_process(m, in, out, 4) == SSM_OK);
    PROMISE(ssm_open(&next, file.bytes, n, other_memory.bytes, sizeof other_memory.bytes) == SSM_OK);
    PROMISE(ssm_process(&next, in + m->inputs, out, 2) == SSM_OK);
    PROMISE(ssm_process(m, in + 4 * m->inputs, out + 4 * m->outputs, FRAMES - 4) == SSM_OK);
    PROMISE(memcmp(out + 4 * m->outputs, kept + 4 * m->outputs, (FRAMES - 4) * frame) == 0);
}

static void about(const ssm_t *m)
{
    ssm_signal_t signal;
    const char *names[64];
    uint32_t k;
    for (k = 0; k < m->inputs + m->outputs; k++) {
        PROMISE(ssm_signal(m, k, &signal) == SSM_OK);
        if (k < m->inputs)
            names[k] = signal.name;
        printf("%s|%s|%d %g|%d %g\n", signal.name, signal.unit, signal.has_minimum, signal.minimum,
               signal.has_maximum, signal.maximum);
    }
    PROMISE(ssm_signal(m, k, &signal) == SSM_E_NAMES && ssm_signal(m, UINT32_MAX, &signal) == SSM_E_NAMES);
    PROMISE(ssm_signal(m, 0, NULL) == SSM_E_NULL && ssm_signal(NULL, 0, &signal) == SSM_E_NULL);
    PROMISE(ssm_check(m, names, m->inputs, m->period_s) == SSM_OK);
    PROMISE(ssm_check(m, names, m->inputs, m->period_s * 1.000002) == SSM_E_PERIOD);
    PROMISE(ssm_check(m, names, m->inputs, (double)NAN) == SSM_E_PERIOD);
    PROMISE(ssm_check(m, names, m->inputs, -1.0) == SSM_OK);
    PROMISE(ssm_check(m, NULL, m->inputs, 0.0) == SSM_E_NULL);
    PROMISE(ssm_check(NULL, names, m->inputs, 0.0) == SSM_E_NULL);
    PROMISE(ssm_check(m, names, m->inputs + 1, 0.0) == SSM_E_NAMES);
    names[m->inputs - 1] = "inpu";
    PROMISE(ssm_check(m, names, m->inputs, 0.0) == SSM_E_NAMES);
    names[m->inputs - 1] = NULL;
    PROMISE(ssm_check(m, names, m->inputs, 0.0) == SSM_E_NULL);
}

int main(int argc, char **argv)
{
    FILE *stream = argc == 2 ? fopen(argv[1], "rb") : NULL;
    ssm_t m;
    size_t n, k;
    PROMISE(stream != NULL);
    n = fread(file.bytes, 1, sizeof file.bytes - 4, stream);
    PROMISE(fclose(stream) == 0 && n > 0);
    for (k = 0; k < sizeof in / sizeof in[0]; k++)
        in[k] = (float)(int)(k * 37 % 64) / 32.0f - 1.0f;
    opening(n);
    PROMISE(ssm_open(&m, file.bytes, n, memory.bytes, sizeof memory.bytes) == SSM_OK);
    PROMISE(m.inputs <= 64 && m.outputs <= 64);
    running(&m);
    states(&m);
    swapping(&m, n);
    about(&m);
    return 0;
}

/* SPDX-License-Identifier: 0BSD
 * Damages an .ssmc file in every simple way; run it under the address and undefined sanitizers.
 *
 *     cc -fsanitize=address,undefined -fno-sanitize-recover fuzz_ssmc.c ssm.c
 *     fuzz_ssmc FILE
 *
 * 1. Every truncation and every changed byte must be refused: the checksum sees them all.
 * 2. The same with the checksum repaired, as an attacker would: refused, or opened and run within
 *    the memory it asked for. Header and ops also get whole words that like to overflow.
 * Prints how many were opened and refused; exit code 0, or the line of the first surprise.
 */
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

enum { MAX_MEMORY = 1 << 24, HEADER = 128, OP_BYTES = 40 };

static long opened, refused;
static size_t text; /* bytes of all names read */

static uint32_t checksum(const unsigned char *p, size_t n)
{
    uint32_t crc = 0xffffffffu;
    int k;
    for (; n > 0; n--)
        for (crc ^= *p++, k = 0; k < 8; k++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
    return ~crc;
}

static void repair(unsigned char *bytes, size_t n)
{
    uint32_t length = (uint32_t)n, crc;
    if (n < 16) return;
    memcpy(bytes + 8, &length, 4);
    crc = checksum(bytes + 16, n - 16);
    memcpy(bytes + 12, &crc, 4);
}

/* Open an exact copy, so that reading one byte too far is seen, and run it. Takes over bytes. */
static int try_open(unsigned char *bytes, size_t n)
{
    size_t need = ssm_memory_bytes(bytes, n);
    void *memory = malloc(need > 0 && need <= MAX_MEMORY ? need : 1);
    ssm_t model;
    int status = ssm_open(&model, bytes, n, memory, need > 0 && need <= MAX_MEMORY ? need : 0);
    if (status == SSM_OK) {
        size_t in_n = 5 * (size_t)model.inputs, out_n = 5 * (size_t)model.outputs;
        float *in = calloc(in_n, sizeof *in), *out = calloc(out_n, sizeof *out);
        int16_t *codes = calloc(in_n, sizeof *codes);
        int32_t *values = calloc(out_n, sizeof *values);
        unsigned char *state = malloc(model.state_bytes);
        ssm_signal_t signal;
        uint32_t s;
        PROMISE(in != NULL && out != NULL && codes != NULL && values != NULL && state != NULL);
        PROMISE(ssm_process(&model, in, out, 5) == SSM_OK);
        PROMISE(ssm_process_codes(&model, codes, values, 5) ==
                (model.precision == SSM_INT8 ? SSM_OK : SSM_E_FORMAT));
        PROMISE(ssm_state_get(&model, state, model.state_bytes) == SSM_OK);
        ssm_state_set(&model, state, model.state_bytes); /* its own weights may have made it NaN */
        for (s = 0; s < model.inputs + model.outputs; s++) {
            PROMISE(ssm_signal(&model, s, &signal) == SSM_OK);
            text += strlen(signal.name) + strlen(signal.unit);
        }
        PROMISE(ssm_signal(&model, s, &signal) == SSM_E_NAMES);
        free(in), free(out), free(codes), free(values), free(state);
        opened++;
    } else {
        PROMISE(ssm_step(&model, NULL, NULL) == SSM_E_INIT);
        PROMISE(need == 0 || status == SSM_E_MEMORY);
        refused++;
    }
    free(memory);
    free(bytes);
    return status;
}

static unsigned char *copy_of(const unsigned char *bytes, size_t n)
{
    unsigned char *copy = malloc(n > 0 ? n : 1);
    PROMISE(copy != NULL);
    memcpy(copy, bytes, n);
    return copy;
}

int main(int argc, char **argv)
{
    static const unsigned char flips[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff};
    static unsigned char file[1 << 16];
    FILE *stream = argc == 2 ? fopen(argv[1], "rb") : NULL;
    uint32_t words[] = {0, 1, 2, 3, 16, 17, 4096, 1u << 20, (1u << 20) + 1, 0x3fffffffu, 0x40000000u,
                        0x7fffffffu, 0x80000000u, 0xfffffffcu, 0xffffffffu, 0xbe4ccccdu /* -0.2f */, 0, 0, 0};
    uint32_t ops, signals;
    size_t n, i, k, head;
    unsigned char *copy;
    PROMISE(stream != NULL);
    n = fread(file, 1, sizeof file, stream);
    PROMISE(fclose(stream) == 0 && n > HEADER && n < sizeof file);
    words[16] = (uint32_t)n, words[17] = (uint32_t)n - 4, words[18] = (uint32_t)n & ~63u;
    memcpy(&ops, file + 24, 4);
    head = HEADER + OP_BYTES * (size_t)ops;
    PROMISE(try_open(copy_of(file, n), n) == SSM_OK);

    for (i = 0; i < n; i++) {
        PROMISE(try_open(copy_of(file, i), i) != SSM_OK);
        copy = copy_of(file, i);
        repair(copy, i);
        try_open(copy, i);
        for (k = 0; k < sizeof flips; k++) {
            copy = copy_of(file, n);
            copy[i] ^= flips[k];
            PROMISE(try_open(copy, n) != SSM_OK);
            copy = copy_of(file, n);
            copy[i] ^= flips[k];
            repair(copy, n);
            try_open(copy, n);
        }
    }
    memcpy(&signals, file + 88, 4);
    for (i = 16; i + 4 <= n; i += 4) {
        if (i >= head && i < signals) continue; /* weights */
        for (k = 0; k < sizeof words / sizeof words[0]; k++) {
            copy = copy_of(file, n);
            memcpy(copy + i, &words[k], 4);
            repair(copy, n);
            try_open(copy, n);
        }
    }
    PROMISE(text > 0);
    printf("opened %ld refused %ld\n", opened, refused);
    return 0;
}

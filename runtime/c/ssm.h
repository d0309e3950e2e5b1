/* ssm.h - run a streaming state-space model that is loaded at run time from an .ssmc file.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   The bytes of the file stay where they are (flash, a mapped file, an array); the caller owns them
   and the working memory, and keeps both unchanged while the model is open. No malloc, no libm.
   Build: cc -std=c99 -O3 -ffp-contract=off -c ssm.c

       static float memory[...];                      // ssm_memory_bytes() says how many bytes
       ssm_t model;
       if (ssm_open(&model, bytes, n, memory, sizeof memory) != SSM_OK) fail();
       for (;;) {
           read(in);                                  // model.inputs floats
           ssm_step(&model, in, out);                 // model.outputs floats
           use(out);
       }

   - ssm_process() with many frames gives the same bits as as many ssm_step() calls, faster.
   - An ssm_t is one stream. Several may share the bytes; each needs its own memory.
   - Nothing here blocks, allocates or calls back: safe in an audio callback or an interrupt.
   - A file is checked once, in ssm_open(): a damaged or hostile one is refused, never followed.

   File format, version 1; all numbers little-endian, u32 unless said, offsets from the file's start:
     0 "SSMC"   4 version   8 file bytes   12 CRC-32 (zlib's) of everything from byte 16 on
     16 inputs   20 outputs   24 number of ops   28 offset of the ops
     32 offset and 36 bytes of a JSON text about the model, for tools; not read here
     40 u64 nanoseconds per frame, 0 = no fixed rate   48 SHA-256 of the model it was made from
     80 zero up to byte 96
     op: kind, values in, values out, n, slot, scalar (float32), four tensor offsets (0 = none)
     tensors: float32, row-major, at multiples of 64; matrices as (in, out). */

#ifndef SSM_H
#define SSM_H

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define SSM_VERSION 1

/* Frames that ssm_process() handles at once. Memory grows with it, bits do not change; above 4 there
   is little left to gain, 1 saves memory. */
#ifndef SSM_BLOCK
#define SSM_BLOCK 4
#endif

enum {
    SSM_OK = 0,
    SSM_E_NULL = -1,    /* a pointer is NULL */
    SSM_E_ALIGN = -2,   /* bytes or memory do not start at a multiple of 4 */
    SSM_E_FORMAT = -3,  /* not an .ssmc file, another version, or a big-endian machine */
    SSM_E_DAMAGED = -4, /* cut short, checksum wrong, or it describes something impossible */
    SSM_E_MEMORY = -5,  /* memory is smaller than ssm_memory_bytes() */
    SSM_E_ALIAS = -6,   /* in == out for several frames although outputs > inputs */
    SSM_E_STATE = -7,   /* a state value is NaN or infinite */
    SSM_E_CLOSED = -8   /* ssm_open() has not succeeded */
};

enum { SSM_SLOTS = 16 };

typedef struct {
    uint32_t inputs;       /* U, floats per input frame */
    uint32_t outputs;      /* Y, floats per output frame */
    uint32_t state_floats; /* what ssm_state_get() writes */
    uint64_t period_ns;    /* time between frames, 0 = no fixed rate */
    /* private from here */
    const unsigned char *bytes;
    uint32_t ops, ops_at, width, modes2;
    uint32_t slot[SSM_SLOTS]; /* width of each slot, 0 = unused */
    float *state, *scratch;
} ssm_t;

/* Bytes of working memory that ssm_open() wants, 0 if the file is not usable. */
size_t ssm_memory_bytes(const void *bytes, size_t n);

/* Check the file, set up m, start from zero states. bytes (n) and memory (memory_n) start at a
   multiple of 4; 64 is faster. On an error m stays closed. */
int ssm_open(ssm_t *m, const void *bytes, size_t n, void *memory, size_t memory_n);

/* All states zero: the next frame starts a new sequence. */
int ssm_reset(ssm_t *m);

/* One frame: in (U), out (Y); in == out is allowed if the array holds both. */
int ssm_step(ssm_t *m, const float *in, float *out);

/* frames >= 0 frames: in (frames, U), out (frames, Y); in == out is allowed where Y <= U. */
int ssm_process(ssm_t *m, const float *in, float *out, uint32_t frames);

/* Copy the states out, or continue from a copy. state (m->state_floats). */
int ssm_state_get(const ssm_t *m, float *state);
int ssm_state_set(ssm_t *m, const float *state);

#if defined(__cplusplus)
}
#endif
#endif

/* ssm.h - run a streaming state-space model that is loaded at run time from an .ssmc file.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   The bytes of the file stay where they are (flash, a mapped file, an array); the caller owns them
   and the working memory, and keeps both unchanged while the model is open. No malloc, no libm.
   Build: cc -std=c99 -O3 -ffp-contract=off -c ssm.c
   -DSSM_NO_FLOAT32 or -DSSM_NO_INT8 leaves one precision out, where flash is small.

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
   - Nothing here blocks, allocates or calls back: safe in an audio callback or an interrupt. Two
     threads must not use one ssm_t at the same time.
   - Every function that can fail returns SSM_OK or a negative error and has then changed nothing;
     ssm_open() leaves its ssm_t closed.
   - A file is checked once, in ssm_open(): a damaged or hostile one is refused, never followed.
   - To change the model while audio runs, open the new one into another ssm_t and other memory on
     another thread, then hand its address over (an atomic pointer that the callback reads once per
     block). Free the old one when the callback has moved on. ssm_open() walks the whole file: never
     call it in the callback.

   File format, version 2, or 3 if an SSM has channels and only then; all numbers little-endian, u32 unless said, offsets from the file's start:
     0 "SSMC"   4 version   8 file bytes   12 CRC-32 (zlib's) of everything from byte 16 on
     16 inputs   20 outputs   24 number of ops   28 offset of the ops
     32 offset and 36 bytes of a JSON text about the model, for tools; not read here
     40 f64 seconds per frame, 0 = no fixed rate   48 SHA-256 of the model it was made from
     80 precision: 0 float32, 1 int8   84 warm-up frames (see ssm_t)
     88 offset of the signals, the inputs and then the outputs
     92 offset and 96 bytes of strings, UTF-8, each with a zero byte at its end
     100 bits of a code, 8 or 16, and 104 offset of the scales of an int8 model, else zero
     108 zero up to byte 128
     signal: string offsets of name and unit, f64 minimum, f64 maximum, which of them count (bits 0
       and 1), float32 scale of an int8 model's codes, else zero
     op of a float32 model: kind, values in, values out, n, slot, scalar (float32), four tensor
       offsets (0 = none); of an SSM with channels `slot` is the offset of how many modes each channel
       has (u16), and its B and C (2n each) are what is not zero
     op of an int8 model, a kernel call of ssm_integer.h: kind and buffers (ssm_run_integer.h lists
       both; each buffer u16), values in, values out, four numbers (i32), two tensor offsets
     scales: float32, 1 / scale of each input, then the scale of each output
     tensors: at multiples of 64; float32, row-major, matrices as (in, out); or int8, int16 and int32
       as the kernels read them. */

#ifndef SSM_H
#define SSM_H

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define SSM_ABI_VERSION 2 /* meaning of the functions, as in generated models */
#define SSM_VERSION 3     /* of the file format, the newest that is read */
#define SSM_OLDEST 2      /* and the oldest */

/* Frames that ssm_process() handles at once. Memory grows with it, bits do not change; above 4 there
   is little left to gain, 1 saves memory. */
#ifndef SSM_BLOCK
#define SSM_BLOCK 4
#endif

/* Stack that any of these functions takes, at most, in optimised builds. 64-bit processors and x86
   keep wide vector registers on it. */
#if defined(__i386__) || UINTPTR_MAX > 0xffffffffu
#define SSM_STACK_BYTES 4096
#else
#define SSM_STACK_BYTES 1536
#endif

enum {
    SSM_OK = 0,
    SSM_E_NULL = -1,      /* a pointer is NULL */
    SSM_E_INIT = -2,      /* ssm_open() has not succeeded */
    SSM_E_ALIAS = -3,     /* in == out for several frames, which do not fit in place */
    SSM_E_STATE = -4,     /* a saved state of another size or model, or with impossible values */
    SSM_E_NONFINITE = -5, /* an input value is NaN or infinite */
    SSM_E_NAMES = -6,     /* other inputs, or in another order */
    SSM_E_PERIOD = -7,    /* frames come at another rate */
    SSM_E_ALIGN = -8,     /* bytes or memory do not start at a multiple of 4 */
    SSM_E_FORMAT = -9,    /* not an .ssmc file, another version or kind, or a big-endian machine */
    SSM_E_DAMAGED = -10,  /* cut short, checksum wrong, or it describes something impossible */
    SSM_E_MEMORY = -11    /* memory is smaller than ssm_memory_bytes() */
};

enum { SSM_FLOAT32 = 0, SSM_INT8 = 1 }; /* precision */
enum { SSM_SLOTS = 16, SSM_BUFFERS = 5 + SSM_SLOTS };

/* Clang 20 and later prove it (-Wfunction-effects) and watch it (-fsanitize=realtime). */
#if defined(__has_attribute)
#if __has_attribute(nonblocking)
#define SSM_NONBLOCKING __attribute__((nonblocking))
#endif
#endif
#ifndef SSM_NONBLOCKING
#define SSM_NONBLOCKING
#endif

/* Read the first fields, leave the others alone. */
typedef struct {
    uint32_t inputs;        /* U, values per input frame */
    uint32_t outputs;       /* Y, values per output frame */
    uint32_t state_bytes;   /* of a saved state */
    uint32_t precision;     /* SSM_FLOAT32 or SSM_INT8 */
    uint32_t warmup_frames; /* until the slowest mode has decayed by 60 dB */
    double period_s;        /* time between frames, 0 = no fixed rate */
    const unsigned char *sha256; /* (32), digest of the model the file was made from */
    /* private from here */
    const unsigned char *bytes;
    size_t scratch_bytes;
    uint32_t version; /* that its ops need */
    uint32_t ops, ops_at, signals_at, strings_at, strings_n, width, modes2, state_words;
    uint32_t slot[SSM_SLOTS]; /* width of each slot, 0 = unused */
    uint32_t code_bits, scales_at, q_bytes;
    uint32_t buffer[SSM_BUFFERS]; /* of an int8 model: values per frame, 0 = unused */
    void *state, *scratch;
} ssm_t;

/* What the file says about one input or output; text is UTF-8 and lies in the file's bytes. */
typedef struct {
    const char *name, *unit; /* unit "" where there is none */
    double minimum, maximum; /* 0 where not stated */
    int has_minimum, has_maximum;
    float scale; /* of an int8 model: real value = code * scale; 0 otherwise */
} ssm_signal_t;

/* Bytes of working memory that ssm_open() wants, 0 if the file is not usable. */
size_t ssm_memory_bytes(const void *bytes, size_t n) SSM_NONBLOCKING;

/* Check the file, set up m, start from zero states. bytes (n) and memory (memory_n) start at a
   multiple of 4; 64 is faster. On an error m is closed. */
int ssm_open(ssm_t *m, const void *bytes, size_t n, void *memory, size_t memory_n) SSM_NONBLOCKING;

/* All states zero: the next frame starts a new sequence. */
int ssm_reset(ssm_t *m) SSM_NONBLOCKING;

/* One frame: in (U), out (Y); in == out is allowed if the array holds both. */
int ssm_step(ssm_t *m, const float *in, float *out) SSM_NONBLOCKING;

/* frames >= 0 frames: in (frames, U), out (frames, Y); in == out is allowed where Y <= U. */
int ssm_process(ssm_t *m, const float *in, float *out, uint32_t frames) SSM_NONBLOCKING;

/* The same in codes, for int8 models: in int16, saturating at +-32767, out int32; ssm_signal() tells
   what a code is worth. SSM_E_FORMAT if the model is a float32 one. */
int ssm_step_codes(ssm_t *m, const int16_t *in, int32_t *out) SSM_NONBLOCKING;
int ssm_process_codes(ssm_t *m, const int16_t *in, int32_t *out, uint32_t frames) SSM_NONBLOCKING;

/* Copy the states out, or continue from a copy. blob (m->state_bytes) of any alignment; bytes is its
   size. 16 bytes of header, which tell the model, then the states in the order of the ops. The same
   for the generated and the loadable form. */
int ssm_state_get(const ssm_t *m, void *blob, size_t bytes) SSM_NONBLOCKING;
int ssm_state_set(ssm_t *m, const void *blob, size_t bytes) SSM_NONBLOCKING;

/* Whether the caller's inputs, in order, and the time between its frames are those the model was
   trained with: call it at the start. period_s <= 0 leaves the rate out. */
int ssm_check(const ssm_t *m, const char *const *input_names, uint32_t n,
              double period_s) SSM_NONBLOCKING;

/* Describe input `index`, or output `index - inputs`; SSM_E_NAMES if there is none. */
int ssm_signal(const ssm_t *m, uint32_t index, ssm_signal_t *signal) SSM_NONBLOCKING;

#if defined(__cplusplus)
}
#endif
#endif

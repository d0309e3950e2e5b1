/* ssm_run_integer.h - the int8 networks of ssm.c: checks a list of kernel calls, then runs it.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   The calls of a file keep what their exporter proved: no overflow. A file that breaks it computes
   other numbers, but every call is checked to read and write inside its buffers and tensors. */

#ifndef SSM_RUN_INTEGER_H
#define SSM_RUN_INTEGER_H

#include "ssm_file.h"
#include "ssm_integer.h"

enum {
    CALL_INPUT = 1,
    CALL_EMBEDDING,
    CALL_QUANTIZE,
    CALL_DOT,
    CALL_REQUANT,
    CALL_FEEDTHROUGH,
    CALL_ROTATE16,
    CALL_ROTATE32,
    CALL_GELU,
    CALL_GATE,
    CALL_LAYERNORM,
    CALL_SAVE,
    CALL_ADD,
    CALL_POOL_MEAN,
    CALL_POOL_EMA,
    CALL_DRIVE,
    CALL_READOUT
};

/* Buffers: the caller's codes; the vectors a and b; the codes q and z; from BUFFER_SLOT on the slots. */
enum { BUFFER_IN, BUFFER_A, BUFFER_B, BUFFER_Q, BUFFER_Z, BUFFER_SLOT, BUFFERS = SSM_BUFFERS };

typedef struct {
    uint32_t kind;
    uint16_t from, to;  /* buffers */
    uint32_t in, out;   /* values per frame in each; of an embedding `in` is the table's rows */
    int32_t number[4];  /* the kernel's shift, limit, p, gain ... in the order of its parameters */
    uint32_t tensor[2]; /* offsets from the file's start */
} call_t;

static inline call_t call_read(const ssm_t *m, uint32_t index)
{
    call_t call;
    memcpy(&call, m->bytes + m->ops_at + (size_t)index * sizeof call, sizeof call);
    return call;
}

static inline uint32_t call_states(const call_t *c)
{
    switch (c->kind) {
    case CALL_ROTATE16:
    case CALL_ROTATE32:
        return c->in;
    case CALL_POOL_MEAN:
        return 2 * c->in + 2;
    case CALL_POOL_EMA:
        return c->in + 1;
    default:
        return 0;
    }
}

/* ---- checking --------------------------------------------------------------------------------- */

static inline int is_vector(uint32_t buffer)
{
    return buffer == BUFFER_A || buffer == BUFFER_B;
}

static inline int is_code(uint32_t buffer)
{
    return buffer == BUFFER_Q || buffer == BUFFER_Z;
}

static inline int is_slot(uint32_t buffer)
{
    return buffer >= BUFFER_SLOT && buffer < BUFFERS;
}

static inline int number_in(int32_t x, int32_t low, int32_t high)
{
    return x >= low && x <= high;
}

static inline int is_shift(int32_t x)
{
    return number_in(x, 1, 30);
}

/* a frame of n codes as it lies in memory */
static inline uint64_t padded(uint64_t n)
{
    return (n + 3) / 4 * 4;
}

/* bytes of n codes */
static inline uint64_t code_bytes(const ssm_t *m, uint64_t n)
{
    return padded(n) * (m->code_bits / 8);
}

/* as inside(), in bytes; the tensor is followed by at least as much as fills its last word */
static inline int bytes_inside(uint32_t offset, uint64_t bytes, uint64_t n)
{
    return inside(offset, (bytes + 3) / 4, n);
}

/* Whether the call fits what its buffers hold now - width: values per frame, 0 if nothing yet - and
   its tensors fit the file. Dimensions are at most 2^20, so no product overflows 64 bits. */
static int call_fits(const ssm_t *m, const call_t *c, const uint32_t *width, uint64_t n)
{
    const uint64_t in = c->in, out = c->out;
    const uint32_t from = c->from, to = c->to, *t = c->tensor;
    const int32_t *x = c->number;
    const int same = in == out, vectors = from < BUFFERS && to < BUFFERS && is_vector(to);
    const int in_place = vectors && from == to && same;
    if (in == 0 || in > MAX_DIM || out == 0 || out > MAX_DIM || from >= BUFFERS || to >= BUFFERS)
        return 0;
    if (c->kind == CALL_EMBEDDING)
        return from == BUFFER_IN && m->inputs == 1 && vectors && in <= 1 << 15 && is_shift(x[0]) &&
               bytes_inside(t[0], in * out, n) && inside(t[1], out, n);
    if (width[from] != in)
        return 0;
    switch (c->kind) {
    case CALL_INPUT:
        return from == BUFFER_IN && vectors && same && number_in(x[0], 0, 30);
    case CALL_QUANTIZE:
        return is_vector(from) && is_code(to) && same &&
               number_in(x[0], 1, m->code_bits == 8 ? 127 : 32767) && is_shift(x[1]) &&
               inside(t[0], in, n) && inside_or_none(t[1], in, n);
    case CALL_DOT:
        return is_code(from) && vectors && bytes_inside(t[0], padded(in) * out, n);
    case CALL_DRIVE:
        return is_code(from) && vectors && out % 2 == 0 && bytes_inside(t[0], out, n) &&
               modes_inside(m, t[1], in, out / 2, n);
    case CALL_READOUT:
        return is_code(from) && vectors && in % 2 == 0 && bytes_inside(t[0], in, n) &&
               modes_inside(m, t[1], out, in / 2, n);
    case CALL_REQUANT:
        return in_place && is_shift(x[0]) && inside(t[0], in, n) && inside_or_none(t[1], in, n);
    case CALL_FEEDTHROUGH:
        return is_code(from) && vectors && same && width[to] == in && is_shift(x[0]) &&
               inside(t[0], in, n);
    case CALL_ROTATE16:
        return in_place && in % 2 == 0 && bytes_inside(t[0], 2 * in, n);
    case CALL_ROTATE32:
        return in_place && in % 2 == 0 && inside(t[0], in, n);
    case CALL_GELU:
        return in_place && number_in(x[0], 1, 25);
    case CALL_GATE:
        return vectors && is_vector(from) && from != to && in == 2 * out && number_in(x[0], 1, 25);
    case CALL_LAYERNORM:
        return in_place && is_shift(x[0]) && number_in(x[1], 0, 20) && number_in(x[3], 1, 1 << 29) &&
               inside(t[0], in, n) && inside(t[1], in, n);
    case CALL_SAVE:
        return is_vector(from) && is_slot(to) && same;
    case CALL_ADD:
        return is_slot(from) && vectors && same && width[to] == in;
    case CALL_POOL_MEAN:
        return in_place;
    case CALL_POOL_EMA:
        return in_place && number_in(x[0], 128, INT32_MAX - 3) && x[0] % 4 == 0;
    default:
        return 0;
    }
}

/* Walk the calls once and note what they need; after SSM_OK every offset and width is trusted. */
static int integer_walk(ssm_t *m, uint64_t n)
{
    uint32_t width[BUFFERS] = {0}, result = 0, k;
    uint64_t states = 0, words = 0;
    m->code_bits = word(m->bytes + 100);
    m->scales_at = word(m->bytes + 104);
    if ((m->code_bits != 8 && m->code_bits != 16) ||
        !inside(m->scales_at, (uint64_t)m->inputs + m->outputs, n))
        return SSM_E_DAMAGED;
    width[BUFFER_IN] = m->inputs;
    for (k = 0; k < m->ops; k++) {
        const call_t c = call_read(m, k);
        /* only the first call reads the caller's codes: they may stand where q will */
        if (!call_fits(m, &c, width, n) || (k > 0 && c.from == BUFFER_IN))
            return SSM_E_DAMAGED;
        if (c.kind == CALL_DRIVE || c.kind == CALL_READOUT)
            m->version = SINCE_CHANNELS;
        width[c.to] = c.out;
        m->buffer[c.to] = m->buffer[c.to] > c.out ? m->buffer[c.to] : c.out;
        if (is_vector(c.to))
            result = c.out;
        states += call_states(&c);
    }
    for (k = 0; k < BUFFERS; k++)
        if (is_vector(k) || is_slot(k))
            words += m->buffer[k];
    /* q is wide enough for the int16 codes that ssm_process() makes of the caller's values */
    m->q_bytes = (uint32_t)code_bytes(m, m->buffer[BUFFER_Q]);
    if (m->q_bytes < padded(2 * (uint64_t)m->inputs))
        m->q_bytes = (uint32_t)padded(2 * (uint64_t)m->inputs);
    words += (m->q_bytes + code_bytes(m, m->buffer[BUFFER_Z])) / 4;
    return result == m->outputs ? room(m, states, words * SSM_BLOCK) : SSM_E_DAMAGED;
}

/* 1 if the state words at p are such as the calls leave behind. */
static int integer_states_fit(const ssm_t *m, const unsigned char *p)
{
    uint32_t k;
    for (k = 0; k < m->ops; k++) {
        const call_t c = call_read(m, k);
        const uint32_t words = call_states(&c);
        if (c.kind == CALL_POOL_MEAN ? !ssm_pool_mean_fits(p, words)
            : c.kind == CALL_POOL_EMA ? !ssm_pool_ema_fits(p, words) : !ssm_modes_fit(p, words))
            return 0;
        p += 4 * (size_t)words;
    }
    return 1;
}

/* ---- running ---------------------------------------------------------------------------------- */

/* Where each buffer starts; code buffers are bytes or int16. */
typedef struct {
    int32_t *vector[BUFFERS];
    void *code[BUFFERS];
} buffers_t;

static buffers_t buffers_of(const ssm_t *m)
{
    buffers_t at;
    int32_t *next = (int32_t *)m->scratch;
    uint32_t k;
    memset(&at, 0, sizeof at);
    for (k = 0; k < BUFFERS; k++)
        if (is_vector(k) || is_slot(k)) {
            at.vector[k] = next;
            next += (size_t)m->buffer[k] * SSM_BLOCK;
        }
    at.code[BUFFER_Q] = next;
    at.code[BUFFER_Z] = (unsigned char *)next + (size_t)m->q_bytes * SSM_BLOCK;
    return at;
}

/* the tensor at an offset, NULL for 0 */
static inline const void *integers(const ssm_t *m, uint32_t offset)
{
    return offset == 0 ? NULL : (const void *)(m->bytes + offset);
}

/* The calls that read or write codes, for each width of a code. */
#define SSM_CODE_CALLS(code_t, suffix)                                                             \
    static void call_##suffix(const call_t *c, const buffers_t *at, const void *t0,                \
                              const void *t1, size_t T)                                            \
    {                                                                                              \
        const int32_t *x = c->number;                                                              \
        const code_t *q = (const code_t *)at->code[c->from];                                       \
        if (c->kind == CALL_QUANTIZE)                                                              \
            ssm_quantize_##suffix(at->vector[c->from], (const int32_t *)t0, (const int32_t *)t1,   \
                                  (code_t *)at->code[c->to], x[0], (uint32_t)x[1], T, c->in);      \
        else if (c->kind == CALL_DOT)                                                              \
            ssm_dot_##suffix(q, (const int8_t *)t0, at->vector[c->to], T, c->in, c->out);          \
        else if (c->kind == CALL_DRIVE)                                                            \
            ssm_drive_##suffix(q, (const int8_t *)t0, (const uint16_t *)t1, at->vector[c->to], T,  \
                               c->in, c->out / 2);                                                 \
        else if (c->kind == CALL_READOUT)                                                          \
            ssm_readout_##suffix(q, (const int8_t *)t0, (const uint16_t *)t1, at->vector[c->to],   \
                                 T, c->out, c->in / 2);                                            \
        else                                                                                       \
            ssm_ifeedthrough_##suffix(at->vector[c->to], q, (const int32_t *)t0, (uint32_t)x[0],   \
                                      T, c->in);                                                   \
    }
SSM_CODE_CALLS(int8_t, a8)
SSM_CODE_CALLS(int16_t, a16)

/* T <= SSM_BLOCK frames of codes, in (T, inputs), through all calls; the result (T, outputs). */
static const int32_t *integer_network(ssm_t *m, const int16_t *in, size_t T)
{
    const buffers_t at = buffers_of(m);
    const int32_t *result = NULL;
    int32_t *state = (int32_t *)m->state;
    uint32_t k;
    for (k = 0; k < m->ops; k++) {
        const call_t c = call_read(m, k);
        const int32_t *x = c.number;
        const uint32_t x0 = (uint32_t)x[0];
        const void *t0 = integers(m, c.tensor[0]);
        const int32_t *m0 = (const int32_t *)t0, *t1 = (const int32_t *)integers(m, c.tensor[1]);
        int32_t *v = at.vector[c.to];
        switch (c.kind) {
        case CALL_INPUT:
            ssm_iinput(in, v, x0, T * c.in);
            break;
        case CALL_EMBEDDING:
            ssm_iembedding(in, (const int8_t *)t0, t1, v, x0, T, c.in, c.out);
            break;
        case CALL_REQUANT:
            ssm_requant(v, m0, t1, x0, T, c.in);
            break;
        case CALL_ROTATE16:
            ssm_rotate_l16(state, (const int16_t *)t0, v, T, c.in / 2);
            break;
        case CALL_ROTATE32:
            ssm_rotate_l32(state, m0, v, T, c.in / 2);
            break;
        case CALL_GELU:
            ssm_igelu(v, x0, T * c.in);
            break;
        case CALL_GATE:
            ssm_igate(at.vector[c.from], v, x0, T, c.out);
            break;
        case CALL_LAYERNORM:
            ssm_ilayernorm(v, m0, t1, x0, (uint32_t)x[1], x[2], x[3], T, c.in);
            break;
        case CALL_SAVE:
            memcpy(v, at.vector[c.from], T * c.in * sizeof *v);
            break;
        case CALL_ADD:
            ssm_iadd(v, at.vector[c.from], T * c.in);
            break;
        case CALL_POOL_MEAN:
            ssm_ipool_mean(v, state, T, c.in);
            break;
        case CALL_POOL_EMA:
            ssm_ipool_ema(v, state, x[0], T, c.in);
            break;
        default: /* QUANTIZE, DOT, DRIVE, READOUT, FEEDTHROUGH */
            if (m->code_bits == 8)
                call_a8(&c, &at, t0, t1, T);
            else
                call_a16(&c, &at, t0, t1, T);
            break;
        }
        state += call_states(&c);
        if (is_vector(c.to))
            result = v;
    }
    return result;
}

/* T <= SSM_BLOCK frames: in (T, inputs), out (T, outputs). */
static void integer_block_codes(ssm_t *m, const int16_t *in, int32_t *out, size_t T)
{
    memcpy(out, integer_network(m, in, T), T * m->outputs * sizeof *out);
}

/* The same in real values. The input codes stand where q will: they are read before it is written. */
static void integer_block(ssm_t *m, const float *in, float *out, size_t T)
{
    const float *factor = (const float *)integers(m, m->scales_at);
    int16_t *codes = (int16_t *)buffers_of(m).code[BUFFER_Q];
    ssm_encode(in, factor, codes, T, m->inputs);
    ssm_decode(integer_network(m, codes, T), factor + m->inputs, out, T, m->outputs);
}

#endif

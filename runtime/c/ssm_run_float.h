/* ssm_run_float.h - the float32 networks of ssm.c: checks an op list, then runs it.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h) */

#ifndef SSM_RUN_FLOAT_H
#define SSM_RUN_FLOAT_H

#include "ssm_file.h"
#include "ssm_kernels.h"

enum { LINEAR = 1, EMBEDDING, AFFINE, LAYERNORM, SSM, GELU, GATE, SAVE, ADD, POOL, CHANNELS };

/* Whether op fits a vector of `width` values and its tensors fit the file. Dimensions are at most
   2^20, so no product overflows 64 bits. */
static int float_op_fits(const ssm_t *m, const op_t *op, uint32_t width, const uint32_t *slot, uint64_t n)
{
    const uint64_t in = op->in, out = op->out, modes = op->n;
    const uint32_t *t = op->tensor;
    if (in != width || out == 0 || in > MAX_DIM || out > MAX_DIM || modes > MAX_DIM)
        return 0;
    switch (op->kind) {
    case LINEAR:
        return inside(t[0], in * out, n) && inside_or_none(t[1], out, n);
    case EMBEDDING:
        return in == 1 && modes > 0 && inside(t[0], modes * out, n);
    case AFFINE:
    case LAYERNORM:
        return in == out && inside(t[0], in, n) && inside(t[1], in, n);
    case SSM:
        return modes > 0 && inside(t[0], 2 * modes, n) && inside(t[1], in * 2 * modes, n) &&
               inside(t[2], 2 * modes * out, n) &&
               (t[3] == 0 || (in == out && inside(t[3], in, n)));
    case CHANNELS:
        return in == out && modes > 0 && modes_inside(m, op->slot, in, modes, n) &&
               inside(t[0], 2 * modes, n) && inside(t[1], 2 * modes, n) && inside(t[2], 2 * modes, n) &&
               inside_or_none(t[3], in, n);
    case GATE:
        return in == 2 * out;
    case GELU:
    case POOL:
        return in == out;
    case SAVE:
        return in == out && op->slot < SSM_SLOTS;
    case ADD:
        return in == out && op->slot < SSM_SLOTS && slot[op->slot] == in;
    default:
        return 0;
    }
}

static inline uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline int has_modes(const op_t *op)
{
    return op->kind == SSM || op->kind == CHANNELS;
}

static inline uint32_t float_states(const op_t *op)
{
    return has_modes(op) ? 2 * op->n : op->kind == POOL ? op->in + 1 : 0;
}

/* Walk the op list once and note what it needs; after SSM_OK every offset and width is trusted. */
static int float_walk(ssm_t *m, uint64_t n)
{
    uint32_t slot[SSM_SLOTS] = {0}; /* width of what each slot holds now */
    uint32_t width = m->inputs, k;
    uint64_t states = 0, scratch;
    m->width = width;
    for (k = 0; k < m->ops; k++) {
        const op_t op = op_read(m, k);
        if (!float_op_fits(m, &op, width, slot, n))
            return SSM_E_DAMAGED;
        if (op.kind == SAVE) {
            slot[op.slot] = width;
            m->slot[op.slot] = larger(m->slot[op.slot], width);
        }
        if (op.kind == CHANNELS)
            m->version = SINCE_CHANNELS;
        if (has_modes(&op))
            m->modes2 = larger(m->modes2, 2 * op.n);
        states += float_states(&op);
        width = op.out;
        m->width = larger(m->width, width);
    }
    scratch = 2 * (uint64_t)m->width + m->modes2;
    for (k = 0; k < SSM_SLOTS; k++)
        scratch += m->slot[k];
    return width == m->outputs ? room(m, states, scratch * SSM_BLOCK) : SSM_E_DAMAGED;
}

/* T <= SSM_BLOCK frames through all ops. The current vectors are in a; b receives what an op cannot
   write in place, x the states of an ssm op. */
static void float_block(ssm_t *m, const float *in, float *out, size_t T)
{
    float *slot[SSM_SLOTS], *state = (float *)m->state;
    float *a = (float *)m->scratch, *b = a + (size_t)m->width * SSM_BLOCK;
    float *x = b + (size_t)m->width * SSM_BLOCK, *next = x + (size_t)m->modes2 * SSM_BLOCK;
    uint32_t k;
    int s;
    for (s = 0; s < SSM_SLOTS; s++) {
        slot[s] = next;
        next += (size_t)m->slot[s] * SSM_BLOCK;
    }
    memcpy(a, in, T * m->inputs * sizeof *a);
    for (k = 0; k < m->ops; k++) {
        const op_t op = op_read(m, k);
        const float *t0 = tensor(m, op.tensor[0]), *t1 = tensor(m, op.tensor[1]);
        const float *t2 = tensor(m, op.tensor[2]), *t3 = tensor(m, op.tensor[3]);
        float *swap = NULL;
        switch (op.kind) {
        case LINEAR:
            ssm_linear(a, t0, t1, swap = b, T, op.in, op.out);
            break;
        case EMBEDDING:
            ssm_embedding(a, t0, swap = b, T, op.n, op.out);
            break;
        case AFFINE:
            ssm_affine(a, t0, t1, T, op.in);
            break;
        case LAYERNORM:
            ssm_layernorm(a, t0, t1, op.scalar, T, op.in);
            break;
        case SSM:
            ssm_linear(a, t1, NULL, x, T, op.in, 2 * (size_t)op.n);
            ssm_scan(state, t0, x, T, op.n);
            ssm_linear(x, t2, NULL, swap = b, T, 2 * (size_t)op.n, op.out);
            if (t3 != NULL)
                ssm_feedthrough(b, t3, a, T, op.out);
            break;
        case CHANNELS: {
            const uint16_t *modes = (const uint16_t *)(const void *)(m->bytes + op.slot);
            ssm_drive(a, t1, modes, x, T, op.in, op.n);
            ssm_scan(state, t0, x, T, op.n);
            ssm_readout(x, t2, modes, swap = b, T, op.in, op.n);
            if (t3 != NULL)
                ssm_feedthrough(b, t3, a, T, op.out);
            break;
        }
        case GELU:
            ssm_gelu(a, T * op.in);
            break;
        case GATE:
            ssm_gate(a, swap = b, T, op.out);
            break;
        case SAVE:
            memcpy(slot[op.slot], a, T * op.in * sizeof *a);
            break;
        case ADD:
            ssm_add(a, slot[op.slot], T * op.in);
            break;
        default: /* POOL */
            ssm_pool(a, state, state + op.in, op.scalar, T, op.in);
            break;
        }
        state += float_states(&op);
        if (swap != NULL) {
            b = a;
            a = swap;
        }
    }
    memcpy(out, a, T * m->outputs * sizeof *a);
}

/* 1 if no state word at p (m->state_words) is NaN or infinite. */
static int float_states_fit(const ssm_t *m, const unsigned char *p)
{
    uint32_t k;
    for (k = 0; k < m->state_words; k++)
        if ((word(p + 4 * (size_t)k) & 0x7f800000u) == 0x7f800000u)
            return 0;
    return 1;
}

#endif

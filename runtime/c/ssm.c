/* ssm.c - the engine of ssm.h: checks a file once, then runs its ops.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h) */

#include "ssm.h"
#include "ssm_kernels.h"

#if SSM_BLOCK < 1
#error "SSM_BLOCK must be at least 1"
#endif

enum { HEADER_BYTES = 96, MAX_OPS = 4096, MAX_DIM = 1 << 20 };
enum { LINEAR = 1, EMBEDDING, AFFINE, LAYERNORM, SSM, GELU, GATE, SAVE, ADD, POOL };

typedef struct {
    uint32_t kind, in, out, n, slot;
    float scalar;         /* eps of a layernorm, decay of a pool */
    uint32_t tensor[4];   /* offsets from the file's start */
} op_t;

/* ---- reading the file ------------------------------------------------------------------------- */

/* The file is little-endian and so must be the machine (ssm_open checks it): plain copies. */
static uint32_t word(const unsigned char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static op_t op_read(const ssm_t *m, uint32_t index)
{
    op_t op;
    memcpy(&op, m->bytes + m->ops_at + (size_t)index * sizeof op, sizeof op);
    return op;
}

static const float *tensor(const ssm_t *m, uint32_t offset)
{
    return offset == 0 ? NULL : (const float *)(const void *)(m->bytes + offset);
}

/* CRC-32 as in zlib, half a byte at a time: small, no table to set up. */
static uint32_t crc32(const unsigned char *p, size_t n)
{
    static const uint32_t half[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    uint32_t crc = 0xffffffffu;
    for (; n > 0; n--) {
        crc ^= *p++;
        crc = (crc >> 4) ^ half[crc & 15u];
        crc = (crc >> 4) ^ half[crc & 15u];
    }
    return ~crc;
}

/* Whether `floats` floats at `offset` lie inside a file of n bytes; 0 = absent, where allowed. */
static int inside(uint32_t offset, uint64_t floats, uint64_t n)
{
    return offset >= HEADER_BYTES && offset % 4 == 0 && offset <= n && floats * 4 <= n - offset;
}

static int inside_or_none(uint32_t offset, uint64_t floats, uint64_t n)
{
    return offset == 0 || inside(offset, floats, n);
}

/* Whether op fits a vector of `width` values and its tensors fit the file. Dimensions are at most
   2^20, so no product overflows 64 bits. */
static int op_fits(const op_t *op, uint32_t width, const uint32_t *slot, uint64_t n)
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

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t state_floats(const op_t *op)
{
    return op->kind == SSM ? 2 * op->n : op->kind == POOL ? op->in + 1 : 0;
}

static uint64_t scratch_floats(const ssm_t *m)
{
    uint64_t floats = 2 * (uint64_t)m->width + m->modes2;
    int s;
    for (s = 0; s < SSM_SLOTS; s++)
        floats += m->slot[s];
    return floats * SSM_BLOCK;
}

/* Walk the op list once and note what it needs; after SSM_OK every offset and width is trusted. */
static int walk(ssm_t *m, uint64_t n)
{
    uint32_t slot[SSM_SLOTS] = {0}; /* width of what each slot holds now */
    uint32_t width = m->inputs, k;
    m->width = width;
    for (k = 0; k < m->ops; k++) {
        const op_t op = op_read(m, k);
        if (!op_fits(&op, width, slot, n))
            return SSM_E_DAMAGED;
        if (op.kind == SAVE) {
            slot[op.slot] = width;
            m->slot[op.slot] = larger(m->slot[op.slot], width);
        }
        if (op.kind == SSM)
            m->modes2 = larger(m->modes2, 2 * op.n);
        if (m->state_floats > UINT32_MAX - state_floats(&op))
            return SSM_E_DAMAGED;
        m->state_floats += state_floats(&op);
        width = op.out;
        m->width = larger(m->width, width);
    }
    return width == m->outputs ? SSM_OK : SSM_E_DAMAGED;
}

/* Check header, checksum and ops; fills everything of m but the memory. */
static int parse(ssm_t *m, const void *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    memset(m, 0, sizeof *m);
    if (p == NULL)
        return SSM_E_NULL;
    if ((uintptr_t)p % 4 != 0)
        return SSM_E_ALIGN;
    /* on a big-endian machine the version reads as another number */
    if (n < HEADER_BYTES || memcmp(p, "SSMC", 4) != 0 || word(p + 4) != SSM_VERSION)
        return SSM_E_FORMAT;
    if (word(p + 8) != n || word(p + 12) != crc32(p + 16, n - 16))
        return SSM_E_DAMAGED;
    m->bytes = p;
    m->inputs = word(p + 16);
    m->outputs = word(p + 20);
    m->ops = word(p + 24);
    m->ops_at = word(p + 28);
    memcpy(&m->period_ns, p + 40, sizeof m->period_ns);
    if (m->inputs == 0 || m->inputs > MAX_DIM || m->ops == 0 || m->ops > MAX_OPS ||
        !inside(m->ops_at, (uint64_t)m->ops * (sizeof(op_t) / 4), n))
        return SSM_E_DAMAGED;
    return walk(m, n);
}

/* ---- running ---------------------------------------------------------------------------------- */

/* T <= SSM_BLOCK frames through all ops. The current vectors are in a; b receives what an op cannot
   write in place, x the states of an ssm op. */
static void block(ssm_t *m, const float *in, float *out, size_t T)
{
    float *slot[SSM_SLOTS], *state = m->state;
    float *a = m->scratch, *b = a + (size_t)m->width * SSM_BLOCK;
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
        state += state_floats(&op);
        if (swap != NULL) {
            b = a;
            a = swap;
        }
    }
    memcpy(out, a, T * m->outputs * sizeof *a);
}

size_t ssm_memory_bytes(const void *bytes, size_t n)
{
    ssm_t m;
    uint64_t need;
    if (parse(&m, bytes, n) != SSM_OK)
        return 0;
    need = (m.state_floats + scratch_floats(&m)) * sizeof(float);
    return need <= SIZE_MAX ? (size_t)need : 0;
}

int ssm_open(ssm_t *m, const void *bytes, size_t n, void *memory, size_t memory_n)
{
    int error;
    if (m == NULL)
        return SSM_E_NULL;
    error = parse(m, bytes, n);
    if (error == SSM_OK && memory == NULL)
        error = SSM_E_NULL;
    if (error == SSM_OK && (uintptr_t)memory % 4 != 0)
        error = SSM_E_ALIGN;
    if (error == SSM_OK && memory_n / sizeof(float) < m->state_floats + scratch_floats(m))
        error = SSM_E_MEMORY;
    if (error != SSM_OK) {
        memset(m, 0, sizeof *m);
        return error;
    }
    /* scratch first: it starts where the caller's alignment helps most */
    m->scratch = (float *)memory;
    m->state = m->scratch + (size_t)scratch_floats(m);
    return ssm_reset(m);
}

int ssm_reset(ssm_t *m)
{
    if (m == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_CLOSED;
    memset(m->state, 0, m->state_floats * sizeof(float));
    return SSM_OK;
}

int ssm_process(ssm_t *m, const float *in, float *out, uint32_t frames)
{
    if (m == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_CLOSED;
    if (frames > 0 && (in == NULL || out == NULL))
        return SSM_E_NULL;
    if (in == out && frames > 1 && m->outputs > m->inputs)
        return SSM_E_ALIAS;
    while (frames > 0) {
        const uint32_t T = frames < SSM_BLOCK ? frames : SSM_BLOCK;
        block(m, in, out, T);
        in += (size_t)T * m->inputs;
        out += (size_t)T * m->outputs;
        frames -= T;
    }
    return SSM_OK;
}

int ssm_step(ssm_t *m, const float *in, float *out)
{
    return ssm_process(m, in, out, 1);
}

int ssm_state_get(const ssm_t *m, float *state)
{
    if (m == NULL || state == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_CLOSED;
    memcpy(state, m->state, m->state_floats * sizeof(float));
    return SSM_OK;
}

int ssm_state_set(ssm_t *m, const float *state)
{
    if (m == NULL || state == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_CLOSED;
    if (!ssm_all_finite(state, m->state_floats))
        return SSM_E_STATE;
    memcpy(m->state, state, m->state_floats * sizeof(float));
    return SSM_OK;
}

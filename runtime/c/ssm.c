/* ssm.c - the engine of ssm.h: checks a file once, then runs its ops.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

   ssm_file.h reads the file, ssm_run_float.h and ssm_run_integer.h run the ops. */

#include "ssm.h"

#include "ssm_file.h"
#ifndef SSM_NO_FLOAT32
#include "ssm_run_float.h"
#endif
#ifndef SSM_NO_INT8
#include "ssm_run_integer.h"
#endif

#if SSM_BLOCK < 1
#error "SSM_BLOCK must be at least 1"
#endif

/* ---- what differs from precision to precision ------------------------------------------------- */

static int walk(ssm_t *m, uint64_t n)
{
    switch (m->precision) {
#ifndef SSM_NO_FLOAT32
    case SSM_FLOAT32:
        return float_walk(m, n);
#endif
#ifndef SSM_NO_INT8
    case SSM_INT8:
        return integer_walk(m, n);
#endif
    default:
        return SSM_E_FORMAT;
    }
}

/* Past walk() the precision is one that is there, so what remains is the last one. */
static void block(ssm_t *m, const float *in, float *out, size_t T)
{
#ifndef SSM_NO_FLOAT32
    if (m->precision == SSM_FLOAT32) {
        float_block(m, in, out, T);
        return;
    }
#endif
#ifndef SSM_NO_INT8
    integer_block(m, in, out, T);
#endif
}

static int all_finite(const float *x, size_t n)
{
#ifndef SSM_NO_FLOAT32
    return ssm_all_finite(x, n);
#else
    return ssm_ifinite(x, n);
#endif
}

static int states_fit(const ssm_t *m, const unsigned char *p)
{
#ifndef SSM_NO_FLOAT32
    if (m->precision == SSM_FLOAT32)
        return float_states_fit(m, p);
#endif
#ifndef SSM_NO_INT8
    return integer_states_fit(m, p);
#else
    return 0;
#endif
}

/* ---- opening ---------------------------------------------------------------------------------- */

/* Every string offset of the signals must lie in the strings, whose last byte must be zero. */
static int signals_fit(const ssm_t *m, uint64_t n)
{
    const uint64_t signals = (uint64_t)m->inputs + m->outputs;
    uint64_t k;
    if (!inside(m->signals_at, signals * (SIGNAL_BYTES / 4), n) || m->strings_n == 0 ||
        m->strings_at > n || m->strings_n > n - m->strings_at ||
        m->bytes[(size_t)m->strings_at + m->strings_n - 1] != 0)
        return 0;
    for (k = 0; k < signals; k++) {
        const unsigned char *p = m->bytes + m->signals_at + (size_t)k * SIGNAL_BYTES;
        if (word(p) >= m->strings_n || word(p + 4) >= m->strings_n)
            return 0;
    }
    return 1;
}

/* Check header, checksum and ops; fills everything of m but the memory. */
static int parse(ssm_t *m, const void *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    int error;
    memset(m, 0, sizeof *m);
    if (p == NULL)
        return SSM_E_NULL;
    if ((uintptr_t)p % 4 != 0)
        return SSM_E_ALIGN;
    /* on a big-endian machine the version reads as another number */
    if (n < HEADER_BYTES || memcmp(p, "SSMC", 4) != 0 || word(p + 4) < SSM_OLDEST ||
        word(p + 4) > SSM_VERSION)
        return SSM_E_FORMAT;
    if (word(p + 8) != n || word(p + 12) != crc32(p + 16, n - 16))
        return SSM_E_DAMAGED;
    m->bytes = p;
    m->inputs = word(p + 16);
    m->outputs = word(p + 20);
    m->ops = word(p + 24);
    m->ops_at = word(p + 28);
    memcpy(&m->period_s, p + 40, sizeof m->period_s);
    m->sha256 = p + 48;
    m->precision = word(p + 80);
    m->warmup_frames = word(p + 84);
    m->signals_at = word(p + 88);
    m->strings_at = word(p + 92);
    m->strings_n = word(p + 96);
    if (m->inputs == 0 || m->inputs > MAX_DIM || m->ops == 0 || m->ops > MAX_OPS ||
        m->outputs == 0 || m->outputs > MAX_DIM ||
        !inside(m->ops_at, (uint64_t)m->ops * (sizeof(op_t) / 4), n) || !signals_fit(m, n))
        return SSM_E_DAMAGED;
    m->version = SSM_OLDEST;
    error = walk(m, n);
    return error == SSM_OK && m->version != word(p + 4) ? SSM_E_DAMAGED : error;
}

size_t ssm_memory_bytes(const void *bytes, size_t n)
{
    ssm_t m;
    return parse(&m, bytes, n) == SSM_OK ? m.scratch_bytes + 4 * (size_t)m.state_words : 0;
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
    if (error == SSM_OK && memory_n < m->scratch_bytes + 4 * (size_t)m->state_words)
        error = SSM_E_MEMORY;
    if (error != SSM_OK) {
        memset(m, 0, sizeof *m);
        return error;
    }
    /* scratch first: it starts where the caller's alignment helps most */
    m->scratch = memory;
    m->state = (unsigned char *)memory + m->scratch_bytes;
    ssm_find_level();
    return ssm_reset(m);
}

/* ---- running ---------------------------------------------------------------------------------- */

int ssm_reset(ssm_t *m)
{
    if (m == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_INIT;
    memset(m->state, 0, 4 * (size_t)m->state_words);
    return SSM_OK;
}

int ssm_process(ssm_t *m, const float *in, float *out, uint32_t frames)
{
    if (m == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_INIT;
    if (frames > 0 && (in == NULL || out == NULL))
        return SSM_E_NULL;
    if (in == out && frames > 1 && m->outputs > m->inputs)
        return SSM_E_ALIAS;
    if (!all_finite(in, (size_t)frames * m->inputs))
        return SSM_E_NONFINITE;
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

int ssm_process_codes(ssm_t *m, const int16_t *in, int32_t *out, uint32_t frames)
{
    if (m == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_INIT;
    if (m->precision != SSM_INT8)
        return SSM_E_FORMAT;
    if (frames > 0 && (in == NULL || out == NULL))
        return SSM_E_NULL;
    if ((const void *)in == (const void *)out && frames > 1 &&
        (uint64_t)m->outputs * sizeof *out > (uint64_t)m->inputs * sizeof *in)
        return SSM_E_ALIAS;
    while (frames > 0) {
        const uint32_t T = frames < SSM_BLOCK ? frames : SSM_BLOCK;
#ifndef SSM_NO_INT8
        integer_block_codes(m, in, out, T);
#endif
        in += (size_t)T * m->inputs;
        out += (size_t)T * m->outputs;
        frames -= T;
    }
    return SSM_OK;
}

int ssm_step_codes(ssm_t *m, const int16_t *in, int32_t *out)
{
    return ssm_process_codes(m, in, out, 1);
}

/* ---- saved states ----------------------------------------------------------------------------- */

/* What opens every saved state: "SSM" and the kind of words, bytes of the whole, start of the digest. */
static void blob_header(const ssm_t *m, unsigned char *header)
{
    memcpy(header, m->precision == SSM_FLOAT32 ? "SSM1" : m->code_bits == 16 ? "SSM2" : "SSM3", 4);
    memcpy(header + 4, &m->state_bytes, 4);
    memcpy(header + 8, m->sha256, 8);
}

int ssm_state_get(const ssm_t *m, void *blob, size_t bytes)
{
    unsigned char *p = (unsigned char *)blob;
    if (m == NULL || blob == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_INIT;
    if (bytes != m->state_bytes)
        return SSM_E_STATE;
    blob_header(m, p);
    memcpy(p + BLOB_HEADER_BYTES, m->state, bytes - BLOB_HEADER_BYTES);
    return SSM_OK;
}

int ssm_state_set(ssm_t *m, const void *blob, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)blob;
    unsigned char header[BLOB_HEADER_BYTES];
    if (m == NULL || blob == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_INIT;
    if (bytes != m->state_bytes)
        return SSM_E_STATE;
    blob_header(m, header);
    if (memcmp(p, header, sizeof header) != 0 || !states_fit(m, p + sizeof header))
        return SSM_E_STATE;
    memcpy(m->state, p + sizeof header, bytes - sizeof header);
    return SSM_OK;
}

/* ---- what the model is ------------------------------------------------------------------------ */

int ssm_signal(const ssm_t *m, uint32_t index, ssm_signal_t *signal)
{
    const unsigned char *p;
    const char *strings;
    uint32_t known;
    if (m == NULL || signal == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_INIT;
    if (index >= m->inputs + m->outputs)
        return SSM_E_NAMES;
    p = m->bytes + m->signals_at + (size_t)index * SIGNAL_BYTES;
    strings = (const char *)m->bytes + m->strings_at;
    signal->name = strings + word(p);
    signal->unit = strings + word(p + 4);
    memcpy(&signal->minimum, p + 8, sizeof signal->minimum);
    memcpy(&signal->maximum, p + 16, sizeof signal->maximum);
    known = word(p + 24);
    signal->has_minimum = (int)(known & 1u);
    signal->has_maximum = (int)(known >> 1 & 1u);
    memcpy(&signal->scale, p + 28, sizeof signal->scale);
    return SSM_OK;
}

int ssm_check(const ssm_t *m, const char *const *input_names, uint32_t n, double period_s)
{
    ssm_signal_t signal;
    uint32_t i;
    size_t k;
    if (m == NULL || input_names == NULL)
        return SSM_E_NULL;
    if (m->scratch == NULL)
        return SSM_E_INIT;
    if (n != m->inputs)
        return SSM_E_NAMES;
    for (i = 0; i < n; i++) {
        const char *name = input_names[i];
        if (name == NULL)
            return SSM_E_NULL;
        if (ssm_signal(m, i, &signal) != SSM_OK)
            return SSM_E_NAMES;
        for (k = 0; signal.name[k] == name[k] && name[k] != '\0'; k++) {
        }
        if (signal.name[k] != name[k])
            return SSM_E_NAMES;
    }
    if (m->period_s > 0.0 && !(period_s <= 0.0) &&
        !(period_s >= m->period_s * (1.0 - 1e-6) && period_s <= m->period_s * (1.0 + 1e-6)))
        return SSM_E_PERIOD;
    return SSM_OK;
}

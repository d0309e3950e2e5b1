/* SPDX-License-Identifier: 0BSD
 *
 * Times a generated model from C, where a step costs what it costs in a product: no interpreter
 * around it. Compiled together with NAME.c, with the same flags; host_clock.h and host_system.h lie
 * beside this file:
 *
 *     cc -DMODEL=kws -DMODEL_HEADER='"kws.h"' host_loop.c kws.c
 *
 *     host_loop FRAMES OUTPUT STEPS LIMIT_NS PACED PERIOD_NS STARTED_NS [NAME=VALUE ...]
 *
 * FRAMES     raw float32 frames, (T, inputs); fed in a circle
 * OUTPUT     a folder; samples.i64, busy.i64, late.i64, stats.txt and last.f32, the model's last
 *            output of a step, are written there
 * STEPS      steps back to back, each timed, the first one included
 * LIMIT_NS   stop earlier after this time
 * PACED      steps of the paced run, 0 for none
 * PERIOD_NS  time from one paced step to the next
 * STARTED_NS CLOCK_MONOTONIC when the parent started this process
 *
 * cpu=N             hold the process on this core
 * rt=N              SCHED_FIFO with this priority and locked memory, for the paced run
 * rt_fallback=1     go on as an ordinary process where that is refused
 * clock=WHICH       of the steps back to back: monotonic, counter, or auto: the counter if there is
 *                   one; see host_clock.h
 * blocks=N,N,...    blocks of so many frames, at most 1,000 of each; written as blockN.i64
 * block_limit_ns=N  stop earlier with one size
 * golden=FRAMES     at last, these frames from a fresh state; their outputs are golden.f32
 *
 * Exit code: 0 done, 2 wrong arguments or files, 3 the model returned an error, 4 the system refused
 * the core or the priority.
 */
#ifdef __linux__
#define _GNU_SOURCE /* sched_setaffinity */
#endif
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host_clock.h"
#include "host_system.h"
#include MODEL_HEADER

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define M(suffix) JOIN(MODEL, suffix)

enum { ROUNDS = 41, BATCH = 100, LONG_NS = 20000, BLOCKS = 1000, BLOCK_WARM_UP = 5 };

typedef int step_function(JOIN(MODEL, _t) * model, const float *in, float *out);

typedef struct {
    int cpu, rt, rt_fallback, rt_refused, counter; /* counter: 0 no, 1 yes, -1 as it turns out */
    const char *blocks;
    int64_t block_limit;
    const char *golden;
} options;

static JOIN(MODEL, _t) model;
static float output[MODEL_OUTPUTS];

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int nothing(JOIN(MODEL, _t) * same, const float *in, float *out)
{
    (void)same, (void)in, (void)out;
    return 0;
}

/* Step after step. The end of one is the start of the next, so a step costs one clock reading.
 * Returns how many were done within the limit, -1 after an error of the model. */
static int64_t back_to_back(step_function *step, const float *frames, size_t count, int64_t steps,
                            int64_t limit, int counter, int64_t *taken)
{
    const float *u = frames, *behind = frames + count * MODEL_INPUTS;
    int64_t done = 0, before = reading(counter), stop = before + limit;
    while (done < steps) {
        if (step(&model, u, output) != 0) return -1;
        int64_t after = reading(counter);
        taken[done++] = after - before;
        before = after;
        u += MODEL_INPUTS;
        if (u == behind) u = frames;
        if (after > stop) break;
    }
    return done;
}

/* What the loop above costs a step: the median over rounds of a step timed alone less a step of a
 * batch that is timed as one. `step` does nothing, or is the model's: then the costs of waiting for it
 * are in it, too. */
static double loop_overhead_ns(step_function *step, const float *frames, size_t count, int counter,
                               double scale)
{
    static int64_t taken[BATCH];
    double more[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        int64_t alone = 0, start;
        const float *u = frames, *behind = frames + count * MODEL_INPUTS;
        back_to_back(step, frames, count, BATCH, INT64_MAX / 2, counter, taken);
        for (int k = 0; k < BATCH; k++) alone += taken[k];
        start = reading(counter);
        for (int k = 0; k < BATCH; k++) {
            if (step(&model, u, output) != 0) return -1.0;
            u += MODEL_INPUTS;
            if (u == behind) u = frames;
        }
        more[r] = (double)(alone - (reading(counter) - start)) * scale / BATCH;
    }
    qsort(more, ROUNDS, sizeof more[0], ascending);
    return more[ROUNDS / 2] > 0.0 ? more[ROUNDS / 2] : 0.0;
}

/* One step every period. The schedule is absolute, as a sensor's: a step that ends late makes the
 * next one start late. Gives up when it has taken twice its time and a second. */
static int64_t paced_run(const float *frames, size_t count, int64_t steps, int64_t period,
                         int64_t spin, int64_t *busy, int64_t *late)
{
    int64_t due = now_ns() + period, stop = due + 2 * steps * period + 1000000000, k;
    for (k = 0; k < steps; k++, due += period) {
        const float *u = frames + (size_t)k % count * MODEL_INPUTS;
        wait_until(due, spin);
        int64_t start = now_ns();
        if (start > stop) break;
        if (M(_step)(&model, u, output) != 0) return -1;
        int64_t end = now_ns();
        busy[k] = end - start;
        late[k] = end - due;
    }
    return k;
}

static FILE *create(const char *folder, const char *name)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return NULL;
    return fopen(path, "wb");
}

static int write_file(const char *folder, const char *name, const void *data, size_t bytes)
{
    FILE *file = create(folder, name);
    if (file == NULL) return 0;
    size_t written = fwrite(data, 1, bytes, file);
    return fclose(file) == 0 && written == bytes;
}

static float *read_frames(const char *path, size_t *count)
{
    float *frames = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        long bytes = ftell(file);
        *count = bytes > 0 ? (size_t)bytes / (MODEL_INPUTS * sizeof(float)) : 0;
        rewind(file);
        if (*count > 0) frames = malloc(*count * MODEL_INPUTS * sizeof(float));
        if (frames != NULL && fread(frames, MODEL_INPUTS * sizeof(float), *count, file) != *count) {
            free(frames);
            frames = NULL;
        }
    }
    fclose(file);
    return frames;
}

/* Blocks of one size, one after the other. 0 or the exit code. */
static int time_blocks(const float *frames, size_t count, uint32_t size, int64_t limit, const char *folder)
{
    static int64_t taken[BLOCKS];
    char name[32];
    float *in = malloc((size_t)size * MODEL_INPUTS * sizeof *in);
    float *out = malloc((size_t)size * MODEL_OUTPUTS * sizeof *out);
    int code = in == NULL || out == NULL ? 2 : 0;
    int64_t stop = now_ns() + limit, done = 0;
    for (size_t k = 0; code == 0 && k < (size_t)size * MODEL_INPUTS; k++)
        in[k] = frames[k % (count * MODEL_INPUTS)];
    for (int k = -BLOCK_WARM_UP; code == 0 && k < BLOCKS; k++) {
        int64_t start = now_ns();
        if (M(_process)(&model, in, out, size) != 0) code = 3;
        int64_t end = now_ns();
        if (k >= 0) taken[done++] = end - start;
        if (done > 0 && end > stop) break;
    }
    free(in);
    free(out);
    snprintf(name, sizeof name, "block%lu.i64", (unsigned long)size);
    if (code == 0 && !write_file(folder, name, taken, (size_t)done * sizeof *taken)) code = 2;
    return code;
}

static int time_all_blocks(const float *frames, size_t count, const options *asked, const char *folder)
{
    const char *at = asked->blocks;
    while (at != NULL && *at != '\0') {
        char *behind;
        unsigned long size = strtoul(at, &behind, 10);
        if (behind == at || size < 1 || size > 65536 || (*behind != ',' && *behind != '\0')) return 2;
        int code = time_blocks(frames, count, (uint32_t)size, asked->block_limit, folder);
        if (code != 0) return code;
        at = *behind == ',' ? behind + 1 : behind;
    }
    return 0;
}

/* What the model makes of frames from a fresh state. 0 or the exit code. */
static int write_golden(const char *path, const char *folder)
{
    size_t count = 0;
    float *frames = read_frames(path, &count);
    FILE *file = frames == NULL ? NULL : create(folder, "golden.f32");
    int code = file == NULL ? 2 : M(_reset)(&model) != 0 ? 3 : 0;
    for (size_t k = 0; code == 0 && k < count; k++)
        if (M(_step)(&model, frames + k * MODEL_INPUTS, output) != 0) code = 3;
        else if (fwrite(output, sizeof output, 1, file) != 1) code = 2;
    if (file != NULL && fclose(file) != 0 && code == 0) code = 2;
    free(frames);
    return code;
}

/* 1, or 0 for an option that does not exist. */
static int read_option(const char *text, options *into)
{
    const char *value = strchr(text, '=');
    size_t length = value == NULL ? 0 : (size_t)(value - text);
    if (length == 0) return 0;
    value++;
#define IS(name) (length == sizeof name - 1 && memcmp(text, name, length) == 0)
    if (IS("cpu")) into->cpu = atoi(value);
    else if (IS("rt")) into->rt = atoi(value);
    else if (IS("rt_fallback")) into->rt_fallback = atoi(value);
    else if (IS("blocks")) into->blocks = value;
    else if (IS("block_limit_ns")) into->block_limit = atoll(value);
    else if (IS("golden")) into->golden = value;
    else if (IS("clock") && strcmp(value, "auto") == 0) into->counter = -1;
    else if (IS("clock") && strcmp(value, "monotonic") == 0) into->counter = 0;
    else if (IS("clock") && strcmp(value, "counter") == 0 && has_counter()) into->counter = 1;
    else return 0;
#undef IS
    return 1;
}

/* A core and a priority, as far as they are asked for; the priority is given back until it is
 * needed: a loop that never sleeps would be throttled with it. 0 or the exit code. */
static int take_rights(options *asked)
{
    int refused = asked->cpu < 0 ? 0 : hold_on_core(asked->cpu);
    if (refused != 0) {
        fprintf(stderr, "core %d was refused: %s\n", asked->cpu, strerror(refused));
        return 4;
    }
    refused = asked->rt < 1 ? 0 : schedule(asked->rt);
    if (refused != 0 && !asked->rt_fallback) {
        fprintf(stderr, "SCHED_FIFO priority %d with locked memory was refused: %s\n", asked->rt,
                strerror(refused));
        return 4;
    }
    if (refused != 0) asked->rt = 0, asked->rt_refused = 1;
    if (asked->rt > 0) schedule(0);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 8) return 2;
    int64_t steps = atoll(argv[3]), limit = atoll(argv[4]), paced = atoll(argv[5]);
    int64_t period = atoll(argv[6]), started = atoll(argv[7]);
    options asked = {-1, 0, 0, 0, -1, NULL, 1000000000, NULL};

    int64_t before = now_ns();
    if (M(_init)(&model) != 0) return 3;
    int64_t ready = now_ns();

    for (int i = 8; i < argc; i++)
        if (!read_option(argv[i], &asked)) {
            fprintf(stderr, "%s: no such option, or not on this machine\n", argv[i]);
            return 2;
        }
    size_t count = 0;
    float *frames = read_frames(argv[1], &count);
    if (frames == NULL || steps < 1 || paced < 0) return 2;
    size_t bytes = (size_t)(steps > paced ? steps : paced) * sizeof(int64_t);
    int64_t *busy = malloc(bytes), *late = malloc(bytes);
    if (busy == NULL || late == NULL) return 2;
    memset(busy, 1, bytes); /* so that no page is missing when a time is stored */
    memset(late, 1, bytes);
    int code = take_rights(&asked);
    if (code != 0) return code;

    int counter = asked.counter < 0 ? has_counter() : asked.counter;
    double scale = counter ? ns_per_tick() : 1.0;
    step_function *volatile step = M(_step), *volatile idle = nothing; /* or the compiler knows them */
    long long khz = frequency_khz(asked.cpu), heat = temperature_mc();
    long long preempted = own_record("nonvoluntary_ctxt_switches");

    int64_t done =
        back_to_back(step, frames, count, steps, (int64_t)((double)limit / scale), counter, busy);
    if (done < 0) return 3;
    preempted = own_record("nonvoluntary_ctxt_switches") - preempted;
    for (int64_t k = 0; counter && k < done; k++) busy[k] = (int64_t)((double)busy[k] * scale + 0.5);
    if (!write_file(argv[2], "samples.i64", busy, (size_t)done * sizeof *busy)) return 2;
    /* A long step hides what a reading costs, and would be run too often. The steps of the
     * calibration leave no trace. */
    static JOIN(MODEL, _t) kept;
    static float last[MODEL_OUTPUTS];
    kept = model;
    memcpy(last, output, sizeof output);
    double overhead =
        loop_overhead_ns(busy[done / 2] < LONG_NS ? step : idle, frames, count, counter, scale);
    model = kept;
    memcpy(output, last, sizeof output);
    if (overhead < 0.0) return 3;

    if (asked.rt > 0 && paced > 0) schedule(asked.rt);
    int64_t planned = paced;
    long long preempted_paced = own_record("nonvoluntary_ctxt_switches");
    paced = paced_run(frames, count, planned, period, asked.rt > 0 ? 0 : SPIN_NS, busy, late);
    if (asked.rt > 0 && planned > 0) schedule(0);
    preempted_paced = own_record("nonvoluntary_ctxt_switches") - preempted_paced;
    if (paced < 0) return 3;
    if (!write_file(argv[2], "busy.i64", busy, (size_t)paced * sizeof *busy)) return 2;
    if (!write_file(argv[2], "late.i64", late, (size_t)paced * sizeof *late)) return 2;
    if (!write_file(argv[2], "last.f32", output, sizeof output)) return 2;
    code = time_all_blocks(frames, count, &asked, argv[2]);
    if (code == 0 && asked.golden != NULL) code = write_golden(asked.golden, argv[2]);
    if (code != 0) return code;

    FILE *file = create(argv[2], "stats.txt");
    if (file == NULL) return 2;
    long long peak = own_record("VmHWM");
    fprintf(file, "overhead_ns %.2f\nloop_ns %.2f\ncounter %d\n", overhead, overhead, counter);
    if (has_counter())
        fprintf(file, "tick_ns %.3f\n", (double)ticks_at_once() * (counter ? scale : ns_per_tick()));
    fprintf(file, "load_ns %lld\ncold_start_ns %lld\npeak_rss_bytes %lld\n", (long long)(ready - before),
            (long long)(ready - started), peak > 0 ? peak * 1024 : 0);
    fprintf(file, "flash_bytes %lld\nram_bytes %lld\n", (long long)MODEL_FLASH_BYTES,
            (long long)MODEL_RAM_BYTES);
    fprintf(file, "rt_priority %d\nrt_refused %d\npaced_planned %lld\n", asked.rt,
            asked.rt_refused, (long long)planned);
    if (peak >= 0)
        fprintf(file, "preemptions %lld\npreemptions_paced %lld\n", preempted, preempted_paced);
    if (khz >= 0)
        fprintf(file, "frequency_khz_before %lld\nfrequency_khz_after %lld\n", khz, frequency_khz(asked.cpu));
    if (heat >= 0)
        fprintf(file, "temperature_mc_before %lld\ntemperature_mc_after %lld\n", heat, temperature_mc());
    free(frames);
    free(busy);
    free(late);
    return fclose(file) == 0 ? 0 : 2;
}

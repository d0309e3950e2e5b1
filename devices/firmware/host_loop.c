/* SPDX-License-Identifier: 0BSD
 *
 * Times a generated model from C, where a step costs what it costs in a product: no interpreter
 * around it. Compiled together with NAME.c, with the same flags:
 *
 *     cc -DMODEL=kws -DMODEL_HEADER='"kws.h"' host_loop.c kws.c
 *
 *     host_loop FRAMES OUTPUT STEPS LIMIT_NS PACED PERIOD_NS STARTED_NS
 *
 * FRAMES     raw float32 frames, (T, inputs); fed in a circle
 * OUTPUT     a folder; samples.i64, busy.i64, late.i64, stats.txt and last.f32, the model's last
 *            output, are written there
 * STEPS      steps back to back, each timed, the first one included
 * LIMIT_NS   stop earlier after this time
 * PACED      steps of the paced run, 0 for none
 * PERIOD_NS  time from one paced step to the next
 * STARTED_NS CLOCK_MONOTONIC when the parent started this process
 *
 * Exit code: 0 done, 2 wrong arguments or files, 3 the model returned an error.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include MODEL_HEADER

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define M(suffix) JOIN(MODEL, suffix)

enum { SPIN_NS = 300000, CALIBRATION = 10001 };

static JOIN(MODEL, _t) model;
static float output[MODEL_OUTPUTS];

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + (int64_t)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* What two clock readings with nothing between them differ by: the median. */
static int64_t clock_overhead_ns(void)
{
    static int64_t reading[CALIBRATION];
    for (int i = 0; i < CALIBRATION; i++) {
        int64_t start = now_ns();
        reading[i] = now_ns() - start;
    }
    qsort(reading, CALIBRATION, sizeof reading[0], ascending);
    return reading[CALIBRATION / 2];
}

/* Sleep until shortly before `due`, then spin: a sleep alone wakes up tens of us late. */
static void wait_until(int64_t due)
{
    int64_t left = due - now_ns();
    if (left > SPIN_NS) {
        struct timespec nap = {0, 0};
        nap.tv_sec = (time_t)((left - SPIN_NS) / 1000000000);
        nap.tv_nsec = (long)((left - SPIN_NS) % 1000000000);
        nanosleep(&nap, NULL);
    }
    while (now_ns() < due) {
    }
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

/* The kernel's own record of this process. getrusage() would report the parent's, if larger:
 * the figure survives exec. 0 where there is no /proc. */
static long long peak_rss_bytes(void)
{
    long long kib = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
    fclose(file);
    return kib * 1024;
}

int main(int argc, char **argv)
{
    if (argc != 8) return 2;
    int64_t steps = atoll(argv[3]), limit = atoll(argv[4]), paced = atoll(argv[5]);
    int64_t period = atoll(argv[6]), started = atoll(argv[7]);

    int64_t before = now_ns();
    if (M(_init)(&model) != 0) return 3;
    int64_t ready = now_ns();

    size_t count = 0;
    float *frames = read_frames(argv[1], &count);
    if (frames == NULL || steps < 1 || paced < 0) return 2;
    size_t room = (size_t)(steps > paced ? steps : paced);
    int64_t *busy = malloc(room * sizeof *busy), *late = malloc(room * sizeof *late);
    if (busy == NULL || late == NULL) return 2;

    int64_t done = 0, stop = now_ns() + limit;
    while (done < steps) {
        const float *u = frames + (size_t)done % count * MODEL_INPUTS;
        int64_t start = now_ns();
        int status = M(_step)(&model, u, output);
        int64_t end = now_ns();
        if (status != 0) return 3;
        busy[done++] = end - start;
        if (end > stop) break;
    }
    if (!write_file(argv[2], "samples.i64", busy, (size_t)done * sizeof *busy)) return 2;

    int64_t due = now_ns() + period;
    for (int64_t k = 0; k < paced; k++, due += period) {
        const float *u = frames + (size_t)k % count * MODEL_INPUTS;
        wait_until(due);
        int64_t start = now_ns();
        int status = M(_step)(&model, u, output);
        int64_t end = now_ns();
        if (status != 0) return 3;
        busy[k] = end - start;
        late[k] = end - due;
    }
    if (!write_file(argv[2], "busy.i64", busy, (size_t)paced * sizeof *busy)) return 2;
    if (!write_file(argv[2], "late.i64", late, (size_t)paced * sizeof *late)) return 2;
    if (!write_file(argv[2], "last.f32", output, sizeof output)) return 2;

    FILE *file = create(argv[2], "stats.txt");
    if (file == NULL) return 2;
    fprintf(file, "overhead_ns %lld\nload_ns %lld\ncold_start_ns %lld\npeak_rss_bytes %lld\n",
            (long long)clock_overhead_ns(), (long long)(ready - before),
            (long long)(ready - started), peak_rss_bytes());
    fprintf(file, "flash_bytes %lld\nram_bytes %lld\n", (long long)MODEL_FLASH_BYTES,
            (long long)MODEL_RAM_BYTES);
    free(frames);
    free(busy);
    free(late);
    return fclose(file) == 0 ? 0 : 2;
}

/* SPDX-License-Identifier: 0BSD
 *
 * What host_loop.c asks of the system: a core, a real-time priority, and how the machine feels.
 * POSIX; what only Linux has is left out elsewhere.
 */
#ifndef HOST_SYSTEM_H
#define HOST_SYSTEM_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Hold this process on a core; 0 or an errno. */
static int hold_on_core(int core)
{
#ifdef __linux__
    cpu_set_t set;
    CPU_ZERO(&set);
    if (core < 0 || core >= CPU_SETSIZE) return EINVAL;
    CPU_SET((size_t)core, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : errno;
#else
    (void)core;
    return ENOSYS;
#endif
}

/* Before everything else on this core, with all memory present; priority 0 ends it. 0 or an errno. */
static int schedule(int priority)
{
    struct sched_param parameter;
    memset(&parameter, 0, sizeof parameter);
    parameter.sched_priority = priority;
#if defined(_POSIX_MEMLOCK) && _POSIX_MEMLOCK > 0
    if (priority > 0 && mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return errno;
#else
    if (priority > 0) return ENOSYS;
#endif
    return pthread_setschedparam(pthread_self(), priority > 0 ? SCHED_FIFO : SCHED_OTHER, &parameter);
}

/* A number of the kernel's record of this process, -1 where there is none. getrusage() would report
 * the peak memory of the parent, if larger: the figure survives exec. */
static long long own_record(const char *name)
{
    long long value = -1;
    char line[256];
    size_t length = strlen(name);
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            if (sscanf(line + length + 1, "%lld", &value) != 1) value = -1;
            break;
        }
    fclose(file);
    return value;
}

static long long number_in(const char *path)
{
    long long value;
    FILE *file = fopen(path, "r");
    if (file == NULL) return -1;
    if (fscanf(file, "%lld", &value) != 1) value = -1;
    fclose(file);
    return value;
}

static long long frequency_khz(int core)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", core < 0 ? 0 : core);
    return number_in(path);
}

/* The hottest zone, in thousandths of a degree. */
static long long temperature_mc(void)
{
    long long hottest = -1;
    for (int zone = 0; zone < 64; zone++) {
        char path[128];
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", zone);
        long long found = number_in(path);
        if (found > hottest) hottest = found;
    }
    return hottest;
}

#endif

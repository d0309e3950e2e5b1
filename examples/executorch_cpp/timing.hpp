// How long a call takes: wall time of every one, processor time of all. SPDX-License-Identifier: 0BSD

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <vector>

#include "ssmith_program.hpp"

// Runs `calls` calls of `frames` frames on noise and prints nanoseconds a frame as one line of JSON. Reading
// the clock is part of every call: some 20 ns.
inline void print_timing(ssmith::Program &model, std::size_t calls, std::size_t frames)
{
    using Clock = std::chrono::steady_clock;
    constexpr std::size_t blocks = 16; // of noise, in turns
    std::vector<float> in(blocks * frames * model.inputs()), out(frames * model.outputs());
    unsigned random = 1;
    for (float &value : in) {
        random = 1664525u * random + 1013904223u;
        value = static_cast<float>(random >> 8) / (1 << 23) - 1.0f;
    }
    const auto call = [&](std::size_t i) {
        model.process(in.data() + i % blocks * frames * model.inputs(), out.data(), frames);
    };
    for (std::size_t i = 0; i < calls / 10 + 10; i++)
        call(i);
    std::vector<double> ns(calls);
    const std::clock_t before = std::clock();
    for (std::size_t i = 0; i < calls; i++) {
        const auto start = Clock::now();
        call(i);
        ns[i] = std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
                static_cast<double>(frames);
    }
    const double cpu = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC * 1e9;
    std::sort(ns.begin(), ns.end());
    std::printf("{\"calls\": %zu, \"frames_a_call\": %zu, \"min_ns\": %.0f, \"median_ns\": %.0f, "
                "\"p99_ns\": %.0f, \"cpu_ns\": %.0f}\n",
                calls, frames, ns.front(), ns[calls / 2], ns[calls * 99 / 100],
                cpu / static_cast<double>(calls * frames));
}

// SPDX-License-Identifier: 0BSD
// A host for plugin.cpp: blocks of every size, other rates, NaN; counts allocations on the audio thread.

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include <juce_audio_processors/juce_audio_processors.h>

#include "check.h"
#include "leveler.h"

juce::AudioProcessor *createPluginFilter();

static int allocations;

void *operator new(std::size_t bytes)
{
    allocations++;
    if (void *memory = std::malloc(bytes))
        return memory;
    throw std::bad_alloc();
}

void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

static void run(juce::AudioProcessor &plugin, std::vector<float> &left, std::vector<float> &right, std::size_t at,
                int n)
{
    float *const channels[] = {left.data() + at, right.data() + at};
    juce::AudioBuffer<float> buffer(channels, 2, n);
    juce::MidiBuffer midi;
    const int before = allocations;
    plugin.processBlock(buffer, midi);
    CHECK(allocations == before);
}

static std::vector<float> expected(const std::vector<float> &signal)
{
    static leveler_t model;
    std::vector<float> out(signal.size());
    leveler_init(&model);
    CHECK(leveler_process(&model, signal.data(), out.data(), static_cast<std::uint32_t>(signal.size())) == LEVELER_OK);
    return out;
}

static bool same(const std::vector<float> &a, const std::vector<float> &b)
{
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

int main()
{
    std::unique_ptr<juce::AudioProcessor> plugin(createPluginFilter());
    std::vector<float> left(1000), right(1000);
    for (std::size_t i = 0; i < left.size(); i++) {
        left[i] = noise();
        right[i] = noise();
    }
    const std::vector<float> dry = left, wet[] = {expected(left), expected(right)};

    plugin->prepareToPlay(48000.0, 64);
    CHECK(plugin->getLatencySamples() == 0);
    CHECK(plugin->getTailLengthSeconds() > 0.0);
    const int sizes[] = {0, 1, 64, 7, 3, 128};
    for (std::size_t at = 0, k = 0; at < left.size(); k++) {
        const int n = std::min(sizes[k % 6], static_cast<int>(left.size() - at));
        run(*plugin, left, right, at, n);
        at += static_cast<std::size_t>(n);
    }
    CHECK(same(left, wet[0]) && same(right, wet[1]));

    // NaN in one channel: that block is silent, and the stream goes on as if it had not been.
    left = right = dry;
    plugin->reset();
    run(*plugin, left, right, 0, 500);
    std::vector<float> bad(16, std::numeric_limits<float>::quiet_NaN()), good(16, 0.0f);
    juce::MidiBuffer midi;
    float *const mixed[] = {bad.data(), good.data()};
    juce::AudioBuffer<float> buffer(mixed, 1, 16);
    plugin->processBlock(buffer, midi);
    CHECK(same(bad, std::vector<float>(16, 0.0f)));
    run(*plugin, left, right, 500, 500);
    CHECK(same(left, wet[0]) && same(right, wet[0]));

    // Another rate: dry.
    left = right = dry;
    plugin->prepareToPlay(44100.0, 64);
    run(*plugin, left, right, 0, 1000);
    CHECK(same(left, dry));
    std::puts("ok");
    return 0;
}

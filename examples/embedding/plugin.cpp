// An audio effect: a model with one channel in and out, once for each channel of the host.
// SPDX-License-Identifier: 0BSD

#include <algorithm>
#include <array>

#include <juce_audio_processors/juce_audio_processors.h>

#include "leveler.hpp"

class LevelerProcessor : public juce::AudioProcessor {
public:
    // Off the audio thread. A model knows one rate: at another one the effect stays out of the way, which
    // is better than sounding wrong.
    void prepareToPlay(double sampleRate, int) override
    {
        const char *const inputs[] = {"audio"};
        fits = leveler_check(inputs, 1, 1.0 / sampleRate) == LEVELER_OK;
        setLatencySamples(LEVELER_LATENCY_FRAMES);
        reset();
    }

    // The audio thread. Blocks of any length, 0 too, and however the host splits them: the same bits.
    // There is no subnormal number in the model's state, so no ScopedNoDenormals is needed for its sake.
    void processBlock(juce::AudioBuffer<float> &buffer, juce::MidiBuffer &) override
    {
        const int used = std::min(buffer.getNumChannels(), static_cast<int>(streams.size()));
        const int frames = buffer.getNumSamples();
        for (int c = 0; fits && c < used; c++) {
            float *const samples = buffer.getWritePointer(c);
            auto &stream = streams[static_cast<std::size_t>(c)];
            if (stream.process(&samples, &samples, frames) != LEVELER_OK)
                buffer.clear(c, 0, frames); // NaN came in: silence; the state is what it was before
        }
    }

    // The transport jumped: what the states remember is from elsewhere.
    void reset() override
    {
        for (auto &stream : streams)
            stream.reset();
    }

    double getTailLengthSeconds() const override { return LEVELER_WARMUP_FRAMES / LEVELER_RATE_HZ; }

    const juce::String getName() const override { return "Leveler"; }
    bool acceptsMidi() const override { return false; }
    bool producesMidi() const override { return false; }
    bool hasEditor() const override { return false; }
    juce::AudioProcessorEditor *createEditor() override { return nullptr; }
    int getNumPrograms() override { return 1; }
    int getCurrentProgram() override { return 0; }
    void setCurrentProgram(int) override {}
    const juce::String getProgramName(int) override { return {}; }
    void changeProgramName(int, const juce::String &) override {}
    void getStateInformation(juce::MemoryBlock &) override {}
    void setStateInformation(const void *, int) override {}

private:
    std::array<leveler::Model, 2> streams; // left and right; both read the same weights
    bool fits = false;
};

juce::AudioProcessor *JUCE_CALLTYPE createPluginFilter()
{
    return new LevelerProcessor;
}

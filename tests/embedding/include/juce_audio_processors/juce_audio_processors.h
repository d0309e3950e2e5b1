// The few declarations of JUCE that examples/embedding/plugin.cpp touches, for compiling it without JUCE.
// SPDX-License-Identifier: 0BSD

#pragma once

#include <string>
#include <vector>

#define JUCE_CALLTYPE

namespace juce {

using String = std::string;
class MidiBuffer {};
class MemoryBlock {};
class AudioProcessorEditor {};

template <typename T> class AudioBuffer {
public:
    AudioBuffer(T *const *channels, int n_channels, int n_samples)
        : channels_(channels, channels + n_channels), samples_(n_samples)
    {
    }
    int getNumChannels() const { return static_cast<int>(channels_.size()); }
    int getNumSamples() const { return samples_; }
    T *getWritePointer(int channel) { return channels_[static_cast<std::size_t>(channel)]; }
    void clear(int channel, int start, int n)
    {
        for (int i = start; i < start + n; i++)
            getWritePointer(channel)[i] = T();
    }

private:
    std::vector<T *> channels_;
    int samples_;
};

class AudioProcessor {
public:
    virtual ~AudioProcessor() = default;
    virtual void prepareToPlay(double sampleRate, int maximumBlock) = 0;
    virtual void processBlock(AudioBuffer<float> &buffer, MidiBuffer &midi) = 0;
    virtual void reset() {}
    virtual double getTailLengthSeconds() const = 0;
    virtual const String getName() const = 0;
    virtual bool acceptsMidi() const = 0;
    virtual bool producesMidi() const = 0;
    virtual bool hasEditor() const = 0;
    virtual AudioProcessorEditor *createEditor() = 0;
    virtual int getNumPrograms() = 0;
    virtual int getCurrentProgram() = 0;
    virtual void setCurrentProgram(int index) = 0;
    virtual const String getProgramName(int index) = 0;
    virtual void changeProgramName(int index, const String &name) = 0;
    virtual void getStateInformation(MemoryBlock &data) = 0;
    virtual void setStateInformation(const void *data, int n) = 0;
    void setLatencySamples(int samples) { latency_ = samples; }
    int getLatencySamples() const { return latency_; }

private:
    int latency_ = -1;
};

} // namespace juce

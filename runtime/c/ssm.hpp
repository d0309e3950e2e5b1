/* ssm.hpp - ssm.h for C++17: one object owns one open model and its memory.

   SPDX-License-Identifier: 0BSD (free for any use, no conditions; the text is in ssm_kernels.h)

       ssm::Model model;
       if (model.open(bytes, n) != SSM_OK) fail();      // allocates; everything after does not
       model.process(in, out, frames);                  // planar: in[channel][frame]

   The file's bytes are copied. Every function returns SSM_OK or a negative error of ssm.h.

   To change the model while audio runs, open a second Model on another thread and hand its address
   to the callback (std::atomic<ssm::Model *>, read once per block); destroy the first one when the
   callback has moved on. Compile ssm.c beside it. */

#ifndef SSM_HPP
#define SSM_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "ssm.h"

#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::nonblocking)
#define SSM_NONBLOCKING_METHOD [[clang::nonblocking]]
#endif
#endif
#ifndef SSM_NONBLOCKING_METHOD
#define SSM_NONBLOCKING_METHOD
#endif

namespace ssm {

class Model {
public:
    Model() noexcept = default;
    Model(Model &&other) noexcept { swap(other); }
    Model &operator=(Model &&other) noexcept
    {
        swap(other);
        return *this;
    }

    /* Check a file of n bytes, copy it and start from zero states. Allocates: never in a callback. On
       an error the model that was open before stays open. */
    int open(const void *bytes, std::size_t n) noexcept
    {
        Model next;
        if (bytes == nullptr)
            return SSM_E_NULL;
        next.bytes_ = room(n);
        if (next.bytes_ == nullptr)
            return SSM_E_MEMORY;
        std::memcpy(next.bytes_.get(), bytes, n);
        const std::size_t need = ssm_memory_bytes(next.bytes_.get(), n);
        next.memory_ = room(need);
        if (next.memory_ == nullptr)
            return SSM_E_MEMORY;
        const int error = ssm_open(&next.model_, next.bytes_.get(), n, next.memory_.get(), need);
        if (error != SSM_OK)
            return error;
        next.frames_.reset(new (std::nothrow)
                               float[std::size_t{SSM_BLOCK} * (next.inputs() + next.outputs())]);
        if (next.frames_ == nullptr)
            return SSM_E_MEMORY;
        swap(next);
        return SSM_OK;
    }

    bool is_open() const noexcept { return frames_ != nullptr; }
    std::uint32_t inputs() const noexcept SSM_NONBLOCKING_METHOD { return model_.inputs; }
    std::uint32_t outputs() const noexcept SSM_NONBLOCKING_METHOD { return model_.outputs; }
    std::uint32_t state_bytes() const noexcept SSM_NONBLOCKING_METHOD { return model_.state_bytes; }
    double period_s() const noexcept SSM_NONBLOCKING_METHOD { return model_.period_s; }

    /* The C handle, for ssm_check(), ssm_signal() and the like. */
    const ssm_t *handle() const noexcept { return &model_; }

    /* All states zero: the next frame starts a new sequence. */
    int reset() noexcept SSM_NONBLOCKING_METHOD { return ssm_reset(&model_); }

    /* One frame: in (inputs), out (outputs); in == out is allowed if the memory holds both. */
    int step(const float *in, float *out) noexcept SSM_NONBLOCKING_METHOD
    {
        return ssm_step(&model_, in, out);
    }

    /* Interleaved: in (frames, inputs), out (frames, outputs), one frame after the other. */
    int process(const float *in, float *out, std::uint32_t frames) noexcept SSM_NONBLOCKING_METHOD
    {
        return ssm_process(&model_, in, out, frames);
    }

    /* Planar, as audio hosts have it: in[input][frame], out[output][frame], n >= 0 frames. Channels of
       in and out may share memory. */
    int process(const float *const *in, float *const *out, int n) noexcept SSM_NONBLOCKING_METHOD
    {
        if (!is_open())
            return SSM_E_INIT;
        if (n <= 0)
            return SSM_OK;
        if (!usable(in, inputs()) || !usable(out, outputs()))
            return SSM_E_NULL;
        const std::size_t frames = static_cast<std::size_t>(n);
        for (std::size_t i = 0; i < inputs(); i++)
            if (!finite(in[i], frames))
                return SSM_E_NONFINITE;
        float *const a = frames_.get(), *const b = a + std::size_t{SSM_BLOCK} * inputs();
        for (std::size_t done = 0; done < frames; done += SSM_BLOCK) {
            const std::size_t T = frames - done < SSM_BLOCK ? frames - done : SSM_BLOCK;
            for (std::size_t t = 0; t < T; t++)
                for (std::size_t i = 0; i < inputs(); i++)
                    a[t * inputs() + i] = in[i][done + t];
            const int error = ssm_process(&model_, a, b, static_cast<std::uint32_t>(T));
            if (error != SSM_OK)
                return error;
            for (std::size_t t = 0; t < T; t++)
                for (std::size_t i = 0; i < outputs(); i++)
                    out[i][done + t] = b[t * outputs() + i];
        }
        return SSM_OK;
    }

    /* The states as state_bytes() bytes; load() refuses those of another model and then changes
       nothing. */
    int save(void *blob, std::size_t bytes) const noexcept SSM_NONBLOCKING_METHOD
    {
        return ssm_state_get(&model_, blob, bytes);
    }

    int load(const void *blob, std::size_t bytes) noexcept SSM_NONBLOCKING_METHOD
    {
        return ssm_state_set(&model_, blob, bytes);
    }

    void swap(Model &other) noexcept
    {
        std::swap(model_, other.model_);
        bytes_.swap(other.bytes_);
        memory_.swap(other.memory_);
        frames_.swap(other.frames_);
    }

private:
    struct Free {
        void operator()(unsigned char *p) const noexcept
        {
            ::operator delete(p, std::align_val_t{64});
        }
    };
    using Bytes = std::unique_ptr<unsigned char, Free>;

    /* n bytes that start where the widest vector register likes it. */
    static Bytes room(std::size_t n) noexcept
    {
        void *const p = ::operator new(n > 0 ? n : 1, std::align_val_t{64}, std::nothrow);
        return Bytes(static_cast<unsigned char *>(p));
    }

    template <typename T> static bool usable(T *const *channels, std::size_t n) noexcept
    {
        if (channels == nullptr)
            return false;
        for (std::size_t i = 0; i < n; i++)
            if (channels[i] == nullptr)
                return false;
        return true;
    }

    static bool finite(const float *x, std::size_t n) noexcept
    {
        for (std::size_t i = 0; i < n; i++) {
            std::uint32_t bits;
            std::memcpy(&bits, x + i, sizeof bits);
            if ((bits & 0x7f800000u) == 0x7f800000u)
                return false;
        }
        return true;
    }

    ssm_t model_ = {};
    Bytes bytes_, memory_;
    std::unique_ptr<float[]> frames_; /* a block of input frames, then one of output frames */
};

} // namespace ssm

#endif

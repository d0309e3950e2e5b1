// A model in ExecuTorch: NAME.step.pte, .stream.pte, .sequence.pte or .portable.pte, in any precision.
// SPDX-License-Identifier: 0BSD
//
//     ssmith::Program model("policy.step.pte");        // one thread; throws ssmith::ProgramError
//     std::vector<float> in(model.inputs()), out(model.outputs());
//     model.step(in.data(), out.data());               // one frame, the states go on
//     std::vector<float> saved = model.state_get();    // all states, in the order of the description
//     model.reset();                                   // the next frame is the first of a stream
//     model.state_set(saved);
//
// One object is one stream. Any thread may use it, two threads never at the same time. Nothing here allocates
// in step(), process() and reset(); what ExecuTorch allocates there is its own affair.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/extension/threadpool/threadpool_guard.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include "ssmith_description.hpp"
#include "ssmith_seal.hpp"

namespace ssmith {

// The file is no program of ssmith, is damaged, or ExecuTorch cannot run it here.
struct ProgramError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// `one`: the caller's alone. `pool`: ExecuTorch's pool, which has a thread for every core. A step of a small
// model is over before other threads have woken up, so the pool is for large models only.
enum class Threads { one, pool };

class Program {
public:
    // Reads the whole file, checks its seal, and loads both methods.
    explicit Program(const std::string &path, Threads threads = Threads::one);
    Program(const Program &) = delete;
    Program &operator=(const Program &) = delete;

    const Description &description() const { return what; }
    std::size_t inputs() const { return what.inputs.size(); }
    std::size_t outputs() const { return what.outputs.size(); }
    std::size_t max_frames() const { return what.max_frames; }

    // One frame: in (U) → out (Y). Values must be finite: a NaN stays in the states until reset().
    void step(const float *in, float *out) { process(in, out, 1); }

    // Frames in order: in (T, U) → out (T, Y), any T; the same numbers as T steps but for rounding.
    void process(const float *in, float *out, std::size_t frames);

    // Zero states, as in a program that was just loaded.
    void reset()
    {
        for (const Slot &slot : slots)
            std::fill_n(slot.data, slot.length, 0.0f);
    }

    // All states after one another. What one form of a model saved, any other form of it takes.
    std::vector<float> state_get() const
    {
        std::vector<float> saved;
        for (const Slot &slot : slots)
            saved.insert(saved.end(), slot.data, slot.data + slot.length);
        return saved;
    }

    void state_set(const std::vector<float> &saved)
    {
        std::size_t wanted = 0;
        for (const Slot &slot : slots)
            wanted += slot.length;
        if (saved.size() != wanted)
            throw ProgramError("a state of " + what.name + " has " + std::to_string(wanted) +
                               " numbers, not " + std::to_string(saved.size()));
        const float *from = saved.data();
        for (const Slot &slot : slots) {
            std::copy_n(from, slot.length, slot.data);
            from += slot.length;
        }
    }

private:
    using Guard = executorch::extension::threadpool::NoThreadPoolGuard;
    using Error = executorch::runtime::Error;
    struct alignas(64) Line { // what segments of a program may ask for, and more
        unsigned char bytes[64];
    };
    // A method with the memory it was planned for.
    struct Loaded {
        std::vector<std::vector<Line>> memory;
        std::vector<executorch::runtime::Span<std::uint8_t>> spans;
        std::optional<executorch::runtime::HierarchicalAllocator> planned;
        executorch::extension::MallocMemoryAllocator own, temporary;
        std::optional<executorch::runtime::MemoryManager> manager;
        std::optional<executorch::runtime::Method> method;
    };
    struct Slot { // where a state is before a call, and where the call leaves it
        float *data;
        std::size_t length;
        const float *after; // nullptr: in `data`
    };

    std::string path;
    bool pool;
    std::vector<Line> file;
    std::optional<executorch::extension::BufferDataLoader> loader;
    std::optional<executorch::runtime::Program> program;
    Description what;
    Loaded forward;
    std::vector<executorch::extension::TensorPtr> given, made;
    std::vector<Slot> slots;
    std::size_t block = 1; // frames that the first input has room for now

    [[noreturn]] void refuse(const std::string &why) const { throw ProgramError(path + ": " + why); }

    void require(Error error, const char *doing) const
    {
        if (error != Error::Ok)
            refuse(std::string("ExecuTorch failed ") + doing + ": " +
                   executorch::runtime::to_string(error));
    }

    void read();
    void load(const char *name, Loaded &into);
    void describe();
    void bind();
    executorch::runtime::TensorInfo
    checked(executorch::runtime::Result<executorch::runtime::TensorInfo> info, std::size_t length) const;
    void call(const float *in, float *out, std::size_t frames);
    void resize(std::size_t frames);
};

inline Program::Program(const std::string &path, Threads threads) : path(path), pool(threads == Threads::pool)
{
    std::optional<Guard> alone; // XNNPACK asks for the pool when it loads a program, not later
    if (!pool)
        alone.emplace();
    executorch::runtime::runtime_init();
    read();
    describe();
    load("forward", forward);
    bind();
}

inline void Program::read()
{
    std::error_code why;
    const auto bytes = static_cast<std::size_t>(std::filesystem::file_size(path, why));
    if (why)
        refuse("cannot be read: " + why.message());
    file.resize(bytes / sizeof(Line) + 1);
    auto *const data = reinterpret_cast<unsigned char *>(file.data());
    std::ifstream stream(path, std::ios::binary);
    if (!stream.read(reinterpret_cast<char *>(data), static_cast<std::streamsize>(bytes)))
        refuse("cannot be read");
    if (!seal_holds(data, bytes))
        refuse("is damaged (its checksum does not hold); copy or export it again");
    loader.emplace(data, bytes);
    using executorch::runtime::Program;
    auto opened = Program::load(&*loader, Program::Verification::InternalConsistency);
    if (!opened.ok())
        refuse("is no ExecuTorch program, or was cut short; name a .pte file that `ssmith export` wrote"
               " (a .bpte is for ExecuTorch's own test runner)");
    program.emplace(std::move(*opened));
}

inline void Program::load(const char *name, Loaded &into)
{
    const auto meta = program->method_meta(name);
    require(meta.error(), "to find a method");
    for (std::size_t i = 0; i < meta->num_memory_planned_buffers(); i++) {
        const auto bytes = static_cast<std::size_t>(*meta->memory_planned_buffer_size(i));
        into.memory.emplace_back(bytes / sizeof(Line) + 1);
        into.spans.emplace_back(reinterpret_cast<std::uint8_t *>(into.memory.back().data()), bytes);
    }
    into.planned.emplace(executorch::runtime::Span(into.spans.data(), into.spans.size()));
    into.manager.emplace(&into.own, &*into.planned, &into.temporary);
    auto method = program->load_method(name, &*into.manager);
    require(method.error(), "to load a method (is every backend and kernel linked in?)");
    into.method.emplace(std::move(*method));
}

inline void Program::describe()
{
    if (!program->method_meta("ssmith").ok())
        refuse("has no method `ssmith`: it is a program, but not one that `ssmith export` wrote");
    Loaded method;
    load("ssmith", method);
    require(method.method->execute(), "to run the method `ssmith`");
    if (method.method->outputs_size() != 1 || !method.method->get_output(0).isString())
        refuse("has a method `ssmith`, but it returns no text: not one that `ssmith export` wrote");
    try {
        const auto text = method.method->get_output(0).toString();
        what = Description::of(std::string(text.data(), text.size()));
    } catch (const std::exception &error) {
        refuse(std::string("has a method `ssmith`, but not that of `ssmith export`: ") + error.what());
    }
}

// Gives every input, and every output that is not in the program's plan, memory of its own, once.
inline void Program::bind()
{
    using executorch::extension::zeros;
    constexpr auto resizable = executorch::aten::TensorShapeDynamism::DYNAMIC_BOUND;
    executorch::runtime::Method &method = *forward.method;
    const auto meta = method.method_meta();
    const bool stream = what.form == "stream";
    const std::size_t fed = stream ? 0 : what.states.size();
    if (meta.num_inputs() != 1 + fed || meta.num_outputs() != 1 + fed)
        refuse("`forward` and the description do not belong together");
    for (std::size_t i = 0; i <= fed; i++) {
        const std::size_t length = i > 0 ? what.states[i - 1].length : what.max_frames * inputs();
        const auto sizes = checked(meta.input_tensor_meta(i), length).sizes();
        given.push_back(zeros({sizes.begin(), sizes.end()}, executorch::aten::ScalarType::Float, resizable));
        require(method.set_input(*given[i], i), "to take an input");
    }
    for (std::size_t i = 0; i <= fed; i++) {
        const std::size_t length = i > 0 ? what.states[i - 1].length : what.max_frames * outputs();
        const auto info = checked(meta.output_tensor_meta(i), length);
        if (info.is_memory_planned())
            continue;
        made.push_back(zeros({info.sizes().begin(), info.sizes().end()}));
        require(method.set_output_data_ptr(made.back()->mutable_data_ptr(), made.back()->nbytes(), i),
                "to take memory for an output");
    }
    for (std::size_t i = 0; i < what.states.size(); i++) {
        const auto &[name, length] = what.states[i];
        if (stream) {
            auto tensor = method.get_attribute(name);
            require(tensor.error(), "to find a state");
            if (static_cast<std::size_t>(tensor->numel()) != length)
                refuse("state " + name + " has another length than the description says");
            slots.push_back({tensor->mutable_data_ptr<float>(), length, nullptr});
        } else {
            const auto &after = method.get_output(i + 1).toTensor();
            slots.push_back({given[i + 1]->mutable_data_ptr<float>(), length, after.const_data_ptr<float>()});
        }
    }
    block = what.max_frames;
    reset();
}

// The description of an input or output, if it is `length` numbers of type float32.
inline executorch::runtime::TensorInfo
Program::checked(executorch::runtime::Result<executorch::runtime::TensorInfo> info, std::size_t length) const
{
    require(info.error(), "to describe `forward`");
    if (info->scalar_type() != executorch::aten::ScalarType::Float || info->nbytes() != 4 * length)
        refuse("an input or output of `forward` is not what the description says");
    return *info;
}

inline void Program::process(const float *in, float *out, std::size_t frames)
{
    std::optional<Guard> alone;
    if (!pool)
        alone.emplace();
    while (frames > 0) {
        const std::size_t now = std::min(frames, what.max_frames);
        call(in, out, now);
        in += now * inputs(), out += now * outputs(), frames -= now;
    }
}

inline void Program::call(const float *in, float *out, std::size_t frames)
{
    if (frames != block)
        resize(frames);
    std::copy_n(in, frames * inputs(), given[0]->mutable_data_ptr<float>());
    require(forward.method->execute(), "in a step");
    std::copy_n(forward.method->get_output(0).toTensor().const_data_ptr<float>(), frames * outputs(), out);
    for (const Slot &slot : slots)
        if (slot.after != nullptr)
            std::copy_n(slot.after, slot.length, slot.data);
}

// The next call of a sequence program has another number of frames.
inline void Program::resize(std::size_t frames)
{
    const executorch::aten::SizesType sizes[] = {1, static_cast<executorch::aten::SizesType>(frames),
                                                 static_cast<executorch::aten::SizesType>(inputs())};
    require(executorch::runtime::resize_tensor(*given[0], {sizes, 3}), "to resize a block");
    require(forward.method->set_input(*given[0], 0), "to take a block");
    block = frames;
}

} // namespace ssmith

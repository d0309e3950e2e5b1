/* SPDX-License-Identifier: 0BSD
 * The C++ wrapper of an int8 model: the bits of its C functions, planar and interleaved, in codes and
 * in real values. Exit code: 0, or the line of the first surprise.
 *
 *     c++ -std=c++17 wrapper_int8.cpp net_int8.o
 */
#include "net_int8.hpp"

#include <vector>

#define PROMISE(x) \
    do { \
        if (!(x)) return __LINE__ % 256; \
    } while (0)

using net_int8::Model;

constexpr int frames = 11;
constexpr std::size_t U = Model::inputs, Y = Model::outputs;

/* in[channel][frame] from interleaved values */
template <typename T> static std::vector<std::vector<T>> planes(const std::vector<T> &values, std::size_t n)
{
    std::vector<std::vector<T>> found(n, std::vector<T>(frames));
    for (std::size_t t = 0; t < frames; t++)
        for (std::size_t i = 0; i < n; i++)
            found[i][t] = values[t * n + i];
    return found;
}

template <typename T> static std::vector<T *> pointers(std::vector<std::vector<T>> &channels)
{
    std::vector<T *> found;
    for (auto &channel : channels)
        found.push_back(channel.data());
    return found;
}

int main()
{
    std::vector<std::int16_t> codes(frames * U);
    std::vector<float> real(frames * U);
    for (std::size_t i = 0; i < codes.size(); i++) {
        codes[i] = static_cast<std::int16_t>(static_cast<int>(i * 2654435761u >> 17) % 65535 - 32767);
        real[i] = static_cast<float>(codes[i]) * net_int8_meta.input_scale[i % U];
    }
    static Model a, b;
    std::vector<std::int32_t> out(frames * Y);
    PROMISE(a.process_codes(codes.data(), out.data(), frames) == NET_INT8_OK);

    /* a code times its scale is that code again, and an output is its integer times the scale */
    std::vector<float> values(frames * Y);
    PROMISE(b.process(real.data(), values.data(), frames) == NET_INT8_OK);
    for (std::size_t i = 0; i < values.size(); i++)
        PROMISE(values[i] == static_cast<float>(out[i]) * net_int8_meta.output_scale[i % Y]);
    Model::State kept, other;
    PROMISE(a.save(kept) == NET_INT8_OK && b.save(other) == NET_INT8_OK);
    PROMISE(kept == other);

    /* planar, in pieces, from a fresh state */
    auto in_planes = planes(codes, U);
    std::vector<std::vector<std::int32_t>> out_planes(Y, std::vector<std::int32_t>(frames));
    const auto in = pointers(in_planes);
    auto target = pointers(out_planes);
    PROMISE(a.reset() == NET_INT8_OK);
    PROMISE(a.process_codes(in.data(), target.data(), 0) == NET_INT8_OK);
    PROMISE(a.process_codes(in.data(), target.data(), frames) == NET_INT8_OK);
    PROMISE(out_planes == planes(out, Y));

    /* a state continues where it was saved */
    std::vector<std::int32_t> next(Y), again(Y);
    PROMISE(a.step_codes(codes.data(), next.data()) == NET_INT8_OK);
    PROMISE(a.load(kept) == NET_INT8_OK);
    PROMISE(a.step_codes(codes.data(), again.data()) == NET_INT8_OK);
    PROMISE(next == again);
    kept[3] ^= 1;
    PROMISE(a.load(kept) == NET_INT8_E_STATE);
    return 0;
}

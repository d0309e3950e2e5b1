/* SPDX-License-Identifier: 0BSD
 * Checks what net.hpp and ssm.hpp promise, on the model net of three inputs and two outputs.
 *
 *     c++ -std=c++17 wrapper.cpp net.c ssm.c
 *     wrapper net.ssmc other.ssmc       (two models of the same shape)
 *
 * Exit code: 0, or the line of the first broken promise.
 */
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "net.hpp"
#include "ssm.hpp"

#define PROMISE(x) \
    do { \
        if (!(x)) { \
            std::fprintf(stderr, "line %d: %s\n", __LINE__, #x); \
            return __LINE__ % 255 + 1; \
        } \
    } while (0)

constexpr int T = 37; /* no multiple of a block */
constexpr std::size_t U = net::Model::inputs, Y = net::Model::outputs;
using Planar = std::vector<std::vector<float>>;

static_assert(std::is_nothrow_default_constructible_v<net::Model>);
static_assert(std::is_nothrow_move_constructible_v<ssm::Model>);
static_assert(!std::is_copy_constructible_v<ssm::Model>);

static std::vector<const float *> readable(const Planar &channels)
{
    std::vector<const float *> pointers;
    for (const auto &channel : channels)
        pointers.push_back(channel.data());
    return pointers;
}

static std::vector<float *> writable(Planar &channels)
{
    std::vector<float *> pointers;
    for (auto &channel : channels)
        pointers.push_back(channel.data());
    return pointers;
}

static std::vector<unsigned char> file(const char *path)
{
    std::vector<unsigned char> bytes;
    if (std::FILE *stream = std::fopen(path, "rb")) {
        for (int c = std::fgetc(stream); c != EOF; c = std::fgetc(stream))
            bytes.push_back(static_cast<unsigned char>(c));
        std::fclose(stream);
    }
    return bytes;
}

struct Frames {
    Planar planar = Planar(U, std::vector<float>(T));
    std::vector<float> interleaved = std::vector<float>(U * T), expected = std::vector<float>(Y * T);

    Frames()
    {
        for (std::size_t t = 0; t < T; t++)
            for (std::size_t i = 0; i < U; i++)
                interleaved[t * U + i] = planar[i][t] = std::sin(static_cast<float>(1 + 5 * t + 3 * i));
    }
};

/* Either wrapper, fresh: planar equals interleaved equals steps, in pieces and in place. */
template <typename Model> static int streams(Model &model, Frames &frames)
{
    const float nan = std::numeric_limits<float>::quiet_NaN();
    float y[Y], before[Y], after[Y];
    PROMISE(model.process(frames.interleaved.data(), frames.expected.data(), T) == 0);
    PROMISE(model.reset() == 0);
    for (std::size_t t = 0; t < T; t++) {
        PROMISE(model.step(&frames.interleaved[t * U], y) == 0);
        PROMISE(std::memcmp(y, &frames.expected[t * Y], sizeof y) == 0);
    }
    for (int cut : {0, 1, 4, 5, 36, 37}) {
        Planar out(Y, std::vector<float>(T));
        auto a = readable(frames.planar);
        auto b = writable(out);
        PROMISE(model.reset() == 0);
        PROMISE(model.process(a.data(), b.data(), cut) == 0);
        for (auto &pointer : a)
            pointer += cut;
        for (auto &pointer : b)
            pointer += cut;
        PROMISE(model.process(a.data(), b.data(), T - cut) == 0);
        for (std::size_t t = 0; t < T; t++)
            for (std::size_t i = 0; i < Y; i++)
                PROMISE(out[i][t] == frames.expected[t * Y + i]);
    }
    Planar place = frames.planar; /* outputs over the first inputs' memory */
    PROMISE(model.reset() == 0);
    PROMISE(model.process(readable(place).data(), writable(place).data(), T) == 0);
    for (std::size_t t = 0; t < T; t++)
        for (std::size_t i = 0; i < Y; i++)
            PROMISE(place[i][t] == frames.expected[t * Y + i]);

    PROMISE(model.process(static_cast<const float *const *>(nullptr), nullptr, 0) == 0);
    PROMISE(model.process(static_cast<const float *const *>(nullptr), nullptr, 1) == -1);
    PROMISE(model.process(readable(frames.planar).data(), writable(place).data(), -3) == 0);

    Planar bad = frames.planar; /* the last frame of the last channel: no frame is computed */
    bad[U - 1][T - 1] = nan;
    PROMISE(model.reset() == 0);
    PROMISE(model.step(frames.interleaved.data(), before) == 0);
    PROMISE(model.reset() == 0);
    PROMISE(model.process(readable(bad).data(), writable(place).data(), T) == -5);
    PROMISE(model.step(frames.interleaved.data(), after) == 0);
    PROMISE(std::memcmp(before, after, sizeof after) == 0);
    return 0;
}

static int generated(Frames &frames)
{
    auto model = std::make_unique<net::Model>();
    const int error = streams(*model, frames);
    if (error != 0)
        return error;
    net::Model::State state;
    float y[Y], again[Y];
    PROMISE(model->save(state) == NET_OK);
    PROMISE(model->step(frames.interleaved.data(), y) == NET_OK);
    PROMISE(model->load(state) == NET_OK);
    net::Model copy = *model; /* a second stream that goes on from here */
    PROMISE(model->step(frames.interleaved.data(), again) == NET_OK);
    PROMISE(std::memcmp(y, again, sizeof y) == 0);
    PROMISE(copy.step(frames.interleaved.data(), again) == NET_OK);
    PROMISE(std::memcmp(y, again, sizeof y) == 0);
    state[8] ^= 1;
    PROMISE(model->load(state) == NET_E_STATE);
    return 0;
}

static int loadable(Frames &frames, const std::vector<unsigned char> &first,
                    const std::vector<unsigned char> &second)
{
    ssm::Model model, other;
    float y[Y], expected[Y];
    PROMISE(!model.is_open() && model.reset() == SSM_E_INIT && model.step(y, y) == SSM_E_INIT);
    PROMISE(model.process(readable(frames.planar).data(), nullptr, 0) == SSM_E_INIT);
    PROMISE(model.open(nullptr, 0) == SSM_E_NULL);
    PROMISE(model.open(first.data(), first.size()) == SSM_OK);
    PROMISE(model.inputs() == U && model.outputs() == Y && model.period_s() == net_meta.period_s);
    const std::vector<float> generated = frames.expected;
    const int error = streams(model, frames);
    if (error != 0)
        return error;
    PROMISE(frames.expected == generated); /* both forms, the same bits */

    /* a saved state moves between the forms, not between models */
    std::vector<unsigned char> state(model.state_bytes());
    auto twin = std::make_unique<net::Model>();
    net::Model::State saved;
    PROMISE(state.size() == saved.size());
    PROMISE(model.save(state.data(), state.size()) == SSM_OK);
    PROMISE(model.step(frames.interleaved.data(), expected) == SSM_OK);
    std::memcpy(saved.data(), state.data(), saved.size());
    PROMISE(twin->load(saved) == NET_OK);
    PROMISE(twin->step(frames.interleaved.data(), y) == NET_OK);
    PROMISE(std::memcmp(y, expected, sizeof y) == 0);
    PROMISE(other.open(second.data(), second.size()) == SSM_OK);
    PROMISE(other.load(state.data(), state.size()) == SSM_E_STATE);

    /* a file that is refused leaves the open model as it was */
    PROMISE(model.load(state.data(), state.size()) == SSM_OK);
    PROMISE(model.open(first.data(), first.size() - 1) != SSM_OK);
    PROMISE(model.step(frames.interleaved.data(), y) == SSM_OK);
    PROMISE(std::memcmp(y, expected, sizeof y) == 0);

    const char *names[U];
    ssm_signal_t signal;
    for (std::uint32_t i = 0; i < U; i++) {
        PROMISE(ssm_signal(model.handle(), i, &signal) == SSM_OK);
        PROMISE(std::strcmp(signal.name, net_meta.inputs[i].name) == 0);
        PROMISE(std::strcmp(signal.unit, net_meta.inputs[i].unit) == 0);
        names[i] = signal.name;
    }
    PROMISE(ssm_check(model.handle(), names, U, model.period_s()) == SSM_OK);
    PROMISE(ssm_check(model.handle(), names, U, model.period_s() * 1.00001) == SSM_E_PERIOD);
    PROMISE(ssm_check(model.handle(), names, U - 1, 0.0) == SSM_E_NAMES);
    names[0] = "unknown";
    PROMISE(ssm_check(model.handle(), names, U, 0.0) == SSM_E_NAMES);
    return 0;
}

/* The model changes while a thread streams: every block is the one model's or the other's. */
static int swapped(const Frames &frames, const std::vector<unsigned char> &first,
                   const std::vector<unsigned char> &second)
{
    ssm::Model models[2];
    std::vector<float> expected[2];
    std::atomic<ssm::Model *> current{&models[0]};
    std::atomic<int> blocks[2] = {{0}, {0}}, wrong{0};
    std::atomic<bool> done{false};
    PROMISE(models[0].open(first.data(), first.size()) == SSM_OK);
    for (const auto *bytes : {&first, &second}) {
        ssm::Model model;
        std::vector<float> out(Y * T);
        PROMISE(model.open(bytes->data(), bytes->size()) == SSM_OK);
        PROMISE(model.process(frames.interleaved.data(), out.data(), T) == SSM_OK);
        expected[bytes == &second] = out;
    }
    PROMISE(expected[0] != expected[1]);
    std::thread audio([&] {
        std::vector<float> out(Y * T);
        while (!done.load()) {
            ssm::Model *const model = current.load(std::memory_order_acquire);
            const int which = model == &models[1];
            if (model->reset() != SSM_OK ||
                model->process(frames.interleaved.data(), out.data(), T) != SSM_OK ||
                out != expected[which])
                wrong++;
            blocks[which]++;
        }
    });
    while (blocks[0].load() == 0)
        std::this_thread::yield();
    const int error = models[1].open(second.data(), second.size()); /* while the other one runs */
    current.store(&models[1], std::memory_order_release);
    while (error == SSM_OK && blocks[1].load() == 0)
        std::this_thread::yield();
    done = true;
    audio.join();
    PROMISE(error == SSM_OK && wrong.load() == 0);
    return 0;
}

int main(int argc, char **argv)
{
    PROMISE(argc == 3);
    const auto first = file(argv[1]), second = file(argv[2]);
    Frames frames;
    int error = generated(frames);
    if (error == 0)
        error = loadable(frames, first, second);
    return error == 0 ? swapped(frames, first, second) : error;
}

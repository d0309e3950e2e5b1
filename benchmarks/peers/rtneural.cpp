// One RTNeural network behind the function that the benchmark times; -DNETWORK picks it, RTNeural's own
// RTNEURAL_USE_EIGEN=1 or RTNEURAL_USE_STL=1 the back-end. RTNeural is the user's: nothing of it is here.

#include <RTNeural/RTNeural.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

using namespace RTNeural;

#define GRU64X4 1
#define GRU16 2
#define LSTM8 3

#if NETWORK == GRU64X4
using Network = ModelT<float, 40, 12, GRULayerT<float, 40, 64>, GRULayerT<float, 64, 64>,
                       GRULayerT<float, 64, 64>, GRULayerT<float, 64, 64>, DenseT<float, 64, 12>>;
#elif NETWORK == GRU16
using Network = ModelT<float, 1, 1, GRULayerT<float, 1, 16>, DenseT<float, 16, 1>>;
#elif NETWORK == LSTM8
using Network = ModelT<float, 1, 1, LSTMLayerT<float, 1, 8>, DenseT<float, 8, 1>>;
#endif

namespace {

// Uniform in +-1/sqrt(columns), as recurrent layers are usually begun with: gates neither saturate nor die.
class Weights {
public:
    std::vector<std::vector<float>> matrix(int rows, int columns, int fan_in)
    {
        std::vector<std::vector<float>> values(static_cast<size_t>(rows));
        for (auto &row : values)
            row = vector(columns, fan_in);
        return values;
    }

    std::vector<float> vector(int n, int fan_in)
    {
        std::vector<float> values(static_cast<size_t>(n));
        for (float &value : values) {
            state = state * 1664525u + 1013904223u;
            value = (static_cast<float>(state >> 8) / 8388608.0f - 1.0f) / std::sqrt(static_cast<float>(fan_in));
        }
        return values;
    }

private:
    uint32_t state = 1;
};

template <int U, int N>
void fill(GRULayerT<float, U, N> &layer, Weights &weights)
{
    layer.setWVals(weights.matrix(U, 3 * N, N));
    layer.setUVals(weights.matrix(N, 3 * N, N));
    layer.setBVals(weights.matrix(2, 3 * N, N));
}

template <int U, int N>
void fill(LSTMLayerT<float, U, N> &layer, Weights &weights)
{
    layer.setWVals(weights.matrix(U, 4 * N, N));
    layer.setUVals(weights.matrix(N, 4 * N, N));
    layer.setBVals(weights.vector(4 * N, N));
}

template <int U, int N>
void fill(DenseT<float, U, N> &layer, Weights &weights)
{
    layer.setWeights(weights.matrix(N, U, U));
    layer.setBias(weights.vector(N, U).data());
}

std::unique_ptr<Network> made()
{
    auto network = std::make_unique<Network>();
    Weights weights;
    fill(network->get<0>(), weights);
    fill(network->get<1>(), weights);
#if NETWORK == GRU64X4
    fill(network->get<2>(), weights);
    fill(network->get<3>(), weights);
    fill(network->get<4>(), weights);
#endif
    network->reset();
    return network;
}

const std::unique_ptr<Network> network = made();

} // namespace

extern "C" int step(const float *in, float *out)
{
    alignas(64) float frame[Network::input_size]; // RTNeural reads aligned vectors
    std::memcpy(frame, in, sizeof frame);
    network->forward(frame);
    std::memcpy(out, network->getOutputs(), Network::output_size * sizeof *out);
    return 0;
}

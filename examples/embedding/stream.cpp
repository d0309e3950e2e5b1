// The C++ wrapper: one object is one stream; copies continue from the same state.
// SPDX-License-Identifier: 0BSD

#include <array>
#include <cstdio>

#include "policy.hpp"

int main()
{
    policy::Model model;
    policy::Model::State checkpoint;
    std::array<float, policy::Model::inputs> in{};
    std::array<float, policy::Model::outputs> out{}, again{};

    for (int k = 0; k < 100; k++) {
        in.fill(0.01f * static_cast<float>(k));
        if (k == 99)
            model.save(checkpoint); // bytes, to be kept in a file or sent elsewhere
        if (model.step(in.data(), out.data()) != POLICY_OK)
            return 1;
    }

    policy::Model other;
    if (other.load(checkpoint) != POLICY_OK) // refused if it were another model's
        return 1;
    other.step(in.data(), again.data());
    std::printf("%.9g %.9g\n", static_cast<double>(out[0]), static_cast<double>(again[0]));
    return out == again ? 0 : 1;
}

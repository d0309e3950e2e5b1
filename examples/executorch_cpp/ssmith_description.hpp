// What a program says about its model: the JSON that its method `ssmith` returns.
// SPDX-License-Identifier: 0BSD

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "ssmith_json.hpp"

namespace ssmith {

struct Description {
    struct Signal {
        std::string name, unit;
    };
    struct State {
        std::string name;
        std::size_t length;
    };

    std::string json; // all of it
    std::string name, form, backend, precision, bundle_sha256;
    std::vector<Signal> inputs, outputs;
    std::vector<State> states;
    double period_s = 0;        // between frames; 0: the model has no rate
    std::size_t max_frames = 1; // that one call of the program takes

    // Throws an exception where the text is not JSON or lacks a part.
    static Description of(const std::string &json)
    {
        const Json root = JsonReader(json).read();
        Description d;
        d.json = json;
        d.name = root["name"].text;
        d.form = root["form"].text;
        d.backend = root["backend"].text;
        d.precision = root["precision"].text;
        d.bundle_sha256 = root["bundle_sha256"].text;
        for (const auto &[_, signal] : root["inputs"].members)
            d.inputs.push_back({signal["name"].text, signal["unit"].text});
        for (const auto &[_, signal] : root["outputs"].members)
            d.outputs.push_back({signal["name"].text, signal["unit"].text});
        for (const auto &[_, state] : root["states"].members)
            d.states.push_back({state.members.at(0).second.text,
                                static_cast<std::size_t>(state.members.at(1).second.number())});
        d.period_s = root["period_s"].number();
        if (root.has("max_frames"))
            d.max_frames = static_cast<std::size_t>(root["max_frames"].number());
        return d;
    }
};

} // namespace ssmith

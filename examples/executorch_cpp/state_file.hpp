// States in a file: the model's digest, 64 characters, then float32. The digest refuses another model's.
// SPDX-License-Identifier: 0BSD

#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "frames.hpp"
#include "ssmith_program.hpp"

inline void load_state(ssmith::Program &model, const std::string &path)
{
    const std::string &digest = model.description().bundle_sha256;
    std::vector<float> state(model.state_get().size());
    std::string bytes(digest.size() + state.size() * sizeof(float) + 1, '\0');
    std::ifstream stream(path, std::ios::binary);
    if (!stream)
        throw InputError(path + ": cannot be read");
    stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const auto got = static_cast<std::size_t>(stream.gcount()) + 1; // one more was asked for
    if (got != bytes.size() || bytes.compare(0, digest.size(), digest) != 0)
        throw InputError(path + ": is no state of " + model.description().name + " as it is in this program");
    std::memcpy(state.data(), bytes.data() + digest.size(), state.size() * sizeof(float));
    for (const float value : state)
        if (!std::isfinite(value))
            throw InputError(path + ": a state is not a finite number");
    model.state_set(state);
}

inline void save_state(const ssmith::Program &model, const std::string &path)
{
    const std::vector<float> state = model.state_get();
    const std::string part = path + ".tmp"; // renamed at the end, so that a state is whole or not there
    {
        std::ofstream stream(part, std::ios::binary);
        stream << model.description().bundle_sha256;
        stream.write(reinterpret_cast<const char *>(state.data()),
                     static_cast<std::streamsize>(state.size() * sizeof(float)));
        if (!stream.flush())
            throw InputError(part + ": cannot be written");
    }
    if (std::rename(part.c_str(), path.c_str()) != 0)
        throw InputError(path + ": cannot be written");
}

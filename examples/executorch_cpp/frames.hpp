// Frames from a file or a pipe: CSV, or float32 as they lie in memory. SPDX-License-Identifier: 0BSD

#pragma once

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "ssmith_description.hpp"

// A value, a line or a file that cannot be used.
struct InputError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Frames {
public:
    using Signals = std::vector<ssmith::Description::Signal>;
    enum class Item { frame, gap, end }; // gap: an empty line of CSV, which ends a stream

    // `path` - is the standard input. A first line of CSV may name the signals.
    Frames(const std::string &path, bool raw, const Signals &signals)
        : name(path == "-" ? "standard input" : path), raw(raw), signals(signals),
          file(path == "-" ? stdin : std::fopen(path.c_str(), "rb"))
    {
        if (file == nullptr)
            throw InputError(name + ": " + std::strerror(errno));
    }
    ~Frames()
    {
        if (file != stdin)
            std::fclose(file);
    }
    Frames(const Frames &) = delete;
    Frames &operator=(const Frames &) = delete;

    // Puts one frame at the end of `block`.
    Item next(std::vector<float> &block) { return raw ? next_raw(block) : next_line(block); }

private:
    std::string name;
    bool raw;
    const Signals &signals;
    std::FILE *file;
    std::size_t count = 0; // lines or frames so far
    std::string line;

    [[noreturn]] void refuse(const std::string &why) const
    {
        throw InputError(name + (raw ? ", frame " : ", line ") + std::to_string(count) + ": " + why);
    }

    std::string names() const
    {
        std::string text;
        for (const auto &signal : signals)
            text += (text.empty() ? "" : ",") + signal.name;
        return text;
    }

    void keep(std::vector<float> &block, float value) const
    {
        if (!std::isfinite(value))
            refuse("a value is not a finite number, and would stay in the states for good");
        block.push_back(value);
    }

    Item next_raw(std::vector<float> &block)
    {
        std::vector<float> &values = buffer;
        values.resize(signals.size());
        const std::size_t bytes = std::fread(values.data(), 1, values.size() * sizeof(float), file);
        if (bytes == 0)
            return Item::end;
        count++;
        if (bytes != values.size() * sizeof(float))
            refuse("ends after " + std::to_string(bytes) + " bytes; a frame is " +
                   std::to_string(signals.size()) + " float32");
        for (const float value : values)
            keep(block, value);
        return Item::frame;
    }

    Item next_line(std::vector<float> &block)
    {
        if (!get_line())
            return Item::end;
        if (line.empty())
            return Item::gap;
        if (count == 1 && line == names())
            return next_line(block);
        const char *at = line.c_str();
        char *end = nullptr;
        std::size_t columns = 0;
        for (;; at = end + 1) {
            const float value = std::strtof(at, &end);
            if (end == at || (*end != ',' && *end != '\0'))
                refuse("column " + std::to_string(columns + 1) + " is no number" +
                       (count == 1 ? ", and the line is not the names of the inputs: " + names() : ""));
            keep(block, value);
            columns++;
            if (*end == '\0')
                break;
        }
        if (columns != signals.size())
            refuse(std::to_string(columns) + " columns, but the model takes " +
                   std::to_string(signals.size()) + ": " + names());
        return Item::frame;
    }

    // Without its end of line; false at the end of the file.
    bool get_line()
    {
        line.clear();
        int c = std::getc(file);
        if (c == EOF)
            return false;
        count++;
        for (; c != EOF && c != '\n'; c = std::getc(file))
            line += static_cast<char>(c);
        while (!line.empty() && (line.back() == '\r' || line.back() == ' '))
            line.pop_back();
        return true;
    }

    std::vector<float> buffer;
};

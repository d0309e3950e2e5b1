// As much of JSON as the description of a program wants: read only, small documents.
// SPDX-License-Identifier: 0BSD

#pragma once

#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ssmith {

// A JSON value that is read only. `text` is a string's, or a number or word as it is written.
struct Json {
    std::string text;
    std::vector<std::pair<std::string, Json>> members; // of an object; of an array without names

    // The member called `name`; throws std::runtime_error if there is none.
    const Json &operator[](const std::string &name) const
    {
        for (const auto &[key, value] : members)
            if (key == name)
                return value;
        throw std::runtime_error("the description has no \"" + name + "\"");
    }

    bool has(const std::string &name) const
    {
        for (const auto &[key, value] : members)
            if (key == name)
                return true;
        return false;
    }

    double number() const { return std::strtod(text.c_str(), nullptr); } // null: 0
};

class JsonReader {
public:
    explicit JsonReader(const std::string &document) : text(document) {}

    // The whole document; throws std::runtime_error where it is not JSON.
    Json read()
    {
        Json value = element(0);
        if (peek() != '\0')
            bad();
        return value;
    }

private:
    const std::string &text;
    std::size_t at = 0;

    [[noreturn]] void bad() const
    {
        throw std::runtime_error("the description is no JSON at character " + std::to_string(at));
    }

    char peek()
    {
        while (at < text.size() && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t'))
            at++;
        return at < text.size() ? text[at] : '\0';
    }

    bool skip(char wanted)
    {
        if (peek() != wanted)
            return false;
        at++;
        return true;
    }

    Json element(int depth)
    {
        Json value;
        if (depth > 32)
            bad();
        if (skip('"')) {
            value.text = string();
        } else if (skip('{')) {
            list(value, '}', true, depth);
        } else if (skip('[')) {
            list(value, ']', false, depth);
        } else {
            const std::size_t end = text.find_first_of(",]} \n\t", at);
            value.text = text.substr(at, end == std::string::npos ? end : end - at);
            if (value.text.empty())
                bad();
            at += value.text.size();
        }
        return value;
    }

    void list(Json &value, char end, bool named, int depth)
    {
        if (skip(end))
            return;
        do {
            std::string name;
            if (named) {
                if (!skip('"'))
                    bad();
                name = string();
                if (!skip(':'))
                    bad();
            }
            value.members.emplace_back(std::move(name), element(depth + 1));
        } while (skip(','));
        if (!skip(end))
            bad();
    }

    std::string string() // after its first quote
    {
        std::string value;
        while (at < text.size() && text[at] != '"') {
            if (text[at] != '\\') {
                value += text[at++];
                continue;
            }
            const std::string escapes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
            const char kind = ++at < text.size() ? text[at++] : '\0';
            const std::size_t which = escapes.find(kind);
            if (kind == 'u') {
                unsigned code = hex4();
                if (code >= 0xd800 && code < 0xdc00 && text.compare(at, 2, "\\u") == 0) {
                    at += 2;
                    code = 0x10000 + ((code - 0xd800) << 10) + (hex4() - 0xdc00);
                }
                utf8(value, code);
            } else if (which != std::string::npos) {
                value += meanings[which];
            } else {
                bad();
            }
        }
        if (at++ >= text.size())
            bad();
        return value;
    }

    unsigned hex4()
    {
        const std::string digits = text.substr(at, 4);
        if (digits.size() < 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
            bad();
        at += 4;
        return static_cast<unsigned>(std::strtoul(digits.c_str(), nullptr, 16));
    }

    static void utf8(std::string &out, unsigned code)
    {
        const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        static constexpr unsigned first[] = {0, 0xc0, 0xe0, 0xf0};
        out += static_cast<char>(first[more] | code >> (6 * more));
        for (int i = more - 1; i >= 0; i--)
            out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3f));
    }
};

} // namespace ssmith

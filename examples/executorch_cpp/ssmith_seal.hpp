// The seal of a program: SHA-256 of its own bytes, so that a damaged file is refused before it is parsed.
// SPDX-License-Identifier: 0BSD

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace ssmith {

// SHA-256 in pieces: add() as often as you like, hex() once at the end.
class Sha256 {
public:
    void add(const void *data, std::size_t bytes)
    {
        const auto *from = static_cast<const unsigned char *>(data);
        total += bytes;
        while (bytes > 0) {
            const std::size_t n = std::min(bytes, block.size() - filled);
            std::memcpy(block.data() + filled, from, n);
            filled += n, from += n, bytes -= n;
            if (filled == block.size())
                compress();
        }
    }

    std::string hex()
    {
        const std::uint64_t bits = total * 8;
        const unsigned char one = 0x80, zero = 0;
        add(&one, 1);
        while (filled != block.size() - 8)
            add(&zero, 1);
        unsigned char length[8];
        for (int i = 0; i < 8; i++)
            length[i] = static_cast<unsigned char>(bits >> (56 - 8 * i));
        add(length, sizeof length);
        std::string text;
        for (const std::uint32_t word : state)
            for (int shift = 28; shift >= 0; shift -= 4)
                text += "0123456789abcdef"[(word >> shift) & 15];
        return text;
    }

private:
    std::array<std::uint32_t, 8> state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<unsigned char, 64> block{};
    std::size_t filled = 0;
    std::uint64_t total = 0;

    static std::uint32_t turned(std::uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

    void compress()
    {
        static constexpr std::uint32_t k[64] = {
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
            0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
            0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
            0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
            0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
            0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
            0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
            0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
        std::uint32_t w[64];
        for (int i = 0; i < 16; i++)
            w[i] = std::uint32_t{block[4 * i]} << 24 | std::uint32_t{block[4 * i + 1]} << 16 |
                   std::uint32_t{block[4 * i + 2]} << 8 | std::uint32_t{block[4 * i + 3]};
        for (int i = 16; i < 64; i++)
            w[i] = w[i - 16] + (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ (w[i - 15] >> 3)) +
                   w[i - 7] + (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ (w[i - 2] >> 10));
        auto [a, b, c, d, e, f, g, h] = state;
        for (int i = 0; i < 64; i++) {
            const std::uint32_t t1 = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                                     ((e & f) ^ (~e & g)) + k[i] + w[i];
            const std::uint32_t t2 =
                (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t1;
            d = c, c = b, b = a, a = t1 + t2;
        }
        const std::array<std::uint32_t, 8> more{a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; i++)
            state[i] += more[i];
        filled = 0;
    }
};

// Whether a file is as ssmith wrote it. One without a seal passes: what it is, is for its parser to say.
inline bool seal_holds(const unsigned char *data, std::size_t bytes)
{
    const std::string mark = "ssmith-seal:", zeros(64, '0');
    const unsigned char *const end = data + bytes;
    const unsigned char *const found = std::search(data, end, mark.begin(), mark.end());
    if (found == end)
        return true;
    const unsigned char *const digest = found + mark.size();
    if (static_cast<std::size_t>(end - digest) < zeros.size())
        return false;
    Sha256 hash;
    hash.add(data, static_cast<std::size_t>(digest - data));
    hash.add(zeros.data(), zeros.size());
    hash.add(digest + zeros.size(), static_cast<std::size_t>(end - digest) - zeros.size());
    return std::memcmp(hash.hex().data(), digest, zeros.size()) == 0;
}

} // namespace ssmith

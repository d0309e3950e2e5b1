// SPDX-License-Identifier: 0BSD
//     swap_driver A.ssmc B.ssmc
// An audio thread that never stops, a loader that swaps A and B under it; a block is one model's alone, and
// a damaged file changes nothing.

#include <fstream>
#include <iterator>
#include <thread>

#include "check.h"
#include "swap.hpp"

static std::vector<unsigned char> file(const char *path)
{
    std::ifstream stream(path, std::ios::binary);
    CHECK(stream.good());
    return {std::istreambuf_iterator<char>(stream), {}};
}

enum { BLOCK = 32, LOADS = 80 };

static std::vector<float> first_block(const std::vector<unsigned char> &bytes, const std::vector<float> &in)
{
    Player alone;
    std::vector<float> out(BLOCK);
    CHECK(alone.load(bytes) == SSM_OK);
    CHECK(alone.process(in.data(), out.data(), BLOCK) == SSM_OK);
    return out;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    const std::vector<unsigned char> models[] = {file(argv[1]), file(argv[2])};
    std::vector<float> in(BLOCK);
    for (float &x : in)
        x = noise();
    // A block right after a swap starts from zero states, so it shows which model has come.
    const std::vector<float> fresh[] = {first_block(models[0], in), first_block(models[1], in)};
    CHECK(fresh[0] != fresh[1]);

    Player player;
    std::atomic<bool> stop{false};
    std::atomic<int> seen[2] = {{0}, {0}};
    CHECK(player.process(in.data(), in.data(), 0) == SSM_E_INIT);
    CHECK(player.load(models[0]) == SSM_OK);
    std::thread audio([&] {
        std::vector<float> out(BLOCK);
        while (!stop) {
            CHECK(player.process(in.data(), out.data(), BLOCK) == SSM_OK);
            for (int k = 0; k < 2; k++)
                if (out == fresh[k])
                    seen[k]++;
            std::this_thread::yield();
        }
    });
    for (int k = 1; k < LOADS; k++) {
        const int before = seen[k % 2];
        CHECK(player.load(models[k % 2]) == SSM_OK);
        if (k % 4 != 0) // every fourth is replaced before anyone may have taken it
            while (seen[k % 2] == before)
                std::this_thread::yield();
    }
    std::vector<unsigned char> damaged = models[0];
    damaged[damaged.size() / 2] ^= 1;
    CHECK(player.load(damaged) == SSM_E_DAMAGED);
    CHECK(player.load({}) != SSM_OK);
    stop = true;
    audio.join();
    CHECK(seen[0] > 0 && seen[1] > 0);
    std::puts("ok");
    return 0;
}

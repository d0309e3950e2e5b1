// A player of models with one channel that are loaded at run time. SPDX-License-Identifier: 0BSD

#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "ssm.h"

class Player {
public:
    Player() = default;
    ~Player(); // when neither thread uses it any more
    Player(const Player &) = delete;
    Player &operator=(const Player &) = delete;

    int load(const std::vector<unsigned char> &bytes);    // the loader thread; SSM_OK or why not
    int process(const float *in, float *out, int frames); // the audio thread; SSM_E_INIT before a model

private:
    struct Slot;
    Slot *running = nullptr;                // the audio thread's alone
    std::atomic<std::uintptr_t> mailbox{0}; // a Slot's address; the lowest bit says that it is new
};

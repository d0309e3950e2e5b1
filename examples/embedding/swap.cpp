// Another model while audio runs: opened and checked on one thread, taken over by the audio thread at the
// start of a block, without a lock. SPDX-License-Identifier: 0BSD

#include "swap.hpp"

#include <algorithm>
#include <memory>

namespace {

struct alignas(64) Line {
    unsigned char bytes[64];
};

std::vector<Line> aligned(std::size_t bytes)
{
    return std::vector<Line>((bytes + sizeof(Line) - 1) / sizeof(Line));
}

constexpr std::uintptr_t is_new = 1;

} // namespace

// The file's bytes and the working memory live as long as the model that was opened on them.
struct Player::Slot {
    std::vector<Line> file, memory;
    ssm_t model{};
};

Player::~Player()
{
    delete running;
    delete reinterpret_cast<Slot *>(mailbox.load() & ~is_new);
}

// Memory, checks, freeing: all that takes time or may fail.
int Player::load(const std::vector<unsigned char> &bytes)
{
    auto slot = std::make_unique<Slot>();
    slot->file = aligned(bytes.size());
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<unsigned char *>(slot->file.data()));
    const std::size_t memory = ssm_memory_bytes(slot->file.data(), bytes.size());
    slot->memory = aligned(memory);
    const int status =
        ssm_open(&slot->model, slot->file.data(), bytes.size(), slot->memory.data(), memory);
    if (status != SSM_OK)
        return status; // a damaged file ends here; what plays goes on playing
    if (slot->model.inputs != 1 || slot->model.outputs != 1)
        return SSM_E_NAMES;
    // What lay in the mailbox is no one's any more: the audio thread's last model, or one it never took.
    const auto letter = reinterpret_cast<std::uintptr_t>(slot.release()) | is_new;
    delete reinterpret_cast<Slot *>(mailbox.exchange(letter, std::memory_order_acq_rel) & ~is_new);
    return SSM_OK;
}

// The new model comes out of the mailbox, the old one goes in: nothing is locked, allocated or freed.
int Player::process(const float *in, float *out, int frames)
{
    if (mailbox.load(std::memory_order_relaxed) & is_new) {
        const auto old = reinterpret_cast<std::uintptr_t>(running);
        running = reinterpret_cast<Slot *>(mailbox.exchange(old, std::memory_order_acq_rel) & ~is_new);
    }
    if (running == nullptr)
        return SSM_E_INIT;
    return ssm_process(&running->model, in, out, static_cast<std::uint32_t>(frames));
}

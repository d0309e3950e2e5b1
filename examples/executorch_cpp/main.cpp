// ssmith_run: frames through a program of ssmith, by ExecuTorch alone. SPDX-License-Identifier: 0BSD

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include <executorch/runtime/platform/platform.h>

#include "frames.hpp"
#include "ssmith_program.hpp"
#include "state_file.hpp"
#include "timing.hpp"

namespace {

const char *const help =
    "Usage: ssmith_run PROGRAM.pte [FRAMES] [OPTIONS]\n"
    "\n"
    "Runs the frames of FRAMES (a file, or - for standard input, the default) through a program that\n"
    "`ssmith export` wrote, and writes one line of outputs a frame.\n"
    "\n"
    "FRAMES is CSV, one frame a line, one column an input. A first line of names is allowed and checked.\n"
    "An empty line ends a stream: what follows starts from zero states, as after a reset.\n"
    "\n"
    "  --raw               FRAMES and outputs are float32 in the machine's byte order, without separators\n"
    "  --describe          print what the program says about its model (JSON) and end\n"
    "  --load-state FILE   begin with these states instead of zeros\n"
    "  --save-state FILE   write the states after the last frame\n"
    "  --threads one|pool  the caller's thread alone (default), or a pool of all cores\n"
    "  --time N            time N calls on noise and print nanoseconds a frame (JSON); FRAMES is not read\n"
    "  --block T           frames of a call: with a sequence program all it takes (default), otherwise 1\n"
    "  --verbose           show what ExecuTorch itself has to say\n"
    "  --help              this text\n"
    "\n"
    "Exit code: 0, or 2 with a message when an argument, a file or a value cannot be used.\n";

struct Options {
    std::string program, frames = "-", load_state, save_state;
    bool raw = false, describe = false, verbose = false;
    ssmith::Threads threads = ssmith::Threads::one;
    std::size_t time = 0, block = 0; // 0: not asked for
};

std::size_t whole(const std::string &option, const std::string &value)
{
    char *end = nullptr;
    const unsigned long number = std::strtoul(value.c_str(), &end, 10);
    if (value.empty() || value[0] == '-' || *end != '\0' || number == 0 || number > 100000000)
        throw InputError(option + " takes a whole number above 0, not \"" + value + "\"");
    return number;
}

Options parsed(int argc, char **argv)
{
    Options options;
    int places = 0;
    for (int i = 1; i < argc; i++) {
        const std::string word = argv[i];
        const auto value = [&]() -> std::string {
            if (i + 1 >= argc)
                throw InputError(word + " wants a value; see --help");
            return argv[++i];
        };
        if (word == "--raw") {
            options.raw = true;
        } else if (word == "--describe") {
            options.describe = true;
        } else if (word == "--verbose") {
            options.verbose = true;
        } else if (word == "--load-state") {
            options.load_state = value();
        } else if (word == "--save-state") {
            options.save_state = value();
        } else if (word == "--time") {
            options.time = whole(word, value());
        } else if (word == "--block") {
            options.block = whole(word, value());
        } else if (word == "--threads") {
            const std::string kind = value();
            if (kind != "one" && kind != "pool")
                throw InputError("--threads is one or pool, not \"" + kind + "\"");
            options.threads = kind == "one" ? ssmith::Threads::one : ssmith::Threads::pool;
        } else if (word.size() > 1 && word[0] == '-') {
            throw InputError("unknown option " + word + "; see --help");
        } else if (places++ == 0) {
            options.program = word;
        } else if (places == 2) {
            options.frames = word;
        } else {
            throw InputError("too many arguments: " + word + "; see --help");
        }
    }
    if (places == 0)
        throw InputError("name a program; see --help");
    return options;
}

void write(const std::vector<float> &out, std::size_t columns, bool raw)
{
    if (raw)
        std::fwrite(out.data(), sizeof(float), out.size(), stdout);
    else
        for (std::size_t i = 0; i < out.size(); i++)
            std::printf("%.9g%c", static_cast<double>(out[i]), (i + 1) % columns == 0 ? '\n' : ',');
}

void run(ssmith::Program &model, const Options &options)
{
    Frames frames(options.frames, options.raw, model.description().inputs);
    const std::size_t most = (options.block ? options.block : model.max_frames()) * model.inputs();
    std::vector<float> in, out;
    Frames::Item item{};
    do {
        item = frames.next(in);
        if (item == Frames::Item::frame && in.size() < most)
            continue;
        const std::size_t count = in.size() / model.inputs();
        out.resize(count * model.outputs());
        model.process(in.data(), out.data(), count);
        write(out, model.outputs(), options.raw);
        in.clear();
        if (options.frames == "-" && std::fflush(stdout) != 0) // whoever feeds a pipe may wait for the answer
            break;
        if (item == Frames::Item::gap) {
            model.reset();
            std::puts("");
        }
    } while (item != Frames::Item::end);
    if (std::fflush(stdout) != 0 || std::ferror(stdout))
        throw InputError("standard output cannot be written");
}

void silent(et_timestamp_t, et_pal_log_level_t, const char *, const char *, size_t, const char *, size_t) {}

void use(const Options &options)
{
    if (!options.verbose)
        executorch::runtime::register_pal(executorch::runtime::PalImpl::create(silent, __FILE__));
    ssmith::Program model(options.program, options.threads);
    if (options.describe) {
        std::puts(model.description().json.c_str());
        return;
    }
    if (!options.load_state.empty())
        load_state(model, options.load_state);
    if (options.time)
        print_timing(model, options.time, options.block ? options.block : model.max_frames());
    else
        run(model, options);
    if (!options.save_state.empty())
        save_state(model, options.save_state);
}

} // namespace

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (std::strcmp(argv[i], "--help") == 0)
            return std::fputs(help, stdout) < 0;
    try {
        use(parsed(argc, argv));
    } catch (const std::exception &error) {
        std::fflush(stdout);
        std::fprintf(stderr, "ssmith_run: %s\n", error.what());
        return 2;
    }
    return 0;
}

// The class as a program uses it: allocations, states, reset, what it refuses. Prints ok.
// Arguments: two forms of one model.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <executorch/extension/module/module.h>

#include "ssmith_program.hpp"

static bool counting = false;
static long allocations = 0;

#ifdef __GLIBC__ // elsewhere nothing is counted
extern "C" void *__libc_malloc(std::size_t);

extern "C" void *malloc(std::size_t bytes) // every library's, operator new included
{
    allocations += counting;
    return __libc_malloc(bytes);
}
#endif

static void require(bool good, const char *what)
{
    if (good)
        return;
    std::printf("%s\n", what);
    std::exit(1);
}

static std::vector<float> run(ssmith::Program &model, int frames)
{
    std::vector<float> in(model.inputs()), out(model.outputs()), all;
    for (int t = 0; t < frames; t++) {
        for (std::size_t i = 0; i < in.size(); i++)
            in[i] = std::sin(0.3f * static_cast<float>(t) + static_cast<float>(i));
        model.step(in.data(), out.data());
        all.insert(all.end(), out.begin(), out.end());
    }
    return all;
}

// What Kotlin and Swift call: a module gives outputs no memory, so that the program must have it.
static void run_as_module(ssmith::Program &model, const char *path)
{
    using executorch::extension::TensorPtr;
    executorch::extension::Module module(path);
    std::vector<float> in(model.inputs(), 0.5f), out(model.outputs());
    std::vector<TensorPtr> tensors{executorch::extension::ones({1, static_cast<int>(in.size())})};
    std::fill_n(tensors[0]->mutable_data_ptr<float>(), in.size(), 0.5f);
    if (model.description().form == "step")
        for (const auto &state : model.description().states)
            tensors.push_back(executorch::extension::zeros({1, static_cast<int>(state.length)}));
    const std::vector<executorch::runtime::EValue> given(tensors.begin(), tensors.end());
    const auto result = module.forward(given);
    require(result.ok(), "a module runs the program");
    model.reset();
    model.step(in.data(), out.data());
    for (std::size_t k = 0; k < out.size(); k++)
        require(result->at(0).toTensor().const_data_ptr<float>()[k] == out[k], "a module's numbers");
}

int main(int argc, char **argv)
{
    require(argc == 3, "two programs");
    for (int i = 1; i < argc; i++) {
        ssmith::Program model(argv[i]), other(argv[3 - i]);
        const std::vector<float> zeros = model.state_get(), first = run(model, 5);
        const std::vector<float> saved = model.state_get(), rest = run(model, 7);
        require(saved != zeros && rest != first, "states change");

        model.reset();
        require(model.state_get() == zeros, "reset is zeros");
        require(run(model, 5) == first, "reset starts again");
        model.state_set(saved);
        require(run(model, 7) == rest, "a state is where it was saved");

        other.state_set(saved);
        const std::vector<float> same = run(other, 7);
        for (std::size_t k = 0; k < rest.size(); k++)
            require(std::fabs(same[k] - rest[k]) < 1e-5f, "another form goes on");

        std::vector<float> in(model.inputs(), 0.5f), out(model.outputs());
        allocations = 0;
        counting = true;
        for (int t = 0; t < 50; t++)
            model.step(in.data(), out.data());
        model.reset();
        counting = false;
        require(allocations == 0, "a step allocates nothing");

        run_as_module(model, argv[i]);

        bool refused = false;
        const std::vector<float> before = model.state_get();
        try {
            model.state_set({1.0f});
        } catch (const ssmith::ProgramError &) {
            refused = true;
        }
        require(refused && model.state_get() == before, "a state of another size is refused");
    }
    std::puts("ok");
    return 0;
}

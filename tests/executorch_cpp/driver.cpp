// The class as a program uses it: allocations, states, reset, what it refuses. Prints ok.
// Arguments: two forms of one model.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

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

// An ExecuTorch program behind the function that the benchmark times; -DPROGRAM="x.pte" names it. Inputs are the
// frame and the states, outputs the result and the new states; a program that keeps its states inside has the
// first of each alone. Inputs are not in the program's plan of memory, so they are read where they lie. One
// thread, whatever the pool has.

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/extension/threadpool/threadpool_guard.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::extension::threadpool::NoThreadPoolGuard;
using executorch::runtime::Error;
using executorch::runtime::Method;
using executorch::runtime::Result;
using executorch::runtime::TensorInfo;

namespace {

void require(bool good, const char *what)
{
    if (!good) {
        std::fprintf(stderr, "ExecuTorch: %s of %s failed\n", what, PROGRAM);
        std::abort();
    }
}

TensorPtr zeros_like(const Result<TensorInfo> &info)
{
    return executorch::extension::zeros({info->sizes().begin(), info->sizes().end()});
}

class Model {
public:
    Model() : module(PROGRAM)
    {
        NoThreadPoolGuard one_thread;
        require(module.load_forward() == Error::Ok, "loading");
        method = *module.method("forward");
        for (size_t i = 0; i < method->inputs_size(); i++) {
            ins.push_back(zeros_like(method->method_meta().input_tensor_meta(i)));
            require(method->set_input(*ins[i], i) == Error::Ok, "an input");
        }
        for (size_t i = 0; i < method->outputs_size(); i++) {
            require(method->method_meta().output_tensor_meta(i)->is_memory_planned(), "memory of an output");
        }
    }

    void step(const float *in, float *out)
    {
        NoThreadPoolGuard one_thread;
        std::memcpy(ins[0]->mutable_data_ptr(), in, ins[0]->nbytes());
        require(method->execute() == Error::Ok, "a step");
        for (size_t i = 1; i < ins.size(); i++)
            std::memcpy(ins[i]->mutable_data_ptr(), output(i).const_data_ptr(), ins[i]->nbytes());
        std::memcpy(out, output(0).const_data_ptr(), output(0).nbytes());
    }

private:
    const executorch::aten::Tensor &output(size_t i) const { return method->get_output(i).toTensor(); }

    Module module;
    Method *method = nullptr;
    std::vector<TensorPtr> ins;
};

Model model;

} // namespace

extern "C" int step(const float *in, float *out)
{
    model.step(in, out);
    return 0;
}

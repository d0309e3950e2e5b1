// SPDX-License-Identifier: 0BSD
// A controller manager for controller.cpp: right and wrong interfaces and rates, sensors that fail.

#include <cmath>
#include <memory>

#include <controller_interface/controller_interface.hpp>

#include "check.h"
#include "policy.h"

using controller_interface::CallbackReturn;
using controller_interface::return_type;

std::unique_ptr<controller_interface::ControllerInterface> plugin();

static void connect(controller_interface::ControllerInterface &controller, unsigned rate)
{
    controller.update_rate = rate;
    controller.state_interfaces_.clear();
    for (const auto &name : controller.state_interface_configuration().names)
        controller.state_interfaces_.push_back({name, 0.0});
    controller.command_interfaces_.resize(controller.command_interface_configuration().names.size());
}

int main()
{
    const auto controller = plugin();
    auto &states = controller->state_interfaces_;
    auto &commands = controller->command_interfaces_;
    CHECK(controller->on_init() == CallbackReturn::SUCCESS);
    CHECK(controller->state_interface_configuration().names[0] == "shoulder/position");
    CHECK(controller->command_interface_configuration().names[1] == "elbow/effort");

    connect(*controller, 400); // trained at 500
    CHECK(controller->on_activate({}) == CallbackReturn::ERROR);
    connect(*controller, 500);
    std::swap(states[0].name, states[1].name);
    CHECK(controller->on_activate({}) == CallbackReturn::ERROR);
    connect(*controller, 500);
    CHECK(controller->on_activate({}) == CallbackReturn::SUCCESS);

    static policy_t model; // what the controller should compute
    float in[POLICY_INPUTS], out[POLICY_OUTPUTS];
    policy_init(&model);
    bool limited = false;
    for (int k = 0; k < 200; k++) {
        for (std::size_t i = 0; i < POLICY_INPUTS; i++) {
            in[i] = 4.0f * noise();
            states[i].value = static_cast<double>(in[i]);
        }
        CHECK(controller->update({}, {}) == return_type::OK);
        CHECK(policy_step(&model, in, out) == POLICY_OK);
        for (std::size_t i = 0; i < POLICY_OUTPUTS; i++) {
            const auto &signal = policy_meta.outputs[i];
            const double command = std::fmin(std::fmax(static_cast<double>(out[i]), signal.minimum), signal.maximum);
            limited = limited || command != static_cast<double>(out[i]);
            CHECK(commands[i].value == command);
        }
    }
    CHECK(limited);

    // A dead sensor: the command stands, the model has not moved, then the chain is told.
    const double standing = commands[0].value;
    states[2].value.reset();
    for (int k = 0; k < 3; k++)
        CHECK(controller->update({}, {}) == return_type::OK && commands[0].value == standing);
    CHECK(controller->update({}, {}) == return_type::ERROR);
    states[2].value = static_cast<double>(in[2]);
    CHECK(controller->update({}, {}) == return_type::OK);
    CHECK(policy_step(&model, in, out) == POLICY_OK);
    CHECK(commands[0].value == std::fmin(std::fmax(static_cast<double>(out[0]), policy_meta.outputs[0].minimum),
                                         policy_meta.outputs[0].maximum));

    // A new episode remembers nothing.
    CHECK(controller->on_deactivate({}) == CallbackReturn::SUCCESS);
    CHECK(controller->on_activate({}) == CallbackReturn::SUCCESS);
    CHECK(controller->update({}, {}) == return_type::OK);
    policy_reset(&model);
    CHECK(policy_step(&model, in, out) == POLICY_OK);
    CHECK(commands[1].value == std::fmin(std::fmax(static_cast<double>(out[1]), policy_meta.outputs[1].minimum),
                                         policy_meta.outputs[1].maximum));
    std::puts("ok");
    return 0;
}

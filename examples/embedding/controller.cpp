// A policy as a ros2_control controller: the model itself says which interfaces it reads and writes.
// SPDX-License-Identifier: 0BSD

#include <algorithm>
#include <array>
#include <limits>
#include <string>

#include <controller_interface/controller_interface.hpp>
#include <pluginlib/class_list_macros.hpp>

#include "policy.hpp"

namespace policy_controller {

using controller_interface::CallbackReturn;
using controller_interface::InterfaceConfiguration;
using controller_interface::return_type;

class PolicyController : public controller_interface::ControllerInterface {
public:
    CallbackReturn on_init() override { return CallbackReturn::SUCCESS; }

    InterfaceConfiguration state_interface_configuration() const override
    {
        return named(policy_meta.inputs, POLICY_INPUTS);
    }

    InterfaceConfiguration command_interface_configuration() const override
    {
        return named(policy_meta.outputs, POLICY_OUTPUTS);
    }

    // Refuse what would otherwise go wrong in silence: another order of joints, another rate.
    CallbackReturn on_activate(const rclcpp_lifecycle::State &) override
    {
        std::array<std::string, POLICY_INPUTS> names;
        std::array<const char *, POLICY_INPUTS> pointers{};
        if (state_interfaces_.size() != names.size())
            return CallbackReturn::ERROR;
        for (std::size_t i = 0; i < names.size(); i++) {
            names[i] = state_interfaces_[i].get_name();
            pointers[i] = names[i].c_str();
        }
        if (policy_check(pointers.data(), POLICY_INPUTS, 1.0 / get_update_rate()) != POLICY_OK)
            return CallbackReturn::ERROR;
        policy.reset(); // a new episode: nothing is remembered from the one before
        unreadable = 0;
        return CallbackReturn::SUCCESS;
    }

    CallbackReturn on_deactivate(const rclcpp_lifecycle::State &) override
    {
        return CallbackReturn::SUCCESS;
    }

    // The real-time loop. A sensor that gives nothing is NaN to the model, which then refuses the frame and
    // stays as it is: the last command stands, and after a few such frames in a row the chain is told.
    return_type update(const rclcpp::Time &, const rclcpp::Duration &) override
    {
        std::array<float, POLICY_INPUTS> in{};
        std::array<float, POLICY_OUTPUTS> out{};
        for (std::size_t i = 0; i < in.size(); i++)
            in[i] = static_cast<float>(state_interfaces_[i].get_optional().value_or(nan));
        if (policy.step(in.data(), out.data()) != POLICY_OK)
            return ++unreadable > tolerated ? return_type::ERROR : return_type::OK;
        unreadable = 0;
        bool written = true;
        for (std::size_t i = 0; i < out.size(); i++)
            written = command_interfaces_[i].set_value(limited(out[i], policy_meta.outputs[i])) && written;
        return written ? return_type::OK : return_type::ERROR;
    }

private:
    static constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    static constexpr int tolerated = 3;

    static InterfaceConfiguration named(const policy_signal_t *signals, std::size_t n)
    {
        InterfaceConfiguration wanted{controller_interface::interface_configuration_type::INDIVIDUAL, {}};
        for (std::size_t i = 0; i < n; i++)
            wanted.names.emplace_back(signals[i].name);
        return wanted;
    }

    static double limited(double command, const policy_signal_t &signal)
    {
        command = signal.has_minimum ? std::max(command, signal.minimum) : command;
        return signal.has_maximum ? std::min(command, signal.maximum) : command;
    }

    policy::Model policy;
    int unreadable = 0;
};

} // namespace policy_controller

PLUGINLIB_EXPORT_CLASS(policy_controller::PolicyController, controller_interface::ControllerInterface)

// The few declarations of ros2_control that examples/embedding/controller.cpp touches, for compiling it
// without ROS. SPDX-License-Identifier: 0BSD

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rclcpp {
class Time {};
class Duration {};
} // namespace rclcpp

namespace rclcpp_lifecycle {
class State {};
} // namespace rclcpp_lifecycle

namespace hardware_interface {

class LoanedStateInterface {
public:
    std::string name;
    std::optional<double> value;
    const std::string &get_name() const { return name; }
    std::optional<double> get_optional() const { return value; }
};

class LoanedCommandInterface {
public:
    double value = 0.0;
    bool set_value(double command)
    {
        value = command;
        return true;
    }
};

} // namespace hardware_interface

namespace controller_interface {

enum class CallbackReturn { SUCCESS, FAILURE, ERROR };
enum class return_type { OK, ERROR };
enum class interface_configuration_type { ALL, INDIVIDUAL, NONE };

struct InterfaceConfiguration {
    interface_configuration_type type;
    std::vector<std::string> names;
};

class ControllerInterface {
public:
    virtual ~ControllerInterface() = default;
    virtual CallbackReturn on_init() = 0;
    virtual InterfaceConfiguration command_interface_configuration() const = 0;
    virtual InterfaceConfiguration state_interface_configuration() const = 0;
    virtual CallbackReturn on_activate(const rclcpp_lifecycle::State &previous) = 0;
    virtual CallbackReturn on_deactivate(const rclcpp_lifecycle::State &previous) = 0;
    virtual return_type update(const rclcpp::Time &time, const rclcpp::Duration &period) = 0;
    unsigned get_update_rate() const { return update_rate; }

    // The manager's part.
    std::vector<hardware_interface::LoanedStateInterface> state_interfaces_;
    std::vector<hardware_interface::LoanedCommandInterface> command_interfaces_;
    unsigned update_rate = 0;
};

} // namespace controller_interface

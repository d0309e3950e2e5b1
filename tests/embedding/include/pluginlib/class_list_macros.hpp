// One macro of pluginlib: it makes the class known by name; here it makes one. SPDX-License-Identifier: 0BSD

#pragma once

#include <memory>

#define PLUGINLIB_EXPORT_CLASS(derived, base)                                                              \
    std::unique_ptr<base> plugin();                                                                        \
    std::unique_ptr<base> plugin()                                                                         \
    {                                                                                                      \
        return std::make_unique<derived>();                                                                \
    }

// What only sysfs says about a device: link layers, GID types and network interfaces.
//
// Invariant: reading never fails; what is missing or unreadable is "".
#pragma once

#include <cstdint>
#include <string>

namespace onepiece::verbs {

constexpr const char* kSysfsDevices = "/sys/class/infiniband";

// The first line of /sys/class/infiniband/<device>/<attribute>, without white space at its end.
std::string ReadSysfs(const std::string& device, const std::string& attribute);

// "<attribute>" of a port, such as "link_layer" or "gid_attrs/types/0".
std::string ReadPortSysfs(const std::string& device, uint32_t port, const std::string& attribute);

}  // namespace onepiece::verbs

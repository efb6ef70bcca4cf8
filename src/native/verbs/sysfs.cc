// Reading sysfs. Invariant: see sysfs.h.
#include "sysfs.h"

#include <fcntl.h>
#include <unistd.h>

namespace onepiece::verbs {

std::string ReadSysfs(const std::string& device, const std::string& attribute) {
  const std::string path = std::string(kSysfsDevices) + "/" + device + "/" + attribute;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  char text[128];
  const ssize_t length = read(fd, text, sizeof(text));
  close(fd);
  if (length <= 0) return "";
  std::string line(text, static_cast<size_t>(length));
  line.resize(line.find_first_of('\n') != std::string::npos ? line.find_first_of('\n') : line.size());
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\0')) line.pop_back();
  return line;
}

std::string ReadPortSysfs(const std::string& device, uint32_t port, const std::string& attribute) {
  return ReadSysfs(device, "ports/" + std::to_string(port) + "/" + attribute);
}

}  // namespace onepiece::verbs

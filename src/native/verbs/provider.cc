// Listing and opening what libibverbs finds.
//
// Invariant: a machine without RDMA is no error. Whatever is missing (header, library, kernel module, device), List
// answers 0 with an empty list and says in `why` what is missing and what to do about it; a negative errno means
// that asking itself failed. Open answers -ENODEV whenever there is no such device, with the same words.
#include <cerrno>
#include <cstring>
#include <string>

#include "device.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <new>

#include "sysfs.h"

namespace onepiece {
namespace verbs {
namespace {

constexpr const char* kNoKernel =
    "the kernel has no InfiniBand support (modules ib_core and ib_uverbs are not loaded): run `modprobe ib_uverbs`, or "
    "`modprobe rdma_rxe` for soft-RoCE; a kernel without these modules (some containers, sandboxes and cloud kernels) "
    "has no verbs devices: use the soft device";
constexpr const char* kNoDevice =
    "no RDMA device; without RDMA hardware, make a soft-RoCE one: `modprobe rdma_rxe` and `rdma link add rxe0 type rxe "
    "netdev eth0` (with your network interface; the rdma command is in iproute2)";

std::string Words(int error) {
  char text[128];
  return strerror_r(error, text, sizeof(text));
}

// The devices of libibverbs, given back at the end of the scope.
class DeviceList {
 public:
  explicit DeviceList(const Library& library) : library_(library) {
    errno = 0;
    list_ = library_.get_device_list(&count_);
    if (list_ == nullptr) error_ = LastError();
  }
  ~DeviceList() {
    if (list_ != nullptr) library_.free_device_list(list_);
  }
  DeviceList(const DeviceList&) = delete;
  DeviceList& operator=(const DeviceList&) = delete;

  int Error() const { return error_; }
  ibv_device** begin() const { return list_; }
  ibv_device** end() const { return list_ != nullptr ? list_ + count_ : nullptr; }

 private:
  const Library& library_;
  ibv_device** list_ = nullptr;
  int count_ = 0;
  int error_ = 0;
};

std::string Transport(const ibv_device& device, const char* name) {
  switch (device.transport_type) {
    case IBV_TRANSPORT_IB:
      return ReadPortSysfs(name, 1, "link_layer") == "Ethernet" ? "RoCE" : "InfiniBand";
    case IBV_TRANSPORT_IWARP:
      return "iWARP";
    case IBV_TRANSPORT_USNIC:
    case IBV_TRANSPORT_USNIC_UDP:
      return "usNIC";
    default:
      return "unspecified";
  }
}

std::string GuidText(uint64_t guid) {
  char text[20];
  snprintf(text, sizeof(text), "%04x:%04x:%04x:%04x", static_cast<unsigned>(guid >> 48 & 0xffff),
           static_cast<unsigned>(guid >> 32 & 0xffff), static_cast<unsigned>(guid >> 16 & 0xffff),
           static_cast<unsigned>(guid & 0xffff));
  return text;
}

// A device that the kernel knows, for the case that libibverbs shows none of them.
std::string KernelDevice() {
  DIR* directory = opendir(kSysfsDevices);
  if (directory == nullptr) return "";
  std::string name;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    name = entry->d_name;
    break;
  }
  closedir(directory);
  return name;
}

std::string WhyNone() {
  const std::string name = KernelDevice();
  if (name.empty()) return kNoDevice;
  struct stat unused;
  if (stat("/dev/infiniband", &unused) != 0) {
    return "the kernel has the RDMA device " + name +
           " but /dev/infiniband is missing here: `modprobe ib_uverbs`, or give the container that folder (docker run "
           "--device=/dev/infiniband --ulimit memlock=-1)";
  }
  return "the kernel has the RDMA device " + name +
         " but libibverbs has no driver for it: install ibverbs-providers (Debian, Ubuntu) or rdma-core (Fedora, RHEL)";
}

// Why the list could not be had: 0 when that only means "none on this machine".
int WhyNoList(int error, std::string* why) {
  if (error == -ENOSYS || error == -ENOENT) {
    *why = kNoKernel;
    return 0;
  }
  *why = "the RDMA devices cannot be listed: " + Words(-error);
  return error;
}

// libibverbs tries again after a refusal, and then says that the file is missing: the file itself is asked.
int WhyRefused(const ibv_device& device, int error) {
  const std::string path = device.dev_path;
  const std::string file = "/dev/infiniband/" + path.substr(path.rfind('/') + 1);
  if (faccessat(AT_FDCWD, file.c_str(), R_OK | W_OK, AT_EACCESS) != 0 && (errno == EACCES || errno == EPERM)) return -errno;
  return error;
}

std::string WhyNotOpened(const std::string& name, int error) {
  std::string why = "the RDMA device " + name + " cannot be opened: " + Words(-error);
  if (error == -EACCES || error == -EPERM) {
    why += "; this user needs read and write access to /dev/infiniband/uverbs* (udev rules of rdma-core; in a "
           "container --device=/dev/infiniband)";
  } else if (error == -ENOENT || error == -ENXIO) {
    why += "; /dev/infiniband/uverbs* is missing: `modprobe ib_uverbs`, or in a container --device=/dev/infiniband";
  }
  return why;
}

class Provider final : public DeviceProvider {
 public:
  const char* Kind() const override { return "verbs"; }

  int List(std::vector<DeviceListing>* out, std::string* why) override {
    out->clear();
    why->clear();
    const Library* library = LoadLibrary(why);
    if (library == nullptr) return 0;
    const DeviceList devices(*library);
    if (devices.Error() != 0) return WhyNoList(devices.Error(), why);
    for (ibv_device* device : devices) {
      const char* name = library->get_device_name(device);
      if (name == nullptr) continue;
      out->push_back({name, Kind(), Transport(*device, name), GuidText(be64toh(library->get_device_guid(device)))});
    }
    if (out->empty()) *why = WhyNone();
    return 0;
  }

  int Open(const std::string& name, std::unique_ptr<onepiece::Device>* out, std::string* why) override {
    why->clear();
    const Library* library = LoadLibrary(why);
    if (library == nullptr) return -ENODEV;
    const DeviceList devices(*library);
    if (devices.Error() != 0) {
      const int error = WhyNoList(devices.Error(), why);
      return error != 0 ? error : -ENODEV;
    }
    std::string known;
    for (ibv_device* device : devices) {
      const char* found = library->get_device_name(device);
      if (found == nullptr) continue;
      if (name == found) return OpenDevice(*library, device, name, out, why);
      known += (known.empty() ? "" : ", ") + std::string(found);
    }
    *why = known.empty() ? WhyNone() : "no RDMA device is called " + name + "; there is: " + known;
    return -ENODEV;
  }

 private:
  static int OpenDevice(const Library& library, ibv_device* device, const std::string& name,
                        std::unique_ptr<onepiece::Device>* out, std::string* why) {
    errno = 0;
    ibv_context* raw = library.open_device(device);
    if (raw == nullptr) {
      const int error = WhyRefused(*device, LastError());
      *why = WhyNotOpened(name, error);
      return error;
    }
    auto context = std::make_shared<Context>(library, raw, name);
    const int flags = fcntl(raw->async_fd, F_GETFL);
    if (flags < 0 || fcntl(raw->async_fd, F_SETFL, flags | O_NONBLOCK) < 0) return LastError();
    out->reset(new (std::nothrow) Device(std::move(context)));
    return *out ? 0 : -ENOMEM;
  }
};

}  // namespace
}  // namespace verbs

DeviceProvider& VerbsProvider() {
  static verbs::Provider provider;
  return provider;
}

}  // namespace onepiece

#else

#include "../device.h"

namespace onepiece {
namespace {

constexpr const char* kNoHeader =
    "this binary was built without <infiniband/verbs.h>, so it knows no verbs devices: install libibverbs-dev (Debian, "
    "Ubuntu) or rdma-core-devel (Fedora, RHEL) and rebuild (npm run build)";

class Provider final : public DeviceProvider {
 public:
  const char* Kind() const override { return "verbs"; }

  int List(std::vector<DeviceListing>* out, std::string* why) override {
    out->clear();
    *why = kNoHeader;
    return 0;
  }

  int Open(const std::string&, std::unique_ptr<Device>*, std::string* why) override {
    *why = kNoHeader;
    return -ENODEV;
  }
};

}  // namespace

DeviceProvider& VerbsProvider() {
  static Provider provider;
  return provider;
}

}  // namespace onepiece

#endif

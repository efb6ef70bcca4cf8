// Opening librdmacm's connection manager.
//
// Invariant: a machine without it is no crash: Open answers a negative errno and says what is missing and what to do.
#include <cerrno>
#include <cstring>
#include <string>

#include "channel.h"

#ifdef ONEPIECE_HAS_RDMACM_HEADER

#include <fcntl.h>
#include <sys/stat.h>

#include <mutex>
#include <new>

namespace onepiece {
namespace rdmacm {
namespace {

std::string Why(int error) {
  char text[128];
  const std::string words = strerror_r(-error, text, sizeof(text));
  struct stat unused;
  if (stat("/sys/class/infiniband", &unused) != 0) {
    return "the kernel has no InfiniBand support: run `modprobe rdma_ucm`, and `modprobe rdma_rxe` for soft-RoCE; a kernel "
           "without these modules (some containers, sandboxes and cloud kernels) has no connection manager";
  }
  if (stat("/dev/infiniband/rdma_cm", &unused) != 0) {
    return "/dev/infiniband/rdma_cm is missing: run `modprobe rdma_ucm`, or give the container that folder (docker run "
           "--device=/dev/infiniband)";
  }
  if (error == -ENODEV) {
    return "there is no RDMA device; without hardware, make a soft-RoCE one: `modprobe rdma_rxe` and `rdma link add rxe0 "
           "type rxe netdev eth0` (with your network interface)";
  }
  if (error == -EACCES || error == -EPERM) {
    return "/dev/infiniband/rdma_cm cannot be opened: " + words +
           "; this user needs read and write access to it (udev rules of rdma-core)";
  }
  return "the event channel cannot be created: " + words;
}

class Provider final : public CmProvider {
 public:
  int Open(std::unique_ptr<CmChannel>* out, std::string* why) override {
    why->clear();
    const Library* library = LoadLibrary(why);
    if (library == nullptr) return -ENOTSUP;
    rdma_event_channel* raw;
    int error = 0;
    {
      // librdmacm's first call sets up lists that it reads without a lock; workers may come at once.
      static std::mutex first;
      const std::lock_guard<std::mutex> guard(first);
      errno = 0;
      raw = library->create_event_channel();
      if (raw == nullptr) error = LastError();
    }
    if (raw == nullptr) {
      *why = Why(error);
      return error;
    }
    auto source = std::make_shared<EventSource>(*library, raw);
    const int flags = fcntl(raw->fd, F_GETFL);
    if (flags < 0 || fcntl(raw->fd, F_SETFL, flags | O_NONBLOCK) < 0) return LastError();
    out->reset(new (std::nothrow) Channel(std::move(source)));
    return *out ? 0 : -ENOMEM;
  }
};

}  // namespace
}  // namespace rdmacm

CmProvider& RdmaCmProvider() {
  static rdmacm::Provider provider;
  return provider;
}

}  // namespace onepiece

#else

#include "../cm.h"

namespace onepiece {
namespace {

class Provider final : public CmProvider {
 public:
  int Open(std::unique_ptr<CmChannel>*, std::string* why) override {
    *why =
        "this binary was built without <rdma/rdma_cma.h>, so it knows no connection manager: install librdmacm-dev "
        "(Debian, Ubuntu) or rdma-core-devel (Fedora, RHEL) and rebuild (npm run build)";
    return -ENOTSUP;
  }
};

}  // namespace

CmProvider& RdmaCmProvider() {
  static Provider provider;
  return provider;
}

}  // namespace onepiece

#endif

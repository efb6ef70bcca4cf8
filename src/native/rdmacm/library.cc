// Finding librdmacm. Invariant: see library.h.
#include "library.h"

#ifdef ONEPIECE_HAS_RDMACM_HEADER

#include <dlfcn.h>

namespace onepiece::rdmacm {
namespace {

constexpr const char* kSoname = "librdmacm.so.1";

struct Loading {
  Library library{};
  std::string why;

  Loading() {
    void* handle = dlopen(kSoname, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* error = dlerror();
      why = std::string(kSoname) + " cannot be loaded (" + (error != nullptr ? error : "no reason given") +
            "); install it: `apt-get install librdmacm1` (Debian, Ubuntu) or `dnf install librdmacm` (Fedora, RHEL)";
      return;
    }
    Find(handle, "rdma_create_event_channel", &library.create_event_channel);
    Find(handle, "rdma_destroy_event_channel", &library.destroy_event_channel);
    Find(handle, "rdma_create_id", &library.create_id);
    Find(handle, "rdma_destroy_id", &library.destroy_id);
    Find(handle, "rdma_bind_addr", &library.bind_addr);
    Find(handle, "rdma_listen", &library.listen);
    Find(handle, "rdma_resolve_addr", &library.resolve_addr);
    Find(handle, "rdma_resolve_route", &library.resolve_route);
    Find(handle, "rdma_connect", &library.connect);
    Find(handle, "rdma_accept", &library.accept);
    Find(handle, "rdma_establish", &library.establish);
    Find(handle, "rdma_reject", &library.reject);
    Find(handle, "rdma_disconnect", &library.disconnect);
    Find(handle, "rdma_notify", &library.notify);
    Find(handle, "rdma_set_option", &library.set_option);
    Find(handle, "rdma_init_qp_attr", &library.init_qp_attr);
    Find(handle, "rdma_get_cm_event", &library.get_cm_event);
    Find(handle, "rdma_ack_cm_event", &library.ack_cm_event);
  }

  template <typename Function>
  void Find(void* handle, const char* symbol, Function* out) {
    *out = reinterpret_cast<Function>(dlsym(handle, symbol));
    if (*out == nullptr && why.empty()) {
      why = std::string(kSoname) + " has no symbol " + symbol +
            ": install librdmacm1 of rdma-core 21 or newer from your distribution";
    }
  }
};

}  // namespace

const Library* LoadLibrary(std::string* why) {
  static const Loading loading;
  if (loading.why.empty()) return &loading.library;
  *why = loading.why;
  return nullptr;
}

}  // namespace onepiece::rdmacm

#endif

// Finding libibverbs. Invariant: see library.h.
#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <dlfcn.h>

namespace onepiece::verbs {
namespace {

constexpr const char* kSoname = "libibverbs.so.1";

struct Loading {
  Library library{};
  std::string why;

  Loading() {
    void* handle = dlopen(kSoname, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* error = dlerror();
      why = std::string(kSoname) + " cannot be loaded (" + (error != nullptr ? error : "no reason given") +
            "); install it: `apt-get install libibverbs1 ibverbs-providers` (Debian, Ubuntu) or `dnf install "
            "libibverbs` (rdma-core; Fedora, RHEL)";
      return;
    }
    Find(handle, "ibv_get_device_list", &library.get_device_list);
    Find(handle, "ibv_free_device_list", &library.free_device_list);
    Find(handle, "ibv_get_device_name", &library.get_device_name);
    Find(handle, "ibv_get_device_guid", &library.get_device_guid);
    Find(handle, "ibv_open_device", &library.open_device);
    Find(handle, "ibv_close_device", &library.close_device);
    Find(handle, "ibv_query_device", &library.query_device);
    Find(handle, "ibv_query_port", &library.query_port);
    Find(handle, "ibv_query_gid", &library.query_gid);
    Find(handle, "ibv_query_pkey", &library.query_pkey);
    Find(handle, "ibv_get_async_event", &library.get_async_event);
    Find(handle, "ibv_ack_async_event", &library.ack_async_event);
    Find(handle, "ibv_alloc_pd", &library.alloc_pd);
    Find(handle, "ibv_dealloc_pd", &library.dealloc_pd);
    Find(handle, "ibv_reg_mr", &library.reg_mr);
    Find(handle, "ibv_rereg_mr", &library.rereg_mr);
    Find(handle, "ibv_dereg_mr", &library.dereg_mr);
    Find(handle, "ibv_create_ah", &library.create_ah);
    Find(handle, "ibv_destroy_ah", &library.destroy_ah);
    Find(handle, "ibv_create_srq", &library.create_srq);
    Find(handle, "ibv_modify_srq", &library.modify_srq);
    Find(handle, "ibv_query_srq", &library.query_srq);
    Find(handle, "ibv_destroy_srq", &library.destroy_srq);
    Find(handle, "ibv_create_comp_channel", &library.create_comp_channel);
    Find(handle, "ibv_destroy_comp_channel", &library.destroy_comp_channel);
    Find(handle, "ibv_create_cq", &library.create_cq);
    Find(handle, "ibv_resize_cq", &library.resize_cq);
    Find(handle, "ibv_destroy_cq", &library.destroy_cq);
    Find(handle, "ibv_get_cq_event", &library.get_cq_event);
    Find(handle, "ibv_ack_cq_events", &library.ack_cq_events);
    Find(handle, "ibv_create_qp", &library.create_qp);
    Find(handle, "ibv_modify_qp", &library.modify_qp);
    Find(handle, "ibv_query_qp", &library.query_qp);
    Find(handle, "ibv_destroy_qp", &library.destroy_qp);
    library.reg_mr_iova2 = reinterpret_cast<decltype(library.reg_mr_iova2)>(dlsym(handle, "ibv_reg_mr_iova2"));
    library.reg_dmabuf_mr = reinterpret_cast<decltype(library.reg_dmabuf_mr)>(dlsym(handle, "ibv_reg_dmabuf_mr"));
  }

  template <typename Function>
  void Find(void* handle, const char* symbol, Function* out) {
    *out = reinterpret_cast<Function>(dlsym(handle, symbol));
    if (*out == nullptr && why.empty()) {
      why = std::string(kSoname) + " has no symbol " + symbol +
            ": it is not the library of rdma-core; install libibverbs1 of your distribution (rdma-core 17 or newer)";
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

}  // namespace onepiece::verbs

#endif

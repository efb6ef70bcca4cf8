// Finding libibverbs. Invariant: see library.h.
#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

namespace onepiece::verbs {
namespace {

constexpr const char* kSoname = "libibverbs.so.1";
constexpr const char* kInstall =
    "`apt-get install libibverbs1 ibverbs-providers` (Debian, Ubuntu) or `dnf install "
    "libibverbs` (rdma-core; Fedora, RHEL)";
constexpr const char* kTooOld =
    "it is not the library of rdma-core; install libibverbs1 of your distribution (rdma-core 17 or newer)";

struct Loading {
  SharedLibrary file{kSoname, kInstall, kTooOld};
  Library library{};

  Loading() {
    file.Find("ibv_get_device_list", &library.get_device_list);
    file.Find("ibv_free_device_list", &library.free_device_list);
    file.Find("ibv_get_device_name", &library.get_device_name);
    file.Find("ibv_get_device_guid", &library.get_device_guid);
    file.Find("ibv_open_device", &library.open_device);
    file.Find("ibv_close_device", &library.close_device);
    file.Find("ibv_query_device", &library.query_device);
    file.Find("ibv_query_port", &library.query_port);
    file.Find("ibv_query_gid", &library.query_gid);
    file.Find("ibv_query_pkey", &library.query_pkey);
    file.Find("ibv_get_async_event", &library.get_async_event);
    file.Find("ibv_ack_async_event", &library.ack_async_event);
    file.Find("ibv_alloc_pd", &library.alloc_pd);
    file.Find("ibv_dealloc_pd", &library.dealloc_pd);
    file.Find("ibv_reg_mr", &library.reg_mr);
    file.Find("ibv_rereg_mr", &library.rereg_mr);
    file.Find("ibv_dereg_mr", &library.dereg_mr);
    file.Find("ibv_create_ah", &library.create_ah);
    file.Find("ibv_destroy_ah", &library.destroy_ah);
    file.Find("ibv_create_srq", &library.create_srq);
    file.Find("ibv_modify_srq", &library.modify_srq);
    file.Find("ibv_query_srq", &library.query_srq);
    file.Find("ibv_destroy_srq", &library.destroy_srq);
    file.Find("ibv_create_comp_channel", &library.create_comp_channel);
    file.Find("ibv_destroy_comp_channel", &library.destroy_comp_channel);
    file.Find("ibv_create_cq", &library.create_cq);
    file.Find("ibv_resize_cq", &library.resize_cq);
    file.Find("ibv_destroy_cq", &library.destroy_cq);
    file.Find("ibv_get_cq_event", &library.get_cq_event);
    file.Find("ibv_ack_cq_events", &library.ack_cq_events);
    file.Find("ibv_create_qp", &library.create_qp);
    file.Find("ibv_modify_qp", &library.modify_qp);
    file.Find("ibv_query_qp", &library.query_qp);
    file.Find("ibv_destroy_qp", &library.destroy_qp);
    file.FindIfThere("ibv_reg_mr_iova2", &library.reg_mr_iova2);
    file.FindIfThere("ibv_reg_dmabuf_mr", &library.reg_dmabuf_mr);
  }
};

}  // namespace

const Library* LoadLibrary(std::string* why) {
  static const Loading loading;
  if (loading.file.why().empty()) return &loading.library;
  *why = loading.file.why();
  return nullptr;
}

}  // namespace onepiece::verbs

#endif

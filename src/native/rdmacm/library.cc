// Finding librdmacm. Invariant: see library.h.
#include "library.h"

#ifdef ONEPIECE_HAS_RDMACM_HEADER

namespace onepiece::rdmacm {
namespace {

constexpr const char* kSoname = "librdmacm.so.1";
constexpr const char* kInstall =
    "`apt-get install librdmacm1` (Debian, Ubuntu) or `dnf install librdmacm` (Fedora, RHEL)";
constexpr const char* kTooOld =
    "install librdmacm1 of rdma-core 21 or newer from your distribution";

struct Loading {
  SharedLibrary file{kSoname, kInstall, kTooOld};
  Library library{};

  Loading() {
    file.Find("rdma_create_event_channel", &library.create_event_channel);
    file.Find("rdma_destroy_event_channel", &library.destroy_event_channel);
    file.Find("rdma_create_id", &library.create_id);
    file.Find("rdma_destroy_id", &library.destroy_id);
    file.Find("rdma_bind_addr", &library.bind_addr);
    file.Find("rdma_listen", &library.listen);
    file.Find("rdma_resolve_addr", &library.resolve_addr);
    file.Find("rdma_resolve_route", &library.resolve_route);
    file.Find("rdma_connect", &library.connect);
    file.Find("rdma_accept", &library.accept);
    file.Find("rdma_establish", &library.establish);
    file.Find("rdma_reject", &library.reject);
    file.Find("rdma_disconnect", &library.disconnect);
    file.Find("rdma_notify", &library.notify);
    file.Find("rdma_set_option", &library.set_option);
    file.Find("rdma_init_qp_attr", &library.init_qp_attr);
    file.Find("rdma_get_cm_event", &library.get_cm_event);
    file.Find("rdma_ack_cm_event", &library.ack_cm_event);
  }
};

}  // namespace

const Library* LoadLibrary(std::string* why) {
  static const Loading loading;
  if (loading.file.why().empty()) return &loading.library;
  *why = loading.file.why();
  return nullptr;
}

}  // namespace onepiece::rdmacm

#endif

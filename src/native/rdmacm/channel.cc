// Event channels: making ids, taking events. Invariant: see channel.h.
#include "channel.h"

#ifdef ONEPIECE_HAS_RDMACM_HEADER

#include <new>

#include "../from_ibv.h"

namespace onepiece::rdmacm {
namespace {

std::vector<uint8_t> Bytes(const void* data, size_t count) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  return bytes != nullptr ? std::vector<uint8_t>(bytes, bytes + count) : std::vector<uint8_t>();
}

// Before the event is acknowledged: the private data lies in it.
void Copy(const rdma_cm_event& from, bool isDatagram, CmEvent* out) {
  out->type = static_cast<uint32_t>(from.event);
  out->status = from.status;
  out->isDatagram = isDatagram;
  if (isDatagram) {
    const rdma_ud_param& ud = from.param.ud;
    out->parameters.privateData = Bytes(ud.private_data, ud.private_data_len);
    out->datagram = {ud.qp_num, ud.qkey, FromIbv(ud.ah_attr)};
    return;
  }
  const rdma_conn_param& conn = from.param.conn;
  out->parameters = {Bytes(conn.private_data, conn.private_data_len),
                     conn.responder_resources,
                     conn.initiator_depth,
                     conn.flow_control,
                     conn.retry_count,
                     conn.rnr_retry_count,
                     conn.srq,
                     conn.qp_num};
}

}  // namespace

int Channel::CreateId(CmPortSpace space, std::unique_ptr<CmId>* out) {
  if (!source_) return -EBADF;
  if (space != CmPortSpace::kTcp && space != CmPortSpace::kUdp) return -EINVAL;
  rdma_cm_id* raw = nullptr;
  const int error =
      Ask(source_->library.create_id, source_->raw, &raw, static_cast<void*>(nullptr), static_cast<rdma_port_space>(space));
  if (error != 0) return error;
  out->reset(new (std::nothrow) Id(source_, raw));
  if (*out) return 0;
  source_->library.destroy_id(raw);
  return -ENOMEM;
}

int Channel::NextEvent(CmEvent* out) {
  if (!source_) return -EBADF;
  const Library& library = source_->library;
  rdma_cm_event* event = nullptr;
  for (;;) {
    errno = 0;
    if (library.get_cm_event(source_->raw, &event) == 0) break;
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : LastError();
  }
  rdma_cm_id* raw = event->id;
  // Until it has an Id of its own, a request shows the context of the id that listens.
  const bool isRequest = event->event == RDMA_CM_EVENT_CONNECT_REQUEST && event->listen_id != nullptr;
  out->id = Id::Of(isRequest ? event->listen_id : raw);
  Copy(*event, raw->ps == RDMA_PS_UDP, out);
  library.ack_cm_event(event);
  if (isRequest) {
    out->request.reset(new (std::nothrow) Id(source_, raw));
    if (!out->request) {
      library.destroy_id(raw);
      return -ENOMEM;
    }
  }
  return 1;
}

int Channel::Raw(RawNumbers* out) {
  if (!source_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(source_->raw), 0, -1, source_->raw->fd};
  return 0;
}

int Channel::Close() {
  if (!source_) return 0;
  if (HasIds()) return -EBUSY;
  source_.reset();
  return 0;
}

}  // namespace onepiece::rdmacm

#endif

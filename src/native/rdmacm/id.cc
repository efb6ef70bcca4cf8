// Connection ids. Invariant: see channel.h.
#include "channel.h"

#ifdef ONEPIECE_HAS_RDMACM_HEADER

#include <algorithm>
#include <cstring>

#include "../from_ibv.h"
#include "address.h"

namespace onepiece::rdmacm {
namespace {

// The kernel also sets bits of its own (for RoCE, 21 and above) and those of an alternate path, which we leave out.
constexpr uint32_t kKnownMask = kMaskState | kMaskCurrentState | kMaskAccessFlags | kMaskPkeyIndex | kMaskPort |
                                kMaskQkey | kMaskAddressVector | kMaskPathMtu | kMaskTimeout | kMaskRetryCount |
                                kMaskRnrRetry | kMaskRqPsn | kMaskMaxReadAtomic | kMaskMinRnrTimer | kMaskSqPsn |
                                kMaskMaxDestReadAtomic | kMaskDestQpNum;
constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic | kMwBindAllowed;

sockaddr* Generic(sockaddr_storage* address) { return reinterpret_cast<sockaddr*>(address); }

// `out` points into `from`, which must outlive it.
bool ToParameters(const CmParameters& from, rdma_conn_param* out) {
  memset(out, 0, sizeof(*out));
  const uint32_t largest = std::max({from.responderResources, from.initiatorDepth, from.flowControl, from.retryCount,
                                     from.rnrRetryCount, from.srq});
  if (from.privateData.size() > kMaxCmPrivateBytes || largest > UINT8_MAX) return false;
  out->private_data = from.privateData.data();
  out->private_data_len = static_cast<uint8_t>(from.privateData.size());
  out->responder_resources = static_cast<uint8_t>(from.responderResources);
  out->initiator_depth = static_cast<uint8_t>(from.initiatorDepth);
  out->flow_control = static_cast<uint8_t>(from.flowControl);
  out->retry_count = static_cast<uint8_t>(from.retryCount);
  out->rnr_retry_count = static_cast<uint8_t>(from.rnrRetryCount);
  out->srq = static_cast<uint8_t>(from.srq);
  out->qp_num = from.qpNum;
  return true;
}

}  // namespace

int Id::Bind(const CmAddress& local) {
  if (raw_ == nullptr) return -EBADF;
  sockaddr_storage address;
  if (!ToSocket(local, &address)) return -EINVAL;
  return Ask(library().bind_addr, raw_, Generic(&address));
}

int Id::Listen(int backlog) {
  if (raw_ == nullptr) return -EBADF;
  return Ask(library().listen, raw_, backlog);
}

int Id::ResolveAddress(const CmAddress& source, const CmAddress& destination, int timeoutMs) {
  if (raw_ == nullptr) return -EBADF;
  sockaddr_storage from;
  sockaddr_storage to;
  if (!ToSocket(destination, &to)) return -EINVAL;
  if (source.family != 0 && !ToSocket(source, &from)) return -EINVAL;
  return Ask(library().resolve_addr, raw_, source.family != 0 ? Generic(&from) : nullptr, Generic(&to), timeoutMs);
}

int Id::ResolveRoute(int timeoutMs) {
  if (raw_ == nullptr) return -EBADF;
  if (!HasDevice()) return -EINVAL;
  return Ask(library().resolve_route, raw_, timeoutMs);
}

int Id::Connect(const CmParameters& parameters) {
  if (raw_ == nullptr) return -EBADF;
  rdma_conn_param param;
  if (!HasDevice() || !ToParameters(parameters, &param)) return -EINVAL;
  return Ask(library().connect, raw_, &param);
}

int Id::Accept(const CmParameters& parameters) {
  if (raw_ == nullptr) return -EBADF;
  rdma_conn_param param;
  if (!HasDevice() || !ToParameters(parameters, &param)) return -EINVAL;
  return Ask(library().accept, raw_, &param);
}

int Id::Establish() {
  if (raw_ == nullptr) return -EBADF;
  if (!HasDevice()) return -EINVAL;
  return Ask(library().establish, raw_);
}

int Id::Reject(const uint8_t* privateData, size_t bytes) {
  if (raw_ == nullptr) return -EBADF;
  if (bytes > kMaxCmPrivateBytes) return -EINVAL;
  return Ask(library().reject, raw_, static_cast<const void*>(privateData), static_cast<uint8_t>(bytes));
}

int Id::Disconnect() {
  if (raw_ == nullptr) return -EBADF;
  if (!HasDevice()) return -EINVAL;
  return Ask(library().disconnect, raw_);
}

int Id::NotifyEstablished() {
  if (raw_ == nullptr) return -EBADF;
  return Ask(library().notify, raw_, IBV_EVENT_COMM_EST);
}

int Id::SetOption(CmOption option, uint32_t value) {
  if (raw_ == nullptr) return -EBADF;
  const bool isByte = option == CmOption::kTypeOfService || option == CmOption::kAckTimeout;
  if (!isByte && option != CmOption::kReuseAddress && option != CmOption::kOneFamily) return -EINVAL;
  if (value > (isByte ? UINT8_MAX : 1u)) return -EINVAL;
  auto byte = static_cast<uint8_t>(value);
  int number = static_cast<int>(value);
  void* data = isByte ? static_cast<void*>(&byte) : static_cast<void*>(&number);
  return Ask(library().set_option, raw_, static_cast<int>(RDMA_OPTION_ID), static_cast<int>(option), data,
             isByte ? sizeof(byte) : sizeof(number));
}

int Id::AttributesFor(QpState state, QpAttributes* out) {
  if (raw_ == nullptr) return -EBADF;
  if (!HasDevice() || state > QpState::kError) return -EINVAL;
  ibv_qp_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.qp_state = static_cast<ibv_qp_state>(state);
  int mask = 0;
  const int error = Ask(library().init_qp_attr, raw_, &attr, &mask);
  if (error != 0) return error;
  *out = FromIbv(attr, static_cast<uint32_t>(mask) & kKnownMask);
  out->accessFlags &= kKnownAccess;
  return 0;
}

void Id::Describe(CmIdentity* out) const {
  *out = CmIdentity{};
  if (raw_ == nullptr) return;
  if (HasDevice()) {
    const ibv_device* device = raw_->verbs->device;
    out->device = std::string(device->name, strnlen(device->name, sizeof(device->name)));
    out->transport = device->transport_type == IBV_TRANSPORT_IWARP ? "iWARP" : "InfiniBand";
    out->port = raw_->port_num;
  }
  out->local = FromSocket(raw_->route.addr.src_storage);
  out->peer = FromSocket(raw_->route.addr.dst_storage);
}

int Id::Raw(RawNumbers* out) {
  if (raw_ == nullptr) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(raw_), 0, -1, source_->raw->fd};
  return 0;
}

int Id::Close() {
  if (raw_ == nullptr) return 0;
  const int error = Ask(library().destroy_id, raw_);
  if (error != 0) return error;
  raw_ = nullptr;
  source_.reset();
  return 0;
}

}  // namespace onepiece::rdmacm

#endif

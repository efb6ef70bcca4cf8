// Invariant: see send_queue.h.
#include "send_queue.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <bit>

#include "datagram_endpoint.h"

namespace onepiece::soft {

namespace {
constexpr uint32_t kKnownSendFlags = kFence | kSignaled | kSolicited | kInline;
}

void SendQueue::Allocate(const QpCapabilities& wanted) {
  uint32_t capacity = std::bit_ceil(wanted.maxSendWr);
  mask_ = capacity - 1;
  cqeMask_ = 2 * capacity - 1;
  maxSge_ = std::max(wanted.maxSendSge, 1u);
  maxInlineData_ = wanted.maxInlineData;
  requests_.resize(capacity);
  completions_.resize(size_t{2} * capacity);
  inlineData_.resize(size_t{capacity} * maxInlineData_);
}

int SendQueue::Validate(const SendRecord& record, bool isDatagram, uint64_t* length) const {
  auto opcode = static_cast<WorkOpcode>(record.opcode);
  bool isInline = (record.flags & kInline) != 0;
  bool isSend = opcode == WorkOpcode::kSend || opcode == WorkOpcode::kSendWithImm;
  bool isAtomic = opcode == WorkOpcode::kCompareSwap || opcode == WorkOpcode::kFetchAdd;
  bool isLocal = opcode == WorkOpcode::kBindMw || opcode == WorkOpcode::kLocalInvalidate;
  if (opcode > WorkOpcode::kSendWithInvalidate) return -EINVAL;
  if (isDatagram && !isSend) return -EINVAL;
  if (isInline && (opcode == WorkOpcode::kRead || isAtomic || isLocal)) return -EINVAL;
  if (isLocal && record.numSge != 0) return -EINVAL;
  if ((record.flags & ~kKnownSendFlags) != 0 || record.numSge > maxSge_) return -EINVAL;
  uint64_t address = 0;
  bool hasAddress = !isSend && opcode != WorkOpcode::kSendWithInvalidate && opcode != WorkOpcode::kLocalInvalidate;
  if (hasAddress && !ToAddress(record.remoteAddress, &address)) return -EINVAL;
  *length = 0;
  for (uint32_t i = 0; i < record.numSge; i++) {
    if (!ToAddress(record.sge[i].address, &address)) return -EINVAL;
    *length += record.sge[i].length;
  }
  if (*length > 1u << 31) return -EINVAL;
  if (isAtomic && *length < sizeof(uint64_t)) return -EINVAL;
  if (isInline && *length > maxInlineData_) return -EINVAL;
  return 0;
}

int SendQueue::Put(uint64_t at, const SendRecord& record, uint64_t length, const ProtectionDomain& pd) {
  WorkRequest& request = requests_[at & mask_];
  request.wrId = record.wrId;
  if (!ToAddress(record.remoteAddress, &request.remoteAddress)) request.remoteAddress = 0;  // a SEND has none
  request.done = 0;
  request.length = length;
  request.compareAdd = record.compareAdd;
  request.swap = record.swap;
  request.opcode = record.opcode;
  request.flags = record.flags;
  request.imm = record.imm;
  request.rkey = record.rkey;
  request.numSge = record.numSge;
  request.addressHandle = record.addressHandle;
  request.remoteQpn = record.remoteQpn;
  request.remoteQkey = record.remoteQkey;
  if ((record.flags & kInline) == 0) {
    for (uint32_t i = 0; i < record.numSge; i++) request.sge[i] = record.sge[i];
    return 0;
  }
  uint8_t* data = inlineData_.data() + (at & mask_) * maxInlineData_;
  uint64_t filled = 0;
  for (uint32_t i = 0; i < record.numSge; i++) {
    const uint8_t* source = pd.LocalMemory(record.sge[i], false);
    if (source == nullptr) return -EINVAL;
    memcpy(data + filled, source, record.sge[i].length);
    filled += record.sge[i].length;
  }
  request.numSge = 1;
  request.sge[0] = {static_cast<double>(reinterpret_cast<uintptr_t>(data)), static_cast<uint32_t>(length), 0};
  return 0;
}

int SendQueue::Append(const SendRecord* records, int count, const ProtectionDomain& pd, DatagramEndpoint* datagrams,
                      int* taken, uint64_t* bytes) {
  uint64_t tail = tail_.load(std::memory_order_relaxed);
  uint64_t used = tail - head_.load(std::memory_order_acquire) + cqeTail_.load(std::memory_order_acquire) -
                  cqeHead_.load(std::memory_order_relaxed);
  int rc = 0;
  int n = 0;
  for (; n < count; n++) {
    uint64_t length = 0;
    rc = Validate(records[n], datagrams != nullptr, &length);
    if (rc == 0 && used + static_cast<uint64_t>(n) > mask_) rc = -ENOMEM;
    if (rc == 0 && datagrams != nullptr) rc = datagrams->SetPeer(tail, records[n].addressHandle);
    if (rc == 0) rc = Put(tail, records[n], length, pd);
    if (rc != 0) break;
    *bytes += length;
    tail++;
  }
  *taken = n;
  if (n != 0) tail_.store(tail);
  return rc;
}

void SendQueue::Clear() {
  head_.store(tail_.load());
  cqeHead_.store(cqeTail_.load());
}

}  // namespace onepiece::soft

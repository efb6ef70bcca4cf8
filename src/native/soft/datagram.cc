// Datagrams. A sender never touches the receiver's memory: it puts the message into a place of the receiver's
// directory, and the receiver copies it to where its next receive says when it polls. So a datagram is no obstacle to
// revocation, and senders need not be known to the receiver.
//
// The places are taken as in shared_receives.h, one for each receive that is posted: when none is left, a datagram is
// dropped, as it is when the queue key differs, when the receiver is gone, or when the message is longer than one MTU
// (C10-93.1.1). The taker is a process. One that dies with a place taken costs the queue pair one receive of its
// capacity until a post finds no other place: then those of dead processes are given back (RecoverDead).
//
// Invariant: a sender that was stopped at any instruction and wakes an hour later writes at most into the place that it
// has taken, which is given to nobody else meanwhile, or fails in a swap: the memory of the places is used for places
// again and for nothing else, and their positions go on counting.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "queue_pair.h"

namespace onepiece::soft {

namespace {

constexpr uint32_t kGrhBytes = 40;
constexpr uint32_t kOwnQkey = 1u << 31;  // of a request: that of the sending queue pair instead (IBTA 10.2.5)

bool IsRange(uint64_t offset, uint64_t bytes) {
  return offset % 64 == 0 && offset >= kRingsOffset && offset <= kDirectoryBytes - bytes;
}

// The global routing header, as an IPv6 header (IBTA 8.3).
void WriteGrh(uint8_t* grh, uint32_t length, const uint8_t* from, const Gid& to) {
  memset(grh, 0, kGrhBytes);
  grh[0] = 0x60;
  grh[4] = static_cast<uint8_t>(length >> 8);
  grh[5] = static_cast<uint8_t>(length);
  grh[6] = 0x1b;
  grh[7] = 1;
  memcpy(grh + 8, from, 16);
  memcpy(grh + 24, to.raw, 16);
}

}  // namespace

int Context::TakeDatagramReceives(uint32_t pd, uint32_t capacity, std::shared_ptr<SharedReceives>* out) {
  for (auto it = datagramReceives.begin(); it != datagramReceives.end(); ++it) {
    if ((*it)->capacity() != capacity) continue;
    *out = std::move(*it);
    datagramReceives.erase(it);
    return 0;
  }
  return SharedReceives::Create(*this, pd, capacity, true, out);
}

QueuePair::Step QueuePair::ExecuteDatagram(WorkRequest& request, uint64_t at, CompletionStatus* status) {
  std::shared_ptr<Peer> peer = std::move(sqPeers_[at & sqMask_]);
  Enter(0);
  const uint8_t* pieces[kMaxSge];
  for (uint32_t i = 0; i < request.numSge; i++) {
    bool isInline = (request.flags & kInline) != 0;
    const SgeRecord& sge = request.sge[i];
    pieces[i] = isInline ? reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(sge.address)) : ResolveLocal(sge, false);
    if (pieces[i] != nullptr) continue;
    *status = CompletionStatus::kLocalProtectionError;
    return Step::kDone;
  }
  if (!peer || peer->dead() || request.length > kDatagramBytes) return Step::kDone;
  const Directory& directory = peer->directory();
  uint32_t index = QpIndex(request.remoteQpn);
  QpSlot& target = directory.qp(index);
  auto accepts = [&] {
    auto state = static_cast<QpState>(target.state.load());
    bool ready = state == QpState::kReadyToReceive || state == QpState::kReadyToSend || state == QpState::kSendQueueDrained;
    uint32_t qkey = (request.remoteQkey & kOwnQkey) != 0 ? attributes_.qkey : request.remoteQkey;
    return ready && target.number.load() == request.remoteQpn && qkey == ReadOnce(target.qkey) &&
           ReadOnce(target.type) == static_cast<uint32_t>(QpType::kDatagram);
  };
  uint32_t places = ReadOnce(target.srq);
  SharedView view;
  if (!accepts() || !SharedView::Read(directory, places, &view)) return Step::kDone;
  uint64_t payload = ReadOnce(view.slot->payloadOffset);
  uint64_t done = ReadOnce(view.slot->doneOffset);
  if (!IsRange(payload, uint64_t{view.capacity} * kDatagramBytes) || !IsRange(done, uint64_t{view.capacity} * 8)) {
    return Step::kDone;
  }
  DoneRing ring{reinterpret_cast<std::atomic<uint64_t>*>(directory.base + done), view.capacity, &view.slot->doneTail};
  uint32_t place = 0;
  if (!view.Take(static_cast<uint32_t>(getpid()), &place)) return Step::kDone;
  // The places may have passed to another queue pair between the look and the taking.
  if (!accepts() || ReadOnce(target.srq) != places) {
    ring.Push(place, true);
    return Step::kDone;
  }
  uint8_t* into = directory.base + payload + uint64_t{place} * kDatagramBytes;
  for (uint32_t i = 0; i < request.numSge; i++) {
    memcpy(into, pieces[i], request.sge[i].length);
    into += request.sge[i].length;
  }
  RqEntry& entry = view.entries[place];
  bool withImm = request.opcode == static_cast<uint32_t>(WorkOpcode::kSendWithImm);
  entry.byteLength = static_cast<uint32_t>(request.length);
  entry.imm = withImm ? request.imm : 0;
  entry.flags = withImm ? kWithImm : 0u;
  entry.sourceQp = number_;
  memcpy(&entry.sge[0], context().gid().raw, 16);
  ring.Push(place, false);
  Announce(*peer, target, request.remoteQpn, (request.flags & kSolicited) != 0);
  return Step::kDone;
}

int QueuePair::PostDatagramReceive(const ReceiveRecord& record) {
  if (shared_->IsFull()) shared_->RecoverDead(shared_->donePolled);
  if (shared_->IsFull()) return -ENOMEM;
  shared_->Post(ReceiveRecord{});
  datagramReceives_[rqPosted_ & (rqCapacity_ - 1)] = record;
  return 0;
}

int QueuePair::DrainDatagrams(CompletionRecord* out, int max, bool* more) {
  int count = 0;
  DoneRing ring = shared_->done();
  uint32_t place = 0;
  bool returned = false;
  for (;;) {
    bool error = state() == QpState::kError;
    if (count == max) {
      *more = true;
      return count;
    }
    if (!error && ring.Pop(shared_->donePolled, &place, &returned)) {
      shared_->donePolled++;
      if (shared_->IsThrownAway(place)) {
        shared_->Accept(place);
      } else if (returned) {
        shared_->PostAnew(place);
      } else if (rqPolled_ != rqPosted_ && shared_->IsOut(place)) {
        Deliver(place, &out[count++]);
        shared_->Accept(place);
      }
    } else if (error && rqPolled_ != rqPosted_) {
      shared_->Withdraw();
      const ReceiveRecord& receive = datagramReceives_[rqPolled_++ & (rqCapacity_ - 1)];
      out[count] = CompletionRecord{};
      out[count].wrId = receive.wrId;
      out[count].status = static_cast<uint32_t>(CompletionStatus::kFlushed);
      out[count++].qpNum = number_;
    } else {
      return count;
    }
  }
}

// Copies a datagram to where the next receive says. A receive that is wrong stops the queue pair, as on a wire.
void QueuePair::Deliver(uint32_t place, CompletionRecord* out) {
  const ReceiveRecord& receive = datagramReceives_[rqPolled_++ & (rqCapacity_ - 1)];
  const RqEntry& entry = shared_->entry(place);
  uint32_t length = std::min(ReadOnce(entry.byteLength), kDatagramBytes);
  uint8_t message[kGrhBytes + kDatagramBytes];
  uint8_t from[16];
  memcpy(from, &entry.sge[0], sizeof from);
  WriteGrh(message, length, from, context().gid());
  memcpy(message + kGrhBytes, shared_->payload(place), length);
  *out = CompletionRecord{};
  out->wrId = receive.wrId;
  out->qpNum = number_;
  uint32_t done = 0;
  uint32_t total = kGrhBytes + length;
  auto status = CompletionStatus::kSuccess;
  for (uint32_t i = 0; i < receive.numSge && done < total; i++) {
    uint8_t* local = ResolveLocal(receive.sge[i], true);
    if (local == nullptr) status = CompletionStatus::kLocalProtectionError;
    if (local == nullptr) break;
    uint32_t piece = std::min(receive.sge[i].length, total - done);
    memcpy(local, message + done, piece);
    done += piece;
  }
  if (status == CompletionStatus::kSuccess && done < total) status = CompletionStatus::kLocalLengthError;
  out->status = static_cast<uint32_t>(status);
  if (status != CompletionStatus::kSuccess) {
    slot().state.store(static_cast<uint32_t>(QpState::kError));
    return;
  }
  out->opcode = static_cast<uint32_t>(CompletionOpcode::kReceive);
  out->byteLength = total;
  out->imm = ReadOnce(entry.imm);
  out->flags = kWithGrh | (ReadOnce(entry.flags) & kWithImm);
  out->sourceQp = ReadOnce(entry.sourceQp);
}

}  // namespace onepiece::soft

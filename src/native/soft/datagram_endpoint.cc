// Invariant: see datagram_endpoint.h.
#include "datagram_endpoint.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "address_handle.h"

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

int DatagramEndpoint::Create(const QpIdentity& own, uint32_t receives, std::unique_ptr<DatagramEndpoint>* out) {
  std::unique_ptr<DatagramEndpoint> made(new (std::nothrow) DatagramEndpoint(own));
  if (!made) return -ENOMEM;
  int rc = own.context.TakeDatagramReceives(own.pd.number(), receives, &made->places_);
  if (rc != 0) return rc;
  made->receives_.resize(receives);
  *out = std::move(made);
  return 0;
}

int DatagramEndpoint::SetPeer(uint64_t at, uint32_t addressHandle) {
  const auto& handles = own_.context.handles;
  auto found = handles.find(addressHandle);
  if (found == handles.end() || &found->second->pd() != &own_.pd) return -EINVAL;
  peers_[at & (peers_.size() - 1)] = found->second->peer();
  return 0;
}

bool DatagramEndpoint::Accepts(const QpSlot& target, const WorkRequest& request) const {
  bool isReady = IsReadyState(static_cast<QpState>(target.state.load()));
  uint32_t qkey = (request.remoteQkey & kOwnQkey) != 0 ? qkey_.load(std::memory_order_relaxed) : request.remoteQkey;
  return isReady && target.number.load() == request.remoteQpn && qkey == ReadOnce(target.qkey) &&
         ReadOnce(target.type) == static_cast<uint32_t>(QpType::kDatagram);
}

void DatagramEndpoint::Send(const WorkRequest& request, uint64_t at, CompletionStatus* status) {
  std::shared_ptr<Peer> peer = std::move(peers_[at & (peers_.size() - 1)]);
  const uint8_t* pieces[kMaxSge];
  for (uint32_t i = 0; i < request.numSge; i++) {
    bool isInline = (request.flags & kInline) != 0;
    const SgeRecord& sge = request.sge[i];
    pieces[i] = isInline ? reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(sge.address))
                         : own_.pd.LocalMemory(sge, false);
    if (pieces[i] != nullptr) continue;
    *status = CompletionStatus::kLocalProtectionError;
    return;
  }
  if (!peer || peer->dead() || request.length > kDatagramBytes) return;
  const Directory& directory = peer->directory();
  QpSlot& target = directory.qp(QpIndex(request.remoteQpn));
  uint32_t places = ReadOnce(target.srq);
  SharedView view;
  if (!Accepts(target, request) || !SharedView::Read(directory, places, &view)) return;
  uint64_t payload = ReadOnce(view.slot->payloadOffset);
  uint64_t done = ReadOnce(view.slot->doneOffset);
  uint64_t capacity = view.capacity;
  if (!IsRange(payload, capacity * kDatagramBytes) || !IsRange(done, capacity * sizeof(uint64_t))) return;
  DoneRing ring{reinterpret_cast<std::atomic<uint64_t>*>(directory.base + done), view.capacity, &view.slot->doneTail};
  uint32_t place = 0;
  if (!view.Take(static_cast<uint32_t>(getpid()), &place)) return;
  // The places may have passed to another queue pair between the look and the taking.
  if (!Accepts(target, request) || ReadOnce(target.srq) != places) {
    ring.Push(place, true);
    return;
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
  entry.sourceQp = own_.number;
  memcpy(&entry.sge[0], own_.context.gid().raw, 16);
  ring.Push(place, false);
  AnnounceAt(*peer, ReadOnce(target.receiveCq), request.remoteQpn, (request.flags & kSolicited) != 0);
}

int DatagramEndpoint::PostReceive(const ReceiveRecord& record) {
  if (places_->IsFull()) places_->RecoverDead(places_->donePolled);
  if (places_->IsFull()) return -ENOMEM;
  places_->Post(ReceiveRecord{});
  receive(posted_++) = record;
  return 0;
}

int DatagramEndpoint::Drain(CompletionRecord* out, int max, bool* more) {
  int count = 0;
  DoneRing ring = places_->done();
  uint32_t place = 0;
  bool returned = false;
  for (;;) {
    bool error = own_.state() == QpState::kError;
    if (count == max) {
      *more = true;
      return count;
    }
    if (!error && ring.Pop(places_->donePolled, &place, &returned)) {
      places_->donePolled++;
      if (places_->IsThrownAway(place)) {
        places_->Accept(place);
      } else if (returned) {
        places_->PostAnew(place);
      } else if (polled_ != posted_ && places_->IsOut(place)) {
        Deliver(place, &out[count++]);
        places_->Accept(place);
      }
    } else if (error && polled_ != posted_) {
      places_->Withdraw();
      Finish(&out[count++], receive(polled_++).wrId, CompletionStatus::kFlushed, own_.number);
    } else {
      return count;
    }
  }
}

// Copies a datagram to where the next receive says. A receive that is wrong stops the queue pair, as on a wire.
void DatagramEndpoint::Deliver(uint32_t place, CompletionRecord* out) {
  const ReceiveRecord& receive = this->receive(polled_++);
  const RqEntry& entry = places_->entry(place);
  uint32_t length = std::min(ReadOnce(entry.byteLength), kDatagramBytes);
  uint8_t message[kGrhBytes + kDatagramBytes];
  uint8_t from[16];
  memcpy(from, &entry.sge[0], sizeof from);
  WriteGrh(message, length, from, own_.context.gid());
  memcpy(message + kGrhBytes, places_->payload(place), length);
  uint32_t done = 0;
  uint32_t total = kGrhBytes + length;
  auto status = CompletionStatus::kSuccess;
  for (uint32_t i = 0; i < receive.numSge && done < total; i++) {
    uint8_t* local = own_.pd.LocalMemory(receive.sge[i], true);
    if (local == nullptr) status = CompletionStatus::kLocalProtectionError;
    if (local == nullptr) break;
    uint32_t piece = std::min(receive.sge[i].length, total - done);
    memcpy(local, message + done, piece);
    done += piece;
  }
  if (status == CompletionStatus::kSuccess && done < total) status = CompletionStatus::kLocalLengthError;
  Finish(out, receive.wrId, status, own_.number);
  if (status != CompletionStatus::kSuccess) {
    own_.slot->state.store(static_cast<uint32_t>(QpState::kError));
    return;
  }
  out->opcode = static_cast<uint32_t>(CompletionOpcode::kReceive);
  out->byteLength = total;
  out->imm = ReadOnce(entry.imm);
  out->flags = kWithGrh | (ReadOnce(entry.flags) & kWithImm);
  out->sourceQp = ReadOnce(entry.sourceQp);
}

void DatagramEndpoint::Clear() {
  for (auto& peer : peers_) peer.reset();
  posted_ = 0;
  polled_ = 0;
  places_->Withdraw();
}

void DatagramEndpoint::Retire() {
  places_->Withdraw();
  own_.context.datagramReceives.push_back(places_);
}

}  // namespace onepiece::soft

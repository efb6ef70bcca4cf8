// Invariant: see remote_queue_pair.h.
#include "remote_queue_pair.h"

#include <errno.h>

#include <bit>

#include "remote_mapping.h"

namespace onepiece::soft {

namespace {

// The ring of receives of the target; an entry has `entryBytes`. False: the directory makes no sense, and the peer
// counts as one that does not answer.
bool ReadRing(const QpSlot& slot, size_t entryBytes, uint64_t* offset, uint32_t* capacity) {
  *offset = ReadOnce(slot.rqOffset);
  *capacity = ReadOnce(slot.rqCapacity);
  if (!std::has_single_bit(*capacity) || *capacity > kMaxQpWr || *offset % kPageBytes != 0) return false;
  return *offset >= kRingsOffset && *offset <= kDirectoryBytes - uint64_t{*capacity} * entryBytes;
}

// Where `length` bytes from `address` lie in the pages of a region; false when they are not all in it.
bool OffsetIn(const MrView& mr, uint64_t address, uint64_t length, uint64_t* offset) {
  if (address < mr.address || length > mr.length || address - mr.address > mr.length - length) return false;
  *offset = address - mr.address + mr.offset;
  return *offset >= mr.offset;
}

}  // namespace

void RemoteQueuePair::Connect(std::shared_ptr<Peer> peer, uint32_t number) {
  QpSlot& own = *own_.slot;
  own.peerNonce = peer->nonce();
  own.peerNumber = number;
  number_ = number;
  slot_ = &peer->directory().qp(QpIndex(number));
  peer_ = std::move(peer);
}

void RemoteQueuePair::Disconnect() {
  QpSlot& own = *own_.slot;
  own.peerNonce = 0;
  own.peerNumber = 0;
  number_ = 0;
  slot_ = nullptr;
  peer_.reset();
  cache_ = {};
}

int RemoteQueuePair::Find(uint32_t pd, uint32_t key, uint64_t address, uint64_t length, uint32_t access, Place* out) {
  Enter(key);
  const MrSlot& slot = peer_->directory().mr(MrIndex(key));
  if (key == 0 || slot.key.load() != key) return -EACCES;
  const MrView mr(slot);
  if (mr.pd != pd || (mr.access & access) != access) return -EACCES;
  // A window is for the queue pair that it is bound to, and not for receives.
  if (mr.boundQp != 0 && (mr.boundQp != number_ || (access & kLocalWrite) != 0)) return -EACCES;
  uint64_t offset = 0;
  // What was revoked meanwhile is refused; else there are no pages to be had, which is no refusal.
  auto why = [&](int rc) { return rc == 0 || slot.key.load() == key ? rc : -EACCES; };
  if (!OffsetIn(mr, address, length, &offset)) return -EACCES;
  if (mr.fd == kProcessMemory) return why(peer_->PlaceOf(address, out));
  for (const auto& cached : cache_) {
    if (cached && cached->serial() == mr.serial) return cached->At(offset, length, &out->pointer);
  }
  std::shared_ptr<Mapping> mapping;
  int rc = peer_->Map(mr, &mapping);
  if (rc == -EACCES) rc = -ESTALE;
  if (rc != 0) return why(rc);
  std::shared_ptr<Mapping>& entry = cache_[cacheNext_++ % cache_.size()];
  entry = std::move(mapping);
  return entry->At(offset, length, &out->pointer);
}

int RemoteQueuePair::FindReceive(uint32_t pd, const SgeRecord& sge, Place* out) {
  uint64_t address = 0;
  receiveKey_ = sge.lkey;
  if (!ToAddress(sge.address, &address)) return -EACCES;
  return Find(pd, sge.lkey, address, sge.length, kLocalWrite, out);
}

// No engine is needed: mapping touches no memory of the peer, and an owner that revokes the region meanwhile is
// detached from the pages. On the JavaScript thread, as are changes of the state.
int RemoteQueuePair::Map(uint64_t address, uint32_t rkey, uint64_t length,
                         std::unique_ptr<onepiece::RemoteMapping>* out) {
  if (peer_->CheckDead()) return -ESRCH;
  const MrSlot& slot = peer_->directory().mr(MrIndex(rkey));
  if (!IsReady()) return -ENOTCONN;
  if (rkey == 0 || slot.key.load() != rkey) return -EACCES;
  const MrView mr(slot);
  constexpr uint32_t kNeeded = kRemoteMap | kRemoteWrite;
  if (mr.pd != pd() || (mr.access & kNeeded) != kNeeded || mr.boundQp != 0) return -EACCES;
  if (mr.fd == kProcessMemory) return -ENOTSUP;
  uint64_t offset = 0;
  if (!OffsetIn(mr, address, length, &offset)) return -EACCES;
  std::shared_ptr<Mapping> pages;
  int rc = peer_->MapToKeep(mr, &pages);
  if (rc != 0) return peer_->IsEnding() ? -ESRCH : rc;
  uint8_t* base = nullptr;
  rc = pages->At(offset, length, &base);
  if (rc != 0) return rc;
  out->reset(new (std::nothrow) RemoteMapping(std::move(pages), base, length));
  return *out ? 0 : -ENOMEM;
}

bool RemoteQueuePair::InvalidateWindow(uint32_t rkey) {
  // This engine is the only user of the window, and it is not in it: it is invalid as soon as its key is gone.
  MrSlot& window = peer_->directory().mr(MrIndex(rkey));
  uint32_t expected = rkey;
  return expected != 0 && ReadOnce(window.boundQp) == number_ && ReadOnce(window.pd) == pd() &&
         window.key.compare_exchange_strong(expected, 0);
}

bool RemoteQueuePair::HasReceive() const {
  uint32_t srq = ReadOnce(slot_->srq);
  if (srq == 0) return slot_->rqConsumed.load() != slot_->rqPosted.load();
  SharedView view;
  return SharedView::Read(peer_->directory(), srq, &view) && view.HasReceive();
}

bool RemoteQueuePair::AwaitReceive() {
  // The flag before the second look, the receive before the look at the flag: one of both sees the other.
  slot_->rnrWaiting.store(1);
  uint32_t srq = ReadOnce(slot_->srq);
  if (srq != 0 && srq < kMaxSrqs) peer_->directory().srq(srq).waiting.store(1);
  return HasReceive();
}

bool RemoteQueuePair::NextReceive(Receive* out) {
  const Directory& directory = peer_->directory();
  uint32_t srq = ReadOnce(slot_->srq);
  if (srq != 0) {
    SharedView view;
    if (!SharedView::Read(directory, srq, &view)) return false;
    // One that was taken in an earlier turn is still ours unless the owner has flushed it meanwhile.
    if (holds_ && (held_ >= view.capacity || view.entries[held_].taken.load() != heldWord_)) holds_ = false;
    if (!holds_) {
      if (!view.Take(number_, &held_)) return false;
      holds_ = true;
      heldWord_ = view.entries[held_].taken.load();
      if (view.CheckLimit(directory, srq)) peer_->SignalEvents();
    }
    *out = {&view.entries[held_], ReadOnce(view.slot->pd)};
    return true;
  }
  uint64_t consumed = slot_->rqConsumed.load(std::memory_order_relaxed);
  if (consumed == slot_->rqPosted.load()) return false;
  uint64_t offset = 0;
  uint32_t capacity = 0;
  if (!ReadRing(*slot_, sizeof(RqEntry), &offset, &capacity)) return false;
  *out = {&directory.rq(offset, consumed, capacity), pd()};
  return true;
}

bool RemoteQueuePair::CompletedReceives(DoneRing* out) const {
  uint64_t offset = 0;
  uint32_t capacity = 0;
  if (!ReadRing(*slot_, sizeof(uint64_t), &offset, &capacity)) return false;
  auto* words = reinterpret_cast<std::atomic<uint64_t>*>(peer_->directory().base + offset);
  *out = {words, capacity, &slot_->rqConsumed};
  return true;
}

void RemoteQueuePair::CompleteReceive(RqEntry& entry, CompletionStatus status, const WorkRequest& request) {
  bool write = IsWrite(request.opcode);
  bool withImm = write || request.opcode == static_cast<uint32_t>(WorkOpcode::kSendWithImm);
  bool invalidates = request.opcode == static_cast<uint32_t>(WorkOpcode::kSendWithInvalidate);
  entry.status = static_cast<uint32_t>(status);
  entry.opcode = static_cast<uint32_t>(write ? CompletionOpcode::kReceiveWithImm : CompletionOpcode::kReceive);
  entry.byteLength = static_cast<uint32_t>(request.length);
  entry.imm = withImm ? request.imm : invalidates ? request.rkey : 0;
  entry.flags = withImm ? kWithImm : invalidates ? kWithInvalidate : 0u;
  if (holds_) {
    holds_ = false;
    DoneRing ring{};
    if (CompletedReceives(&ring)) ring.Push(held_, false);
  } else {
    uint64_t consumed = slot_->rqConsumed.load(std::memory_order_relaxed);
    slot_->rqConsumed.store(consumed + 1, std::memory_order_relaxed);
    entry.completed.store(consumed + 1, std::memory_order_release);
  }
  Announce((request.flags & kSolicited) != 0 || status != CompletionStatus::kSuccess);
}

void RemoteQueuePair::ReturnReceive() {
  if (!holds_) return;
  holds_ = false;
  bool wasInside = busy_ != 0;
  if (!wasInside) Enter(0);
  SharedView view;
  DoneRing ring{};
  // Still its own: the owner may have flushed or recovered it.
  if (IsReady() && SharedView::Read(peer_->directory(), ReadOnce(slot_->srq), &view) && held_ < view.capacity &&
      view.entries[held_].taken.load() == heldWord_ && CompletedReceives(&ring)) {
    ring.Push(held_, true);
    Announce(true);
  }
  if (!wasInside) Leave();
}

void RemoteQueuePair::Stop(uint32_t event) {
  bool stopped = StopIf(*slot_, QpState::kReadyToReceive, QpState::kReadyToSend, QpState::kSendQueueDrained);
  uint32_t index = QpIndex(number_);
  if (stopped && event != 0) MarkQpEvent(peer_->directory(), index, event);
  // This engine was the only one to take shared receives for it, and takes no more.
  if (stopped && ReadOnce(slot_->srq) != 0) MarkQpEvent(peer_->directory(), index, kEventLastWqeReached);
  if (stopped) peer_->SignalEvents();
  peer_->WakeEngine();
  Announce(true);
}

}  // namespace onepiece::soft

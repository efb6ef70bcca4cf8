// The engine's work on receives: SEND in its kinds, and what WRITE_WITH_IMM has of it. Invariant: see queue_pair.h.
#include <errno.h>

#include <algorithm>
#include <bit>

#include "queue_pair.h"

namespace onepiece::soft {

QueuePair::Step QueuePair::ExecuteSend(WorkRequest& request, QpSlot& target, uint64_t* budget,
                                       CompletionStatus* status) {
  Receive receive{};
  if (!NextReceive(target, &receive)) return IsReliable() ? Step::kNoReceive : Step::kDone;
  // A mistake of the receiver completes at both sides with an error and stops both queue pairs.
  auto refuse = [&](CompletionStatus theirs, CompletionStatus ours) {
    if (!IsReliable()) return Refuse(target, 0, ours, status);
    CompleteReceive(target, *receive.entry, theirs, request);
    return Refuse(target, 0, ours, status);
  };
  // The entry lies in memory that its owner can change: it is read once.
  uint32_t numSge = std::min<uint32_t>(ReadOnce(receive.entry->numSge), kMaxSge);
  SgeRecord pieces[kMaxSge];
  uint64_t room = 0;
  for (uint32_t i = 0; i < numSge; i++) {
    const SgeRecord& sge = receive.entry->sge[i];
    pieces[i] = {ReadOnce(sge.address), ReadOnce(sge.length), ReadOnce(sge.lkey)};
    room += pieces[i].length;
  }
  if (request.length > room) return refuse(CompletionStatus::kLocalLengthError, CompletionStatus::kRemoteInvalidRequest);
  uint64_t begin = 0;  // of this scatter element, in the message
  for (uint32_t i = 0; i < numSge && request.done < request.length; i++) {
    const SgeRecord& sge = pieces[i];
    uint64_t end = std::min<uint64_t>(begin + sge.length, request.length);
    while (request.done < end) {
      uint64_t address = 0;
      Place remote;
      receiveKey_ = sge.lkey;
      int rc = ToAddress(sge.address, &address)
                   ? ResolveRemote(receive.pd, sge.lkey, address, sge.length, kLocalWrite, &remote)
                   : -EACCES;
      if (rc != 0) {
        Step step = Step::kDone;
        if (HaveNoPages(rc, &step, status)) return step;
        return refuse(CompletionStatus::kLocalProtectionError, CompletionStatus::kRemoteOperationError);
      }
      uint64_t bytes = std::min(end - request.done, *budget);
      if (bytes == 0) return Step::kMore;
      if (!CopyPiece(request, remote + (request.done - begin), bytes, true, status)) return Step::kDone;
      *budget -= bytes;
    }
    begin += sge.length;
  }
  if (request.opcode == static_cast<uint32_t>(WorkOpcode::kSendWithInvalidate)) {
    // This engine is the only user of the window, and it is not in it: it is invalid as soon as its key is gone.
    MrSlot& window = peer_->directory().mr(MrIndex(request.rkey));
    uint32_t expected = request.rkey;
    bool known = expected != 0 && ReadOnce(window.boundQp) == attributes_.destQpNum &&
                 ReadOnce(window.pd) == ReadOnce(target.pd) && window.key.compare_exchange_strong(expected, 0);
    // The message has arrived; the receiver sees an error of its own (IBTA class J), of which the sender hears nothing.
    if (!known) return refuse(CompletionStatus::kRemoteInvalidRequest, CompletionStatus::kSuccess);
  }
  CompleteReceive(target, *receive.entry, CompletionStatus::kSuccess, request);
  return Step::kDone;
}

bool QueuePair::HasReceive(const QpSlot& target) const {
  uint32_t srq = ReadOnce(target.srq);
  if (srq == 0) return target.rqConsumed.load() != target.rqPosted.load();
  SharedView view;
  return SharedView::Read(peer_->directory(), srq, &view) && view.HasReceive();
}

bool QueuePair::NextReceive(QpSlot& target, Receive* out) {
  const Directory& directory = peer_->directory();
  uint32_t srq = ReadOnce(target.srq);
  if (srq != 0) {
    SharedView view;
    if (!SharedView::Read(directory, srq, &view)) return false;
    // One that was taken in an earlier turn is still ours unless the owner has flushed it meanwhile.
    if (holds_ && (held_ >= view.capacity || view.entries[held_].taken.load() != heldWord_)) holds_ = false;
    if (!holds_) {
      if (!view.Take(attributes_.destQpNum, &held_)) return false;
      holds_ = true;
      heldWord_ = view.entries[held_].taken.load();
      if (view.CheckLimit(directory, srq)) peer_->SignalEvents();
    }
    *out = {&view.entries[held_], ReadOnce(view.slot->pd)};
    return true;
  }
  uint64_t consumed = target.rqConsumed.load(std::memory_order_relaxed);
  if (consumed == target.rqPosted.load()) return false;
  uint64_t offset = ReadOnce(target.rqOffset);
  uint32_t capacity = ReadOnce(target.rqCapacity);
  // A directory that makes no sense is a peer that does not answer.
  if (!std::has_single_bit(capacity) || capacity > kMaxQpWr || offset % kPageBytes != 0) return false;
  if (offset < kRingsOffset || offset > kDirectoryBytes - uint64_t{capacity} * sizeof(RqEntry)) return false;
  *out = {&directory.rq(offset, consumed, capacity), ReadOnce(target.pd)};
  return true;
}

bool QueuePair::DoneOf(QpSlot& target, DoneRing* out) const {
  uint64_t offset = ReadOnce(target.rqOffset);
  uint32_t capacity = ReadOnce(target.rqCapacity);
  if (!std::has_single_bit(capacity) || capacity > kMaxQpWr || offset % kPageBytes != 0) return false;
  if (offset < kRingsOffset || offset > kDirectoryBytes - uint64_t{capacity} * sizeof(uint64_t)) return false;
  auto* words = reinterpret_cast<std::atomic<uint64_t>*>(peer_->directory().base + offset);
  *out = {words, capacity, &target.rqConsumed};
  return true;
}

// Gives back a shared receive that was taken for a request which failed here.
void QueuePair::ReturnHeld() {
  if (!holds_) return;
  holds_ = false;
  bool wasInside = busy_ != 0;
  if (!wasInside) Enter(0);
  QpSlot& target = peer_->directory().qp(QpIndex(attributes_.destQpNum));
  SharedView view;
  DoneRing ring{};
  // Still its own: the owner may have flushed or recovered it.
  if (IsTarget(target) && SharedView::Read(peer_->directory(), ReadOnce(target.srq), &view) && held_ < view.capacity &&
      view.entries[held_].taken.load() == heldWord_ && DoneOf(target, &ring)) {
    ring.Push(held_, true);
    Announce(*peer_, target, attributes_.destQpNum, true);
  }
  if (!wasInside) Leave();
}

QueuePair::Step QueuePair::Refuse(QpSlot& target, uint32_t event, CompletionStatus ours, CompletionStatus* status) {
  ReturnHeld();
  if (!IsReliable()) return Step::kDone;  // dropped there, and nobody here hears of it
  StopTarget(target, event);
  *status = ours;
  return Step::kDone;
}

// A queue pair that was used against its owner's rules stops as well (IBTA 9.9.3, class C of the responder), and its
// owner gets to see the receives that are flushed by it, and an event.
void QueuePair::StopTarget(QpSlot& target, uint32_t event) {
  bool stopped = false;
  for (QpState from : {QpState::kReadyToReceive, QpState::kReadyToSend, QpState::kSendQueueDrained}) {
    auto expected = static_cast<uint32_t>(from);
    stopped = target.state.compare_exchange_strong(expected, static_cast<uint32_t>(QpState::kError));
    if (stopped) break;
  }
  uint32_t index = QpIndex(attributes_.destQpNum);
  if (stopped && event != 0) MarkQpEvent(peer_->directory(), index, event);
  // This engine was the only one to take shared receives for it, and takes no more.
  if (stopped && ReadOnce(target.srq) != 0) MarkQpEvent(peer_->directory(), index, kEventLastWqeReached);
  if (stopped) peer_->SignalEvents();
  peer_->WakeEngine();
  Announce(*peer_, target, attributes_.destQpNum, true);
}

// Tells the owner of queue pair `number` that it has something to poll.
void QueuePair::Announce(Peer& peer, QpSlot& target, uint32_t number, bool solicited) {
  CqSlot& cq = peer.directory().cq(ReadOnce(target.receiveCq) & (kMaxCqs - 1));
  SetReady(cq, QpIndex(number));
  if (!TakeArm(cq, solicited)) return;
  uint32_t fd = ReadOnce(cq.channelFd);
  if (fd != 0) peer.Signal(fd, ReadOnce(cq.channelInode));
}

void QueuePair::CompleteReceive(QpSlot& target, RqEntry& entry, CompletionStatus status, const WorkRequest& request) {
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
    if (DoneOf(target, &ring)) ring.Push(held_, false);
  } else {
    uint64_t consumed = target.rqConsumed.load(std::memory_order_relaxed);
    target.rqConsumed.store(consumed + 1, std::memory_order_relaxed);
    entry.completed.store(consumed + 1, std::memory_order_release);
  }
  bool solicited = (request.flags & kSolicited) != 0 || status != CompletionStatus::kSuccess;
  Announce(*peer_, target, attributes_.destQpNum, solicited);
}

}  // namespace onepiece::soft

// The queue pair at the other end of a connection, as the initiator sees it: the target of its requests. Its program
// and its CPU take no part, so all that a network card would do at the target is done here: check state, keys and
// bounds, take a receive, complete it, stop the queue pair.
//
// Invariants:
//  - nothing is touched in the peer unless Enter() published `busy` before the check that allowed it, and no memory of
//    it unless Enter() named its key before (docs/soft-device.md, "Revocation is final");
//  - what the peer can write is read once and checked before it is used.
//
// Threads: Connect(), Disconnect() and Map() are for the JavaScript thread, the first two with no engine running.
// peer(), number() and IsOutside() are for every thread. All else is for whoever runs the engine.
#pragma once

#include <array>
#include <memory>

#include "qp_identity.h"
#include "shared_receives.h"
#include "work_request.h"

namespace onepiece::soft {

class RemoteQueuePair {
 public:
  // A receive of the target, taken or about to be consumed.
  struct Receive {
    RqEntry* entry;
    uint32_t pd;
  };

  explicit RemoteQueuePair(const QpIdentity& own) : own_(own) {}

  // The directory says from now on that this queue pair is connected to `number` of the peer.
  void Connect(std::shared_ptr<Peer> peer, uint32_t number);
  void Disconnect();
  const std::shared_ptr<Peer>& peer() const { return peer_; }
  uint32_t number() const { return number_; }
  // Its engine is not inside this process: at all, or in the memory that `key` names.
  bool IsOutside() const { return !peer_ || PeerIsQuiet(*peer_, number_); }
  bool IsOutside(uint32_t key) const { return PeerIsQuiet(*peer_, number_, key); }
  // Pages of its region, for the program. -EACCES: not allowed; -ENOTCONN: not ready; -ESRCH: the peer is gone.
  int Map(uint64_t address, uint32_t rkey, uint64_t length, std::unique_ptr<onepiece::RemoteMapping>* out);

  // Says that this engine is inside the peer, and which key it is going to use there. Of datagrams too: key 0.
  void Enter(uint32_t key) {
    uint64_t word = kInside | key;
    if (busy_ == word) return;
    own_.slot->busy.store(word);
    busy_ = word;
  }
  void Leave() {
    if (busy_ != 0) own_.slot->busy.store(0);
    busy_ = 0;
  }
  // Whether it is connected back to this queue pair and ready.
  bool IsReady() const {
    return IsReadyState(static_cast<QpState>(slot_->state.load())) && slot_->number.load() == number_ &&
           ReadOnce(slot_->peerNonce) == own_.context.nonce() && ReadOnce(slot_->peerNumber) == own_.number &&
           ReadOnce(slot_->type) == static_cast<uint32_t>(own_.type);
  }
  uint32_t pd() const { return ReadOnce(slot_->pd); }
  uint32_t access() const { return ReadOnce(slot_->access); }
  uint32_t minRnrTimer() const { return ReadOnce(slot_->minRnrTimer); }
  // The key that a SEND enters with: that of the last receive is a good guess for the next.
  uint32_t receiveKey() const { return receiveKey_; }

  // Where memory of the peer lies. 0; -EACCES: the peer does not allow it; else why the pages could not be had.
  int Find(uint32_t pd, uint32_t key, uint64_t address, uint64_t length, uint32_t access, Place* out);
  // The same for a piece of a receive.
  int FindReceive(uint32_t pd, const SgeRecord& sge, Place* out);
  // Makes a window of it invalid (SEND_WITH_INV); false when it has none of that key for this queue pair.
  bool InvalidateWindow(uint32_t rkey);

  // The next receive; false when there is none. It is this request's until it is completed or returned.
  bool NextReceive(Receive* out);
  // Asks to be woken when a receive is posted; true when there is one already.
  bool AwaitReceive();
  void CompleteReceive(RqEntry& entry, CompletionStatus status, const WorkRequest& request);
  // Gives back a shared receive that was taken for a request which failed here.
  void ReturnReceive();

  // A queue pair that was used against its owner's rules stops as well (IBTA 9.9.3, class C of the responder). Its
  // owner sees the receives that are flushed by it, and `event` unless that is 0.
  void Stop(uint32_t event);

 private:
  bool HasReceive() const;
  bool CompletedReceives(DoneRing* out) const;
  void Announce(bool solicited) { AnnounceAt(*peer_, ReadOnce(slot_->receiveCq), number_, solicited); }

  const QpIdentity& own_;
  std::shared_ptr<Peer> peer_;
  QpSlot* slot_ = nullptr;  // in the peer's directory
  uint32_t number_ = 0;

  uint64_t busy_ = 0;  // as published
  uint32_t receiveKey_ = 0;
  // The shared receive that was taken; `heldWord_` tells whether it is still ours.
  bool holds_ = false;
  uint32_t held_ = 0;
  uint64_t heldWord_ = 0;
  // The last pages that were used, so that they are not looked up each time.
  std::array<std::shared_ptr<Mapping>, 8> cache_;
  uint32_t cacheNext_ = 0;
};

}  // namespace onepiece::soft

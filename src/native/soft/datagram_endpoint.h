// What a datagram queue pair has instead of a connection: the receives that many senders take from, and where each
// of its own datagrams goes.
//
// A sender never touches the receiver's memory: it puts the message into a place of the receiver's directory, and the
// receiver copies it to where its next receive says when it polls. So a datagram is no obstacle to revocation, and
// senders need not be known to the receiver.
//
// The places are taken as in shared_receives.h, one for each receive that is posted: when none is left, a datagram is
// dropped, as it is when the queue key differs, when the receiver is gone, or when the message is longer than one MTU
// (C10-93.1.1). The taker is a process. One that dies with a place taken costs the queue pair one receive of its
// capacity until a post finds no other place: then those of dead processes are given back (RecoverDead).
//
// Invariant: a sender that was stopped at any instruction and wakes an hour later writes at most into the place that it
// has taken, which is given to nobody else meanwhile, or fails in a swap: the memory of the places is used for places
// again and for nothing else, and their positions go on counting.
//
// Threads: Send() is for whoever runs the engine, all else for the JavaScript thread.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "qp_identity.h"
#include "shared_receives.h"
#include "work_request.h"

namespace onepiece::soft {

class DatagramEndpoint {
 public:
  // With `receives` places, a power of two. 0 or -ENOMEM.
  static int Create(const QpIdentity& own, uint32_t receives, std::unique_ptr<DatagramEndpoint>* out);

  const SharedReceives& places() const { return *places_; }
  // Posted and not yet polled.
  uint64_t outstanding() const { return posted_ - polled_; }
  // 0; -ENOMEM: every place is taken.
  int PostReceive(const ReceiveRecord& record);
  // Moves completions into `out`; `more` when some are left.
  int Drain(CompletionRecord* out, int max, bool* more);
  // Takes back all receives.
  void Clear();
  // The same for good: the places go to the next datagram queue pair.
  void Retire();

  // As many requests as the send queue has; a power of two.
  void AllocateSends(uint32_t capacity) { peers_.resize(capacity); }
  // Where the request at position `at` of the send queue goes; -EINVAL: no address handle of this domain.
  int SetPeer(uint64_t at, uint32_t addressHandle);
  void SetQkey(uint32_t qkey) { qkey_.store(qkey, std::memory_order_relaxed); }
  // Sends the request at position `at`. Only a mistake of its own shows in `status`; whatever the receiver does not
  // take is dropped.
  void Send(const WorkRequest& request, uint64_t at, CompletionStatus* status);

 private:
  explicit DatagramEndpoint(const QpIdentity& own) : own_(own) {}
  bool Accepts(const QpSlot& target, const WorkRequest& request) const;
  void Deliver(uint32_t place, CompletionRecord* out);
  ReceiveRecord& receive(uint64_t position) { return receives_[position & (receives_.size() - 1)]; }

  const QpIdentity& own_;
  std::shared_ptr<SharedReceives> places_;
  std::vector<ReceiveRecord> receives_;  // a ring; nobody else sees them
  uint64_t posted_ = 0;
  uint64_t polled_ = 0;
  std::vector<std::shared_ptr<Peer>> peers_;  // of the requests in the send queue
  std::atomic<uint32_t> qkey_{0};
};

}  // namespace onepiece::soft

// The engine of a queue pair: the initiator's side, which carries out its send work requests, all of it. The target's
// program and CPU take no part.
//
// Life of a WRITE_WITH_IMM:  PostSend copies the record into the send queue -> the engine says that it is inside, and
// with which key (`busy`), checks that the target queue pair exists, is connected to this one and ready, takes a
// receive, checks key, bounds and access, copies, completes the receive in the shared ring, sets the ready bit, rings
// the channel if it is armed -> says that it is outside -> the local completion.
//
// Invariants:
//  - one thread at a time runs the engine (`running_`); whoever fails to get it relies on the other to look again;
//  - small work is done on the posting thread, which is JavaScript's; what takes longer than some hundred microseconds,
//    or has to wait, is done by the engine thread, in chunks;
//  - requests are carried out one after the other, so that a fence is always kept.
//
// Threads: Progress(), IsRunning() and HasBegun() are for every thread, HearOfDeath() is for the engine thread. All
// else public is for the JavaScript thread; Reset() with no engine running.
#pragma once

#include <atomic>

#include "datagram_endpoint.h"
#include "receive_queue.h"
#include "remote_queue_pair.h"
#include "send_queue.h"

namespace onepiece::soft {

class Requester {
 public:
  Requester(const QpIdentity& qp, ReceiveQueue& receives, bool signalAll)
      : qp_(qp), receives_(receives), remote_(qp), signalAll_(signalAll) {}
  // What it works off, and for whom. Each says itself who may call.
  SendQueue& queue() { return queue_; }
  RemoteQueuePair& remote() { return remote_; }
  const RemoteQueuePair& remote() const { return remote_; }
  // Of a datagram queue pair, before any use.
  void UseDatagrams(DatagramEndpoint& datagrams) { datagrams_ = &datagrams; }

  // A turn of the engine, unless somebody else runs it.
  void Progress(bool isPosting);
  // Whether the engine may be inside a peer: from what only this process knows, as peers can write `busy`.
  bool IsRunning() const { return running_.load(); }
  // Whether a request was begun and has not ended.
  bool HasBegun() const { return begun_.load(); }
  // The peer may have died: then the queue pair stops. The request that is under way, or the first that is posted
  // later, completes with that error, those behind it are flushed.
  void HearOfDeath();

  void SetTimeout(uint32_t timeout) { timeout_.store(timeout); }
  void SetRetryCount(uint32_t count) { retryCount_.store(count); }
  void SetRnrRetry(uint32_t count) { rnrRetry_.store(count); }
  // Whether SEND_QUEUE_DRAINED raises an event when all that was begun has ended.
  void NotifyWhenDrained(bool notify) { notifyWhenDrained_.store(notify); }
  // After return no thread runs the engine, and none begins while the state is RESET.
  void Join();
  void Reset();

 private:
  enum class Outcome { kIdle, kMore, kWait };
  enum class Step { kDone, kMore, kNoReceive, kNoResponse, kPeerInside };

  // requester.cc
  Outcome Run(uint64_t* budget, uint64_t* dueNs);
  Step Execute(WorkRequest& request, uint64_t at, uint64_t* budget, CompletionStatus* status);
  bool GaveUp(Step step, uint64_t* dueNs, CompletionStatus* status);

  // requester_operations.cc
  Step OneSided(WorkRequest& request, uint64_t* budget, CompletionStatus* status);
  Step Send(WorkRequest& request, uint64_t* budget, CompletionStatus* status);
  bool Atomic(WorkRequest& request, const Place& remote, CompletionStatus* status);
  Step Bind(WorkRequest& request, CompletionStatus* status);
  Step Invalidate(WorkRequest& request, CompletionStatus* status);
  bool CopyPiece(WorkRequest& request, const Place& remote, uint64_t bytes, bool toRemote, CompletionStatus* status);
  bool HaveNoPages(int rc, Step* step, CompletionStatus* status) const;
  // The target's side broke off: an unreliable request is dropped there, a reliable one stops both queue pairs.
  Step Refuse(uint32_t event, CompletionStatus ours, CompletionStatus* status);

  const QpIdentity& qp_;
  ReceiveQueue& receives_;
  SendQueue queue_;
  RemoteQueuePair remote_;
  DatagramEndpoint* datagrams_ = nullptr;
  const bool signalAll_;

  std::atomic<bool> running_{false};
  std::atomic<bool> begun_{false};
  std::atomic<bool> notifyWhenDrained_{false};
  // How long a request may wait. Here, as the attributes may be changed while the engine runs.
  std::atomic<uint32_t> timeout_{0};
  std::atomic<uint32_t> retryCount_{0};
  std::atomic<uint32_t> rnrRetry_{0};
  // Of the request at the head, while it waits.
  uint64_t waitSinceNs_ = 0;
  uint32_t waits_ = 0;
  bool heardOfDeath_ = false;
  bool reportLoss_ = false;  // the next request completes with the error
};

}  // namespace onepiece::soft

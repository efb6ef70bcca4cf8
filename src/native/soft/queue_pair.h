// Queue pair of the soft device: reliable connected, unreliable connected, or datagrams. This is the owner's side: it
// is created, posted to, polled, taken from state to state, and closed. Its parts do the rest:
//
//   SendQueue         requests and their completions, between the owner and the engine
//   ReceiveQueue      the receives of a connected queue pair
//   Requester         the engine, which carries out the requests
//   RemoteQueuePair   the target of the requests, as the engine sees it
//   DatagramEndpoint  receives and targets of a datagram queue pair, instead of the two that a connection has
//
// Invariant: a queue pair that is gone or reset has no engine inside it, neither its own nor the peer's.
//
// Threads: the JavaScript thread calls everything but ProgressFromThread(), which is for the engine thread. peer() and
// peerNumber() change only with the state, by the JavaScript thread.
#pragma once

#include <memory>

#include "datagram_endpoint.h"
#include "receive_queue.h"
#include "remote_queue_pair.h"
#include "requester.h"
#include "send_queue.h"

namespace onepiece::soft {

class QueuePair final : public onepiece::QueuePair {
 public:
  static int Create(ProtectionDomain& pd, const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out);
  ~QueuePair() override { Close(); }

  uint32_t Number() const override { return identity_.number; }
  QpCapabilities Capabilities() const override { return capabilities_; }
  int Modify(const QpAttributes& attributes) override;
  int Query(QpAttributes* attributes) override;
  int PostSend(const SendRecord* records, int count, int* taken) override;
  int PostReceive(const ReceiveRecord* records, int count, int* taken) override;
  int MapRemote(uint64_t address, uint32_t rkey, uint64_t length,
                std::unique_ptr<onepiece::RemoteMapping>* out) override;
  int Close() override;

  // Moves completions for `queue` into `out`; `more` when some are left.
  int Drain(CompletionQueue& queue, CompletionRecord* out, int max, bool* more);
  // A turn of the engine, and what waits for the peer.
  void ProgressFromThread();
  // Whether its engine may be inside a peer.
  bool IsBusy() const { return requester_.IsRunning(); }
  const std::shared_ptr<Peer>& peer() const { return requester_.remote().peer(); }
  uint32_t peerNumber() const { return requester_.remote().number(); }
  // The shared receive queue that it takes from, if any.
  const std::shared_ptr<SharedReceives>& shared() const { return receives_.shared(); }
  void WakeWaitingPeer() { receives_.WakeWaitingPeer(); }

 private:
  QueuePair(ProtectionDomain& pd, QpType type, bool signalAll, CompletionQueue& sendCq, CompletionQueue& receiveCq)
      : identity_(pd, this, type, &sendCq, &receiveCq),
        requester_(identity_, receives_, signalAll),
        receives_(identity_, requester_.remote()) {}
  Context& context() const { return identity_.context; }

  // queue_pair.cc
  int Reserve(uint32_t receives, SharedReceiveQueue* srq);
  void ShowInDirectory();

  // queue_pair_states.cc
  int Connect(const QpAttributes& wanted);
  void Adopt(const QpAttributes& wanted, uint32_t mask);
  void WatchPeer();
  int WaitPeerOutside() const;
  void ClearReceives();
  void EnterError();
  int ToReset();
  void LetGo();

  QpIdentity identity_;
  QpCapabilities capabilities_;
  QpAttributes attributes_;
  bool closed_ = true;
  Requester requester_;
  ReceiveQueue receives_;
  std::unique_ptr<DatagramEndpoint> datagrams_;
};

}  // namespace onepiece::soft

// Queue pair of the soft device: reliable connected, unreliable connected, or datagrams. The initiator's engine carries
// out the whole operation; the target's program and CPU take no part (of datagrams: see datagram.cc).
//
// Life of a WRITE_WITH_IMM:  PostSend copies the record into the send queue -> the engine says that it is inside, and
// with which key (`busy`), checks that the target queue pair exists, is connected to this one and ready, takes a
// receive, checks key, bounds and access, copies, completes the receive in the shared ring, sets the ready bit, rings
// the channel if it is armed -> says that it is outside -> the local completion.
//
// Invariants:
//  - one thread at a time runs an engine (`engine_`); whoever fails to get it relies on the owner to look again;
//  - small work is done on the posting thread, which is JavaScript's; what takes longer than some hundred microseconds,
//    or has to wait, is done by the engine thread, in chunks;
//  - requests are carried out one after the other, so that a fence is always kept;
//  - nothing is touched in a peer unless `busy` was published before the check that allowed it, and no memory of it
//    unless `busy` named its key before;
//  - a queue pair that is gone or reset has no engine inside it, neither its own nor the peer's.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "completion_queue.h"
#include "protection_domain.h"
#include "shared_receives.h"

namespace onepiece::soft {

constexpr uint32_t kMaxQpWr = 1u << 15;
constexpr uint32_t kMaxInlineData = 256;
constexpr uint64_t kSettleNs = 2'000'000;

inline bool IsWrite(uint32_t opcode) { return opcode <= static_cast<uint32_t>(WorkOpcode::kWriteWithImm); }
inline bool IsSend(uint32_t opcode) {
  auto work = static_cast<WorkOpcode>(opcode);
  return work == WorkOpcode::kSend || work == WorkOpcode::kSendWithImm || work == WorkOpcode::kSendWithInvalidate;
}

class QueuePair final : public onepiece::QueuePair {
 public:
  static int Create(ProtectionDomain& pd, const QpInit& init, std::unique_ptr<onepiece::QueuePair>* out);
  ~QueuePair() override { Close(); }

  uint32_t Number() const override { return number_; }
  QpCapabilities Capabilities() const override { return capabilities_; }
  int Modify(const QpAttributes& attributes) override;
  int Query(QpAttributes* attributes) override;
  int PostSend(const SendRecord* records, int count, int* taken) override;
  int PostReceive(const ReceiveRecord* records, int count, int* taken) override;
  int MapRemote(uint64_t address, uint32_t rkey, uint64_t length,
                std::unique_ptr<onepiece::RemoteMapping>* out) override;
  int TimeCopy(const SendRecord& record, double* ns) override;
  int Close() override;

  // Moves completions for `queue` into `out`; `more` when some are left.
  int Drain(CompletionQueue& queue, CompletionRecord* out, int max, bool* more);
  // A turn of the engine on the engine thread.
  void ProgressFromThread();
  // Whether its engine may be inside: from what only this process knows, as peers can write `busy`.
  bool IsBusy() const { return engine_.load(); }
  bool PeerIsOutside() const;
  const std::shared_ptr<Peer>& peer() const { return peer_; }
  uint32_t peerNumber() const { return attributes_.destQpNum; }
  const std::shared_ptr<SharedReceives>& shared() const { return shared_; }
  void WakeWaitingPeer();

 private:
  struct WorkRequest {
    double wrId;
    uint64_t remoteAddress;
    uint64_t done;  // bytes already copied
    uint64_t length;
    uint64_t compareAdd;
    uint64_t swap;
    uint32_t opcode;
    uint32_t flags;
    uint32_t imm;
    uint32_t rkey;
    uint32_t numSge;
    uint32_t object;  // number of a window or of an address handle
    uint32_t remoteQpn;
    uint32_t remoteQkey;
    SgeRecord sge[kMaxSge];
  };
  enum class Outcome { kIdle, kMore, kWait };
  enum class Step { kDone, kMore, kNoReceive, kNoResponse, kPeerInside };
  // A receive of the target, taken or about to be consumed.
  struct Receive {
    RqEntry* entry;
    uint32_t pd;
  };

  explicit QueuePair(ProtectionDomain& pd) : pd_(pd) {}
  Context& context() const { return pd_.context(); }
  QpSlot& slot() const { return context().directory().qp(QpIndex(number_)); }
  DoneRing done() const {
    auto* words = reinterpret_cast<std::atomic<uint64_t>*>(context().directory().base + ringOffset_);
    return {words, rqCapacity_, &slot().rqConsumed};
  }
  QpState state() const { return static_cast<QpState>(slot().state.load(std::memory_order_acquire)); }

  bool IsDatagram() const { return type_ == QpType::kDatagram; }
  bool IsReliable() const { return type_ == QpType::kReliable; }

  // queue_pair.cc
  int Validate(const SendRecord& record, uint64_t* length) const;
  int TakeRecord(const SendRecord& record, uint64_t length, uint64_t tail);
  int CheckReceive(const ReceiveRecord& record) const;
  uint8_t* ResolveLocal(const SgeRecord& sge, bool write) const;
  int DrainSends(CompletionRecord* out, int max, bool* more);
  int DrainOwn(CompletionRecord* out, int max, bool* more);
  int DrainShared(CompletionRecord* out, int max, bool* more);
  bool IsSettled() const;

  // states.cc
  void ClearRing();
  void EnterError();
  void AfterError();
  void HearOfDeath();
  void WatchPeer();
  int WaitPeerOutside();
  int ToReadyToReceive(const QpAttributes& attributes);
  int ToReset();
  void LetGo();

  // engine.cc
  void Enter(uint32_t key);
  void Leave();
  void ProgressFromPost() { Progress(true); }
  void Progress(bool isPosting);
  Outcome RunEngine(uint64_t* budget, uint64_t* dueNs);
  Step Execute(WorkRequest& request, uint64_t* budget, CompletionStatus* status);
  bool GaveUp(Step step, uint64_t* dueNs, CompletionStatus* status);
  void CompleteSend(const CompletionRecord& record);
  bool IsTarget(const QpSlot& target) const;

  // engine_memory.cc
  Step ExecuteOneSided(WorkRequest& request, QpSlot& target, uint64_t* budget, CompletionStatus* status);
  bool ExecuteAtomic(WorkRequest& request, const Place& remote, CompletionStatus* status);
  Step ExecuteBind(WorkRequest& request, CompletionStatus* status);
  Step ExecuteInvalidate(WorkRequest& request, CompletionStatus* status);
  bool CopyPiece(WorkRequest& request, const Place& remote, uint64_t bytes, bool toRemote, CompletionStatus* status);
  // 0; -EACCES: the peer does not allow it; else why the pages could not be had.
  int ResolveRemote(uint32_t pd, uint32_t key, uint64_t address, uint64_t length, uint32_t access, Place* out);
  bool HaveNoPages(int rc, Step* step, CompletionStatus* status) const;

  // engine_send.cc
  Step ExecuteSend(WorkRequest& request, QpSlot& target, uint64_t* budget, CompletionStatus* status);
  bool NextReceive(QpSlot& target, Receive* out);
  bool HasReceive(const QpSlot& target) const;
  void CompleteReceive(QpSlot& target, RqEntry& entry, CompletionStatus status, const WorkRequest& request);
  bool DoneOf(QpSlot& target, DoneRing* out) const;
  void ReturnHeld();
  void Announce(Peer& peer, QpSlot& target, uint32_t number, bool solicited);
  // The target's side broke off: an unreliable request is dropped there, a reliable one stops both queue pairs.
  Step Refuse(QpSlot& target, uint32_t event, CompletionStatus ours, CompletionStatus* status);
  void StopTarget(QpSlot& target, uint32_t event);

  // datagram.cc
  Step ExecuteDatagram(WorkRequest& request, uint64_t at, CompletionStatus* status);
  int PostDatagramReceive(const ReceiveRecord& record);
  int DrainDatagrams(CompletionRecord* out, int max, bool* more);
  void Deliver(uint32_t place, CompletionRecord* out);

  ProtectionDomain& pd_;
  CompletionQueue* sendCq_ = nullptr;
  CompletionQueue* receiveCq_ = nullptr;
  QpCapabilities capabilities_;
  QpAttributes attributes_;
  QpType type_ = QpType::kReliable;
  bool signalAll_ = false;
  bool closed_ = true;
  uint32_t number_ = 0;
  uint64_t ringOffset_ = 0;
  uint64_t ringBytes_ = 0;
  uint32_t rqCapacity_ = 0;
  uint64_t rqPosted_ = 0;
  uint64_t rqPolled_ = 0;
  std::shared_ptr<Peer> peer_;
  std::shared_ptr<SharedReceives> shared_;  // that it takes from; of datagrams: its own
  // Of datagrams: the receives posted, as a ring; nobody else sees them.
  std::vector<ReceiveRecord> datagramReceives_;

  // Send queue: the JavaScript thread appends, the engine takes.
  uint32_t sqMask_ = 0;
  std::vector<WorkRequest> sq_;
  std::vector<uint8_t> inlineData_;
  std::vector<std::shared_ptr<Peer>> sqPeers_;  // of datagrams: where each goes
  std::atomic<uint64_t> sqTail_{0};
  std::atomic<uint64_t> sqHead_{0};
  std::atomic<bool> engine_{false};
  // Send completions: the engine appends, the JavaScript thread takes. The engine frees a request's slot before it
  // shows the completion, so that whoever polled it finds room to post; hence the ring is larger than the queue.
  uint32_t cqeMask_ = 0;
  std::vector<CompletionRecord> sendCqes_;
  std::atomic<uint64_t> cqeTail_{0};
  std::atomic<uint64_t> cqeHead_{0};

  // How long a request may wait. Of `attributes_`; the engine reads them here, as they may be changed meanwhile.
  std::atomic<uint32_t> timeout_{0};
  std::atomic<uint32_t> retryCount_{0};
  std::atomic<uint32_t> rnrRetry_{0};
  // Of the request at the head, while it waits.
  uint64_t waitSinceNs_ = 0;
  uint32_t waits_ = 0;
  std::atomic<bool> begun_{false};  // it was, and has not ended
  // The shared receive that it has taken; `heldWord_` tells whether it still has it.
  bool holds_ = false;
  uint32_t held_ = 0;
  uint64_t heldWord_ = 0;

  uint64_t busy_ = 0;  // as published
  uint32_t receiveKey_ = 0;  // of the last receive, which is a good guess for the next
  bool heardOfDeath_ = false;
  // the first request after the peer's death completes with that error, those behind it are flushed
  bool reportLoss_ = false;
  std::atomic<bool> notifyWhenDrained_{false};
  std::atomic<bool> tellLastWqe_{false};  // due when the peer is outside

  std::array<std::shared_ptr<Mapping>, 8> cache_;
  uint32_t cacheNext_ = 0;
};

}  // namespace onepiece::soft

// Queue pair of the soft device: reliable connected. The initiator's engine carries out the whole operation; the
// target's program and CPU take no part.
//
// Life of a WRITE_WITH_IMM:  PostSend copies the record into the send queue -> the engine says that it is inside
// (`busy`), checks that the target queue pair exists, is connected to this one and ready, takes a receive, checks key,
// bounds and access, copies, completes the receive in the shared ring, sets the ready bit, rings the channel if it is
// armed -> says that it is outside -> the local completion.
//
// Invariants:
//  - one thread at a time runs an engine (`engine_`); whoever fails to get it relies on the owner to look again;
//  - small work is done on the posting thread; what is long, or has to wait, is done by the engine thread, in chunks;
//  - nothing is touched in a peer unless `busy` was published before the check that allowed it;
//  - a queue pair that is gone or reset has no engine inside it, neither its own nor the peer's.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "completion_queue.h"
#include "protection_domain.h"

namespace onepiece::soft {

constexpr uint32_t kMaxQpWr = 1u << 15;
constexpr uint32_t kMaxInlineData = 256;

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
  int Close() override;

  // Moves completions for `queue` into `out`; `more` when some are left.
  int Drain(CompletionQueue& queue, CompletionRecord* out, int max, bool* more);
  // A turn of the engine on the engine thread.
  void ProgressFromThread();
  bool IsBusy() const { return slot().busy.load() != 0; }
  bool PeerIsOutside() const;

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
    SgeRecord sge[kMaxSge];
  };
  enum class Outcome { kIdle, kMore, kWait };
  enum class Step { kDone, kMore, kNoReceive, kNoResponse };

  explicit QueuePair(ProtectionDomain& pd) : pd_(pd) {}
  Context& context() const { return pd_.context(); }
  QpSlot& slot() const { return context().directory().qp(QpIndex(number_)); }
  QpState state() const { return static_cast<QpState>(slot().state.load(std::memory_order_acquire)); }

  int Validate(const SendRecord& record, uint64_t* length) const;
  int Publish(uint64_t tail, int count, int* taken, int rc);
  void ClearRing();
  void Progress(uint64_t budgetBytes);
  Outcome RunEngine(uint64_t* budget, uint64_t* dueNs);
  Step Execute(WorkRequest& request, uint64_t* budget, CompletionStatus* status);
  Step ExecuteSend(WorkRequest& request, QpSlot& target, uint64_t* budget, CompletionStatus* status);
  Step ExecuteOneSided(WorkRequest& request, QpSlot& target, uint64_t* budget, CompletionStatus* status);
  bool CopyPiece(WorkRequest& request, uint8_t* remote, uint64_t bytes, bool toRemote, CompletionStatus* status);
  bool GaveUp(Step step, uint64_t* dueNs, CompletionStatus* status);
  void CompleteSend(const CompletionRecord& record);
  void CompleteReceive(QpSlot& target, RqEntry& entry, CompletionStatus status, const WorkRequest& request);
  void StopTarget(QpSlot& target);
  RqEntry* NextReceive(QpSlot& target) const;
  uint8_t* ResolveLocal(const SgeRecord& sge, bool write) const;
  // 0; -EACCES: the peer does not allow it; else why the pages could not be had.
  int ResolveRemote(uint32_t pd, uint32_t key, uint64_t address, uint64_t length, uint32_t access, uint8_t** out);
  bool HaveNoPages(int rc, CompletionStatus* status) const;
  void EnterError();
  int WaitPeerOutside();
  int ToReadyToReceive(const QpAttributes& attributes);
  int ToReset();

  ProtectionDomain& pd_;
  CompletionQueue* sendCq_ = nullptr;
  CompletionQueue* receiveCq_ = nullptr;
  QpCapabilities capabilities_;
  QpAttributes attributes_;
  bool signalAll_ = false;
  bool closed_ = true;
  uint32_t number_ = 0;
  uint64_t ringOffset_ = 0;
  uint64_t ringBytes_ = 0;
  uint32_t rqCapacity_ = 0;
  uint64_t rqPosted_ = 0;
  uint64_t rqPolled_ = 0;
  std::shared_ptr<Peer> peer_;

  // Send queue: the JavaScript thread appends, the engine takes.
  uint32_t sqMask_ = 0;
  std::vector<WorkRequest> sq_;
  std::vector<uint8_t> inlineData_;
  std::atomic<uint64_t> sqTail_{0};
  std::atomic<uint64_t> sqHead_{0};
  std::atomic<bool> engine_{false};
  // Send completions: the engine appends, the JavaScript thread takes. The engine frees a request's slot before it
  // shows the completion, so that whoever polled it finds room to post; hence the ring is larger than the queue.
  uint32_t cqeMask_ = 0;
  std::vector<CompletionRecord> sendCqes_;
  std::atomic<uint64_t> cqeTail_{0};
  std::atomic<uint64_t> cqeHead_{0};

  // Of the request at the head, while it waits.
  uint64_t waitSinceNs_ = 0;
  uint32_t waits_ = 0;

  struct CachedMapping {
    uint32_t key = 0;
    std::shared_ptr<Mapping> mapping;
  };
  std::array<CachedMapping, 8> cache_;
  uint32_t cacheNext_ = 0;
};

}  // namespace onepiece::soft

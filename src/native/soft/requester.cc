// The loop of the engine: which request is next, what becomes of it, and how long it may wait. What the requests do is
// in requester_operations.cc. Invariant: see requester.h.
#include "requester.h"

#include <sched.h>

#include <algorithm>

namespace onepiece::soft {

namespace {

constexpr uint64_t kRequestCostBytes = 256;  // what a request costs besides its bytes
// A turn of the engine. Messages are cut at whole megabytes.
constexpr uint64_t kTurnBytes = (1u << 20) + kRequestCostBytes;
// After its first turn the posting thread begins others until this time is over, and leaves the rest to the engine
// thread. Waking that costs as much as copying a megabyte; and the event loop must not stand still.
constexpr uint64_t kPostingNs = 200'000;
constexpr uint64_t kForever = UINT64_MAX;
constexpr uint64_t kFirstRetryNs = 200'000;
constexpr uint64_t kLastRetryNs = 20'000'000;
constexpr uint64_t kReceiveRecheckNs = 1'000'000'000;

// RNR timer field -> time, in units of 10 us (IBTA 9.7.5.2.8).
constexpr uint32_t kRnrTimer[32] = {65536, 1,   2,   3,   4,    6,    8,    12,   16,   24,   32,
                                    48,    64,  96,  128, 192,  256,  384,  512,  768,  1024, 1536,
                                    2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152};

CompletionOpcode LocalOpcode(uint32_t opcode) {
  switch (static_cast<WorkOpcode>(opcode)) {
    case WorkOpcode::kWrite:
    case WorkOpcode::kWriteWithImm:
      return CompletionOpcode::kWrite;
    case WorkOpcode::kRead:
      return CompletionOpcode::kRead;
    case WorkOpcode::kCompareSwap:
      return CompletionOpcode::kCompareSwap;
    case WorkOpcode::kFetchAdd:
      return CompletionOpcode::kFetchAdd;
    case WorkOpcode::kBindMw:
      return CompletionOpcode::kBindMw;
    case WorkOpcode::kLocalInvalidate:
      return CompletionOpcode::kLocalInvalidate;
    default:
      return CompletionOpcode::kSend;
  }
}

}  // namespace

void Requester::Progress(bool isPosting) {
  uint64_t budget = kTurnBytes;
  uint64_t untilNs = 0;
  for (;;) {
    if (running_.exchange(true)) return;  // its owner looks at the queue again after letting go
    uint64_t dueNs = 0;
    Outcome outcome = Run(&budget, &dueNs);
    bool begun = begun_.load(std::memory_order_relaxed);
    running_.store(false);
    auto now = static_cast<QpState>(qp_.slot->state.load());
    if (outcome == Outcome::kIdle) {
      if (now == QpState::kSendQueueDrained && !begun && notifyWhenDrained_.exchange(false)) {
        qp_.context.RaiseQpEvent(qp_.index(), kEventSqDrained);
      }
      bool mayRun = now == QpState::kReadyToSend || now == QpState::kError;
      if (mayRun && !queue_.IsEmpty()) continue;
      return;
    }
    // The clock is looked at only by those who have copied much.
    if (outcome == Outcome::kMore && isPosting) {
      uint64_t nowNs = NowNs();
      if (untilNs == 0) untilNs = nowNs + kPostingNs;
      budget = kTurnBytes;
      if (nowNs < untilNs) continue;
    }
    // Stopped meanwhile, by one who could not get the engine: what waits is flushed now, not when its time comes.
    if (outcome == Outcome::kWait && now == QpState::kError) continue;
    qp_.Schedule(dueNs);
    return;
  }
}

Requester::Outcome Requester::Run(uint64_t* budget, uint64_t* dueNs) {
  Outcome outcome = Outcome::kIdle;
  bool announce = false;
  bool failed = false;
  uint64_t head = queue_.head();
  while (queue_.Has(head)) {
    WorkRequest& request = queue_.at(head);
    CompletionStatus status = CompletionStatus::kSuccess;
    QpState state = qp_.state();
    bool begun = begun_.load(std::memory_order_relaxed);
    if (state == QpState::kError) {
      remote_.ReturnReceive();
      status = reportLoss_ ? CompletionStatus::kRetryExceeded : CompletionStatus::kFlushed;
      reportLoss_ = false;
    } else if (state != QpState::kReadyToSend && !(state == QpState::kSendQueueDrained && begun)) {
      break;
    } else {
      Step step = Execute(request, head, budget, &status);
      if (step == Step::kMore) {
        outcome = Outcome::kMore;
      } else if (step != Step::kDone && !GaveUp(step, dueNs, &status)) {
        outcome = Outcome::kWait;
      }
      if (outcome != Outcome::kIdle) {
        begun_.store(true, std::memory_order_relaxed);
        break;
      }
      waitSinceNs_ = 0;
      waits_ = 0;
    }
    if (begun) begun_.store(false, std::memory_order_relaxed);
    if (status != CompletionStatus::kSuccess && status != CompletionStatus::kFlushed) {
      remote_.ReturnReceive();
      // Only from these: the owner may have moved on meanwhile. Before the completion, whose reader expects ERROR.
      failed = StopIf(*qp_.slot, QpState::kReadyToSend, QpState::kSendQueueDrained) || failed;
    }
    CompletionRecord& record = queue_.next();
    record = CompletionRecord{};
    record.wrId = request.wrId;
    record.status = static_cast<uint32_t>(status);
    record.qpNum = qp_.number;
    if (status == CompletionStatus::kSuccess) {
      CompletionOpcode opcode = LocalOpcode(request.opcode);
      record.opcode = static_cast<uint32_t>(opcode);
      // The count is of what arrived here.
      if (opcode == CompletionOpcode::kRead) record.byteLength = static_cast<uint32_t>(request.length);
      bool isAtomic = opcode == CompletionOpcode::kCompareSwap || opcode == CompletionOpcode::kFetchAdd;
      if (isAtomic) record.byteLength = sizeof(uint64_t);
    }
    bool complete = status != CompletionStatus::kSuccess || signalAll_ || (request.flags & kSignaled) != 0;
    head++;
    queue_.Free(head);  // from here on `request` may be another one
    if (complete) queue_.ShowNext();
    announce = announce || complete;
  }
  remote_.Leave();
  if (announce) qp_.sendCq->Announce(qp_.index(), failed);
  if (failed) {
    qp_.receiveCq->Announce(qp_.index(), true);
    receives_.AnnounceLastWqe();
  }
  return outcome;
}

Requester::Step Requester::Execute(WorkRequest& request, uint64_t at, uint64_t* budget, CompletionStatus* status) {
  if (datagrams_ != nullptr) {
    remote_.Enter(0);
    datagrams_->Send(request, at, status);
    return Step::kDone;
  }
  auto opcode = static_cast<WorkOpcode>(request.opcode);
  if (opcode == WorkOpcode::kBindMw) return Bind(request, status);
  if (opcode == WorkOpcode::kLocalInvalidate) return Invalidate(request, status);
  bool isSend = IsSend(request.opcode);
  if (!qp_.IsReliable() && !isSend && !IsWrite(request.opcode)) {
    *status = CompletionStatus::kLocalQpOperationError;  // no READ and no atomics; as rxe answers
    return Step::kDone;
  }
  if (remote_.peer()->dead()) {
    if (qp_.IsReliable()) *status = CompletionStatus::kRetryExceeded;
    return Step::kDone;
  }
  if (*budget < kRequestCostBytes) return Step::kMore;
  *budget -= kRequestCostBytes;
  remote_.Enter(isSend ? remote_.receiveKey() : request.rkey);
  // What an earlier request stored is seen before what this one stores.
  std::atomic_thread_fence(std::memory_order_acq_rel);
  if (!remote_.IsReady()) return qp_.IsReliable() ? Step::kNoResponse : Step::kDone;
  if (isSend) return Send(request, budget, status);
  return OneSided(request, budget, status);
}

// A request that cannot go on now: waits until `dueNs`, or has waited long enough and fails with `status`.
bool Requester::GaveUp(Step step, uint64_t* dueNs, CompletionStatus* status) {
  uint64_t now = NowNs();
  if (waitSinceNs_ == 0) waitSinceNs_ = now;
  if (remote_.peer()->CheckDead() && step != Step::kPeerInside) {
    *status = CompletionStatus::kRetryExceeded;
    return true;
  }
  uint64_t limit = kForever;
  uint64_t pause = 0;
  if (step == Step::kPeerInside) {
    pause = kFirstRetryNs;
  } else if (step == Step::kNoReceive) {
    if (remote_.AwaitReceive()) {
      *dueNs = 0;
      return false;
    }
    *status = CompletionStatus::kRnrRetryExceeded;
    uint32_t retries = rnrRetry_.load();
    if (retries != 7) limit = uint64_t{kRnrTimer[remote_.minRnrTimer() & 31]} * 10'000 * retries;
    pause = kReceiveRecheckNs;
  } else {
    *status = CompletionStatus::kRetryExceeded;
    uint32_t timeout = timeout_.load();
    if (timeout != 0) limit = (uint64_t{4096} << timeout) * (retryCount_.load() + 1);
    pause = std::min(kFirstRetryNs << std::min(waits_, 10u), kLastRetryNs);
    waits_++;
  }
  if (now - waitSinceNs_ >= limit) return true;
  *dueNs = now + pause;
  if (limit != kForever) *dueNs = std::min(*dueNs, waitSinceNs_ + limit);
  return false;
}

void Requester::HearOfDeath() {
  if (heardOfDeath_ || !remote_.peer() || !remote_.peer()->dead()) return;
  if (running_.exchange(true)) {
    qp_.Schedule(NowNs() + kSettleNs);
    return;
  }
  heardOfDeath_ = true;
  bool stopped = StopIf(*qp_.slot, QpState::kReadyToReceive, QpState::kReadyToSend, QpState::kSendQueueDrained);
  reportLoss_ = stopped && qp_.IsReliable();
  running_.store(false);
  qp_.context.RaiseQpEvent(qp_.index(), kEventQpFatal);
  if (stopped) receives_.AnnounceLastWqe();
}

void Requester::Join() {
  while (running_.load()) sched_yield();
  remote_.ReturnReceive();
}

void Requester::Reset() {
  waitSinceNs_ = 0;
  waits_ = 0;
  begun_.store(false);
  heardOfDeath_ = false;
  reportLoss_ = false;
}

}  // namespace onepiece::soft

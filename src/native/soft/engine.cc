// The initiator's side of a queue pair: the engine that carries out its work requests. What touches memory is in
// engine_memory.cc, what needs a receive in engine_send.cc, datagrams are in datagram.cc.
// Invariant: see queue_pair.h.
#include <algorithm>

#include "queue_pair.h"

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

void QueuePair::ProgressFromThread() {
  Progress(false);
  HearOfDeath();
  if (state() != QpState::kError) return;
  // Receives may wait to be flushed; see DrainOwn.
  receiveCq_->Announce(QpIndex(number_), true);
  if (tellLastWqe_.exchange(false)) AfterError();
}

// Says that this engine is inside the peer, and which key it is going to use there.
void QueuePair::Enter(uint32_t key) {
  uint64_t word = kInside | key;
  if (busy_ == word) return;
  slot().busy.store(word);
  busy_ = word;
}

void QueuePair::Leave() {
  if (busy_ != 0) slot().busy.store(0);
  busy_ = 0;
}

void QueuePair::Progress(bool isPosting) {
  uint64_t budget = kTurnBytes;
  uint64_t untilNs = 0;
  for (;;) {
    if (engine_.exchange(true)) return;  // its owner looks at the queue again after letting go
    uint64_t dueNs = 0;
    Outcome outcome = RunEngine(&budget, &dueNs);
    bool begun = begun_.load(std::memory_order_relaxed);
    engine_.store(false);
    auto now = static_cast<QpState>(slot().state.load());
    if (outcome == Outcome::kIdle) {
      if (now == QpState::kSendQueueDrained && !begun && notifyWhenDrained_.exchange(false)) {
        context().RaiseQpEvent(QpIndex(number_), kEventSqDrained);
      }
      bool mayRun = now == QpState::kReadyToSend || now == QpState::kError;
      if (mayRun && sqHead_.load() != sqTail_.load()) continue;
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
    context().Schedule(this, dueNs);
    return;
  }
}

QueuePair::Outcome QueuePair::RunEngine(uint64_t* budget, uint64_t* dueNs) {
  QpSlot& own = slot();
  Outcome outcome = Outcome::kIdle;
  bool announce = false;
  bool failed = false;
  uint64_t head = sqHead_.load(std::memory_order_relaxed);
  while (head != sqTail_.load(std::memory_order_acquire)) {
    WorkRequest& request = sq_[head & sqMask_];
    CompletionStatus status = CompletionStatus::kSuccess;
    QpState state = this->state();
    bool begun = begun_.load(std::memory_order_relaxed);
    if (state == QpState::kError) {
      ReturnHeld();
      status = reportLoss_ ? CompletionStatus::kRetryExceeded : CompletionStatus::kFlushed;
      reportLoss_ = false;
    } else if (state != QpState::kReadyToSend && !(state == QpState::kSendQueueDrained && begun)) {
      break;
    } else {
      Step step = IsDatagram() ? ExecuteDatagram(request, head, &status) : Execute(request, budget, &status);
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
      ReturnHeld();
      // Only from these: the owner may have moved on meanwhile. Before the completion, whose reader expects ERROR.
      for (QpState from : {QpState::kReadyToSend, QpState::kSendQueueDrained}) {
        auto expected = static_cast<uint32_t>(from);
        failed = own.state.compare_exchange_strong(expected, static_cast<uint32_t>(QpState::kError)) || failed;
      }
    }
    CompletionRecord record{};
    record.wrId = request.wrId;
    record.status = static_cast<uint32_t>(status);
    record.qpNum = number_;
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
    sqHead_.store(head, std::memory_order_release);  // from here on `request` may be another one
    if (complete) CompleteSend(record);
    announce = announce || complete;
  }
  Leave();
  uint32_t index = QpIndex(number_);
  if (announce) sendCq_->Announce(index, failed);
  if (failed) {
    receiveCq_->Announce(index, true);
    AfterError();
  }
  return outcome;
}

// Whether the slot is that of the queue pair to which this one is connected, connected back and ready.
bool QueuePair::IsTarget(const QpSlot& target) const {
  auto state = static_cast<QpState>(target.state.load());
  bool ready = state == QpState::kReadyToReceive || state == QpState::kReadyToSend || state == QpState::kSendQueueDrained;
  return ready && target.number.load() == attributes_.destQpNum && ReadOnce(target.peerNonce) == context().nonce() &&
         ReadOnce(target.peerNumber) == number_ && ReadOnce(target.type) == static_cast<uint32_t>(type_);
}

QueuePair::Step QueuePair::Execute(WorkRequest& request, uint64_t* budget, CompletionStatus* status) {
  auto opcode = static_cast<WorkOpcode>(request.opcode);
  if (opcode == WorkOpcode::kBindMw) return ExecuteBind(request, status);
  if (opcode == WorkOpcode::kLocalInvalidate) return ExecuteInvalidate(request, status);
  bool isSend = IsSend(request.opcode);
  if (!IsReliable() && !isSend && !IsWrite(request.opcode)) {
    *status = CompletionStatus::kLocalQpOperationError;  // no READ and no atomics; as rxe answers
    return Step::kDone;
  }
  if (peer_->dead()) {
    if (IsReliable()) *status = CompletionStatus::kRetryExceeded;
    return Step::kDone;
  }
  if (*budget < kRequestCostBytes) return Step::kMore;
  *budget -= kRequestCostBytes;
  Enter(isSend ? receiveKey_ : request.rkey);
  // What an earlier request stored is seen before what this one stores.
  std::atomic_thread_fence(std::memory_order_acq_rel);
  QpSlot& target = peer_->directory().qp(QpIndex(attributes_.destQpNum));
  if (!IsTarget(target)) return IsReliable() ? Step::kNoResponse : Step::kDone;
  if (isSend) return ExecuteSend(request, target, budget, status);
  return ExecuteOneSided(request, target, budget, status);
}

void QueuePair::CompleteSend(const CompletionRecord& record) {
  uint64_t tail = cqeTail_.load(std::memory_order_relaxed);
  sendCqes_[tail & cqeMask_] = record;
  cqeTail_.store(tail + 1, std::memory_order_release);
}

// A request that cannot go on now: waits until `dueNs`, or has waited long enough and fails with `status`.
bool QueuePair::GaveUp(Step step, uint64_t* dueNs, CompletionStatus* status) {
  uint64_t now = NowNs();
  if (waitSinceNs_ == 0) waitSinceNs_ = now;
  if (peer_->CheckDead() && step != Step::kPeerInside) {
    *status = CompletionStatus::kRetryExceeded;
    return true;
  }
  uint64_t limit = kForever;
  uint64_t pause = 0;
  if (step == Step::kPeerInside) {
    pause = kFirstRetryNs;
  } else if (step == Step::kNoReceive) {
    QpSlot& target = peer_->directory().qp(QpIndex(attributes_.destQpNum));
    // The flag before the second look, the receive before the look at the flag: one of both sees the other.
    target.rnrWaiting.store(1);
    uint32_t srq = ReadOnce(target.srq);
    if (srq != 0 && srq < kMaxSrqs) peer_->directory().srq(srq).waiting.store(1);
    if (HasReceive(target)) {
      *dueNs = 0;
      return false;
    }
    *status = CompletionStatus::kRnrRetryExceeded;
    uint32_t retries = rnrRetry_.load();
    if (retries != 7) limit = uint64_t{kRnrTimer[ReadOnce(target.minRnrTimer) & 31]} * 10'000 * retries;
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

}  // namespace onepiece::soft

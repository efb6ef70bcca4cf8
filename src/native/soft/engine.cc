// The initiator's side of a queue pair: the engine that carries out its work requests.
// Invariant: see queue_pair.h.
#include <errno.h>
#include <string.h>

#include <algorithm>
#include <bit>

#include "queue_pair.h"

namespace onepiece::soft {

namespace {

constexpr uint64_t kThreadBudgetBytes = 1u << 20;
constexpr uint64_t kRequestCostBytes = 256;  // what a request costs besides its bytes
constexpr uint64_t kForever = UINT64_MAX;
constexpr uint64_t kFirstRetryNs = 200'000;
constexpr uint64_t kLastRetryNs = 20'000'000;
constexpr uint64_t kReceiveRecheckNs = 1'000'000'000;

// RNR timer field -> time, in units of 10 us (IBTA 9.7.5.2.8).
constexpr uint32_t kRnrTimer[32] = {65536, 1,   2,   3,   4,    6,    8,    12,   16,   24,   32,
                                    48,    64,  96,  128, 192,  256,  384,  512,  768,  1024, 1536,
                                    2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152};

bool IsWrite(const uint32_t opcode) { return opcode <= static_cast<uint32_t>(WorkOpcode::kWriteWithImm); }

CompletionOpcode LocalOpcode(uint32_t opcode) {
  switch (static_cast<WorkOpcode>(opcode)) {
    case WorkOpcode::kWrite:
    case WorkOpcode::kWriteWithImm:
      return CompletionOpcode::kWrite;
    case WorkOpcode::kRead:
      return CompletionOpcode::kRead;
    default:
      return CompletionOpcode::kSend;
  }
}

}  // namespace

void QueuePair::ProgressFromThread() {
  Progress(kThreadBudgetBytes);
  // Receives may wait to be flushed; see Drain.
  if (state() == QpState::kError) receiveCq_->Announce(QpIndex(number_), true);
}

void QueuePair::Progress(uint64_t budget) {
  for (;;) {
    if (engine_.exchange(true)) return;  // its owner looks at the queue again after letting go
    uint64_t dueNs = 0;
    Outcome outcome = RunEngine(&budget, &dueNs);
    engine_.store(false);
    auto now = static_cast<QpState>(slot().state.load());
    if (outcome == Outcome::kIdle) {
      bool mayRun = now == QpState::kReadyToSend || now == QpState::kError;
      if (mayRun && sqHead_.load() != sqTail_.load()) continue;
      return;
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
  bool inside = false;
  bool announce = false;
  bool failed = false;
  uint64_t head = sqHead_.load(std::memory_order_relaxed);
  while (head != sqTail_.load(std::memory_order_acquire)) {
    WorkRequest& request = sq_[head & sqMask_];
    CompletionStatus status = CompletionStatus::kSuccess;
    QpState state = this->state();
    if (state == QpState::kError) {
      status = CompletionStatus::kFlushed;
    } else if (state != QpState::kReadyToSend) {
      break;
    } else {
      if (!inside) own.busy.store(1);
      inside = true;
      Step step = Execute(request, budget, &status);
      if (step == Step::kMore) {
        outcome = Outcome::kMore;
        break;
      }
      if (step != Step::kDone && !GaveUp(step, dueNs, &status)) {
        outcome = Outcome::kWait;
        break;
      }
      waitSinceNs_ = 0;
      waits_ = 0;
    }
    if (status != CompletionStatus::kSuccess && status != CompletionStatus::kFlushed) {
      // Only from RTS: the owner may have moved on meanwhile. Before the completion, whose reader expects ERROR.
      uint32_t expected = static_cast<uint32_t>(QpState::kReadyToSend);
      own.state.compare_exchange_strong(expected, static_cast<uint32_t>(QpState::kError));
      failed = true;
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
    }
    bool complete = status != CompletionStatus::kSuccess || signalAll_ || (request.flags & kSignaled) != 0;
    head++;
    sqHead_.store(head, std::memory_order_release);  // from here on `request` may be another one
    if (complete) CompleteSend(record);
    announce = announce || complete;
  }
  if (inside) own.busy.store(0);
  uint32_t index = QpIndex(number_);
  if (announce) sendCq_->Announce(index, failed);
  if (failed) receiveCq_->Announce(index, true);
  return outcome;
}

QueuePair::Step QueuePair::Execute(WorkRequest& request, uint64_t* budget, CompletionStatus* status) {
  if (peer_->dead()) {
    *status = CompletionStatus::kRetryExceeded;
    return Step::kDone;
  }
  if (*budget < kRequestCostBytes) return Step::kMore;
  *budget -= kRequestCostBytes;
  // What an earlier request stored is seen before what this one stores.
  std::atomic_thread_fence(std::memory_order_acq_rel);
  const Directory& directory = peer_->directory();
  QpSlot& target = directory.qp(QpIndex(attributes_.destQpNum));
  auto state = static_cast<QpState>(target.state.load());
  bool ready = state == QpState::kReadyToReceive || state == QpState::kReadyToSend;
  if (!ready || target.number.load() != attributes_.destQpNum || target.peerNonce != context().nonce() ||
      target.peerNumber != number_) {
    return Step::kNoResponse;
  }
  auto opcode = static_cast<WorkOpcode>(request.opcode);
  if (opcode == WorkOpcode::kSend || opcode == WorkOpcode::kSendWithImm) {
    return ExecuteSend(request, target, budget, status);
  }
  return ExecuteOneSided(request, target, budget, status);
}

QueuePair::Step QueuePair::ExecuteOneSided(WorkRequest& request, QpSlot& target, uint64_t* budget,
                                           CompletionStatus* status) {
  bool write = IsWrite(request.opcode);
  bool withImm = request.opcode == static_cast<uint32_t>(WorkOpcode::kWriteWithImm);
  uint32_t access = write ? kRemoteWrite : kRemoteRead;
  if ((ReadOnce(target.access) & access) == 0) {
    *status = CompletionStatus::kRemoteInvalidRequest;
    StopTarget(target);
    return Step::kDone;
  }
  RqEntry* receive = nullptr;
  if (withImm) {
    receive = NextReceive(target);
    if (receive == nullptr) return Step::kNoReceive;
  }
  if (request.length > 0) {
    uint8_t* remote = nullptr;
    int rc = ResolveRemote(ReadOnce(target.pd), request.rkey, request.remoteAddress, request.length, access, &remote);
    if (rc != 0) {
      if (HaveNoPages(rc, status)) return Step::kDone;
      *status = CompletionStatus::kRemoteAccessError;
      StopTarget(target);
      return Step::kDone;
    }
    uint64_t bytes = std::min(request.length - request.done, *budget);
    if (!CopyPiece(request, remote + request.done, bytes, write, status)) return Step::kDone;
    *budget -= bytes;
    if (request.done < request.length) return Step::kMore;
  }
  if (receive != nullptr) CompleteReceive(target, *receive, CompletionStatus::kSuccess, request);
  return Step::kDone;
}

QueuePair::Step QueuePair::ExecuteSend(WorkRequest& request, QpSlot& target, uint64_t* budget,
                                       CompletionStatus* status) {
  RqEntry* receive = NextReceive(target);
  if (receive == nullptr) return Step::kNoReceive;
  // The receiver's mistakes are told to both sides and stop both queue pairs.
  auto refuse = [&](CompletionStatus theirs, CompletionStatus ours) {
    CompleteReceive(target, *receive, theirs, request);
    StopTarget(target);
    *status = ours;
    return Step::kDone;
  };
  // The entry lies in memory that its owner can change: it is read once.
  uint32_t numSge = std::min<uint32_t>(ReadOnce(receive->numSge), kMaxSge);
  SgeRecord pieces[kMaxSge];
  uint64_t room = 0;
  for (uint32_t i = 0; i < numSge; i++) {
    const SgeRecord& sge = receive->sge[i];
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
      uint8_t* remote = nullptr;
      int rc = ToAddress(sge.address, &address) ? ResolveRemote(ReadOnce(target.pd), sge.lkey, address, sge.length,
                                                                kLocalWrite, &remote)
                                                : -EACCES;
      if (rc != 0) {
        if (HaveNoPages(rc, status)) return Step::kDone;
        return refuse(CompletionStatus::kLocalProtectionError, CompletionStatus::kRemoteOperationError);
      }
      uint64_t bytes = std::min(end - request.done, *budget);
      if (bytes == 0) return Step::kMore;
      if (!CopyPiece(request, remote + (request.done - begin), bytes, true, status)) return Step::kDone;
      *budget -= bytes;
    }
    begin += sge.length;
  }
  CompleteReceive(target, *receive, CompletionStatus::kSuccess, request);
  return Step::kDone;
}

// Copies `bytes` of the message, from where it stands, between the local elements and `remote`.
bool QueuePair::CopyPiece(WorkRequest& request, uint8_t* remote, uint64_t bytes, bool toRemote,
                          CompletionStatus* status) {
  uint64_t begin = 0;  // of this gather element, in the message
  for (uint32_t i = 0; i < request.numSge && bytes > 0; i++) {
    const SgeRecord& sge = request.sge[i];
    uint64_t end = begin + sge.length;
    if (request.done < end) {
      bool isInline = (request.flags & kInline) != 0;
      uint8_t* local = isInline ? reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(sge.address))
                                : ResolveLocal(sge, !toRemote);
      if (local == nullptr) {
        *status = CompletionStatus::kLocalProtectionError;
        return false;
      }
      uint64_t piece = std::min(bytes, end - request.done);
      local += request.done - begin;
      // Both may lie in the same region when a process talks to itself.
      if (toRemote) {
        memmove(remote, local, piece);
      } else {
        memmove(local, remote, piece);
      }
      remote += piece;
      bytes -= piece;
      request.done += piece;
    }
    begin = end;
  }
  return true;
}

RqEntry* QueuePair::NextReceive(QpSlot& target) const {
  uint64_t consumed = target.rqConsumed.load(std::memory_order_relaxed);
  if (consumed == target.rqPosted.load()) return nullptr;
  uint64_t offset = ReadOnce(target.rqOffset);
  uint32_t capacity = ReadOnce(target.rqCapacity);
  // A directory that makes no sense is a peer that does not answer.
  if (!std::has_single_bit(capacity) || capacity > kMaxQpWr || offset % kPageBytes != 0) return nullptr;
  if (offset < kRingsOffset || offset > kDirectoryBytes - uint64_t{capacity} * sizeof(RqEntry)) return nullptr;
  return &peer_->directory().rq(offset, consumed, capacity);
}

// A queue pair that was used against its owner's rules stops as well (IBTA 9.9.3, class C of the responder), and its
// owner gets to see the receives that are flushed by it.
void QueuePair::StopTarget(QpSlot& target) {
  for (QpState from : {QpState::kReadyToReceive, QpState::kReadyToSend}) {
    auto expected = static_cast<uint32_t>(from);
    if (target.state.compare_exchange_strong(expected, static_cast<uint32_t>(QpState::kError))) break;
  }
  peer_->WakeEngine();
  CqSlot& cq = peer_->directory().cq(ReadOnce(target.receiveCq) & (kMaxCqs - 1));
  SetReady(cq, QpIndex(attributes_.destQpNum));
  if (TakeArm(cq, true) && cq.channelFd != 0) peer_->Signal(cq.channelFd, cq.channelInode);
}

void QueuePair::CompleteReceive(QpSlot& target, RqEntry& entry, CompletionStatus status, const WorkRequest& request) {
  bool write = IsWrite(request.opcode);
  bool withImm = write || request.opcode == static_cast<uint32_t>(WorkOpcode::kSendWithImm);
  uint64_t consumed = target.rqConsumed.load(std::memory_order_relaxed);
  entry.status = static_cast<uint32_t>(status);
  entry.opcode = static_cast<uint32_t>(write ? CompletionOpcode::kReceiveWithImm : CompletionOpcode::kReceive);
  entry.byteLength = static_cast<uint32_t>(request.length);
  entry.imm = withImm ? request.imm : 0;
  entry.flags = withImm ? static_cast<uint32_t>(kWithImm) : 0;
  target.rqConsumed.store(consumed + 1, std::memory_order_relaxed);
  entry.completed.store(consumed + 1, std::memory_order_release);
  CqSlot& cq = peer_->directory().cq(ReadOnce(target.receiveCq) & (kMaxCqs - 1));
  SetReady(cq, QpIndex(attributes_.destQpNum));
  bool solicited = (request.flags & kSolicited) != 0 || status != CompletionStatus::kSuccess;
  if (TakeArm(cq, solicited) && cq.channelFd != 0) peer_->Signal(cq.channelFd, cq.channelInode);
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
  if (peer_->CheckDead()) {
    *status = CompletionStatus::kRetryExceeded;
    return true;
  }
  uint64_t limit = kForever;
  uint64_t pause = 0;
  if (step == Step::kNoReceive) {
    QpSlot& target = peer_->directory().qp(QpIndex(attributes_.destQpNum));
    // The flag before the second look, the receive before the look at the flag: one of both sees the other.
    target.rnrWaiting.store(1);
    if (NextReceive(target) != nullptr) {
      *dueNs = 0;
      return false;
    }
    *status = CompletionStatus::kRnrRetryExceeded;
    if (attributes_.rnrRetry != 7) limit = uint64_t{kRnrTimer[target.minRnrTimer & 31]} * 10'000 * attributes_.rnrRetry;
    pause = kReceiveRecheckNs;
  } else {
    *status = CompletionStatus::kRetryExceeded;
    if (attributes_.timeout != 0) limit = (uint64_t{4096} << attributes_.timeout) * (attributes_.retryCount + 1);
    pause = std::min(kFirstRetryNs << std::min(waits_, 10u), kLastRetryNs);
    waits_++;
  }
  if (now - waitSinceNs_ >= limit) return true;
  *dueNs = now + pause;
  if (limit != kForever) *dueNs = std::min(*dueNs, waitSinceNs_ + limit);
  return false;
}

uint8_t* QueuePair::ResolveLocal(const SgeRecord& sge, bool write) const {
  const MrSlot& mr = context().directory().mr(MrIndex(sge.lkey));
  auto address = static_cast<uint64_t>(sge.address);
  if (sge.lkey == 0 || mr.key.load() != sge.lkey || mr.pd != pd_.number()) return nullptr;
  if (write && (mr.access & kLocalWrite) == 0) return nullptr;
  if (address < mr.address || sge.length > mr.length || address - mr.address > mr.length - sge.length) return nullptr;
  return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(address));
}

int QueuePair::ResolveRemote(uint32_t pd, uint32_t key, uint64_t address, uint64_t length, uint32_t access,
                             uint8_t** out) {
  const Directory& directory = peer_->directory();
  const MrSlot& slot = directory.mr(MrIndex(key));
  if (key == 0 || slot.key.load() != key) return -EACCES;
  const MrView mr(slot);
  if (mr.pd != pd || (mr.access & access) != access) return -EACCES;
  if (address < mr.address || length > mr.length || address - mr.address > mr.length - length) return -EACCES;
  uint64_t offset = address - mr.address;
  for (CachedMapping& cached : cache_) {
    if (cached.key != key || cached.mapping->serial() != mr.serial) continue;
    return cached.mapping->At(offset, length, out);
  }
  for (CachedMapping& cached : cache_) {
    if (cached.key != 0 && ReadOnce(directory.mr(MrIndex(cached.key)).serial) != cached.mapping->serial()) cached = {};
  }
  std::shared_ptr<Mapping> mapping;
  int rc = peer_->Map(mr, &mapping);
  if (rc != 0) return rc;
  CachedMapping& entry = cache_[cacheNext_++ % cache_.size()];
  entry = {key, std::move(mapping)};
  return entry.mapping->At(offset, length, out);
}

// Tells a peer that forbids from one that has died, and from a lack of descriptors or memory here.
bool QueuePair::HaveNoPages(int rc, CompletionStatus* status) const {
  if (rc == -EACCES) return false;
  *status = CompletionStatus::kLocalQpOperationError;
  if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM) return true;
  *status = CompletionStatus::kRetryExceeded;
  return peer_->CheckDead();
}

}  // namespace onepiece::soft

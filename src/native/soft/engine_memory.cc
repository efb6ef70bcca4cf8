// The engine's work on memory: WRITE, READ, atomics, memory windows, and the copying. Invariant: see queue_pair.h.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "copy.h"
#include "queue_pair.h"

namespace onepiece::soft {

namespace {

// Through /proc/PID/mem. 0; -EFAULT: the memory is not there any more; -ESRCH: the process is not.
int CopyForeign(const Place& remote, uint8_t* local, uint64_t bytes, bool toRemote) {
  for (uint64_t done = 0; done < bytes;) {
    auto at = static_cast<off_t>(remote.address + done);
    ssize_t count = toRemote ? pwrite(remote.memory, local + done, bytes - done, at)
                             : pread(remote.memory, local + done, bytes - done, at);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) return -ESRCH;  // nobody has this address space any more
    if (count < 0) return -EFAULT;
    done += static_cast<uint64_t>(count);
  }
  return 0;
}

uint32_t AccessFor(uint32_t opcode) {
  if (IsWrite(opcode)) return kRemoteWrite;
  return opcode == static_cast<uint32_t>(WorkOpcode::kRead) ? kRemoteRead : kRemoteAtomic;
}

}  // namespace

QueuePair::Step QueuePair::ExecuteOneSided(WorkRequest& request, QpSlot& target, uint64_t* budget,
                                           CompletionStatus* status) {
  bool write = IsWrite(request.opcode);
  bool withImm = request.opcode == static_cast<uint32_t>(WorkOpcode::kWriteWithImm);
  uint32_t access = AccessFor(request.opcode);
  if ((ReadOnce(target.access) & access) == 0) {
    return Refuse(target, kEventQpRequestError, CompletionStatus::kRemoteInvalidRequest, status);
  }
  Receive receive{};
  if (withImm && !NextReceive(target, &receive)) return IsReliable() ? Step::kNoReceive : Step::kDone;
  if (request.length > 0) {
    bool isAtomic = access == kRemoteAtomic;
    uint64_t length = isAtomic ? sizeof(uint64_t) : request.length;
    Place remote;
    int rc = ResolveRemote(ReadOnce(target.pd), request.rkey, request.remoteAddress, length, access, &remote);
    if (rc != 0) {
      Step step = Step::kDone;
      if (HaveNoPages(rc, &step, status)) return step;
      return Refuse(target, kEventQpAccessError, CompletionStatus::kRemoteAccessError, status);
    }
    if (isAtomic) {
      // Also the pages must have it so: what their owner says of its address need not be true.
      bool aligned = request.remoteAddress % 8 == 0 && reinterpret_cast<uintptr_t>(remote.pointer) % 8 == 0;
      if (!aligned || remote.pointer == nullptr) {
        return Refuse(target, kEventQpRequestError, CompletionStatus::kRemoteInvalidRequest, status);
      }
      ExecuteAtomic(request, remote, status);
      return Step::kDone;
    }
    uint64_t bytes = std::min(request.length - request.done, *budget);
    if (!CopyPiece(request, remote + request.done, bytes, write, status)) return Step::kDone;
    *budget -= bytes;
    if (request.done < request.length) return Step::kMore;
  }
  if (withImm) CompleteReceive(target, *receive.entry, CompletionStatus::kSuccess, request);
  return Step::kDone;
}

// One instruction of the CPU on the page itself: atomic among all initiators, and with everybody else's atomics.
bool QueuePair::ExecuteAtomic(WorkRequest& request, const Place& remote, CompletionStatus* status) {
  request.length = sizeof(uint64_t);
  // The place for the old value is looked up before anything happens.
  uint64_t room = 0;
  for (uint32_t i = 0; i < request.numSge && room < sizeof(uint64_t); i++) {
    if (ResolveLocal(request.sge[i], true) == nullptr) {
      *status = CompletionStatus::kLocalProtectionError;
      return false;
    }
    room += request.sge[i].length;
  }
  auto* word = reinterpret_cast<uint64_t*>(remote.pointer);
  uint64_t old = request.compareAdd;
  if (request.opcode == static_cast<uint32_t>(WorkOpcode::kFetchAdd)) {
    old = __atomic_fetch_add(word, request.compareAdd, __ATOMIC_SEQ_CST);
  } else {
    __atomic_compare_exchange_n(word, &old, request.swap, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }
  return CopyPiece(request, {reinterpret_cast<uint8_t*>(&old), -1, 0}, sizeof old, false, status);
}

QueuePair::Step QueuePair::ExecuteBind(WorkRequest& request, CompletionStatus* status) {
  BindRequest bind{};
  bind.window = request.object;
  bind.pd = pd_.number();
  bind.presentKey = request.imm;
  bind.newKey = request.rkey;
  bind.qpNumber = number_;
  bind.lkey = request.remoteQpn;
  bind.access = request.remoteQkey;
  bind.address = request.remoteAddress;
  bind.length = request.compareAdd;
  if (!context().windows.Bind(context(), bind)) *status = CompletionStatus::kMwBindError;
  return Step::kDone;
}

// Completes when the peer, the only one who could use the window, was seen outside of it.
QueuePair::Step QueuePair::ExecuteInvalidate(WorkRequest& request, CompletionStatus* status) {
  if (request.done == 0 && !context().windows.Invalidate(context(), request.rkey, pd_.number())) {
    *status = CompletionStatus::kLocalQpOperationError;  // as rxe answers
    return Step::kDone;
  }
  request.done = 1;
  if (!PeerIsQuiet(*peer_, attributes_.destQpNum, request.rkey)) return Step::kPeerInside;
  context().windows.Drained(request.rkey);
  return Step::kDone;
}

// Copies `bytes` of the message, from its present position, between the local elements and `remote`.
bool QueuePair::CopyPiece(WorkRequest& request, const Place& remote, uint64_t bytes, bool toRemote,
                          CompletionStatus* status) {
  Place place = remote;
  const uint64_t streamingBytes = StreamingBytes();
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
      if (place.pointer == nullptr) {
        int rc = CopyForeign(place, local, piece, toRemote);
        if (rc != 0) {
          bool dead = rc == -ESRCH || peer_->CheckDead();
          *status = dead ? CompletionStatus::kRetryExceeded : CompletionStatus::kRemoteOperationError;
          return false;
        }
      } else {
        bool streaming = request.length >= streamingBytes;
        Copy(toRemote ? place.pointer : local, toRemote ? local : place.pointer, piece, streaming);
      }
      place = place + piece;
      bytes -= piece;
      request.done += piece;
    }
    begin = end;
  }
  return true;
}

// On the JavaScript thread, like a request that nobody waits for: the engine is taken, and nothing else is under way.
int QueuePair::TimeCopy(const SendRecord& record, double* ns) {
  uint64_t length = 0;
  uint64_t address = 0;
  bool write = IsWrite(record.opcode);
  if (!write && record.opcode != static_cast<uint32_t>(WorkOpcode::kRead)) return -EINVAL;
  if (int rc = Validate(record, &length); rc != 0) return rc;
  if (record.numSge != 1 || (record.flags & kInline) != 0 || !ToAddress(record.remoteAddress, &address)) return -EINVAL;
  if (!IsReliable() || state() != QpState::kReadyToSend || peer_->dead()) return -ENOTCONN;
  if (engine_.exchange(true)) return -EBUSY;
  int rc = sqHead_.load() == sqTail_.load() ? 0 : -EBUSY;
  Enter(record.rkey);
  QpSlot& target = peer_->directory().qp(QpIndex(attributes_.destQpNum));
  uint8_t* local = ResolveLocal(record.sge[0], !write);
  Place remote;
  if (rc == 0 && (!IsTarget(target) || local == nullptr)) rc = -EACCES;
  if (rc == 0) rc = ResolveRemote(ReadOnce(target.pd), record.rkey, address, length, AccessFor(record.opcode), &remote);
  if (rc == 0 && remote.pointer == nullptr) rc = -ENOTSUP;
  if (rc == 0) {
    uint64_t begin = NowNs();
    memcpy(write ? remote.pointer : local, write ? local : remote.pointer, length);
    *ns = static_cast<double>(NowNs() - begin);
  }
  Leave();
  engine_.store(false);
  ProgressFromPost();  // whoever could not get the engine meanwhile relies on this
  return rc;
}

int QueuePair::ResolveRemote(uint32_t pd, uint32_t key, uint64_t address, uint64_t length, uint32_t access,
                             Place* out) {
  Enter(key);
  const Directory& directory = peer_->directory();
  const MrSlot& slot = directory.mr(MrIndex(key));
  if (key == 0 || slot.key.load() != key) return -EACCES;
  const MrView mr(slot);
  if (mr.pd != pd || (mr.access & access) != access) return -EACCES;
  // A window is for the queue pair that it is bound to, and not for receives.
  if (mr.boundQp != 0 && (mr.boundQp != attributes_.destQpNum || (access & kLocalWrite) != 0)) return -EACCES;
  if (address < mr.address || length > mr.length || address - mr.address > mr.length - length) return -EACCES;
  // What was revoked meanwhile is refused; else there are no pages to be had, which is no refusal.
  auto why = [&](int rc) { return rc == 0 || slot.key.load() == key ? rc : -EACCES; };
  if (mr.fd == kProcessMemory) return why(peer_->PlaceOf(address, out));
  uint64_t offset = address - mr.address;
  if (offset + mr.offset < offset) return -EACCES;
  offset += mr.offset;
  for (const auto& cached : cache_) {
    if (cached && cached->serial() == mr.serial) return cached->At(offset, length, &out->pointer);
  }
  std::shared_ptr<Mapping> mapping;
  int rc = peer_->Map(mr, &mapping);
  if (rc == -EACCES) rc = -ESTALE;
  if (rc != 0) return why(rc);
  std::shared_ptr<Mapping>& entry = cache_[cacheNext_++ % cache_.size()];
  entry = std::move(mapping);
  return entry->At(offset, length, &out->pointer);
}

// Tells a peer that forbids (false) from one of which the pages cannot be had: for a lack of descriptors, memory or
// permission here, or because it is ending. A process closes its descriptors before it is dead, so it may not be dead
// yet.
bool QueuePair::HaveNoPages(int rc, Step* step, CompletionStatus* status) const {
  if (rc == -EACCES) return false;
  *step = Step::kDone;
  bool isOurs = rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || (rc == -EPERM && !peer_->IsEnding());
  if (isOurs) {
    *status = CompletionStatus::kLocalQpOperationError;
  } else if (IsReliable()) {
    *step = Step::kNoResponse;
  }
  return true;
}

}  // namespace onepiece::soft

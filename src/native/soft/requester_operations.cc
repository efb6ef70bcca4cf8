// What the requests do: WRITE, READ, atomics, SEND and memory windows, and the copying. Invariant: see requester.h.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "copy.h"
#include "requester.h"

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

Requester::Step Requester::OneSided(WorkRequest& request, uint64_t* budget, CompletionStatus* status) {
  bool write = IsWrite(request.opcode);
  bool withImm = request.opcode == static_cast<uint32_t>(WorkOpcode::kWriteWithImm);
  uint32_t access = AccessFor(request.opcode);
  if ((remote_.access() & access) == 0) {
    return Refuse(kEventQpRequestError, CompletionStatus::kRemoteInvalidRequest, status);
  }
  RemoteQueuePair::Receive receive{};
  if (withImm && !remote_.NextReceive(&receive)) return qp_.IsReliable() ? Step::kNoReceive : Step::kDone;
  if (request.length > 0) {
    bool isAtomic = access == kRemoteAtomic;
    uint64_t length = isAtomic ? sizeof(uint64_t) : request.length;
    Place remote;
    int rc = remote_.Find(remote_.pd(), request.rkey, request.remoteAddress, length, access, &remote);
    if (rc != 0) {
      Step step = Step::kDone;
      if (HaveNoPages(rc, &step, status)) return step;
      return Refuse(kEventQpAccessError, CompletionStatus::kRemoteAccessError, status);
    }
    if (isAtomic) {
      // Also the pages must have it so: what their owner says of its address need not be true.
      bool aligned = request.remoteAddress % 8 == 0 && reinterpret_cast<uintptr_t>(remote.pointer) % 8 == 0;
      if (!aligned || remote.pointer == nullptr) {
        return Refuse(kEventQpRequestError, CompletionStatus::kRemoteInvalidRequest, status);
      }
      Atomic(request, remote, status);
      return Step::kDone;
    }
    uint64_t bytes = std::min(request.length - request.done, *budget);
    if (!CopyPiece(request, remote + request.done, bytes, write, status)) return Step::kDone;
    *budget -= bytes;
    if (request.done < request.length) return Step::kMore;
  }
  if (withImm) remote_.CompleteReceive(*receive.entry, CompletionStatus::kSuccess, request);
  return Step::kDone;
}

// One instruction of the CPU on the page itself: atomic among all initiators, and with everybody else's atomics.
bool Requester::Atomic(WorkRequest& request, const Place& remote, CompletionStatus* status) {
  request.length = sizeof(uint64_t);
  // The place for the old value is looked up before anything happens.
  uint64_t room = 0;
  for (uint32_t i = 0; i < request.numSge && room < sizeof(uint64_t); i++) {
    if (qp_.pd.LocalMemory(request.sge[i], true) == nullptr) {
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

Requester::Step Requester::Send(WorkRequest& request, uint64_t* budget, CompletionStatus* status) {
  RemoteQueuePair::Receive receive{};
  if (!remote_.NextReceive(&receive)) return qp_.IsReliable() ? Step::kNoReceive : Step::kDone;
  // A mistake of the receiver completes at both sides with an error and stops both queue pairs.
  auto refuse = [&](CompletionStatus theirs, CompletionStatus ours) {
    if (!qp_.IsReliable()) return Refuse(0, ours, status);
    remote_.CompleteReceive(*receive.entry, theirs, request);
    return Refuse(0, ours, status);
  };
  // The entry lies in memory that its owner can change: it is read once.
  uint32_t numSge = std::min<uint32_t>(ReadOnce(receive.entry->numSge), kMaxSge);
  SgeRecord pieces[kMaxSge];
  uint64_t room = 0;
  for (uint32_t i = 0; i < numSge; i++) {
    const SgeRecord& sge = receive.entry->sge[i];
    pieces[i] = {ReadOnce(sge.address), ReadOnce(sge.length), ReadOnce(sge.lkey)};
    room += pieces[i].length;
  }
  if (request.length > room) {
    return refuse(CompletionStatus::kLocalLengthError, CompletionStatus::kRemoteInvalidRequest);
  }
  uint64_t begin = 0;  // of this scatter element, in the message
  for (uint32_t i = 0; i < numSge && request.done < request.length; i++) {
    const SgeRecord& sge = pieces[i];
    uint64_t end = std::min<uint64_t>(begin + sge.length, request.length);
    while (request.done < end) {
      Place remote;
      int rc = remote_.FindReceive(receive.pd, sge, &remote);
      if (rc != 0) {
        Step step = Step::kDone;
        if (HaveNoPages(rc, &step, status)) return step;
        return refuse(CompletionStatus::kLocalProtectionError, CompletionStatus::kRemoteOperationError);
      }
      uint64_t bytes = std::min(end - request.done, *budget);
      if (bytes == 0) return Step::kMore;
      if (!CopyPiece(request, remote + (request.done - begin), bytes, true, status)) return Step::kDone;
      *budget -= bytes;
    }
    begin += sge.length;
  }
  if (request.opcode == static_cast<uint32_t>(WorkOpcode::kSendWithInvalidate)) {
    bool known = remote_.InvalidateWindow(request.rkey);
    // The message has arrived; the receiver sees an error of its own (IBTA class J) that the sender does not hear of.
    if (!known) return refuse(CompletionStatus::kRemoteInvalidRequest, CompletionStatus::kSuccess);
  }
  remote_.CompleteReceive(*receive.entry, CompletionStatus::kSuccess, request);
  return Step::kDone;
}

Requester::Step Requester::Bind(WorkRequest& request, CompletionStatus* status) {
  const BindView asked(request);
  BindRequest bind{};
  bind.window = asked.window();
  bind.pd = qp_.pd.number();
  bind.presentKey = asked.presentKey();
  bind.newKey = asked.newKey();
  bind.qpNumber = qp_.number;
  bind.lkey = asked.lkey();
  bind.access = asked.access();
  bind.address = asked.address();
  bind.length = asked.length();
  if (!qp_.context.windows.Bind(qp_.context, bind)) *status = CompletionStatus::kMwBindError;
  return Step::kDone;
}

// Completes when the peer, the only one who could use the window, was seen outside of it.
Requester::Step Requester::Invalidate(WorkRequest& request, CompletionStatus* status) {
  if (request.done == 0 && !qp_.context.windows.Invalidate(qp_.context, request.rkey, qp_.pd.number())) {
    *status = CompletionStatus::kLocalQpOperationError;  // as rxe answers
    return Step::kDone;
  }
  request.done = 1;
  if (!remote_.IsOutside(request.rkey)) return Step::kPeerInside;
  qp_.context.windows.Drained(request.rkey);
  return Step::kDone;
}

// Copies `bytes` of the message, from its present position, between the local elements and `remote`.
bool Requester::CopyPiece(WorkRequest& request, const Place& remote, uint64_t bytes, bool toRemote,
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
                                : qp_.pd.LocalMemory(sge, !toRemote);
      if (local == nullptr) {
        *status = CompletionStatus::kLocalProtectionError;
        return false;
      }
      uint64_t piece = std::min(bytes, end - request.done);
      local += request.done - begin;
      if (place.pointer == nullptr) {
        int rc = CopyForeign(place, local, piece, toRemote);
        if (rc != 0) {
          bool dead = rc == -ESRCH || remote_.peer()->CheckDead();
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

// Tells a peer that forbids (false) from one whose pages this process cannot get: it lacks descriptors, memory or
// permission, or the peer is ending. A process closes its descriptors before it is dead, so it may not be dead yet.
bool Requester::HaveNoPages(int rc, Step* step, CompletionStatus* status) const {
  if (rc == -EACCES) return false;
  *step = Step::kDone;
  bool isOurs = rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || (rc == -EPERM && !remote_.peer()->IsEnding());
  if (isOurs) {
    *status = CompletionStatus::kLocalQpOperationError;
  } else if (qp_.IsReliable()) {
    *step = Step::kNoResponse;
  }
  return true;
}

Requester::Step Requester::Refuse(uint32_t event, CompletionStatus ours, CompletionStatus* status) {
  remote_.ReturnReceive();
  if (!qp_.IsReliable()) return Step::kDone;  // dropped there, and nobody here hears of it
  remote_.Stop(event);
  *status = ours;
  return Step::kDone;
}

}  // namespace onepiece::soft

// A send work request in the queue of the soft device: a SendRecord that was checked, and how far it has come.
//
// Invariant: the JavaScript thread fills it before it shows it to the engine; from then on only the engine changes it.
#pragma once

#include "layout.h"

namespace onepiece::soft {

constexpr uint32_t kMaxQpWr = 1u << 15;
constexpr uint32_t kMaxInlineData = 256;

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
  uint32_t addressHandle;
  uint32_t remoteQpn;
  uint32_t remoteQkey;
  SgeRecord sge[kMaxSge];  // inline data: one element, its address in the queue's own memory
};

inline bool IsWrite(uint32_t opcode) { return opcode <= static_cast<uint32_t>(WorkOpcode::kWriteWithImm); }
inline bool IsSend(uint32_t opcode) {
  auto work = static_cast<WorkOpcode>(opcode);
  return work == WorkOpcode::kSend || work == WorkOpcode::kSendWithImm || work == WorkOpcode::kSendWithInvalidate;
}

// All that a completion says after a failure: ibv_poll_cq(3) defines nothing more. After a success the rest is added.
inline void Finish(CompletionRecord* out, double wrId, CompletionStatus status, uint32_t number) {
  *out = CompletionRecord{};
  out->wrId = wrId;
  out->status = static_cast<uint32_t>(status);
  out->qpNum = number;
}

}  // namespace onepiece::soft

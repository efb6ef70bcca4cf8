// Work requests and completions, and the numbers in them, as JavaScript and native code share them.
//
// Invariant: records have a fixed size, are little-endian and hold no pointer. All numbers are those of the verbs ABI.
// src/ts/verbs/work-requests.ts, src/ts/verbs/completions.ts and src/ts/addon/constants.ts mirror them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onepiece {

enum class WorkOpcode : uint32_t {
  kWrite = 0,
  kWriteWithImm = 1,
  kSend = 2,
  kSendWithImm = 3,
  kRead = 4,
  kCompareSwap = 5,
  kFetchAdd = 6,
  kLocalInvalidate = 7,
  kBindMw = 8,
  kSendWithInvalidate = 9,
};

enum class CompletionOpcode : uint32_t {
  kSend = 0,
  kWrite = 1,
  kRead = 2,
  kCompareSwap = 3,
  kFetchAdd = 4,
  kBindMw = 5,
  kLocalInvalidate = 6,
  kReceive = 128,
  kReceiveWithImm = 129,  // a peer's WRITE_WITH_IMM
};

enum class CompletionStatus : uint32_t {
  kSuccess = 0,
  kLocalLengthError = 1,
  kLocalQpOperationError = 2,
  kLocalProtectionError = 4,
  kFlushed = 5,
  kMwBindError = 6,
  kLocalAccessError = 8,
  kRemoteInvalidRequest = 9,
  kRemoteAccessError = 10,
  kRemoteOperationError = 11,
  kRetryExceeded = 12,
  kRnrRetryExceeded = 13,
};

enum class QpState : uint32_t {
  kReset = 0,
  kInit = 1,
  kReadyToReceive = 2,
  kReadyToSend = 3,
  kSendQueueDrained = 4,
  kSendQueueError = 5,
  kError = 6,
};

enum SendFlags : uint32_t {
  kFence = 1u << 0,
  kSignaled = 1u << 1,
  kSolicited = 1u << 2,
  kInline = 1u << 3,
};

enum AccessFlags : uint32_t {
  kLocalWrite = 1u << 0,
  kRemoteWrite = 1u << 1,
  kRemoteRead = 1u << 2,
  kRemoteAtomic = 1u << 3,
  kMwBindAllowed = 1u << 4,
  kZeroBased = 1u << 5,
  kOnDemand = 1u << 6,
  kRelaxedOrdering = 1u << 20,
  // Not of verbs: a connected peer may map the pages (QueuePair::MapRemote). Revoking such a region detaches its
  // owner from the pages: what a peer stores there later, nobody sees.
  kRemoteMap = 1u << 30,
};

enum class QpType : uint32_t { kReliable = 2, kUnreliable = 3, kDatagram = 4 };

enum CompletionFlags : uint32_t {
  kWithGrh = 1u << 0,  // the first 40 bytes of a datagram's receive are the global routing header
  kWithImm = 1u << 1,
  kWithInvalidate = 1u << 3,  // the record's imm is the rkey that the peer's SEND_WITH_INV made invalid
};

constexpr size_t kMaxSge = 4;
constexpr size_t kRecordBytes = 128;

struct SgeRecord {
  double address;  // an integer below 2^53
  uint32_t length;
  uint32_t lkey;
};

// The address that a record carries; false for what is none (negative, a fraction, NaN, 2^53 or more).
inline bool ToAddress(double value, uint64_t* out) {
  if (!(value >= 0 && value < 9007199254740992.0)) return false;
  *out = static_cast<uint64_t>(value);
  return static_cast<double>(*out) == value;
}

//  0        8               16      20     24   28    32      36  40         44          48       56    64
//  | wrId   | remoteAddress | opcode| flags| imm| rkey| numSge| ah| remoteQpn| remoteQkey| compare| swap| sge[4] ...
//
// SEND_WITH_INV and LOCAL_INV: `rkey` is the key to make invalid. SEND on a datagram queue pair: `addressHandle` is the
// number of one. BIND_MW: see BindView.
struct SendRecord {
  double wrId;
  double remoteAddress;
  uint32_t opcode;
  uint32_t flags;
  uint32_t imm;  // host order
  uint32_t rkey;
  uint32_t numSge;
  uint32_t addressHandle;  // AddressHandle::Number()
  uint32_t remoteQpn;
  uint32_t remoteQkey;
  uint64_t compareAdd;
  uint64_t swap;
  SgeRecord sge[kMaxSge];
};
static_assert(sizeof(SendRecord) == kRecordBytes);

// What a BIND_MW says. It names no peer, so its words lie where other requests name one. `Record` is SendRecord, or
// what a device makes of it with the same names.
template <typename Record>
class BindView {
 public:
  explicit BindView(const Record& record) : record_(record) {}
  uint32_t window() const { return record_.addressHandle; }  // MemoryWindow::Number()
  uint32_t presentKey() const { return record_.imm; }
  uint32_t newKey() const { return record_.rkey; }
  uint32_t lkey() const { return record_.remoteQpn; }  // of the region below
  uint32_t access() const { return record_.remoteQkey; }
  auto address() const { return record_.remoteAddress; }
  uint64_t length() const { return record_.compareAdd; }

 private:
  const Record& record_;
};

//  0        8       12                64
//  | wrId   | numSge| (reserved) ...  | sge[4]
struct ReceiveRecord {
  double wrId;
  uint32_t numSge;
  uint32_t reserved[13];
  SgeRecord sge[kMaxSge];
};
static_assert(sizeof(ReceiveRecord) == kRecordBytes);

//  0        8       12      16          20   24     28     32           36
//  | wrId   | status| opcode| byteLength| imm| qpNum| flags| vendorError| sourceQp | (reserved to 64)
struct CompletionRecord {
  double wrId;
  uint32_t status;
  uint32_t opcode;
  uint32_t byteLength;
  uint32_t imm;  // host order
  uint32_t qpNum;
  uint32_t flags;
  uint32_t vendorError;
  uint32_t sourceQp;
  uint32_t reserved[6];
};
static_assert(sizeof(CompletionRecord) == 64);

}  // namespace onepiece

// The interface of an RDMA device, as the Node-API layer sees it.
//
// Invariant: everything above this line of the house (addon, TypeScript) is the same for every device; what a
// device cannot do it answers with a negative errno (-ENOTSUP), never with a guess. All numbers (operation codes,
// states, access flags, statuses) are those of the verbs ABI, so that libibverbs needs no translation.
//
// Threads: one thread (the JavaScript one) calls every method of a device and of the objects made from it. A
// device may own further threads; they never call up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace onepiece {

enum class WorkOpcode : uint32_t {
  kWrite = 0,
  kWriteWithImm = 1,
  kSend = 2,
  kSendWithImm = 3,
  kRead = 4,
  kCompareSwap = 5,
  kFetchAdd = 6,
};

enum class CompletionOpcode : uint32_t {
  kSend = 0,
  kWrite = 1,
  kRead = 2,
  kCompareSwap = 3,
  kFetchAdd = 4,
  kReceive = 128,
  kReceiveWithImm = 129,  // a peer's WRITE_WITH_IMM
};

enum class CompletionStatus : uint32_t {
  kSuccess = 0,
  kLocalLengthError = 1,
  kLocalQpOperationError = 2,
  kLocalProtectionError = 4,
  kFlushed = 5,
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
};

enum CompletionFlags : uint32_t { kWithImm = 1u << 1 };

// ---- Records shared with JavaScript: fixed size, little-endian, no pointers. Mirrored in src/ts/verbs/records.ts.

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
struct SendRecord {
  double wrId;
  double remoteAddress;
  uint32_t opcode;
  uint32_t flags;
  uint32_t imm;  // host order
  uint32_t rkey;
  uint32_t numSge;
  uint32_t addressHandle;
  uint32_t remoteQpn;
  uint32_t remoteQkey;
  uint64_t compareAdd;
  uint64_t swap;
  SgeRecord sge[kMaxSge];
};
static_assert(sizeof(SendRecord) == kRecordBytes);

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

// ---- Attributes

struct Gid {
  uint8_t raw[16];
};

struct DeviceListing {
  std::string name;
  std::string kind;       // "soft" or "verbs"
  std::string transport;  // "shared-memory", "InfiniBand", "RoCE", "iWARP", ...
  std::string nodeGuid;
};

struct DeviceAttributes {
  std::string firmware;
  uint64_t nodeGuid = 0;
  uint64_t maxMrBytes = 0;
  uint32_t vendorId = 0;
  uint32_t maxQp = 0;
  uint32_t maxQpWr = 0;
  uint32_t maxSge = 0;
  uint32_t maxCq = 0;
  uint32_t maxCqe = 0;
  uint32_t maxMr = 0;
  uint32_t maxPd = 0;
  uint32_t maxQpReadAtomic = 0;
  uint32_t maxSrq = 0;
  uint32_t portCount = 0;
  uint32_t atomicCapability = 0;  // ibv_atomic_cap: 0 none, 1 HCA, 2 global
};

struct PortAttributes {
  uint32_t state = 0;  // ibv_port_state: 4 is active
  uint32_t maxMtu = 0;  // ibv_mtu: 1 is 256 ... 5 is 4096
  uint32_t activeMtu = 0;
  uint32_t gidTableLength = 0;
  uint32_t lid = 0;
  uint32_t smLid = 0;
  uint32_t linkLayer = 0;  // 1 InfiniBand, 2 Ethernet, 3 shared memory (soft devices)
  uint32_t maxMessageBytes = 0;
};

struct QpCapabilities {
  uint32_t maxSendWr = 0;
  uint32_t maxRecvWr = 0;
  uint32_t maxSendSge = 0;
  uint32_t maxRecvSge = 0;
  uint32_t maxInlineData = 0;
};

// ibv_qp_attr, with `mask` in the numbers of ibv_qp_attr_mask.
struct QpAttributes {
  uint32_t mask = 0;
  QpState state = QpState::kReset;
  QpState currentState = QpState::kReset;
  uint32_t accessFlags = 0;
  uint32_t pkeyIndex = 0;
  uint32_t port = 0;
  uint32_t qkey = 0;
  uint32_t pathMtu = 0;
  uint32_t timeout = 0;
  uint32_t retryCount = 0;
  uint32_t rnrRetry = 0;
  uint32_t rqPsn = 0;
  uint32_t sqPsn = 0;
  uint32_t maxReadAtomic = 0;
  uint32_t maxDestReadAtomic = 0;
  uint32_t minRnrTimer = 0;
  uint32_t destQpNum = 0;
  uint32_t destLid = 0;
  Gid destGid{};
  bool isGlobal = false;
  uint32_t gidIndex = 0;
  uint32_t hopLimit = 0;
  uint32_t serviceLevel = 0;
  uint32_t trafficClass = 0;
};

enum QpAttributeMask : uint32_t {
  kMaskState = 1u << 0,
  kMaskCurrentState = 1u << 1,
  kMaskAccessFlags = 1u << 3,
  kMaskPkeyIndex = 1u << 4,
  kMaskPort = 1u << 5,
  kMaskQkey = 1u << 6,
  kMaskAddressVector = 1u << 7,
  kMaskPathMtu = 1u << 8,
  kMaskTimeout = 1u << 9,
  kMaskRetryCount = 1u << 10,
  kMaskRnrRetry = 1u << 11,
  kMaskRqPsn = 1u << 12,
  kMaskMaxReadAtomic = 1u << 13,
  kMaskMinRnrTimer = 1u << 15,
  kMaskSqPsn = 1u << 16,
  kMaskMaxDestReadAtomic = 1u << 17,
  kMaskDestQpNum = 1u << 20,
};

// ---- Objects. `Close()` answers 0 or a negative errno; after 0 the object must not be used again. The destructor
// of an object that was not closed closes it as well as it can.

class CompletionChannel {
 public:
  virtual ~CompletionChannel() = default;
  virtual int Fd() const = 0;  // readable when an event waits; watched by libuv
  virtual int Drain() = 0;     // takes every waiting event and acknowledges it; number taken or -errno
  virtual int Close() = 0;
};

class CompletionQueue {
 public:
  virtual ~CompletionQueue() = default;
  virtual uint32_t Capacity() const = 0;
  virtual int Poll(CompletionRecord* out, int max) = 0;  // number written or -errno
  virtual int RequestNotify(bool solicitedOnly) = 0;
  virtual int Close() = 0;
};

class MemoryRegion {
 public:
  virtual ~MemoryRegion() = default;
  virtual void* Address() const = 0;
  virtual size_t Length() const = 0;
  virtual uint32_t LocalKey() const = 0;
  virtual uint32_t RemoteKey() const = 0;
  // Revokes the keys. After 0 no peer can change the memory any more. -EBUSY: not proved yet (a peer stands in the
  // middle of a copy); the keys are dead already, the memory must not be reused, the call may be made again.
  virtual int Deregister() = 0;
  // Frees the memory itself, revoked or not; a peer that still stands in it writes to pages that nobody sees.
  virtual int Close() = 0;
};

class QueuePair {
 public:
  virtual ~QueuePair() = default;
  virtual uint32_t Number() const = 0;
  virtual QpCapabilities Capabilities() const = 0;
  virtual int Modify(const QpAttributes& attributes) = 0;
  virtual int Query(QpAttributes* attributes) = 0;
  // Both take the first `count` records, stop at the first that is refused, and say how many were taken.
  virtual int PostSend(const SendRecord* records, int count, int* taken) = 0;
  virtual int PostReceive(const ReceiveRecord* records, int count, int* taken) = 0;
  virtual int Close() = 0;
};

struct QpInit {
  CompletionQueue* sendCq = nullptr;
  CompletionQueue* receiveCq = nullptr;
  QpCapabilities capabilities;
  uint32_t type = 2;  // ibv_qp_type: 2 is RC
  bool signalAll = false;
};

class ProtectionDomain {
 public:
  virtual ~ProtectionDomain() = default;
  virtual int RegisterMemory(size_t bytes, uint32_t access, std::unique_ptr<MemoryRegion>* out) = 0;
  virtual int CreateQp(const QpInit& init, std::unique_ptr<QueuePair>* out) = 0;
  virtual int Close() = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual int Query(DeviceAttributes* out) = 0;
  virtual int QueryPort(uint32_t port, PortAttributes* out) = 0;
  // `type` is filled with "IB", "RoCE v1", "RoCE v2" or "soft"; `netdev` with the network interface or "".
  virtual int QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) = 0;
  virtual int AllocateProtectionDomain(std::unique_ptr<ProtectionDomain>* out) = 0;
  virtual int CreateChannel(std::unique_ptr<CompletionChannel>* out) = 0;
  virtual int CreateCq(uint32_t capacity, CompletionChannel* channel, std::unique_ptr<CompletionQueue>* out) = 0;
  virtual int Close() = 0;
};

// A kind of device: what `listDevices` and `openDevice` go through.
class DeviceProvider {
 public:
  virtual ~DeviceProvider() = default;
  virtual const char* Kind() const = 0;
  // Why no device of this kind can be listed, in words with the remedy; empty when it could be asked.
  virtual int List(std::vector<DeviceListing>* out, std::string* why) = 0;
  virtual int Open(const std::string& name, std::unique_ptr<Device>* out, std::string* why) = 0;
};

DeviceProvider& SoftProvider();
DeviceProvider& VerbsProvider();

}  // namespace onepiece

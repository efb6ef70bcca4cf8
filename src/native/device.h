// The interface of an RDMA device, as the Node-API layer sees it.
//
// Invariant: everything above this line of the house (addon, TypeScript) is the same for every device; what a
// device cannot do it answers with a negative errno (-ENOTSUP), never with a guess. All numbers (operation codes,
// states, access flags, statuses) are those of the verbs ABI, so that libibverbs needs no translation.
//
// Threads: one thread (the JavaScript one) calls every method of a device and of the objects made from it. A
// device may own further threads; they never call up.
#pragma once

#include <cerrno>
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

// ---- Records shared with JavaScript: fixed size, little-endian, no pointers. Mirrored in
// src/ts/verbs/work-requests.ts and completions.ts.

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
// SEND_WITH_INV and LOCAL_INV: `rkey` is the key to make invalid. BIND_MW: `addressHandle` is the number of the window,
// `imm` the key that it has, `rkey` its new one, `remoteAddress` and `compareAdd` where it begins and how long it is,
// `remoteQpn` the lkey of the region below, `remoteQkey` the access flags. SEND on a datagram queue pair:
// `addressHandle` is the number of one.
struct SendRecord {
  double wrId;
  double remoteAddress;
  uint32_t opcode;
  uint32_t flags;
  uint32_t imm;  // host order
  uint32_t rkey;
  uint32_t numSge;
  uint32_t addressHandle;  // AddressHandle::Number() or MemoryWindow::Number()
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

// ibv_device_attr_ex, what of it means something across vendors.
struct DeviceAttributes {
  std::string firmware;
  std::string provider;  // the driver in user space, such as "mlx5" or "rxe"; "" when unknown
  uint64_t nodeGuid = 0;
  uint64_t systemImageGuid = 0;
  uint64_t maxMrBytes = 0;
  uint64_t pageSizes = 0;      // bit n: pages of 2^n bytes
  uint64_t capabilities = 0;   // ibv_device_cap_flags, and device_cap_flags_ex above them
  uint64_t odpCapabilities = 0;  // ibv_odp_general_caps; 0: no on-demand paging
  uint64_t timestampMask = 0;  // of completions; 0: none
  uint64_t coreClockKhz = 0;
  uint32_t odpRc = 0;  // ibv_odp_transport_cap_bits
  uint32_t odpUc = 0;
  uint32_t odpUd = 0;
  uint32_t vendorId = 0;
  uint32_t vendorPartId = 0;
  uint32_t hardwareVersion = 0;
  uint32_t maxQp = 0;
  uint32_t maxQpWr = 0;
  uint32_t maxSge = 0;
  uint32_t maxSgeRead = 0;
  uint32_t maxCq = 0;
  uint32_t maxCqe = 0;
  uint32_t maxMr = 0;
  uint32_t maxMw = 0;
  uint32_t maxPd = 0;
  uint32_t maxAh = 0;
  uint32_t maxQpReadAtomic = 0;
  uint32_t maxQpInitiatorReadAtomic = 0;
  uint32_t maxSrq = 0;
  uint32_t maxSrqWr = 0;
  uint32_t maxSrqSge = 0;
  uint32_t maxPkeys = 0;
  uint32_t localAckDelay = 0;
  uint32_t portCount = 0;
  uint32_t atomicCapability = 0;  // ibv_atomic_cap: 0 none, 1 HCA, 2 global
  int32_t numaNode = -1;          // -1: unknown, or the device belongs to none
};

struct PortAttributes {
  uint32_t state = 0;  // ibv_port_state: 4 is active
  uint32_t physicalState = 0;
  uint32_t maxMtu = 0;  // ibv_mtu: 1 is 256 ... 5 is 4096
  uint32_t activeMtu = 0;
  uint32_t gidTableLength = 0;
  uint32_t pkeyTableLength = 0;
  uint32_t lid = 0;
  uint32_t lidMaskControl = 0;
  uint32_t smLid = 0;
  uint32_t smServiceLevel = 0;
  uint32_t linkLayer = 0;  // 1 InfiniBand, 2 Ethernet, 3 shared memory (soft devices)
  uint32_t maxMessageBytes = 0;
  uint32_t capabilities = 0;
  uint32_t activeWidth = 0;  // 1: 1x, 2: 4x, 4: 8x, 8: 12x, 16: 2x
  uint32_t activeSpeed = 0;  // ibv_port_attr::active_speed, or active_speed_ex where the driver has it
  uint32_t badPkeys = 0;
  uint32_t qkeyViolations = 0;
  uint32_t flags = 0;  // bit 0: a GRH is required
};

struct QpCapabilities {
  uint32_t maxSendWr = 0;
  uint32_t maxRecvWr = 0;
  uint32_t maxSendSge = 0;
  uint32_t maxRecvSge = 0;
  uint32_t maxInlineData = 0;
};

// ibv_ah_attr.
struct AddressVector {
  Gid destGid{};
  bool isGlobal = false;
  uint32_t destLid = 0;
  uint32_t gidIndex = 0;
  uint32_t hopLimit = 0;
  uint32_t serviceLevel = 0;
  uint32_t trafficClass = 0;
  uint32_t flowLabel = 0;
  uint32_t sourcePathBits = 0;
  uint32_t port = 0;  // of an address handle; a queue pair has its own
};

// ibv_qp_attr, with `mask` in the numbers of ibv_qp_attr_mask. The alternate path is left out.
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
  bool notifyWhenDrained = false;  // an event when SEND_QUEUE_DRAINED has drained
  bool isDraining = false;         // only asked
  AddressVector path;
};

enum QpAttributeMask : uint32_t {
  kMaskState = 1u << 0,
  kMaskCurrentState = 1u << 1,
  kMaskNotifyWhenDrained = 1u << 2,
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

// An asynchronous event (ibv_async_event). `element` is the number of what it is about: a queue pair, completion queue
// or shared receive queue (their Number()), a port, or 0 for the device itself.
struct AsyncEvent {
  uint32_t type = 0;  // ibv_event_type
  uint32_t element = 0;
};

// The native object itself, for programs that need more than is wrapped. Zero where there is none.
struct RawNumbers {
  uint64_t pointer = 0;  // of ibv_context, ibv_pd, ...
  uint32_t handle = 0;   // the kernel's, in ioctls on commandFd
  int commandFd = -1;
  int eventFd = -1;
};

// ---- Objects. `Close()` answers 0 or a negative errno; after 0 the object must not be used again. The destructor
// of an object that was not closed closes it as well as it can. What a device has not answers -ENOTSUP.

class Object {
 public:
  virtual ~Object() = default;
  virtual int Raw(RawNumbers*) { return -ENOTSUP; }
  virtual int Close() = 0;
};

// A descriptor that is readable when something waits behind it; watched by libuv.
class Watched {
 public:
  virtual ~Watched() = default;
  virtual int Fd() const = 0;
  // How much there is to tell JavaScript; a channel takes it all here, others leave it to be asked for. Or -errno.
  virtual int Drain() = 0;
};

class CompletionChannel : public Object, public Watched {
 public:
  int Drain() override = 0;  // takes every waiting event and acknowledges it
};

// What happened to an object so far, in whole numbers, where JavaScript reads them without a call. Mirrored in
// src/ts/verbs/counters.ts.
struct CqCounters {
  double polls = 0;
  double emptyPolls = 0;
  double completions = 0;  // errors included
  double errors = 0;
  double bytesReceived = 0;
  double wakes = 0;  // events that the channel has taken for this queue
};

struct QpCounters {
  double sendsPosted = 0;
  double receivesPosted = 0;
  double bytesPosted = 0;       // of send work requests
  double sendsCompleted = 0;    // polled with success; unsignaled ones are never seen
  double receivesCompleted = 0;
  double bytesReceived = 0;     // by receives and READs
  double errors = 0;            // completions that failed, of either queue
  double doorbells = 0;         // calls that posted sends
};

class CompletionQueue : public Object {
 public:
  virtual uint32_t Number() const = 0;  // within the device
  virtual uint32_t Capacity() const = 0;
  virtual int Poll(CompletionRecord* out, int max) = 0;  // number written or -errno
  virtual int RequestNotify(bool solicitedOnly) = 0;
  virtual int Resize(uint32_t) { return -ENOTSUP; }
  CqCounters counters;
};

// Where registered memory comes from.
struct MemoryInit {
  size_t bytes = 0;
  uint32_t access = 0;
  size_t pageBytes = 0;      // 0: ordinary pages; else huge pages of that size
  void* address = nullptr;   // somebody else's memory, which outlives the region; nullptr: allocated here
  int dmabufFd = -1;         // a dma-buf instead, from `offset`; it has no address here
  uint64_t offset = 0;
  const class RemoteMapping* mapping = nullptr;  // all that it shows instead; the pages stay as long as the region
};

class MemoryRegion : public Object {
 public:
  virtual void* Address() const = 0;  // nullptr: not memory of this process
  virtual size_t Length() const = 0;
  virtual uint32_t LocalKey() const = 0;
  virtual uint32_t RemoteKey() const = 0;
  // New rights (`access`), or a move into `domain` (nullptr: stays); the keys may change.
  virtual int Reregister(const uint32_t* /*access*/, class ProtectionDomain* /*domain*/) { return -ENOTSUP; }
  // Revokes the keys. After 0 no peer can change the memory any more, unless it is that of a peer and mapped by others
  // as well. -EBUSY: not proved yet (a peer is in the middle of a copy); the keys are dead already, the memory must
  // not be reused, the call may be made again.
  virtual int Deregister() = 0;
  // The file whose pages these are, which stays the region's, and where they begin in it.
  virtual int Pages(int* /*fd*/, uint64_t* /*offset*/) const { return -ENOTSUP; }
  // Frees the memory itself, revoked or not; a peer that is still copying writes to pages that nobody sees.
  int Close() override = 0;
};

class MemoryWindow : public Object {
 public:
  virtual uint32_t Number() const = 0;     // within the protection domain
  virtual uint32_t RemoteKey() const = 0;  // as allocated; a bind gives it another one
};

class AddressHandle : public Object {
 public:
  virtual uint32_t Number() const = 0;  // within the protection domain; never 0
};

// Pages of a peer's region, mapped here for as long as this object lives, whatever becomes of the peer.
class RemoteMapping : public Object {
 public:
  virtual void* Address() const = 0;
  virtual size_t Length() const = 0;
  // As of a region.
  virtual int Pages(int* /*fd*/, uint64_t* /*offset*/) const { return -ENOTSUP; }
};

struct SrqAttributes {
  uint32_t maxWr = 0;
  uint32_t maxSge = 0;
  uint32_t limit = 0;
};

class SharedReceiveQueue : public Object {
 public:
  virtual uint32_t Number() const = 0;  // within the device
  virtual SrqAttributes Granted() const = 0;
  virtual int PostReceive(const ReceiveRecord* records, int count, int* taken) = 0;
  virtual int Modify(const uint32_t* maxWr, const uint32_t* limit) = 0;
  virtual int Query(SrqAttributes* out) = 0;
};

class QueuePair : public Object {
 public:
  virtual uint32_t Number() const = 0;
  virtual QpCapabilities Capabilities() const = 0;
  virtual int Modify(const QpAttributes& attributes) = 0;
  virtual int Query(QpAttributes* attributes) = 0;
  // Both take the first `count` records, stop at the first that is refused, and say how many were taken.
  virtual int PostSend(const SendRecord* records, int count, int* taken) = 0;
  virtual int PostReceive(const ReceiveRecord* records, int count, int* taken) = 0;
  // Maps `length` bytes of the connected peer's region `rkey` from `address`. -EACCES: the peer does not allow it.
  virtual int MapRemote(uint64_t /*address*/, uint32_t /*rkey*/, uint64_t /*length*/, std::unique_ptr<RemoteMapping>*) {
    return -ENOTSUP;
  }
  // For benchmarks: one plain memcpy between the addresses that the WRITE or READ of `record` copies between, after
  // its checks, and how long that took: the least that the request could cost. -ENOTSUP where no CPU copies.
  virtual int TimeCopy(const SendRecord& /*record*/, double* /*ns*/) { return -ENOTSUP; }
  QpCounters counters;
};

struct QpInit {
  CompletionQueue* sendCq = nullptr;
  CompletionQueue* receiveCq = nullptr;
  SharedReceiveQueue* srq = nullptr;
  QpCapabilities capabilities;
  QpType type = QpType::kReliable;
  bool signalAll = false;
};

class ProtectionDomain : public Object {
 public:
  virtual int RegisterMemory(const MemoryInit& init, std::unique_ptr<MemoryRegion>* out) = 0;
  virtual int AllocateWindow(std::unique_ptr<MemoryWindow>*) { return -ENOTSUP; }  // type 2
  virtual int CreateAh(const AddressVector&, std::unique_ptr<AddressHandle>*) { return -ENOTSUP; }
  virtual int CreateSrq(const SrqAttributes&, std::unique_ptr<SharedReceiveQueue>*) { return -ENOTSUP; }
  virtual int CreateQp(const QpInit& init, std::unique_ptr<QueuePair>* out) = 0;
};

class Device : public Object {
 public:
  virtual int Query(DeviceAttributes* out) = 0;
  virtual int QueryPort(uint32_t port, PortAttributes* out) = 0;
  // `type` is filled with "IB", "RoCE v1", "RoCE v2" or "soft"; `netdev` with the network interface or "".
  virtual int QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) = 0;
  virtual int QueryPkey(uint32_t, uint32_t, uint16_t*) { return -ENOTSUP; }
  // 0 when an address handle can be made from this entry to itself, so that it is known to be usable.
  virtual int ProveGid(uint32_t /*port*/, uint32_t /*index*/) { return 0; }
  // Asynchronous events: a descriptor that is readable when one waits, and the next one (1), none (0) or -errno.
  virtual int EventFd() const { return -ENOTSUP; }
  virtual int NextEvent(AsyncEvent*) { return -ENOTSUP; }
  virtual int AllocateProtectionDomain(std::unique_ptr<ProtectionDomain>* out) = 0;
  virtual int CreateChannel(std::unique_ptr<CompletionChannel>* out) = 0;
  virtual int CreateCq(uint32_t capacity, CompletionChannel* channel, std::unique_ptr<CompletionQueue>* out) = 0;
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

// What devices, ports and queues say of themselves, and what a program asks of them.
//
// Invariant: numbers and units are those of the verbs ABI, so that libibverbs needs no translation.
#pragma once

#include <cstdint>
#include <string>

#include "records.h"

namespace onepiece {

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

struct SrqAttributes {
  uint32_t maxWr = 0;
  uint32_t maxSge = 0;
  uint32_t limit = 0;
};

}  // namespace onepiece

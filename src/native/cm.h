// The interface of a connection manager, as the Node-API layer sees it: beside device.h, and made of the same stuff.
//
// Invariant: a connection manager makes no queue pair. It resolves addresses, exchanges queue pair numbers and private
// data, and says which attributes a queue pair of one of our own devices needs for its next state. A call in a state
// that does not allow it answers a negative errno and never crashes.
//
// Threads: one thread calls a channel and everything made from it. Numbers are those of the rdma_cm ABI.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device.h"

namespace onepiece {

enum class CmPortSpace : uint32_t { kTcp = 0x0106, kUdp = 0x0111 };

// RDMA_OPTION_ID_*.
enum class CmOption : uint32_t { kTypeOfService = 0, kReuseAddress = 1, kOneFamily = 2, kAckTimeout = 3 };

// An IP address and a port. `family` is 4, 6, or 0 for none; IPv4 has the first four bytes.
struct CmAddress {
  uint32_t family = 0;
  uint32_t port = 0;   // host order
  uint32_t scope = 0;  // the interface of a link-local IPv6 address
  uint8_t bytes[16] = {};
};

// rdma_conn_param.
struct CmParameters {
  std::vector<uint8_t> privateData;
  uint32_t responderResources = 0;
  uint32_t initiatorDepth = 0;
  uint32_t flowControl = 0;
  uint32_t retryCount = 0;
  uint32_t rnrRetryCount = 0;
  uint32_t srq = 0;
  uint32_t qpNum = 0;
};

// How to reach a datagram queue pair (rdma_ud_param).
struct CmDatagram {
  uint32_t qpNum = 0;
  uint32_t qkey = 0;
  AddressVector path;
};

// What an id is bound to so far.
struct CmIdentity {
  std::string device;     // "" until it is bound to one
  std::string transport;  // "InfiniBand" (RoCE too), "iWARP", or ""
  uint32_t port = 0;
  CmAddress local;
  CmAddress peer;
};

constexpr size_t kMaxCmPrivateBytes = 255;

class CmId : public Object {
 public:
  virtual int Bind(const CmAddress& local) = 0;
  virtual int Listen(int backlog) = 0;
  virtual int ResolveAddress(const CmAddress& source, const CmAddress& destination, int timeoutMs) = 0;
  virtual int ResolveRoute(int timeoutMs) = 0;
  virtual int Connect(const CmParameters& parameters) = 0;
  virtual int Accept(const CmParameters& parameters) = 0;
  virtual int Establish() = 0;
  virtual int Reject(const uint8_t* privateData, size_t bytes) = 0;
  virtual int Disconnect() = 0;
  virtual int NotifyEstablished() = 0;
  virtual int SetOption(CmOption option, uint32_t value) = 0;
  // What a queue pair that belongs to this connection needs to reach `state`.
  virtual int AttributesFor(QpState state, QpAttributes* out) = 0;
  virtual void Describe(CmIdentity* out) const = 0;
  uint32_t tag = 0;  // the caller's
};

// rdma_cm_event, acknowledged already.
struct CmEvent {
  uint32_t type = 0;  // rdma_cm_event_type
  int32_t status = 0;
  CmId* id = nullptr;              // of a request: the id that listens
  std::unique_ptr<CmId> request;   // of a request: the new id
  bool isDatagram = false;
  CmParameters parameters;         // the peer's; of a datagram only the private data
  CmDatagram datagram;
};

class CmChannel : public Object, public Watched {
 public:
  virtual int CreateId(CmPortSpace space, std::unique_ptr<CmId>* out) = 0;
  // Takes the next event: 1, 0 when none waits, or a negative errno.
  virtual int NextEvent(CmEvent* out) = 0;
  // While it has, Close() answers -EBUSY.
  virtual bool HasIds() const = 0;
};

class CmProvider {
 public:
  virtual ~CmProvider() = default;
  // 0, or a negative errno and in `why` what is missing with its remedy.
  virtual int Open(std::unique_ptr<CmChannel>* out, std::string* why) = 0;
};

CmProvider& RdmaCmProvider();

}  // namespace onepiece

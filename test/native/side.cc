// Invariant: see side.h.
#include "side.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

namespace onepiece::test {

void Must(bool good, const char* what, int rc) {
  if (good) return;
  fprintf(stderr, "the test cannot go on: %s (%s)\n", what, strerror(-rc));
  abort();
}

uint64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

bool Until(const std::function<bool()>& condition, uint64_t ms) {
  for (uint64_t deadline = NowMs() + ms; !condition();) {
    if (NowMs() >= deadline) return false;
    sched_yield();
  }
  return true;
}

std::unique_ptr<Device> OpenDevice() {
  std::unique_ptr<Device> device;
  std::string why;
  int rc = SoftProvider().Open("soft0", &device, &why);
  Must(rc == 0, "open soft0", rc);
  return device;
}

Gid GidOf(Device& device) {
  Gid gid{};
  std::string type;
  std::string netdev;
  int rc = device.QueryGid(1, 0, &gid, &type, &netdev);
  Must(rc == 0, "query the GID", rc);
  return gid;
}

Side::Side(const SideOptions& options) : device(OpenDevice()) {
  gid = GidOf(*device);
  int rc = device->AllocateProtectionDomain(&pd);
  if (rc == 0) rc = device->CreateCq(1024, nullptr, &cq);
  Must(rc == 0, "open a side", rc);
  mr = Register(options.bytes, options.type == QpType::kDatagram ? uint32_t{kLocalWrite} : options.access);
  qp = CreateQp(options);
}

Endpoint Side::EndpointOf(const QueuePair& qp, const MemoryRegion& mr) const {
  return {gid, qp.Number(), mr.RemoteKey(), reinterpret_cast<uint64_t>(mr.Address()), mr.Length()};
}

std::unique_ptr<MemoryRegion> Side::Register(size_t bytes, uint32_t access) const {
  std::unique_ptr<MemoryRegion> region;
  MemoryInit init;
  init.bytes = bytes;
  init.access = access;
  int rc = pd->RegisterMemory(init, &region);
  Must(rc == 0, "register memory", rc);
  return region;
}

std::unique_ptr<MemoryRegion> Side::Adopt(void* address, size_t bytes, uint32_t access) const {
  std::unique_ptr<MemoryRegion> region;
  MemoryInit init;
  init.address = address;
  init.bytes = bytes;
  init.access = access;
  int rc = pd->RegisterMemory(init, &region);
  Must(rc == 0, "register memory of the test's own", rc);
  return region;
}

std::unique_ptr<QueuePair> Side::CreateQp(const SideOptions& options, SharedReceiveQueue* srq) const {
  QpInit init;
  init.sendCq = init.receiveCq = cq.get();
  init.srq = srq;
  init.type = options.type;
  init.capabilities = {options.maxSendWr, options.maxRecvWr, kMaxSge, kMaxSge, 0};
  std::unique_ptr<QueuePair> made;
  int rc = pd->CreateQp(init, &made);
  Must(rc == 0, "create a queue pair", rc);
  return made;
}

int ToState(QueuePair& qp, QpState state) {
  QpAttributes attributes;
  attributes.mask = kMaskState;
  attributes.state = state;
  return qp.Modify(attributes);
}

QpState StateOf(QueuePair& qp) {
  QpAttributes attributes;
  Must(qp.Query(&attributes) == 0, "query a queue pair");
  return attributes.state;
}

int Connect(QueuePair& qp, const Gid& gid, uint32_t peerNumber, const ConnectOptions& options) {
  QpAttributes to;
  to.mask = kMaskState | kMaskPkeyIndex | kMaskPort | kMaskAccessFlags;
  to.state = QpState::kInit;
  to.port = 1;
  to.accessFlags = options.access;
  int rc = qp.Modify(to);
  if (rc != 0) return rc;
  to.mask = kMaskState | kMaskAddressVector | kMaskPathMtu | kMaskDestQpNum | kMaskRqPsn | kMaskMaxDestReadAtomic |
            kMaskMinRnrTimer;
  to.state = QpState::kReadyToReceive;
  to.path.destGid = gid;
  to.path.isGlobal = true;
  to.pathMtu = 5;
  to.destQpNum = peerNumber;
  to.maxDestReadAtomic = 1;
  to.minRnrTimer = 1;
  rc = qp.Modify(to);
  if (rc != 0) return rc;
  to.mask = kMaskState | kMaskTimeout | kMaskRetryCount | kMaskRnrRetry | kMaskSqPsn | kMaskMaxReadAtomic;
  to.state = QpState::kReadyToSend;
  to.timeout = options.timeout;
  to.retryCount = options.retryCount;
  to.rnrRetry = options.rnrRetry;
  to.maxReadAtomic = 1;
  return qp.Modify(to);
}

void MustConnect(QueuePair& qp, const Endpoint& peer, const ConnectOptions& options) {
  int rc = Connect(qp, peer.gid, peer.qpNumber, options);
  Must(rc == 0, "connect", rc);
}

void ConnectSides(Side& a, Side& b, const ConnectOptions& options) {
  MustConnect(*a.qp, b.endpoint(), options);
  MustConnect(*b.qp, a.endpoint(), options);
}

namespace {

SendRecord Request(WorkOpcode opcode, const MemoryRegion& local, uint32_t bytes, uint64_t offset) {
  SendRecord record{};
  record.wrId = 1;
  record.opcode = static_cast<uint32_t>(opcode);
  record.flags = kSignaled;
  record.numSge = 1;
  record.sge[0] = {static_cast<double>(reinterpret_cast<uintptr_t>(local.Address()) + offset), bytes, local.LocalKey()};
  return record;
}

SendRecord RemoteRequest(WorkOpcode opcode, const MemoryRegion& local, const Endpoint& remote, uint32_t bytes,
                         uint64_t offset) {
  SendRecord record = Request(opcode, local, bytes, offset);
  record.remoteAddress = static_cast<double>(remote.address + offset);
  record.rkey = remote.rkey;
  return record;
}

}  // namespace

SendRecord Write(const MemoryRegion& from, const Endpoint& to, uint32_t bytes, uint64_t offset) {
  return RemoteRequest(WorkOpcode::kWrite, from, to, bytes, offset);
}

SendRecord Read(const MemoryRegion& into, const Endpoint& from, uint32_t bytes, uint64_t offset) {
  return RemoteRequest(WorkOpcode::kRead, into, from, bytes, offset);
}

SendRecord Send(const MemoryRegion& from, uint32_t bytes) { return Request(WorkOpcode::kSend, from, bytes, 0); }

SendRecord FetchAdd(const MemoryRegion& into, const Endpoint& at, uint64_t add) {
  SendRecord record = RemoteRequest(WorkOpcode::kFetchAdd, into, at, sizeof(uint64_t), 0);
  record.compareAdd = add;
  return record;
}

SendRecord CompareSwap(const MemoryRegion& into, const Endpoint& at, uint64_t compare, uint64_t swap) {
  SendRecord record = RemoteRequest(WorkOpcode::kCompareSwap, into, at, sizeof(uint64_t), 0);
  record.compareAdd = compare;
  record.swap = swap;
  return record;
}

ReceiveRecord ReceiveInto(const MemoryRegion& mr, uint64_t offset, uint32_t bytes, double wrId) {
  ReceiveRecord record{};
  record.wrId = wrId;
  record.numSge = 1;
  record.sge[0] = {static_cast<double>(reinterpret_cast<uintptr_t>(mr.Address()) + offset), bytes, mr.LocalKey()};
  return record;
}

int Post(QueuePair& qp, const SendRecord& record) {
  int taken = 0;
  return qp.PostSend(&record, 1, &taken);
}

int Post(QueuePair& qp, const ReceiveRecord& record) {
  int taken = 0;
  return qp.PostReceive(&record, 1, &taken);
}

void MustPost(QueuePair& qp, const SendRecord& record) {
  int rc = Post(qp, record);
  Must(rc == 0, "post a send", rc);
}

void MustPost(QueuePair& qp, const ReceiveRecord& record) {
  int rc = Post(qp, record);
  Must(rc == 0, "post a receive", rc);
}

bool TryTake(CompletionQueue& cq, CompletionRecord* out) {
  int count = cq.Poll(out, 1);
  Must(count >= 0, "poll", count);
  return count == 1;
}

std::vector<CompletionRecord> Take(CompletionQueue& cq, size_t count) {
  std::vector<CompletionRecord> taken;
  CompletionRecord one{};
  bool all = Until([&] {
    while (taken.size() < count && TryTake(cq, &one)) taken.push_back(one);
    return taken.size() == count;
  });
  Must(all, "completions did not come");
  return taken;
}

CompletionStatus TakeStatus(CompletionQueue& cq) { return static_cast<CompletionStatus>(Take(cq)[0].status); }

uint32_t NextEventType(Device& device, uint64_t ms) {
  AsyncEvent event;
  for (uint64_t deadline = NowMs() + ms;;) {
    if (device.NextEvent(&event) == 1) return event.type;
    uint64_t now = NowMs();
    if (now >= deadline) return 0;
    pollfd entry{device.EventFd(), POLLIN, 0};
    poll(&entry, 1, static_cast<int>(deadline - now));
  }
}

}  // namespace onepiece::test

// Fuzzes what soft0 reads of other processes: a hostile peer of the same user writes what it likes into its own
// directory (header, regions, queue pairs, shared receives, completion queues, rings) and into that of its victim,
// while the victim connects, posts, polls, registers, deregisters, and closes. libFuzzer chooses all of it; sanitizers
// judge.
//
//   input   a sequence of steps, each a byte that chooses and the numbers that it needs (FuzzedDataProvider)
//
// Invariant: the hostile directory belongs to a child process, so whatever its slots point to is that child's memory,
// and nothing that the victim does rightly can reach this process but through its own device. Every wait is bounded.
#include <errno.h>
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "../../../src/native/device.h"
#include "../../../src/native/soft/layout.h"

namespace onepiece::test {
namespace {

using soft::CqSlot;
using soft::Directory;
using soft::Header;
using soft::MrSlot;
using soft::QpSlot;
using soft::RqEntry;
using soft::SrqSlot;

constexpr uint32_t kPageMemory = 65536;
constexpr uint32_t kReceives = 16;
constexpr uint32_t kKey = 0x00010005;
constexpr uint32_t kSharedNumber = 1u << 12 | 1;
constexpr uint64_t kAddress = 0x100000;
constexpr uint64_t kNonce = 0x1122334455667788;
constexpr uint64_t kRing = soft::kRingsOffset;
constexpr uint64_t kShared = kRing + soft::kPageBytes;
constexpr uint32_t kAllAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic | kRemoteMap;
constexpr int kMaxSteps = 48;

void Must(bool good, const char* what) {
  if (good) return;
  perror(what);
  abort();
}

uint64_t Inode(int fd) {
  struct stat about;
  Must(fstat(fd, &about) == 0, "fstat");
  return about.st_ino;
}

int SealedMemory(const char* name, size_t bytes) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  Must(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0, "memfd");
  Must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0, "seal");
  return fd;
}

// The hostile peer: a child that holds the descriptors, and its directory mapped here.
struct Hostile {
  int directoryFd;
  int pagesFd;
  int pipe[2];
  pid_t pid;
  Directory directory;

  Hostile() {
    directoryFd = SealedMemory("onepiece-directory", soft::kDirectoryBytes);
    pagesFd = SealedMemory("onepiece-region", kPageMemory);
    Must(pipe2(pipe, O_CLOEXEC | O_NONBLOCK) == 0, "pipe2");
    void* base = mmap(nullptr, soft::kDirectoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, directoryFd, 0);
    Must(base != MAP_FAILED, "mmap");
    directory.base = static_cast<uint8_t*>(base);
    pid = fork();
    Must(pid >= 0, "fork");
    if (pid != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }

  Gid gid() const { return soft::MakeGid(static_cast<uint32_t>(directoryFd), static_cast<uint32_t>(pid), kNonce); }

  // All as a peer that behaves has it, connected to `victim`.
  void Reset(uint64_t victimNonce, uint32_t victimNumber) {
    Must(fallocate(directoryFd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, soft::kDirectoryBytes) == 0, "fallocate");
    Header& header = directory.header();
    header.magic = soft::kMagic;
    header.nonce = kNonce;
    header.version = soft::kLayoutVersion;
    header.pid = static_cast<uint32_t>(pid);
    header.wakeFd = header.eventFd = static_cast<uint32_t>(pipe[1]);
    header.wakeInode = header.eventInode = Inode(pipe[1]);
    MrSlot& region = directory.mr(soft::MrIndex(kKey));
    region.pd = 1;
    region.access = kAllAccess;
    region.fd = static_cast<uint32_t>(pagesFd);
    region.address = kAddress;
    region.length = kPageMemory;
    region.serial = 1;
    region.inode = Inode(pagesFd);
    region.key.store(kKey);
    QpSlot& qp = directory.qp(1);
    qp.number.store(kHostileNumber);
    qp.pd = 1;
    qp.receiveCq = 1;
    qp.access = kAllAccess;
    qp.peerNonce = victimNonce;
    qp.peerNumber = victimNumber;
    qp.rqCapacity = kReceives;
    qp.rqOffset = kRing;
    qp.type = static_cast<uint32_t>(QpType::kReliable);
    qp.state.store(static_cast<uint32_t>(QpState::kReadyToSend));
    for (uint32_t i = 0; i < kReceives; i++) FillReceive(directory.rq(kRing, i, kReceives));
    qp.rqPosted.store(kReceives / 2);
    SrqSlot& shared = directory.srq(1);
    shared.pd = 1;
    shared.capacity = kReceives;
    shared.orderOffset = kShared;
    shared.doneOffset = kShared + 256;
    shared.entriesOffset = kShared + 512;
    auto* order = reinterpret_cast<std::atomic<uint64_t>*>(directory.base + kShared);
    auto* done = reinterpret_cast<std::atomic<uint64_t>*>(directory.base + kShared + 256);
    for (uint64_t i = 0; i < kReceives; i++) {
      auto& entry = reinterpret_cast<RqEntry*>(directory.base + kShared + 512)[i];
      FillReceive(entry);
      entry.taken.store((i + 1) << 24);
      order[i].store((i + 1) << 16 | i);
      done[i].store((i + 1) << 18);
    }
    shared.posted.store(kReceives / 2);
    shared.number.store(kSharedNumber);
    CqSlot& cq = directory.cq(1);
    cq.channelFd = static_cast<uint32_t>(pipe[1]);
    cq.channelInode = Inode(pipe[1]);
    cq.armed.store(soft::kArmedAny);
    char sink[4096];
    while (read(pipe[0], sink, sizeof sink) > 0) continue;
  }

  static void FillReceive(RqEntry& entry) {
    entry.numSge = 1;
    entry.sge[0] = {static_cast<double>(kAddress), 4096, kKey};
  }

  static constexpr uint32_t kHostileNumber = 1u << soft::kQpIndexBits | 1;
};

Hostile* hostile;

uint64_t AnyValue(FuzzedDataProvider& data) {
  static constexpr uint64_t kInteresting[] = {0,
                                              1,
                                              2,
                                              3,
                                              16,
                                              64,
                                              4096,
                                              65535,
                                              65536,
                                              1u << 31,
                                              UINT32_MAX,
                                              uint64_t{1} << 32,
                                              uint64_t{1} << 63,
                                              UINT64_MAX,
                                              kKey,
                                              kAddress,
                                              kAddress + kPageMemory - 1,
                                              soft::kDirectoryBytes,
                                              soft::kDirectoryBytes - 64,
                                              soft::kDirectoryBytes - 4096,
                                              kRing,
                                              kShared,
                                              soft::kInside,
                                              kNonce,
                                              kSharedNumber,
                                              Hostile::kHostileNumber};
  if (data.ConsumeBool()) return data.PickValueInArray(kInteresting);
  return data.ConsumeIntegral<uint64_t>();
}

// Where a word of a table lies that both sides use: an early slot, anywhere in it.
uint64_t AnyPlace(FuzzedDataProvider& data) {
  struct Table {
    uint64_t offset;
    uint32_t bytes;
    uint32_t slots;
  };
  static constexpr Table kTables[] = {{0, sizeof(Header), 1},
                                      {soft::kMrTableOffset + sizeof(MrSlot), sizeof(MrSlot), 1},
                                      {soft::kQpTableOffset, sizeof(QpSlot), 3},
                                      {soft::kSrqTableOffset, sizeof(SrqSlot), 3},
                                      {soft::kCqTableOffset, sizeof(CqSlot), 3},
                                      {kRing, sizeof(RqEntry), kReceives},
                                      {kShared, 512 + kReceives * sizeof(RqEntry), 1}};
  const Table& table = data.PickValueInArray(kTables);
  uint64_t slot = data.ConsumeIntegralInRange<uint32_t>(0, table.slots - 1);
  return table.offset + slot * table.bytes + data.ConsumeIntegralInRange<uint32_t>(0, table.bytes / 4 - 2) * 4;
}

void Write(const Directory& directory, FuzzedDataProvider& data) {
  uint8_t* at = directory.base + AnyPlace(data);
  uint64_t value = AnyValue(data);
  memcpy(at, &value, data.ConsumeBool() ? 8 : 4);
}

// The victim: all kinds of objects, and a queue pair that is connected to the hostile peer.
struct Victim {
  std::unique_ptr<Device> device;
  std::unique_ptr<ProtectionDomain> pd;
  std::unique_ptr<CompletionChannel> channel;
  std::unique_ptr<CompletionQueue> cq;
  std::unique_ptr<MemoryRegion> mr;
  std::unique_ptr<SharedReceiveQueue> srq;
  std::unique_ptr<QueuePair> qp;
  std::unique_ptr<RemoteMapping> mapping;
  Directory directory;  // its own, as a hostile peer maps it

  explicit Victim(bool isShared) {
    std::string why;
    Must(SoftProvider().Open("soft0", &device, &why) == 0, "open soft0");
    Must(device->AllocateProtectionDomain(&pd) == 0, "a domain");
    Must(device->CreateChannel(&channel) == 0, "a channel");
    Must(device->CreateCq(64, channel.get(), &cq) == 0, "a completion queue");
    Register();
    Must(pd->CreateSrq({.maxWr = kReceives, .maxSge = 2}, &srq) == 0, "shared receives");
    RawNumbers raw;
    Must(device->Raw(&raw) == 0, "the directory");
    void* base = mmap(nullptr, soft::kDirectoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, raw.commandFd, 0);
    Must(base != MAP_FAILED, "map the directory");
    directory.base = static_cast<uint8_t*>(base);
    Create(isShared);
  }

  ~Victim() {
    mapping.reset();
    qp.reset();
    srq.reset();
    mr.reset();
    cq.reset();
    channel.reset();
    pd.reset();
    device.reset();
    munmap(directory.base, soft::kDirectoryBytes);
  }

  void Register() {
    MemoryInit init;
    init.bytes = kPageMemory;
    init.access = kAllAccess;
    Must(pd->RegisterMemory(init, &mr) == 0, "memory");
  }

  void Create(bool isShared) {
    QpInit init;
    init.sendCq = init.receiveCq = cq.get();
    init.srq = isShared ? srq.get() : nullptr;
    init.capabilities = {32, isShared ? 0 : kReceives, 2, 2, 0};
    Must(pd->CreateQp(init, &qp) == 0, "a queue pair");
  }

  void Connect(uint32_t peerNumber) {
    QpAttributes to;
    to.mask = kMaskState | kMaskPkeyIndex | kMaskPort | kMaskAccessFlags;
    to.state = QpState::kInit;
    to.port = 1;
    to.accessFlags = kAllAccess & ~kRemoteMap;
    if (qp->Modify(to) != 0) return;
    to.mask = kMaskState | kMaskAddressVector | kMaskPathMtu | kMaskDestQpNum | kMaskRqPsn | kMaskMaxDestReadAtomic |
              kMaskMinRnrTimer;
    to.state = QpState::kReadyToReceive;
    to.path.destGid = hostile->gid();
    to.path.isGlobal = true;
    to.pathMtu = 5;
    to.destQpNum = peerNumber;
    to.maxDestReadAtomic = 1;
    to.minRnrTimer = 1;
    if (qp->Modify(to) != 0) return;
    to.mask = kMaskState | kMaskTimeout | kMaskRetryCount | kMaskRnrRetry | kMaskSqPsn | kMaskMaxReadAtomic;
    to.state = QpState::kReadyToSend;
    to.timeout = 1;
    to.retryCount = 0;
    to.rnrRetry = 1;
    to.maxReadAtomic = 1;
    qp->Modify(to);
  }

  SgeRecord Local(uint64_t offset, uint32_t length) const {
    return {static_cast<double>(reinterpret_cast<uintptr_t>(mr->Address()) + offset), length, mr->LocalKey()};
  }

  void PostSend(FuzzedDataProvider& data) {
    SendRecord record{};
    record.wrId = 1;
    record.opcode = data.ConsumeIntegralInRange<uint32_t>(0, 9);
    record.flags = kSignaled | (data.ConsumeBool() ? kSolicited : 0u);
    record.numSge = 1;
    record.sge[0] = Local(0, data.ConsumeIntegralInRange<uint32_t>(0, kPageMemory));
    record.remoteAddress = static_cast<double>(kAddress + data.ConsumeIntegralInRange<uint32_t>(0, kPageMemory));
    record.rkey = data.ConsumeProbability<float>() < 0.9F ? kKey : static_cast<uint32_t>(AnyValue(data));
    int taken = 0;
    qp->PostSend(&record, 1, &taken);
  }

  void PostReceive(FuzzedDataProvider& data) {
    ReceiveRecord record{};
    record.wrId = 2;
    record.numSge = 1;
    record.sge[0] = Local(0, data.ConsumeIntegralInRange<uint32_t>(0, kPageMemory));
    int taken = 0;
    if (data.ConsumeBool()) srq->PostReceive(&record, 1, &taken);
    else qp->PostReceive(&record, 1, &taken);
  }

  void Poll() {
    CompletionRecord records[16];
    int count = cq->Poll(records, 16);
    if (count < -4095 || count > 16) abort();
  }
};

void Play(FuzzedDataProvider& data) {
  bool isShared = data.ConsumeBool();
  Victim victim(isShared);
  // Nonces are in the header, for whoever may open the directory.
  hostile->Reset(victim.directory.header().nonce, victim.qp->Number());
  if (data.ConsumeBool()) hostile->directory.qp(1).srq = 1;
  if (data.ConsumeBool()) Write(hostile->directory, data);
  victim.Connect(Hostile::kHostileNumber);
  for (int step = 0; step < kMaxSteps && data.remaining_bytes() > 0; step++) {
    switch (data.ConsumeIntegralInRange<int>(0, 15)) {
      case 0:
      case 1:
      case 2:
      case 3: Write(hostile->directory, data); break;
      case 4:
      case 5:
      case 6: Write(victim.directory, data); break;
      case 7:
      case 8: victim.PostSend(data); break;
      case 9: victim.PostReceive(data); break;
      case 10: victim.Poll(); break;
      case 11: victim.cq->RequestNotify(data.ConsumeBool()); break;
      case 12: {
        AsyncEvent event;
        for (int i = 0; i < 64 && victim.device->NextEvent(&event) == 1; i++) continue;
        victim.channel->Drain();
        QpAttributes attributes;
        victim.qp->Query(&attributes);
        SrqAttributes shared;
        victim.srq->Query(&shared);
        break;
      }
      case 13:
        if (victim.mr->Deregister() == 0) victim.Register();
        break;
      case 14:
        victim.mapping.reset();
        if (victim.qp->MapRemote(kAddress, kKey, data.ConsumeIntegralInRange<uint32_t>(1, kPageMemory), &victim.mapping) == 0) {
          static_cast<uint8_t*>(victim.mapping->Address())[victim.mapping->Length() - 1] = 1;
        }
        break;
      case 15:
        victim.qp.reset();
        victim.Create(data.ConsumeBool());
        hostile->directory.qp(1).peerNumber = victim.qp->Number();
        victim.Connect(Hostile::kHostileNumber);
        break;
    }
  }
  victim.Poll();
}

}  // namespace
}  // namespace onepiece::test

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  onepiece::test::hostile = new onepiece::test::Hostile();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  FuzzedDataProvider data(bytes, count);
  onepiece::test::Play(data);
  return 0;
}

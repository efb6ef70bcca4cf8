// The shared layout of a soft device: one sparse memfd per opened device, its *directory*, mapped by every peer.
//
//   0        | Header                      | who this is, the pipes that wake its threads, which objects have events
//   4 KiB    | MrSlot[65536]        64 B   | key -> where the pages are; slots are taken at random
//   4 MiB +  | QpSlot[16384]       320 B   | state, peer, receive ring, "a peer is copying" words
//            | SrqSlot[4096]       256 B   | receives that many peers take from: see shared_receives.h
//            | CqSlot[4096]          4 KiB | one ready bit per queue pair, the arm word, the channel's pipe
//            | receive rings               | whole pages, given out by RangeAllocator
//
// Invariant: every word has one writer, or is an atomic that is safe with many; no word is a lock, so a process that
// dies between any two instructions leaves nothing that another one waits for. Only the owner of a directory frees
// or reuses a slot, and only after no peer can be inside (see remote_queue_pair.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "../device.h"

namespace onepiece::soft {

constexpr uint64_t kMagic = 0x31304d4152504f4fULL;
constexpr uint32_t kLayoutVersion = 2;

constexpr uint32_t kMaxMrs = 1u << 16;
constexpr uint32_t kQpIndexBits = 14;
constexpr uint32_t kMaxQps = 1u << kQpIndexBits;
constexpr uint32_t kMaxCqs = 1u << 12;
constexpr uint32_t kMaxSrqs = 1u << 12;
constexpr uint32_t kReadyWords = kMaxQps / 64;
constexpr uint32_t kSummaryWords = kReadyWords / 64;
// The first cache line of ready bits is looked at in every poll, without a summary: most devices have no more queue
// pairs, and each shared word that both sides change costs a transfer between their caches.
constexpr uint32_t kDirectWords = 8;

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

struct Header {
  uint64_t magic;
  uint64_t nonce;
  uint32_t version;
  uint32_t pid;
  uint32_t wakeFd;  // write end of the pipe that wakes the owner's engine thread
  uint32_t eventFd;  // and of the one that says that asynchronous events wait
  uint64_t wakeInode;
  uint64_t eventInode;
  // Bit e: object e has events; a queue pair by its index, then the shared receive queues. See async_events.h.
  alignas(64) std::atomic<uint64_t> eventSummary[8];  // bit w: hasEvents[w] may be non-zero
  alignas(64) std::atomic<uint64_t> hasEvents[(kMaxQps + kMaxSrqs) / 64];
};
static_assert(sizeof(Header) <= 4096);

// A memory region or a memory window.
struct MrSlot {
  std::atomic<uint32_t> key;  // 0: nobody may use it. A peer may clear that of a window (SEND_WITH_INV)
  uint32_t pd;
  uint32_t access;
  uint32_t fd;  // of the owner's memfd with the pages; kProcessMemory: they have none
  uint64_t address;  // in the owner
  uint64_t length;
  uint64_t serial;  // of the pages, never used twice in a directory
  uint64_t inode;  // of the memfd, so that a recycled descriptor number is noticed
  uint64_t offset;  // of `address` in the pages
  uint32_t boundQp;  // a window: the only queue pair that it may be used through; 0: a region
  uint32_t reserved;
};
constexpr uint32_t kProcessMemory = UINT32_MAX;
static_assert(sizeof(MrSlot) == 64);

struct alignas(64) QpSlot {
  // The owner writes these before `state`.
  std::atomic<uint32_t> state;  // QpState
  std::atomic<uint32_t> number;  // 0: free
  uint32_t pd;
  uint32_t receiveCq;
  uint32_t access;
  uint32_t minRnrTimer;
  uint64_t peerNonce;
  uint32_t peerNumber;
  uint32_t rqCapacity;  // a power of two
  uint64_t rqOffset;  // in the directory: RqEntry[], or with `srq` the ring of what is done
  uint32_t type;  // QpType
  uint32_t qkey;
  uint32_t srq;  // index of the shared receives that it takes from; 0: its own
  std::atomic<uint32_t> events;  // bit t: an asynchronous event of type t happened
  alignas(64) std::atomic<uint64_t> rqPosted;  // the owner writes
  alignas(64) std::atomic<uint64_t> rqConsumed;  // the connected peer's engine writes
  alignas(64) std::atomic<uint32_t> rnrWaiting;  // the peer sets it before it sleeps for a receive
  // This queue pair as initiator: not 0 while its engine may touch the peer's directory; the lower half is the key of
  // the only region or window that it may touch as well. The owner writes, the peer reads.
  alignas(64) std::atomic<uint64_t> busy;
};
constexpr uint64_t kInside = uint64_t{1} << 32;
static_assert(sizeof(QpSlot) == 320);

struct alignas(64) RqEntry {
  std::atomic<uint64_t> completed;  // index + 1 when the fields below are valid
  double wrId;
  uint32_t numSge;
  uint32_t status;
  uint32_t opcode;
  uint32_t byteLength;
  uint32_t imm;
  uint32_t flags;
  // Of shared receives: who has taken it; see shared_receives.h.
  std::atomic<uint64_t> taken;
  uint32_t sourceQp;
  uint32_t reserved[3];
  SgeRecord sge[kMaxSge];
};
static_assert(sizeof(RqEntry) == 128);

// Receives that many peers take from.
struct alignas(64) SrqSlot {
  std::atomic<uint32_t> number;  // 0: free
  uint32_t pd;
  uint32_t capacity;  // a power of two
  std::atomic<uint32_t> events;
  uint64_t orderOffset;  // std::atomic<uint64_t>[capacity]
  uint64_t entriesOffset;  // RqEntry[capacity]
  uint64_t payloadOffset;  // of datagrams: kDatagramBytes each; 0: peers copy to where the receive says
  uint64_t doneOffset;  // of datagrams: std::atomic<uint64_t>[capacity]
  alignas(64) std::atomic<uint64_t> posted;  // the owner writes
  std::atomic<uint64_t> limit;  // below how many an event is due, in the lower half; above, which arming it is
  alignas(64) std::atomic<uint64_t> head;  // the next to take; whoever sees it behind moves it on
  alignas(64) std::atomic<uint64_t> doneTail;  // of datagrams
  std::atomic<uint32_t> waiting;  // a peer sets it before it sleeps for a receive
};
static_assert(sizeof(SrqSlot) == 256);
constexpr uint32_t kDatagramBytes = 4096;

enum ArmState : uint32_t { kNotArmed = 0, kArmedAny = 1, kArmedSolicited = 2 };

struct alignas(4096) CqSlot {
  std::atomic<uint32_t> armed;
  uint32_t channelFd;  // write end of the channel's pipe in the owner; 0: none
  uint64_t channelInode;
  alignas(64) std::atomic<uint64_t> summary[kSummaryWords];  // bit w: ready[w] may be non-zero; from kDirectWords up
  alignas(64) std::atomic<uint64_t> ready[kReadyWords];  // bit q: queue pair q has something to poll
};
static_assert(sizeof(CqSlot) == 4096);

constexpr size_t kPageBytes = 4096;
constexpr size_t kMrTableOffset = kPageBytes;
constexpr size_t kQpTableOffset = kMrTableOffset + sizeof(MrSlot) * kMaxMrs;
constexpr size_t kSrqTableOffset = kQpTableOffset + sizeof(QpSlot) * kMaxQps;
constexpr size_t kCqTableOffset =
    (kSrqTableOffset + sizeof(SrqSlot) * kMaxSrqs + kPageBytes - 1) / kPageBytes * kPageBytes;
constexpr size_t kRingsOffset = kCqTableOffset + sizeof(CqSlot) * kMaxCqs;
constexpr size_t kDirectoryBytes = size_t{1} << 30;
static_assert(kRingsOffset < kDirectoryBytes / 2);

// Reads a word that another process may change at any time exactly once, so that the value that was checked is the
// value that is used.
template <typename T>
T ReadOnce(const T& word) {
  return *const_cast<const volatile T*>(&word);
}

// What a slot said at one moment.
struct MrView {
  explicit MrView(const MrSlot& slot)
      : pd(ReadOnce(slot.pd)),
        access(ReadOnce(slot.access)),
        fd(ReadOnce(slot.fd)),
        address(ReadOnce(slot.address)),
        length(ReadOnce(slot.length)),
        serial(ReadOnce(slot.serial)),
        inode(ReadOnce(slot.inode)),
        offset(ReadOnce(slot.offset)),
        boundQp(ReadOnce(slot.boundQp)) {}
  const uint32_t pd;
  const uint32_t access;
  const uint32_t fd;
  const uint64_t address;
  const uint64_t length;
  const uint64_t serial;
  const uint64_t inode;
  const uint64_t offset;
  const uint32_t boundQp;
};

// A view of somebody's directory.
struct Directory {
  uint8_t* base = nullptr;

  Header& header() const { return *reinterpret_cast<Header*>(base); }
  MrSlot& mr(uint32_t index) const { return reinterpret_cast<MrSlot*>(base + kMrTableOffset)[index]; }
  QpSlot& qp(uint32_t index) const { return reinterpret_cast<QpSlot*>(base + kQpTableOffset)[index]; }
  SrqSlot& srq(uint32_t index) const { return reinterpret_cast<SrqSlot*>(base + kSrqTableOffset)[index]; }
  CqSlot& cq(uint32_t index) const { return reinterpret_cast<CqSlot*>(base + kCqTableOffset)[index]; }
  RqEntry& rq(uint64_t offset, uint64_t index, uint32_t capacity) const {
    return reinterpret_cast<RqEntry*>(base + offset)[index & (capacity - 1)];
  }
};

inline uint32_t QpIndex(uint32_t number) { return number & (kMaxQps - 1); }
// All 32 bits of a key are random: the slot is taken at random, and so is what lies below. Of a window the program
// chooses the last 8, as ibv_inc_rkey(3) does.
inline uint32_t MrIndex(uint32_t key) { return key >> 16; }

// Says that queue pair `index` has something to poll. Word before summary: the poller clears them the other way round.
inline void SetReady(CqSlot& cq, uint32_t index) {
  cq.ready[index / 64].fetch_or(1ULL << (index % 64));
  if (index / 64 >= kDirectWords) cq.summary[index / 4096].fetch_or(1ULL << (index / 64 % 64));
}

// The address of a soft device: how another process of the same user finds its directory, as a GID.
//   fd | directory descriptor (3) | pid (4) | nonce (8), big-endian
Gid MakeGid(uint32_t directoryFd, uint32_t pid, uint64_t nonce);
bool ParseGid(const Gid& gid, uint32_t* directoryFd, uint32_t* pid, uint64_t* nonce);

// Opens descriptor `fd` of process `pid` again. The kernel refuses it to other users. 0 or -errno; `inode` 0: any.
int OpenForeign(uint32_t pid, uint32_t fd, int flags, uint64_t inode, int* out);
int InodeOf(int fd, uint64_t* inode);
uint64_t NowNs();

}  // namespace onepiece::soft

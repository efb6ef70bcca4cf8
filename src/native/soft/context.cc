// Invariant: see context.h.
#include "context.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>

#include "completion_queue.h"
#include "protection_domain.h"
#include "queue_pair.h"
#include "shared_receives.h"

namespace onepiece::soft {

int MakePipe(int* readEnd, int* writeEnd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -errno;
  *readEnd = ends[0];
  *writeEnd = ends[1];
  return 0;
}

bool PeerIsQuiet(Peer& peer, uint32_t number) {
  const QpSlot& slot = peer.directory().qp(QpIndex(number));
  if (slot.number.load() != number) return true;  // destroyed: its engine was joined before
  if (slot.busy.load() == 0) return true;
  return peer.CheckDead();
}

bool PeerIsQuiet(Peer& peer, uint32_t number, uint32_t key) {
  const QpSlot& slot = peer.directory().qp(QpIndex(number));
  if (slot.number.load() != number) return true;
  uint64_t busy = slot.busy.load();
  if (busy == 0 || static_cast<uint32_t>(busy) != key) return true;
  return peer.CheckDead();
}

int Context::Open(std::unique_ptr<Device>* out) {
  std::unique_ptr<Context> context(new (std::nothrow) Context());
  if (!context) return -ENOMEM;
  int rc = context->Start();
  if (rc != 0) return rc;
  *out = std::move(context);
  return 0;
}

int Context::Start() {
  directoryFd_ = memfd_create("onepiece-directory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (directoryFd_ < 0) return -errno;
  if (directoryFd_ >= 1 << 24) return -EMFILE;  // the GID has three bytes for it
  if (ftruncate(directoryFd_, kDirectoryBytes) != 0) return -errno;
  if (fcntl(directoryFd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return -errno;
  void* base = mmap(nullptr, kDirectoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, directoryFd_, 0);
  if (base == MAP_FAILED) return -errno;
  madvise(base, kDirectoryBytes, MADV_DONTDUMP);
  directory_.base = static_cast<uint8_t*>(base);
  base = mmap(nullptr, sizeof(MrSlot) * kMaxMrs, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return -errno;
  localMrs_ = static_cast<MrSlot*>(base);
  int rc = MakePipe(&wakeRead_, &wakeWrite_);
  if (rc != 0) return rc;
  rc = MakePipe(&eventRead_, &eventWrite_);
  if (rc != 0) return rc;
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) return -EIO;
  nonce_ = random != 0 ? random : 1;
  qps_.resize(1);
  qpGenerations_.resize(1);

  Header& header = directory_.header();
  header.nonce = nonce_;
  header.version = kLayoutVersion;
  header.pid = static_cast<uint32_t>(getpid());
  header.wakeFd = static_cast<uint32_t>(wakeWrite_);
  rc = InodeOf(wakeWrite_, &header.wakeInode);
  if (rc != 0) return rc;
  header.eventFd = static_cast<uint32_t>(eventWrite_);
  rc = InodeOf(eventWrite_, &header.eventInode);
  if (rc != 0) return rc;
  header.magic = kMagic;
  gid_ = MakeGid(static_cast<uint32_t>(directoryFd_), header.pid, nonce_);
  return 0;
}

int Context::AttachPeer(const Gid& gid, std::shared_ptr<Peer>* out) {
  int rc = StartThread();
  if (rc != 0) return rc;
  uint32_t fd = 0;
  uint32_t pid = 0;
  uint64_t nonce = 0;
  if (!ParseGid(gid, &fd, &pid, &nonce)) return -EINVAL;
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto it = peers_.begin(); it != peers_.end();) it = it->second.expired() ? peers_.erase(it) : std::next(it);
  auto found = peers_.find(nonce);
  if (found != peers_.end()) {
    *out = found->second.lock();
    if (*out) return 0;
  }
  rc = Peer::Attach(gid, out);
  if (rc != 0) return rc;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = nonce;
  // A closed pidfd leaves the epoll set by itself.
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, (*out)->pidFd(), &event) != 0) return -errno;
  peers_[nonce] = *out;
  return 0;
}

int Context::AddQp(QueuePair* qp, uint32_t* number) {
  SweepZombies();
  uint32_t index = 0;
  if (!qpSlots_.Take(&index)) return -ENOMEM;
  if (index >= qps_.size()) {
    qps_.resize(index + 1);
    qpGenerations_.resize(index + 1);
  }
  qps_[index] = qp;
  qpGenerations_[index] = (qpGenerations_[index] + 1) & 0x3ff;
  *number = qpGenerations_[index] << kQpIndexBits | index;
  return 0;
}

void Context::FreeQpSlot(const Remains& remains) {
  uint32_t number = directory_.qp(remains.index).number.exchange(0);
  if (remains.shared) remains.shared->Recover(number);
  if (remains.ringBytes > 0) ranges.Give(remains.ringOffset, remains.ringBytes);
  qpSlots_.Give(remains.index);
}

void Context::AddZombie(Remains remains) { zombies_.push_back(std::move(remains)); }

void Context::SweepZombies() {
  for (size_t i = 0; i < zombies_.size();) {
    Remains& zombie = zombies_[i];
    if (!PeerIsQuiet(*zombie.peer, zombie.peerNumber)) {
      i++;
      continue;
    }
    FreeQpSlot(zombie);
    zombies_[i] = std::move(zombies_.back());
    zombies_.pop_back();
  }
}

bool Context::NoZombies() {
  SweepZombies();
  return zombies_.empty();
}

bool Context::AllQuiet(const std::vector<uint32_t>& keys, uint32_t waitMs) {
  for (QueuePair* qp : qps_) {
    while (qp != nullptr && qp->IsBusy()) sched_yield();
  }
  auto isQuiet = [&](Peer& peer, uint32_t number) {
    return std::ranges::all_of(keys, [&](uint32_t key) { return PeerIsQuiet(peer, number, key); });
  };
  SweepZombies();
  uint64_t deadline = NowNs() + waitMs * 1000000ULL;
  // Those before these two were seen quiet after the keys were cleared, and cannot come back in.
  size_t next = 1;
  size_t nextZombie = 0;
  for (uint32_t spins = 0;; spins++) {
    while (next < qps_.size() && (qps_[next] == nullptr || !qps_[next]->peer() ||
                                  isQuiet(*qps_[next]->peer(), qps_[next]->peerNumber()))) {
      next++;
    }
    while (nextZombie < zombies_.size() && isQuiet(*zombies_[nextZombie].peer, zombies_[nextZombie].peerNumber)) {
      nextZombie++;
    }
    if (next == qps_.size() && nextZombie == zombies_.size()) return true;
    if (NowNs() >= deadline) return false;
    if (spins > 100) {
      timespec pause{0, 50000};
      nanosleep(&pause, nullptr);
    } else {
      sched_yield();
    }
  }
}

// What was raised before the pipe was emptied is seen by the second look; what is raised later makes it readable again.
int Context::NextEvent(AsyncEvent* out) {
  if (closed_) return -EBADF;
  if (TakeEvent(directory_, out)) return 1;
  char sink[256];
  while (read(eventRead_, sink, sizeof sink) > 0) {
  }
  return TakeEvent(directory_, out) ? 1 : 0;
}

void Context::RaiseQpEvent(uint32_t index, uint32_t type) {
  MarkQpEvent(directory_, index, type);
  const char one = 1;
  [[maybe_unused]] ssize_t written = write(eventWrite_, &one, 1);  // full: it is readable already
}

void Context::PublishMr(uint32_t key, const MrSlot& from) {
  for (MrSlot* slot : {&localMr(MrIndex(key)), &directory_.mr(MrIndex(key))}) {
    slot->pd = from.pd;
    slot->access = from.access;
    slot->fd = from.fd;
    slot->address = from.address;
    slot->length = from.length;
    slot->serial = from.serial;
    slot->inode = from.inode;
    slot->offset = from.offset;
    slot->boundQp = from.boundQp;
    slot->key.store(key);
  }
}

int Context::Raw(RawNumbers* out) {
  if (closed_) return -EBADF;
  *out = {0, 0, directoryFd_, eventRead_};
  return 0;
}

int Context::AllocateProtectionDomain(std::unique_ptr<onepiece::ProtectionDomain>* out) {
  if (closed_) return -EBADF;
  out->reset(new (std::nothrow) ProtectionDomain(*this, nextPd++));
  return *out ? 0 : -ENOMEM;
}

int Context::CreateChannel(std::unique_ptr<onepiece::CompletionChannel>* out) {
  if (closed_) return -EBADF;
  return CompletionChannel::Create(*this, out);
}

int Context::CreateCq(uint32_t capacity, onepiece::CompletionChannel* channel,
                      std::unique_ptr<onepiece::CompletionQueue>* out) {
  if (closed_) return -EBADF;
  CompletionChannel* own = nullptr;
  if (channel != nullptr) {
    own = CompletionChannel::Of(*this, channel);
    if (own == nullptr) return -EINVAL;
  }
  return CompletionQueue::Create(*this, capacity, own, out);
}

int Context::Close() {
  if (closed_) return 0;
  if (children > 0) return -EBUSY;
  closed_ = true;
  zombies_.clear();
  datagramReceives.clear();
  if (hasThread_) {
    hasThread_ = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    Wake();
    pthread_join(thread_, nullptr);
  }
  for (int fd : {epoll_, wakeRead_, wakeWrite_, eventRead_, eventWrite_, directoryFd_}) {
    if (fd >= 0) close(fd);
  }
  if (directory_.base != nullptr) munmap(directory_.base, kDirectoryBytes);
  directory_.base = nullptr;
  if (localMrs_ != nullptr) munmap(localMrs_, sizeof(MrSlot) * kMaxMrs);
  localMrs_ = nullptr;
  return 0;
}

Context::~Context() { Close(); }

}  // namespace onepiece::soft

// Invariant: see context.h.
#include "context.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "completion_queue.h"
#include "protection_domain.h"
#include "queue_pair.h"

namespace onepiece::soft {

namespace {
constexpr uint64_t kWakeTag = 0;
}

bool RangeAllocator::Take(uint64_t bytes, uint64_t* offset) {
  bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < bytes) continue;
    *offset = it->first;
    uint64_t rest = it->second - bytes;
    free_.erase(it);
    if (rest > 0) free_[*offset + bytes] = rest;
    return true;
  }
  return false;
}

void RangeAllocator::Give(uint64_t offset, uint64_t bytes) {
  bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  auto after = free_.lower_bound(offset);
  if (after != free_.end() && offset + bytes == after->first) {
    bytes += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_[offset] = bytes;
}

bool IndexAllocator::Take(uint32_t* index) {
  if (!free_.empty()) {
    *index = free_.back();
    free_.pop_back();
    return true;
  }
  if (next_ >= limit_) return false;
  *index = next_++;
  return true;
}

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
  int rc = MakePipe(&wakeRead_, &wakeWrite_);
  if (rc != 0) return rc;
  uint64_t random[2];
  if (getrandom(random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) return -EIO;
  nonce_ = random[0] != 0 ? random[0] : 1;
  nextKeySalt = static_cast<uint32_t>(random[1]);
  qps_.resize(1);
  qpGenerations_.resize(1);

  Header& header = directory_.header();
  header.nonce = nonce_;
  header.version = kLayoutVersion;
  header.pid = static_cast<uint32_t>(getpid());
  header.wakeFd = static_cast<uint32_t>(wakeWrite_);
  rc = InodeOf(wakeWrite_, &header.wakeInode);
  if (rc != 0) return rc;
  header.magic = kMagic;
  gid_ = MakeGid(static_cast<uint32_t>(directoryFd_), header.pid, nonce_);
  return 0;
}

int Context::StartThread() {
  if (hasThread_) return 0;
  if (epoll_ < 0) epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return -errno;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeTag;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, wakeRead_, &event) != 0 && errno != EEXIST) return -errno;
  // Not std::thread, which ends the process when the machine has no thread left: here that is an error. The thread
  // takes no signal: those belong to the program.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&thread_, nullptr, RunThread, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  hasThread_ = rc == 0;
  return -rc;
}

void* Context::RunThread(void* self) {
  static_cast<Context*>(self)->Run();
  return nullptr;
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

void Context::Wake() {
  const char one = 1;
  [[maybe_unused]] ssize_t written = write(wakeWrite_, &one, 1);  // full: it is awake already
}

void Context::Schedule(QueuePair* qp, uint64_t dueNs) {
  bool fromThread = pthread_equal(pthread_self(), thread_) != 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto [it, fresh] = due_.emplace(qp, dueNs);
    if (!fresh && dueNs < it->second) it->second = dueNs;
  }
  if (!fromThread) Wake();
}

void Context::Unschedule(QueuePair* qp) {
  std::unique_lock<std::mutex> lock(mutex_);
  due_.erase(qp);
  idle_.wait(lock, [&] { return running_ != qp; });
  due_.erase(qp);
}

void Context::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  std::vector<QueuePair*> ready;
  while (!stop_) {
    uint64_t now = NowNs();
    uint64_t next = UINT64_MAX;
    ready.clear();
    for (const auto& [qp, due] : due_) {
      if (due <= now) {
        ready.push_back(qp);
      } else if (due < next) {
        next = due;
      }
    }
    for (QueuePair* qp : ready) {
      if (due_.erase(qp) == 0) continue;  // destroyed since
      running_ = qp;
      lock.unlock();
      qp->ProgressFromThread();
      lock.lock();
      running_ = nullptr;
      idle_.notify_all();
    }
    if (!ready.empty()) continue;
    lock.unlock();
    int timeoutMs = -1;
    if (next != UINT64_MAX) timeoutMs = static_cast<int>((next - now + 999999) / 1000000);
    epoll_event events[16];
    int count = epoll_wait(epoll_, events, 16, timeoutMs);
    char sink[256];
    while (read(wakeRead_, sink, sizeof sink) > 0) {
    }
    lock.lock();
    // Whoever woke us had a reason: look at everything that waits.
    if (count > 0) {
      for (auto& [qp, due] : due_) due = 0;
    }
    for (int i = 0; i < count; i++) {
      if (events[i].data.u64 == kWakeTag) continue;
      auto found = peers_.find(events[i].data.u64);
      if (found == peers_.end()) continue;
      if (auto peer = found->second.lock()) peer->MarkDead();
    }
  }
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

void Context::FreeQpSlot(uint32_t index, uint64_t ringOffset, uint64_t ringBytes) {
  directory_.qp(index).number.store(0);
  if (ringBytes > 0) ranges.Give(ringOffset, ringBytes);
  qpSlots_.Give(index);
}

void Context::AddZombie(uint32_t index, uint64_t ringOffset, uint64_t ringBytes, std::shared_ptr<Peer> peer,
                        uint32_t number) {
  zombies_.push_back({index, ringOffset, ringBytes, std::move(peer), number});
}

void Context::SweepZombies() {
  for (size_t i = 0; i < zombies_.size();) {
    Zombie& zombie = zombies_[i];
    if (!PeerIsQuiet(*zombie.peer, zombie.number)) {
      i++;
      continue;
    }
    FreeQpSlot(zombie.index, zombie.ringOffset, zombie.ringBytes);
    zombies_[i] = std::move(zombies_.back());
    zombies_.pop_back();
  }
}

bool Context::AllQuiet(uint32_t waitMs) {
  for (QueuePair* qp : qps_) {
    while (qp != nullptr && qp->IsBusy()) sched_yield();
  }
  uint64_t deadline = NowNs() + waitMs * 1000000ULL;
  size_t next = 1;  // those before it were seen quiet after the key was cleared, and cannot come back in
  for (uint32_t spins = 0;; spins++) {
    while (next < qps_.size() && (qps_[next] == nullptr || qps_[next]->PeerIsOutside())) next++;
    if (next == qps_.size()) {
      SweepZombies();
      if (zombies_.empty()) return true;
    }
    if (NowNs() >= deadline) return false;
    if (spins > 100) {
      timespec pause{0, 50000};
      nanosleep(&pause, nullptr);
    } else {
      sched_yield();
    }
  }
}

int Context::Query(DeviceAttributes* out) {
  out->firmware = "soft/1";
  out->nodeGuid = nonce_;
  out->maxMrBytes = uint64_t{1} << 46;
  out->maxQp = kMaxQps - 1;
  out->maxQpWr = kMaxQpWr;
  out->maxSge = kMaxSge;
  out->maxCq = kMaxCqs - 1;
  out->maxCqe = kMaxCqe;
  out->maxMr = kMaxMrs - 1;
  out->maxPd = 1u << 30;
  out->maxQpReadAtomic = 128;
  out->portCount = 1;
  return 0;
}

int Context::QueryPort(uint32_t port, PortAttributes* out) {
  if (port != 1) return -EINVAL;
  out->state = 4;
  out->maxMtu = 5;
  out->activeMtu = 5;
  out->gidTableLength = 1;
  out->linkLayer = 3;
  out->maxMessageBytes = 1u << 31;
  return 0;
}

int Context::QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) {
  if (port != 1 || index != 0) return -EINVAL;
  *out = gid_;
  *type = "soft";
  netdev->clear();
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
  if (hasThread_) {
    hasThread_ = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    Wake();
    pthread_join(thread_, nullptr);
  }
  for (int fd : {epoll_, wakeRead_, wakeWrite_, directoryFd_}) {
    if (fd >= 0) close(fd);
  }
  if (directory_.base != nullptr) munmap(directory_.base, kDirectoryBytes);
  directory_.base = nullptr;
  return 0;
}

Context::~Context() { Close(); }

}  // namespace onepiece::soft

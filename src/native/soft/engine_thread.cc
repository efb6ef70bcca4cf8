// The engine thread of a device: runs queue pairs that have long work or have to wait, and hears when peers die.
// Invariant: see context.h.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "context.h"
#include "queue_pair.h"

namespace onepiece::soft {

namespace {
constexpr uint64_t kWakeTag = 0;
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
  watching_.erase(qp);
  idle_.wait(lock, [&] { return running_ != qp; });
  due_.erase(qp);
}

void Context::WatchPeer(QueuePair* qp, uint64_t nonce) {
  std::lock_guard<std::mutex> lock(mutex_);
  watching_[qp] = nonce;
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
    lock.unlock();
    if (!ready.empty()) {
      // The kernel may have woken this thread on the processor of the event loop that posted, which would stand still
      // until the scheduler's next tick, some milliseconds: after each turn it may go on.
      sched_yield();
      lock.lock();
      continue;
    }
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
      // Those connected to it hear of it now, also when they have nothing under way.
      for (const auto& [qp, nonce] : watching_) {
        if (nonce == found->first) due_[qp] = 0;
      }
    }
  }
}

}  // namespace onepiece::soft

// Invariant: see child.h.
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace onepiece::test {

void Channel::SayBytes(const void* from, size_t bytes) const {
  ssize_t sent = send(fd_, from, bytes, MSG_NOSIGNAL);
  Must(sent == static_cast<ssize_t>(bytes), "say something to the other process", -errno);
}

void Channel::HearBytes(void* into, size_t bytes) const {
  pollfd entry{fd_, POLLIN, 0};
  int ready;
  do {
    ready = poll(&entry, 1, static_cast<int>(2 * kPatienceMs));
  } while (ready < 0 && errno == EINTR);
  Must(ready == 1, "the other process says nothing", -ETIMEDOUT);
  ssize_t heard = recv(fd_, into, bytes, 0);
  Must(heard == static_cast<ssize_t>(bytes), "the other process is gone", heard < 0 ? -errno : -EPIPE);
}

bool Channel::HasNews() const {
  pollfd entry{fd_, POLLIN, 0};
  return poll(&entry, 1, 0) == 1;
}

Child::Child(const std::function<int(Channel&)>& run) {
  int ends[2];
  Must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair", -errno);
  fflush(nullptr);
  pid_ = fork();
  Must(pid_ >= 0, "fork", -errno);
  if (pid_ == 0) {
    close(ends[0]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Channel channel(ends[1]);
    _exit(run(channel));
  }
  close(ends[1]);
  channel_ = Channel(ends[0]);
}

Child::~Child() {
  Kill();
  close(channel_.fd());
}

namespace {

// The state letters of all threads of a process.
std::string ThreadStates(pid_t pid) {
  char path[320];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  std::string states;
  DIR* tasks = opendir(path);
  if (tasks == nullptr) return states;
  while (dirent* entry = readdir(tasks)) {
    if (entry->d_name[0] == '.') continue;
    char stat[512] = {};
    snprintf(path, sizeof path, "/proc/%d/task/%s/stat", pid, entry->d_name);
    FILE* file = fopen(path, "re");
    if (file == nullptr) continue;
    size_t count = fread(stat, 1, sizeof stat - 1, file);
    fclose(file);
    stat[count] = 0;
    const char* end = strrchr(stat, ')');
    states += end == nullptr ? '?' : end[2];
  }
  closedir(tasks);
  return states;
}

}  // namespace

void Child::Stop() {
  Must(kill(pid_, SIGSTOP) == 0, "stop a child", -errno);
  bool stopped = Until([&] {
    std::string states = ThreadStates(pid_);
    // D: a thread that waits in the kernel for a page that is held is as far from going on as a stopped one.
    return !states.empty() && states.find_first_not_of("TD") == std::string::npos;
  });
  Must(stopped, "the child does not stop");
}

void Child::Continue() { Must(kill(pid_, SIGCONT) == 0, "continue a child", -errno); }

void Child::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  Wait();
}

int Child::Wait() {
  int status = 0;
  pid_t got;
  do {
    got = waitpid(pid_, &status, 0);
  } while (got < 0 && errno == EINTR);
  pid_ = -1;
  return got > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace onepiece::test

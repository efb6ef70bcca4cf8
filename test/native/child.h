// Another process of a test: a fork that runs one function, and a channel of fixed-size values to it.
//
// Invariant: a child never outlives its test (it dies with its parent's thread, and the destructor kills and reaps it);
// it runs no test but its function, and ends with _exit. Children are made before the test starts a thread of its own:
// of a forked process only the calling thread goes on.
#pragma once

#include <sys/types.h>

#include <functional>

#include "side.h"

namespace onepiece::test {

class Channel {
 public:
  explicit Channel(int fd = -1) : fd_(fd) {}
  // A whole value, or the process ends: a test has nothing to say to a peer that is gone.
  template <typename T>
  void Say(const T& value) const {
    SayBytes(&value, sizeof value);
  }
  template <typename T>
  T Hear() const {
    T value{};
    HearBytes(&value, sizeof value);
    return value;
  }
  // Whether a value can be had now.
  bool HasNews() const;
  int fd() const { return fd_; }

 private:
  void SayBytes(const void* from, size_t bytes) const;
  void HearBytes(void* into, size_t bytes) const;
  int fd_;
};

class Child {
 public:
  // `run` gets the child's end; what it returns is the exit code.
  explicit Child(const std::function<int(Channel&)>& run);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  const Channel& channel() const { return channel_; }
  pid_t pid() const { return pid_; }
  // Returns when every thread of it is stopped.
  void Stop();
  void Continue();
  // Returns when it is gone and waited for.
  void Kill();
  // Its exit code; -1 when it was ended by a signal.
  int Wait();

 private:
  pid_t pid_ = -1;
  Channel channel_;
};

}  // namespace onepiece::test

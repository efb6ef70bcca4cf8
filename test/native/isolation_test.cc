// Proves that a device is closed to everybody but its user: another user cannot attach, read or write, containers that
// share nothing do not see each other, and a file that an address names is not touched unless it is a device.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

namespace onepiece::test {
namespace {

constexpr uid_t kOneUser = 65533;
constexpr uid_t kOtherUser = 65534;

void Become(uid_t user) {
  Must(setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0, "become another user", -errno);
  // A process that changed its user is closed to that user as well, unless it says so; a program that was started as it
  // is not.
  Must(prctl(PR_SET_DUMPABLE, 1) == 0, "be dumpable", -errno);
}

struct Target {
  Endpoint endpoint;
  pid_t pid;
  int directory;
};

// What a process of `user` gets when it tries everything that it could.
struct Attempt {
  int connect;
  int openDirectory;
  int readMemory;
  int openMemory;
};

Attempt TryAll(const Target& target) {
  Attempt attempt{};
  Side side;
  attempt.connect = Connect(*side.qp, target.endpoint.gid, target.endpoint.qpNumber);
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", target.pid, target.directory);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  attempt.openDirectory = fd < 0 ? -errno : 0;
  if (fd >= 0) close(fd);
  char byte = 0;
  iovec local{&byte, 1};
  iovec remote{reinterpret_cast<void*>(target.endpoint.address), 1};
  attempt.readMemory = process_vm_readv(target.pid, &local, 1, &remote, 1, 0) == 1 ? 0 : -errno;
  snprintf(path, sizeof path, "/proc/%d/mem", target.pid);
  fd = open(path, O_RDWR | O_CLOEXEC);
  attempt.openMemory = fd < 0 ? -errno : 0;
  if (fd >= 0) close(fd);
  return attempt;
}

TEST(Isolation, KeepsAnotherUserFromAttachingReadingAndWriting) {
  if (getuid() != 0) GTEST_SKIP() << "only root can become two other users";
  Child owner([](Channel& channel) {
    Become(kOneUser);
    Side side;
    RawNumbers raw;
    Must(side.device->Raw(&raw) == 0, "the directory's descriptor");
    channel.Say(Target{side.endpoint(), getpid(), raw.commandFd});
    channel.Hear<bool>();
    return 0;
  });
  Target target = owner.channel().Hear<Target>();
  auto attemptAs = [&](uid_t user) {
    Child child([&](Channel& channel) {
      Become(user);
      channel.Say(TryAll(target));
      return 0;
    });
    return child.channel().Hear<Attempt>();
  };
  Attempt stranger = attemptAs(kOtherUser);
  EXPECT_EQ(stranger.connect, -EACCES);
  EXPECT_EQ(stranger.openDirectory, -EACCES);
  EXPECT_EQ(stranger.readMemory, -EPERM);
  EXPECT_EQ(stranger.openMemory, -EACCES);
  // The same process as the same user: it is the user that made the difference.
  Attempt same = attemptAs(kOneUser);
  EXPECT_EQ(same.connect, 0);
  EXPECT_EQ(same.openDirectory, 0);
}

// Runs `run` as the first process of namespaces of its own, as a container's first process is.
int InContainer(Channel& channel, const std::function<int(Channel&)>& run) {
  // Root's are the harder case: it is the same user in all of them.
  int user = getuid() == 0 ? 0 : CLONE_NEWUSER;
  if (unshare(user | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) != 0) {
    channel.Say(-errno);
    return 0;
  }
  pid_t inner = fork();
  if (inner == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int rc = mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                     mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0
                 ? 0
                 : -errno;
    // The same descriptors in each: what was inherited differs.
    dup2(channel.fd(), 3);
    close_range(4, ~0U, 0);
    Channel own(3);
    own.Say(rc);
    _exit(rc == 0 ? run(own) : 0);
  }
  int status = 0;
  waitpid(inner, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int TryAPeer(Channel& channel) {
  Side side;
  channel.Say(side.endpoint());
  Endpoint to = channel.Hear<Endpoint>();
  channel.Say(Connect(*side.qp, to.gid, to.qpNumber));
  channel.Hear<bool>();
  return 0;
}

TEST(Isolation, KeepsContainersFromSeeingEachOther) {
  Child one([](Channel& channel) { return InContainer(channel, TryAPeer); });
  Child two([](Channel& channel) { return InContainer(channel, TryAPeer); });
  Child outside(TryAPeer);
  int why = one.channel().Hear<int>();
  if (why != 0) GTEST_SKIP() << "no namespaces of one's own here: " << strerror(-why);
  ASSERT_EQ(two.channel().Hear<int>(), 0);
  Endpoint ones = one.channel().Hear<Endpoint>();
  Endpoint twos = two.channel().Hear<Endpoint>();
  outside.channel().Hear<Endpoint>();
  // Both are process 1 and have the same descriptors: only the random number tells them apart.
  EXPECT_EQ(memcmp(ones.gid.raw, twos.gid.raw, 8), 0);
  EXPECT_NE(memcmp(ones.gid.raw, twos.gid.raw, 16), 0);
  one.channel().Say(twos);
  two.channel().Say(ones);
  outside.channel().Say(ones);
  EXPECT_EQ(one.channel().Hear<int>(), -EHOSTUNREACH);
  EXPECT_EQ(two.channel().Hear<int>(), -EHOSTUNREACH);
  // Outside, that number is somebody else's.
  int refused = outside.channel().Hear<int>();
  EXPECT_TRUE(refused == -EHOSTUNREACH || refused == -EACCES) << refused;
}

TEST(Isolation, AnswersAnAddressThatIsNoneWithAnError) {
  Side side;
  Gid gid = side.gid;
  gid.raw[15] ^= 1;
  EXPECT_EQ(Connect(*side.qp, gid, 1), -EHOSTUNREACH) << "another random number";
  gid = side.gid;
  gid.raw[3] = 0xff;
  gid.raw[2] = 0x7f;
  std::unique_ptr<QueuePair> next = side.CreateQp();
  EXPECT_EQ(Connect(*next, gid, 1), -EHOSTUNREACH) << "a descriptor that is not open";
  next = side.CreateQp();
  EXPECT_EQ(Connect(*next, Gid{}, 1), -EINVAL);
}

// An address can come from anybody. The file that it names is not even opened unless it is a directory, as opening
// alone can have effects: on a pipe, a terminal, a device.
TEST(Isolation, OpensNothingThatIsNoDirectory) {
  Side side;
  int file = memfd_create("something-else", MFD_CLOEXEC);
  int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ASSERT_GE(inotify_add_watch(watch, ("/proc/self/fd/" + std::to_string(file)).c_str(), IN_OPEN), 0);
  Gid gid = side.gid;
  gid.raw[1] = 0;
  gid.raw[2] = static_cast<uint8_t>(file >> 8);
  gid.raw[3] = static_cast<uint8_t>(file);
  EXPECT_EQ(Connect(*side.qp, gid, 1), -EHOSTUNREACH);
  char event[256];
  EXPECT_EQ(read(watch, event, sizeof event), -1) << "it was opened";
  int again = open(("/proc/self/fd/" + std::to_string(file)).c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_GT(read(watch, event, sizeof event), 0) << "the watch sees nothing, so nothing was proved";
  close(again);
  close(file);
  close(watch);
}

}  // namespace
}  // namespace onepiece::test

// Proves of peers: whichever dies, at whatever instant and in whatever order, the others learn it within a second, and
// nothing of the dead one is left behind.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "child.h"

namespace onepiece::test {
namespace {

constexpr uint64_t kToldWithinMs = 1000;
constexpr uint32_t kQpFatal = 1;

std::set<int> Descriptors() {
  std::set<int> found;
  for (int fd = 0; fd < 4096; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) found.insert(fd);
  }
  return found;
}

size_t Mappings() {
  FILE* maps = fopen("/proc/self/maps", "re");
  size_t count = 0;
  char line[512];
  while (fgets(line, sizeof line, maps) != nullptr) count += strstr(line, "onepiece-") != nullptr;
  fclose(maps);
  return count;
}

enum class Doing : int { kNothing, kWriting, kReading, kAtomics, kSending, kReceiving };

// Does it to the test's memory until it is killed.
int DoForEver(Channel& channel, Doing doing) {
  Side side({.bytes = 1 << 20});
  channel.Say(side.endpoint());
  Endpoint to = channel.Hear<Endpoint>();
  MustConnect(*side.qp, to);
  channel.Say(true);
  CompletionRecord record{};
  while (doing == Doing::kNothing) pause();
  if (doing == Doing::kReceiving) {
    for (;;) {
      if (Post(*side.qp, ReceiveInto(*side.mr, 0, 64)) != 0) TryTake(*side.cq, &record);
    }
  }
  for (uint32_t n = 0;; n++) {
    uint32_t bytes = n % 3 == 0 ? 1u << 20 : 64;
    SendRecord request = doing == Doing::kWriting   ? Write(*side.mr, to, bytes)
                         : doing == Doing::kReading ? Read(*side.mr, to, bytes)
                         : doing == Doing::kAtomics ? FetchAdd(*side.mr, to, 1)
                                                    : Send(*side.mr, 64);
    MustPost(*side.qp, request);
    if (doing == Doing::kSending) {
      while (!TryTake(*side.cq, &record)) sched_yield();
    } else {
      Take(*side.cq);
    }
  }
}

class Death : public testing::TestWithParam<Doing> {};

TEST_P(Death, IsToldWithinASecondAndLeavesNothing) {
  std::set<int> descriptors = Descriptors();
  size_t mappings = Mappings();
  for (int round = 0; round < 8; round++) {
    Child child([&](Channel& channel) { return DoForEver(channel, GetParam()); });
    {
      Side side({.bytes = 1 << 20});
      Endpoint peer = child.channel().Hear<Endpoint>();
      MustConnect(*side.qp, peer);
      child.channel().Say(side.endpoint());
      child.channel().Hear<bool>();
      for (int i = 0; i < 16; i++) MustPost(*side.qp, ReceiveInto(*side.mr, 0, 64, i));
      for (uint64_t until = NowMs() + static_cast<uint64_t>(round) * 3; NowMs() < until;) sched_yield();
      auto send = [&](double wrId) {
        SendRecord record = Send(*side.mr, 64);
        record.wrId = wrId;
        MustPost(*side.qp, record);
      };
      if (round % 2 == 1) send(100);  // may wait for a receive that never comes
      uint64_t started = NowMs();
      child.Kill();
      EXPECT_EQ(NextEventType(*side.device, kToldWithinMs), kQpFatal);
      EXPECT_LT(NowMs() - started, kToldWithinMs);
      EXPECT_EQ(StateOf(*side.qp), QpState::kError);
      send(101);
      send(102);
      // Each request and each receive completes once; of the requests, the first that did not succeed says why.
      std::map<double, uint32_t> told;
      for (const CompletionRecord& record : Take(*side.cq, 16 + (round % 2 == 1 ? 3 : 2))) told[record.wrId] = record.status;
      EXPECT_EQ(told.size(), round % 2 == 1 ? 19u : 18u);
      bool firstSent = round % 2 == 0 || told[100] == 0;
      auto lost = static_cast<uint32_t>(CompletionStatus::kRetryExceeded);
      auto flushed = static_cast<uint32_t>(CompletionStatus::kFlushed);
      if (!firstSent) {
        EXPECT_EQ(told[100], lost);
      }
      EXPECT_EQ(told[101], firstSent ? lost : flushed);
      EXPECT_EQ(told[102], flushed);
      for (int i = 0; i < 16; i++) EXPECT_TRUE(told[i] == 0 || told[i] == flushed) << "receive " << i;
      CompletionRecord more{};
      EXPECT_FALSE(TryTake(*side.cq, &more));
      EXPECT_EQ(side.mr->Deregister(), 0) << "the dead hold nothing up";
      EXPECT_EQ(side.qp->Close(), 0);
    }
  }
  EXPECT_EQ(Descriptors(), descriptors);
  EXPECT_EQ(Mappings(), mappings);
}

std::string NameOf(const testing::TestParamInfo<Doing>& info) {
  const char* names[] = {"Idle", "Writing", "Reading", "Atomics", "Sending", "Receiving"};
  return names[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(While, Death,
                         testing::Values(Doing::kNothing, Doing::kWriting, Doing::kReading, Doing::kAtomics,
                                         Doing::kSending, Doing::kReceiving),
                         NameOf);

// A process that was killed closes its descriptors some time before it is dead, the longer the more memory they stand
// for. What is asked for in between is not refused, it is lost.
TEST(Peer, ThatIsStillEndingIsLostAndRefusesNothing) {
  constexpr int kRegions = 150;
  for (bool send : {false, true}) {
    Child child([](Channel& channel) {
      Side side({.bytes = 512u << 20});
      channel.Say(side.endpoint());
      MustConnect(*side.qp, channel.Hear<Endpoint>());
      std::vector<std::unique_ptr<MemoryRegion>> regions;
      for (int i = 0; i < kRegions; i++) {
        regions.push_back(side.Register(4096));
        channel.Say(side.EndpointOf(*side.qp, *regions.back()));
        if (i < 128) MustPost(*side.qp, ReceiveInto(*regions.back(), 0, 64));
      }
      for (;;) pause();
      return 0;
    });
    Side side;
    MustConnect(*side.qp, child.channel().Hear<Endpoint>());
    child.channel().Say(side.endpoint());
    std::vector<Endpoint> regions;
    for (int i = 0; i < kRegions; i++) regions.push_back(child.channel().Hear<Endpoint>());
    kill(child.pid(), SIGKILL);
    auto status = CompletionStatus::kSuccess;
    for (int i = 0; status == CompletionStatus::kSuccess && i < kRegions - 25; i++) {
      MustPost(*side.qp, send ? Send(*side.mr, 64) : Write(*side.mr, regions[i], 64));
      status = TakeStatus(*side.cq);
      usleep(500);
    }
    child.Kill();
    if (status == CompletionStatus::kSuccess) {
      MustPost(*side.qp, Send(*side.mr, 64));
      status = TakeStatus(*side.cq);
    }
    EXPECT_EQ(status, CompletionStatus::kRetryExceeded);
  }
}

// Two that are connected to each other and to a third, in both orders and at once.
TEST(Peer, MayDieInAnyOrderAndTheLastOneGoesOn) {
  for (int order = 0; order < 3; order++) {
    auto live = [](Channel& channel) {
      Side side;
      std::unique_ptr<QueuePair> second = side.CreateQp();
      channel.Say(side.endpoint());
      channel.Say(side.EndpointOf(*second, *side.mr));
      MustConnect(*side.qp, channel.Hear<Endpoint>());
      MustConnect(*second, channel.Hear<Endpoint>());
      channel.Say(true);
      for (int i = 0; i < 16; i++) MustPost(*second, ReceiveInto(*side.mr, 0, 64));
      // Its second queue pair dies with the other one, and the event of that comes second.
      bool told = NextEventType(*side.device, kPatienceMs) == kQpFatal;
      channel.Say(told);
      for (;;) pause();
      return 0;
    };
    auto first = std::make_unique<Child>(live);
    auto second = std::make_unique<Child>(live);
    Side side;
    std::unique_ptr<QueuePair> toSecond = side.CreateQp();
    Endpoint firsts[2] = {first->channel().Hear<Endpoint>(), first->channel().Hear<Endpoint>()};
    Endpoint seconds[2] = {second->channel().Hear<Endpoint>(), second->channel().Hear<Endpoint>()};
    MustConnect(*side.qp, firsts[0]);
    MustConnect(*toSecond, seconds[0]);
    first->channel().Say(side.endpoint());
    first->channel().Say(seconds[1]);
    second->channel().Say(side.EndpointOf(*toSecond, *side.mr));
    second->channel().Say(firsts[1]);
    first->channel().Hear<bool>();
    second->channel().Hear<bool>();
    Child& dying = order == 1 ? *second : *first;
    Child& left = order == 1 ? *first : *second;
    uint64_t started = NowMs();
    if (order == 2) {
      kill(first->pid(), SIGKILL);
      kill(second->pid(), SIGKILL);
      first->Wait();
      second->Wait();
    } else {
      dying.Kill();
      EXPECT_TRUE(left.channel().Hear<bool>()) << "the other child got an event";
    }
    EXPECT_EQ(NextEventType(*side.device, kToldWithinMs), kQpFatal);
    if (order == 2) {
      EXPECT_EQ(NextEventType(*side.device, kToldWithinMs), kQpFatal);
    }
    EXPECT_LT(NowMs() - started, kToldWithinMs);
    if (order != 2) {
      QueuePair& alive = order == 1 ? *side.qp : *toSecond;
      EXPECT_EQ(StateOf(alive), QpState::kReadyToSend);
      MustPost(alive, Write(*side.mr, order == 1 ? firsts[0] : seconds[0], 64));
      EXPECT_EQ(TakeStatus(*side.cq), CompletionStatus::kSuccess);
    }
  }
}

// Runs with a /dev/shm, /tmp and /run of its own, which are empty before and have to be empty after.
TEST(Peer, ThatDiesLeavesNothingInTheFileSystem) {
  Child child([](Channel& channel) {
    if (unshare(CLONE_NEWNS | (getuid() == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      channel.Say(-errno);
      return 0;
    }
    const char* places[] = {"/dev/shm", "/tmp", "/run"};
    for (const char* place : places) Must(mount("none", place, "tmpfs", 0, nullptr) == 0, "mount a tmpfs", -errno);
    channel.Say(0);
    for (Doing doing : {Doing::kWriting, Doing::kSending, Doing::kNothing}) {
      Child first([&](Channel& channel) { return DoForEver(channel, doing); });
      Child second([&](Channel& channel) { return DoForEver(channel, Doing::kReceiving); });
      Endpoint a = first.channel().Hear<Endpoint>();
      Endpoint b = second.channel().Hear<Endpoint>();
      first.channel().Say(b);
      second.channel().Say(a);
      first.channel().Hear<bool>();
      second.channel().Hear<bool>();
      (doing == Doing::kWriting ? first : second).Kill();
    }
    int found = 0;
    for (const char* place : places) {
      DIR* entries = opendir(place);
      while (dirent* entry = readdir(entries)) {
        if (entry->d_name[0] == '.') continue;
        fprintf(stderr, "left behind: %s/%s\n", place, entry->d_name);
        found++;
      }
      closedir(entries);
    }
    channel.Say(found);
    return 0;
  });
  int why = child.channel().Hear<int>();
  if (why != 0) GTEST_SKIP() << "no mount namespace of one's own here: " << strerror(-why);
  EXPECT_EQ(child.channel().Hear<int>(), 0);
}

TEST(Peer, ThatHasDiedIsHeardOfByAQueuePairThatIsConnectedToItLater) {
  Child child([](Channel& channel) { return DoForEver(channel, Doing::kNothing); });
  Side side;
  Endpoint peer = child.channel().Hear<Endpoint>();
  MustConnect(*side.qp, peer);
  child.channel().Say(side.endpoint());
  child.channel().Hear<bool>();
  child.Kill();
  EXPECT_EQ(NextEventType(*side.device, kToldWithinMs), kQpFatal);
  // The device knows this peer still, by its first queue pair.
  for (int round = 0; round < 200; round++) {
    std::unique_ptr<QueuePair> later = side.CreateQp();
    if (Connect(*later, peer.gid, peer.qpNumber) == 0) {
      Post(*later, ReceiveInto(*side.mr, 0, 64, 9));
    }
    ASSERT_TRUE(Until([&] { return StateOf(*later) == QpState::kError; }, kToldWithinMs)) << "round " << round;
    later->Close();
  }
}

}  // namespace
}  // namespace onepiece::test

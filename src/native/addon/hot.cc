// The calls of the hot path: raw Node-API, small integers in and out.
//
// Invariant: no allocation, no exception, no object: arguments and the answer, a count or a negative errno, stand in
// the environment's frame.
#include "hot.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include <algorithm>

#include "environment.h"

namespace onepiece::addon {

namespace {

// A function of the exports. Without arguments a call costs a quarter of one with two.
template <int (*Function)(Environment&, CallFrame&)>
napi_value Answer(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  auto& environment = *static_cast<Environment*>(data);
  CallFrame& frame = environment.frame();
  frame.answer = Function(environment, frame);
  return nullptr;
}

void Stamp(CallFrame& frame) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  frame.stampMs = static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// Posts the first `frame.count` records of `buffer`. All taken: `count`; else a negative errno, and the word behind the
// records says how many were taken. `taken` says it to the caller as well.
template <typename Target, typename Record>
int Post(const CallFrame& frame, Target& target, RecordBuffer<Record>& buffer,
         int (Target::*post)(const Record*, int, int*), int* taken) {
  *taken = 0;
  int rc = -EINVAL;
  if (frame.count <= buffer.count) rc = (target.*post)(buffer.records.data(), static_cast<int>(frame.count), taken);
  buffer.SetTaken(*taken);
  return rc == 0 ? *taken : rc;
}

int Post(const CallFrame& frame, QpObject& object) {
  int taken = 0;
  const int rc = Post(frame, *object.qp, object.sends, &QueuePair::PostSend, &taken);
  QpCounters& counters = object.qp->counters;
  counters.sendsPosted += taken;
  counters.doorbells += taken > 0 ? 1 : 0;
  uint64_t bytes = 0;
  for (int i = 0; i < taken; i++) {
    const SendRecord& record = object.sends.records[i];
    const uint32_t pieces = std::min<uint32_t>(record.numSge, kMaxSge);
    for (uint32_t piece = 0; piece < pieces; piece++) bytes += record.sge[piece].length;
  }
  counters.bytesPosted += static_cast<double>(bytes);
  return rc;
}

int PostSend(Environment& environment, CallFrame& frame) {
  auto* object = environment.Get<QpObject>(frame.handle);
  return object == nullptr ? -EBADF : Post(frame, *object);
}

int PostReceive(Environment& environment, CallFrame& frame) {
  auto* object = environment.Get<QpObject>(frame.handle);
  if (object == nullptr) return -EBADF;
  int taken = 0;
  int rc = Post(frame, *object->qp, object->receives, &QueuePair::PostReceive, &taken);
  object->qp->counters.receivesPosted += taken;
  return rc;
}

int PostSharedReceive(Environment& environment, CallFrame& frame) {
  auto* object = environment.Get<SrqObject>(frame.handle);
  if (object == nullptr) return -EBADF;
  int taken = 0;
  return Post(frame, *object->srq, object->receives, &SharedReceiveQueue::PostReceive, &taken);
}

constexpr uint32_t kMaxLooks = 1u << 20;
constexpr uint32_t kLooksBeforeYield = 32;

void Count(CqObject& queue, int count, uint32_t looks) {
  CqCounters& total = queue.cq->counters;
  total.polls += looks;
  total.emptyPolls += count > 0 ? looks - 1 : looks;
  if (count <= 0) return;
  total.completions += count;
  for (int i = 0; i < count; i++) {
    const CompletionRecord& record = queue.records[i];
    QpObject* object = queue.Find(record.qpNum);
    if (record.status != 0) {
      total.errors++;
      if (object != nullptr) object->qp->counters.errors++;
    }
    total.bytesReceived += record.byteLength;
    if (object == nullptr) continue;
    QpCounters& counters = object->qp->counters;
    counters.bytesReceived += record.byteLength;
    // After a failure the operation is not known: such a completion counts as an error alone.
    if (record.status != 0) continue;
    if (record.opcode >= static_cast<uint32_t>(CompletionOpcode::kReceive)) {
      counters.receivesCompleted++;
    } else {
      counters.sendsCompleted++;
    }
  }
}

// At most `max` completions into the completion queue's buffer: how many, or a negative errno. Looks up to `looks`
// times for the first one, so that whoever waits for it does not come and go for each look; and lets others have the
// processor now and then, as the one who is to complete the work may be waiting for it.
int Poll(const CallFrame& frame, CqObject& queue) {
  const int max = static_cast<int>(std::min<size_t>(frame.max, queue.records.size()));
  const uint32_t limit = std::clamp(frame.looks, 1u, kMaxLooks);
  uint32_t looks = 0;
  int count;
  for (;;) {
    count = queue.cq->Poll(queue.records.data(), max);
    if (++looks == limit || count != 0) break;
    if (looks % kLooksBeforeYield == 0) sched_yield();
  }
  Count(queue, count, looks);
  return count;
}

int PollCq(Environment& environment, CallFrame& frame) {
  auto* object = environment.Get<CqObject>(frame.handle);
  return object == nullptr ? -EBADF : Poll(frame, *object);
}

// PostSend, and PollCq of the queue of its sends. A post that fails is answered as by PostSend and nothing is polled;
// `stamp` other than 0 asks for the time before the post.
int PostSendAndPoll(Environment& environment, CallFrame& frame) {
  if (frame.stamp != 0) Stamp(frame);
  auto* object = environment.Get<QpObject>(frame.handle);
  if (object == nullptr) return -EBADF;
  const int rc = Post(frame, *object);
  return rc < 0 ? rc : Poll(frame, object->SendQueue());
}

// Lets whoever waits for this processor have it.
int Yield(Environment&, CallFrame&) { return sched_yield() == 0 ? 0 : -errno; }

int Clock(Environment&, CallFrame& frame) {
  Stamp(frame);
  return 0;
}

// `count`: not 0 for solicited events only.
int RequestNotify(Environment& environment, CallFrame& frame) {
  auto* object = environment.Get<CqObject>(frame.handle);
  if (object == nullptr) return -EBADF;
  return object->cq->RequestNotify(frame.count != 0);
}

template <int (*Function)(Environment&, CallFrame&)>
void Add(napi_env env, napi_value exports, const char* name) {
  napi_value function = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, Answer<Function>, &Environment::Of(env), &function);
  napi_set_named_property(env, exports, name, function);
}

}  // namespace

void InstallHotPath(napi_env env, napi_value exports) {
  napi_set_named_property(env, exports, "frame", Environment::Of(env).ShowFrame());
  Add<PostSend>(env, exports, "postSend");
  Add<PostReceive>(env, exports, "postReceive");
  Add<PostSharedReceive>(env, exports, "postSharedReceive");
  Add<PollCq>(env, exports, "pollCq");
  Add<PostSendAndPoll>(env, exports, "postSendAndPoll");
  Add<Clock>(env, exports, "clock");
  Add<Yield>(env, exports, "yield");
  Add<RequestNotify>(env, exports, "requestNotify");
}

}  // namespace onepiece::addon

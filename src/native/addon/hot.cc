// The calls of the hot path: raw Node-API, small integers in and out.
//
// Invariant: no allocation, no exception, no object: an answer is a count or a negative errno, which is a small
// integer in every JavaScript engine.
#include "hot.h"

#include <errno.h>

#include <algorithm>

#include "environment.h"

namespace onepiece::addon {

namespace {

napi_value Number(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}

// Two numbers and the environment of the call.
struct Call {
  Environment* environment = nullptr;
  uint32_t handle = 0;
  uint32_t count = 0;

  Call(napi_env env, napi_callback_info info) {
    size_t argc = 2;
    napi_value argv[2] = {};
    void* data = nullptr;
    napi_get_cb_info(env, info, &argc, argv, nullptr, &data);
    environment = static_cast<Environment*>(data);
    // A value that is not a number leaves 0, which is no handle.
    if (argc > 0) napi_get_value_uint32(env, argv[0], &handle);
    if (argc > 1) napi_get_value_uint32(env, argv[1], &count);
  }
};

// Posts the first `call.count` records of `buffer`. All taken: `count`; else a negative errno, and how many were taken
// stands in the word behind the records. `taken` says it to the caller as well.
template <typename Target, typename Record>
int Post(const Call& call, Target& target, RecordBuffer<Record>& buffer,
         int (Target::*post)(const Record*, int, int*), int* taken) {
  *taken = 0;
  int rc = -EINVAL;
  if (call.count <= buffer.count) rc = (target.*post)(buffer.records.data(), static_cast<int>(call.count), taken);
  buffer.SetTaken(*taken);
  return rc == 0 ? *taken : rc;
}

napi_value PostSend(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<QpObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  int taken = 0;
  int rc = Post(call, *object->qp, object->sends, &QueuePair::PostSend, &taken);
  QpCounters& counters = object->qp->counters;
  counters.sendsPosted += taken;
  counters.doorbells += taken > 0 ? 1 : 0;
  uint64_t bytes = 0;
  for (int i = 0; i < taken; i++) {
    const SendRecord& record = object->sends.records[i];
    const uint32_t pieces = std::min<uint32_t>(record.numSge, kMaxSge);
    for (uint32_t piece = 0; piece < pieces; piece++) bytes += record.sge[piece].length;
  }
  counters.bytesPosted += static_cast<double>(bytes);
  return Number(env, rc);
}

napi_value PostReceive(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<QpObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  int taken = 0;
  int rc = Post(call, *object->qp, object->receives, &QueuePair::PostReceive, &taken);
  object->qp->counters.receivesPosted += taken;
  return Number(env, rc);
}

napi_value PostSharedReceive(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<SrqObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  int taken = 0;
  return Number(env, Post(call, *object->srq, object->receives, &SharedReceiveQueue::PostReceive, &taken));
}

void Count(CqObject& queue, int count) {
  CqCounters& total = queue.cq->counters;
  total.polls++;
  if (count <= 0) {
    total.emptyPolls++;
    return;
  }
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

// At most `count` completions into the completion queue's buffer: how many, or a negative errno.
napi_value PollCq(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<CqObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  uint32_t max = std::min(call.count, static_cast<uint32_t>(object->records.size()));
  int count = object->cq->Poll(object->records.data(), static_cast<int>(max));
  Count(*object, count);
  return Number(env, count);
}

// The second number: not 0 for solicited events only.
napi_value RequestNotify(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<CqObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  return Number(env, object->cq->RequestNotify(call.count != 0));
}

void Add(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, &Environment::Of(env), &function);
  napi_set_named_property(env, exports, name, function);
}

}  // namespace

void InstallHotPath(napi_env env, napi_value exports) {
  Add(env, exports, "postSend", PostSend);
  Add(env, exports, "postReceive", PostReceive);
  Add(env, exports, "postSharedReceive", PostSharedReceive);
  Add(env, exports, "pollCq", PollCq);
  Add(env, exports, "requestNotify", RequestNotify);
}

}  // namespace onepiece::addon

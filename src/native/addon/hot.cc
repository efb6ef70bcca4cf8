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

// The first `count` records of the queue pair's send buffer. All taken: `count`; else a negative errno, and how many
// were taken stands in the word behind the records.
napi_value PostSend(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<QpObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  int taken = 0;
  int rc = -EINVAL;
  if (call.count <= object->sendCount) {
    rc = object->qp->PostSend(object->sendRecords.data(), static_cast<int>(call.count), &taken);
  }
  *reinterpret_cast<uint32_t*>(&object->sendRecords[object->sendCount]) = static_cast<uint32_t>(taken);
  return Number(env, rc == 0 ? taken : rc);
}

napi_value PostReceive(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<QpObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  int taken = 0;
  int rc = -EINVAL;
  if (call.count <= object->receiveCount) {
    rc = object->qp->PostReceive(object->receiveRecords.data(), static_cast<int>(call.count), &taken);
  }
  *reinterpret_cast<uint32_t*>(&object->receiveRecords[object->receiveCount]) = static_cast<uint32_t>(taken);
  return Number(env, rc == 0 ? taken : rc);
}

// At most `count` completions into the completion queue's buffer: how many, or a negative errno.
napi_value PollCq(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* object = call.environment->Get<CqObject>(call.handle);
  if (object == nullptr) return Number(env, -EBADF);
  uint32_t max = std::min(call.count, static_cast<uint32_t>(object->records.size()));
  return Number(env, object->cq->Poll(object->records.data(), static_cast<int>(max)));
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
  Add(env, exports, "pollCq", PollCq);
  Add(env, exports, "requestNotify", RequestNotify);
}

}  // namespace onepiece::addon

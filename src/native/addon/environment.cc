// Invariant: see environment.h.
#include "environment.h"

#include <errno.h>

#include "watcher.h"

namespace onepiece::addon {

Napi::Value SharedBuffer::Show(Napi::Env env, void* data, size_t bytes) {
  napi_value value = nullptr;
  napi_status status = napi_create_external_arraybuffer(env, data, bytes, nullptr, nullptr, &value);
  if (status != napi_ok) {
    Napi::Error::New(env, "this JavaScript runtime does not allow external ArrayBuffers").ThrowAsJavaScriptException();
    return Napi::Value();
  }
  env_ = env;
  // Weak: an ArrayBuffer that nobody holds any more needs no detaching.
  napi_create_reference(env, value, 0, &reference_);
  return Napi::Value(env, value);
}

void SharedBuffer::Detach() {
  if (reference_ == nullptr) return;
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) == napi_ok) {
    napi_value value = nullptr;
    if (napi_get_reference_value(env_, reference_, &value) == napi_ok && value != nullptr) {
      napi_detach_arraybuffer(env_, value);
    }
    napi_close_handle_scope(env_, scope);
  }
  napi_delete_reference(env_, reference_);
  reference_ = nullptr;
}

Environment& Environment::Of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<Environment*>(data);
}

void Environment::Install(napi_env env) {
  auto* environment = new Environment(env);
  napi_set_instance_data(env, environment, nullptr, nullptr);
  napi_add_async_cleanup_hook(env, OnCleanup, environment, &environment->hook_);
}

uint32_t Environment::Add(std::unique_ptr<Object> object) {
  uint32_t index;
  if (free_.empty()) {
    index = static_cast<uint32_t>(objects_.size());
    if (index > kIndexMask) return 0;
    objects_.emplace_back();
    generations_.push_back(0);
  } else {
    index = free_.back();
    free_.pop_back();
  }
  generations_[index] = generations_[index] % 0x7ff + 1;  // never 0; the top bit stays free for errors
  object->handle = generations_[index] << kIndexBits | index;
  uint32_t handle = object->handle;
  objects_[index] = std::move(object);
  return handle;
}

int Environment::Close(uint32_t handle) {
  Object* object = Any(handle);
  if (object == nullptr) return -EBADF;
  int rc = object->Close();
  if (rc != 0) return rc;
  uint32_t index = handle & kIndexMask;
  objects_[index].reset();
  free_.push_back(index);
  return 0;
}

void Environment::CloseAll() {
  // Children before parents.
  for (int number = static_cast<int>(Kind::kLast); number >= 0; number--) {
    const Kind kind = static_cast<Kind>(number);
    for (auto& object : objects_) {
      if (object && object->kind == kind) object->Close();
    }
    for (auto& object : objects_) {
      if (object && object->kind == kind) object.reset();
    }
  }
}

QpObject* CqObject::Find(uint32_t number) {
  QpObject*& recentOne = recent[number % kRecent];
  if (recentOne != nullptr && recentOne->qp->Number() == number) return recentOne;
  auto found = device->qps.find(number);
  if (found == device->qps.end()) return nullptr;
  recentOne = found->second;
  return recentOne;
}

void QpObject::Attach(DeviceObject& device, CqObject& sendCq, CqObject& receiveCq) {
  device_ = &device;
  queues_[0] = &sendCq;
  queues_[1] = &receiveCq;
  number_ = qp->Number();
  device.qps[number_] = this;
}

// Neither the device nor the queues can be gone: they refuse to close before their queue pairs.
void QpObject::Detach() {
  if (device_ == nullptr) return;
  device_->qps.erase(number_);
  for (CqObject* queue : queues_) queue->recent[number_ % CqObject::kRecent] = nullptr;
  device_ = nullptr;
}

void Environment::OnCleanup(napi_async_cleanup_hook_handle, void* data) {
  auto* environment = static_cast<Environment*>(data);
  environment->ending_ = true;
  environment->CloseAll();
  environment->MaybeFinish();
}

void Environment::WatcherClosed() {
  watchers_--;
  MaybeFinish();
}

void Environment::MaybeFinish() {
  if (!ending_ || watchers_ > 0) return;
  napi_remove_async_cleanup_hook(hook_);
  delete this;
}

}  // namespace onepiece::addon

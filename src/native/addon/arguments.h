// Arguments and answers of the module's functions.
//
// Invariant: arguments are never converted: a conversion can run JavaScript, which could close what is in use. What
// is not of the expected type counts as 0, which is no handle and no size. An answer is a number or a plain object.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <utility>

#include "environment.h"

namespace onepiece::addon {

inline Napi::Value Errno(Napi::Env env, int rc) { return Napi::Number::New(env, rc); }

inline double Number(const Napi::CallbackInfo& info, size_t at) {
  return info[at].IsNumber() ? info[at].As<Napi::Number>().DoubleValue() : 0;
}

inline uint32_t Word(const Napi::CallbackInfo& info, size_t at) {
  return info[at].IsNumber() ? info[at].As<Napi::Number>().Uint32Value() : 0;
}

inline bool IsTypedArray(const Napi::CallbackInfo& info, size_t at, napi_typedarray_type type, size_t bytes) {
  if (!info[at].IsTypedArray()) return false;
  auto array = info[at].As<Napi::TypedArray>();
  return array.TypedArrayType() == type && array.ByteLength() == bytes;
}

template <typename T>
T* Get(const Napi::CallbackInfo& info, size_t at) {
  return Environment::Of(info.Env()).Get<T>(Word(info, at));
}

// The handle of an object that has just been made, or a negative errno.
inline Napi::Value AddObject(Napi::Env env, std::unique_ptr<Object> object) {
  uint32_t handle = Environment::Of(env).Add(std::move(object));
  return handle == 0 ? Errno(env, -EMFILE) : Napi::Number::New(env, handle);
}

// The same for an object that comes with more than its handle: `result` with it, or a negative errno.
inline Napi::Value AddObject(Napi::Env env, std::unique_ptr<Object> object, Napi::Object result) {
  uint32_t handle = Environment::Of(env).Add(std::move(object));
  if (handle == 0) return Errno(env, -EMFILE);
  result.Set("handle", handle);
  return result;
}

inline std::string Hex(const uint8_t* bytes, size_t count) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; i++) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

using Method = Napi::Value (*)(const Napi::CallbackInfo&);

inline void Export(Napi::Env env, Napi::Object exports, const char* name, Method method) {
  exports.Set(name, Napi::Function::New(env, method, name));
}

// What each file of this folder adds to the exports.
void InstallDevices(Napi::Env env, Napi::Object exports);
void InstallMemory(Napi::Env env, Napi::Object exports);
void InstallCompletion(Napi::Env env, Napi::Object exports);
void InstallQueuePairs(Napi::Env env, Napi::Object exports);
void InstallChecksum(Napi::Env env, Napi::Object exports);
void InstallWideCopy(Napi::Env env, Napi::Object exports);
void InstallMeasuring(Napi::Env env, Napi::Object exports);
void InstallCm(Napi::Env env, Napi::Object exports);
void InstallSharedMemory(Napi::Env env, Napi::Object exports);
void InstallDescriptors(Napi::Env env, Napi::Object exports);

}  // namespace onepiece::addon

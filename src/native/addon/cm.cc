// The connection manager: event channels and connection ids. Invariant: see module.cc.
#include <errno.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "arguments.h"
#include "cm_objects.h"
#include "qp_words.h"

namespace onepiece::addon {

namespace {

// An address as JavaScript has it, 24 bytes, little-endian, IPv4 in the first four of the last 16:
//  0        1          2      4      8         24
//  | family | (unused) | port | scope | address |
constexpr size_t kAddressBytes = 24;
constexpr size_t kParameterWords = 7;
constexpr size_t kPathWords = 9;

bool ReadAddress(const Napi::CallbackInfo& info, size_t at, CmAddress* out) {
  if (!IsTypedArray(info, at, napi_uint8_array, kAddressBytes)) return false;
  const uint8_t* from = info[at].As<Napi::Uint8Array>().Data();
  uint16_t port;
  memcpy(&port, from + 2, sizeof(port));
  memcpy(&out->scope, from + 4, sizeof(out->scope));
  memcpy(out->bytes, from + 8, sizeof(out->bytes));
  out->family = from[0];
  out->port = port;
  return true;
}

Napi::Value ShowBytes(Napi::Env env, const uint8_t* bytes, size_t count) {
  auto result = Napi::Uint8Array::New(env, count);
  std::copy(bytes, bytes + count, result.Data());
  return result;
}

Napi::Value ShowAddress(Napi::Env env, const CmAddress& from) {
  uint8_t bytes[kAddressBytes] = {static_cast<uint8_t>(from.family)};
  const auto port = static_cast<uint16_t>(from.port);
  memcpy(bytes + 2, &port, sizeof(port));
  memcpy(bytes + 4, &from.scope, sizeof(from.scope));
  memcpy(bytes + 8, from.bytes, sizeof(from.bytes));
  return ShowBytes(env, bytes, sizeof(bytes));
}

// A whole number, or `otherwise` for what is none or does not fit.
int Integer(const Napi::CallbackInfo& info, size_t at, int otherwise) {
  double value = Number(info, at);
  if (!info[at].IsNumber() || !(value >= INT32_MIN && value <= INT32_MAX) || std::trunc(value) != value) return otherwise;
  return static_cast<int>(value);
}

// The parameters from `at`: Uint32Array(7) in the order of ParameterWord in src/ts/rdmacm/native-cm.ts, and the bytes.
bool ReadParameters(const Napi::CallbackInfo& info, size_t at, CmParameters* out) {
  if (!IsTypedArray(info, at, napi_uint32_array, kParameterWords * 4) || !info[at + 1].IsTypedArray()) return false;
  auto data = info[at + 1].As<Napi::TypedArray>();
  if (data.TypedArrayType() != napi_uint8_array || data.ByteLength() > kMaxCmPrivateBytes) return false;
  const uint8_t* bytes = data.As<Napi::Uint8Array>().Data();
  const uint32_t* words = info[at].As<Napi::Uint32Array>().Data();
  *out = {std::vector<uint8_t>(bytes, bytes + data.ByteLength()),
          words[0],
          words[1],
          words[2],
          words[3],
          words[4],
          words[5],
          words[6]};
  return true;
}

// openCmChannel(): handle, or {errno, why}
Napi::Value OpenCmChannel(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto object = std::make_unique<CmChannelObject>();
  std::string why;
  int rc = RdmaCmProvider().Open(&object->channel, &why);
  if (rc == 0) return AddObject(env, std::move(object));
  auto failure = Napi::Object::New(env);
  failure.Set("errno", rc);
  failure.Set("why", why);
  return failure;
}

// watchCmChannel(channel, callback): calls back while events wait; each call must take all of them
Napi::Value WatchCmChannel(const Napi::CallbackInfo& info) {
  auto* object = Get<CmChannelObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  return Errno(info.Env(), object->watch.Start(Environment::Of(info.Env()), *object->channel, info[1]));
}

Napi::Object ShowDatagram(Napi::Env env, const CmDatagram& from) {
  const AddressVector& path = from.path;
  const uint32_t values[kPathWords] = {path.port,         path.destLid,      path.isGlobal,  path.gidIndex, path.hopLimit,
                                       path.serviceLevel, path.trafficClass, path.flowLabel, path.sourcePathBits};
  auto words = Napi::Uint32Array::New(env, kPathWords);
  std::copy(values, values + kPathWords, words.Data());
  auto result = Napi::Object::New(env);
  result.Set("qpNum", from.qpNum);
  result.Set("qkey", from.qkey);
  result.Set("path", words);
  result.Set("gid", ShowBytes(env, path.destGid.raw, sizeof(path.destGid.raw)));
  return result;
}

// nextCmEvent(channel): undefined when none waits, a negative errno, or {id, request, type, status, privateData,
// parameters, datagram}; `request` is the handle of the new id of a CONNECT_REQUEST, else 0
Napi::Value NextCmEvent(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<CmChannelObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  CmEvent event;
  int rc = object->channel->NextEvent(&event);
  if (rc == 0) return env.Undefined();
  if (rc < 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("id", event.id->tag);
  uint32_t request = 0;
  if (event.request) {
    auto fresh = std::make_unique<CmIdObject>();
    CmId* id = event.request.get();
    fresh->id = std::move(event.request);
    request = Environment::Of(env).Add(std::move(fresh));
    if (request == 0) return Errno(env, -EMFILE);  // the id is gone: the peer is rejected
    id->tag = request;
  }
  const CmParameters& parameters = event.parameters;
  result.Set("request", request);
  result.Set("type", event.type);
  result.Set("status", event.status);
  result.Set("privateData", ShowBytes(env, parameters.privateData.data(), parameters.privateData.size()));
  if (event.isDatagram) {
    result.Set("datagram", ShowDatagram(env, event.datagram));
    return result;
  }
  const uint32_t values[kParameterWords] = {parameters.responderResources, parameters.initiatorDepth,
                                            parameters.flowControl,        parameters.retryCount,
                                            parameters.rnrRetryCount,      parameters.srq,
                                            parameters.qpNum};
  auto words = Napi::Uint32Array::New(env, kParameterWords);
  std::copy(values, values + kParameterWords, words.Data());
  result.Set("parameters", words);
  return result;
}

// createCmId(channel, port space): handle
Napi::Value CreateCmId(const Napi::CallbackInfo& info) {
  auto* parent = Get<CmChannelObject>(info, 0);
  if (parent == nullptr) return Errno(info.Env(), -EBADF);
  auto object = std::make_unique<CmIdObject>();
  int rc = parent->channel->CreateId(static_cast<CmPortSpace>(Word(info, 1)), &object->id);
  if (rc != 0) return Errno(info.Env(), rc);
  CmId* id = object->id.get();
  Napi::Value handle = AddObject(info.Env(), std::move(object));
  if (handle.As<Napi::Number>().Int64Value() > 0) id->tag = handle.As<Napi::Number>().Uint32Value();
  return handle;
}

// describeCmId(id): {device, transport, port, local, peer}
Napi::Value DescribeCmId(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  CmIdentity identity;
  object->id->Describe(&identity);
  auto result = Napi::Object::New(env);
  result.Set("device", identity.device);
  result.Set("transport", identity.transport);
  result.Set("port", identity.port);
  result.Set("local", ShowAddress(env, identity.local));
  result.Set("peer", ShowAddress(env, identity.peer));
  return result;
}

// bindCm(id, address)
Napi::Value BindCm(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  CmAddress local;
  return Errno(info.Env(), ReadAddress(info, 1, &local) ? object->id->Bind(local) : -EINVAL);
}

// listenCm(id, backlog)
Napi::Value ListenCm(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  int backlog = Integer(info, 1, -1);
  return Errno(info.Env(), backlog < 0 ? -EINVAL : object->id->Listen(backlog));
}

// resolveCmAddress(id, source or undefined, destination, timeoutMs)
Napi::Value ResolveCmAddress(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  CmAddress source;
  CmAddress destination;
  int timeoutMs = Integer(info, 3, -1);
  if ((!info[1].IsUndefined() && !ReadAddress(info, 1, &source)) || !ReadAddress(info, 2, &destination) || timeoutMs < 0) {
    return Errno(info.Env(), -EINVAL);
  }
  return Errno(info.Env(), object->id->ResolveAddress(source, destination, timeoutMs));
}

// resolveCmRoute(id, timeoutMs)
Napi::Value ResolveCmRoute(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  int timeoutMs = Integer(info, 1, -1);
  return Errno(info.Env(), timeoutMs < 0 ? -EINVAL : object->id->ResolveRoute(timeoutMs));
}

// connectCm / acceptCm(id, parameters, privateData)
template <int (CmId::*Call)(const CmParameters&)>
Napi::Value WithParameters(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  CmParameters parameters;
  return Errno(info.Env(), ReadParameters(info, 1, &parameters) ? ((*object->id).*Call)(parameters) : -EINVAL);
}

// establishCm / disconnectCm / notifyCm(id)
template <int (CmId::*Call)()>
Napi::Value Plain(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  return Errno(info.Env(), object == nullptr ? -EBADF : ((*object->id).*Call)());
}

// rejectCm(id, privateData)
Napi::Value RejectCm(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return Errno(info.Env(), -EINVAL);
  }
  auto bytes = info[1].As<Napi::Uint8Array>();
  return Errno(info.Env(), object->id->Reject(bytes.Data(), bytes.ByteLength()));
}

// setCmOption(id, option, value)
Napi::Value SetCmOption(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  if (!info[1].IsNumber() || !info[2].IsNumber()) return Errno(info.Env(), -EINVAL);
  return Errno(info.Env(), object->id->SetOption(static_cast<CmOption>(Word(info, 1)), Word(info, 2)));
}

// cmQpAttributes(id, state, Uint32Array(27), Uint8Array(16)): fills in what modifyQp takes for that state
Napi::Value CmQpAttributes(const Napi::CallbackInfo& info) {
  auto* object = Get<CmIdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  if (!IsTypedArray(info, 2, napi_uint32_array, kAttributeWords * 4) || !IsTypedArray(info, 3, napi_uint8_array, 16)) {
    return Errno(info.Env(), -EINVAL);
  }
  QpAttributes attributes;
  int rc = object->id->AttributesFor(static_cast<QpState>(Word(info, 1)), &attributes);
  if (rc != 0) return Errno(info.Env(), rc);
  Visit(attributes, info[2].As<Napi::Uint32Array>().Data(), false);
  const uint8_t* gid = attributes.path.destGid.raw;
  std::copy(gid, gid + 16, info[3].As<Napi::Uint8Array>().Data());
  return Errno(info.Env(), 0);
}

}  // namespace

void InstallCm(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "openCmChannel", OpenCmChannel);
  Export(env, exports, "watchCmChannel", WatchCmChannel);
  Export(env, exports, "nextCmEvent", NextCmEvent);
  Export(env, exports, "createCmId", CreateCmId);
  Export(env, exports, "describeCmId", DescribeCmId);
  Export(env, exports, "bindCm", BindCm);
  Export(env, exports, "listenCm", ListenCm);
  Export(env, exports, "resolveCmAddress", ResolveCmAddress);
  Export(env, exports, "resolveCmRoute", ResolveCmRoute);
  Export(env, exports, "connectCm", WithParameters<&CmId::Connect>);
  Export(env, exports, "acceptCm", WithParameters<&CmId::Accept>);
  Export(env, exports, "establishCm", Plain<&CmId::Establish>);
  Export(env, exports, "disconnectCm", Plain<&CmId::Disconnect>);
  Export(env, exports, "notifyCm", Plain<&CmId::NotifyEstablished>);
  Export(env, exports, "rejectCm", RejectCm);
  Export(env, exports, "setCmOption", SetCmOption);
  Export(env, exports, "cmQpAttributes", CmQpAttributes);
}

}  // namespace onepiece::addon

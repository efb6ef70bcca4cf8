// Queue pairs and shared receive queues. Invariant: see module.cc.
#include <errno.h>

#include <algorithm>
#include <iterator>

#include "../qp_transitions.h"
#include "arguments.h"
#include "qp_words.h"

namespace onepiece::addon {

namespace {

constexpr uint32_t kMaxPostBatch = 256;

// createSrq(pd, maxWr, maxSge, limit): -errno, or {handle, number, receiveRecords, maxWr, maxSge}
Napi::Value CreateSrq(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  auto object = std::make_unique<SrqObject>();
  int rc = parent->pd->CreateSrq({Word(info, 1), Word(info, 2), Word(info, 3)}, &object->srq);
  if (rc != 0) return Errno(env, rc);
  SrqAttributes granted = object->srq->Granted();
  Napi::Value records = object->receives.Show(env, granted.maxWr, kMaxPostBatch);
  if (records.IsEmpty()) return records;
  auto result = Napi::Object::New(env);
  result.Set("number", object->srq->Number());
  result.Set("receiveRecords", records);
  result.Set("maxWr", granted.maxWr);
  result.Set("maxSge", granted.maxSge);
  return AddObject(env, std::move(object), result);
}

// modifySrq(srq, maxWr or undefined, limit or undefined)
Napi::Value ModifySrq(const Napi::CallbackInfo& info) {
  auto* object = Get<SrqObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  uint32_t maxWr = Word(info, 1);
  uint32_t limit = Word(info, 2);
  return Errno(info.Env(),
               object->srq->Modify(info[1].IsNumber() ? &maxWr : nullptr, info[2].IsNumber() ? &limit : nullptr));
}

Napi::Value QuerySrq(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<SrqObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  SrqAttributes attributes;
  int rc = object->srq->Query(&attributes);
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("maxWr", attributes.maxWr);
  result.Set("maxSge", attributes.maxSge);
  result.Set("limit", attributes.limit);
  return result;
}

// createQp(pd, sendCq, receiveCq, srq or 0, type, maxSendWr, maxRecvWr, maxSendSge, maxRecvSge, maxInlineData,
// signalAll): -errno, or {handle, qpNum, sendRecords, receiveRecords, counters, and the capabilities granted}
Napi::Value CreateQp(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  auto* sendCq = Get<CqObject>(info, 1);
  auto* receiveCq = Get<CqObject>(info, 2);
  if (parent == nullptr || sendCq == nullptr || receiveCq == nullptr) return Errno(env, -EBADF);
  auto number = [&](size_t at) { return Word(info, at); };
  QpInit init;
  if (number(3) != 0) {
    auto* srq = Get<SrqObject>(info, 3);
    if (srq == nullptr) return Errno(env, -EBADF);
    init.srq = srq->srq.get();
  }
  init.sendCq = sendCq->cq.get();
  init.receiveCq = receiveCq->cq.get();
  if (number(4) < 2 || number(4) > 4) return Errno(env, -EINVAL);
  init.type = static_cast<QpType>(number(4));
  init.capabilities = {number(5), number(6), number(7), number(8), number(9)};
  init.signalAll = info[10].ToBoolean();
  auto object = std::make_unique<QpObject>();
  int rc = parent->pd->CreateQp(init, &object->qp);
  if (rc != 0) return Errno(env, rc);
  QpCapabilities granted = object->qp->Capabilities();
  Napi::Value send = object->sends.Show(env, granted.maxSendWr, kMaxPostBatch);
  if (send.IsEmpty()) return send;
  Napi::Value receive = object->receives.Show(env, granted.maxRecvWr, kMaxPostBatch);
  if (receive.IsEmpty()) return receive;
  Napi::Value counters = object->counters.Show(env, &object->qp->counters, sizeof(QpCounters));
  if (counters.IsEmpty()) return counters;
  auto result = Napi::Object::New(env);
  result.Set("qpNum", object->qp->Number());
  result.Set("sendRecords", send);
  result.Set("receiveRecords", receive);
  result.Set("counters", counters);
  result.Set("maxSendWr", granted.maxSendWr);
  result.Set("maxRecvWr", granted.maxRecvWr);
  result.Set("maxSendSge", granted.maxSendSge);
  result.Set("maxRecvSge", granted.maxRecvSge);
  result.Set("maxInlineData", granted.maxInlineData);
  object->Attach(*parent->device, *sendCq, *receiveCq);
  return AddObject(env, std::move(object), result);
}

// modifyQp / queryQp(qp, Uint32Array(27), Uint8Array(16))
Napi::Value AccessQp(const Napi::CallbackInfo& info, bool modify) {
  auto* object = Get<QpObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  if (!IsTypedArray(info, 1, napi_uint32_array, kAttributeWords * 4) || !IsTypedArray(info, 2, napi_uint8_array, 16)) {
    return Errno(info.Env(), -EINVAL);
  }
  auto words = info[1].As<Napi::Uint32Array>();
  auto gid = info[2].As<Napi::Uint8Array>();
  QpAttributes attributes;
  uint8_t* raw = attributes.path.destGid.raw;
  if (modify) {
    Visit(attributes, words.Data(), true);
    std::copy(gid.Data(), gid.Data() + 16, raw);
    return Errno(info.Env(), object->qp->Modify(attributes));
  }
  int rc = object->qp->Query(&attributes);
  if (rc == 0) {
    Visit(attributes, words.Data(), false);
    std::copy(raw, raw + 16, gid.Data());
  }
  return Errno(info.Env(), rc);
}

// mapRemote(qp, address, rkey, bytes): -errno, or {handle, buffer}
Napi::Value MapRemote(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* qp = Get<QpObject>(info, 0);
  if (qp == nullptr) return Errno(env, -EBADF);
  uint64_t address = 0;
  uint64_t bytes = 0;
  if (!ToAddress(Number(info, 1), &address) || !ToAddress(Number(info, 3), &bytes)) return Errno(env, -EINVAL);
  auto object = std::make_unique<MappingObject>();
  int rc = qp->qp->MapRemote(address, Word(info, 2), bytes, &object->mapping);
  if (rc != 0) return Errno(env, rc);
  Napi::Value buffer = object->buffer.Show(env, object->mapping->Address(), object->mapping->Length());
  if (buffer.IsEmpty()) return buffer;
  auto result = Napi::Object::New(env);
  result.Set("buffer", buffer);
  return AddObject(env, std::move(object), result);
}

Napi::Value ModifyQp(const Napi::CallbackInfo& info) { return AccessQp(info, true); }
Napi::Value QueryQp(const Napi::CallbackInfo& info) { return AccessQp(info, false); }

// qpTransitions(): [{types, from, to, required, optional}]
Napi::Value ListQpTransitions(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto result = Napi::Array::New(env, std::size(QpTransitions::kRows));
  uint32_t i = 0;
  for (const QpTransition& known : QpTransitions::kRows) {
    auto row = Napi::Object::New(env);
    row.Set("types", known.types);
    row.Set("from", static_cast<uint32_t>(known.from));
    row.Set("to", static_cast<uint32_t>(known.to));
    row.Set("required", known.required);
    row.Set("optional", known.optional);
    result.Set(i++, row);
  }
  return result;
}

}  // namespace

void InstallQueuePairs(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "createSrq", CreateSrq);
  Export(env, exports, "modifySrq", ModifySrq);
  Export(env, exports, "querySrq", QuerySrq);
  Export(env, exports, "createQp", CreateQp);
  Export(env, exports, "modifyQp", ModifyQp);
  Export(env, exports, "queryQp", QueryQp);
  Export(env, exports, "qpTransitions", ListQpTransitions);
  Export(env, exports, "mapRemote", MapRemote);
}

}  // namespace onepiece::addon

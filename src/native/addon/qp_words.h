// Queue pair attributes as JavaScript has them: words of a Uint32Array, the destination GID apart.
//
// Invariant: the order of the words is that of AttributeWord in src/ts/addon/native.ts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../device.h"

namespace onepiece::addon {

constexpr size_t kAttributeWords = 27;

inline void Visit(QpAttributes& a, uint32_t* words, bool read) {
  auto field = [&, i = size_t{0}](auto& value) mutable {
    using T = std::remove_reference_t<decltype(value)>;
    if (read) {
      value = static_cast<T>(words[i]);
    } else {
      words[i] = static_cast<uint32_t>(value);
    }
    i++;
  };
  field(a.mask);
  field(a.state);
  field(a.currentState);
  field(a.accessFlags);
  field(a.pkeyIndex);
  field(a.port);
  field(a.qkey);
  field(a.pathMtu);
  field(a.timeout);
  field(a.retryCount);
  field(a.rnrRetry);
  field(a.rqPsn);
  field(a.sqPsn);
  field(a.maxReadAtomic);
  field(a.maxDestReadAtomic);
  field(a.minRnrTimer);
  field(a.destQpNum);
  field(a.path.destLid);
  field(a.path.isGlobal);
  field(a.path.gidIndex);
  field(a.path.hopLimit);
  field(a.path.serviceLevel);
  field(a.path.trafficClass);
  field(a.path.flowLabel);
  field(a.path.sourcePathBits);
  field(a.notifyWhenDrained);
  field(a.isDraining);
}

}  // namespace onepiece::addon

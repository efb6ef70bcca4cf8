// Copies a large piece of memory that another core has written, once. Invariant: see module.cc.
//
// Lines come from the other core's cache one round trip each. The hardware prefetcher runs ahead in each page that is
// read, so four pages at a time are copied. What is larger than the own cache goes past it: it would be thrown out
// again before anybody reads it, and a store past the cache does not read the line first.
// Measured between two cores of a Xeon with a mesh: 1 MiB 62 us (memcpy 66), 16 MiB 1.16 ms (memcpy 1.37).
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "arguments.h"

namespace onepiece::addon {

namespace {

#if defined(__x86_64__)
constexpr size_t kLine = 64;
constexpr size_t kPage = 4096;
constexpr size_t kPages = 4;
constexpr size_t kPastCache = size_t{4} << 20;

template <bool kPast>
__attribute__((target("avx2"))) void CopyLine(uint8_t* to, const uint8_t* from) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + kLine / 2));
  auto* out = reinterpret_cast<__m256i*>(to);
  if constexpr (kPast) {
    _mm256_stream_si256(out, low);
    _mm256_stream_si256(out + 1, high);
  } else {
    _mm256_store_si256(out, low);
    _mm256_store_si256(out + 1, high);
  }
}

// `to` begins on a line. Answers how many bytes were copied: whole groups of pages.
template <bool kPast>
__attribute__((target("avx2"))) size_t CopyPages(uint8_t* to, const uint8_t* from, size_t length) {
  size_t done = 0;
  for (; length - done >= kPages * kPage; done += kPages * kPage) {
    for (size_t line = 0; line < kPage; line += kLine) {
      for (size_t page = 0; page < kPages; page++) {
        const size_t at = done + page * kPage + line;
        CopyLine<kPast>(to + at, from + at);
      }
    }
  }
  if constexpr (kPast) _mm_sfence();
  return done;
}

void Copy(uint8_t* to, const uint8_t* from, size_t length) {
  static const bool isWide = __builtin_cpu_supports("avx2") != 0;
  if (isWide && length >= kPages * kPage + kLine) {
    const size_t first = -reinterpret_cast<uintptr_t>(to) % kLine;
    memcpy(to, from, first);
    to += first;
    from += first;
    length -= first;
    const size_t done = length >= kPastCache ? CopyPages<true>(to, from, length) : CopyPages<false>(to, from, length);
    to += done;
    from += done;
    length -= done;
  }
  memcpy(to, from, length);
}
#else
void Copy(uint8_t* to, const uint8_t* from, size_t length) { memcpy(to, from, length); }
#endif

// The bytes of a Uint8Array from `offset` on; null unless there are `length` of them.
uint8_t* Piece(const Napi::Value& value, uint64_t offset, uint64_t length) {
  if (!value.IsTypedArray()) return nullptr;
  auto array = value.As<Napi::TypedArray>();
  const bool isIn = offset <= array.ByteLength() && length <= array.ByteLength() - offset;
  if (array.TypedArrayType() != napi_uint8_array || !isIn) return nullptr;
  return value.As<Napi::Uint8Array>().Data() + offset;
}

// wideCopy(target, targetOffset, source, sourceOffset, length): 0, or -EINVAL. The two must not overlap.
Napi::Value WideCopy(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  uint64_t to = 0;
  uint64_t from = 0;
  uint64_t length = 0;
  if (!ToAddress(Number(info, 1), &to) || !ToAddress(Number(info, 3), &from) || !ToAddress(Number(info, 4), &length)) {
    return Errno(env, -EINVAL);
  }
  uint8_t* target = Piece(info[0], to, length);
  const uint8_t* source = Piece(info[2], from, length);
  if (target == nullptr || source == nullptr) return Errno(env, -EINVAL);
  if (target < source + length && source < target + length) return Errno(env, -EINVAL);
  Copy(target, source, length);
  return Errno(env, 0);
}

}  // namespace

void InstallWideCopy(Napi::Env env, Napi::Object exports) { Export(env, exports, "wideCopy", WideCopy); }

}  // namespace onepiece::addon

// Invariant: see copy.h.
#include "copy.h"

#include <string.h>
#include <unistd.h>

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace onepiece::soft {

namespace {

constexpr uint64_t kUnknownCacheBytes = 32u << 20;
constexpr uint64_t kMinStreamingBytes = 4u << 20;

#if defined(__x86_64__)

constexpr size_t kPage = 4096;
// Pages that are filled in turn: the memory works on several at once, and the processor can still combine the stores to
// each.
constexpr size_t kStreams = 4;
constexpr size_t kBlock = kStreams * kPage;
constexpr size_t kStep = 128;

__attribute__((target("avx2"))) void StreamAvx2(uint8_t* to, const uint8_t* from, size_t bytes) {
  for (size_t block = 0; block < bytes; block += kBlock) {
    for (size_t at = block; at < block + kPage; at += kStep) {
      for (size_t i = at; i < at + kBlock; i += kPage) {
        const auto* source = reinterpret_cast<const __m256i*>(from + i);
        auto* target = reinterpret_cast<__m256i*>(to + i);
        __m256i a = _mm256_loadu_si256(source);
        __m256i b = _mm256_loadu_si256(source + 1);
        __m256i c = _mm256_loadu_si256(source + 2);
        __m256i d = _mm256_loadu_si256(source + 3);
        _mm256_stream_si256(target, a);
        _mm256_stream_si256(target + 1, b);
        _mm256_stream_si256(target + 2, c);
        _mm256_stream_si256(target + 3, d);
      }
    }
  }
}

void StreamSse2(uint8_t* to, const uint8_t* from, size_t bytes) {
  for (size_t block = 0; block < bytes; block += kBlock) {
    for (size_t at = block; at < block + kPage; at += kStep / 2) {
      for (size_t i = at; i < at + kBlock; i += kPage) {
        const auto* source = reinterpret_cast<const __m128i*>(from + i);
        auto* target = reinterpret_cast<__m128i*>(to + i);
        __m128i a = _mm_loadu_si128(source);
        __m128i b = _mm_loadu_si128(source + 1);
        __m128i c = _mm_loadu_si128(source + 2);
        __m128i d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
      }
    }
  }
}

// Whole blocks to a page boundary; answers how many bytes those are.
size_t Stream(uint8_t* to, const uint8_t* from, size_t bytes) {
  static const bool hasAvx2 = __builtin_cpu_supports("avx2");
  size_t whole = bytes / kBlock * kBlock;
  hasAvx2 ? StreamAvx2(to, from, whole) : StreamSse2(to, from, whole);
  _mm_sfence();
  return whole;
}

void CopyStreaming(uint8_t* to, const uint8_t* from, size_t bytes) {
  size_t head = std::min(bytes, (kPage - reinterpret_cast<uintptr_t>(to) % kPage) % kPage);
  memcpy(to, from, head);
  size_t whole = Stream(to + head, from + head, bytes - head);
  memcpy(to + head + whole, from + head + whole, bytes - head - whole);
}

#else

// Elsewhere the C library knows its processor.
void CopyStreaming(uint8_t* to, const uint8_t* from, size_t bytes) { memcpy(to, from, bytes); }

#endif

}  // namespace

uint64_t StreamingBytes() {
  static const uint64_t bytes = [] {
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    uint64_t known = cache > 0 ? static_cast<uint64_t>(cache) : kUnknownCacheBytes;
    return std::max(known / 3, kMinStreamingBytes);
  }();
  return bytes;
}

void Copy(uint8_t* to, const uint8_t* from, size_t bytes, bool streaming) {
  if (streaming) {
    CopyStreaming(to, from, bytes);
  } else {
    memcpy(to, from, bytes);
  }
}

}  // namespace onepiece::soft

// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of a piece of memory. Invariant: see module.cc.
#include <string.h>

#include <array>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

#include "arguments.h"

namespace onepiece::addon {

namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? crc >> 1 ^ kPolynomial : crc >> 1;
    table[i] = crc;
  }
  return table;
}

uint32_t ByTable(uint32_t crc, const uint8_t* data, size_t length) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  for (size_t i = 0; i < length; i++) crc = crc >> 8 ^ kTable[(crc ^ data[i]) & 0xff];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t ByInstruction(uint32_t crc, const uint8_t* data, size_t length) {
  uint64_t wide = crc;
  for (; length >= 8; data += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, data, sizeof word);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; length > 0; data++, length--) crc = _mm_crc32_u8(crc, *data);
  return crc;
}
bool HasInstruction() { return __builtin_cpu_supports("sse4.2") != 0; }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
uint32_t ByInstruction(uint32_t crc, const uint8_t* data, size_t length) {
  for (; length >= 8; data += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, data, sizeof word);
    crc = __crc32cd(crc, word);
  }
  for (; length > 0; data++, length--) crc = __crc32cb(crc, *data);
  return crc;
}
bool HasInstruction() { return true; }
#else
uint32_t ByInstruction(uint32_t crc, const uint8_t* data, size_t length) { return ByTable(crc, data, length); }
bool HasInstruction() { return false; }
#endif

// crc32c(Uint8Array, offset, length): 32 bits, or -EINVAL
Napi::Value Crc32c(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  uint64_t offset = 0;
  uint64_t length = 0;
  if (!info[0].IsTypedArray() || !ToAddress(Number(info, 1), &offset) || !ToAddress(Number(info, 2), &length)) {
    return Errno(env, -EINVAL);
  }
  auto array = info[0].As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array || offset > array.ByteLength() || length > array.ByteLength() - offset) {
    return Errno(env, -EINVAL);
  }
  static const bool hasInstruction = HasInstruction();
  const uint8_t* data = info[0].As<Napi::Uint8Array>().Data() + offset;
  uint32_t crc = hasInstruction ? ByInstruction(~0u, data, length) : ByTable(~0u, data, length);
  return Napi::Number::New(env, static_cast<double>(crc ^ ~0u));
}

}  // namespace

void InstallChecksum(Napi::Env env, Napi::Object exports) { Export(env, exports, "crc32c", Crc32c); }

}  // namespace onepiece::addon

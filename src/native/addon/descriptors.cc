// Passes descriptors of memory to a process that this one has started, over a Unix socket. Invariant: see module.cc;
// besides, a descriptor of an object stays the object's: the kernel gives the receiver one of its own.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arguments.h"

namespace onepiece::addon {

namespace {

constexpr size_t kMostBytes = 4096;

// createChannelPair(): a connected pair of sockets that keep messages apart, {ours, theirs}, or a negative errno. The
// caller closes both.
Napi::Value CreateChannelPair(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int pair[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return Errno(env, -errno);
  auto result = Napi::Object::New(env);
  result.Set("ours", pair[0]);
  result.Set("theirs", pair[1]);
  return result;
}

// sendDescriptor(socket, Uint8Array, descriptor or -1): 0 or a negative errno, -EAGAIN when the receiver has too many
// to take
Napi::Value SendDescriptor(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsNumber() || !info[2].IsNumber() || !info[1].IsTypedArray()) return Errno(env, -EINVAL);
  auto array = info[1].As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array || array.ByteLength() == 0 || array.ByteLength() > kMostBytes) {
    return Errno(env, -EINVAL);
  }
  int passed = info[2].As<Napi::Number>().Int32Value();
  iovec part{info[1].As<Napi::Uint8Array>().Data(), array.ByteLength()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (passed >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &passed, sizeof passed);
  }
  int socket = info[0].As<Napi::Number>().Int32Value();
  ssize_t sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return Errno(env, sent < 0 ? -errno : 0);
}

// descriptorOf(region or mapping): {fd, offset} of the file whose pages it shows, or a negative errno: -ENOTSUP when
// they are of no file. The descriptor is the object's.
Napi::Value DescriptorOf(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = -1;
  uint64_t offset = 0;
  int rc = -EBADF;
  if (auto* region = Get<MrObject>(info, 0)) {
    rc = region->mr->Pages(&fd, &offset);
  } else if (auto* mapping = Get<MappingObject>(info, 0)) {
    rc = mapping->mapping->Pages(&fd, &offset);
  }
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("fd", fd);
  result.Set("offset", static_cast<double>(offset));
  return result;
}

}  // namespace

void InstallDescriptors(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "createChannelPair", CreateChannelPair);
  Export(env, exports, "sendDescriptor", SendDescriptor);
  Export(env, exports, "descriptorOf", DescriptorOf);
}

}  // namespace onepiece::addon

// The Node-API module. Functions live with their objects: device.cc, memory.cc, completion.cc, queue_pair.cc, cm.cc;
// the hot path is in hot.cc.
//
// Invariant: a function here answers a handle or 0, or a negative errno, whatever its arguments are. All checking for
// people is done in TypeScript.
#include <errno.h>
#include <napi.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <memory>

#include "arguments.h"
#include "hot.h"

namespace onepiece::addon {

namespace {

Napi::Value Close(const Napi::CallbackInfo& info) {
  return Errno(info.Env(), Environment::Of(info.Env()).Close(Word(info, 0)));
}

// raw(handle): {pointer: bigint, handle, commandFd, eventFd}, or a negative errno
Napi::Value Raw(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Object* object = Environment::Of(env).Any(Word(info, 0));
  if (object == nullptr) return Errno(env, -EBADF);
  RawNumbers raw;
  int rc = object->Raw(&raw);
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("pointer", Napi::BigInt::New(env, raw.pointer));
  result.Set("handle", raw.handle);
  result.Set("commandFd", raw.commandFd);
  result.Set("eventFd", raw.eventFd);
  return result;
}

// In the middle of whatever code: kill(2) is async-signal-safe. Zero is the group of this process, itself included.
void EndGroup(int) { kill(0, SIGKILL); }

// dieWithParent(parentPid): when the parent ends, this process ends, and with it its process group if it leads one; at
// once if the parent has ended already. The kernel sends one signal only, so a leader takes one that ends the others.
Napi::Value DieWithParent(const Napi::CallbackInfo& info) {
  int signal = SIGKILL;
  if (getpgrp() == getpid()) {
    signal = SIGRTMAX - 1;
    struct sigaction action {};
    action.sa_handler = EndGroup;
    sigfillset(&action.sa_mask);
    if (sigaction(signal, &action, nullptr) != 0) return Errno(info.Env(), -errno);
  }
  if (prctl(PR_SET_PDEATHSIG, signal) != 0) return Errno(info.Env(), -errno);
  if (getppid() != static_cast<pid_t>(Word(info, 0))) raise(signal);
  return Errno(info.Env(), 0);
}

// peerUser(descriptor): the user id of who connected this Unix socket, or listens at its other end; or a negative
// errno.
Napi::Value PeerUser(const Napi::CallbackInfo& info) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  int descriptor = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return Errno(info.Env(), -errno);
  // Of a socket that is no Unix socket the kernel says no process and no user.
  if (credentials.pid == 0 && credentials.uid == static_cast<uid_t>(-1)) return Errno(info.Env(), -ENOTCONN);
  return Napi::Number::New(info.Env(), static_cast<double>(credentials.uid));
}

struct LastExit {
  timespec wait;
  int code;
};

void* ExitLater(void* argument) {
  std::unique_ptr<LastExit> last(static_cast<LastExit*>(argument));
  while (nanosleep(&last->wait, &last->wait) != 0 && errno == EINTR) {
  }
  _exit(last->code);
}

// exitWithin(ms, code): the process ends with this code after so long, whatever its threads wait for. 0, or -errno.
Napi::Value ExitWithin(const Napi::CallbackInfo& info) {
  uint32_t ms = Word(info, 0);
  auto last = std::make_unique<LastExit>();
  last->wait = {.tv_sec = static_cast<time_t>(ms / 1000), .tv_nsec = static_cast<long>(ms % 1000) * 1000000};
  last->code = static_cast<int>(Word(info, 1));
  pthread_t thread;
  int rc = pthread_create(&thread, nullptr, ExitLater, last.get());
  if (rc != 0) return Errno(info.Env(), -rc);
  last.release();  // and nobody joins the thread: it is the end of the process
  return Errno(info.Env(), 0);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  Environment::Install(env);
  InstallHotPath(env, exports);
  InstallDevices(env, exports);
  InstallMemory(env, exports);
  InstallCompletion(env, exports);
  InstallQueuePairs(env, exports);
  InstallMeasuring(env, exports);
  InstallCm(env, exports);
  InstallChecksum(env, exports);
  InstallWideCopy(env, exports);
  InstallSharedMemory(env, exports);
  InstallDescriptors(env, exports);
  Export(env, exports, "close", Close);
  Export(env, exports, "raw", Raw);
  Export(env, exports, "dieWithParent", DieWithParent);
  Export(env, exports, "peerUser", PeerUser);
  Export(env, exports, "exitWithin", ExitWithin);
  return exports;
}

}  // namespace

NODE_API_MODULE(onepiece, Init)

}  // namespace onepiece::addon

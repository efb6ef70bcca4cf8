// A library that is found at run time, and how its functions say that they have failed.
//
// Invariant: it is loaded once and never unloaded, as libraries of rdma-core keep state of their own in the process.
// `why` is empty exactly when everything that was asked for is there.
#pragma once

#include <dlfcn.h>

#include <cerrno>
#include <string>

namespace onepiece {

class SharedLibrary {
 public:
  // `install` says how to get it, `tooOld` what to do when it lacks a symbol; both are parts of a sentence.
  SharedLibrary(const char* soname, const char* install, const char* tooOld)
      : soname_(soname), tooOld_(tooOld), handle_(dlopen(soname, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ != nullptr) return;
    const char* error = dlerror();
    why_ = std::string(soname) + " cannot be loaded (" + (error != nullptr ? error : "no reason given") +
           "); install it: " + install;
  }

  template <typename Function>
  void Find(const char* symbol, Function* out) {
    FindIfThere(symbol, out);
    if (*out == nullptr && why_.empty()) why_ = std::string(soname_) + " has no symbol " + symbol + ": " + tooOld_;
  }

  // For symbols that older versions lack: nullptr then.
  template <typename Function>
  void FindIfThere(const char* symbol, Function* out) {
    *out = handle_ == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(handle_, symbol));
  }

  const std::string& why() const { return why_; }

 private:
  const char* soname_;
  const char* tooOld_;
  void* handle_;
  std::string why_;
};

// For calls that answer a pointer or -1, after a failure.
inline int LastError() { return errno != 0 ? -errno : -EIO; }

}  // namespace onepiece

// Lets an addon that was built on a newer machine load where glibc is 2.28, which Node.js's own binaries need.
//
// Invariant: the addon needs no symbol that came to glibc after 2.28. The linker takes the newest version of a symbol
// that the build machine has. For each one whose newest version is too new, this file defines the symbol itself, hidden
// in the addon: it goes on to the version that glibc had from the start, or does the same by a call of the kernel.
// scripts/glibc-floor.mjs reads from the built addon which versions it needs, and fails for a newer one.
//
// Sources: the version lists of glibc (GLIBC_2.2.5 is the first one on x86-64, GLIBC_2.17 on AArch64), and the NEWS of
// glibc 2.32 (__libc_single_threaded, pthread_sigmask in libc), 2.33 (stat and fstat are functions), 2.34 (libpthread
// and libdl in libc) and 2.36 (arc4random).
#include <features.h>

// A sanitizer takes the place of some of these functions, and is not shipped.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ONEPIECE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ONEPIECE_SANITIZED 1
#endif
#endif

#if defined(__x86_64__)
#define ONEPIECE_FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define ONEPIECE_FIRST_GLIBC "GLIBC_2.17"
#endif

#if defined(__GLIBC__) && defined(ONEPIECE_FIRST_GLIBC) && !defined(ONEPIECE_SANITIZED)
#if __GLIBC_PREREQ(2, 32)

#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ONEPIECE_HIDDEN extern "C" __attribute__((visibility("hidden")))

// The headers that declare these are left out: pointers and integers are passed as they come.
#define ONEPIECE_FIRST_VERSION(result, name, parameters, arguments)       \
  extern "C" result onepiece_first_##name parameters;                     \
  __asm__(".symver onepiece_first_" #name "," #name "@" ONEPIECE_FIRST_GLIBC); \
  ONEPIECE_HIDDEN result name parameters;                                 \
  result name parameters { return onepiece_first_##name arguments; }

ONEPIECE_FIRST_VERSION(void*, dlopen, (const char* file, int mode), (file, mode))
ONEPIECE_FIRST_VERSION(void*, dlsym, (void* handle, const char* name), (handle, name))
ONEPIECE_FIRST_VERSION(int, dladdr, (const void* address, void* info), (address, info))
ONEPIECE_FIRST_VERSION(char*, dlerror, (), ())

ONEPIECE_FIRST_VERSION(int, pthread_create, (void* thread, const void* attributes, void* (*run)(void*), void* argument),
                       (thread, attributes, run, argument))
ONEPIECE_FIRST_VERSION(int, pthread_join, (unsigned long thread, void** result), (thread, result))
ONEPIECE_FIRST_VERSION(int, pthread_sigmask, (int how, const void* set, void* before), (how, set, before))
ONEPIECE_FIRST_VERSION(int, pthread_once, (void* control, void (*run)()), (control, run))
ONEPIECE_FIRST_VERSION(int, pthread_key_create, (unsigned* key, void (*destroy)(void*)), (key, destroy))
ONEPIECE_FIRST_VERSION(int, pthread_key_delete, (unsigned key), (key))
ONEPIECE_FIRST_VERSION(void*, pthread_getspecific, (unsigned key), (key))
ONEPIECE_FIRST_VERSION(int, pthread_setspecific, (unsigned key, const void* value), (key, value))

// libstdc++ counts references without atomic instructions while this is not 0. A process of Node.js has threads.
ONEPIECE_HIDDEN char __libc_single_threaded;
char __libc_single_threaded = 0;

// `struct stat` of glibc is that of the kernel on both architectures. node-gyp compiles with 64-bit offsets, by which
// these functions have other names, and do the same.
ONEPIECE_HIDDEN int stat(const char* path, void* out);
ONEPIECE_HIDDEN int stat64(const char* path, void* out);
ONEPIECE_HIDDEN int fstat(int fd, void* out);
ONEPIECE_HIDDEN int fstat64(int fd, void* out);

int stat(const char* path, void* out) {
  constexpr int kCurrentFolder = -100;  // AT_FDCWD
  return static_cast<int>(syscall(SYS_newfstatat, kCurrentFolder, path, out, 0));
}
int stat64(const char* path, void* out) { return stat(path, out); }
int fstat(int fd, void* out) { return static_cast<int>(syscall(SYS_fstat, fd, out)); }
int fstat64(int fd, void* out) { return fstat(fd, out); }

// Only std::random_device, which comes with libstdc++'s strings, names it.
ONEPIECE_HIDDEN unsigned arc4random();
unsigned arc4random() {
  unsigned value = 0;
  // So few bytes come whole, and once the kernel has gathered entropy without an error (getrandom(2)).
  if (syscall(SYS_getrandom, &value, sizeof value, 0) != static_cast<long>(sizeof value)) __builtin_trap();
  return value;
}

#endif
#endif

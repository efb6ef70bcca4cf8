// What a failed verbs call asks for, by its errno.
//
// Invariant: pure; only calls of verbs and rdma_cm (`ibv_...`, `rdma_...`) get these remedies, and only where the
// caller has no better one.

const remedies: Readonly<Record<string, string>> = {
  EMFILE: 'too many files are open: close some, or raise the limit (ulimit -n)',
  EFBIG: 'shared memory counts as a file: raise the limit of their size (ulimit -f)',
  ENFILE: 'the machine has too many files open: raise fs.file-max',
  ENODEV: 'the device is gone or has no driver in user space: see `onepiece doctor`',
  ENOSYS: 'the kernel has no InfiniBand support: see `onepiece doctor`',
  EPERM: 'this user may not: see /dev/infiniband and RLIMIT_MEMLOCK (`onepiece doctor` shows both)',
  EACCES: 'this user may not: it needs read and write access to /dev/infiniband/uverbs*',
  ENOTSUP: 'this device has not got it: see its attributes (`onepiece devices --verbose`)',
  EOPNOTSUPP: 'this device has not got it: see its attributes (`onepiece devices --verbose`)',
  ENOMEM:
    'a limit of the device, of memory or of RLIMIT_MEMLOCK: see `onepiece doctor` and `onepiece devices --verbose`',
  ENETUNREACH: 'no route to that address: the GID and the interface must belong to one network',
  EHOSTUNREACH: 'the peer is not there: its process has ended, or its address is of another host',
  ETIMEDOUT: 'the peer does not answer: its port may be down, or a firewall drops RoCE v2 (UDP port 4791)',
};

/** The remedy for an errno name of a failed call, or undefined when there is none. */
export function errnoRemedy(code: string, syscall: string): string | undefined {
  return /^(ibv|rdma)_/.test(syscall) ? remedies[code] : undefined;
}

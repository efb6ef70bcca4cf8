"""The CUDA runtime, as far as it is needed for memory that processes share.

Invariant: everything that is asked of the CUDA runtime about such memory is asked here. It works on the primary context
of a device, which PyTorch, CuPy and JAX use too. Semantics: CUDA Runtime API, "Memory Management" and "Device
Management".
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, List, Optional

#: Bytes of a handle of memory for another process (CUDA_IPC_HANDLE_SIZE).
HANDLE_BYTES = 64
_LAZY_PEER_ACCESS = 1  # cudaIpcMemLazyEnablePeerAccess
_MEMCPY_DEFAULT = 4  # cudaMemcpyDefault: the addresses say what is where
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_UUID_AT = 256  # in cudaDeviceProp, behind its name
_PROPERTIES_BYTES = 8192  # more than cudaDeviceProp has in any release


class CudaError(Exception):
    """A call of the CUDA runtime has failed.

    Attributes:
        code: of the error (cudaError_t).
    """

    def __init__(self, call: str, code: int, words: str) -> None:
        super().__init__(f"{call}: {words} (CUDA error {code})")
        self.code = code

    @property
    def is_out_of_memory(self) -> bool:
        """Whether a device had no memory for it."""
        return self.code == _OUT_OF_MEMORY


class _Handle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * HANDLE_BYTES)]


class Cudart:
    """The CUDA runtime library of this process."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.cudaGetErrorString.restype = ctypes.c_char_p
        library.cudaMalloc.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t]
        library.cudaFree.argtypes = [ctypes.c_void_p]
        library.cudaMemcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        library.cudaIpcGetMemHandle.argtypes = [ctypes.POINTER(_Handle), ctypes.c_void_p]
        library.cudaIpcOpenMemHandle.argtypes = [ctypes.POINTER(ctypes.c_void_p), _Handle, ctypes.c_uint]
        library.cudaIpcCloseMemHandle.argtypes = [ctypes.c_void_p]

    @staticmethod
    def load() -> "Cudart":
        """Loads the one that this process uses already, or that ``ONEPIECE_CUDART`` names, or that is installed.

        Raises OSError when there is none.
        """
        named = os.environ.get("ONEPIECE_CUDART")
        if named:
            return Cudart(ctypes.CDLL(named))
        for name in [*_loaded(), *_NAMES]:
            try:
                return Cudart(ctypes.CDLL(name))
            except (OSError, AttributeError):
                continue
        raise OSError("there is no CUDA runtime library (libcudart.so)")

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code == 0:
            return
        words = self._library.cudaGetErrorString(code)
        self._library.cudaGetLastError()  # or the next call of PyTorch reports it
        raise CudaError(name, code, words.decode() if words else "unknown")

    def device_count(self) -> int:
        """How many devices this process sees. Raises CudaError when the driver does not work."""
        count = ctypes.c_int()
        self._call("cudaGetDeviceCount", ctypes.byref(count))
        return count.value

    def device(self) -> int:
        """The current device of this thread."""
        device = ctypes.c_int()
        self._call("cudaGetDevice", ctypes.byref(device))
        return device.value

    def uuid(self, device: int) -> str:
        """What identifies a device on its host, as 32 digits."""
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, ctypes.c_int(device))
        return properties.raw[_UUID_AT : _UUID_AT + 16].hex()

    def synchronize(self, device: int) -> None:
        """Waits until a device has done what this process has asked of it."""
        with self.on(device):
            self._call("cudaDeviceSynchronize")

    def on(self, device: int) -> "_On":
        """Makes a device the current one of this thread, in a ``with`` statement."""
        return _On(self, device)

    def set_device(self, device: int) -> None:
        """Makes a device the current one of this thread."""
        self._call("cudaSetDevice", ctypes.c_int(device))

    def malloc(self, device: int, nbytes: int) -> int:
        """Memory of a device; its address. Raises CudaError."""
        address = ctypes.c_void_p()
        with self.on(device):
            self._call("cudaMalloc", ctypes.byref(address), nbytes)
        return int(address.value or 0)

    def free(self, address: int) -> None:
        """Gives memory of :meth:`malloc` back. Waits for the device."""
        self._call("cudaFree", address)

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copies between addresses of devices and of the host; from a device to the host it waits for the end."""
        self._call("cudaMemcpy", to, source, nbytes, _MEMCPY_DEFAULT)

    def handle(self, address: int) -> bytes:
        """What another process opens memory of :meth:`malloc` with. Raises CudaError where that is not supported."""
        handle = _Handle()
        self._call("cudaIpcGetMemHandle", ctypes.byref(handle), address)
        return ctypes.string_at(ctypes.byref(handle), HANDLE_BYTES)

    def open(self, device: int, handle: bytes) -> int:
        """Maps memory of another process for a device of this one; its address. Raises CudaError."""
        given = _Handle()
        ctypes.memmove(ctypes.byref(given), handle, HANDLE_BYTES)
        address = ctypes.c_void_p()
        with self.on(device):
            self._call("cudaIpcOpenMemHandle", ctypes.byref(address), given, _LAZY_PEER_ACCESS)
        return int(address.value or 0)

    def close(self, device: int, address: int) -> None:
        """Ends a mapping of :meth:`open`."""
        with self.on(device):
            self._call("cudaIpcCloseMemHandle", address)


class _On:
    def __init__(self, cudart: Cudart, device: int) -> None:
        self._cudart = cudart
        self._device = device
        self._before = 0

    def __enter__(self) -> None:
        self._before = self._cudart.device()
        if self._before != self._device:
            self._cudart.set_device(self._device)

    def __exit__(self, *_: Optional[object]) -> None:
        if self._before != self._device:
            self._cudart.set_device(self._before)


def _loaded() -> List[str]:
    """The files of CUDA runtimes that this process has loaded."""
    found = []
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                path = line.rstrip("\n").partition("/")
                if path[1] and os.path.basename(path[2]).startswith("libcudart.so"):
                    found.append("/" + path[2])
    except OSError:
        pass
    return list(dict.fromkeys(found))

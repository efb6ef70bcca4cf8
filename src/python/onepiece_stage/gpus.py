"""Prints the GPUs that CUDA sees here as JSON, for ``onepiece doctor`` and for the code that assigns GPUs.

Invariant: it asks the driver itself (libcuda), so GPUs have the numbers that CUDA_VISIBLE_DEVICES gives them; it needs
no package. With ``--try`` it also pins memory and makes an IPC handle on each GPU, and frees both again.
"""

import ctypes
import json
import mmap
import sys
from typing import Any, Callable, Dict, List, Optional

_NAME_BYTES = 256
_PINNED_BYTES = 64 << 20
_SHARED_BYTES = 2 << 20
_NO_DEVICE = 100
# CUdevice_attribute of cuda.h
_UNIFIED_ADDRESSING = 41
_HOST_REGISTER = 99


class Refused(Exception):
    """CUDA refused a call; the message has the call and CUDA's name for the error."""

    def __init__(self, cuda: Any, call: str, status: int) -> None:
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        super().__init__(f"{call}: {(name.value or b'error').decode()} ({status})")
        self.status = status


def _caller(cuda: Any) -> Callable[..., None]:
    def call(name: str, *arguments: Any) -> None:
        status = getattr(cuda, name)(*arguments)
        if status != 0:
            raise Refused(cuda, name, status)

    return call


def _attempt(work: Callable[[], None]) -> Optional[str]:
    try:
        work()
    except Refused as refused:
        return str(refused)
    return None


def _pin(call: Callable[..., None]) -> None:
    memory = mmap.mmap(-1, _PINNED_BYTES)
    view = ctypes.c_char.from_buffer(memory)
    address = ctypes.c_void_p(ctypes.addressof(view))
    call("cuMemHostRegister_v2", address, ctypes.c_size_t(_PINNED_BYTES), 1)
    call("cuMemHostUnregister", address)


def _share(call: Callable[..., None]) -> None:
    pointer = ctypes.c_uint64()
    call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(_SHARED_BYTES))
    try:
        handle = ctypes.create_string_buffer(64)
        call("cuIpcGetMemHandle", handle, pointer)
    finally:
        call("cuMemFree_v2", pointer)


def _tried(call: Callable[..., None], device: int) -> Dict[str, Optional[str]]:
    context = ctypes.c_void_p()
    refused = _attempt(lambda: call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device))
    if refused is not None:
        return {"pinProblem": refused, "ipcProblem": refused}
    try:
        call("cuCtxSetCurrent", context)
        return {"pinProblem": _attempt(lambda: _pin(call)), "ipcProblem": _attempt(lambda: _share(call))}
    finally:
        call("cuDevicePrimaryCtxRelease_v2", device)


def _describe(call: Callable[..., None], number: int, with_trial: bool) -> Dict[str, Any]:
    device = ctypes.c_int()
    call("cuDeviceGet", ctypes.byref(device), number)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    call("cuDeviceGetName", name, _NAME_BYTES, device)
    total = ctypes.c_size_t()
    call("cuDeviceTotalMem_v2", ctypes.byref(total), device)

    def has(attribute: int) -> bool:
        value = ctypes.c_int()
        call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        return value.value != 0

    found: Dict[str, Any] = {"name": name.value.decode(), "memoryBytes": total.value}
    found.update({"unifiedAddressing": has(_UNIFIED_ADDRESSING), "hostRegister": has(_HOST_REGISTER)})
    found.update(_tried(call, device.value) if with_trial else {"pinProblem": None, "ipcProblem": None})
    return found


def _peers(call: Callable[..., None], count: int) -> List[List[bool]]:
    def reaches(one: int, other: int) -> bool:
        can = ctypes.c_int()
        call("cuDeviceCanAccessPeer", ctypes.byref(can), one, other)
        return can.value != 0

    return [[one == other or reaches(one, other) for other in range(count)] for one in range(count)]


def _driver() -> Optional[str]:
    try:
        with open("/sys/module/nvidia/version", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


def look(with_trial: bool) -> Dict[str, Any]:
    """What CUDA reports; ``problem`` says why it could not be asked, None also where no driver is installed."""
    found: Dict[str, Any] = {"driver": _driver(), "cuda": None, "gpus": [], "peers": [], "problem": None}
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        if found["driver"] is not None:
            found["problem"] = f"the driver is loaded, its library is not: {error}"
        return found
    call = _caller(cuda)
    try:
        call("cuInit", 0)
        version, count = ctypes.c_int(), ctypes.c_int()
        call("cuDriverGetVersion", ctypes.byref(version))
        found["cuda"] = f"{version.value // 1000}.{version.value % 1000 // 10}"
        call("cuDeviceGetCount", ctypes.byref(count))
        found["gpus"] = [_describe(call, number, with_trial) for number in range(count.value)]
        found["peers"] = _peers(call, count.value)
    except Refused as refused:
        if refused.status != _NO_DEVICE:
            found["problem"] = str(refused)
    return found


if __name__ == "__main__":
    print(json.dumps(look("--try" in sys.argv[1:])))

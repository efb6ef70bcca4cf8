"""Memory of a GPU as a tensor of other libraries: DLPack (dlpack.h, version 0.8), by ctypes.

Invariant: an export is counted from its making until the library that has taken it says that it needs it no more, or
until the capsule goes away untaken.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Sequence, Tuple

#: Kinds of devices (DLDeviceType).
CPU, CUDA = 1, 2

#: Codes and bits of element types (DLDataTypeCode); the 8-bit floats go as bytes.
_CODES: Dict[str, Tuple[int, int]] = {
    "u8": (1, 8),
    "i8": (0, 8),
    "u16": (1, 16),
    "i16": (0, 16),
    "u32": (1, 32),
    "i32": (0, 32),
    "u64": (1, 64),
    "i64": (0, 64),
    "f16": (2, 16),
    "bf16": (4, 16),
    "f32": (2, 32),
    "f64": (2, 64),
    "bool": (6, 8),
    "f8e4m3": (1, 8),
    "f8e5m2": (1, 8),
}


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int),
        ("device_id", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


_NAME = b"dltensor"  # a library that takes a capsule renames it
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

# Functions of their own: setting the types of those of ctypes.pythonapi would change them for everybody.
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class Exports:
    """Counts the tensors of other libraries that show some memory."""

    def __init__(self) -> None:
        self.live = 0


# What a library has taken, by the address of its DLManagedTensor: it must stay where it is until the deleter is called.
_alive: Dict[int, Tuple[Any, Exports]] = {}


def _delete(address: int) -> None:
    _, exports = _alive.pop(address)
    exports.live -= 1


def _destroy(capsule: int) -> None:
    if _is_valid(capsule, _NAME):  # nobody has taken it
        _delete(_pointer(capsule, _NAME))


_deleter = _Deleter(_delete)
_destructor = _Destructor(_destroy)


def export(
    exports: Exports, address: int, dtype: str, shape: Sequence[int], device: Tuple[int, int]
) -> Any:
    """A capsule that shows memory as a tensor without gaps.

    Args:
        exports: counts it.
        address: of the first element.
        dtype: of ``onepiece_stage.dtypes``.
        device: its kind and its number.
    """
    rank = len(shape)
    sizes = (ctypes.c_int64 * rank)(*shape)
    strides = (ctypes.c_int64 * rank)()
    step = 1
    for axis in reversed(range(rank)):
        strides[axis] = step
        step *= shape[axis]
    code, bits = _CODES[dtype]
    managed = _Managed()
    tensor = managed.tensor
    tensor.data = address
    tensor.device_type, tensor.device_id = device
    tensor.ndim = rank
    tensor.code, tensor.bits, tensor.lanes = code, bits, 1
    tensor.shape = ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64))
    tensor.strides = ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64))
    managed.deleter = ctypes.cast(_deleter, ctypes.c_void_p)
    at = ctypes.addressof(managed)
    _alive[at] = ((managed, sizes, strides), exports)
    exports.live += 1
    return _new(at, _NAME, ctypes.cast(_destructor, ctypes.c_void_p))

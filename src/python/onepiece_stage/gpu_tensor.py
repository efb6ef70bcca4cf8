"""A tensor of a task that lies on a GPU.

Invariant: as of every tensor: a view copies nothing, and ends with the task. What the host shows of an input is a copy.
"""

from __future__ import annotations

import builtins
import ctypes
from typing import Any, Tuple

from .dlpack import CUDA, export
from .dtypes import DTYPES
from .gpu import Gpu, GpuWindow
from .tensor import Tensor

#: PyTorch takes bytes of every release; it shows them as what they are.
_AS_BYTES = "u8"


class GpuTensor(Tensor):
    """An input that lies on the GPU of another stage, or an output that is being made on one of this process."""

    __slots__ = ("_gpu", "_shown")

    def __init__(
        self,
        gpu: Gpu,
        shown: GpuWindow,
        name: str,
        dtype: str,
        shape: Tuple[int, ...],
        writable: bool,
        place: Tuple[Any, ...],
    ) -> None:
        super().__init__(name, dtype, shape, None, writable, place)
        self._gpu = gpu
        self._shown = shown

    @property
    def device(self) -> str:
        """Where :meth:`torch` shows it, ``"cuda:0"`` and so on."""
        return f"cuda:{self._shown.where()[1]}"

    def data_ptr(self) -> int:
        """The address of its first element on the device, valid until the task ends. An input is not written to."""
        return self._shown.where()[0]

    def torch(self, device: Any = None) -> Any:
        """A ``torch.Tensor`` of the same memory of the GPU; with another device a copy there, asynchronous.

        Raises ValueError when the task has ended. Do not write into an input: PyTorch does not know that it is
        read-only.
        """
        import torch

        dtype = getattr(torch, DTYPES[self.dtype].torch, None)
        if dtype is None:
            raise TypeError(f"this PyTorch has no {DTYPES[self.dtype].torch}")
        init: Any = torch.cuda.init  # untyped in PyTorch
        init()
        address, number = self._shown.where()
        capsule = export(self._shown.exports, address, _AS_BYTES, [self.nbytes], (CUDA, number))
        taken: Any = torch.utils.dlpack.from_dlpack
        shown = taken(capsule).view(dtype).reshape(self.shape)
        return shown if device is None else shown.to(device, non_blocking=True)

    def __dlpack__(self, **options: Any) -> Any:
        address, number = self._shown.where()
        return export(self._shown.exports, address, self.dtype, self.shape, (CUDA, number))

    def __dlpack_device__(self) -> Tuple[int, int]:
        return (CUDA, self._shown.where()[1])

    def memoryview(self) -> builtins.memoryview:
        """A copy of the bytes of an input. Raises TypeError for an output: it lies on a GPU."""
        if self.writable:
            raise TypeError(f"output {self.name!r} lies on a GPU: use torch()")
        made = bytearray(self.nbytes)
        self._gpu.copy(ctypes.addressof(ctypes.c_ubyte.from_buffer(made)), self.data_ptr(), self.nbytes)
        return memoryview(made).toreadonly()

    def _numpy(self) -> Any:
        import numpy

        return numpy.frombuffer(self.memoryview(), numpy.dtype(DTYPES[self.dtype].numpy)).reshape(self.shape)

    def cupy(self) -> Any:
        """A ``cupy.ndarray`` of the same memory."""
        import cupy

        return cupy.from_dlpack(self)

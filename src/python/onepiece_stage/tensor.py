"""A tensor of a task: bytes with an element type and a shape, as views of other libraries.

Invariant: nothing is copied by a view, and every view ends with the task. Inputs are read-only where a library knows
that: other stages may see the same memory, and it is what is sent again when a process dies.
"""

from __future__ import annotations

import builtins
from typing import Any, Optional, Tuple

from .dtypes import DTYPES, count_of
from .memory import Window


class Tensor:
    """An input, or an output that is being made.

    Attributes:
        name: of the part.
        dtype: its element type, for example ``"f32"``: see ``onepiece_stage.dtypes``.
        shape: sizes, the slowest first.
        nbytes: its bytes.
        writable: True for an output.
    """

    __slots__ = ("name", "dtype", "shape", "nbytes", "writable", "_window", "_place")

    def __init__(
        self,
        name: str,
        dtype: str,
        shape: Tuple[int, ...],
        window: Optional[Window],
        writable: bool,
        place: Tuple[Any, ...],
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.nbytes = DTYPES[dtype].size * count_of(shape)
        self.writable = writable
        self._window = window  # None: it has no elements
        self._place = place

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.dtype!r}, {list(self.shape)})"

    def memoryview(self) -> memoryview:
        """Its bytes, flat; the view raises ValueError when the task has ended."""
        if self._window is None:
            return memoryview(b"")
        return self._window.view(self.writable)

    def __buffer__(self, flags: int) -> builtins.memoryview:
        return self.memoryview()

    def tobytes(self) -> bytes:
        """A copy of its bytes."""
        return self.memoryview().tobytes()

    def numpy(self) -> Any:
        """A ``numpy.ndarray`` of the same memory; bf16 and 8-bit floats as unsigned integers.

        An array that outlives the task keeps the bytes that it had, at the price of a copy.
        """
        array = self._numpy()
        if not self.writable:
            array.flags.writeable = False
        return array

    def _numpy(self) -> Any:
        import numpy

        dtype = numpy.dtype(DTYPES[self.dtype].numpy)
        if self._window is None:
            return numpy.empty(self.shape, dtype)
        return numpy.frombuffer(self._window.raw(), dtype).reshape(self.shape)

    def torch(self, device: Any = None) -> Any:
        """A ``torch.Tensor`` of the same memory; with a device other than the CPU, a copy there, asynchronous.

        In a process that uses a GPU the memory is registered with CUDA, once, so ``out.torch().copy_(x,
        non_blocking=True)`` is asynchronous as well. The task ends after both copies. Do not write into an input:
        PyTorch does not know that it is read-only.
        """
        import torch

        dtype = getattr(torch, DTYPES[self.dtype].torch, None)
        if dtype is None:
            raise TypeError(f"this PyTorch has no {DTYPES[self.dtype].torch}")
        if self._window is None:
            shown = torch.empty(self.shape, dtype=dtype)
        else:
            if device is not None and torch.device(device).type == "cuda":
                init: Any = torch.cuda.init  # untyped in PyTorch
                init()
            self._window.register()
            shown = torch.frombuffer(self._window.raw(), dtype=dtype).reshape(self.shape)
        return shown if device is None else shown.to(device, non_blocking=True)

    def cupy(self) -> Any:
        """A ``cupy.ndarray``: a copy on the current device."""
        import cupy

        return cupy.asarray(self._numpy())

    def jax(self) -> Any:
        """A ``jax.Array``: a copy on the default device, as those never change and this memory does."""
        import jax.numpy

        return jax.numpy.array(self._numpy(), copy=True)

    def __dlpack__(self, **options: Any) -> Any:
        return self._numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> Tuple[int, int]:
        return (1, 0)  # kDLCPU

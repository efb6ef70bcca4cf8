"""One task of a stage: its inputs, its outputs, and how far it is.

Invariant: a task ends once. After that its tensors raise, and what is asked of it raises.
"""

from __future__ import annotations

import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from .dtypes import DTYPES, check_shape, count_of, dtype_name, dtype_of_array
from .gpu import Gpu
from .gpu_outputs import GpuOutputs
from .gpu_tensor import GpuTensor
from .memory import Window
from .tensor import Tensor

_ALIGN = 64
_MAX_PARTS = 64  # of a message
_MAX_NAME = 128
_BITS = ("bf16", "f8e4m3", "f8e5m2")  # NumPy has only their bits
_REASONS = {1: "its deadline has passed", 2: "it took longer than taskTimeoutMs", 3: "its request has ended"}


class Cancelled(Exception):
    """The result of a task is not wanted any more: let it end the task."""


class Input(Mapping[str, Tensor]):
    """What one instance of a stage has sent, or the request: tensors by name, and metadata.

    Attributes:
        stage: which stage; ``"request"`` for the request.
        instance: which of its instances.
        meta: the metadata, a dict.
    """

    def __init__(self, stage: str, instance: int, meta: Dict[str, Any], tensors: Dict[str, Tensor]) -> None:
        self.stage = stage
        self.instance = instance
        self.meta = meta
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._tensors[name]
        except KeyError:
            names = ", ".join(self._tensors) or "none"
            raise KeyError(f"{self.stage} sent no tensor {name!r}; it sent: {names}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class _Inputs(Dict[str, Input]):
    def __missing__(self, stage: str) -> Input:
        raise KeyError(f"no input from {stage!r}; there are: {', '.join(self)}")


class TaskHost:
    """What tasks ask of the process that runs them; implemented by ``worker.Worker``."""

    gpu: Gpu

    def take_given_back(self) -> None:
        """Takes in what the stage process has said of blocks meanwhile."""
        raise NotImplementedError

    def window(self, lane: int, segment: int, offset: int, nbytes: int) -> Window:
        raise NotImplementedError

    def allocate(self, slot: int, name: str, dtype: str, shape: Sequence[int]) -> Tuple[int, int, int]:
        raise NotImplementedError

    def why_cancelled(self, slot: int) -> int:
        raise NotImplementedError

    def progress(self, slot: int, done: float, step: Optional[int], preview: Union[None, str, bytes]) -> None:
        raise NotImplementedError


class Task:
    """One task.

    Attributes:
        request: identity of the request.
        stage: the name of this stage.
        instance: which of the instances that work for this request this is, from 0.
        instances: how many there are.
        spread: ``"route"`` when this instance does all of the task, ``"shard"`` when it does its share.
        seed: 0 to 2^32 - 1, the same whenever the request runs again: seed random numbers with it.
        deadline: when the result is due, as ``time.monotonic()`` in seconds; None: never.
    """

    def __init__(self, host: TaskHost, stage: str, record: Dict[str, Any], lane: int) -> None:
        self._host = host
        self._record = record
        self._slot: int = record["slot"]
        self._lane = lane
        self.request: str = record["request"]
        self.stage = stage
        self.instance: int = record["instance"]
        self.instances: int = record["instances"]
        self.spread: str = record["spread"]
        self.seed: int = record["seed"]
        remaining = record["remaining"]
        self.deadline: Optional[float] = None if remaining is None else time.monotonic() + remaining / 1000
        self._all: Optional[List[Input]] = None
        self._by_stage: Optional[_Inputs] = None
        self._windows: List[Window] = []
        self._parts: Dict[str, Tuple[Any, ...]] = {}
        self._room_at: int = record["room"][1]
        self._nbytes = 0  # of the outputs that were made
        self._on_gpu: Optional[GpuOutputs] = None  # made when there is something
        self._copied = 0
        self._why = 0
        self._ended = False

    # ---- Inputs

    @property
    def inputs(self) -> Dict[str, Input]:
        """The inputs by the stage that has sent them; ``"request"`` is the request. Of a sharded stage the first."""
        if self._by_stage is None:
            self._by_stage = _Inputs()
            for one in self._inputs():
                self._by_stage.setdefault(one.stage, one)
        return self._by_stage

    def inputs_from(self, stage: str) -> List[Input]:
        """All inputs from a stage: one, or one from each instance of a sharded stage, in order."""
        found = [one for one in self._inputs() if one.stage == stage]
        if not found:
            self.inputs[stage]  # raises
        return found

    def _inputs(self) -> List[Input]:
        self._check()
        if self._all is None:
            self._all = [
                Input(stage, instance, meta, {part[0]: self._input_tensor(at, *part) for part in parts})
                for at, (stage, instance, meta, parts) in enumerate(self._record["inputs"])
            ]
        return self._all

    def _input_tensor(
        self,
        at: int,
        name: str,
        dtype: str,
        shape: List[int],
        segment: int,
        offset: int,
        nbytes: int,
        words: Optional[str] = None,
    ) -> Tensor:
        if words is not None:  # it lies on a GPU
            shown = self._gpu().input(nbytes, words)
            return GpuTensor(self._host.gpu, shown, name, dtype, tuple(shape), False, ("i", at, name))
        window = self._window(segment, offset, nbytes)
        return Tensor(name, dtype, tuple(shape), window, False, ("i", at, name))

    def _window(self, segment: int, offset: int, nbytes: int) -> Optional[Window]:
        if nbytes == 0:
            return None
        window = self._host.window(self._lane, segment, offset, nbytes)
        self._windows.append(window)
        return window

    # ---- Outputs

    def _gpu(self) -> GpuOutputs:
        if self._on_gpu is None:
            self._on_gpu = GpuOutputs(self._host.gpu, self._record.get("gpu"))
        return self._on_gpu

    def output(self, name: str, dtype: Any, shape: Sequence[int], device: Any = None) -> Tensor:
        """Makes a tensor of the output, in the memory that it is sent from. Its contents are undefined at first.

        Args:
            name: of the part, 1 to 128 bytes.
            dtype: ``"f32"`` and so on, or as NumPy or PyTorch have it.
            shape: at most 8 sizes.
            device: ``"cuda"`` or ``"cuda:0"`` and so on: the output is made on that GPU, and stays there when all
                stages that take it can open it; otherwise it goes through the host, by itself. Default the host.

        Raises ValueError for a name that is taken, a device that is none and the 65th output; TypeError for what is no
        dtype or shape; MemoryError when the outputs have more than ``maxOutputBytes``, or the stage process or the GPU
        has no memory for it; RuntimeError for a GPU where there is none.
        """
        self._check()
        if not isinstance(name, str):
            raise TypeError(f"the name of an output is a str, not {name!r}")
        if name in self._parts:
            raise ValueError(f"there is an output {name!r} already")
        if name.startswith("\0"):
            raise ValueError(f"the name of an output does not begin with NUL: {name!r}")
        size = len(name) if name.isascii() else len(name.encode("utf-8", "replace"))
        if not 1 <= size <= _MAX_NAME:
            raise ValueError(f"the name of an output has 1 to {_MAX_NAME} bytes, not {size}")
        self._check_count()
        kind = dtype_name(dtype)
        sizes = check_shape(shape)
        nbytes = DTYPES[kind].size * count_of(sizes)
        limit = self._record["limit"]
        if self._nbytes + nbytes > limit:
            others = f", and there are {self._nbytes} before it" if self._nbytes > 0 else ""
            words = f"output {name!r} has {nbytes} bytes{others}; the outputs of a task have at most {limit} together"
            raise MemoryError(f"{words} (maxOutputBytes)")
        number = None if device is None else self._host.gpu.device(device)
        made = self._on_host(name, kind, sizes) if number is None else self._on_device(number, name, kind, sizes)
        self._parts[name] = made._place
        self._nbytes += nbytes
        return made

    def _check_count(self) -> None:
        if len(self._parts) == _MAX_PARTS:
            raise ValueError(
                f"a task has at most {_MAX_PARTS} outputs: put tensors of one type into one, with a dimension more"
            )

    def _on_device(self, device: int, name: str, kind: str, sizes: Tuple[int, ...]) -> Tensor:
        nbytes = DTYPES[kind].size * count_of(sizes)
        if nbytes == 0:
            return self._on_host(name, kind, sizes)
        if not self._host.gpu.has_room(device, nbytes):
            self._host.take_given_back()

        def on_host() -> Tuple[Optional[Window], Tuple[Any, ...]]:
            made = self._on_host(name, kind, sizes)
            self._copied += nbytes
            return made._window, made._place

        shown, place = self._gpu().add(device, nbytes, on_host)
        if place[0] == "g":
            place = ("g", kind, list(sizes), *place[1:])
        return GpuTensor(self._host.gpu, shown, name, kind, sizes, True, place)

    def _on_host(self, name: str, kind: str, sizes: Tuple[int, ...]) -> Tensor:
        nbytes = DTYPES[kind].size * count_of(sizes)
        segment, _, room_end = self._record["room"]
        at = self._room_at
        place: Tuple[Any, ...]
        if nbytes <= self._record["inline"] and at + nbytes <= room_end:
            self._room_at = -(-(at + nbytes) // _ALIGN) * _ALIGN
            place = ("a", kind, list(sizes), at)
            offset = at
        else:
            number, segment, offset = self._host.allocate(self._slot, name, kind, sizes)
            place = ("o", number)
        return Tensor(name, kind, sizes, self._window(segment, offset, nbytes), True, place)

    def put(self, name: str, array: Any, dtype: Any = None, shape: Optional[Sequence[int]] = None) -> Tensor:
        """Copies an array into a new output: for results that were not built by :meth:`output`.

        Args:
            array: of NumPy, PyTorch, CuPy or JAX, or bytes and what else has the buffer protocol. ``"bf16"`` and the
                8-bit floats are copied bit by bit: from arrays of that type, or of unsigned integers of that size.
            dtype: of bytes, default ``"u8"``; of others, what they are.
            shape: of bytes, default all of them in one dimension.

        Raises what :meth:`output` raises, TypeError for an array of another type than ``dtype`` and for what is no
        array, ValueError for one that does not have this shape.
        """
        if hasattr(array, "__cuda_array_interface__") and hasattr(array, "get"):  # CuPy
            array = array.get()
        if hasattr(array, "detach") and hasattr(array, "cpu"):  # PyTorch
            source = array.detach().cpu().contiguous()
            made = self.output(name, dtype or dtype_of_array(array), source.shape if shape is None else shape)
            if made.nbytes > 0:
                made.torch().copy_(source.reshape(made.shape))
        elif hasattr(array, "__array_interface__") or hasattr(array, "__array__"):
            import numpy

            source = numpy.asarray(array)
            kind = dtype_name(source.dtype if dtype is None else dtype)
            bits = numpy.dtype(DTYPES[kind].numpy)
            if kind in _BITS and source.dtype.name == DTYPES[kind].torch:
                source = source.view(bits)  # of ml_dtypes
            if source.dtype != bits:
                raise TypeError(f"output {name!r} is {kind}, but its array has {source.dtype.str} ({source.dtype})")
            source = source.reshape(source.shape if shape is None else check_shape(shape))
            made = self.output(name, kind, source.shape)
            made.numpy()[...] = source
        else:
            try:
                data = memoryview(array).cast("B")
            except TypeError:
                words = f"put() takes an array of NumPy or PyTorch, or contiguous bytes, not {type(array).__name__}"
                raise TypeError(words) from None
            kind = "u8" if dtype is None else dtype_name(dtype)
            sizes = [data.nbytes // DTYPES[kind].size] if shape is None else shape
            made = self.output(name, kind, sizes)
            if made.nbytes != data.nbytes:
                raise ValueError(f"output {name!r} takes {made.nbytes} bytes, and there are {data.nbytes}")
            if made.nbytes > 0:
                made.memoryview()[:] = data
        if made._place[0] == "o":
            self._copied += made.nbytes
        return made

    def forward(self, name: str, tensor: Tensor) -> None:
        """Sends a tensor of an input on as it is, without a copy.

        One that lies on another stage's GPU is copied to a GPU of this one. Raises ValueError for a name that is taken
        and for what is no input.
        """
        self._check()
        if name in self._parts:
            raise ValueError(f"there is an output {name!r} already")
        self._check_count()
        if tensor._place[0] != "i":
            raise ValueError("only a tensor of an input is sent on; an output goes out under its own name")
        if isinstance(tensor, GpuTensor):
            address = tensor.data_ptr()
            made = self.output(name, tensor.dtype, tensor.shape, device=tensor.device)
            assert isinstance(made, GpuTensor)
            self._host.gpu.copy(made.data_ptr(), address, tensor.nbytes)
            return
        self._parts[name] = tensor._place

    # ---- How it goes

    @property
    def cancelled(self) -> bool:
        """Whether the result is not wanted any more: the deadline has passed, or the request has ended."""
        if self._why == 0 and not self._ended:
            self._why = self._host.why_cancelled(self._slot)
        return self._why != 0

    def check(self) -> None:
        """Raises :class:`Cancelled` when the result is not wanted any more."""
        if self.cancelled:
            raise Cancelled(f"request {self.request}: {_REASONS.get(self._why, 'it is not wanted any more')}")

    def progress(self, done: float, step: Optional[int] = None, preview: Union[None, str, bytes] = None) -> None:
        """Says how far the task is, to whoever watches the request. Raises :class:`Cancelled` as :meth:`check`.

        Args:
            done: 0 to 1.
            step: of a computation that goes in steps.
            preview: text or bytes, at most 16 KiB.
        """
        self._check()
        self.check()
        self._host.progress(self._slot, float(done), step, preview)

    def _check(self) -> None:
        if self._ended:
            raise RuntimeError(f"the task of request {self.request} has ended")

    def _end(self) -> List[Window]:
        self._ended = True
        windows, self._windows = self._windows, []
        self._all = self._by_stage = None
        return windows

    def _returned(self) -> List[List[Any]]:
        """The parts of the output, as records have them."""
        return [[place[0], name, *place[1:]] for name, place in self._parts.items()]

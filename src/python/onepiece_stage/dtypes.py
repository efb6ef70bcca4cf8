"""Element types: their names in a pipeline, their sizes, and what other libraries call them.

Invariant: a name means the same bytes in every language. What NumPy does not have (bf16 and the 8-bit floats) it shows
as unsigned integers of the same size: the bits.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple


class Dtype(NamedTuple):
    """One element type."""

    size: int  # bytes of an element
    numpy: str  # what NumPy shows it as
    torch: str  # its name in PyTorch
    format: str  # of the struct module, for memoryview.cast


DTYPES: Dict[str, Dtype] = {
    "u8": Dtype(1, "uint8", "uint8", "B"),
    "i8": Dtype(1, "int8", "int8", "b"),
    "u16": Dtype(2, "uint16", "uint16", "H"),
    "i16": Dtype(2, "int16", "int16", "h"),
    "u32": Dtype(4, "uint32", "uint32", "I"),
    "i32": Dtype(4, "int32", "int32", "i"),
    "u64": Dtype(8, "uint64", "uint64", "Q"),
    "i64": Dtype(8, "int64", "int64", "q"),
    "f16": Dtype(2, "float16", "float16", "e"),
    "bf16": Dtype(2, "uint16", "bfloat16", "H"),
    "f32": Dtype(4, "float32", "float32", "f"),
    "f64": Dtype(8, "float64", "float64", "d"),
    "bool": Dtype(1, "bool", "bool", "?"),
    "f8e4m3": Dtype(1, "uint8", "float8_e4m3fn", "B"),
    "f8e5m2": Dtype(1, "uint8", "float8_e5m2", "B"),
}

_OTHER_NAMES: Dict[str, str] = {
    "float16": "f16",
    "half": "f16",
    "bfloat16": "bf16",
    "float32": "f32",
    "float": "f32",
    "float64": "f64",
    "double": "f64",
    "float8_e4m3fn": "f8e4m3",
    "float8_e5m2": "f8e5m2",
    "uint8": "u8",
    "int8": "i8",
    "uint16": "u16",
    "int16": "i16",
    "uint32": "u32",
    "int32": "i32",
    "uint64": "u64",
    "int64": "i64",
    "bool_": "bool",
}

MAX_RANK = 8


def dtype_name(dtype: Any) -> str:
    """The name of an element type that is given by its name, or as NumPy or PyTorch have it.

    Raises TypeError for one that no pipeline carries.
    """
    if isinstance(dtype, str):
        text = dtype
    else:
        # numpy.dtype and ml_dtypes have `name`, numpy.float32 has `__name__`, torch.float32 prints as that.
        text = str(getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or dtype)
    text = text.rsplit(".", 1)[-1]
    name = text if text in DTYPES else _OTHER_NAMES.get(text)
    if name is None:
        raise TypeError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
    return name


def check_shape(shape: Any) -> Tuple[int, ...]:
    """The sizes of a tensor as a tuple; raises TypeError or ValueError for what is no shape."""
    if isinstance(shape, int) or not isinstance(shape, Sequence):
        raise TypeError(f"a shape is a list of sizes, not {shape!r}")
    sizes = []
    for size in shape:
        index = getattr(size, "__index__", None)
        if index is None or isinstance(size, bool):
            raise TypeError(f"a size is a whole number, not {size!r}")
        sizes.append(int(index()))
    if len(sizes) > MAX_RANK:
        raise ValueError(f"a tensor has at most {MAX_RANK} dimensions, not {len(sizes)}")
    if any(size < 0 for size in sizes):
        raise ValueError(f"a size is 0 or more: {sizes}")
    return tuple(sizes)


def count_of(shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has."""
    count = 1
    for size in shape:
        count *= size
    return count


def dtype_of_array(array: Any) -> Optional[str]:
    """The name of the element type of an array; None for bytes and what else has no dtype."""
    dtype = getattr(array, "dtype", None)
    return None if dtype is None else dtype_name(dtype)

"""Proves what tensors show and what names and shapes are refused."""

import pytest

from onepiece_stage.dtypes import DTYPES, check_shape, count_of, dtype_name
from onepiece_stage.tensor import Tensor

np = pytest.importorskip("numpy")


class OneWindow:
    """Memory of the test in place of a window."""

    def __init__(self, data):
        self.data = bytearray(data)

    def raw(self):
        return self.data

    def register(self):
        return False

    def view(self, writable):
        return memoryview(self.data) if writable else memoryview(self.data).toreadonly()


@pytest.mark.parametrize("name", list(DTYPES))
def test_numpy_shows_every_dtype(name):
    size = DTYPES[name].size
    data = b"\1\0" * 3 if name == "bool" else bytes(range(1, 1 + 6 * size))
    tensor = Tensor("x", name, (2, 3), OneWindow(data), False, ())
    array = tensor.numpy()
    assert array.shape == (2, 3) and array.dtype.itemsize == size and tensor.nbytes == 6 * size
    assert not array.flags.writeable
    assert array.tobytes() == tensor.tobytes()


def test_an_output_is_written_in_place():
    window = OneWindow(b"\0" * 8)
    tensor = Tensor("x", "u16", (4,), window, True, ())
    tensor.numpy()[...] = [1, 2, 3, 4]
    assert window.data == b"\1\0\2\0\3\0\4\0"
    window.data[0] = 9
    assert list(np.from_dlpack(tensor)) == [9, 2, 3, 4], "the same memory"


def test_a_tensor_without_elements_has_a_shape():
    tensor = Tensor("x", "f32", (0, 4), None, False, ())
    assert tensor.numpy().shape == (0, 4) and tensor.tobytes() == b"" and tensor.nbytes == 0


@pytest.mark.parametrize("name", [name for name in DTYPES])
def test_torch_shows_what_numpy_shows(name):
    torch = pytest.importorskip("torch")
    if not hasattr(torch, DTYPES[name].torch):
        pytest.skip(f"this PyTorch has no {DTYPES[name].torch}")
    data = b"\1\0" * (3 * DTYPES[name].size)
    shown = Tensor("x", name, (2, 3), OneWindow(data), True, ()).torch()
    assert list(shown.shape) == [2, 3] and shown.element_size() == DTYPES[name].size
    assert bytes(shown.contiguous().view(torch.uint8).flatten().tolist()) == data
    assert dtype_name(shown.dtype) == name


@pytest.mark.parametrize(
    "given, name",
    [("f32", "f32"), ("bfloat16", "bf16"), (np.float64, "f64"), (np.dtype("uint8"), "u8"), (np.bool_, "bool")],
)
def test_names_of_dtypes(given, name):
    assert dtype_name(given) == name


@pytest.mark.parametrize("given", ["f33", np.complex64, None, 7, object])
def test_other_dtypes_are_refused(given):
    with pytest.raises(TypeError):
        dtype_name(given)


@pytest.mark.parametrize(
    "given, error",
    [(7, TypeError), ([1.5], TypeError), ([True], TypeError), ([-1], ValueError), ([1] * 9, ValueError)],
)
def test_shapes_that_are_refused(given, error):
    with pytest.raises(error):
        check_shape(given)


def test_shapes():
    assert check_shape([np.int64(2), 3]) == (2, 3) and count_of(check_shape([])) == 1

"""Proves that CuPy and JAX show what tensors hold, and that a task takes their arrays, where they are installed."""

import pytest

from onepiece_stage.dtypes import DTYPES
from onepiece_stage.tensor import Tensor
from test_tensor import OneWindow

np = pytest.importorskip("numpy")


@pytest.fixture
def cupy():
    found = pytest.importorskip("cupy")
    try:
        count = found.cuda.runtime.getDeviceCount()
    except found.cuda.runtime.CUDARuntimeError:
        count = 0
    if count == 0:
        pytest.skip("CuPy sees no GPU")
    return found


def shown(name):
    data = b"\1\0" * 3 if name == "bool" else bytes(range(1, 1 + 6 * DTYPES[name].size))
    return Tensor("x", name, (2, 3), OneWindow(data), False, ())


@pytest.mark.parametrize("name", list(DTYPES))
def test_cupy_has_a_copy_of_every_dtype(cupy, name):
    tensor = shown(name)
    array = tensor.cupy()
    assert array.shape == (2, 3) and array.dtype == tensor.numpy().dtype
    assert array.get().tobytes() == tensor.tobytes()


@pytest.mark.parametrize("name", list(DTYPES))
def test_jax_has_a_copy_of_every_dtype(name):
    jax = pytest.importorskip("jax")
    tensor = shown(name)
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        array = tensor.jax()
    assert array.shape == (2, 3) and array.dtype == tensor.numpy().dtype
    assert np.asarray(array).tobytes() == tensor.tobytes()


def test_a_copy_of_jax_does_not_change_with_the_memory():
    pytest.importorskip("jax")
    window = OneWindow(bytes(24))
    tensor = Tensor("x", "f32", (6,), window, True, ())
    array = tensor.jax()
    tensor.numpy()[...] = 7
    assert np.asarray(array).tolist() == [0] * 6


def done_with(process, write, body):
    """What a worker answers to a task whose stage has this body, and the bytes of its first outputs."""
    file = write(f"@stage\ndef run(task):\n{body}")
    process.start(file, "run")
    process.post(process.task())
    return process.take(), process.room_memory


def test_an_array_of_cupy_becomes_an_output(process, write, cupy):
    done, memory = done_with(
        process, write, "    import cupy\n    task.put('x', cupy.arange(6, dtype='float32').reshape(2, 3))\n"
    )
    assert done["t"] == "done", done
    assert done["parts"] == [["a", "x", "f32", [2, 3], 0]]
    assert np.frombuffer(memory[:24], np.float32).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype, name", [("float32", "f32"), ("bfloat16", "bf16"), ("int32", "i32")])
def test_an_array_of_jax_becomes_an_output(process, write, dtype, name):
    jnp = pytest.importorskip("jax.numpy")
    done, memory = done_with(
        process, write, f"    import jax.numpy as jnp\n    task.put('x', jnp.arange(6, dtype=jnp.{dtype}))\n"
    )
    assert done["t"] == "done", done
    assert done["parts"] == [["a", "x", name, [6], 0]]
    wanted = np.asarray(jnp.arange(6, dtype=dtype)).tobytes()
    assert memory[: len(wanted)] == wanted


def test_cupy_and_jax_show_the_memory_of_an_output_on_the_gpu(process, write, cupy):
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("JAX sees no GPU")
    body = """
    import cupy, numpy
    import jax.numpy as jnp
    out = task.output("y", "f32", [1 << 20], device="cuda")
    out.cupy()[...] = cupy.arange(1 << 20, dtype="float32")
    cupy.cuda.get_current_stream().synchronize()
    read = jnp.from_dlpack(out)
    total = float(read[:1000].sum())
    same = read.unsafe_buffer_pointer() == out.data_ptr()
    del read
    return {"sum": total, "same": same, "last": float(out.torch()[-1])}
"""
    pytest.importorskip("torch")
    file = write(f"@stage\ndef run(task):\n{body}")
    process.start(file, "run")
    task = process.task()
    task["limit"] = 2**23
    process.post(task)
    said = process.take()
    while said["t"] == "alloc":  # the output goes to the host in the end, as nobody takes its handle
        segment, _ = process.segment(b"", 1 << 22)
        process.post({"t": "output", "slot": 0, "id": said["id"], "segment": segment, "offset": 0})
        said = process.take()
    assert said["t"] == "done", said
    assert said["meta"] == {"sum": 499500.0, "same": True, "last": float(2**20 - 1)}

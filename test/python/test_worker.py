"""Proves what a worker answers to the records of its stage process."""

import ast
import pathlib
import subprocess
import sys
import time

import pytest

np = pytest.importorskip("numpy")


def numbers(count, first=0):
    return np.arange(first, first + count, dtype=np.float32)


def test_a_task_reads_its_input_and_builds_its_output_in_place(process, write):
    file = write(
        "import numpy as np\n"
        "@stage\n"
        "def run(task):\n"
        "    x = task.inputs['request']['x'].numpy()\n"
        "    assert not x.flags.writeable\n"
        "    out = task.output('y', np.float32, x.shape)\n"
        "    np.add(x, 1, out=out.numpy())\n"
        "    return {'seed': task.seed}\n"
    )
    assert process.start(file, "run")["t"] == "ready"
    data = numbers(5000)
    segment, _ = process.segment(b"\0" * 64 + data.tobytes())
    process.post(process.task(inputs=[["x", "f32", [5000], segment, 64, data.nbytes]]))
    asked = process.take()
    assert (asked["t"], asked["name"], asked["dtype"], asked["shape"]) == ("alloc", "y", "f32", [5000])
    number, shown = process.segment(b"", 65536)
    process.post({"t": "output", "slot": 0, "id": asked["id"], "segment": number, "offset": 128})
    done = process.take()
    assert done == {"t": "done", "slot": 0, "meta": {"seed": 7}, "parts": [["o", "y", asked["id"]]], "copied": 0}
    assert (np.frombuffer(shown, np.float32, 5000, 128) == data + 1).all()


def test_small_outputs_are_made_in_the_room_of_the_task(process, write):
    file = write("@stage\ndef run(task):\n    task.put('a', b'abc')\n    task.put('b', b'12345678', 'f64')\n")
    process.start(file, "run")
    process.post(process.task())
    done = process.take()
    assert done["parts"] == [["a", "a", "u8", [3], 0], ["a", "b", "f64", [1], 64]]
    assert process.room_memory[:3] == b"abc" and process.room_memory[64:72] == b"12345678"


def test_an_array_that_is_kept_shows_what_it_showed(process, write):
    file = write(
        "kept = []\n"
        "@stage\n"
        "def run(task):\n"
        "    sums = [float(array.sum()) for array in kept]\n"
        "    kept.append(task.inputs['request']['x'].numpy())\n"
        "    return {'sums': sums}\n"
    )
    process.start(file, "run")
    segment, shown = process.segment(numbers(3000).tobytes())
    task = process.task(inputs=[["x", "f32", [3000], segment, 0, 12000]])
    first = float(numbers(3000).sum())
    process.post(task)
    assert process.take()["meta"] == {"sums": []}
    shown[:] = b"\0" * len(shown)  # the memory has another task now
    process.post(task)
    assert process.take()["meta"] == {"sums": [first]}
    process.post(task)
    assert process.take()["meta"] == {"sums": [first, 0.0]}


def test_tensors_and_tasks_raise_after_their_end(process, write):
    file = write(
        "late = []\n"
        "@stage\n"
        "def run(task):\n"
        "    found = []\n"
        "    for use in late:\n"
        "        try:\n"
        "            use()\n"
        "        except (ValueError, RuntimeError) as error:\n"
        "            found.append(type(error).__name__)\n"
        "    x = task.inputs['request']['x']\n"
        "    view = x.memoryview()\n"
        "    late[:] = [x.numpy, x.tobytes, lambda: view[0]]\n"
        "    late[3:] = [lambda: task.inputs, lambda: task.output('y', 'u8', [1])]\n"
        "    return {'found': found}\n"
    )
    process.start(file, "run")
    segment, _ = process.segment(b"1234")
    task = process.task(inputs=[["x", "u8", [4], segment, 0, 4]])
    process.post(task)
    process.take()
    process.post(task)
    assert process.take()["meta"] == {"found": ["ValueError"] * 3 + ["RuntimeError"] * 2}


def test_errors_are_answered_with_their_place(process, write):
    file = write("@stage\ndef run(task):\n    return task.inputs['request']['nothing']\n")
    process.start(file, "run")
    process.post(process.task())
    failed = process.take()
    assert failed["t"] == "error" and not failed["retryable"] and not failed["late"]
    assert "KeyError" in failed["error"] and "request sent no tensor 'nothing'" in failed["error"]
    assert 'stage_file.py", line 4, in run' in failed["error"] and "worker.py" not in failed["error"]


def failure(process, write, body):
    """The error of a task whose function has this body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    process.start(write(f"import numpy as np\n@stage\ndef run(task):\n{lines}"), "run")
    process.post(process.task())
    return process.take()["error"]


@pytest.mark.parametrize(
    "body, words",
    [
        # NumPy would write the numbers 1 and 2 as the bits of a bf16.
        ("task.put('x', np.array([1.5, 2.5], np.float32), 'bf16')", "'x' is bf16, but its array has <f4 (float32)"),
        ("task.put('x', np.arange(3, dtype='>f4'))", "output 'x' is f32, but its array has >f4 (>f4)"),
        ("task.put('x', np.array([None]))", "dtype dtype('O') is none of u8"),
        ("task.put('x', np.zeros(6), shape=[4])", "cannot reshape array of size 6 into shape (4,)"),
        ("task.put('x', [1.0, 2.0])", "put() takes an array of NumPy or PyTorch, or contiguous bytes, not list"),
        ("task.output('x', 'u8', [2**31])", "'x' has 2147483648 bytes; the outputs of a task have at most 4194304"),
        ("for name in 'abc': task.put(name, bytes(1024))\ntask.output('x', 'u8', [2**22])", "3072 before"),
        ("for i in range(65): task.output(f'{i}', 'u8', [1])", "a task has at most 64 outputs"),
        ("task.output('n' * 129, 'u8', [1])", "the name of an output has 1 to 128 bytes, not 129"),
    ],
)
def test_what_is_no_output_is_refused_where_it_is_made(process, write, body, words):
    error = failure(process, write, body)
    assert words in error and "stage_file.py" in error


def test_an_array_of_bits_keeps_them(process, write):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    put = "task.put('x', np.array([1.5], ml_dtypes.bfloat16))"
    process.start(write(f"import ml_dtypes, numpy as np\n@stage\ndef run(task):\n    {put}\n"), "run")
    process.post(process.task())
    assert process.take()["parts"] == [["a", "x", "bf16", [1], 0]]
    assert process.room_memory[:2] == np.array([1.5], ml_dtypes.bfloat16).tobytes()


def test_an_error_tells_its_causes(process, write):
    body = "try:\n    {}['k']\nexcept KeyError as error:\n    raise ValueError('outer') from error"
    error = failure(process, write, body)
    assert error.startswith("ValueError: outer\n") and "\ncaused by KeyError: 'k'\n" in error
    assert error.count("stage_file.py") == 2


def test_an_error_is_answered_however_long_it_is_and_whatever_it_has(process, write):
    error = failure(process, write, "raise ValueError('begin ' + '\\ud800' * 3_000_000 + ' end')")
    assert error.startswith("ValueError: begin \\ud800") and " end" in error and len(error) < 100_000
    assert 'stage_file.py", line 5, in run' in error


def test_what_is_no_metadata_says_where_tensors_go(process, write):
    error = failure(process, write, "return {'x': np.zeros(3)}")
    assert "ndarray is not JSON serializable" in error and "task.put()" in error


def test_a_retryable_error_says_so(process, write):
    text = "class Busy(Exception):\n    retryable = True\n@stage\ndef run(task):\n    raise Busy('later')\n"
    process.start(write(text), "run")
    process.post(process.task())
    assert process.take()["retryable"] is True


def test_progress_raises_once_the_task_is_cancelled(process, write):
    text = "@stage\ndef run(task):\n    task.progress(0.25, step=1, preview='so far')\n"
    text += "    while True:\n        task.progress(1)\n"
    process.start(write(text), "run")
    process.post(process.task(remaining=1000))
    assert process.take() == {"t": "progress", "slot": 0, "done": 0.25, "step": 1, "text": "so far"}
    process.words[64] = 1
    while True:
        record = process.take()
        if record["t"] != "progress":
            break
    assert record["t"] == "error" and record["late"] and "its deadline has passed" in record["error"]


def test_a_batch_is_answered_task_by_task(process, write):
    text = (
        "class Act(Stage):\n"
        "    def run_batch(self, tasks):\n"
        "        return [{'n': len(tasks)}, ValueError('this one'), None]\n"
    )
    process.start(write(text), "Act", batch=True)
    for slot in range(3):
        process.post(process.task(slot=slot, run=False))
    process.post({"t": "run", "slots": [0, 1, 2]})
    answers = [process.take() for _ in range(3)]
    assert [answer["t"] for answer in answers] == ["done", "error", "done"]
    assert answers[0]["meta"] == {"n": 3} and "this one" in answers[1]["error"]


@pytest.mark.parametrize(
    "text, name, words",
    [
        ("raise ImportError('no torch here')", "run", "ImportError: no torch here"),
        ("@stage\ndef one(task):\n    pass\n", "run", "its stages are: one"),
        ("run = 7", "run", "is no stage"),
        ("def run(task):\n    pass\n", "run", None),
        ("class run(Stage):\n    def setup(self, context):\n        raise OSError('none')\n", "run", "OSError: none"),
    ],
)
def test_what_cannot_start_says_why(process, write, text, name, words):
    record = process.start(write(text), name)
    if words is None:
        assert record["t"] == "ready"
    else:
        assert record["t"] == "failed" and words in record["error"]


def test_a_python_that_is_too_old_says_so():
    package = pathlib.Path(__file__).resolve().parents[2] / "src" / "python"
    ast.parse((package / "onepiece_stage" / "__init__.py").read_text(), feature_version=(3, 4))
    program = "import sys; sys.version_info = (2, 7, 18); sys.path.insert(0, sys.argv[1]); import onepiece_stage"
    done = subprocess.run([sys.executable, "-c", program, str(package)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: onepiece_stage needs Python 3.9 or later, not 2.7\n")


def test_records_go_round_the_ring(process, write):
    process.start(write("@stage\ndef run(task):\n    return task.inputs['request'].meta\n"), "run")
    for at in range(12):
        task = process.task()
        task["inputs"][0][2] = {"at": at, "text": "\u00e9" * 150000}
        process.post(task)
        assert process.take()["meta"] == task["inputs"][0][2]


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


def test_a_record_needs_no_bell_while_the_worker_polls(process, write):
    process.start(write("@stage\ndef run(task):\n    return {'seed': task.seed}\n"), "run", poll=200_000)
    for _ in range(3):
        until(process.polls)
        process.post(process.task(), ring=False)
        assert process.take()["meta"] == {"seed": 7}
    until(lambda: not process.polls())
    process.post(process.task())
    assert process.take()["meta"] == {"seed": 7}


def test_a_bell_without_a_record_makes_it_poll_once(process, write):
    process.start(write("@stage\ndef run(task):\n    return {}\n"), "run", poll=200_000)
    until(process.polls)
    until(lambda: not process.polls())
    process.ring()
    until(process.polls)
    process.post(process.task(), ring=False)
    assert process.take()["t"] == "done"


def test_no_bell_is_rung_for_a_stage_process_that_polls(process, write):
    process.start(write("@stage\ndef run(task):\n    return {}\n"), "run")
    process.set_polls(True)
    process.silence()
    process.post(process.task())
    until(lambda: process.words[32] != process.words[48])
    time.sleep(0.05)
    assert not process.has_rung()
    assert process.take()["t"] == "done"
    process.set_polls(False)
    process.post(process.task())
    until(process.has_rung)
    assert process.take()["t"] == "done"

"""Proves what a worker answers to the records of its stage process."""

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

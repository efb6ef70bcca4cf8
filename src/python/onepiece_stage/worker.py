"""The process of a stage in Python: takes tasks, runs the code of the stage, and says what came of them.

Invariant: a task is answered once, after its windows have ended; whatever the code of the stage raises is the answer. A
process that was forked answers nothing.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NoReturn, Optional, Sequence, Tuple, Union

from .cuda import Broken, settle
from .failures import Failure, describe, failure_of
from .gpu import Gpu
from .loader import Code, load
from .mailbox import Closed, Mailbox
from .memory import Memory, Window
from .stage import Context
from .task import Task, TaskHost

_METADATA = "metadata is what JSON has; tensors go out by task.output() or task.put()"
_KEPT = "RuntimeError: a tensor of an input on a GPU is kept after its task: clone() what you want to keep"


class Worker(TaskHost):
    """Runs the tasks of one stage."""

    def __init__(self, mailbox: Mailbox, channel: socket.socket) -> None:
        self._mailbox = mailbox
        self._channel = channel
        self._memory = Memory(channel)
        self.gpu = Gpu(self._watch_owner)
        self._pending: Deque[Dict[str, Any]] = deque()
        self._replies: Dict[int, Dict[str, Any]] = {}
        self._asking = threading.RLock()
        self._asked = 0
        self._tasks: Dict[int, Task] = {}  # of batches that have not begun
        self._lanes: List[bool] = []
        self._what = ""
        self._code: Optional[Code] = None
        self._is_batch = False
        self._pid = os.getpid()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread = threading.current_thread()
        self._look: Callable[[], None] = lambda: None
        self._stage = ""
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        # What it has of the mailbox is not mapped here, and what it says would be taken for ours.
        for fd in [*self._mailbox.fds(), self._channel.fileno()]:
            try:
                os.close(fd)
            except OSError:
                pass
        self._memory.close()
        self.gpu.forget()

    # ---- Its start

    def start(self) -> bool:
        """Waits for the record `start`, loads the code and sets it up; False when that has failed and was reported."""
        self._mailbox.post({"t": "hello", "pid": os.getpid()})
        record = self._mailbox.next()
        while record["t"] != "start":
            record = self._mailbox.next()
        self._what = f"stage {record['stage']}"
        self._is_batch = record["batch"]
        self._mailbox.spin_s = record["poll"] / 1e6
        context = Context(record["stage"], record["instance"], record["concurrency"])
        try:
            code = load(record["file"], record["name"], self._is_batch, record["concurrency"])
            if code.setup is not None:
                made = code.setup(context)
                if asyncio.iscoroutine(made):
                    asyncio.run(made)
        except BaseException as error:
            self._must_be_ours()
            self._mailbox.post({"t": "failed", "error": describe(error)})
            return False
        self._must_be_ours()
        self._code = code
        self._stage = record["stage"]
        self._mailbox.post({"t": "ready", "gpu": self.gpu.offer(record.get("gpu") is True)})
        return True

    # ---- Tasks, one after the other

    def serve(self) -> None:
        """Runs tasks until the stage process says stop. Raises Closed when the stage process has gone."""
        assert self._code is not None
        if self._code.is_async:
            asyncio.run(self._serve_async())
            return
        while True:
            record = self._pending.popleft() if self._pending else self._mailbox.next()
            if record["t"] == "stop":
                return
            tasks = self._begun(record)
            if tasks is not None:
                self._run(tasks)

    def _begun(self, record: Dict[str, Any]) -> Optional[List[Task]]:
        """The tasks that begin with a record; None when none do."""
        kind = record["t"]
        if kind == "task":
            if record["run"]:
                return [Task(self, self._stage, record, self._take_lane())]
            self._tasks[record["slot"]] = Task(self, self._stage, record, -1)
        elif kind == "run":
            lane = self._take_lane()
            tasks = [self._tasks.pop(slot) for slot in record["slots"]]
            for task in tasks:
                task._lane = lane
            return tasks
        elif kind == "drop":
            self._memory.drop(record["segment"])
        elif kind == "free":
            self.gpu.give(record["block"])
        return None

    # Tasks that run at a time have mappings of their own: see memory.py.
    def _take_lane(self) -> int:
        for lane, is_taken in enumerate(self._lanes):
            if not is_taken:
                self._lanes[lane] = True
                return lane
        self._lanes.append(True)
        return len(self._lanes) - 1

    def _run(self, tasks: List[Task]) -> None:
        assert self._code is not None
        failure: Optional[Failure] = None
        results: Any = None
        try:
            results = self._code.call(tasks if self._is_batch else tasks[0])
            _settle(tasks)
        except BaseException as error:
            failure = failure_of(error)
        self._answer(tasks, results, failure)

    async def _run_async(self, tasks: List[Task]) -> None:
        assert self._code is not None
        failure: Optional[Failure] = None
        results: Any = None
        try:
            results = await self._code.call(tasks if self._is_batch else tasks[0])
            _settle(tasks)
        except BaseException as error:
            failure = failure_of(error)
        self._answer(tasks, results, failure)

    def _answer(self, tasks: List[Task], results: Any, failure: Optional[Failure]) -> None:
        self._must_be_ours()
        is_broken = failure is not None and not _settled()
        lost = [task._on_gpu is not None and task._on_gpu.is_lost for task in tasks]
        keeps = [task._on_gpu is not None and task._on_gpu.end() for task in tasks]
        windows = [window for task in tasks for window in task._end()]
        self._memory.end(windows, self._what)
        self._lanes[tasks[0]._lane] = False
        answers: Sequence[Any] = [results]
        if failure is None and self._is_batch:
            if not isinstance(results, (list, tuple)) or len(results) != len(tasks):
                got = f"{len(results)} results" if isinstance(results, (list, tuple)) else type(results).__name__
                words = f"run_batch() must return a list of {len(tasks)} results, not {got}"
                failure = (f"TypeError: {words}", False, False)
            else:
                answers = results
        for at, task in enumerate(tasks):
            if lost[at]:
                self._lose(task)
            elif failure is not None:
                self._fail(task, failure)
            elif keeps[at]:
                self._fail(task, (_KEPT, False, False))
            elif isinstance(answers[at], BaseException):
                self._fail(task, failure_of(answers[at]))
            else:
                self._finish(task, answers[at])
        self._after_gpu(tasks)
        if any(keeps):
            sys.stderr.write(f"onepiece_stage: {self._what}: {_KEPT}: the process ends\n")
            os._exit(72)
        if is_broken:
            sys.stderr.write(f"onepiece_stage: the GPU of {self._what} does not answer: the process ends\n")
            os._exit(71)

    def _after_gpu(self, tasks: List[Task]) -> None:
        if all(task._on_gpu is None for task in tasks):
            return
        self.gpu.tidy()
        counts = self.gpu.take_counts()
        if counts is not None:
            self._mailbox.post({"t": "gpu", "counts": counts})

    def _finish(self, task: Task, result: Any) -> None:
        try:
            if result is not None and not isinstance(result, dict):
                raise TypeError(f"a stage returns a dict of metadata, or None, not {type(result).__name__}")
            self._mailbox.post(
                {
                    "t": "done",
                    "slot": task._slot,
                    "meta": result or {},
                    "parts": task._returned(),
                    "copied": task._copied,
                }
            )
        except (TypeError, ValueError, RecursionError) as error:
            words = f"{type(error).__name__}: {error} ({_METADATA})"
            self._fail(task, (words, False, False))

    def _fail(self, task: Task, failure: Failure) -> None:
        text, retryable, late = failure
        if task._on_gpu is not None:
            task._on_gpu.give_back()
        self._mailbox.post({"t": "error", "slot": task._slot, "error": text, "retryable": retryable, "late": late})

    def _lose(self, task: Task) -> None:
        assert task._on_gpu is not None
        task._on_gpu.give_back()
        self._mailbox.post({"t": "lost", "slot": task._slot})

    def _watch_owner(self, fd: int, is_new: bool) -> None:
        """A process whose GPU memory is mapped here: when it ends, the mappings are closed, between tasks too."""

        def on_end() -> None:
            self._watch_owner(fd, False)  # it stays readable
            self.gpu.tidy()

        self._mailbox.watch(fd, on_end if is_new else None)
        loop = self._loop
        if loop is None:
            return

        arguments: Tuple[Any, ...] = (loop.add_reader, fd, on_end) if is_new else (loop.remove_reader, fd)
        if threading.current_thread() is self._thread:
            arguments[0](*arguments[1:])
        else:
            loop.call_soon_threadsafe(*arguments)

    def _must_be_ours(self) -> None:
        if os.getpid() != self._pid:
            os._exit(0)

    # ---- Tasks at a time

    async def _serve_async(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._thread = threading.current_thread()
        ended: "asyncio.Future[None]" = loop.create_future()
        running = set()

        def on_done(task: "asyncio.Task[None]") -> None:
            running.discard(task)
            # What the code of the stage raises was answered: this is an error of ours, or the end of the stage process.
            if not task.cancelled() and task.exception() is not None and not ended.done():
                ended.set_exception(task.exception() or Closed())

        def look() -> None:
            while not ended.done():
                # A task that asks from another thread reads the ring meanwhile: there is one reader at a time.
                with self._asking:
                    record = self._pending.popleft() if self._pending else self._mailbox.take()
                if record is None:
                    return
                if record["t"] == "stop":
                    ended.set_result(None)
                    return
                tasks = self._begun(record)
                if tasks is not None:
                    running.add(made := loop.create_task(self._run_async(tasks)))
                    made.add_done_callback(on_done)

        def on_bell() -> None:
            self._mailbox.silence()
            look()

        def on_channel() -> None:
            try:
                self._memory.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass  # a task has taken it
            except (EOFError, OSError) as error:
                if not ended.done():
                    ended.set_exception(Closed(str(error)))

        self._look = look
        loop.add_reader(self._mailbox.bell_in, on_bell)
        loop.add_reader(self._channel, on_channel)
        look()
        await ended
        for one in running:
            one.cancel()

    # ---- What tasks ask

    def window(self, lane: int, segment: int, offset: int, nbytes: int) -> Window:
        try:
            return self._memory.window(lane, segment, offset, nbytes)
        except (EOFError, ConnectionError) as error:
            raise Closed(str(error)) from None

    def allocate(self, slot: int, name: str, dtype: str, shape: Sequence[int]) -> Tuple[int, int, int]:
        self._must_be_ours()
        with self._asking:
            self._asked += 1
            number = self._asked
            self._mailbox.post(
                {"t": "alloc", "slot": slot, "id": number, "name": name, "dtype": dtype, "shape": list(shape)}
            )
            while True:
                record = self._mailbox.next()
                if record["t"] in ("output", "refused") and record["id"] == number:
                    break
                if record["t"] == "free":
                    self.gpu.give(record["block"])
                    continue
                self._pending.append(record)
        # The bell that was taken meanwhile may have rung for records that are in the ring still.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._look)
        if record["t"] == "refused":
            raise MemoryError(record["error"])
        return number, record["segment"], record["offset"]

    def take_given_back(self) -> None:
        with self._asking:
            while (record := self._mailbox.take()) is not None:
                if record["t"] == "free":
                    self.gpu.give(record["block"])
                else:
                    self._pending.append(record)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._look)

    def why_cancelled(self, slot: int) -> int:
        return self._mailbox.cancelled(slot)

    def progress(self, slot: int, done: float, step: Optional[int], preview: Union[None, str, bytes]) -> None:
        self._must_be_ours()
        record: Dict[str, Any] = {"t": "progress", "slot": slot, "done": done}
        if step is not None:
            record["step"] = int(step)
        size = 0
        if isinstance(preview, str):
            record["text"] = preview
            size = len(preview)
        elif preview is not None:
            data = bytes(preview)
            record["bytes"] = base64.b64encode(data).decode()
            size = len(data)
        if size > 16384:
            raise ValueError("a preview has at most 16 KiB")
        self._mailbox.post(record)


def _settle(tasks: List[Task]) -> None:
    devices = settle()
    for task in tasks:
        if task._on_gpu is not None:
            task._on_gpu.settle(devices)


def _settled() -> bool:
    try:
        settle()
    except Broken:
        return False
    return True


def run_process(channel_fd: int, memory_fd: int, bell_in: int, bell_out: int) -> NoReturn:
    """Runs the stage whose stage process has given these descriptors; ends the process."""
    channel = socket.socket(fileno=channel_fd)
    mailbox = Mailbox(memory_fd, bell_in, bell_out, channel_fd)
    worker = Worker(mailbox, channel)
    try:
        if worker.start():
            worker.serve()
        else:
            while True:
                if mailbox.next()["t"] == "stop":
                    break
    except Closed:
        pass
    raise SystemExit(0)

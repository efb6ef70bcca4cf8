"""The systems that ``pd_bench`` compares: their processes, and how requests come to them.

Invariant: requests are sent when they are due, whatever the processes do; what is not answered in time is dropped
before the next run begins.
"""

from __future__ import annotations

import math
import time
from multiprocessing.connection import wait
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch.multiprocessing

from ..tools import dtype_on
from . import pd_workers
from .load import Request, score
from .pd_workers import Settings

Answers = Dict[int, Tuple[float, float]]

#: A process that drops its requests does so after its step.
_DROP_SECONDS = 60.0


class Processes:
    """Processes with a device each, and a channel to each of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.context = torch.multiprocessing.get_context("spawn")
        self.channels: List[Any] = []
        self.all: List[Any] = []
        self._theirs: List[Any] = []

    def start(self, target: Any, *words: Any, device: str) -> Any:
        """Starts a function of ``pd_workers``; returns the channel to it."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=target, args=(self.settings, device, theirs, *words), daemon=True)
        process.start()
        self._theirs.append(theirs)
        self.all.append(process)
        self.channels.append(ours)
        return ours

    def pipe(self) -> Tuple[Any, Any]:
        """A channel whose second end is for a process."""
        ours, theirs = self.context.Pipe()
        self._theirs.append(theirs)
        return ours, theirs

    def close_theirs(self) -> None:
        """Closes what only processes use; once all are started."""
        for end in self._theirs:
            end.close()

    def ready(self) -> None:
        """Waits until each can work. Raises RuntimeError, or EOFError for a process that has ended."""
        for channel in self.channels:
            if channel.recv() != "ready":
                raise RuntimeError("a process did not start")

    def end(self) -> None:
        """Waits for processes that stop, and kills those that do not."""
        patience = 30 if all(process.is_alive() for process in self.all) else 1
        for process in self.all:
            process.join(patience)
            if process.is_alive():
                process.kill()


def play(
    timed: List[Tuple[float, Any]],
    began: float,
    patience: float,
    send: Callable[[Any], None],
    channels: List[Any],
    take: Callable[[Any, Any], None],
    is_done: Callable[[], bool],
) -> float:
    """Sends each message at its time after ``began``, and takes what comes from the channels meanwhile.

    Ends when ``is_done``, or ``patience`` seconds after the last message. Returns the largest delay of a message, in s.
    """
    end = began + (timed[-1][0] if timed else 0) + patience
    at, lateness = 0, 0.0
    while not is_done() and time.monotonic() < end:
        now = time.monotonic()
        while at < len(timed) and began + timed[at][0] <= now:
            lateness = max(lateness, now - began - timed[at][0])
            send(timed[at][1])
            at += 1
        due = began + timed[at][0] if at < len(timed) else end
        for channel in wait(channels, max(0.0, min(due, end) - time.monotonic())):
            take(channel, channel.recv())  # type: ignore[attr-defined]
    return lateness


def until(end: float, channels: List[Any]) -> List[Any]:
    """The channels that have something; waits for the first. Raises RuntimeError when there is none at ``end``."""
    found: List[Any] = wait(channels, max(0.0, end - time.monotonic()))
    if not found:
        raise RuntimeError("a process does not drop its requests")
    return found


def row_of(requests: List[Tuple[float, Request]], began: float, answers: Answers, lateness: float) -> Dict[str, Any]:
    """The figures of a run."""
    return {**score(requests, began, answers), "sentLateMs": round(lateness * 1000, 2)}


class System:
    """The processes of ``apart``, ``plain`` or ``chunked``; ``close`` ends them."""

    def __init__(self, name: str, devices: List[str], settings: Settings) -> None:
        self.processes = Processes(settings)
        self.entries: List[Any] = []  # the channels of those that take requests
        if name == "apart":
            hither, thither = self.processes.pipe()
            self.entries.append(self.processes.start(pd_workers.prefill, hither, device=devices[0]))
            self.processes.start(pd_workers.decode, thither, device=devices[1])
            hither.close()
        else:
            for device in devices:
                channel = self.processes.start(pd_workers.together, name == "chunked", device=device)
                self.entries.append(channel)
        self.processes.close_theirs()
        self.load = {id(entry): 0 for entry in self.entries}
        self.owner: Dict[int, int] = {}
        self.processes.ready()

    def run(self, requests: List[Tuple[float, Request]], patience: float) -> Dict[str, Any]:
        """Sends each request on its arrival to the process that has the fewest; waits for answers until ``patience``
        seconds after the last arrival."""
        answers: Answers = {}
        began = time.monotonic() + 0.05

        def take(_: Any, message: Any) -> None:
            self._take(message, answers)

        lateness = play(requests, began, patience, self._send, self.processes.channels, take,
                        lambda: len(answers) == len(requests))
        self._drop(answers)
        return row_of(requests, began, answers, lateness)

    def _send(self, request: Request) -> None:
        entry = min(self.entries, key=lambda one: self.load[id(one)])
        self.load[id(entry)] += 1
        self.owner[request.number] = id(entry)
        entry.send(request)

    def _take(self, message: Any, answers: Answers) -> bool:
        if message == "dropped":
            return True
        for number, first, last in message:
            answers[number] = (first, last)
            self.load[self.owner[number]] -= 1
        return False

    def _drop(self, answers: Answers) -> None:
        """Drops all unanswered requests, and waits until every process has dropped them."""
        late = dict(answers)  # answers that come now are too late to count
        for entry in self.entries:
            entry.send("drop")
        left = len(self.entries)  # apart, prefill passes it on, and decode answers
        end = time.monotonic() + _DROP_SECONDS
        while left > 0:
            for channel in until(end, self.processes.channels):
                left -= self._take(channel.recv(), late)
        self.load = {key: 0 for key in self.load}

    def close(self) -> None:
        for entry in self.entries:
            try:
                entry.send("stop")
            except OSError:
                pass  # its process has ended
        self.processes.end()


class Halves:
    """``apart`` on one device: prefill reads all prompts of a run, and then decode gets each one as long after the
    beginning as prefill had it. So neither disturbs the other, as on two devices.

    It differs from two devices in two things: keys and values are copied within the device, and prefill never waits
    for a place, as this process gives each one back at once.
    """

    def __init__(self, device: str, settings: Settings) -> None:
        self.processes = Processes(settings)
        self.settings = settings
        self._from_prefill, theirs = self.processes.pipe()
        self._prefill = self.processes.start(pd_workers.prefill, theirs, device=device)
        self._to_decode, theirs = self.processes.pipe()
        self._decode = self.processes.start(pd_workers.decode, theirs, device=device)
        self.processes.close_theirs()
        self._read: Optional[Any] = self._from_prefill.recv()
        elements = math.prod(settings.shape.kv_size(settings.longest))
        self._places = torch.zeros(settings.places, elements, dtype=dtype_on(device), device=device)
        if not self._places.is_cuda:
            self._places.share_memory_()
        self._to_decode.send(self._places)
        self.processes.ready()

    def run(self, requests: List[Tuple[float, Request]], patience: float) -> Dict[str, Any]:
        """Runs both halves; waits in each until ``patience`` seconds after the last that is sent to it."""
        handed: List[Tuple[Any, int, float]] = []  # request, first token, when
        began = time.monotonic() + 0.05

        def hand(channel: Any, message: Any) -> None:
            request, place, token, when = message
            channel.send(place)
            handed.append((request, token, when))

        late = play(requests, began, patience, self._prefill.send, [self._from_prefill], hand,
                    lambda: len(handed) == len(requests))
        self._prefill.send("drop")
        end = time.monotonic() + _DROP_SECONDS
        while until(end, [self._from_prefill])[0].recv() != "drop":
            pass  # it was reading when it was time to end
        answers: Answers = {}
        again = time.monotonic() + 0.05
        places = self.settings.places
        timed = [(when - began, (request, request.number % places, token, when - began + again))
                 for request, token, when in handed]

        def take(channel: Any, message: Any) -> None:
            if channel is self._decode:
                for number, first, last in message:
                    answers[number] = (first, last)

        late = max(late, play(timed, again, patience, self._to_decode.send, [self._decode, self._to_decode], take,
                              lambda: len(answers) == len(timed)))
        self._to_decode.send("drop")
        end = time.monotonic() + _DROP_SECONDS
        is_dropped = False
        while not is_dropped:
            for channel in until(end, [self._decode, self._to_decode]):
                message = channel.recv()
                is_dropped = is_dropped or (channel is self._decode and message == "dropped")
        return row_of(requests, again, answers, late)

    def close(self) -> None:
        try:
            self._prefill.send("stop")
            while self._from_prefill.poll(5) and self._from_prefill.recv() != "stop":
                pass
            self._read = None
            self._from_prefill.send("gone")
            self._to_decode.send("stop")
            while self._to_decode.poll(5) and self._to_decode.recv() != "gone":
                pass
        except (OSError, EOFError):
            pass  # a process has ended
        self.processes.end()

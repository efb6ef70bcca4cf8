"""The processes of ``pd_workers`` on a clock that jumps: they decide the same, and passes take what ``measure`` timed.

Invariant: a process does one thing at a time, and looks at what has come when it has done it, as the real one does.
Copies from device to device run beside passes and slow none down. Messages and Python between two passes take no time.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple

from .costs import Costs
from .load import Request


class Clock:
    """Simulated seconds, and what happens when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: List[Tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, call))

    def run(self, end: float) -> None:
        """Runs everything that is due before ``end``."""
        while self._due and self._due[0][0] < end:
            self.now, _, call = heapq.heappop(self._due)
            call()


class Decoding:
    """A sequence that decodes."""

    __slots__ = ("number", "length", "left")

    def __init__(self, number: int, length: int, left: int) -> None:
        self.number = number
        self.length = length
        self.left = left


class Answers:
    """When the first and the last token of each request were ready."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.first: Dict[int, float] = {}
        self.both: Dict[int, Tuple[float, float]] = {}

    def begun(self, number: int) -> None:
        self.first[number] = self.clock.now

    def ended(self, number: int) -> None:
        self.both[number] = (self.first[number], self.clock.now)


class Process:
    """One process with a device: it sleeps until something comes, and then takes turns until nothing is left to do."""

    def __init__(self, clock: Clock, costs: Costs, answers: Answers, slots: int) -> None:
        self.clock = clock
        self.costs = costs
        self.answers = answers
        self.slots = slots
        self.sequences: List[Decoding] = []
        self.waiting: Deque[Any] = deque()
        self.under_way = 0
        self.is_busy = False

    def take(self, message: Any) -> None:
        """A message comes."""
        self.waiting.append(message)
        self.wake()

    def wake(self) -> None:
        if not self.is_busy:
            self._turn()

    def _turn(self) -> None:
        self.is_busy = False
        found = self._next()
        if found is None:
            return
        self.is_busy = True
        seconds, done = found

        def end() -> None:
            done()
            self._turn()

        self.clock.after(seconds, end)

    def _next(self) -> Optional[Tuple[float, Callable[[], None]]]:
        """What it does now, in how many seconds, and what is true then; None: it sleeps."""
        raise NotImplementedError

    def _step(self) -> Optional[Tuple[float, Callable[[], None]]]:
        if not self.sequences:
            return None
        return self.costs.step(len(self.sequences), self._reach()), self._move

    def _reach(self) -> int:
        return max(one.length for one in self.sequences) + 1

    def _move(self) -> None:
        """Every sequence has one more token; those that have all of theirs leave."""
        for one in self.sequences:
            one.length += 1
            one.left -= 1
            if one.left == 0:
                self.answers.ended(one.number)
                self.under_way -= 1
        self.sequences = [one for one in self.sequences if one.left > 0]


class Together(Process):
    """Both phases. ``chunk``: tokens of a piece of a prompt; 0: whole prompts, which go before steps."""

    def __init__(self, clock: Clock, costs: Costs, answers: Answers, slots: int, chunk: int) -> None:
        super().__init__(clock, costs, answers, slots)
        self.chunk = chunk
        self.reading: Optional[Request] = None
        self.start = 0

    def take(self, message: Request) -> None:
        self.under_way += 1
        super().take(message)

    def _next(self) -> Optional[Tuple[float, Callable[[], None]]]:
        if self.reading is None and self.waiting and len(self.sequences) < self.slots:
            self.reading, self.start = self.waiting.popleft(), 0
        if self.reading is None:
            return self._step()
        request = self.reading
        if self.chunk == 0:
            return self.costs.prompt(request.prompt), lambda: self._join(request)
        tokens = min(self.chunk, request.prompt - self.start)
        seconds = self.costs.piece(self.chunk, len(self.sequences), self.start, tokens)
        return seconds, lambda: self._read(request, tokens)

    def _read(self, request: Request, tokens: int) -> None:
        self._move()
        self.start += tokens
        if self.start == request.prompt:
            self._join(request)

    def _join(self, request: Request) -> None:
        self.reading = None
        self.answers.begun(request.number)
        self.sequences.append(Decoding(request.number, request.prompt, request.wanted - 1))


class Prefill(Process):
    """Reads prompts; hands each to the decoder that has the fewest. ``places``: prompts on their way to each one."""

    def __init__(self, clock: Clock, costs: Costs, answers: Answers, places: int) -> None:
        super().__init__(clock, costs, answers, 0)
        self.free = places
        self.decoders: List[Decode] = []

    def take(self, message: Request) -> None:
        self.under_way += 1
        super().take(message)

    def give_back(self) -> None:
        """A place is free again."""
        self.free += 1
        self.wake()

    def _next(self) -> Optional[Tuple[float, Callable[[], None]]]:
        if not self.waiting or self.free == 0:
            return None
        request = self.waiting.popleft()
        self.free -= 1
        return self.costs.prompt(request.prompt), lambda: self._hand_over(request)

    def _hand_over(self, request: Request) -> None:
        self.under_way -= 1
        self.answers.begun(request.number)
        min(self.decoders, key=lambda one: one.under_way).take((request, self))


class Decode(Process):
    """Decodes what prefill hands over. ``bytes_per_second``: of the copy engine from device to device."""

    def __init__(
        self, clock: Clock, costs: Costs, answers: Answers, slots: int, places: int, bytes_per_second: float
    ) -> None:
        super().__init__(clock, costs, answers, slots)
        self.places = places
        self.bytes_per_second = bytes_per_second
        self.coming = 0
        self.copied: Deque[Tuple[Request, Prefill]] = deque()  # a copy has ended, and nobody has looked
        self.arrived: Deque[Request] = deque()
        self._engine_free_at = 0.0

    def take(self, message: Tuple[Request, Prefill]) -> None:
        self.under_way += 1
        super().take(message)

    def _next(self) -> Optional[Tuple[float, Callable[[], None]]]:
        while self.waiting and self.coming + len(self.arrived) < self.places:
            self._copy(*self.waiting.popleft())
        while self.copied:
            request, source = self.copied.popleft()
            self.coming -= 1
            self.arrived.append(request)
            self.clock.after(0, source.give_back)
        while self.arrived and len(self.sequences) < self.slots:
            request = self.arrived.popleft()
            self.sequences.append(Decoding(request.number, request.prompt, request.wanted - 1))
        return self._step()

    def _copy(self, request: Request, source: Prefill) -> None:
        self.coming += 1
        seconds = request.prompt * self.costs.kv_bytes / self.bytes_per_second
        self._engine_free_at = max(self.clock.now, self._engine_free_at) + seconds

        def end() -> None:
            self.copied.append((request, source))
            self.wake()

        self.clock.after(self._engine_free_at - self.clock.now, end)


class Fleet(NamedTuple):
    """Devices of a system: ``together`` with both phases, in pieces of ``chunk`` or whole (0); or ``prefill`` and
    ``decode``, each with a number of devices of its own."""

    together: int = 0
    chunk: int = 0
    prefill: int = 0
    decode: int = 0

    @property
    def devices(self) -> int:
        return self.together + self.prefill + self.decode


def simulate(
    fleet: Fleet,
    costs: Costs,
    requests: List[Tuple[float, Request]],
    patience: float,
    slots: int,
    places: int,
    bytes_per_second: float,
) -> Dict[int, Tuple[float, float]]:
    """When each request's first and last token are ready, by its number; those that were not within ``patience``
    seconds after the last arrival are missing. Raises ValueError for a pass that was not timed."""
    clock = Clock()
    answers = Answers(clock)
    entries: List[Process]
    if fleet.together > 0:
        entries = [Together(clock, costs, answers, slots, fleet.chunk) for _ in range(fleet.together)]
    else:
        decoders = [Decode(clock, costs, answers, slots, places, bytes_per_second) for _ in range(fleet.decode)]
        readers = [Prefill(clock, costs, answers, places) for _ in range(fleet.prefill)]
        for reader in readers:
            reader.decoders = decoders
        entries = [*readers]
    for at, request in requests:
        clock.after(at, lambda request=request: min(entries, key=lambda one: one.under_way).take(request))
    clock.run((requests[-1][0] if requests else 0.0) + patience)
    return answers.both

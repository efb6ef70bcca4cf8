"""The processes of ``pd_bench``: both phases together, plain or with chunked prefill; prefill alone; decode alone.

Invariant: a process reports when the first and the last token of each request were ready, by the clock that all
processes of a machine share. Prefill hands its results to decode in a fixed number of places in the memory of its GPU,
which decode has mapped (CUDA IPC); decode gives a place back once it has copied it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Tuple

import torch

from ..tools import Tensor, dtype_on, with_random_weights
from .batch import Batch, Prompt
from .load import Request
from .model import Llama, Shape
from .reader import Reader


class Settings(NamedTuple):
    """What all processes of a run have in common."""

    shape: Shape
    prompts: int  # tokens of the longest prompt
    longest: int  # tokens of a sequence
    slots: int  # sequences that decode at a time
    chunk: int  # tokens of a pass, with chunked prefill
    places: int  # prompts on their way from prefill to decode
    seed: int


#: what a process answers: (number, time of the first token, time of the last one)
Answer = Tuple[int, float, float]


def build(settings: Settings, device: str) -> Llama:
    """The model, with the same random weights in every process on the same kind of device."""
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    model = Llama(settings.shape)
    with_random_weights(model, device, dtype_on(device), settings.seed)
    return model


class Prompts:
    """Makes prompts: pieces of one random text."""

    def __init__(self, settings: Settings, device: str) -> None:
        generator = torch.Generator().manual_seed(settings.seed)
        self.text = torch.randint(settings.shape.vocabulary, (settings.longest * 2,), generator=generator).to(device)
        self.longest = settings.longest

    def of(self, request: Request) -> Tensor:
        at = request.number * 97 % self.longest
        return self.text[at : at + request.prompt]


class Inbox:
    """Waiting requests. "stop" sets ``stopped``; "drop" sets ``dropped`` and forgets all requests."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.waiting: Deque[Any] = deque()
        self.stopped = False
        self.dropped = False
        self.forgotten: List[int] = []  # places of dropped messages; only decode's messages have one

    def look(self, may_wait: bool) -> None:
        """Takes the messages that have come; with ``may_wait`` waits at most 2 ms for the first."""
        seconds = 0.002 if may_wait else 0.0
        while self.channel.poll(seconds):
            seconds = 0.0
            message = self.channel.recv()
            if message == "stop":
                self.stopped = True
            elif message == "drop":
                self.forgotten += [one[1] for one in self.waiting if not isinstance(one, Request)]
                self.waiting.clear()
                self.dropped = True
            else:
                self.waiting.append(message)


def together(settings: Settings, device: str, channel: Any, is_chunked: bool) -> None:
    """Runs both phases on one device. Requests that wait for their first token go before those that decode."""
    model = build(settings, device)
    with torch.inference_mode():
        chunk = settings.chunk if is_chunked else 0
        batch = Batch(model, settings.slots, settings.longest, settings.prompts, chunk)
        prompts = Prompts(settings, device)
        channel.send("ready")
        inbox = Inbox(channel)
        first: Dict[int, float] = {}
        reading: Optional[Tuple[Prompt, int]] = None
        while not inbox.stopped:
            inbox.look(not batch.sequences and reading is None and not inbox.waiting)
            if inbox.dropped:
                inbox.dropped = False
                batch.clear()
                reading = None
                first.clear()
                channel.send("dropped")
            if not is_chunked:
                if inbox.waiting and batch.free > 0:
                    request = inbox.waiting.popleft()
                    batch.begin(request.number, prompts.of(request), request.wanted - 1)
                    first[request.number] = time.monotonic()
                    continue
                report(channel, batch.step(), first)
                continue
            if reading is None and inbox.waiting and batch.free > 0:
                request = inbox.waiting.popleft()
                reading = (Prompt(request.number, prompts.of(request), request.wanted - 1), 0)
            if reading is None:
                report(channel, batch.step(), first)
                continue
            prompt, start = reading
            moved, token = batch.step_with(prompt, start)
            reading = (prompt, start + chunk)
            if token is not None:
                first[prompt.key] = time.monotonic()
                reading = None
            report(channel, moved, first)


def report(channel: Any, moved: List[Tuple[Any, int, bool]], first: Dict[int, float]) -> None:
    """Answers the requests that have got their last token."""
    if not any(is_last for _, _, is_last in moved):
        return
    now = time.monotonic()
    channel.send([(key, first.pop(key), now) for key, _, is_last in moved if is_last])


def prefill(settings: Settings, device: str, channel: Any, decode: Any) -> None:
    """Reads prompts, one after the other, and hands them to decode."""
    model = build(settings, device)
    with torch.inference_mode():
        model.prepare(settings.longest)
        elements = math.prod(settings.shape.kv_size(settings.longest))
        dtype = model.lm_head.weight.dtype
        # One block of memory: its handle goes to decode once.
        places = torch.zeros(settings.places, elements, dtype=dtype, device=device)
        if not places.is_cuda:
            places.share_memory_()
        decode.send(places)
        prompts = Prompts(settings, device)
        reader = Reader(model, settings.prompts)
        channel.send("ready")
        inbox = Inbox(channel)
        free = deque(range(settings.places))
        while not inbox.stopped:
            while decode.poll(0):
                free.append(decode.recv())
            inbox.look(not inbox.waiting or not free)
            if inbox.dropped:
                inbox.dropped = False
                decode.send("drop")
            if not inbox.waiting or not free:
                continue
            request, place = inbox.waiting.popleft(), free.popleft()
            kv = view_of(places, place, settings.shape, request.prompt)
            token = int(reader.read(prompts.of(request), kv).item())  # kv is whole once this is there
            decode.send((request, place, token, time.monotonic()))
        decode.send("stop")
        decode.recv()  # it has released the places


def view_of(places: Tensor, place: int, shape: Shape, tokens: int) -> Tensor:
    """The keys and values of a prompt at the start of a place, contiguous: [layers, 2, kv heads, tokens, width]."""
    size = shape.kv_size(tokens)
    return places[place, : math.prod(size)].view(size)


def decode(settings: Settings, device: str, channel: Any, prefill: Any) -> None:
    """Decodes what prefill hands over; copies run beside the steps."""
    model = build(settings, device)
    with torch.inference_mode():
        batch = Batch(model, settings.slots, settings.longest)
        places: Optional[Tensor] = prefill.recv()
        assert places is not None
        arrivals = Arrivals(places, settings, device)
        channel.send("ready")
        inbox = Inbox(prefill)
        first: Dict[int, float] = {}
        while not inbox.stopped:
            inbox.look(not batch.sequences and not inbox.waiting and not arrivals.coming)
            if inbox.dropped:
                inbox.dropped = False
                batch.clear()
                first.clear()
                arrivals.finish()
                for place in [*arrivals.given_back(), *inbox.forgotten]:
                    prefill.send(place)
                inbox.forgotten.clear()
                arrivals.arrived.clear()
                channel.send("dropped")
            while inbox.waiting and arrivals.has_room:
                arrivals.begin(inbox.waiting.popleft())
            for place in arrivals.given_back():
                prefill.send(place)
            while arrivals.arrived and batch.free > 0:
                (request, _, token, when), kv = arrivals.arrived.popleft()
                first[request.number] = when
                batch.join(request.number, kv, token, request.wanted - 1)
            report(channel, batch.step(), first)
        arrivals.finish()
        del arrivals, places
        prefill.send("gone")


class Arrivals:
    """Copies from the memory of prefill, on a stream of their own.

    The memory is contiguous, so the copy engine moves it from device to device and takes no time from kernels.
    """

    def __init__(self, places: Tensor, settings: Settings, device: str) -> None:
        self.places = places
        self.shape = settings.shape
        self.device = device
        self.limit = settings.places
        self.stream = torch.cuda.Stream(device) if device.startswith("cuda") else None
        self.coming: Deque[Tuple[Any, Tensor, Any]] = deque()
        self.arrived: Deque[Tuple[Any, Tensor]] = deque()

    @property
    def has_room(self) -> bool:
        return len(self.coming) + len(self.arrived) < self.limit

    def begin(self, message: Any) -> None:
        request, place, _, _ = message
        source = view_of(self.places, place, self.shape, request.prompt)
        if self.stream is None:
            self.coming.append((message, source.clone(), None))
            return
        with torch.cuda.stream(self.stream):
            there = torch.empty(source.shape, dtype=source.dtype, device=self.device)
            there.copy_(source, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
        self.coming.append((message, there, done))

    def given_back(self) -> List[int]:
        """The places whose copies are done; their contents are in ``arrived``."""
        given = []
        while self.coming and (self.coming[0][2] is None or self.coming[0][2].query()):
            message, there, _ = self.coming.popleft()
            if self.stream is not None:
                there.record_stream(torch.cuda.current_stream(self.device))
            self.arrived.append((message, there))
            given.append(message[1])
        return given

    def finish(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()

"""Prefill and decode of a model of Llama's shape as two stages of a pipeline: the KV cache travels as a tensor.

Invariant: decode has one batch, and a thread of its own steps it as long as any sequence wants tokens. The workflow's
``concurrency`` is the number of slots, so each task of decode is a sequence of that batch: it joins between two steps,
and its task ends with its last token. The variable LLM_OPTIONS (JSON: layers, width, vocabulary, longest, slots,
weights, seed) shrinks the model and says where weights are.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import threading
from typing import Any, Dict, List, Tuple

import torch

from onepiece_stage import Cancelled, Context, Stage, Task

from examples.llm.attend import read_prompt
from examples.llm.batch import Batch
from examples.llm.model import Llama, shape_of
from examples.tools import dtype_on, prepared


class Options:
    """The options in LLM_OPTIONS. Raises ValueError for an unknown one."""

    def __init__(self) -> None:
        given: Dict[str, Any] = json.loads(os.environ.get("LLM_OPTIONS", "{}"))
        known = {"layers", "width", "vocabulary", "longest", "slots", "weights", "seed"}
        if set(given) - known:
            raise ValueError(f"LLM_OPTIONS has {sorted(set(given) - known)}; there are: {', '.join(sorted(known))}")
        self.shape = shape_of(**{name: given[name] for name in ("layers", "width", "vocabulary") if name in given})
        self.longest: int = given.get("longest", 4096)  # tokens of a sequence, prompt and answer
        self.slots: int = given.get("slots", 32)
        self.weights = given.get("weights")
        self.seed: int = given.get("seed", 1)

    def model(self, device: str) -> Any:
        return prepared(Llama(self.shape), self.weights, device, dtype_on(device), self.seed)


class Prefill(Stage):
    """Reads a prompt: the request's tensor ``ids``, i32 or i64 of [tokens]. Sends ``kv`` and ``first``."""

    def setup(self, context: Context) -> None:
        self.options = Options()
        self.device = context.device
        self.model = self.options.model(self.device)
        self.model.prepare(self.options.longest)

    def run(self, task: Task) -> Dict[str, Any]:
        ids, wanted = task.inputs["request"]["ids"], task.inputs["request"].meta.get("wanted")
        if ids.dtype not in ("i32", "i64") or len(ids.shape) != 1 or not isinstance(wanted, int) or wanted < 1:
            raise TypeError("a request has ids, i32 or i64 of [tokens], and wanted: how many tokens, at least 1")
        count, shape = ids.shape[0], self.options.shape
        if count < 1 or count + wanted > self.options.longest:
            raise ValueError(f"{count} tokens and {wanted} more; a sequence has 2 to {self.options.longest}")
        tokens = ids.torch(self.device).long()
        if int(tokens.min()) < 0 or int(tokens.max()) >= shape.vocabulary:
            raise ValueError(f"ids are 0 to {shape.vocabulary - 1}")
        with torch.inference_mode():
            weight = self.model.lm_head.weight
            size = shape.kv_size(count)
            made = task.output("kv", "bf16" if weight.dtype == torch.bfloat16 else "f32", size).torch()
            # On a CPU the keys and values are written into the output itself.
            kv = made if self.device == "cpu" else torch.empty(size, dtype=weight.dtype, device=self.device)
            first = int(read_prompt(self.model, tokens, kv).item())
            if kv is not made:
                made.copy_(kv)
        return {"first": first, "wanted": wanted}


class Decode(Stage):
    """Answers ``ids``, i32 of [wanted]: the tokens after the prompt."""

    def setup(self, context: Context) -> None:
        self.options = Options()
        if context.concurrency > self.options.slots:
            raise ValueError(f"{context.concurrency} tasks run at a time, and there are {self.options.slots} slots")
        model = self.options.model(context.device)
        with torch.inference_mode():
            self.batch = Batch(model, self.options.slots, self.options.longest)
        self.lock = threading.Condition()
        self.joining: List[Tuple[_Sequence, Any, int, int]] = []
        threading.Thread(target=self._step_for_ever, name="decode", daemon=True).start()

    async def run(self, task: Task) -> None:
        source = task.inputs["prefill"]
        first, wanted = source.meta["first"], source.meta["wanted"]
        sequence = _Sequence(first)
        if wanted > 1:
            with self.lock:
                self.joining.append((sequence, source["kv"].torch(), first, wanted - 1))
                self.lock.notify()
            try:
                while not await sequence.wait():
                    task.progress(len(sequence.tokens) / wanted, step=len(sequence.tokens))
            except (Cancelled, asyncio.CancelledError):
                # The sequence leaves the batch before the memory of its task goes.
                sequence.unwanted = True
                await asyncio.shield(sequence.left)
                raise
        ids = task.output("ids", "i32", [wanted])
        ids.memoryview().cast("i")[:] = array.array("i", sequence.tokens)

    def _step_for_ever(self) -> None:
        with torch.inference_mode():
            while True:
                with self.lock:
                    while not self.joining and not self.batch.sequences:
                        self.lock.wait()
                    new, self.joining = self.joining, []
                try:
                    self._step(new)
                except Exception as error:
                    # Every sequence fails with it, so that none waits for ever.
                    for sequence in {*(one.key for one in self.batch.sequences), *(one[0] for one in new)}:
                        sequence.fail(error)
                    self.batch.clear()

    def _step(self, new: List[Tuple["_Sequence", Any, int, int]]) -> None:
        for sequence, kv, first, wanted in new:
            if sequence.unwanted:
                sequence.leave()
            else:
                self.batch.join(sequence, kv, first, wanted)
        for at in range(len(self.batch.sequences) - 1, -1, -1):
            sequence = self.batch.sequences[at].key
            if sequence.unwanted:
                self.batch.remove(at)
                sequence.leave()
        for sequence, token, is_last in self.batch.step():
            sequence.grow(token, is_last)


class _Sequence:
    """A sequence between the thread that steps and the task that waits."""

    def __init__(self, first: int) -> None:
        self.tokens = [first]
        self.unwanted = False
        self.loop = asyncio.get_running_loop()
        self.left: "asyncio.Future[None]" = self.loop.create_future()

    async def wait(self) -> bool:
        """Waits at most 50 ms for more tokens; True once it has left the batch. Raises RuntimeError if that failed."""
        done, _ = await asyncio.wait([self.left], timeout=0.05)
        if done:
            self.left.result()
        return bool(done)

    def grow(self, token: int, is_last: bool) -> None:
        self.tokens.append(token)
        if is_last:
            self.leave()

    def leave(self) -> None:
        self.loop.call_soon_threadsafe(self._settle, None)

    def fail(self, error: Exception) -> None:
        self.loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: Any) -> None:
        if self.left.done():
            return
        if error is None:
            self.left.set_result(None)
        else:
            self.left.set_exception(RuntimeError(f"the batch has failed: {error}"))

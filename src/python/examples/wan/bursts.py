"""Stages of bursts.mjs: whole pipelines of several models on one GPU, or the same in three stages.

Invariant: every model has other weights in the transformer, and the same encoders and autoencoder. All of them lie in
memory of the host that CUDA knows; a GPU has those of one model at a time, and a change copies them there. BURSTS
(JSON) says how many models there are and what a change of a whole pipeline copies; WAN_OPTIONS shrinks the model.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any, Dict, List, Tuple

import torch

from onepiece_stage import Context, Stage, Task

from examples.tools import dtype_on, synchronize, with_random_weights
from examples.wan.shape import Shape, shape_of_environment
from examples.wan.steps import DecodeStep, DiffuseStep, ImageStep, TextStep

_NAMES = {"float32": "f32", "bfloat16": "bf16"}


def options() -> Tuple[int, bool]:
    """How many models there are, and whether a change of a whole pipeline copies all of it."""
    given: Dict[str, Any] = json.loads(os.environ.get("BURSTS", "{}"))
    return int(given.get("models", 2)), bool(given.get("copiesAll", False))


class Weights:
    """Those of some modules, for each model; the modules have those of one."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.model = -1
        self._variants: List[List[Tuple[Any, Any]]] = []

    def keep(self, model: int, module: Any) -> None:
        """Keeps what a module has now as that of a model."""
        while len(self._variants) <= model:
            self._variants.append([])
        for weight in module.parameters():
            kept = torch.empty(weight.shape, dtype=weight.dtype, pin_memory=self.device != "cpu")
            self._variants[model].append((module, kept.copy_(weight)))

    @torch.inference_mode()
    def use(self, model: int) -> float:
        """Makes a model the one that the modules have. Answers the seconds it took; 0 where they had it."""
        if not 0 <= model < len(self._variants):
            raise ValueError(f"models are 0 to {len(self._variants) - 1}, not {model}")
        if model == self.model:
            return 0.0
        began = time.perf_counter()
        modules = list(dict.fromkeys(module for module, _ in self._variants[model]))
        weights = [weight for module in modules for weight in module.parameters()]
        for weight, (_, kept) in zip(weights, self._variants[model]):
            weight.copy_(kept, non_blocking=True)
        synchronize(self.device)
        self.model = model
        return time.perf_counter() - began


def with_models(step: DiffuseStep, weights: Weights, models: int) -> None:
    """Makes the weights of the transformer of each model."""
    for model in range(models):
        with_random_weights(step.dit, step.device, dtype_on(step.device), step.shape.seed + 100 * (model + 1))
        weights.keep(model, step.dit)


class Clock:
    """Seconds of the parts of a task, each with the wait for the GPU."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: Dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        synchronize(self.device)
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _order(task: Task) -> Tuple[Any, int, int]:
    source = task.inputs["request"]
    return source["picture"].torch(), int(source.meta["model"]), int(source.meta["seed"])


def _frames(task: Task, shape: Shape) -> Any:
    return task.output("frames", "u8", [shape.frames, shape.height, shape.size_width, 3])


def _checksum(frames: Any) -> str:
    return hashlib.sha256(frames.memoryview()).hexdigest()[:16]


class Encode(Stage):
    """Text and picture; the same for all models."""

    def setup(self, context: Context) -> None:
        self.shape, self.device = shape_of_environment(), context.device
        self.text, self.image = TextStep(self.shape, self.device), ImageStep(self.shape, self.device)

    def run(self, task: Task) -> Dict[str, Any]:
        picture, model, seed = _order(task)
        clock = Clock(self.device)
        context = self.text.run(["a ship sails into the evening"], [None])[0]
        seen, given = self.image.run([picture])
        for name, tensor in (("context", context), ("seen", seen[0]), ("given", given[0])):
            kind = _NAMES[str(tensor.dtype).rsplit(".", 1)[-1]]
            task.output(name, kind, list(tensor.shape)).torch().copy_(tensor)
        clock.mark("encode")
        return {"model": model, "seed": seed, "seconds": clock.seconds}


class Diffuse(Stage):
    """The transformer of any model."""

    def setup(self, context: Context) -> None:
        self.shape, self.device = shape_of_environment(), context.device
        self.step, self.weights = DiffuseStep(self.shape, self.device), Weights(context.device)
        with_models(self.step, self.weights, options()[0])

    def run(self, task: Task) -> Dict[str, Any]:
        source = task.inputs["encode"]
        meta, clock = source.meta, Clock(self.device)
        swap = self.weights.use(meta["model"])
        clock.mark("swap")
        given = [source[name].torch(self.device).unsqueeze(0) for name in ("context", "seen", "given")]
        latent = self.step.run(*given, [meta["seed"]])[0]
        task.output("latent", _NAMES[str(latent.dtype).rsplit(".", 1)[-1]], list(latent.shape)).torch().copy_(latent)
        clock.mark("diffuse")
        return {"seconds": {**meta["seconds"], **clock.seconds, "swap": swap}}


class Decode(Stage):
    """The frames; the same for all models."""

    def setup(self, context: Context) -> None:
        self.shape, self.device = shape_of_environment(), context.device
        self.step = DecodeStep(self.shape, self.device)

    def run(self, task: Task) -> Dict[str, Any]:
        source, clock = task.inputs["diffuse"], Clock(self.device)
        frames = _frames(task, self.shape)
        self.step.run(source["latent"].torch(self.device).unsqueeze(0), [frames.torch()])
        clock.mark("decode")
        return {"seconds": {**source.meta["seconds"], **clock.seconds}, "checksum": _checksum(frames)}


class Whole(Stage):
    """All of it in one process, of any model."""

    def setup(self, context: Context) -> None:
        models, copies_all = options()
        self.shape, self.device = shape_of_environment(), context.device
        self.text, self.image = TextStep(self.shape, self.device), ImageStep(self.shape, self.device)
        self.step, self.decode = DiffuseStep(self.shape, self.device), DecodeStep(self.shape, self.device)
        self.weights = Weights(self.device)
        with_models(self.step, self.weights, models)
        if copies_all:
            for model in range(models):
                for module in (self.text.encoder, self.image.tower, self.image.vae, self.decode.vae):
                    self.weights.keep(model, module)

    def run(self, task: Task) -> Dict[str, Any]:
        picture, model, seed = _order(task)
        clock = Clock(self.device)
        swap = self.weights.use(model)
        clock.mark("swap")
        context = self.text.run(["a ship sails into the evening"], [None])
        seen, given = self.image.run([picture])
        clock.mark("encode")
        latent = self.step.run(context, seen, given, [seed])
        clock.mark("diffuse")
        frames = _frames(task, self.shape)
        self.decode.run(latent, [frames.torch()])
        clock.mark("decode")
        return {"seconds": {**clock.seconds, "swap": swap}, "checksum": _checksum(frames)}

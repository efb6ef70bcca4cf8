"""Wan2.1-I2V as four stages of a pipeline: text-encode, image-encode, diffuse, decode.

Invariant: a stage writes its output into the memory that it is sent from. The variable WAN_OPTIONS (JSON, see
``shape_with``) shrinks the model and says where weights are.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import torch

from onepiece_stage import Context, Stage, Task

from examples.wan.shape import shape_of_environment
from examples.wan.steps import DecodeStep, DiffuseStep, ImageStep, TextStep

_NAMES = {"float32": "f32", "bfloat16": "bf16"}


class _Step(Stage):
    """A stage that runs one task, or a batch."""

    step_class: Any = None

    def setup(self, context: Context) -> None:
        self.step = self.step_class(shape_of_environment(), context.device)

    def run(self, task: Task) -> Optional[Any]:
        return self.run_batch([task])[0]

    def run_batch(self, tasks: Sequence[Task]) -> List[Optional[Any]]:
        raise NotImplementedError


def _send(task: Task, name: str, tensor: Any) -> None:
    made = task.output(name, _NAMES[str(tensor.dtype).rsplit(".", 1)[-1]], list(tensor.shape))
    made.torch().copy_(tensor)


def _together(tasks: Sequence[Task], stage: str, name: str, device: str) -> Any:
    return torch.stack([task.inputs[stage][name].torch(device) for task in tasks])


class TextEncode(_Step):
    """Takes the request's ``meta``: ``prompt``, and optionally ``negative`` and ``seed``."""

    step_class = TextStep

    def run_batch(self, tasks: Sequence[Task]) -> List[Optional[Any]]:
        orders = [task.inputs["request"].meta for task in tasks]
        for order in orders:
            if not isinstance(order.get("prompt"), str) or not isinstance(order.get("negative", ""), str):
                raise TypeError("a request has a prompt, and may have a negative: text")
            seed = order.get("seed", 0)
            if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
                raise TypeError(f"a seed is 0 to 2^32 - 1, not {seed!r}")
        found = self.step.run([order["prompt"] for order in orders], [order.get("negative") for order in orders])
        for task, context in zip(tasks, found):
            _send(task, "context", context)
        return [{"seed": order.get("seed", task.seed)} for order, task in zip(orders, tasks)]


class ImageEncode(_Step):
    """Takes the request's tensor ``picture``: [height, width, 3] of u8."""

    step_class = ImageStep

    def run_batch(self, tasks: Sequence[Task]) -> List[Optional[Any]]:
        pictures = [task.inputs["request"]["picture"] for task in tasks]
        for picture in pictures:
            if picture.dtype != "u8" or len(picture.shape) != 3 or picture.shape[2] != 3 or 0 in picture.shape:
                raise TypeError(f"picture is u8 of [height, width, 3], not {picture.dtype} of {list(picture.shape)}")
        seen, given = self.step.run([picture.torch() for picture in pictures])
        for at, task in enumerate(tasks):
            _send(task, "seen", seen[at])
            _send(task, "given", given[at])
        return [None] * len(tasks)


class Diffuse(_Step):
    step_class = DiffuseStep

    def run_batch(self, tasks: Sequence[Task]) -> List[Optional[Any]]:
        device, steps = self.step.device, self.step.shape.steps

        def on_step(step: int) -> None:
            for task in tasks:
                # A cancelled task of a batch goes on with the others.
                if len(tasks) == 1 or not task.cancelled:
                    task.progress(step / steps, step=step)
            if all(task.cancelled for task in tasks):
                tasks[0].check()

        latent = self.step.run(
            _together(tasks, "text-encode", "context", device),
            _together(tasks, "image-encode", "seen", device),
            _together(tasks, "image-encode", "given", device),
            [task.inputs["text-encode"].meta["seed"] for task in tasks],
            on_step,
        )
        for task, one in zip(tasks, latent):
            _send(task, "latent", one)
        return [None] * len(tasks)


class Decode(_Step):
    """Answers ``frames``: [frames, height, width, 3] of u8."""

    step_class = DecodeStep

    def run_batch(self, tasks: Sequence[Task]) -> List[Optional[Any]]:
        shape = self.step.shape
        size = [shape.frames, shape.height, shape.size_width, 3]
        frames = [task.output("frames", "u8", size).torch() for task in tasks]
        self.step.run(_together(tasks, "diffuse", "latent", self.step.device), frames)
        return [None] * len(tasks)

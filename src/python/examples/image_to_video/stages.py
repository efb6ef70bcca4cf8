"""The stages of the demo in NumPy: `onepiece demo PICTURE --python --output clip.webp`.

Invariant: each makes the same bytes as the stage of that name in src/ts/demo/workflow.ts, in the memory that it is
sent from; text-encode and assemble are those in TypeScript.
"""

from __future__ import annotations

from typing import Any, Dict

import film
import latents
from motion import MOTION_WIDTH, motion_row
from sampler import Sampler

from onepiece_stage import Task, stage


@stage
def image_encode(task: Task) -> None:
    """Pixels [height, width, 3] to a latent [40, height / 8, width / 8]."""
    pixels = task.inputs["request"]["pixels"].numpy()
    height, width, _ = pixels.shape
    latent = task.output("latent", "f32", [len(latents.CHANNELS), height // 8, width // 8])
    latents.encode(pixels, latent.numpy())


@stage
def diffuse(task: Task) -> Dict[str, Any]:
    """The share of this instance of the clip's frames: latent [frames, 40, ...], motion [frames, 21]."""
    text = task.inputs["text-encode"]
    order = text.meta
    picture = task.inputs["image-encode"]["latent"].numpy()
    controls = text["controls"].numpy()
    frames, steps, seed = order["frames"], order["steps"], order["seed"]
    first = frames * task.instance // task.instances
    count = frames * (task.instance + 1) // task.instances - first
    latent = task.output("latent", "f32", [count, *picture.shape]).numpy()
    motion = task.output("motion", "f32", [count, MOTION_WIDTH]).numpy()
    sampler = Sampler(picture, text["embedding"].numpy(), controls, frames, steps, seed) if count > 0 else None
    for i in range(count):
        assert sampler is not None
        for done in sampler.refine(first + i, latent[i]):
            task.progress((i + done / steps) / count)
        motion[i] = motion_row(controls, first + i, frames, seed, picture.shape[2] / picture.shape[1])
    return order


@stage
def decode(task: Task) -> Dict[str, Any]:
    """All shares to frames [frames, height, width, 3]."""
    shares = task.inputs_from("diffuse")
    order = shares[0].meta
    _, _, rows, columns = shares[0]["latent"].shape
    frames = task.output("frames", "u8", [order["frames"], rows * 8, columns * 8, 3]).numpy()
    made = 0
    for share in shares:
        for latent, motion in zip(share["latent"].numpy(), share["motion"].numpy()):
            film.decode_frame(latent, motion, frames[made])
            made += 1
            task.progress(made / order["frames"])
    return order

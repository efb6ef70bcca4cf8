"""What the camera, the grade and the weather do in each frame: the arithmetic of src/ts/demo/motion.ts.

Invariant: a row is a function of the prompt's controls, the seed and the frame's number in the whole clip.
"""

from __future__ import annotations

from typing import Any, Dict

from curves import clamp, ease, wave
from randoms import Random

#: Entries of the controls tensor that text-encode writes; see src/ts/demo/controls.ts.
CONTROL = {
    name: at
    for at, name in enumerate(
        "zoom panX panY roll shake speed exposure contrast saturation warmth tint sepia fog snow rain glow"
        " lightX lightY lightDrift vignette grain detail parallax style driftX driftY keyA keyB".split()
    )
}
#: Entries of a row of the motion tensor, in order.
MOTION = (
    "zoom dx dy roll parallax exposure contrast saturation warmth tint sepia fog snow rain vignette grain"
    " fogX fogY clock grainKey weatherKey".split()
)
MOTION_WIDTH = len(MOTION)

_CAMERA, _GRAIN = 0x63616D, 0x677261
_NOMINAL_FPS = 10


def progress(frame: int, frames: int) -> float:
    """0 at the first frame, 1 at the last, with a soft start and end."""
    t = frame / (frames - 1) if frames > 1 else 0.5
    return float(0.45 * t + 0.55 * ease(t))


def motion_row(controls: Any, frame: int, frames: int, seed: int, aspect: float) -> Any:
    """The row of a frame, [MOTION_WIDTH]; ``aspect`` is width / height of the picture."""
    get = {name: float(controls[at]) for name, at in CONTROL.items()}
    e = progress(frame, frames)
    across = 2 * e - 1
    pace = get["speed"]
    clock = (frame * (0.4 + 0.6 * pace)) / _NOMINAL_FPS
    random = Random(seed, _CAMERA)
    phase = [random.float() for _ in range(4)]
    parallax = 0.28 * get["parallax"]

    shake, sway = 0.011 * get["shake"], 0.0015
    pan_x = clamp(0.085 * get["panX"] * pace, -0.17, 0.17) + 0.01 * get["driftX"]
    pan_y = clamp(-0.085 * get["panY"] * pace, -0.17, 0.17) + 0.01 * get["driftY"]
    dx = pan_x * across + sway * wave(clock * 0.31 + phase[0]) + _jitter(shake, clock, phase[1])
    dy = pan_y * across + sway * wave(clock * 0.27 + phase[2]) + _jitter(shake, clock * 1.13, phase[3])
    roll_span = clamp(0.11 * get["roll"] * pace, -0.3, 0.3)
    roll = roll_span * across + 0.25 * _jitter(shake, clock * 0.9, phase[2])

    reach = max(abs(pan_x), abs(pan_y)) * (1 + parallax) + sway + 1.5 * shake
    turn = abs(roll_span) + 0.4 * shake
    room = (1 + turn * max(aspect, 1 / aspect)) / (1 - 2 * reach)
    zoom = get["zoom"]
    full = 1 + clamp(0.42 * abs(zoom) * pace, 0, 1)
    inward = e if zoom >= 0 else 1 - e
    view = 1 + inward * (1 / full - 1)

    settle = 0.8 + 0.2 * e
    row: Dict[str, float] = {name: get[name] for name in MOTION if name in get}
    row.update(zoom=room / view, dx=dx, dy=dy, roll=roll, parallax=parallax, clock=clock)
    row["exposure"] = get["exposure"] * settle + 0.025 * get["glow"] * wave(clock * 0.4 + phase[3])
    row["warmth"] = get["warmth"] * settle
    row["tint"] = get["tint"] * settle
    row["fogX"] = clock * (0.06 + 0.08 * get["driftX"]) + phase[0]
    row["fogY"] = clock * 0.03 * get["driftY"] + phase[1]
    row["grainKey"] = Random(seed, _GRAIN, frame, int(get["keyA"]), int(get["keyB"])).uint32() >> 8
    row["weatherKey"] = Random(seed, _GRAIN, int(get["keyB"])).uint32() >> 8
    return [row[name] for name in MOTION]


def _jitter(amount: float, clock: float, phase: float) -> float:
    return amount * (0.6 * wave(clock * 1.9 + phase) + 0.4 * wave(clock * 4.3 + 3 * phase))

"""What every example needs of PyTorch: layers that models share, their weights, time and memory of a device.

Invariant: a model is built on the "meta" device, where it takes no memory, and gets its weights once. A tensor that a
checkpoint lacks, or has in another shape, is an error.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any, Callable, Dict, Optional

import torch
from torch import nn
from torch.nn import functional

Tensor = torch.Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, scale: Optional[float] = None, bias: Optional[Tensor] = None) -> Tensor:
    """Softmax attention.

    Args:
        q: [batch, heads, queries, width]; ``k`` and ``v`` have [batch, heads, keys, width].
        scale: of the scores; default 1 / sqrt(width).
        bias: added to the scores; it broadcasts to [batch, heads, queries, keys].
    """
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    fused = getattr(functional, "scaled_dot_product_attention", None)  # takes a scale since PyTorch 2.1
    if fused is not None:
        return fused(q, k, v, attn_mask=bias, scale=factor)
    scores = torch.matmul(q.float() * factor, k.float().transpose(-1, -2))
    if bias is not None:
        scores = scores + bias
    return torch.matmul(scores.softmax(-1), v.float()).to(v.dtype)


def linear(width_in: int, width_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer without memory."""
    return nn.Linear(width_in, width_out, bias, device="meta")


def parameter(*shape: int) -> nn.Parameter:
    """A parameter without memory."""
    return nn.Parameter(torch.empty(shape, device="meta"))


class RmsNorm(nn.Module):
    """Divides each row by its root mean square, then scales it."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = parameter(width)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        fused = getattr(functional, "rms_norm", None)  # PyTorch 2.4 and later
        if fused is not None:
            return fused(x, self.weight.shape, self.weight, self.epsilon)
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)).to(x.dtype) * self.weight


def angles(positions: Tensor, count: int, theta: float) -> Tensor:
    """``count`` angles for each position, at wavelengths from 2 pi to about 2 pi ``theta``: f64, [positions, count]."""
    steps = theta ** (-torch.arange(count, dtype=torch.float64, device=positions.device) / count)
    return torch.outer(positions.double(), steps)


def dtype_on(device: str) -> torch.dtype:
    """bf16 on a GPU; float32 on a CPU, where bf16 is slow or lacks kernels."""
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def with_random_weights(model: nn.Module, device: str, dtype: torch.dtype, seed: int) -> nn.Module:
    """Gives a model random weights that keep activations at their size; the same for the same seed and device.

    Norms are 1, biases 0, everything else is normal with a deviation of fan_in ** -0.5.
    """
    model = model.to(dtype).to_empty(device=device)
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            last = name.rsplit(".", 1)[-1]
            if last == "bias":
                weight.zero_()
            elif last == "gamma" or (last == "weight" and weight.dim() == 1):
                weight.fill_(1)
            else:
                fan_in = weight[0].numel() if weight.dim() > 1 and last == "weight" else weight.shape[-1]
                weight.normal_(0, 1 / math.sqrt(max(1, fan_in)), generator=generator)
    return model.eval().requires_grad_(False)


def read_checkpoint(path: str) -> Dict[str, Tensor]:
    """Reads the tensors of a ``.pth`` or ``.safetensors`` file, or of all ``.safetensors`` files of a folder.

    Raises FileNotFoundError, or ImportError when ``safetensors`` is needed and is not installed.
    """
    if os.path.isdir(path):
        files = sorted(os.path.join(path, file) for file in os.listdir(path) if file.endswith(".safetensors"))
        if not files:
            raise FileNotFoundError(f"{path} has no .safetensors file")
    elif os.path.isfile(path):
        files = [path]
    else:
        raise FileNotFoundError(f"there is no checkpoint {path}")
    found: Dict[str, Tensor] = {}
    for file in files:
        if file.endswith(".safetensors"):
            try:
                from safetensors.torch import load_file
            except ImportError:
                raise ImportError(f"reading {file} needs: pip install safetensors") from None
            found.update(load_file(file))
        else:
            found.update(torch.load(file, map_location="cpu", weights_only=True))
    return found


def with_checkpoint(model: nn.Module, path: str, device: str, dtype: torch.dtype, prefix: str = "") -> nn.Module:
    """Gives a model the weights of a checkpoint.

    Args:
        prefix: which names of the file to read, and what to cut off them; other names are skipped.

    Raises ValueError for a tensor that is missing, unknown, or of another shape.
    """
    found = {name[len(prefix) :]: value for name, value in read_checkpoint(path).items() if name.startswith(prefix)}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in found.items()}
    wrong = [f"{name}: {given.get(name)} in the file, {wanted.get(name)} here" for name in sorted({*wanted, *given})
             if wanted.get(name) != given.get(name)]
    if wrong:
        raise ValueError(f"{path} is another model; {len(wrong)} tensors differ: {'; '.join(wrong[:5])}")
    model = model.to(dtype).to_empty(device=device)
    model.load_state_dict(found)
    return model.eval().requires_grad_(False)


def prepared(
    model: nn.Module, path: Optional[str], device: str, dtype: torch.dtype, seed: int, prefix: str = ""
) -> Any:
    """A model with the weights of a checkpoint, or with random ones when there is no path."""
    if path is None:
        return with_random_weights(model, device, dtype, seed)
    return with_checkpoint(model, path, device, dtype, prefix)


def synchronize(device: str) -> None:
    """Waits until a device has finished all its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def timed(device: str, call: Callable[[], Any]) -> Dict[str, Any]:
    """Runs a function once; answers ``result``, ``seconds``, and ``peakBytes`` of the device's memory (0 on a CPU)."""
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    synchronize(device)
    began = time.perf_counter()
    result = call()
    synchronize(device)
    seconds = time.perf_counter() - began
    return {
        "result": result,
        "seconds": round(seconds, 4),
        "peakBytes": torch.cuda.max_memory_allocated(device) if on_gpu else 0,
    }


def device_name(device: str) -> str:
    """The name of the device, for example "NVIDIA H100 80GB HBM3"; "cpu" for a CPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"

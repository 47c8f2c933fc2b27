"""First and second moments of feature maps (B, C, H, W): all that style, content and AdaIN ask a map for.

The moments are in fp32. Their gradients are multiples of maps that are there already, and are left in these maps'
precision and order of memory: autograd by itself writes them down in fp32 and transposed, and with VGG19 on a CPU that
took half of a training step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def mean_of(maps: Tensor) -> Tensor:
    """E[x] of each channel over all positions: (B, C)."""
    mean: Tensor = _Mean.apply(maps) if torch.is_grad_enabled() else _mean(maps)
    return mean


def mean_product(x: Tensor, y: Tensor) -> Tensor:
    """E[x y] of each channel over all positions: (B, C)."""
    mean: Tensor = _MeanProduct.apply(x, y) if torch.is_grad_enabled() else _mean(x * y)
    return mean


def mean_and_variance(maps: Tensor) -> tuple[Tensor, Tensor]:
    """E[x] and E[x²] − E[x]², (B, C) both."""
    mean = mean_of(maps)
    return mean, (mean_product(maps, maps) - mean.square()).clamp_min(0)


def channel_products(maps: Tensor) -> Tensor:
    """E[xᵢ xⱼ] of all pairs of channels: (B, C, C).

    Maps in bf16 are multiplied as they are and summed in fp32: the result is off by 0.2 %, the product three times as
    fast.
    """
    products: Tensor = _ChannelProducts.apply(maps) if torch.is_grad_enabled() else _channel_products(maps)
    return products


def _mean(maps: Tensor) -> Tensor:
    if maps.dtype != torch.bfloat16 or maps.device.type != "cpu":
        return maps.mean((2, 3), dtype=torch.float32)
    # Rows by themselves, each rounded once: else a CPU writes the whole map down in fp32 first, for ten times as long.
    rows = maps.permute(0, 2, 3, 1).sum(2)  # (B, H, C)
    return rows.mean(1, dtype=torch.float32) / maps.shape[3]


def _channel_products(maps: Tensor) -> Tensor:
    flat = maps.flatten(2)  # (B, C, M)
    return (flat @ flat.transpose(1, 2)).float() / flat.shape[2]


class _Mean(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.shape, ctx.dtype = maps.shape, maps.dtype
        return _mean(maps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _each(grad, ctx.shape).to(ctx.dtype).expand(ctx.shape)


class _MeanProduct(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _mean(x * y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        each = _each(grad, x.shape)
        wanted_x, wanted_y = ctx.needs_input_grad
        return each.to(x.dtype) * y if wanted_x else None, each.to(y.dtype) * x if wanted_y else None


class _ChannelProducts(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        if maps.is_contiguous(memory_format=torch.channels_last):  # (B, M, C): not to be written down transposed
            positions = maps.permute(0, 2, 3, 1).flatten(1, 2)
            return (positions.transpose(1, 2) @ positions).float() / positions.shape[1]
        return _channel_products(maps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (maps,) = ctx.saved_tensors
        positions = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (B, M, C)
        both = (grad + grad.transpose(1, 2)) / positions.shape[1]
        return (positions @ both.to(maps.dtype)).unflatten(1, maps.shape[2:]).permute(0, 3, 1, 2)


def _each(grad: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of a mean (B, C), for each of the positions it is of: (B, C, 1, 1)."""
    return (grad / shape[2:].numel())[..., None, None]

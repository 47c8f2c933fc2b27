"""The palette: the mean and covariance of a picture's colours, and the linear map from one palette to another.

Before the generator paints, the photo gets the colours of the style. Of all linear maps that do, the optimal transport
moves colours least (the linear Monge-Kantorovitch map of Pitié & Kokaram, "The linear Monge-Kantorovitch linear colour
mapping for example-based colour transfer", CVMP 2007): red stays the reddest, light stays light.

A palette is nine numbers: the mean colour and the six entries of the symmetric covariance, in that order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stylize.colour_map import REGULARISATION


def palette_of(images: Tensor, *, pooled: bool = False) -> Tensor:
    """The palette of each picture: (B, 3, H, W) in [0, 1] -> (B, 9); of all together if ``pooled``: (1, 9)."""
    colours = images.float().flatten(2)  # (B, 3, M)
    if pooled:
        colours = colours.transpose(0, 1).flatten(1)[None]
    mean = colours.mean(2, keepdim=True)
    centred = colours - mean
    covariance = centred @ centred.transpose(1, 2) / colours.shape[2]  # (B, 3, 3)
    rows, columns = torch.triu_indices(3, 3, device=images.device)
    return torch.cat([mean[..., 0], covariance[:, rows, columns]], dim=1)


def mean_and_covariance(palette: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 9) -> (B, 3) and (B, 3, 3)."""
    mean, entries = palette[:, :3], palette[:, 3:]
    order = torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]], device=palette.device)
    return mean, entries[:, order]


def colour_map(content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """The affine map ``x -> M x + t`` that gives colours of one palette the other palette.

        M = C^(−½) (C^½ S C^½)^½ C^(−½),   t = m_style − M m_content

    Args:
        content, style: palettes, (B, 9), with covariances C and S.

    Returns:
        M (B, 3, 3) and t (B, 3); the identity where the palettes are equal.
    """
    content_mean, c = mean_and_covariance(content)
    style_mean, s = mean_and_covariance(style)
    floor = REGULARISATION * torch.eye(3, device=content.device)
    root = _power(c + floor, 0.5)
    inverse = _power(c + floor, -0.5)
    matrix = inverse @ _power(root @ (s + floor) @ root, 0.5) @ inverse
    return matrix, style_mean - (matrix @ content_mean[..., None])[..., 0]


def apply_colour_map(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the same shape, clamped to [0, 1]; one map each, or one for all (B = 1)."""
    mapped = torch.einsum("bij,bjhw->bihw", matrix.expand(len(images), 3, 3), images.float())
    return (mapped + offset[..., None, None]).clamp(0, 1).contiguous(memory_format=torch.channels_last)


def _power(matrices: Tensor, exponent: float) -> Tensor:
    """Powers of symmetric positive matrices (B, 3, 3)."""
    values, vectors = torch.linalg.eigh(matrices)
    return (vectors * values.clamp_min(1e-8).pow(exponent)[:, None]) @ vectors.transpose(1, 2)

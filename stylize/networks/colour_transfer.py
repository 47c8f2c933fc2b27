"""The palette: the mean and covariance of a picture's colours, and the linear map from one palette to another.

Before the generator paints, the photo gets the colours of the style, and the painting gets them once more. Of all
linear maps that do, the optimal transport moves colours least (the linear Monge-Kantorovitch map of Pitié & Kokaram,
"The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer", CVMP 2007): red stays the
reddest, light stays light.

A palette is nine numbers: the mean colour and the six entries of the symmetric covariance, in that order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stylize.images.palette import ORDER, REGULARISATION

NEWTON_STEPS = 28  # roots of eigenvalues a ten-millionth of the trace are exact; each step brings them up by half


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
    order = torch.tensor(ORDER, device=palette.device)
    return mean, entries[:, order]


def colour_map(content: Tensor, style: Tensor, floor: float = REGULARISATION) -> tuple[Tensor, Tensor]:
    """The affine map ``x -> M x + t`` that gives colours of one palette the other palette.

        M = C^(−½) (C^½ S C^½)^½ C^(−½),   t = m_style − M m_content

    Args:
        content, style: palettes, (B, 9), with covariances C and S.
        floor: is added to all variances, that colours which hardly vary are not amplified without bound.

    Returns:
        M (B, 3, 3) and t (B, 3); the identity where the palettes are equal.
    """
    content_mean, c = mean_and_covariance(content)
    style_mean, s = mean_and_covariance(style)
    if content.device.type == "mps":  # Metal has no fp64
        c, s = c.cpu(), s.cpu()
    least = floor * torch.eye(3, device=c.device, dtype=torch.float64)
    root, inverse = square_roots(c.double() + least)
    matrix = (inverse @ square_roots(root @ (s.double() + least) @ root)[0] @ inverse).float().to(content.device)
    return matrix, style_mean - (matrix @ content_mean[..., None])[..., 0]


def apply_colour_map(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the same shape, clamped to [0, 1]; one map each, or one for all (B = 1)."""
    mapped = torch.einsum("bij,bjhw->bihw", matrix.expand(len(images), 3, 3), images.float())
    return (mapped + offset[..., None, None]).clamp(0, 1).contiguous(memory_format=torch.channels_last)


def square_roots(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """A^½ and A^(−½) of symmetric positive matrices (B, 3, 3), in fp64.

    By the Newton–Schulz iteration (Higham, "Functions of Matrices", 2008, eq. 6.35), of products alone: unlike
    eigenvectors it has a gradient where eigenvalues are equal, and ONNX can express it.
    """
    identity = torch.eye(3, device=matrices.device, dtype=matrices.dtype)
    scale = (matrices * identity).sum((1, 2), keepdim=True)  # the trace: brings all eigenvalues below 1
    root, inverse = matrices / scale, identity[None]
    for _ in range(NEWTON_STEPS):
        step = (3 * identity - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return root * scale.sqrt(), inverse / scale.sqrt()

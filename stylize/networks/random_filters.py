"""The random network ρ: filters that nobody trained, whose statistics tell what the perceptual network misses.

φ was trained to name objects, and hardly needs colour for it; its finest textures are those of photos. Random filters
have no such taste. A single layer of them, over several scales, is enough to tell natural textures apart (Ustyuzhaninov
et al., "What does it take to generate natural textures?", ICLR 2017); a second layer on the moduli of the first sees
how strokes lie to each other (Bruna & Mallat, "Invariant Scattering Convolution Networks", PAMI 2013).

Every octave of a picture goes through the same two layers. The filters are the same for everyone: they are drawn from a
fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

FILTERS = 64  # per layer
OCTAVES = 4  # the last sees details of 8 pixels and more
FLAT = FILTERS // 4  # filters of the first layer that see brightness and colour of an area, not only its changes
LEAST_SIDE = 16  # of an octave, in its pixels: the second layer's map has 4 × 4 positions then


class RandomNetwork(nn.Module):
    """Two layers of random filters in every octave. Not trained; ``normalise`` it before use."""

    first: Tensor
    second: Tensor
    offset: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        first = torch.randn(FILTERS, 3, 5, 5, generator=random)
        first[FLAT:] -= first[FLAT:].mean((2, 3), keepdim=True)
        second = torch.randn(FILTERS, FILTERS, 3, 3, generator=random)
        self.register_buffer("first", _unit(first))
        self.register_buffer("offset", torch.randn(FILTERS, generator=random) * 0.1)
        self.register_buffer("second", _unit(second))
        self.register_buffer("mean", torch.zeros(2 * OCTAVES, FILTERS))
        self.register_buffer("scale", torch.ones(2 * OCTAVES, FILTERS))

    def forward(self, images: Tensor, octaves: int = OCTAVES) -> list[Tensor]:
        """Maps of both layers, octave by octave from fine to coarse.

        Args:
            images: (B, 3, H, W) in [0, 1].
            octaves: how many, at most ``octaves_within`` the images.

        Returns:
            2·``octaves`` maps (B, ``FILTERS``, ·, ·), each channel of mean 0 and deviation 1 over the pictures of
            ``normalise``.
        """
        maps: list[Tensor] = []
        octave = images.float() - 0.5
        for _ in range(octaves):
            moduli = self._normalised(functional.conv2d(octave, self.first, self.offset).abs(), len(maps))
            maps.append(moduli)
            pooled = functional.avg_pool2d(moduli, 2)
            maps.append(self._normalised(functional.conv2d(pooled, self.second).relu(), len(maps)))
            octave = functional.avg_pool2d(octave, 2)
        return maps

    @torch.no_grad()
    def normalise(self, batches: Iterable[Tensor]) -> None:
        """Bring every channel to mean 0 and deviation 1 over pictures (B, 3, H, W) in [0, 1]."""
        pictures = list(batches)
        octaves = octaves_within(*pictures)
        for layer in (0, 1):  # the second takes the first one's maps as they come out
            self.mean[layer::2], self.scale[layer::2] = 0.0, 1.0
            total = torch.zeros(2, octaves, FILTERS, device=self.mean.device)
            for images in pictures:
                maps = self(images, octaves)[layer::2]
                total += torch.stack([torch.stack([f.mean((0, 2, 3)), f.square().mean((0, 2, 3))]) for f in maps], 1)
            mean, second = total / len(pictures)
            self.mean[layer : 2 * octaves : 2] = mean
            self.scale[layer : 2 * octaves : 2] = (second - mean.square()).clamp_min(1e-8).rsqrt()

    def _normalised(self, maps: Tensor, index: int) -> Tensor:
        return (maps - self.mean[index, :, None, None]) * self.scale[index, :, None, None]


def octaves_within(*pictures: Tensor) -> int:
    """How many octaves all of these pictures (B, 3, H, W) have, 0 to ``OCTAVES``."""
    side = min(extent for images in pictures for extent in images.shape[2:])
    return min(OCTAVES, max(int(side) // LEAST_SIDE, 0).bit_length())


def _unit(filters: Tensor) -> Tensor:
    """Every filter of length 1."""
    return filters / filters.flatten(1).norm(dim=1)[:, None, None, None]

"""The style encoder E: style pictures -> the style code z, and R, which reads the Gram descriptor back from z.

E looks at a picture through φ and keeps statistics only, so that it knows how a picture is painted and not what it
shows: per layer the channels' means and standard deviations and a sketch of the Gram matrix. An MLP turns them into
the code. Over styles, its numbers have mean 0 and deviation 1 when training begins. Were they to share a large mean,
every step of Adam would, through the linear maps that read a code, move all styles together more than one against
another; and were their length normalised, the MLP's weights would grow until no step moved it any more.

The multi-scale Gram descriptor ``s = [vec(G¹); …; vec(G⁵)]`` has 44,000 entries; ``P s``, its projection on fixed
random matrices, has ``SKETCH`` per layer. The rows of P have rank one, ``vec(u vᵀ)``: the projection is ``uᵀ G v``, and
P is small enough to be stored. Training makes ``R(z) ≈ P s``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from stylize.networks.colour_transfer import palette_of
from stylize.networks.perceptual import FeatureStatistics, PerceptualNetwork, style_statistics

SKETCH = 128  # random projections of the Gram matrix per layer


class StyleEncoder(nn.Module):
    """E and its reconstruction head R.

    Args:
        code_size: length of the code.
        perceptual: φ; it becomes part of the encoder, frozen.
        hidden: width of the two MLPs.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, code_size: int, perceptual: PerceptualNetwork, hidden: int = 384) -> None:
        super().__init__()
        self.code_size, self.hidden = code_size, hidden
        self.perceptual = perceptual.requires_grad_(False)
        random = torch.Generator().manual_seed(0)
        for index, width in enumerate(perceptual.widths):
            vectors = torch.randn(2, SKETCH, width, generator=random) / width**0.5
            self.register_buffer(f"sketch{index}", vectors)  # u and v
        descriptor = len(perceptual.widths) * (SKETCH + 1)
        inputs = descriptor + 2 * sum(perceptual.widths)
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.to_code = nn.Sequential(
            nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, code_size)
        )
        self.to_descriptor = nn.Sequential(nn.Linear(code_size, hidden), nn.SiLU(), nn.Linear(hidden, descriptor))
        self.descriptor_size = descriptor

    def statistics(self, features: Sequence[FeatureStatistics]) -> Tensor:
        """What E knows of a picture: (B, D), the first ``descriptor_size`` of them the Gram descriptor P s.

        Sketches are divided by their layer's mean square, whose logarithm stands beside them; means and standard
        deviations enter as logarithms. Strong and weak styles then lie in one range.

        Args:
            features: statistics of φ's five maps.
        """
        sketches, moments = [], []
        for index, (gram, mean, std) in enumerate(features):
            u, v = getattr(self, f"sketch{index}")  # (SKETCH, N) each
            size = gram.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) + 1e-4  # (B, 1): mean square of the features
            sketch = torch.einsum("pi,bij,pj->bp", u, gram, v)  # (B, SKETCH): uᵀ G v
            sketches += [sketch * gram.shape[1] / size, size.log()]
            moments += [(mean + 0.05).log(), (std + 0.05).log()]
        return torch.cat(sketches + moments, dim=1)

    @torch.no_grad()
    def calibrate(self, statistics: Tensor) -> None:
        """Standardise each input, and each number of the code, over (N, D) statistics of a sample of style pictures."""
        self.center.copy_(statistics.mean(0))
        self.spread.copy_(statistics.std(0).clamp_min(0.05))
        codes = self.code_of(self.standardise(statistics))
        last = cast(nn.Linear, self.to_code[-1])
        spread = codes.std(0).clamp_min(1e-3)
        last.bias.copy_((last.bias - codes.mean(0)) / spread)
        last.weight /= spread[:, None]

    def standardise(self, statistics: Tensor) -> Tensor:
        """(B, D) -> (B, D) of mean 0 and deviation 1 over the calibration sample; far outliers are reined in."""
        return ((statistics - self.center) / self.spread).clamp(-6, 6)

    def code_of(self, standardised: Tensor) -> Tensor:
        """(B, D) standardised statistics -> (B, Z)."""
        code: Tensor = self.to_code(standardised)
        return code

    def descriptor(self, code: Tensor) -> Tensor:
        """R(z): (B, Z) -> (B, descriptor_size), the Gram descriptor in standardised form."""
        return self.to_descriptor(code)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W) in [0, 1] -> their codes (B, Z) and their standardised statistics (B, D)."""
        return self.encode_maps(self.perceptual(images))

    def encode_maps(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """φ's five maps of pictures -> their codes (B, Z) and their standardised statistics (B, D), in fp32."""
        known = self.standardise(self.statistics(style_statistics(maps)))
        return self.code_of(known), known

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The code and the palette of each picture: (B, 3, H, W) in [0, 1] -> (B, Z) and (B, 9)."""
        return self.encode(images)[0], palette_of(images)

"""What refining a style minimises: the distance of paintings from the pictures of the style, at a price of content.

With G the windows that the varied style paints and G₀ those that the plain one paints, the loss is

    L = Σ_k w_k d_k(G)  +  γ grid(G)  +  η ‖M(G) − M(G₀)‖²  +  Σ_j p_j c_j(G) / c_j(G₀)

with d the four distances of the statistics, M the matrix of the finish, c the content losses of φ's maps, normalised
and as they are, and p their prices. ``Objective.loss`` is this equation; the weights are in
``stylize.options.RefineOptions``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stylize.engines.device import autocast
from stylize.networks.perceptual import FeatureStatistics, feature_statistics, style_statistics, with_deviations
from stylize.options import RefineOptions
from stylize.training import losses
from stylize.training.judges import Judges

CONTENT_LAYERS = (3, 4)  # of φ, counted from 0: relu4_1 and relu5_1


@dataclass(frozen=True)
class Progress:
    """Where the optimisation is, measured on the windows that are not painted on.

    Attributes:
        step: steps done.
        style: distance of the Gram matrices, relative: 0 is the style itself.
        moments: squared distance of the channels' means and deviations.
        colours: relative distance of the colours' covariances, octave by octave.
        patterns: squared distance of the random filters' means and deviations.
        distance: from the style, all in all: the weighted sum of these four.
        content: content loss.
        kept: content loss against the plain code's, the worse of raw and normalised features: above 1 means lost.
    """

    step: int
    style: float
    moments: float
    colours: float
    patterns: float
    distance: float
    content: float
    kept: float


class Painting(NamedTuple):
    """Windows of photos, painted."""

    output: Tensor  # (B, 3, crop, crop) in [0, 1]
    finish: Tensor  # M of each, (B, 3, 3)


class Statistics(NamedTuple):
    """All that makes the style of pictures."""

    features: list[FeatureStatistics]  # of φ's maps
    patterns: list[FeatureStatistics]  # of ρ's maps
    colours: list[Tensor]  # covariances, octave by octave, (B, 3, 3) each


class View(NamedTuple):
    """Pictures as the judges see them."""

    judges: Judges
    octaves: int  # of ρ
    device: torch.device
    precision: torch.dtype

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """φ's maps of pictures (B, 3, H, W)."""
        with self._autocast():
            maps: list[Tensor] = self.judges.perceptual(pictures)
            return maps

    def statistics(self, pictures: Tensor, maps: Sequence[Tensor]) -> Statistics:
        """The style of pictures (B, 3, H, W), and φ's maps of them."""
        features = style_statistics(maps)
        with self._autocast():
            patterns = [feature_statistics(f) for f in self.judges.patterns(pictures, self.octaves)]
        return Statistics(features, patterns, losses.octave_covariances(pictures))

    def targets(self, pictures: Sequence[Tensor], shares: NDArray[np.float64]) -> Statistics:
        """The style of all pictures (1, 3, H, W) together, by their shares: statistics of a batch of one."""
        each = [self.statistics(picture, self.maps(picture)) for picture in pictures]
        features, patterns, colours = zip(*each, strict=True)
        return Statistics(
            _pooled_statistics(features, shares),
            _pooled_statistics(patterns, shares),
            [_pooled(octave, shares) for octave in zip(*colours, strict=True)],
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.device, self.precision)


class Prices:
    """The prices of content, (2,): of features normalised and as they are.

    They are the multipliers of the constraints "content ≤ aim · that of the plain code", found while the rest is
    optimised, and damped (Platt & Barr, NIPS 1987). A style that is nearly met must not be lost for a little content:
    they begin with a part of the plain code's distance from it.
    """

    def __init__(self, distance: float, options: RefineOptions, device: torch.device) -> None:
        self.options = options
        self.now = torch.full((2,), options.price * distance, device=device)

    def follow(self, content: Tensor) -> Tensor:
        """The prices to pay for content losses in parts of the plain code's; they rise while too much is lost."""
        lost = content.detach() - self.options.aim
        damped = self.now * torch.exp(self.options.damping * lost)
        self.now = self.now * torch.exp(self.options.price_rate * lost)
        return damped


class Objective:
    """How far paintings of some windows are from the style, and how much of the photos they keep.

    Args:
        view: how they are looked at.
        wanted: the statistics of the style's pictures.
        photos: the windows, (P, 3, crop, crop).
        paint: paints the chosen ones; now, with the plain code.
        on_window: called with how much is measured: each window twice, as it is and painted.
    """

    def __init__(
        self,
        view: View,
        wanted: Statistics,
        photos: Tensor,
        paint: Callable[[Sequence[int]], Painting],
        options: RefineOptions,
        on_window: Callable[[int, int], object] = lambda done, all: None,
    ) -> None:
        self.view, self.wanted, self.options = view, wanted, options
        self.weights = torch.tensor(options.weights, device=view.device)
        self.content: list[list[Tensor]] = []
        for photo in photos:
            on_window(len(self.content), 2 * len(photos))
            self.content.append(_deep(view.maps(photo[None])))
        self.allowed, finishes = [], []
        for k in range(len(photos)):
            on_window(len(photos) + k, 2 * len(photos))
            plain = paint([k])
            self.allowed.append(self.content_losses(view.maps(plain.output), [k]))  # (2,)
            finishes.append(plain.finish)
        on_window(2 * len(photos), 2 * len(photos))
        self.finish = torch.cat(finishes)  # (P, 3, 3)

    def loss(self, painting: Painting, chosen: Sequence[int], prices: Prices) -> Tensor:
        """The distance from the style, faults, and content at its price: L of the chosen windows."""
        maps = self.view.maps(painting.output)
        content = self.content_losses(maps, chosen) / self._allowed(chosen)
        price = prices.follow(content)
        # φ hardly sees colour: mottled colours, which the finish scales to the right amount, would cost nothing.
        mottled = functional.mse_loss(painting.finish, self.finish[chosen])
        faults = self.options.grid * losses.grid_loss(painting.output) + self.options.finish * mottled
        return self.weights @ self.distances(painting.output, maps) + faults + (price * content).sum()

    def distances(self, output: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """How far painted windows are from the style: Gram matrices, moments, colours and patterns, (4,)."""
        found = self.view.statistics(output, maps)
        features, patterns = ([s.repeat(len(output)) for s in each] for each in self.wanted[:2])
        return torch.stack(
            [
                losses.style_loss(found.features, features),
                losses.moments_distance(found.features, features),
                losses.octaves_distance(found.colours, self.wanted.colours),
                losses.moments_distance(found.patterns, patterns),
            ]
        )

    def content_losses(self, maps: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
        """The content losses of painted windows, of features normalised and as they are: (2,)."""
        found = _deep(maps)
        content = [torch.cat(layer) for layer in zip(*(self.content[k] for k in chosen), strict=True)]
        return torch.stack([losses.content_loss(found, content), losses.feature_distance(found, content)])

    @torch.no_grad()
    def measure(self, step: int, paint: Callable[[Sequence[int]], Painting], kept: Sequence[int]) -> Progress:
        """How near the style and the content are, over windows that are not painted on."""
        rows = []
        for k in kept:
            output = paint([k]).output
            maps = self.view.maps(output)
            rows.append(torch.cat([self.distances(output, maps), self.content_losses(maps, [k])]))
        style, moments, colours, patterns, content, raw = torch.stack(rows).mean(0).tolist()
        distances = (style, moments, colours, patterns)
        distance = sum(weight * each for weight, each in zip(self.options.weights, distances, strict=True))
        normalised_allowed, raw_allowed = self._allowed(kept).tolist()
        kept_content = max(content / normalised_allowed, raw / raw_allowed)
        return Progress(step, style, moments, colours, patterns, distance, content, kept_content)

    def _allowed(self, chosen: Sequence[int]) -> Tensor:
        """The content losses of the plain code, (2,)."""
        return torch.stack([self.allowed[k] for k in chosen]).mean(0)


def _deep(maps: Sequence[Tensor]) -> list[Tensor]:
    return [maps[k] for k in CONTENT_LAYERS]


def _pooled_statistics(
    each: Sequence[Sequence[FeatureStatistics]], shares: NDArray[np.float64]
) -> list[FeatureStatistics]:
    """Statistics over all pictures together, by their shares, from those of each; a batch of one."""
    pooled = []
    for layer in zip(*each, strict=True):
        gram, mean = (_pooled(kind, shares) for kind in list(zip(*layer, strict=True))[:2])
        pooled.append(with_deviations(gram, mean))
    return pooled


def _pooled(each: Sequence[Tensor], shares: NDArray[np.float64]) -> Tensor:
    """Statistics of several pictures -> those of all together, by their shares."""
    return torch.stack([share * values for share, values in zip(shares.tolist(), each, strict=True)]).sum(0)

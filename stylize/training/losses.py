"""Losses of the generator, the encoder and the discriminator.

Every function takes pictures or feature maps in batches and returns a scalar in fp32, averaged over the batch, so that
the weights keep their meaning when batch or crop size change. The total of G and E is the weighted sum

    L = λ_adv L_adv + λ_content L_content + λ_style L_style + λ_moments L_moments + λ_palette L_palette
        + λ_patterns L_patterns + λ_tv L_tv + λ_grid L_grid + λ_code L_code + λ_identity L_identity

with the λ of ``stylize.options.LossWeights``. L_patterns is ``moments_loss`` of the
maps of ``stylize.networks.random_filters``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from stylize.networks.colour_transfer import mean_and_covariance, palette_of
from stylize.networks.moments import mean_and_variance, mean_product
from stylize.networks.perceptual import FeatureStatistics

EPSILON = 1e-3  # of the variance of a channel; a flat one must not have its noise blown up
OCTAVES = 5  # in which colours are compared: details of 1 to 16 pixels


def content_loss(found: Sequence[Tensor], content: Sequence[Tensor]) -> Tensor:
    """Squared distance of features, each channel brought to mean 0 and deviation 1 in both pictures first.

    Departs from Gatys et al. 2016, eq. 1, by the normalisation (as StyTr², CVPR 2022): content is where things are,
    and must not fight the palette.
    """
    return _mean([_normalised_distance(f, c) for f, c in zip(found, content, strict=True)])


def feature_distance(found: Sequence[Tensor], content: Sequence[Tensor]) -> Tensor:
    """Squared distance of features as they are, Gatys et al. 2016, eq. 1: what evaluation measures content by."""
    differences = [f - c for f, c in zip(found, content, strict=True)]
    return _mean([mean_product(d, d).mean() for d in differences])


def style_loss(found: Sequence[FeatureStatistics], style: Sequence[FeatureStatistics]) -> Tensor:
    """Distance of Gram matrices, Gatys et al. 2016, eq. 4, relative to the style's: mean of ‖G − S‖ / ‖S‖.

    Not squared: a picture far from its style would otherwise outvote the rest of the batch.
    """
    return _mean([_relative_distance(f.gram, s.gram) for f, s in zip(found, style, strict=True)])


def moments_loss(found: Sequence[FeatureStatistics], style: Sequence[FeatureStatistics]) -> Tensor:
    """Squared distance of the channels' means and standard deviations: Huang & Belongie, ICCV 2017, eq. 13.

    Features are normalised, φ's to mean 1, the random network's to deviation 1. Beyond a distance of 2 the loss grows
    linearly: a few channels of a few styles are a hundred times stronger than usual and would drown all else.
    """
    terms = []
    for f, s in zip(found, style, strict=True):
        terms += [4 * functional.smooth_l1_loss(a, b, beta=2.0) for a, b in ((f.mean, s.mean), (f.std, s.std))]
    return 2 * _mean(terms)


def moments_distance(found: Sequence[FeatureStatistics], style: Sequence[FeatureStatistics]) -> Tensor:
    """Squared distance of means and deviations, what evaluation measures style by.

    For one style at a time: without the limit of ``moments_loss``, as there are no others to be drowned.
    """
    return _mean(
        [
            functional.mse_loss(f.mean, s.mean) + functional.mse_loss(f.std, s.std)
            for f, s in zip(found, style, strict=True)
        ]
    )


def palette_loss(found: Tensor, style: Tensor) -> Tensor:
    """Distance of the colours' means and covariances, as a whole and in every octave of detail.

    The perceptual network sees colour only faintly. Means and covariances are what a colour transfer matches (Reinhard
    et al. 2001); taken apart by octaves, as texture synthesis does with the bands of a pyramid (Heeger & Bergen 1995),
    they also tell dots of many colours from areas of many colours.

    Args:
        found, style: pictures (B, 3, H, W) in [0, 1]; H and W may differ.
    """
    (mean_f, cov_f), (mean_s, cov_s) = (mean_and_covariance(palette_of(images)) for images in (found, style))
    means = (mean_f - mean_s).square().sum(1).mean()
    side = min(*found.shape[2:], *style.shape[2:])
    octaves = min(OCTAVES, max(int(side).bit_length() - 3, 1))  # at least four blocks of the coarsest side by side
    details = octaves_distance(octave_covariances(found, octaves), octave_covariances(style, octaves))
    return 10 * means + _relative_distance(cov_f, cov_s, least=1e-2) + details


def octaves_distance(found: Sequence[Tensor], style: Sequence[Tensor]) -> Tensor:
    """Relative distance of covariances, in the mean over octaves; of ``octave_covariances``."""
    return _mean([_relative_distance(f, s, least=3e-4) for f, s in zip(found, style, strict=True)])


def octave_covariances(images: Tensor, octaves: int = OCTAVES) -> list[Tensor]:
    """The covariances of colours within blocks of 2 pixels, of these blocks' means within blocks of 4, and so on.

    By the law of total covariance they add up, with that of the largest blocks' means, to the covariance of all.

    Args:
        images: (B, 3, H, W), H and W at least 2^octaves; rows and columns beyond a multiple of it do not count.

    Returns:
        ``octaves`` tensors (B, 3, 3), from fine to coarse.
    """
    side = 2**octaves
    height, width = (extent // side * side for extent in images.shape[2:])
    images = images[..., :height, :width].float()
    covariances = [mean_and_covariance(palette_of(images))[1]]
    for _ in range(octaves):
        images = functional.avg_pool2d(images, 2)
        covariances.append(mean_and_covariance(palette_of(images))[1])
    return [fine - coarse for fine, coarse in pairwise(covariances)]


def total_variation(images: Tensor) -> Tensor:
    """Isotropic total variation: mean length of the pixel gradient. (B, 3, H, W) in [0, 1] -> scalar.

    The square root needs the small constant: its gradient is infinite on flat areas.
    """
    dx = images[..., :-1, 1:] - images[..., :-1, :-1]
    dy = images[..., 1:, :-1] - images[..., :-1, :-1]
    return (dx.square() + dy.square() + 1e-8).sqrt().mean()


def grid_loss(images: Tensor, period: int = 4, window: int = 8) -> Tensor:
    """Energy of patterns that repeat every ``period`` pixels: the chequers that upsampling leaves on flat areas.

    The pictures are high-passed and split into their period² phases. Averaged over a neighbourhood of ``window``
    periods, the strokes of a picture give every phase the same mean; a grid does not.
    """
    smooth = functional.avg_pool2d(images, period + 1, 1, period // 2, count_include_pad=False)
    phases = functional.pixel_unshuffle(images - smooth, period)  # (B, 3·period², H/period, W/period)
    local = functional.avg_pool2d(phases, window, window // 2)
    local = local.unflatten(1, (images.shape[1], period * period))
    return (local - local.mean(2, keepdim=True)).square().mean().mul(period * period)


def discriminator_hinge(real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
    """Hinge loss of D (Lim & Ye 2017): scores of real windows above 1, of each kind of fake below −1."""
    fake = _mean([functional.relu(1 + scores.float()).mean() for scores in fakes])
    return functional.relu(1 - real.float()).mean() + fake


def generator_hinge(fake: Tensor) -> Tensor:
    """Hinge loss of G: the negative mean score."""
    return -fake.float().mean()


def _normalised_distance(found: Tensor, content: Tensor) -> Tensor:
    """mean of (n(f) − n(c))², n(x) = (x − E[x]) / σ(x), multiplied out: no normalised map is written down."""
    (mean_f, var_f), (mean_c, var_c) = (mean_and_variance(maps) for maps in (found, content))
    gain_f, gain_c = ((var + EPSILON).rsqrt() for var in (var_f, var_c))  # 1 / σ
    covariance = mean_product(found, content) - mean_f * mean_c
    own = gain_f * gain_f * var_f + gain_c * gain_c * var_c
    return (own - 2 * (gain_f * gain_c) * covariance).mean()  # in this order, it is exactly 0 for equal maps


def _relative_distance(found: Tensor, wanted: Tensor, least: float = 1e-6) -> Tensor:
    """mean over the batch of ‖found − wanted‖ / (‖wanted‖ + least), matrices (B, C, C)."""
    distance = (found - wanted).flatten(1).square().sum(1).add(1e-12).sqrt()
    return (distance / (wanted.flatten(1).norm(dim=1) + least)).mean()


def _mean(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean()

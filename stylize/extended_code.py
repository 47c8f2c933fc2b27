"""The extended code: what every layer of G is asked for, and what a refined style adds to it.

A code z asks each layer for kernel coefficients a, a scale γ and a shift β (``stylize.generator.Modulation``), all
affine in z. A *refinement* adds to them directly, in directions that no z reaches: 2,500 numbers instead of 256, as W+
beside W in the inversion of StyleGAN (Abdal et al., "Image2StyleGAN", ICCV 2019). It is plain arrays by name, so that
every engine can fold it: ``a + refinement["LAYER.mix"]`` and so on.
"""

from __future__ import annotations

from stylize.layers import layers_of
from stylize.options import ModelSizes
from stylize.style_code import Refinement


def refinement_sizes(sizes: ModelSizes) -> dict[str, int]:
    """The names of everything that a refinement for a model can add to, and how many numbers each has."""
    lengths = {}
    for name, layer in layers_of(sizes.widths).items():
        lengths[f"{name}.mix"] = sizes.bank
        if layer.adain:
            lengths[f"{name}.scale"] = layer.channels_out
        lengths[f"{name}.shift"] = layer.channels_out
    return lengths


def fits(refinement: Refinement, sizes: ModelSizes) -> bool:
    """Whether a refinement names layers of such a model only, with vectors of their sizes."""
    lengths = refinement_sizes(sizes)
    return all(values.shape == (lengths.get(name),) for name, values in refinement.items())

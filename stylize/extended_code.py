"""The extended code: what every layer of G is asked for, and what a refined style adds to it.

A code z asks each layer for kernel coefficients a, a scale γ and a shift β (``stylize.generator.Modulation``), all
affine in z. A *refinement* adds to them directly, in directions that no z reaches: 2,500 numbers instead of 256, as W+
beside W in the inversion of StyleGAN (Abdal et al., "Image2StyleGAN", ICCV 2019). It is plain arrays by name, so that
every engine can fold it: ``a + refinement["LAYER.mix"]`` and so on, times the strength.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor

from stylize.generator import Generator, Modulation, StyleConv
from stylize.style_code import Refinement


def extend(
    modulations: Mapping[str, Modulation], refinement: Mapping[str, Tensor | np.ndarray], amount: float = 1.0
) -> dict[str, Modulation]:
    """The wishes of a code (S = 1), with ``amount`` times the refinement added."""
    extended = dict(modulations)
    for name, delta in refinement.items():
        layer, part = name.rsplit(".", 1)
        wish = extended[layer]
        added = torch.as_tensor(delta, device=wish.mix.device, dtype=wish.mix.dtype)
        extended[layer] = wish._replace(**{part: getattr(wish, part) + amount * added})
    return extended


def sizes_of(generator: Generator) -> dict[str, int]:
    """The names of everything that a refinement of this generator can add to, and how many numbers each has."""
    sizes = {}
    for name, module in generator.convs.items():
        conv = cast(StyleConv, module)
        sizes[f"{name}.mix"] = conv.mix.out_features
        if conv.layer.adain:
            sizes[f"{name}.scale"] = conv.layer.channels_out
        sizes[f"{name}.shift"] = conv.layer.channels_out
    return sizes


def fits(refinement: Refinement, generator: Generator) -> bool:
    """Whether a refinement names layers of this generator only, with vectors of their sizes."""
    sizes = sizes_of(generator)
    return all(values.shape == (sizes.get(name),) for name, values in refinement.items())

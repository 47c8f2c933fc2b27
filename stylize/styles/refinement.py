"""The extended code: what every layer of G is asked for, and what a refined style adds to it.

A code z asks each layer for kernel coefficients a, a scale γ and a shift β (``stylize.networks.generator.Modulation``),
all affine in z. A *refinement* adds to them directly, in directions that no z reaches, as W+ beside W in the inversion
of StyleGAN (Abdal et al., "Image2StyleGAN", ICCV 2019). To the kernel that the coefficients mix it adds a matrix of low
rank, as LoRA does (Hu et al., ICLR 2022): kernels that are in no bank. It is plain arrays by name, so that every engine
can fold it:

    LAYER.mix      (K,)           added to a
    LAYER.scale    (C_out,)       added to γ
    LAYER.shift    (C_out,)       added to β
    LAYER.left     (C_out, r)     W(z) + left @ right, a kernel seen as a matrix (C_out, 9 C_in)
    LAYER.right    (r, 9 C_in)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stylize.networks.plan import layers_of
from stylize.options import ModelSizes
from stylize.styles.style_code import FACTORS, Refinement

RANK = 4  # r of what ``stylize.training.refine`` learns: 48,000 numbers, 190 KB


def refinement_shapes(sizes: ModelSizes, rank: int = RANK) -> dict[str, tuple[int, ...]]:
    """The names of everything that a refinement for a model can add, and their shapes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers_of(sizes.widths).items():
        shapes[f"{name}.mix"] = (sizes.bank,)
        if layer.adain:
            shapes[f"{name}.scale"] = (layer.channels_out,)
        shapes[f"{name}.shift"] = (layer.channels_out,)
        shapes[f"{name}.left"] = (layer.channels_out, rank)
        shapes[f"{name}.right"] = (rank, 9 * layer.channels_in)
    return shapes


def fits(refinement: Refinement, sizes: ModelSizes) -> bool:
    """Whether a refinement names layers of such a model only, with arrays of their shapes; any rank is right."""
    shapes = refinement_shapes(sizes, rank=0)
    for name, values in refinement.items():
        layer, _, part = name.rpartition(".")
        wanted = shapes.get(name)
        if part in ("left", "right"):
            other = refinement.get(f"{layer}.{'right' if part == 'left' else 'left'}")
            if wanted is None or other is None or values.ndim != 2 or other.ndim != 2:
                return False
            axis = 1 if part == "left" else 0
            wanted = tuple(values.shape[k] if k == axis else wanted[k] for k in (0, 1))
            if values.shape[axis] != other.shape[1 - axis]:
                return False
        if values.shape != wanted:
            return False
    return True


def scaled(refinement: Refinement, factor: float) -> Refinement:
    """So much of a refinement: of the two factors of a product, only one is scaled."""
    return {
        name: values if name.endswith(".right") else np.float32(factor) * values for name, values in refinement.items()
    }


def weighted_sum(refinements: Sequence[Refinement], shares: Sequence[float] | NDArray[np.float64]) -> Refinement:
    """Σ share · refinement; a style that is not refined adds nothing. Products add up exactly, their ranks too."""
    total: dict[str, NDArray[np.float64]] = {}
    for refinement, share in zip(refinements, shares, strict=True):
        for name, values in scaled(refinement, share).items():
            if name not in total:
                total[name] = values.astype(np.float64)
            elif name.endswith(FACTORS):
                total[name] = np.concatenate([total[name], values], axis=1 if name.endswith(".left") else 0)
            else:
                total[name] = total[name] + values
    return {name: values.astype(np.float32) for name, values in total.items()}

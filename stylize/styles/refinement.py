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

from stylize.styles.style_code import FACTORS, Refinement


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

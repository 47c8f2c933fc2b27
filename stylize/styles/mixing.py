"""Mixing: several style codes with weights -> one style code.

Codes mix by their weighted mean: what the generator reads from a code, kernels, scales and shifts, it reads by linear
maps, so these mix alike. Palettes mix so that contrast changes evenly
(``stylize.images.palette.palette_among``). Refinements (``stylize.styles.refinement``) add up by their weights, moments
(``stylize.styles.moments``) mix by their weighted mean. A style with all of the weight comes out unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stylize.errors import RefusedError, UsageError
from stylize.images.palette import Floats, palette_among
from stylize.styles.moments import weighted_mean
from stylize.styles.refinement import weighted_sum
from stylize.styles.style_code import StyleCode


def mix(parts: Sequence[tuple[StyleCode, float]], title: str = "mixture") -> StyleCode:
    """The mixture of some styles of one model.

    Args:
        parts: styles and their weights, not negative; only the weights' ratios count. The order does not.

    Raises:
        UsageError: there is no style, or no weight above zero.
        RefusedError: the styles belong to different models.
    """
    most = max((weight for _, weight in parts), default=0)
    together: dict[bytes, tuple[StyleCode, float]] = {}  # a style that is named twice is one, of both weights
    for style, weight in parts:
        if weight > 0:
            before = together.get(key := style.to_bytes())
            together[key] = (style, weight / most + (before[1] if before else 0))  # sums of the largest floats overflow
    weighty = list(together.values())
    if not weighty:
        raise UsageError("the weights of the styles are all zero", hint="give one of them a weight above 0")
    if len(weighty) == 1:
        return replace(weighty[0][0], title=title)
    styles, weights = zip(*sorted(weighty, key=lambda part: (part[0].content_hash(), part[1])), strict=True)
    if len({style.model_hash for style in styles}) > 1:
        raise RefusedError("styles of different models cannot be mixed", hint="encode them again with one model")
    shares = np.asarray(weights, np.float64) / sum(weights)
    return StyleCode(
        code=mean([style.code for style in styles], shares),
        palette=palette_among([style.palette for style in styles], shares),
        model_hash=styles[0].model_hash,
        title=title,
        images=sum(style.images for style in styles),
        thumbnail=styles[int(np.argmax(shares))].thumbnail,
        refinement=weighted_sum([style.refinement for style in styles], shares),
        moments=weighted_mean([style.moments for style in styles], shares),
        merged_from=", ".join(f"{style.title}:{share:.3g}" for style, share in zip(styles, shares, strict=True)),
    )


def mean(vectors: Sequence[Floats], shares: NDArray[np.float64]) -> Floats:
    """The weighted mean of N vectors (D,); the N shares sum to 1."""
    return np.asarray(shares @ np.stack(vectors).astype(np.float64), np.float32)

"""The pixels of this revision: a batch keeps pictures of an earlier run for as long as ``REVISION`` stays the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stylize.batch.fingerprint import REVISION
from stylize.files.packaged import packaged_path
from stylize.images.reading import Pixels
from stylize.options import Look
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode

CELL = 16  # pixels: side of the squares whose mean colours are compared
TOLERANCE = 2.0  # of 255: how far processors, bf16 and rounding to whole numbers take a mean
GOLDEN = {
    "WHOLE": """
bdddd6 a9beb8 919a9a 6c8189 3e6c72 4b6a70 6c7d7f a5b0a1
e9faee d6faef a4cabb a2a296 858b86 8e9e99 b7baa5 b7bea4
77878e 6b8690 78888c 87847f ac9b8a b39a8c 947d7b 9b8181
8e6f7d 6e7187 809593 c0ae97 b7a893 937a78 7f4a5a 64394f
4a4357 2a465e 245068 2f516e 6e6373 84616e 6a4c5b 41374f
7c8484 437d86 5f8c94 79afaf 75888f 6d787f 515d70 375664
""",
    "TILED": """
a5cbc9 a4b6b2 8b9496 647a84 2e636d 44616a 647479 97a49b
e8f9ec d8f8ed a4c8ba 989a93 778080 879793 b5b6a3 bdc2a7
76848d 6f8994 7c8d91 8b8882 b5a18e b69d8f 907b7a 987e7d
856576 676981 788d8e bfac97 b4a691 977a78 7c3f52 57324b
413a51 1e3e5a 1c4763 345673 6e6071 825e6b 694959 38324c
767f7f 457e86 5b8792 80b0b3 64767e 576269 4b5363 2e4d5d
""",
}


def photo() -> Pixels:
    """(96, 128, 3): slow waves, a bright square with sharp edges, and stripes."""
    y, x = np.mgrid[:96, :128]
    waves = np.stack([np.sin(x / 17 + y / 29), np.sin(y / 13), np.cos(x / 23 - y / 31)], axis=-1) * 90 + 128
    waves[24:60, 40:88] = (240, 200, 60)
    waves[70:, 64:, :] *= np.where(x[70:, 64:, None] // 4 % 2, 1.0, 0.4)
    return np.clip(waves, 0, 255).astype(np.uint8)


def mean_colours(pixels: Pixels) -> np.ndarray:
    """(6, 8, 3): the mean colour of each square."""
    return pixels.reshape(6, CELL, 8, CELL, 3).mean((1, 3))


def numbers(text: str) -> np.ndarray:
    """The mean colours that are written as ``rrggbb``, a line for each row of squares."""
    return np.array([[list(bytes.fromhex(word)) for word in row.split()] for row in text.strip().splitlines()], float)


def as_text(colours: np.ndarray) -> str:
    """The colours as ``GOLDEN`` has them."""
    return "\n".join(" ".join(bytes(np.rint(cell).astype(np.uint8)).hex() for cell in row) for row in colours)


def painted(engine: str, style: str = "woodcut", strength: float = 1.0, *, tiled: bool = False) -> np.ndarray:
    """The mean colours of the photo, painted as a whole or, as large photos are, in tiles with measured statistics."""
    code = StyleCode.load(packaged_path("styles") / f"{style}.safetensors")
    stylizer = Stylizer(device="cpu", engine=engine)
    if tiled:
        return mean_colours(
            stylizer.freeze([photo(), photo()[:, ::-1]], code, Look(strength=strength), tile=64)(photo())
        )
    return mean_colours(stylizer.transfer(photo(), code, strength=strength))


@pytest.mark.parametrize(("name", "tiled"), [("WHOLE", False), ("TILED", True)])
@pytest.mark.parametrize(("engine", "bf16"), [("onnx", False), ("torch", False), ("torch", True)])
def test_the_pixels_are_those_of_this_revision(
    engine: str, bf16: bool, name: str, tiled: bool, set_bf16: Callable[[bool], None]
) -> None:
    if bf16 and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("oneDNN has no bf16 here, not even emulated")
    set_bf16(bf16)
    colours = painted(engine, tiled=tiled)
    apart = np.abs(colours - numbers(GOLDEN[name])).max()
    assert apart <= TOLERANCE, (
        f"the pixels changed, by up to {apart:.1f}: raise REVISION from {REVISION}, "
        f"and write the new numbers as {name} into GOLDEN:\n{as_text(colours)}"
    )


@pytest.mark.parametrize(("style", "strength"), [("woodcut", 0.97), ("ink", 1.0)])
def test_the_numbers_tell_other_pixels(style: str, strength: float) -> None:
    assert np.abs(painted("onnx", style, strength) - numbers(GOLDEN["WHOLE"])).max() > 1.5 * TOLERANCE

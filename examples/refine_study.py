"""What refining brings: style distances of plain and refined codes, on photos that the refinement never saw.

    pip install "stylize[train]" && python examples/refine_study.py --photos photos/ --styles paintings/

Every style picture is encoded, refined, and painted on every photo with both codes. The judges are VGG19 and, where it
is installed, the network of ``second_network``, which took no part. All pictures are cut to squares of one size.

    style        squared distance of the channels' means and deviations, relu1_1 … relu5_1 (Huang & Belongie 2017)
    gram         relative distance of the Gram matrices there (Gatys et al. 2016)
    eff_style    as style, over four stages of EfficientNet-Lite0
    content      squared distance of relu4_1 and relu5_1 to the photo's
    content_mvn  the same, each channel brought to mean 0 and deviation 1 first

``halves`` is the style measure between the halves of the style picture itself (upper and lower, left and right): what
one hand differs from itself. A distance near it is as good as nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import second_network
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stylize import losses
from stylize.data import to_tensor
from stylize.device import channels_last, pick_precision
from stylize.images import Pixels, fill_transparent, read_image
from stylize.perceptual import FeatureStatistics, feature_statistics, load_vgg19
from stylize.refine import PERCEPTUAL, STEPS, chosen, refine
from stylize.style_code import StyleCode
from stylize.transfer import Stylizer

Scores = dict[str, float]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def main() -> None:
    """Read the folders, refine style by style, print a row for each as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos; refining never sees them")
    parser.add_argument("--styles", type=Path, required=True, help="folder of style pictures")
    parser.add_argument("--most-photos", type=int, default=6)
    parser.add_argument("--most-styles", type=int, default=20)
    parser.add_argument("--size", type=int, default=512, help="side of all pictures, pixels")
    parser.add_argument("--perceptual", choices=PERCEPTUAL, default="auto", help="what refining measures with")
    parser.add_argument("--steps", type=int, default=STEPS, help="of refining, at most")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    photos = read_folder(options.photos, options.most_photos, options.size)
    styles = read_folder(options.styles, options.most_styles, options.size)
    judges = Judges(list(photos.values()), list(styles.values()))
    stylizer = Stylizer(options.model)
    measures = judges.measures
    print(f"refined with {chosen(options.perceptual)}, {len(photos)} photos, {options.size} px\n")
    print(f"| style | {' | '.join(measures)} | halves | seconds |\n|---|{'---|' * (len(measures) + 2)}")
    results: list[dict[str, Any]] = []
    for name, picture in styles.items():
        plain = stylizer.encode_style([picture])
        start = time.monotonic()
        refined = refine(stylizer, plain, [picture], steps=options.steps, perceptual=options.perceptual)
        seconds = time.monotonic() - start
        before, after = (judges.scores(stylizer, code, picture) for code in (plain, refined))
        halves = judges.halves(picture)
        cells = [f"{before[m]:.3g} → {after[m]:.3g} ({after[m] / before[m] - 1:+.0%})" for m in measures]
        print(f"| {name} | {' | '.join(cells)} | {halves:.2f} | {seconds:.0f} |", flush=True)
        results.append({"style": name, "plain": before, "refined": after, "halves": halves, "seconds": seconds})
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1))
    changes = {m: [r["refined"][m] / r["plain"][m] - 1 for r in results] for m in measures}
    means = [f"{np.mean(c):+.0%}, {sum(x <= -0.3 for x in c)} of {len(c)} by 30 % or more" for c in changes.values()]
    print(f"| mean | {' | '.join(means)} | | |")


def read_folder(folder: Path, most: int, size: int) -> dict[str, Pixels]:
    """At most so many pictures of a folder, evenly spaced over their sorted names: name -> (size, size, 3) uint8."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"no pictures in {folder}")
    count = min(most, len(files))
    pictures = {}
    for file in (files[k * len(files) // count] for k in range(count)):
        picture = read_image(file)
        image = Image.fromarray(fill_transparent(picture.pixels, picture.alpha))
        pictures[file.stem] = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS))
    return pictures


class Judges:
    """The networks that score pictures, normalised on those that they are to judge.

    Args:
        photos, styles: (H, W, 3) uint8.
    """

    def __init__(self, photos: Sequence[Pixels], styles: Sequence[Pixels]) -> None:
        pictures = [*photos, *styles]
        self.precision = pick_precision(torch.device("cpu"))
        self.vgg = channels_last(load_vgg19()).eval().requires_grad_(False)
        self.vgg.normalise(as_tensor(picture) for picture in pictures)
        self.vgg.to(self.precision)
        self.lite = second_network.load(map(as_tensor, pictures)) if second_network.installed() else None
        self.measures = ["style", "gram", *(["eff_style"] if self.lite else []), "content", "content_mvn"]
        self.photos = [(photo, self.look(photo)[3:]) for photo in photos]

    @torch.inference_mode()
    def look(self, pixels: Pixels) -> list[Tensor]:
        """VGG19's maps of a picture."""
        return [f.float() for f in self.vgg(as_tensor(pixels).to(self.precision))]

    @torch.inference_mode()
    def scores(self, stylizer: Stylizer, code: StyleCode, style: Pixels) -> Scores:
        """Every measure, in the mean over the photos painted with a code."""
        wanted = statistics(self.look(style))
        lite_wanted = statistics(self.lite(as_tensor(style))) if self.lite else []
        rows = []
        for photo, own in self.photos:
            output = stylizer.transfer(photo, code)
            maps = self.look(output)
            row = {
                "style": float(losses.moments_distance(statistics(maps), wanted)),
                "gram": float(losses.style_loss(statistics(maps), wanted)),
                "content": float(losses.feature_distance(maps[3:], own)),
                "content_mvn": float(losses.content_loss(maps[3:], own)),
            }
            if self.lite:
                row["eff_style"] = float(losses.moments_distance(statistics(self.lite(as_tensor(output))), lite_wanted))
            rows.append(row)
        return {measure: float(np.mean([row[measure] for row in rows])) for measure in self.measures}

    @torch.inference_mode()
    def halves(self, style: Pixels) -> float:
        """The measure ``style`` between the halves of one picture, upper to lower and left to right."""
        half = len(style) // 2
        pairs = [(style[:half], style[-half:]), (style[:, :half], style[:, -half:])]
        seen = [[statistics(self.look(np.ascontiguousarray(part))) for part in pair] for pair in pairs]
        return float(np.mean([float(losses.moments_distance(one, other)) for one, other in seen]))


def statistics(maps: Sequence[Tensor]) -> list[FeatureStatistics]:
    """Gram matrix, means and deviations of every map."""
    return [feature_statistics(f) for f in maps]


def as_tensor(pixels: Pixels) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return to_tensor([pixels], torch.device("cpu"))


if __name__ == "__main__":
    main()

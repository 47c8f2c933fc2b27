"""What refining brings: style distances of plain and refined codes, on photos that the refinement never saw.

    pip install ".[torch]" && python examples/studies/refine_study.py --photos photos/ --styles paintings/

Every style picture is encoded, refined, and painted on every photo with both codes. The judges are VGG19 and, where it
is installed, the second network of ``judges``, which took no part. All pictures are cut to squares of one size.

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
from judges import Judges, Looked
from PIL import Image, ImageOps

from stylize.images.reading import Pixels, fill_transparent, read_image
from stylize.options import REFINE_STEPS, RefineOptions
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode
from stylize.training import losses
from stylize.training.evaluation import Scores
from stylize.training.refine import PERCEPTUAL, chosen, refine

MEASURES = ("style", "gram", "eff_style", "content", "content_mvn")
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
    parser.add_argument("--steps", type=int, default=REFINE_STEPS, help="of refining, at most")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    photos = read_folder(options.photos, options.most_photos, options.size)
    styles = read_folder(options.styles, options.most_styles, options.size)
    judges = Judges([*photos.values(), *styles.values()])
    looked = [(photo, judges.look(photo)) for photo in photos.values()]
    stylizer = Stylizer(options.model)
    measures = [m for m in MEASURES if judges.lite or not m.startswith("eff")]
    print(f"refined with {chosen(options.perceptual)}, {len(photos)} photos, {options.size} px\n")
    print(f"| style | {' | '.join(measures)} | halves | seconds |\n|---|{'---|' * (len(measures) + 2)}")
    how = RefineOptions(steps=options.steps, perceptual=options.perceptual)
    results: list[dict[str, Any]] = []
    for name, picture in styles.items():
        plain = stylizer.encode_style([picture])
        start = time.monotonic()
        refined = refine(stylizer, plain, [picture], options=how)
        seconds = time.monotonic() - start
        seen = judges.look(picture)
        before, after = (scores(judges, looked, stylizer, code, seen) for code in (plain, refined))
        halves = halves_of(judges, picture)
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


def scores(
    judges: Judges, photos: Sequence[tuple[Pixels, Looked]], stylizer: Stylizer, code: StyleCode, style: Looked
) -> Scores:
    """Every measure, in the mean over the photos painted with a code."""
    rows = [judges.score(own, style, judges.look(stylizer.transfer(photo, code))) for photo, own in photos]
    return {measure: float(np.mean([row[measure] for row in rows])) for measure in rows[0]}


def halves_of(judges: Judges, style: Pixels) -> float:
    """The measure ``style`` between the halves of one picture, upper to lower and left to right."""
    half = len(style) // 2
    pairs = [(style[:half], style[-half:]), (style[:, :half], style[:, -half:])]
    seen = [[judges.look(np.ascontiguousarray(part)).vgg.statistics for part in pair] for pair in pairs]
    return float(np.mean([float(losses.moments_distance(one, other)) for one, other in seen]))


if __name__ == "__main__":
    main()

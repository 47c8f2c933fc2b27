"""Paint the style pictures of this folder, from nothing but seeded random numbers.

    python examples/paint.py examples/styles

One function paints one picture; below them stands a small box of tools they share: smooth noise, colour ramps, brush
strokes that follow a flow field, and a raking light over thick paint. Every picture is painted at `OVERSAMPLE` times
its size and reduced at the end, which is all the antialiasing there is. The same versions of numpy and Pillow give the
same bytes. Lengths are in pixels of the large canvas; colours are sRGB in [0, 1]; planes are (H, W), pictures
(H, W, 3); points are (x, y).
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float64]
Generator = np.random.Generator

OVERSAMPLE = 2
WIDTH, HEIGHT = 768 * OVERSAMPLE, 576 * OVERSAMPLE
JPEG_QUALITY = 90
Y, X = (plane.astype(np.float64) for plane in np.mgrid[0:HEIGHT, 0:WIDTH])


# --- tools -----------------------------------------------------------------------------------------------------------


def noise(rng: Generator, cell: float, octaves: int = 4, stretch: float = 1.0) -> Floats:
    """Smooth noise on [0, 1]; `cell` is the size of its largest features, `stretch` their width over height."""
    total = np.zeros((HEIGHT, WIDTH))
    for octave in range(octaves):
        size = cell / 2**octave
        columns, rows = int(WIDTH / size / stretch) + 3, int(HEIGHT / size) + 3
        grid = Image.fromarray(rng.random((rows, columns)).astype(np.float32))
        total += np.asarray(grid.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float64) / 2**octave
    spread: Floats = (total - total.min()) / np.ptp(total)
    return spread


def rgb(*codes: str) -> Floats:
    """Hexadecimal colours as an (n, 3) palette."""
    return np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes])


def ramp(palette: Floats, position: Floats) -> Floats:
    """Colours along a palette: (H, W) in [0, 1] -> (H, W, 3)."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(position, stops, palette[:, channel]) for channel in range(3)], axis=-1)


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; falling instead of rising if `low` > `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blend(under: Floats, over: Floats, coverage: Floats) -> Floats:
    """Lay `over`, a picture or one colour, on a picture where `coverage` (H, W) is 1."""
    return under + (over - under) * coverage[..., None]


def to_image(picture: Floats) -> Image.Image:
    """An (H, W, 3) or (H, W) array in [0, 1] as an 8-bit image."""
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def to_array(image: Image.Image) -> Floats:
    """The inverse of `to_image`."""
    return np.asarray(image, np.float64) / 255


def light(picture: Floats, thickness: Floats, strength: float, softness: float = 1.0) -> Floats:
    """Shade a picture as if its paint had this `thickness` and a lamp stood at the upper left."""
    surface = to_array(to_image(thickness).filter(ImageFilter.GaussianBlur(softness)))
    slope_y, slope_x = np.gradient(surface)
    shade = np.clip(strength * (slope_x + slope_y), -0.45, 0.45)[..., None]
    lit: Floats = np.where(shade > 0, picture + (1 - picture) * shade, picture * (1 + shade))
    return lit


def follow(angle: Floats, starts: Floats, length: float, steps: int = 9) -> Floats:
    """Paths of `length` through a field of angles, centred on their starts: (n, 2) -> (n, 2 * steps - 1, 2)."""
    halves = []
    for direction in (-1, 1):
        points = [starts]
        for _ in range(steps - 1):
            heading = pick(angle, points[-1])
            advance = np.stack([np.cos(heading), np.sin(heading)], axis=1)
            points.append(points[-1] + advance * direction * length / (2 * steps - 2))
        halves.append(np.stack(points, axis=1))
    return np.concatenate([halves[0][:, :0:-1], halves[1]], axis=1)


def scatter(rng: Generator, spacing: float, margin: float = 40) -> Floats:
    """Points about `spacing` apart on and around the canvas, in random order: (n, 2)."""
    x, y = np.meshgrid(np.arange(-margin, WIDTH + margin, spacing), np.arange(-margin, HEIGHT + margin, spacing))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return rng.permutation(points + rng.uniform(-0.7, 0.7, points.shape) * spacing)


def pick(plane: Floats, points: Floats) -> Floats:
    """The values of a plane or picture at points (n, 2), the nearest edge for those outside."""
    column = np.clip(points[:, 0], 0, WIDTH - 1).astype(int)
    row = np.clip(points[:, 1], 0, HEIGHT - 1).astype(int)
    values: Floats = plane[row, column]
    return values


class Canvas:
    """Wet paint: a colour picture, and how thick the paint lies on it."""

    def __init__(self, ground: Floats) -> None:
        self.colour = to_image(ground)
        self.thickness = Image.new("L", self.colour.size, 110)

    def bristle_stroke(self, rng: Generator, path: Floats, width: float, colour: Floats, streak: float) -> None:
        """Drag a flat brush along a path (n, 2). Its bristles differ in colour by `streak`, and lift at random."""
        colour_pen, thickness_pen = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.thickness)
        tangent = np.gradient(path, axis=0)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        count = max(3, round(width / 3.2))
        reach = len(path) // 4 + 1
        for offset in rng.permutation(np.linspace(-0.5, 0.5, count)):
            first, last = rng.integers(0, reach), len(path) - rng.integers(0, reach)
            bristle = [(float(x), float(y)) for x, y in (path + normal * offset * width)[first:last]]
            tint = np.clip(colour + rng.normal(0, streak), 0, 1) * 255
            pen_width = round(width / count) + 2
            colour_pen.line(bristle, (int(tint[0]), int(tint[1]), int(tint[2])), pen_width, joint="curve")
            thickness_pen.line(bristle, int(rng.integers(60, 200) + 50 * (0.5 - abs(offset))), pen_width)

    def cover(
        self,
        rng: Generator,
        subject: Floats,
        angle: Floats,
        *,
        width: float,
        length: float,
        where: Floats | None = None,
        variety: float = 0.05,
        streak: float = 0.03,
    ) -> None:
        """Cover the canvas with strokes along `angle` in the colours of `subject`, as likely as `where` says."""
        starts = scatter(rng, max(width * 0.9, 7))
        colours = pick(subject, starts) * (1 + rng.normal(0, variety, (len(starts), 1)))
        colours += rng.normal(0, variety * 0.3, colours.shape)
        chosen = np.ones(len(starts), bool) if where is None else rng.random(len(starts)) < pick(where, starts)
        paths = follow(angle, starts, length)
        for path, colour in zip(paths[chosen], colours[chosen], strict=True):
            self.bristle_stroke(rng, path, width * rng.uniform(0.7, 1.2), colour, streak)

    def lit(self, strength: float) -> Floats:
        """The painting under a raking light."""
        return light(to_array(self.colour), to_array(self.thickness), strength)


# --- styles ----------------------------------------------------------------------------------------------------------


def swirls(rng: Generator) -> Floats:
    """Thick night-blue and yellow oil strokes that turn around lamps in the sky."""
    drift = noise(rng, 520, 2)
    flow_x, flow_y = 1 + 0 * X, 1.5 * (drift - 0.5) + 0.35 * np.sin(X / 170 + Y / 320)
    glow, rings = np.zeros_like(X), 0.30 * noise(rng, 300, 3) + 0.10 * np.sin(Y / 34 + 9 * drift)
    for x, y, radius, spin in (
        (0.47, 0.40, 270, 1), (0.66, 0.52, 170, -1), (0.13, 0.20, 130, 1), (0.86, 0.17, 200, 1),
        (0.30, 0.12, 90, -1), (0.12, 0.62, 120, -1), (0.90, 0.62, 95, 1), (0.36, 0.72, 85, 1), (0.63, 0.14, 75, 1),
    ):  # fmt: skip
        dx, dy = X - x * WIDTH, Y - y * HEIGHT
        distance = np.hypot(dx, dy) + 1
        pull = 5 * np.exp(-((distance / radius) ** 2) / 1.3)
        flow_x += pull * spin * (-dy - 0.25 * dx * spin) / distance
        flow_y += pull * spin * (dx - 0.25 * dy * spin) / distance
        glow = np.maximum(glow, np.exp(-((distance / radius) ** 2) * 3.2))
        turn = np.arctan2(dy, dx) * spin
        rings += 0.26 * np.exp(-((distance / radius) ** 2)) * np.sin(distance / radius * 15 - 2 * turn)
    angle = np.arctan2(flow_y, flow_x)
    sky = ramp(rgb("0b1540", "12307a", "1c52a8", "3b86c4", "86bccb", "cfdcb4"), 0.14 + 1.35 * rings + 0.25 * glow)
    lamps = ramp(rgb("e8a51c", "f6c829", "fbe46a", "fff6c0"), smoothstep(0.35, 1.0, glow + 0.3 * rings))
    subject = blend(sky, lamps, smoothstep(0.22, 0.50, glow + 0.5 * rings * glow))
    ridge = HEIGHT * (0.86 + 0.05 * np.sin(X / 210) - 0.09 * np.exp(-(((X - 1250) / 260) ** 2)))
    hills = ramp(rgb("07142b", "11303f", "235a4c", "6f8a3c"), 0.25 + 0.5 * np.sin((Y - ridge) / 21 + 5 * drift) ** 2)
    below = smoothstep(-4, 4, Y - ridge)
    subject = blend(subject, hills, below)
    angle = np.where(below > 0.5, 0.35 * np.cos(X / 210) + 0.8 * (drift - 0.5), angle)
    canvas = Canvas(subject * 0.6)
    canvas.cover(rng, subject, angle, width=30, length=120, variety=0.10, streak=0.03)
    canvas.cover(rng, subject, angle, width=18, length=80, variety=0.14, streak=0.04)
    canvas.cover(rng, subject, angle, width=11, length=52, where=0.25 + 0.6 * glow, variety=0.18, streak=0.05)
    return canvas.lit(2.2)


def ink(rng: Generator) -> Floats:
    """Black ink on warm paper: misty mountains in grey washes and layers of hatching."""
    fibre = noise(rng, 9, 2, stretch=6)
    picture = rgb("f3e8d2") * (0.93 + 0.05 * noise(rng, 300, 4) + 0.04 * fibre)[..., None]
    tone, slope = 0.07 * noise(rng, 300, 3, stretch=4), np.zeros_like(X)
    for layer in range(5):
        crags = noise(rng, 330, 5)
        ridge = HEIGHT * (0.10 + 0.19 * layer) - 420 * (noise(rng, 430, 6)[HEIGHT // 2] - 0.45)
        below = Y - ridge
        mist = np.exp(-np.maximum(below, 0) / (45 + 17 * layer))
        folds = smoothstep(0.10, 0.0, np.abs(crags - 0.5)) * np.exp(-np.maximum(below, 0) / 160)
        inside = smoothstep(0, 3, below)
        tone = blend(tone[..., None], ((0.38 + 0.12 * layer) * (mist + 0.7 * folds))[..., None], inside)[..., 0]
        slope = np.where(below > 0, np.arctan(np.gradient(ridge)) + 1.2 + 2.2 * (crags - 0.5), slope)
    soot = rgb("1a181a")
    picture = blend(picture, soot, np.clip(tone * (0.2 + 1.5 * noise(rng, 150, 5)), 0, 0.8))
    sheet = Image.new("L", (WIDTH, HEIGHT), 0)
    pen = ImageDraw.Draw(sheet)
    for threshold, turn in ((0.08, 0.0), (0.30, 0.45), (0.55, -0.5)):
        starts = scatter(rng, 16)
        dark = pick(tone, starts) + rng.normal(0, 0.05, len(starts)) - threshold
        for path, pressure in zip(follow(slope + turn, starts, 64), dark, strict=True):
            if pressure > 0:
                hatch(pen, path, rng.uniform(1.3, 3.0) + 7 * min(float(pressure), 0.7) ** 1.5)
    for x, y in scatter(rng, 75):
        size = rng.exponential(1.8) + 0.6
        pen.ellipse((x - size, y - size, x + size, y + size), fill=235)
    lines = to_array(sheet) * (0.72 + 0.5 * smoothstep(0.25, 0.5, fibre))
    return blend(picture, soot * 0.8, np.clip(lines, 0, 0.96))


def hatch(pen: ImageDraw.ImageDraw, path: Floats, width: float) -> None:
    """One pen line (n, 2) that swells to `width` in its middle and ends in points."""
    tangent = np.gradient(path, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9)
    swell = np.sin(np.linspace(0, np.pi, len(path)))[:, None] ** 0.7 * width / 2
    outline = np.concatenate([path + normal * swell, (path - normal * swell)[::-1]])
    pen.polygon([(float(x), float(y)) for x, y in outline], fill=255)


def mosaic(rng: Generator) -> Floats:
    """Glass tiles laid in rings around suns, with dark grout between."""
    centres = np.array(
        [(0.30, 0.42), (0.76, 0.24), (0.80, 0.86), (0.10, 1.02), (0.48, 1.08), (0.02, 0.02), (0.52, -0.1)]
    )
    centres = centres * (WIDTH, HEIGHT)
    tile = 25.0
    seeds = []
    for index, (x, y) in enumerate(centres):
        for ring in range(60):
            radius = ring * tile
            count = max(1, round(2 * np.pi * radius / (tile * 1.15)))
            turn = np.arange(count) / count * 2 * np.pi + rng.uniform(0, 2 * np.pi)
            around = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)
            owner = np.argmin(np.linalg.norm(around[:, None] - centres, axis=2), axis=1)
            inside = ((around > -tile) & (around < (WIDTH + tile, HEIGHT + tile))).all(axis=1)
            seeds.append(around[(owner == index) & inside])
    points = np.concatenate(seeds)
    points += rng.normal(0, 1.8, points.shape)
    nearest = voronoi(points)
    gaps = np.linalg.norm(points[:, None] - centres, axis=2)
    owner, radius = gaps.argmin(axis=1), gaps.min(axis=1)
    palette = rgb(
        "fff0c2", "f9c74f", "f3722c", "d62828", "8d1b3d", "3d1a4e", "1b6f7a", "43aa8b", "f9c74f", "f08a24", "b3202c"
    )
    band = (radius / (tile * 2) + owner * 3 + rng.normal(0, 0.30, len(points))).astype(int) % len(palette)
    band[radius < tile * 2.5] = 0
    colours = palette[band] * rng.normal(1, 0.13, (len(points), 1)) + rng.normal(0, 0.035, (len(points), 3))
    picture = colours[nearest]
    tilt = rng.normal(0, 0.011, (len(points), 2))[nearest]
    picture *= 1 + (tilt[..., 0] * (X - points[nearest, 0]) + tilt[..., 1] * (Y - points[nearest, 1]))[..., None]
    picture *= (0.86 + 0.28 * noise(rng, 16, 3))[..., None]
    picture = blend(picture, np.ones(3), 0.30 * smoothstep(0.70, 0.85, noise(rng, 22, 2)))
    seam = np.sign(np.hypot(*np.gradient(nearest.astype(np.float64))))
    spread = to_array(to_image(seam).filter(ImageFilter.GaussianBlur(2.2)))
    glass = 1 - smoothstep(0.14, 0.24, spread)
    grout = np.array([0.16, 0.13, 0.13]) * (0.7 + 0.6 * noise(rng, 6, 2))[..., None]
    return light(blend(grout, picture, glass), glass * 0.8 + 0.1 * noise(rng, 30, 2), 2.2, softness=2.5)


def voronoi(points: Floats) -> NDArray[np.int64]:
    """The index of the nearest point (n, 2) for each pixel, by jump flooding (Rong & Tan 2006): (H, W)."""
    label = np.full((HEIGHT, WIDTH), -1)
    column = np.clip(points[:, 0], 0, WIDTH - 1).astype(int)
    row = np.clip(points[:, 1], 0, HEIGHT - 1).astype(int)
    label[row, column] = np.arange(len(points))
    best = np.where(label >= 0, 0.0, np.inf)
    for step in (64, 32, 16, 8, 4, 2, 1, 1):
        for dy in (-step, 0, step):
            for dx in (-step, 0, step):
                other = np.roll(label, (dy, dx), (0, 1))
                distance = np.hypot(X - points[other, 0], Y - points[other, 1])
                closer = (other >= 0) & (distance < best)
                label, best = np.where(closer, other, label), np.where(closer, distance, best)
    return label


def watercolour(rng: Generator) -> Floats:
    """Transparent flowers that bled into wet paper: pale washes, dark pigment edges, granulation."""
    grain = noise(rng, 5, 2)
    edge_noise, bloom_noise = noise(rng, 130, 6), noise(rng, 200, 5)
    density = np.zeros((HEIGHT, WIDTH, 3))

    def drop(x: float, y: float, long: float, wide: float, turn: float, colour: Floats, strength: float) -> None:
        """Let one drop of pigment dry: an ellipse with a ragged outline, its pigment carried to the rim."""
        reach = min(int(1.5 * long) + 8, HEIGHT // 2 - 1)
        rows = slice(max(0, int(y) - reach), min(HEIGHT, int(y) + reach))
        columns = slice(max(0, int(x) - reach), min(WIDTH, int(x) + reach))
        dx, dy = X[rows, columns] - x, Y[rows, columns] - y
        if dx.size == 0:
            return
        top, left = rng.integers(0, HEIGHT - dx.shape[0]), rng.integers(0, WIDTH - dx.shape[1] + 1)
        elsewhere = np.s_[top : top + dx.shape[0], left : left + dx.shape[1]]
        rag, bloom = edge_noise[elsewhere], bloom_noise[elsewhere]
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        radius = np.hypot(along / long, across / wide) + 1.1 * (rag - 0.5)
        rim = np.exp(-(((radius - 0.96) * wide / 3) ** 2)) * smoothstep(0.25, 0.6, bloom)
        body = smoothstep(1.0, 1.0 - 5 / wide, radius) * (0.12 + 0.9 * bloom + 0.35 * np.clip(radius, 0, 1) ** 3)
        density[rows, columns] -= (strength * (body + 0.8 * rim))[..., None] * np.log(np.clip(colour, 0.03, 0.97))

    flowers = rgb("e0457b", "f2765a", "8a5cc0", "f7ad35", "4a7fdc", "d63a6a")
    leaves = rgb("3aa08c", "6fb35f", "3f8fc0", "a4bd4a")
    both = np.concatenate([flowers, leaves])
    for x, y in scatter(rng, 270, margin=0):
        size = rng.uniform(170, 330)
        drop(x, y, size, size * 0.7, rng.uniform(0, 3), 0.5 + 0.5 * rng.choice(both), 0.42)
    for x, y in scatter(rng, 205, margin=0):
        drop(x, y, rng.uniform(90, 170), rng.uniform(22, 46), rng.uniform(0, 6.3), rng.choice(leaves), 0.75)
    for x, y in scatter(rng, 290, margin=0):
        colour, size, start = rng.choice(flowers), rng.uniform(65, 130), rng.uniform(0, 6.3)
        for petal in range(5):
            turn = start + petal * 2 * np.pi / 5 + rng.normal(0, 0.12)
            tint = np.clip(colour + rng.normal(0, 0.07, 3), 0, 1)
            drop(x + size * 0.8 * np.cos(turn), y + size * 0.8 * np.sin(turn), size * 0.85, size * 0.5, turn, tint, 0.8)
        drop(x, y, size * 0.3, size * 0.27, 0, rgb("5a2a50")[0], 0.8)
    for x, y in scatter(rng, 55):
        size = rng.exponential(4) + 2
        drop(x, y, size, size * 0.95, 0, rng.choice(both), rng.uniform(0.3, 0.9))
    settled = density * (0.85 + 0.30 * smoothstep(0.62, 0.38, grain) * (0.4 + bloom_noise))[..., None]
    return light(rgb("fcf8f0") * np.exp(-settled), grain, 0.35)


def woodcut(rng: Generator) -> Floats:
    """A block print of waves under a red sun: three inks, carved contour lines, the grain of the plank."""
    cream, indigo, teal, red = rgb("f4e6c8", "16264f", "2f7f8c", "d9432f")
    plank = noise(rng, 14, 3, stretch=22)
    wobble = noise(rng, 120, 3)
    sun = np.hypot(X - WIDTH * 0.68, Y - HEIGHT * 0.26)
    rays = np.sin(np.arctan2(Y - HEIGHT * 0.26, X - WIDTH * 0.68) * 44 + 3 * wobble)
    picture = blend(np.broadcast_to(cream, (HEIGHT, WIDTH, 3)), teal, smoothstep(0.1, 0.3, rays + 0.9 - sun / 620))
    picture = blend(picture, cream, smoothstep(215, 211, sun))
    picture = blend(picture, red, smoothstep(190, 186, sun) * smoothstep(-0.98, -0.9, np.sin(sun / 9 + 5 * wobble)))
    for layer in range(8):
        bend = noise(rng, 360, 2)
        phase = X / rng.uniform(105, 150) + rng.uniform(0, 6) + 2.5 * bend
        crest = 1 - np.abs(np.sin(phase / 2)) ** 0.75
        depth = Y - (HEIGHT * (0.24 + 0.115 * layer) - (45 + 11 * layer) * crest + 60 * (bend - 0.5))
        inside = smoothstep(-1.5, 1.5, depth)
        groove = np.sin(depth / (2.6 + 0.35 * layer) + 8 * wobble)
        swell = 0.85 - 1.3 * np.exp(-np.maximum(depth, 0) / 30) + 0.45 * np.cos(phase) + 0.8 * (bend - 0.5)
        cut = smoothstep(-0.15, 0.15, groove + swell)
        ink_colour = (indigo, teal, indigo)[layer % 3]
        band = blend(np.broadcast_to(cream, (HEIGHT, WIDTH, 3)), ink_colour, cut)
        band = blend(band, red, smoothstep(0.35, 0.5, -groove) * smoothstep(60, 64, depth) * (layer % 3 == 2))
        band = blend(band, cream, smoothstep(11, 9, depth))
        band = blend(band, indigo, smoothstep(4.5, 3, depth))
        picture = blend(picture, band, inside)
    bare = smoothstep(0.70, 0.80, plank * 0.75 + 0.35 * noise(rng, 5, 2) + 0.12 * wobble)
    picture = blend(picture, cream, 0.9 * bare)
    return picture * (0.95 + 0.07 * plank)[..., None]


def gouache(rng: Generator, composition: str) -> Floats:
    """Matt, broad, flat strokes in one palette of clay, ochre, sage, plum and night; one hand, three subjects."""
    cream, rose, clay, ochre, sage, sea, plum, night = rgb(
        "f3e3c7", "e6a08c", "c8553d", "dfa03a", "8fa877", "2f6f73", "6b2d5c", "1f2041"
    )
    drift = noise(rng, 380, 3)
    angle = 2.2 * (drift - 0.5)
    if composition == "hills":
        subject = ramp(np.stack([night, plum, clay, rose, cream]), Y / (HEIGHT * 0.52) + 0.2 * (drift - 0.5))
        moon = np.hypot(X - WIDTH * 0.27, Y - HEIGHT * 0.24)
        subject = blend(subject, ochre, smoothstep(135, 125, moon))
        for layer, colour in enumerate((rose, sage, ochre, sea, clay, plum, night)):
            ridge = HEIGHT * (0.40 + 0.095 * layer) + 60 * np.sin(X / rng.uniform(150, 290) + rng.uniform(0, 6))
            stripes = np.where(np.sin((Y - ridge) / 13 + X / 90) > 0.55, 0.8, 1.0)[..., None]
            below = smoothstep(-2, 2, Y - ridge)
            subject = blend(subject, colour * stripes, below)
            angle = np.where(below > 0.5, np.arctan(np.gradient(ridge, axis=1)) + 0.4 * (drift - 0.5), angle)
    elif composition == "fruit":
        subject = ramp(np.stack([sea, sage, cream, rose]), 0.2 + Y / HEIGHT * 0.7 + 0.5 * (drift - 0.5))
        for x, y in scatter(rng, 235, margin=20):
            size, colour = rng.uniform(85, 175), rng.choice(np.stack([clay, ochre, plum, rose, night, sage, clay]))
            across, down = (X - x) / size, (Y - y) / size
            inside = smoothstep(1.01, 0.99, np.hypot(across, down))
            subject = blend(subject, night, smoothstep(1.1, 1.05, np.hypot(across - 0.22, down - 0.25)) * 0.7)
            subject = blend(subject, colour * np.clip(1 - 0.3 * (across + down), 0.5, 1.4)[..., None], inside)
            subject = blend(subject, cream, smoothstep(0.30, 0.22, np.hypot(across + 0.35, down + 0.38)) * 0.8)
            angle = np.where(inside > 0.5, np.arctan2(down + 0.6, across + 0.5) + np.pi / 2, angle)
    else:
        subject = ramp(np.stack([cream, ochre, rose, clay, plum]), drift * 1.2 + 0.25 * Y / HEIGHT - 0.15)
        for x, y in scatter(rng, 200, margin=60):
            size, turn = rng.uniform(130, 250), -np.pi / 2 + rng.normal(0, 0.7)
            along = ((X - x) * np.cos(turn) + (Y - y) * np.sin(turn)) / size
            across = ((Y - y) * np.cos(turn) - (X - x) * np.sin(turn)) / size
            half_width = 0.42 * np.cos(np.clip(along, -1, 1) * np.pi / 2)
            inside = smoothstep(0.01, -0.01, np.abs(across) - half_width) * (np.abs(along) < 1)
            colour = rng.choice(np.stack([sea, sage, night, plum, sage, sea, clay]))
            subject = blend(subject, colour * np.where(across > 0, 1.2, 0.8)[..., None], inside)
            angle = np.where(inside > 0.5, turn + 0.7 * np.sign(across), angle)
    canvas = Canvas(subject * 0.9)
    for width in (60, 36, 20):
        canvas.cover(rng, subject, angle, width=width, length=30 + 1.8 * width, variety=0.09, streak=0.015)
    return canvas.lit(0.8) * (0.96 + 0.06 * noise(rng, 5, 2))[..., None]


# --- the folder ------------------------------------------------------------------------------------------------------

PICTURES: dict[str, tuple[int, Callable[[Generator], Floats]]] = {
    "swirls.jpg": (1, swirls),
    "ink.jpg": (2, ink),
    "mosaic.jpg": (3, mosaic),
    "watercolour.jpg": (4, watercolour),
    "woodcut.jpg": (5, woodcut),
    "mine/1.jpg": (6, lambda rng: gouache(rng, "hills")),
    "mine/2.jpg": (7, lambda rng: gouache(rng, "fruit")),
    "mine/3.jpg": (8, lambda rng: gouache(rng, "leaves")),
}


def main(arguments: Sequence[str]) -> int:
    """Paint every picture of `PICTURES` into the folder named by the only argument."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python paint.py OUTDIR", file=sys.stderr)
        return 2
    for name, (seed, paint) in PICTURES.items():
        path = Path(arguments[0]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = to_image(paint(np.random.default_rng(seed)))
        picture.resize((WIDTH // OVERSAMPLE, HEIGHT // OVERSAMPLE), Image.Resampling.LANCZOS).save(
            path, quality=JPEG_QUALITY, optimize=True
        )
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

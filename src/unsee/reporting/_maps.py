"""Grad-CAM of the models side by side, on one colour scale: what is gone has to look gone."""

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray
from PIL import Image

from unsee.nouns import Run
from unsee.reporting._style import class_name, models, shortened, signed
from unsee.reporting._svg import FAINT, Picture, Sheet

WIDTH, GAP, HEAD, WORDS, FOOT = 400, 6, 22, 30, 58  # pixels
SIDE, SMALL = 96, 64  # pixels of an embedded picture; all grids together stay below 6 MB
DIM = 0.4  # how bright the picture below a map is
POWER = 0.5  # of the colour scale: faint evidence is to be seen, not rounded away
Array = NDArray[Any]
PARTS = {
    "forget": "forgotten",
    "retain": "retained",
    "forget-most": "most changed forgotten",
    "forget-least": "least changed forgotten",
}
READING = (
    "Rows whose unlearned map looks like the retrained one: the same evidence for the class. Where "
    "it looks like the original's, the evidence is still there."
)
WARNING = {
    "forget": "Drawn at random, not picked, but few. Absence of heat is not absence of memory.",
    "retain": "Drawn at random, not picked, but few: changes here are damage or drift.",
}
EXTREMES = "The most and the least changed of {n}, not typical."


@dataclass(frozen=True)
class Scale:
    """One colour scale for all maps of a grid."""

    most: float  # the largest value of any map shown
    change: float  # the largest difference, of either sign

    side: int = SIDE  # pixels of an embedded picture

    def heat(self, image: Array, values: Array) -> Array:
        """Lay a map over a dimmed picture: ``[H, W, 3]`` and ``[h, w]`` give ``[S, S, 3]``."""
        share = (_smooth(values, self.side) / self.most).clip(0, 1) ** POWER
        dimmed = DIM * _shown(image, self.side).mean(2, keepdims=True)
        heat = _colours("inferno")(share)[..., :3]
        return _bytes(dimmed + (heat - dimmed) * share[..., None])  # no evidence leaves the picture

    def difference(self, values: Array) -> Array:
        """Colour a difference of maps, white where nothing changed."""
        return _bytes(
            _colours("RdBu_r")(0.5 + 0.5 * _smooth(values, self.side) / self.change)[..., :3]
        )


def grids(run: Run, kind: str) -> list[Picture]:
    """Return one grid of maps per part of the data, forgotten images first.

    Args:
        run: with pictures and maps in its arrays; without them there are no grids.
        kind: "map" for the evidence for the true class, "answer_map" for the answered one.

    """
    maps = {
        (model, part): run.arrays[f"{model}/{part}/{kind}"].astype(np.float64)
        for part in PARTS
        for model in models(run)
        if f"{model}/{part}/{kind}" in run.arrays
    }
    both = [part for part in PARTS if {("original", part), ("unlearned", part)} <= maps.keys()]
    changes = [maps["unlearned", part] - maps["original", part] for part in both]
    most = max((float(m.max(initial=0)) for m in maps.values()), default=0)
    change = max((float(abs(c).max(initial=0)) for c in changes), default=0) or 1.0
    return [
        _grid(run, part, kind, {m: maps[m, part] for m in models(run) if (m, part) in maps}, scale)
        for part in PARTS
        if f"pictures/{part}/images" in run.arrays and ("original", part) in maps
        for scale in [Scale(most or 1.0, change, _side(part, kind))]
    ]


def _side(part: str, kind: str) -> int:
    return SIDE if kind == "map" and "-" not in part else SMALL


def native(run: Run) -> str | None:
    """Return the resolution of the maps, "4 x 4", None without maps."""
    sizes = (x.shape[1:] for name, x in run.arrays.items() if name.endswith("/map"))
    return next((f"{h} × {w}" for h, w in sizes), None)


def _grid(run: Run, part: str, kind: str, maps: dict[str, Array], scale: Scale) -> Picture:
    images = _last(run.arrays[f"pictures/{part}/images"])
    labels = [class_name(run, k) for k in run.arrays[f"pictures/{part}/labels"]]
    pair = "original" in maps and "unlearned" in maps
    columns = ["image", *maps, *(["difference"] if pair else [])]
    cell = (WIDTH - GAP * (len(columns) - 1)) / len(columns)
    step = cell + WORDS
    name = f"gradcam-{part}" + ("" if kind == "map" else "-answered")
    sheet = Sheet(name, WIDTH, HEAD + step * len(images) + FOOT)
    for n, column in enumerate(columns):
        sheet.write(n * (cell + GAP) + cell / 2, 9, column, align="center", size=11, weight="bold")
    for row, image in enumerate(images):
        top = HEAD + row * step
        for n, column in enumerate(columns):
            left, words = n * (cell + GAP), ("", "")
            if column == "image":
                pixels = _bytes(_shown(image, scale.side))
                words = (shortened(labels[row], 13), "true class")
            elif column == "difference":
                change = maps["unlearned"][row] - maps["original"][row]
                before, after = (maps[m][row].mean() for m in ("original", "unlearned"))
                pixels = scale.difference(change)
                words = (signed(after / before - 1), "mass") if before else words
            else:
                pixels, words = scale.heat(image, maps[column][row]), _said(run, column, part, row)
            sheet.picture(pixels, left, top, cell)
            sheet.write(left + cell / 2, top + cell + 8, words[0], align="center", size=10.5)
            sheet.write(
                left + cell / 2, top + cell + 19, words[1], align="center", size=9.5, colour=FAINT
            )
    _bars(sheet, scale, pair)
    what = "true class" if kind == "map" else "class that each model answers"
    title = f"{PARTS[part].capitalize()} images"
    alt = (
        f"Grad-CAM for the {what} on {len(images)} {PARTS[part]} images by {', '.join(maps)} model"
    )
    rows = tuple(_row(run, part, row, labels[row], maps) for row in range(len(images)))
    heads = (h for m in maps for h in (f"{m} answers", f"{m} p(true)", f"{m} mass"))
    mapped = run.arrays.get("original/forget/mass", ())
    many = f"{len(mapped):,}" if len(mapped) else "those mapped"
    warning = WARNING.get(part) or EXTREMES.format(n=many)
    head = ("id", "true class", *heads)
    return Picture(name, title, alt, sheet.svg(alt), head, rows, READING, warning)


def _said(run: Run, model: str, part: str, row: int) -> tuple[str, str]:
    """Return the answered class, and the probability of the true one."""
    answer = run.arrays.get(f"{model}/{part}/answer")
    likely = run.arrays.get(f"{model}/{part}/probability")
    return (
        "" if answer is None else "→ " + shortened(class_name(run, answer[row]), 11),
        "" if likely is None else f"p(true) {_probability(likely[row])}",
    )


def _row(run: Run, part: str, row: int, label: str, maps: dict[str, Array]) -> tuple[str, ...]:
    ids = run.arrays.get(f"pictures/{part}/ids")
    cells = ["" if ids is None else str(ids[row]), label]
    for model, values in maps.items():
        answer, likely = _said(run, model, part, row)
        cells += [
            answer.removeprefix("→ "),
            likely.removeprefix("p(true) "),
            f"{values[row].mean():.4f}",
        ]
    return tuple(cells)


def _probability(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else "<.005"


def _bars(sheet: Sheet, scale: Scale, pair: bool) -> None:
    """Draw the colour bars with their ends."""
    top, width = sheet.height - FOOT + 14, (WIDTH - 40) / 2
    ramp = np.linspace(0, 1, 128)[None]
    ends = ("0", f"{scale.most * 0.5 ** (1 / POWER):.2g}", f"max {scale.most:.3g}")
    bars = [("inferno", "evidence (logit, square root scale)", ends)]
    if pair:
        ends = (f"−{scale.change:.3g}", "0", f"+{scale.change:.3g}")
        bars.append(("RdBu_r", "unlearned − original (logit)", ends))
    for n, (colours, title, (low, middle, high)) in enumerate(bars):
        left = n * (width + 40)
        sheet.picture(_bytes(_colours(colours)(ramp)[..., :3]), left, top, width, 9)
        sheet.write(left, top - 8, title, size=9.5, colour=FAINT)
        sheet.write(left, top + 18, low, size=9.5, colour=FAINT)
        sheet.write(left + width, top + 18, high, align="right", size=9.5, colour=FAINT)
        sheet.write(left + width / 2, top + 18, middle, align="center", size=9.5, colour=FAINT)


def _colours(name: str) -> Colormap:
    return mpl.colormaps[name]


def _last(images: Array) -> Array:
    """Return ``[n, C, H, W]`` as ``[n, H, W, 3]``, by the first channel where C is not 3."""
    three = images if images.shape[1] == 3 else np.repeat(images[:, :1], 3, 1)
    return three.transpose(0, 2, 3, 1)


def thumbnail(image: Array, side: int) -> NDArray[np.uint8]:
    """Return a picture ``[C, H, W]`` as ``[side, side, 3]``."""
    return _bytes(_shown(_last(image[None])[0], side))


def _shown(image: Array, side: int) -> Array:
    """Return a picture ``[S, S, 3]`` in 0..1, small ones in sharp squares."""
    small = max(image.shape[:2]) <= side
    method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    resized = Image.fromarray(image.astype(np.uint8)).resize((side, side), method)
    return np.asarray(resized, dtype=np.float64) / 255


def _smooth(values: Array, side: int) -> Array:
    """Return a map ``[S, S]``, its own coarse grid smoothed."""
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), bilinear))


def _bytes(pixels: Array) -> NDArray[np.uint8]:
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)

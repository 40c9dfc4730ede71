"""A drawing surface over matplotlib: sizes in CSS pixels, words as text, colours of the page."""

import io
import re
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unsee.reporting._style import COLOURS, printable

# Stand-ins, since matplotlib knows no currentColor; each is a colour that nothing else has.
INK, FAINT, RULE = "#010203", "#040506", "#070809"
THEMED = {INK: "currentColor", FAINT: "var(--faint, #767676)", RULE: "var(--rule, #c8c8c8)"} | {
    colour.lower(): f"var(--{model}, {colour.lower()})" for model, colour in COLOURS.items()
}
ALONE = (  # what a page says for the drawings inside it
    "svg{color:#1c1c1c}@media (prefers-color-scheme:dark){svg{color:#e8e8e8;"
    "--faint:#a0a09c;--rule:#4a4d50;--original:#3f9fd8;--unlearned:#ee7c29;--retrained:#17b98b;--control:#a8a8a8}}"
)
ROUND = "svg *{stroke-linejoin:round;stroke-linecap:butt}"
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
FONT = "system-ui, sans-serif"
UNWANTED = (  # from what matplotlib writes
    r"<metadata>.*?</metadata>",
    r"<defs>\s*<style.*?</style>\s*</defs>",  # it would hold for the whole page
    r'(?<=<g) id="[\w.]+_\d+"',  # nobody refers to these, and other drawings have the same
    r' id="image\w+"',  # one picture twice would have the same
    r' transform="rotate\(-0 [^"]*"',
    r"<!--.*?-->",
    r"(?<=\n)\s+",
)


@dataclass(frozen=True)
class Picture:
    """One figure of the report, with what stands in for it where it cannot be seen."""

    name: str  # of its file in figures/
    title: str
    alt: str  # what it shows, in a sentence
    svg: str  # without a prologue, to stand inside a page
    head: tuple[str, ...] = ()  # its numbers as a table
    rows: tuple[tuple[str, ...], ...] = ()
    reading: str = ""  # how to read it
    warning: str = ""  # how it misleads

    def file(self) -> str:
        """Return the figure as the text of an SVG file."""
        inside = f"<style>{ALONE}{ROUND}</style>"
        return f'<?xml version="1.0" encoding="utf-8"?>\n{self.svg.replace(">", ">" + inside, 1)}\n'


@dataclass
class Sheet:
    """A blank drawing; ``paper`` is all of it, in pixels from the top left corner.

    Words are drawn as numbered places and put in afterwards: matplotlib would read a formula into
    a class called ``$x$``, and complain of every letter that its own font lacks.
    """

    name: str  # keeps the ids inside apart from those of other drawings in a page
    width: float
    height: float
    words: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figure = Figure(figsize=(self.width / 72, self.height / 72))
        FigureCanvasSVG(self.figure)
        self.figure.patch.set_visible(False)
        self.paper = self.axes(0, 0, self.width, self.height)
        self.paper.set(xlim=(0, self.width), ylim=(self.height, 0))

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return axes for data, without a frame or ticks, at that place in pixels."""
        place = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(place)
        axes.set_axis_off()  # without ticks to make it takes half the time
        return axes

    def write(
        self,
        x: float,
        y: float,
        text: object,
        *,
        align: str = "left",
        size: float = 11,
        weight: str = "normal",
        colour: str = INK,
    ) -> None:
        """Write a line of text at pixels of the paper, centred upon the height ``y``."""
        self.words.append(printable(text))
        place = f"«{len(self.words) - 1}»"
        look: dict[str, Any] = {"ha": align, "va": "center_baseline", "weight": weight}
        self.paper.text(x, y, place, size=size, color=colour, **look)

    def hint(self, artist: Artist, text: object) -> None:
        """Let a mark say what it stands for when a pointer rests on it."""
        self.hints.append(printable(text))
        artist.set_gid(f"hint-{len(self.hints) - 1}")

    def rule(
        self, x: float, top: float, bottom: float, *, colour: str = RULE, dash: str = "-"
    ) -> None:
        """Draw a hair line down the paper."""
        self.paper.plot([x, x], [top, bottom], color=colour, lw=0.8, ls=dash, clip_on=False)

    def picture(
        self,
        pixels: NDArray[np.uint8],
        left: float,
        top: float,
        width: float,
        height: float | None = None,
    ) -> None:
        """Embed ``[H, W, 3]`` as it is; square unless told otherwise."""
        place = (left, left + width, top + (height or width), top)
        self.paper.imshow(pixels, extent=place, interpolation="none", aspect="auto")
        self.paper.set(xlim=(0, self.width), ylim=(self.height, 0))

    def svg(self, alt: str) -> str:
        """Return the drawing as one ``<svg>`` element that follows the colours of its page."""
        settings: dict[Any, Any] = {
            "svg.fonttype": "none",
            "svg.hashsalt": self.name,
            "image.composite_image": False,
        }
        text = io.StringIO()
        with mpl.rc_context(settings):
            self.figure.savefig(text, format="svg", metadata={"Date": None})
        body = text.getvalue().partition("<svg")[2].partition(">")[2].rpartition("</svg>")[0]
        for unwanted in UNWANTED:
            body = re.sub(unwanted, "", body, flags=re.DOTALL)
        for stand_in, colour in THEMED.items():
            body = body.replace(stand_in, colour)
        body = re.sub(r"font-family: [^;\"]*", f"font-family: {FONT}", body)
        body = re.sub(r"(font: (?:\w+ )*[\d.]+px) [^;\"]*", rf"\1 {FONT}", body)
        body = re.sub(r"(\d\.\d{3})\d+", r"\1", body)  # thousandths of a pixel are fine enough

        def said(place: re.Match[str]) -> str:
            if place[1]:
                return f"<g><title>{escape(self.hints[int(place[1])])}</title>"
            return escape(self.words[int(place[2])])

        # In one go: what was put in may look like another place.
        body = re.sub(r'<g id="hint-(\d+)">|«(\d+)»', said, body)
        label = escape(printable(alt))
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        return f'<svg {NAMESPACES} {size} role="img" aria-label="{label}">{body.strip()}</svg>'

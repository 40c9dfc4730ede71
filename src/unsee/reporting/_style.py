"""What every picture shares: who is who, in which colour and shape, and how numbers are written."""

import re
import unicodedata
from itertools import accumulate
from typing import Any, Literal

from numpy.typing import NDArray

from unsee.nouns import Measurement, Run

Kind = Literal["share", "number", "count"]  # a value is written as 93.5 %, as 0.935 or as 94

MODELS = ("original", "unlearned", "retrained")
CONTROL = "control"  # the original's architecture with random weights, where it was asked
COLOURS = {  # Okabe and Ito
    "original": "#0072B2",
    "unlearned": "#D55E00",
    "retrained": "#009E73",
    "control": "#999999",
}
MARKERS = {"original": "o", "unlearned": "D", "retrained": "s", "control": "^"}
DASHES: dict[str, Any] = {  # of lines; colour is never the only sign
    "original": "-",
    "unlearned": (0, (6, 1.5)),
    "retrained": (0, (2, 1.2)),
    "control": (0, (1, 1)),
}
FEW = 30  # images of a class below which its accuracy says little
MISSING = "not recorded"
FIXED = "\u00a0"  # a space at which no line breaks
BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}


def models(run: Run) -> list[str]:
    """Return the models that the run measured, in the fixed order."""
    return [name for name in MODELS if name in run.measurements]


def array(run: Run, name: str) -> NDArray[Any] | None:
    """Return one array, None where there is none or nothing in it."""
    values = run.arrays.get(name)
    return values if values is not None and values.size else None


def found(run: Run, model: str, name: str) -> Measurement | None:
    """Return one measurement, None where there is none."""
    return run.measurements.get(model, {}).get(name)


def stages(run: Run, *names: str) -> list[str]:
    """Return the stages that ``name/STAGE`` was measured at, from the input to the output.

    A run read back has its names sorted, so their order lies beside it as an array.  Where it does
    not, numbers inside the names tell the depth, and the first and the last are known by name.
    """
    keys = {key.partition("/") for found in run.measurements.values() for key in found}
    known = {stage for name, _, stage in keys if name in names and stage}
    kept = array(run, "original/stages")
    order = {str(stage): n for n, stage in enumerate(() if kept is None else kept)}
    return sorted(known, key=lambda stage: (order.get(stage, len(order)), _depth(stage)))


def _depth(stage: str) -> tuple[int, list[tuple[int, str]]]:
    words = re.findall(r"\d+|\D+", stage)
    first = re.match(r"stem|conv1|bn1|relu|maxpool|conv_proj|patch_embed|embed", stage) is not None
    place = {"penultimate": 2, "output": 3}.get(stage, 0 if first else 1)
    return place, [(int(w), "") if w.isdigit() else (-1, w) for w in words]


def class_name(run: Run, number: Any) -> str:
    """Return the name of a class by its number, the number where it has no name."""
    names = run.data.get("classes") or ()
    return str(names[int(number)]) if 0 <= int(number) < len(names) else str(int(number))


def printable(text: object) -> str:
    r"""Return text that cannot reorder or break what stands around it.

    Control characters, direction overrides and halves of surrogate pairs become U+FFFD.

    >>> printable("cat\u202egod")
    'cat\ufffdgod'
    """
    return "".join(
        "\ufffd" if ord(c) in BIDI or unicodedata.category(c) in ("Cc", "Cs") else c
        for c in str(text)
    )


def shortened(text: object, length: int) -> str:
    """Return text of at most ``length`` columns, with an ellipsis for what is cut.

    >>> shortened("automobile", 8), shortened("日本語", 5)
    ('automob…', '日本…')
    """
    whole = printable(text)
    widths = [2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in whole]
    if sum(widths) <= length:
        return whole
    kept = sum(total < length for total in accumulate(widths))
    return whole[:kept].rstrip() + "…"


def number(value: float, kind: Kind = "number") -> str:
    r"""Write one value for a reader.

    >>> number(0.9351, "share"), number(-0.0004, "share"), number(0.52989), number(40, "count")
    ('93.5\xa0%', '0.0\xa0%', '0.530', '40')
    """
    text = {"share": f"{100 * value:.1f}", "count": f"{value:.0f}"}.get(kind, f"{value:.3f}")
    text = text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
    return f"{text}{FIXED}%" if kind == "share" else text


def signed(change: float) -> str:
    r"""Write a relative change.

    >>> signed(0.534), signed(-0.31), signed(-0.001)
    ('+53\xa0%', '−31\xa0%', '0\xa0%')
    """
    whole = round(100 * change)
    return f"{'+' if whole > 0 else '−' if whole < 0 else ''}{abs(whole):,}{FIXED}%"


def percent(share: float) -> str:
    r"""Write a share as the tick of an axis.

    >>> percent(0.5)
    '50\xa0%'
    """
    return f"{100 * share:.0f}{FIXED}%"


def interval(m: Measurement, kind: Kind = "number") -> str:
    """Write the 95 % interval of a measurement."""
    low, high = number(m.low, kind), number(m.high, kind)
    return f"{low.removesuffix(f'{FIXED}%')} to {high}"


def points(change: float) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    text = f"{abs(100 * change):.1f}"
    sign = "" if float(text) == 0 else "+" if change > 0 else "−"
    return f"{sign}{text} points"


def count(value: float | None) -> str:
    """Write a whole number with its thousands apart."""
    return MISSING if value is None else f"{round(value):,}"


def duration(seconds: float | None) -> str:
    r"""Write a time with three figures at most.

    >>> duration(3.02), duration(90.7), duration(4210)
    ('3.0\xa0s', '91\xa0s', '1\xa0h 10\xa0min')
    """
    if seconds is None:
        return MISSING
    if seconds < 180:
        return f"{seconds:.{1 if seconds < 10 else 0}f}{FIXED}s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return (f"{hours}{FIXED}h " if hours else "") + f"{rest}{FIXED}min"

"""A History as Markdown and as one picture: did a later request undo an earlier one?"""

from matplotlib.patches import Rectangle

from unsee.nouns import History, Measurement, Measurements, Standing
from unsee.reporting._measures import measure
from unsee.reporting._style import COLOURS, number, printable, shortened
from unsee.reporting._svg import FAINT, Picture, Sheet

ASKED = (  # of every request after every other, in this order
    *("forget_accuracy", "forgotten_test_accuracy", "membership_auc", "few_shot_recall"),
    *("probe_recall", "trigger_success", "corrected_accuracy"),
)
LEFT, CELL, ROW, HEAD = 190, 52, 22, 58  # pixels of the picture
READING = (
    "Read along a row: a value that moves back towards *before* says that a later request undid "
    "this one. For single images the aim is not 0 but the accuracy on test images."
)


def history_page(found: History) -> str:
    """Return a history as a page of Markdown."""
    lines = [
        f"# {len(found.requests)} requests on {printable(found.data)}, one after another",
        "",
        f"Method `{found.method}`, seed {found.seed}. Each request began with the model of the one "
        "before; no image of an earlier request was shown again. Values with 95 % intervals are in "
        "`sequence.json`.",
        "",
        *_costs(found),
        "",
        "## Every request, after every request",
        "",
        READING,
        "",
    ]
    for name in ASKED:
        lines += _matrix(found, name)
    return "\n".join([*lines, *_against(found)])


def _costs(found: History) -> list[str]:
    lines = [
        "| after | rule | images | seconds | image gradients | retain accuracy | test accuracy "
        "| its verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for request, then in zip(found.requests, found.after, strict=True):
        spent = (
            "" if request.seconds is None else f"{request.seconds:.2f}",
            "" if request.image_gradients is None else f"{request.image_gradients:,.0f}",
        )
        rule = printable(request.rule).replace("|", "\\|")
        cells = (str(request.number), f"`{rule}`", f"{request.count:,}", *spent)
        lines.append(f"| {' | '.join((*cells, *_utility(then), request.light))} |")
    if found.retrained is not None:
        seconds, spent_ = (found.retraining.get(key) for key in ("seconds", "image_gradients"))
        spent = (
            "given" if seconds is None else f"{seconds:.2f}",
            "" if spent_ is None else f"{spent_:,.0f}",
        )
        last = ("retrained without them all", "", "", *spent, *_utility(found.retrained), "")
        lines.append(f"| {' | '.join(last)} |")
    return lines


def _utility(then: Standing) -> tuple[str, str]:
    retain, test = (then.utility.get(name) for name in ("retain_accuracy", "test_accuracy"))
    return _value(retain), _value(test)


def _value(m: Measurement | None) -> str:
    return "" if m is None else f"{m.value:.3f}"


def _matrix(found: History, name: str) -> list[str]:
    """Return the table of one measurement: a row per request, a column per model."""
    rows = [row(found, name, n) for n in range(len(found.requests))]
    if not any(m for cells in rows for m in cells):
        return []
    again = ["retrained"] if found.retrained is not None else []
    heads = ["request", "before", *(f"after {r.number}" for r in found.requests), *again]
    lines = [
        f"### {measure(name).title}",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    lines += [f"| {' | '.join([str(n), *map(_value, cells)])} |" for n, cells in enumerate(rows, 1)]
    return [*lines, ""]


def row(found: History, name: str, place: int) -> list[Measurement | None]:
    """Return one measurement of one request: before it, after each request, and retrained."""
    again = [found.retrained] if found.retrained is not None else []
    later = [then.requests[place : place + 1] for then in (*found.after, *again)]
    before: Measurements = found.requests[place].before
    return [before.get(name), *(some[0].get(name) if some else None for some in later)]


def _against(found: History) -> list[str]:
    if not found.gaps:
        return []
    lines = [
        "## Against one model retrained without them all",
        "",
        "The last model less the retrained one, image by image.",
        "",
        "| accuracy | difference | 95 % interval | images |",
        "|---|---|---|---|",
    ]
    for name, m in found.gaps.items():
        if m is not None:
            head, _, request = name.partition("/")
            title = measure(head).title + (f", request {request}" if request else "")
            lines.append(f"| {title} | {m.value:+.3f} | {m.low:+.3f} to {m.high:+.3f} | {m.n:,} |")
    return [*lines, ""]


def history_picture(found: History) -> str:
    """Return forget accuracies of every request after every other as the text of an SVG file."""
    again = found.retrained is not None
    heads = ["before", *(str(r.number) for r in found.requests), *(["retrained"] if again else [])]
    n = len(found.requests)
    sheet = Sheet("sequence", LEFT + CELL * len(heads) + 20, HEAD + ROW * (n + 1) + 12)
    sheet.write(0, 12, "Forget accuracy of each request, after each", size=13, weight="bold")
    for column, head in enumerate(heads):
        sheet.write(LEFT + CELL * (column + 0.5), HEAD - 14, head, align="center", colour=FAINT)
    sheet.write(LEFT, HEAD - 29, "after request", size=10, colour=FAINT)
    models = [*found.after, *([found.retrained] if found.retrained else [])]
    tests = [None, *(then.utility.get("test_accuracy") for then in models)]
    for place, request in enumerate(found.requests):
        name = shortened(f"{request.number}  {request.rule}", 28)
        _cells(sheet, place, name, row(found, "forget_accuracy", place), shaded=True)
    _cells(sheet, n, "test accuracy", tests, shaded=False)
    alt = (
        f"Forget accuracy of {n} requests, before and after each; the last row is test accuracy. "
        "The page beside it has the numbers."
    )
    return Picture(sheet.name, "Requests one after another", alt, sheet.svg(alt)).file()


def _cells(
    sheet: Sheet, place: int, name: str, values: list[Measurement | None], *, shaded: bool
) -> None:
    middle = HEAD + ROW * (place + 0.5)
    sheet.write(0, middle, name)
    for column, m in enumerate(values):
        if m is None:
            continue
        left = LEFT + CELL * column
        if shaded:
            colour = COLOURS["unlearned"]
            corner, size = (left + 1, middle - ROW / 2 + 1), (CELL - 2, ROW - 2)
            box = Rectangle(corner, *size, color=colour, alpha=0.05 + 0.5 * m.value, lw=0)
            sheet.paper.add_patch(box)
        sheet.write(left + CELL / 2, middle, number(m.value, "share"), align="center", size=10)

"""The first screen where a run was judged: light, reasons, what they rest on, what is open."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from unsee.nouns import Run
from unsee.reporting._measures import measure, place
from unsee.reporting._strip import DOWNWARDS
from unsee.reporting._style import number, points
from unsee.reporting._words import asked
from unsee.verdict import detection_limit

SHAPES = {  # a light is told by its word and its shape, too
    "green": '<circle cx="12" cy="12" r="10"/>',
    "amber": '<path d="M12 2 23 21.5H1z"/>',
    "red": '<path d="M6 2l6 6 6-6 4 4-6 6 6 6-4 4-6-6-6 6-4-4 6-6-6-6z"/>',
    "grey": '<rect x="3" y="3" width="18" height="18" fill="none" stroke-dasharray="4 3" '
    'stroke="currentColor" stroke-width="3"/>',
}
STATES = {
    "inside": "○ inside the band",
    "above": "▲ above the band",
    "below": "▼ below the band",
    "unknown": "? not known",
}
POWER = {True: "yes", False: "no", None: "not known"}


@dataclass(frozen=True)
class Light:
    """What stands at the top."""

    light: str  # green, amber, red or grey
    label: str  # with the word
    shape: Markup
    sentence: str
    reasons: tuple[str, ...]
    basis: tuple[tuple[str, str], ...]  # what a lawyer asks, and the answer
    audits: tuple[tuple[str, ...], ...]  # rows of the table, below ``HEAD``


HEAD = (
    *("Audit", "Unlearned", "Retrained, mean", "Band, margin included", "Margin", "Original"),
    *("Power", "State"),
)


def light(run: Run) -> Light | None:
    """Return the verdict in words, None where the run was not judged."""
    verdict = run.verdict
    if not verdict:
        return None
    colour = str(verdict.get("light", "grey"))
    shape = SHAPES.get(colour, SHAPES["grey"])
    drawn = Markup(  # our own shapes, not data
        '<svg class="shape" viewBox="0 0 24 24" role="img" aria-label="verdict light: {}" '
        'fill="currentColor">{}</svg>'
    ).format(colour, Markup(shape))
    kind = str(verdict.get("kind", ""))
    return Light(
        light=colour if colour in SHAPES else "grey",
        label=f"{colour.capitalize()}: {kind}" if kind else colour.capitalize(),
        shape=drawn,
        sentence=str(verdict.get("sentence", "")),
        reasons=tuple(map(str, verdict.get("reasons", ()))),
        basis=tuple(_basis(run)),
        audits=tuple(_row(run, name, found) for name, found in _audits(run).items()),
    )


def _audits(run: Run) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = run.verdict.get("audits", {})
    return {name: found[name] for name in sorted(found, key=place)}


def _margin(run: Run, name: str) -> float | None:
    value: float | None = run.verdict.get("policy", {}).get("margins", {}).get(name)
    return value


def _row(run: Run, name: str, found: dict[str, Any]) -> tuple[str, ...]:
    kind = measure(name).kind

    def written(value: float | None) -> str:
        return "–" if value is None else number(value, kind)

    margin, low, high = _margin(run, name), found.get("low"), found.get("high")
    apart = None if margin is None else points(margin).lstrip("+")
    return (
        measure(name).title,
        written(found.get("value")),
        written(found.get("reference")),
        _between(name, low, high),
        "–" if apart is None else apart if kind == "share" else written(margin),
        written(found.get("original")),
        POWER.get(found.get("power"), "not known"),
        STATES.get(str(found.get("state")), STATES["unknown"]),
    )


def _between(name: str, low: float | None, high: float | None) -> str:
    """Write a band; an end that no value can pass is left out."""
    if low is None or high is None:
        return "–"
    kind = measure(name).kind
    if name in DOWNWARDS or high >= 1:
        return f"at least {number(low, kind)}" if low > 0 else "any"
    if low <= 0:
        return f"at most {number(high, kind)}"
    return f"{number(low, kind)} to {number(high, kind)}"


def _basis(run: Run) -> list[tuple[str, str]]:
    """Return what was asked, what the verdict rests on, what is not tested and not said."""
    policy, k = run.verdict.get("policy", {}), run.verdict.get("k") or 0
    models = "no retrained model" if not k else f"{k} retrained model{'s' if k > 1 else ''}"
    digest = str(policy.get("sha256", ""))
    by = f"policy “{policy.get('name', 'not recorded')}”"
    named = f"{by} (SHA-256 {digest[:16]}…)" if digest else by
    exact = run.method == "retrain"
    return [
        ("Asked", f"To forget {asked(run)}."),
        (
            "Rests on",
            f"{len(_audits(run))} audits held against {models}, by the {named}. The full digest is "
            "below, under “How it was made”.",
        ),
        ("Not tested", _untested(run)),
        ("Detection limit", _limit()),
        (
            "Kind of evidence",
            "Exact: trained anew without these images. The measurements below only describe it."
            if exact
            else "Empirical only: what these audits see, without a formal bound on what is left.",
        ),
        ("Not said", "Anything about the law: whether a request was met is for people to judge."),
    ]


def _limit() -> str:
    """Quote what the simulation behind the rules could and could not see."""
    known = detection_limit()
    curve = "; ".join(
        f"{number(row['share'], 'share')} left in: red for {round(row['red'] * row['n'])} of "
        f"{row['n']}"
        for row in known["rows"]
    )
    return (
        f"In a simulation ({known['on']}) of retrained models in whose training a share of the "
        f"forgotten images was left by mistake, the verdict was: {curve}."
    )


def _untested(run: Run) -> str:
    audits, expected = _audits(run), run.verdict.get("policy", {}).get("margins", {})
    absent = [measure(name).title for name in sorted(expected, key=place) if name not in audits]
    unknown = [measure(n).title for n, a in audits.items() if a.get("state") == "unknown"]
    blind = [measure(n).title for n, a in audits.items() if a.get("power") is False]
    said = []
    if absent:
        said.append(f"Not asked: {', '.join(absent)}.")
    if unknown:
        said.append(f"No band to hold against: {', '.join(unknown)}.")
    if blind:
        said.append(f"Could not have told the original from a retrained model: {', '.join(blind)}.")
    said += [f"{sentence.rstrip('.')}." for sentence in map(str, run.fleet.get("refused", ()))]
    return " ".join(
        [*said, "Copies of the images elsewhere, other seeds, and other kinds of trace."]
    )

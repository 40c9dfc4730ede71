"""A run as a small table for notebooks, from its verdict and measurements alone."""

from collections.abc import Mapping
from html import escape
from typing import Any

LIGHTS = {"green": "●", "amber": "▲", "red": "✖", "grey": "□"}
COLOURS = {"green": "#00664a", "amber": "#7a5200", "red": "#a8201a", "grey": "#55585c"}
MAIN = (
    *("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
    *("membership_auc", "probe_recall", "few_shot_recall", "relearn_recall"),
    "evidence_remaining",
)
MODELS = ("original", "unlearned", "retrained")


def small_table(
    title: str, verdict: Mapping[str, Any], measurements: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return a self-contained piece of HTML: light, sentence, main values with 95 % intervals."""
    models = [model for model in MODELS if model in measurements]
    heads = "".join(f"<th>{model}</th>" for model in models)
    rows = [
        f"<tr><th>{name}</th>{''.join(map(_cell, found))}</tr>"
        for name in MAIN
        if any(found := [measurements[model].get(name) for model in models])
    ]
    table = f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div><p><strong>{escape(title)}</strong></p>{_light(verdict)}{table}</div>"


def _light(verdict: Mapping[str, Any]) -> str:
    if not verdict:
        return ""
    light = str(verdict.get("light", "grey"))
    shape, colour = LIGHTS.get(light, "□"), COLOURS.get(light, COLOURS["grey"])
    word = escape(f"{light}: {verdict.get('kind', '')}".strip(": "))
    sentence = escape(str(verdict.get("sentence", "")))
    label = f'<strong style="color:{colour};background:#fff">{shape} {word}</strong>'
    return f"<p>{label}<br>{sentence}</p>"


def _cell(m: Any) -> str:
    if m is None:
        return "<td>–</td>"
    return f"<td>{m.value:.3f}<br><small>{m.low:.3f} to {m.high:.3f}</small></td>"

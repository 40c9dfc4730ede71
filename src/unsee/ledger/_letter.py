"""The answer to the person who asked, in plain words: what was done, and what nobody knows."""

import json
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from unsee.errors import LedgerError
from unsee.ledger._chain import Entry
from unsee.ledger._checklist import CHECKLIST
from unsee.ledger._requests import ErasureRequest

WIDTH = 72
EXACT = "retrain"  # the one method that leaves nothing to measure, if it begins from nothing
EVIDENCE = "what is left was measured, and measuring is evidence, not certainty."
GAPS = {  # what a run did not test, by why
    "not_measured": "tests that our rules name and that were not made",
    "no_band": "tests with nothing to compare their result with",
    "no_power": "tests that could not have found anything with so few images or models",
    "too_few_models": "tests for which there were too few models",
}
AUDITS = {  # what the audits that a policy can name ask of the model
    "forget_accuracy": "whether it still names your images rightly",
    "forgotten_test_accuracy": "whether it still names other images of their kind rightly",
    "retain_accuracy": "whether it names the images that stay as before",
    "test_accuracy": "whether it names images that it never saw as before",
    "membership_auc": "whether its answers tell your images from ones that it never saw",
    "few_shot_recall": "how well it learns your kind of images again from a few of them",
}
TESTED = {
    "green": "In every test that counts, the changed model treats your images as models do that "
    "were trained without them.",
    "amber": "The tests found nothing that speaks against it, but there were too few of them to "
    "say more.",
    "grey": "There was no model trained without your images to compare with, so the tests cannot "
    "say how near the changed model comes to one.",
    "red": "The tests still found differences between the changed model and one that never had "
    "your images, or other signs against it.",
}
KINDS = {  # of a verdict that is red, or amber for what it suspects
    "damaged": "that the changed model names images that stay less well than it should",
    "still remembers": "that the changed model still treats your images as if it had learned them",
    "shallow": "that the answers have changed, but that inside the model still knows the kind of "
    "images that yours are",
    "over-forgotten": "that the changed model treats your images unlike any that it never had, so "
    "that they stand out",
    "nothing was forgotten": "that the changed model names your images as rightly as before",
}
FOUND = {"red": "The tests found", "amber": "The tests found signs, too few to be sure,"}
NOT_TESTED = (
    "whether methods other than ours could still tell that your images were used",
    "copies of the model that left us before it was changed, and models made from such copies",
    "systems other than the model and the training data named in our records",
)


def letter(request: ErasureRequest, rows: Sequence[Entry], config: Mapping[str, Any]) -> str:
    """Return the answer to a request.

    Args:
        request: as it stands.
        rows: its part of the log.
        config: by which the model was changed.

    Raises:
        LedgerError: if there is nothing to answer yet.

    """
    last = {row.what: row for row in rows}
    if request.state == "refused":
        body = _refused(last["refused"].why)
    elif request.state in ("completed", "partly_completed"):
        body = _done(request, rows, config)
    elif "extended" in last:
        body = _extended(request, last["extended"].why)
    else:
        raise LedgerError(
            f"Expected a request that was decided or extended, got {request.number}, which is "
            f"{request.state}: due {request.due}"
        )
    head = [
        f"Your reference: {request.subject}",
        f"Our reference:  {request.number}",
        "",
        f"You asked us on {request.received} to erase images of you from a model that was trained "
        "with them.",
    ]
    return "\n\n".join("\n".join(_wrapped(text) for text in part) for part in (head, *body))


def _wrapped(text: str) -> str:
    return fill(text, WIDTH, subsequent_indent="  " if text.startswith("- ") else "")


def _refused(why: str) -> list[list[str]]:
    return [
        ["We do not erase them. The reason:"],
        [why],
        [
            "If you disagree, you can write to us, complain to a data protection authority, or go "
            "to court."
        ],
    ]


def _extended(request: ErasureRequest, why: str) -> list[list[str]]:
    return [
        [f"We need more time, and will answer by {request.due}. The reason:"],
        [why],
        ["If you disagree, you can complain to a data protection authority."],
    ]


def _done(
    request: ErasureRequest, rows: Sequence[Entry], config: Mapping[str, Any]
) -> list[list[str]]:
    ticks = {json.loads(r.details)["item"]: r for r in rows if r.what.startswith("checklist")}
    done = [text for k, text in CHECKLIST.items() if k in ticks and ticks[k].what.endswith("done")]
    open_ = [(k, row) for k, row in ticks.items() if row.what.endswith("refused")]
    partly = request.state == "partly_completed"
    parts = [
        [f"We have done so{' in part' if partly else ''}. {_how(config)}"],
        [_tested(request, rows)],
        ["Beside the model, we have seen to:", *(f"- {text}" for text in done)],
    ]
    if partly:
        told = [f"- {CHECKLIST[k]}: {row.why}" for k, row in open_]
        closing = next(r for r in reversed(rows) if r.what == "partly_completed")
        told += [f"- {closing.why}"] if closing.why else []
        parts.append(["What we have not done, and why:", *told])
    parts.append(["What was not tested:", *(f"- {text}" for text in _untested(rows))])
    if partly:
        parts.append(
            ["If you disagree, you can write to us, or complain to a data protection authority."]
        )
    return parts


def _tested(request: ErasureRequest, rows: Sequence[Entry]) -> str:
    """Say what the tests found: by the kind of the verdict where it speaks against the model."""
    kinds = [json.loads(row.details).get("verdict", "") for row in rows if row.what == "audited"]
    if request.light in FOUND and kinds and kinds[-1] in KINDS:
        return f"{FOUND[request.light]} {KINDS[kinds[-1]]}."
    return TESTED.get(request.light, TESTED["grey"])


def _how(config: Mapping[str, Any]) -> str:
    place = "takes the place of the old one."
    if config["method"] != EXACT:
        return (
            "The model was changed so as to forget them, and the changed model "
            f"{place} It was not trained anew: {EVIDENCE}"
        )
    if config.get("init"):
        return (
            f"A new model was trained without them, and {place} It did not begin from nothing, but "
            f"from an earlier model, which may have been made with them: {EVIDENCE}"
        )
    return f"A new model was trained without them, and {place}"


def _untested(rows: Sequence[Entry]) -> list[str]:
    """Return what the run itself did not test, and what none does."""
    audited = [json.loads(row.details) for row in rows if row.what == "audited"]
    gaps = audited[-1].get("not_tested", {}) if audited else {}
    own = []
    for why, words in GAPS.items():
        names = gaps.get(why, ())
        known = [AUDITS[name] for name in names if name in AUDITS]
        own += [f"{words}: {'; '.join(known)}" if known else words] if names else []
    return [*own, *NOT_TESTED]

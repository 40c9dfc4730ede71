"""From six audits to one light.  A simulation stands behind these rules: docs/verdict.md.

* red: an audit lies outside its band.  In this order: *damaged* (accuracy of what stays),
  *still remembers*, *shallow* (answers like retrained, features not), *over-forgotten*.  With few
  retrained models also where the model as a whole is nearer to the original than to them.
* grey: there is no retrained model, or no audit tells the original from the retrained ones.  Two
  things are red without one: *damaged*, far below the original in use; *nothing was forgotten* or
  *still remembers*, where forget accuracy is nearer to the original's than to where it should be.
* amber: too few retrained models for more, or the depth of a class was not tested.  Where single
  audits are nearer to the original it names what it suspects.
* green: all inside, with enough retrained models, and audits that could have found something.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from unsee.nouns import Run
from unsee.verdict._bands import (
    UTILITY,
    Judged,
    far_below,
    judged,
    margin_for,
    nearer_in_all,
    nearer_to_original,
)
from unsee.verdict._beside import beside
from unsee.verdict._policy import Policy

DEPTH = "few_shot_recall"
LOST = 0.05  # of accuracy on what stays, against the original: damage, whatever retraining gives
UNMOVED = 0.1  # of the way from the original to where forget accuracy should be: nothing
ONE = "most_remembered_class"
SEVERAL = 0.05  # the margin of one of several classes, whatever the policy
ANSWERS = ("forget_accuracy", "forgotten_test_accuracy", ONE)
TITLES = {
    "forget_accuracy": "accuracy on the forgotten images",
    "forgotten_test_accuracy": "accuracy on unseen images of what was forgotten",
    "retain_accuracy": "accuracy on the images to keep",
    "test_accuracy": "accuracy on test images that stay",
    "membership_auc": "membership AUC by loss",
    DEPTH: "recall of the class after five of its images",
    ONE: "accuracy on the forgotten class that is remembered most",
}
Audits = dict[str, Judged]


@dataclass(frozen=True)
class Verdict:
    """One light, its kind, and why."""

    light: str  # green, amber, red or grey
    kind: str
    reasons: tuple[str, ...]


SENTENCES = {
    "like retrained": "In every audit that counts, the model lies where models retrained without "
    "the images lie.",
    "damaged": "The model is damaged: it lost accuracy on what it was to keep.",
    "still remembers": "The model still remembers: it treats the forgotten images as the original "
    "does, and not as a retrained model does.",
    "shallow": "The forgetting is shallow: the answers are like those of a retrained model, the "
    "features still hold the class.",
    "over-forgotten": "Over-forgotten: the images stand out as no retrained model lets them.",
    "nothing was forgotten": "Nothing was forgotten: the model gets as many of these images right "
    "as the original does.",
    "cannot tell": "Cannot tell: no audit that counts separates the original from the retrained "
    "models here.",
    "depth not tested": "The answers are like those of retrained models; how deep the forgetting "
    "goes could not be tested.",
    "one reference": "No audit of the policy speaks against the forgetting, but one retrained "
    "model is too few to say more.",
    "too few references": "No audit of the policy speaks against the forgetting, but the "
    "retrained models are too few to say more.",
    "not all was asked": "No audit of the policy speaks against the forgetting, but not all of "
    "them were measured.",
    "no reference": "No verdict: there is no retrained model to hold this one against.",
}

ALONE = {  # red without a retrained model
    "still remembers": "The model still remembers: its accuracy on the forgotten images is nearer "
    "to the original's than to that of a model which never saw them.",
}

SUSPICIONS = {  # amber: too few retrained models to be sure
    "shallow": "Perhaps shallow: the answers are like those of a retrained model, the features "
    "still look like the original's, and the retrained models are too few to be sure.",
    "still remembers": "Perhaps it still remembers: in part it is nearer to the original than to a "
    "retrained model, and the retrained models are too few to be sure.",
}


def verdict(run: Run, policy: Policy) -> dict[str, Any]:
    """Judge a run by a policy.

    Args:
        run: with measurements of the original and the unlearned model, and in ``references`` the
            values of the K retrained models.
        policy: what counts, and how much is forgiven.

    Returns:
        What ``audit.json`` keeps under ``verdict``: light, kind, sentence, reasons, policy, k, and
        for each audit its value, band, margin, power and state.  Nothing, where none of the
        policy's audits was asked.

    """
    before, after = (run.measurements.get(m, {}) for m in ("original", "unlearned"))
    gone = bool(run.forget.get("gone"))
    names = [name for name in policy.audits(gone) if before.get(name) and after.get(name)]
    if not names:
        return {}
    references = {name: _numbers(run.references.get(name, [])) for name in names}
    k = min(len(values) for values in references.values())
    level = policy.family_level / len(names)
    audits: Audits = {}
    for name in names:
        now, old = after[name], before[name]
        if now is not None and old is not None:
            values, margin = references[name], margin_for(name, now.n, policy.margins[name])
            audits[name] = judged(name, now, old.value, values, level, margin)
    found = decided(audits, k, gone, policy, aim=run.aim, rest=_of_one_class(run))
    return {
        "light": found.light,
        "kind": found.kind,
        "sentence": (SUSPICIONS if found.light == "amber" else {} if k else ALONE).get(
            found.kind, SENTENCES[found.kind]
        ),
        "reasons": [*found.reasons, *(beside(run) if found.light != "red" else ())],
        "policy": {
            "name": policy.name,
            "sha256": policy.sha256,
            "family_level": policy.family_level,
            "green_needs": policy.green_needs,
            "margins": {name: policy.margins[name] for name in policy.audits(gone)},
        },
        "k": k,
        "audits": {name: audit.facts() for name, audit in audits.items()},
    }


def _of_one_class(run: Run) -> Judged | None:
    """Return the forgotten class that is remembered most, held against the retrained models'."""
    before, after = (run.measurements.get(m, {}).get(ONE) for m in ("original", "unlearned"))
    if before is None or after is None:
        return None
    references = _numbers(run.references.get(ONE, []))
    return judged(ONE, after, before.value, references, level=0.05, margin=SEVERAL)


def decided(
    audits: Audits,
    k: int,
    gone: bool,
    policy: Policy,
    *,
    aim: float | None = None,
    rest: Judged | None = None,
) -> Verdict:
    """Return the light for these audits of K retrained models.

    Args:
        audits: of the policy.
        k: retrained models.
        gone: whether whole classes go.
        policy: what counts.
        aim: where forget accuracy should be if no retrained model tells; None: nobody knows.
        rest: of several classes the one that is remembered most, which no mean may hide.

    """
    if k == 0:
        why = "Give models retrained without the images: --oracle retrain, or a fleet of them."
        found = _alone(audits, gone, aim)
        return replace(found, reasons=(*found.reasons, why))
    if outside := {name: a for name, a in audits.items() if a.state in ("above", "below")}:
        remembered = {name for name, a in outside.items() if a.too_much}
        return _named("red", outside, remembered, _outside)
    if rest is not None and nearer_to_original(rest):
        return _named("red", {ONE: rest}, {ONE}, _few)
    if k < policy.green_needs and (suspects := _against_few(audits)):
        of_memory = [a for name, a in audits.items() if name not in UTILITY]
        sure = not UTILITY.isdisjoint(suspects) or nearer_in_all(of_memory)
        found = _named("red" if sure else "amber", suspects, {*suspects}, _few)
        return found if sure else replace(found, reasons=(*found.reasons, _more(policy, k)))
    if k == 1:
        return Verdict("amber", "one reference", (_more(policy, k),))
    powerful = [n for n, a in audits.items() if a.power and n not in UTILITY]
    if not powerful:
        why = "For each of them the original itself lies inside the band of the retrained models."
        return Verdict("grey", "cannot tell", (why,))
    if k < policy.green_needs:
        return Verdict("amber", "too few references", (_more(policy, k),))
    needed = [name for name in policy.audits(gone) if name != DEPTH]  # whose lack has its own kind
    if unasked := [TITLES[name] for name in needed if name not in audits]:
        return Verdict("amber", "not all was asked", (f"Not measured: {', '.join(unasked)}.",))
    if gone and DEPTH not in powerful:
        why = f"The original lies inside the band of {TITLES[DEPTH]}, or it was not measured."
        return Verdict("amber", "depth not tested", (why,))
    told = ", ".join(TITLES[name] for name in powerful)
    return Verdict("green", "like retrained", (f"These could have found a trace: {told}.",))


def _alone(audits: Audits, gone: bool, aim: float | None) -> Verdict:
    """Say what can be said without a retrained model: that a model is far from any aim."""
    lost = {
        name: f"{TITLES[name]}: {a.value:.3f}, more than {LOST:g} below the original's "
        f"{a.original:.3f}"
        for name, a in audits.items()
        if name in UTILITY and a.value < a.original - LOST and a.value_high < a.original
    }
    if lost:
        return Verdict("red", "damaged", tuple(lost.values()))
    forget = audits.get("forget_accuracy")
    if forget is None or aim is None or forget.original - aim <= 2 * forget.margin:
        return Verdict("grey", "no reference", ())  # it would look like this either way
    if forget.value_low <= (forget.original + aim) / 2:
        return Verdict("grey", "no reference", ())
    way = (forget.original - forget.value) / (forget.original - aim)
    kin = f"the {aim:.3f} on test images of these classes"
    where = "0, where no image of a class is known" if gone else kin
    said = (
        f"{TITLES['forget_accuracy']}: {forget.value:.3f}, nearer to the original's "
        f"{forget.original:.3f} than to {where}"
    )
    return Verdict("red", "nothing was forgotten" if way < UNMOVED else "still remembers", (said,))


def _against_few(audits: Audits) -> Audits:
    """With few retrained models: what is clearly nearer to the original, or far below in use."""
    return {
        name: a
        for name, a in audits.items()
        if a.reference is not None and (far_below(a) if name in UTILITY else nearer_to_original(a))
    }


def _named(
    light: str, found: Audits, remembered: set[str], words: Callable[[str, Judged], str]
) -> Verdict:
    """Name the fault.

    Args:
        light: red, or amber where it is a suspicion.
        found: the audits that speak against the model, at least one.
        remembered: those of them that tell of knowledge which is left over.
        words: say what was found.

    """

    def some(kind: str, names: list[str]) -> Verdict:
        rest = [name for name in found if name not in names]
        return Verdict(light, kind, tuple(words(name, found[name]) for name in (*names, *rest)))

    if damaged := [name for name in found if name in UTILITY]:
        return some("damaged", damaged)
    if answers := [name for name in found if name in ANSWERS and name in remembered]:
        return some("still remembers", answers)
    if DEPTH in remembered:
        return some("shallow", [DEPTH])
    if known := [name for name in found if name in remembered]:
        return some("still remembers", known)
    return some("over-forgotten", [*found])


def _outside(name: str, a: Judged) -> str:
    low, high = a.low or 0.0, a.high or 0.0
    side = f"above {high:.3f}" if a.state == "above" else f"below {low:.3f}"
    return f"{TITLES[name]}: {a.value:.3f}, {side}, the end of the retrained models' band"


def _few(name: str, a: Judged) -> str:
    if name in UTILITY:
        return (
            f"{TITLES[name]}: {a.value:.3f}, more than twice the margin of {a.margin:g} below "
            f"the retrained {a.reference:.3f}"
        )
    return (
        f"{TITLES[name]}: {a.value:.3f}, nearer to the original's {a.original:.3f} than to the "
        f"retrained {a.reference:.3f}"
    )


def _more(policy: Policy, k: int) -> str:
    return (
        f"A band needs several retrained models and a green light {policy.green_needs} "
        f"(there {'is 1' if k == 1 else f'are {k}'}): unsee oracles makes them."
    )


def _numbers(values: list[float | None]) -> list[float]:
    return [x for x in values if x is not None and math.isfinite(x)]

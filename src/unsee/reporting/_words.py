"""The result in plain words: what was asked, what came of it, what it cost, what to do next."""

from dataclasses import dataclass
from typing import Literal

from unsee.nouns import Measurement, Run
from unsee.reporting._measures import measure
from unsee.reporting._style import duration, found, number, points, printable

DAMAGE = 0.05  # a fall of accuracy on what is to stay that is called damage
COST = 0.02  # a smaller one that is named as a price
TRACE = 0.02  # the least distance to the aim that tells anything
NOTABLE = ("probe_recall", "few_shot_recall", "evidence_remaining", "membership_auc")
PROBES = {"probe_recall": 0.04, "few_shot_recall": 0.10}  # a smaller fall from the original is none
Tone = Literal["good", "bad", "warn", "open"]
LIGHTS: dict[str, Tone] = {"green": "good", "amber": "warn", "red": "bad"}


@dataclass(frozen=True)
class Result:
    """What stands at the top of a report."""

    label: str  # in a few words
    tone: Tone  # good only beside a retrained model; open: nothing to hold it against, or mixed
    sentence: str
    points: tuple[str, ...]
    steps: tuple[str, ...]  # what to do next; may be empty


def result(run: Run) -> Result:
    """Say what a run came to: by its verdict, where it was judged, else by its measurements."""
    if run.verdict:
        label, tone, steps = _by_verdict(run)
    else:
        label, tone, steps = _judged(run)
    return Result(label, tone, _sentence(run), tuple(_points(run)), tuple(steps))


def asked(run: Run) -> str:
    """Say what was to be forgotten."""
    gone = [printable(name) for name in run.forget.get("gone") or ()]
    some = run.forget.get("count")
    images = "training images" if some is None else f"{some:,} training images"
    data = printable(run.data.get("name") or "a data set that is not recorded")
    if not gone:
        return f"{images} of {data}"
    named = ", ".join(f"“{name}”" for name in gone[:5])
    more = f" and {len(gone) - 5:,} more" if len(gone) > 5 else ""
    return f"{'class' if len(gone) == 1 else 'classes'} {named}{more} of {data} ({images})"


def ratio(run: Run) -> float | None:
    """Return how many times as long retraining took as unlearning; None if one is not known."""
    fast, slow = run.seconds.get("unlearn"), run.seconds.get("retrain")
    return slow / fast if fast and slow else None


def _sentence(run: Run) -> str:
    now, before, again = _of_all(run, "forget_accuracy")
    by = (
        f"the method {printable(run.method)} left"
        if run.method
        else "an unlearning done elsewhere left"
    )
    said = f"Asked to forget {asked(run)}, {by} a model that "
    if now is None:
        said += "was not asked what it gets right"
    else:
        right = f"gets {_share(now)} of them right"
        said += right + (f", against {_share(before)} before" if before else "")
        if again:
            said += f" and {_share(again)} for a model retrained without them"
    if "retrained" not in run.measurements:
        said += "; there is no retrained model to compare with"
    return f"{said}{_cost(run)}."


def _cost(run: Run) -> str:
    fast, slow = run.seconds.get("unlearn"), run.seconds.get("retrain")
    if not fast:
        return "; what it cost is not recorded"
    if not slow:
        return f"; it took {duration(fast)}, and retraining was not timed here"
    times = slow / fast
    said = f"; it took {duration(fast)}, where retraining took {duration(slow)}"
    return said + (f" ({times:.1f} times as long)" if times >= 1 else ": unlearning was slower")


def _points(run: Run) -> list[str]:
    said = []
    stay = ""
    if run.forget.get("gone"):
        stay = " of the classes that stay"
    else:
        kin = _named(run, "forgotten_test_accuracy") or _named(run, "test_accuracy")
        seen = ", ".join(f"{name} {_share(m)}" for name, m in kin)
        said.append(
            "No whole class went, so forget accuracy should be as on images never seen, and not "
            f"0\u00a0%. Accuracy on unseen images of these classes: {seen or 'not measured'}."
        )
    kinds = {"retain_accuracy": "the images to keep", "test_accuracy": f"test images{stay}"}
    for name, kind in kinds.items():
        now, before, _ = _of_all(run, name)
        if now and before:
            values = ", ".join(f"{word} {_share(m)}" for word, m in _named(run, name))
            change = points(now.value - before.value)
            said.append(f"Accuracy on {kind}: {values} ({change} by unlearning).")
    if probes := [p for name in PROBES if (p := _in_words(run, name))]:
        said.append(f"What the features still hold of the class: {'; '.join(probes)}.")
    if evidence := _named(run, "evidence_remaining"):
        values = ", ".join(f"{word} {_share(m)}" for word, m in evidence if word != "before")
        said.append(f"Evidence for the true class in the maps, of the original’s: {values}.")
    if auc := _named(run, "membership_auc"):
        values = ", ".join(f"{word} {number(m.value)}" for word, m in auc)
        said.append(f"Membership AUC (0.5: losses do not tell forgotten from unseen): {values}.")
    return said


def _in_words(run: Run, name: str) -> str | None:
    values = ", ".join(f"{word} {_share(m)}" for word, m in _named(run, name))
    return f"{measure(name).title.lower()} {values}" if values else None


def _deeper(run: Run) -> str:
    """Say how features can be made to forget, where answers have."""
    if "epochs" not in run.options:
        return "To come closer to retraining, take a method that trains all layers."
    more = int(run.options["epochs"]) + 1
    return f"To come closer to retraining, train longer (--epochs {more}), or retrain."


def _judged(run: Run) -> tuple[str, Tone, list[str]]:
    """Return the label, its tone and what to do next."""
    state, lost, traces = _forgotten(run), _lost(run), _traces(run)
    damaged, alone = lost >= DAMAGE, "retrained" not in run.measurements
    steps = []
    if state in TOO_LITTLE:
        steps.append(_stronger(run))
    if damaged or state == TOO_MUCH:
        steps.append(_gentler(run))
    if traces and state == FORGOTTEN:
        steps.append(_deeper(run))
    if alone:
        steps.append(NO_REFERENCE)
    if damaged:
        link = ", but" if state == FORGOTTEN else ", and"
        return f"{state}{link} the model is damaged", "bad", steps
    if state != FORGOTTEN:
        return state, "open" if state == UNCLEAR else "bad", steps
    if traces:
        return f"{state}, but {traces}", "open", steps
    if alone:
        return f"{state}; no retrained model to compare with", "open", steps
    if lost >= COST:
        price = f"at a price of {100 * lost:.1f} points of accuracy"
        return f"{state}, {price}", "open", steps
    return f"{state}, and close to the retrained model in what was measured", "good", steps


def _by_verdict(run: Run) -> tuple[str, Tone, list[str]]:
    """Return the verdict's own label and tone, with what to do next about its kind."""
    light, kind = str(run.verdict.get("light", "grey")), str(run.verdict.get("kind", ""))
    label = f"{light.capitalize()}: {kind}" if kind else light.capitalize()
    more = "For a firmer verdict train more models without these images: unsee oracles."
    steps = {
        "nothing was forgotten": [_stronger(run)],
        "still remembers": [_stronger(run)],
        "shallow": [_deeper(run)],
        "depth not tested": [more],
        "damaged": [_gentler(run)],
        "over-forgotten": [_gentler(run)],
        "one reference": [more],
        "too few references": [more],
        "no reference": [NO_REFERENCE],
    }
    next_ = steps.get(kind, [])
    if run.verdict.get("k") == 0 and NO_REFERENCE not in next_:
        next_ = [*next_, NO_REFERENCE]
    return label, LIGHTS.get(light, "open"), next_


NO_REFERENCE = (
    "For a reference give a model retrained without these images: --oracle retrain, or --oracle "
    "PATH."
)
UNCHANGED = "Nothing was forgotten: the model answers as before"
NOTHING = "Nothing was forgotten"
PARTLY = "Forgotten in part"
UNCLEAR = "Accuracy cannot tell whether anything was forgotten"
TOO_MUCH = "Forgotten too hard: worse on these images than on unseen ones"
FORGOTTEN = "Forgotten in its answers"
TOO_LITTLE = (UNCHANGED, NOTHING, PARTLY)


def _forgotten(run: Run) -> str:
    """Say how far forget accuracy went from where it was to where it should be."""
    now, before, again = _of_all(run, "forget_accuracy")
    whole = bool(run.forget.get("gone"))
    aim = again.value if again else run.aim
    if now is None or before is None or aim is None:
        return UNCLEAR
    if all(_same(run, name) for name in run.measurements["unlearned"]):
        return UNCHANGED
    if not whole and now.high < aim - DAMAGE:
        return TOO_MUCH
    if abs(before.value - aim) < TRACE:
        return UNCLEAR
    way = (before.value - now.value) / (before.value - aim)
    return NOTHING if way < 0.1 else PARTLY if way < 0.9 else FORGOTTEN


def _lost(run: Run) -> float:
    """Return the larger fall of accuracy, of the images to keep and of test images."""
    falls = [0.0]
    for name in ("retain_accuracy", "test_accuracy"):
        now, before, _ = _of_all(run, name)
        if now and before:
            falls.append(before.value - now.value)
    return max(falls)


def _traces(run: Run) -> str | None:
    """Say where it is unlike the retrained model; without one, whether its features are as before.

    Unlike are two values whose intervals lie apart.
    """
    apart, kept = [], []
    for name in NOTABLE:
        now, before, again = _of_all(run, name)
        if now and again and (now.low > again.high or now.high < again.low):
            apart.append(measure(name).title.lower().replace("auc", "AUC"))
        if now and before and not again and name in PROBES:
            kept.append(before.value - now.value < PROBES[name])
    if apart:
        return f"unlike the retrained model in {', '.join(apart)}"
    return "its features hold the class as before" if kept and all(kept) else None


def _stronger(run: Run) -> str:
    raised = " or ".join(name for name in ("epochs", "lr") if name in run.options)
    said = f"raise {raised} (--set){_search(run)} or " if raised else ""
    return f"To forget more, {said}take another method: unsee methods lists them."


def _gentler(run: Run) -> str:
    lowered = " or ".join(name for name in ("lr", "epochs") if name in run.options)
    said = f"lower {lowered} (--set){_search(run)} or " if lowered else ""
    return (
        f"To keep more, {said}give a larger --retain-fraction. Until then the original model, "
        "which is untouched, stays in use."
    )


def _search(run: Run) -> str:
    """Name the search over settings, unless it was made."""
    return "" if run.tuning else ", search for them (--tune 8)"


def _same(run: Run, name: str) -> bool:
    now, before = found(run, "unlearned", name), found(run, "original", name)
    return now is None or before is None or now.value == before.value


def _of_all(
    run: Run, name: str
) -> tuple[Measurement | None, Measurement | None, Measurement | None]:
    now, before, again = (found(run, m, name) for m in ("unlearned", "original", "retrained"))
    return now, before, again


def _named(run: Run, name: str) -> list[tuple[str, Measurement]]:
    """Return the measurements of that name, with what each model is to a reader."""
    words = {"original": "before", "unlearned": "now", "retrained": "retrained"}
    return [(word, m) for model, word in words.items() if (m := found(run, model, name))]


def _share(m: Measurement) -> str:
    return number(m.value, "share")

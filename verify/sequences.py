"""Slow evidence for requests in sequence and for the security cases: ``make sequences``.

One cell is one sequence of requests, or one harm to undo; each is a small JSON file of its own in
``docs/evidence/sequences``, so that a stopped call goes on.  ``docs/sequences.md`` quotes them
below its mark.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import cells
import provenance
from main_job import ROOT, SHARED
from torch import nn

from unsee import Config
from unsee.accounting import environment, measured
from unsee.audits import AUDITS, observe
from unsee.draws import generator
from unsee.erasure import trained, unlearn, unlearned
from unsee.preparation import chosen_device, prepare
from unsee.sequences import gaps, planned, standing

RESULTS = ROOT / "docs" / "evidence" / "sequences"
PAGE = ROOT / "docs" / "sequences.md"
MARK = "<!-- measured: below this line `make sequences` writes -->\n"
METHOD = "snu_deep"
MNIST = f"mnist:{SHARED / 'data' / 'MNIST' / 'raw'}"
LOOKED_AT = 5000  # images that stay, of MNIST, at each look
TEN = ("random=1%",) * 10
WITHIN = {"digits": 0.02, "mnist": 0.01}  # of test accuracy, of a model retrained without all ten
DEARER = 1.3  # the most that the tenth request may cost over the first
ASKED = {  # of every request after every request
    "forget_accuracy": "",
    "few_shot_recall": ", few-shot recall",
    "membership_auc": ", AUC",
}
SHOWN = ("forget_accuracy", "retain_accuracy", "test_accuracy")
HARM = ("trigger_success", "corrected_accuracy")
HARM_AUDITS = ("accuracy", "security")  # give these, and SHOWN
OTHERS = ("snu", "finetune")  # methods beside ours that a harm is put to
# No guard: what a method does to the rest is to be seen here, not prevented.
DIGITS = Config(data="digits", train_epochs=6, method=METHOD, guard=1.0)
CASES: dict[str, tuple[Config, tuple[str, ...]]] = {
    **{f"digits-{seed}": (replace(DIGITS, seed=seed), TEN) for seed in range(3)},
    "digits-mixed": (DIGITS, ("class=3", "random=1%", "class=5", "random=1%")),
    "mnist-0": (replace(DIGITS, data=MNIST, arch="resnet18:imagenet", train_epochs=2), TEN),
}
HARMS: dict[str, Config] = {
    f"{harm}-{name}": replace(
        DIGITS,
        data=f"{harm}:{source}",
        arch=arch,
        train_epochs=epochs,
        forget="where=poisoned:yes",
        options={"labels": "wrong"},  # that they are is why they are to go
    )
    for name, source, arch, epochs in (
        ("digits", "digits", "convnet", 12),
        ("mnist", MNIST, "convnet", 2),
    )
    for harm in ("backdoor", "mislabel")
}
Cell = dict[str, Any]


@dataclass
class Serving:
    """Requests one after another, without the full report that ``unsee sequence`` makes of each."""

    config: Config
    rules: tuple[str, ...]

    def cell(self) -> Cell:
        """Serve, look after each request, and hold the last model against a retrained one."""
        plan, seed = planned(self.config, self.rules), self.config.seed
        most = LOOKED_AT if self.config.data == MNIST else None
        original, training = measured(lambda: trained(plan.bench, None, "train"))
        before = standing(original, plan.splits, seed, most=most)
        model, after = original, []
        for number, split in enumerate(plan.splits, 1):
            make = partial(
                unlearn,
                model,
                split.forget,
                split.retain,
                method=METHOD,
                seed=plan.seed_of(number),
                retain_fraction=self.config.retain_fraction,
                guard=self.config.guard,
                validation=split.validation,
                gone=split.gone,
            )
            model, cost = measured(make)
            now = standing(model, plan.splits[:number], seed, most=most)
            after.append({**_cost(cost), "images": len(split.forget), **asdict(now)})
        again, retraining = measured(lambda: trained(plan.bench, plan.splits[-1], "retrain"))
        return {
            "rules": [*self.rules],
            "gone": [[split.classes[c] for c in split.gone] for split in plan.splits],
            "before": asdict(before),
            "training": _cost(training),
            "after": after,
            "retrained": asdict(standing(again, plan.splits, seed, most=most)),
            "retraining": _cost(retraining),
            "gaps": {name: asdict(m) for name, m in gaps(model, again, plan.splits).items() if m},
            "environment": environment(chosen_device("auto")),
        }


def _cost(cost: Cell) -> Cell:
    return {key: cost[key] for key in ("seconds", "image_gradients")}


def harmed(config: Config) -> Cell:
    """Train on spoiled images, take them out by each method, and ask whether the harm is undone."""
    job = prepare(config)
    original, training = measured(lambda: trained(job, None, "train"))
    made: dict[str, Callable[[], nn.Module]] = {
        METHOD: lambda: unlearned(job, original),
        **{name: partial(_other, job, original, name) for name in OTHERS},
        "retrained": lambda: trained(job, job.split, "retrain"),
    }
    models = {"original": (original, training)}
    models |= {name: measured(make) for name, make in made.items()}
    return {
        "forget": len(job.split.forget),
        "models": {
            name: {**_cost(cost), **_answers(name, model, job)}
            for name, (model, cost) in models.items()
        },
        "environment": environment(chosen_device("auto")),
    }


def _other(job: Any, original: nn.Module, name: str) -> nn.Module:
    split = job.split
    return unlearn(original, split.forget, split.retain, method=name, seed=0, guard=1.0)


def _answers(name: str, model: nn.Module, job: Any) -> Cell:
    view = observe(name, model, job.split, partial(generator, 0))
    found: Cell = {}
    for audit in HARM_AUDITS:
        ask, draws = AUDITS[audit], generator(0, audit)
        found |= ask(view, original=view, retrained=None, split=job.split, rng=draws)
    wanted = (*SHOWN, *HARM)
    return {key: asdict(found[key]) for key in wanted if found.get(key) is not None}


def make(name: str) -> Cell:
    """Return what a cell says."""
    return Serving(*CASES[name]).cell() if name in CASES else harmed(HARMS[name])


def digests() -> dict[str, str]:
    """Return the digest of what decides each cell: the sources, and what it asks for."""
    source = provenance.SOURCE / "sequences"
    ours = [provenance.digest(METHOD)]
    ours += [provenance.code((source / f).read_text()) for f in ("_serve.py", "_standing.py")]
    harms = [*ours, *map(provenance.digest, OTHERS)]
    found = {name: cells.made_by(*ours, asked=[*case, LOOKED_AT]) for name, case in CASES.items()}
    return found | {name: cells.made_by(*harms, asked=case) for name, case in HARMS.items()}


# The page, from the cells alone.


def block(found: dict[str, Cell]) -> str:
    """Return what stands below the mark in docs/sequences.md."""
    if not found:
        return "\nNot measured yet: `make sequences`.\n"
    lines: list[str] = []
    ten = {name: found[name] for name in CASES if name in found and name != "digits-mixed"}
    if ten:
        lines += ["", "## Ten requests of 1 % random images", "", *_targets(ten)]
    for name, cell in ten.items():
        lines += ["", f"### {name}", "", *_course(cell)]
    if "digits-mixed" in found:
        lines += ["", "## Classes and single images in turn", ""]
        lines += [
            "Digits: forget accuracy of each request after each, then few-shot recall of classes,",
            "and membership AUC. Where the accuracies of a row rise again, a later request undid",
            "that one. Few-shot recall stays above the retrained model's: they went less deep.",
            "",
            *_matrix(found["digits-mixed"]),
        ]
    harms = {name: found[name] for name in HARMS if name in found}
    if harms:
        lines += ["", "## Poisoned, backdoored and mislabelled images", "", *_harms(harms)]
    machine = cells.machines(found.values())
    return "\n".join([*lines, "", f"One seed per row unless named. Machine: {machine}.", ""])


def _targets(ten: dict[str, Cell]) -> list[str]:
    lines = [
        "The last model against one that was retrained without the images of all ten requests,",
        "image by image, and what the tenth request cost over the first.",
        "",
        "| sequence | test accuracy: retrained | ours | difference (95 %) | allowed | reached "
        "| gradients, 10th ÷ 1st | seconds, 10th ÷ 1st | allowed | reached |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, cell in ten.items():
        gap, allowed = cell["gaps"]["test_accuracy"], WITHIN[name.partition("-")[0]]
        theirs = cell["retrained"]["utility"]["test_accuracy"]["value"]
        ours = cell["after"][-1]["utility"]["test_accuracy"]["value"]
        dearer = [
            cell["after"][-1][key] / cell["after"][0][key] for key in ("image_gradients", "seconds")
        ]
        lines.append(
            f"| {name} | {theirs:.4f} | {ours:.4f} | {gap['value']:+.4f} ({gap['low']:+.4f} to "
            f"{gap['high']:+.4f}) | ±{allowed} | {_yes(abs(gap['value']) <= allowed)} | "
            f"{dearer[0]:.2f} | {dearer[1]:.2f} | {DEARER} | {_yes(dearer[0] <= DEARER)} |"
        )
    digits = [c["gaps"]["test_accuracy"]["value"] for n, c in ten.items() if n.startswith("digits")]
    if len(digits) > 1:
        lines += ["", f"Digits, mean difference of {len(digits)} seeds: {cells.mean(digits):+.4f}."]
    return [*lines, "", "The cost is judged by image gradients; seconds vary with the machine."]


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _course(cell: Cell) -> list[str]:
    lines = [
        "| after | seconds | image gradients | retain accuracy | test accuracy "
        "| forget accuracy: this request | all so far | the first | membership AUC, all so far |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    before, again = cell["before"], cell["retrained"]
    lines.append(_line("0 (original)", cell["training"], before, before["requests"]))
    for number, then in enumerate(cell["after"], 1):
        lines.append(_line(str(number), then, then, then["requests"]))
    lines.append(_line("retrained", cell["retraining"], again, again["requests"]))
    return lines


def _line(name: str, cost: Cell, then: Cell, requests: list[Cell]) -> str:
    accuracies = [r["forget_accuracy"] for r in requests]
    areas = [r["membership_auc"]["value"] for r in requests if "membership_auc" in r]
    total = sum(a["n"] for a in accuracies)
    pooled = math.fsum(a["value"] * a["n"] for a in accuracies) / total
    utility = [then["utility"][key]["value"] for key in ("retain_accuracy", "test_accuracy")]
    numbers = [*utility, accuracies[-1]["value"], pooled, accuracies[0]["value"], cells.mean(areas)]
    told = [f"{cost['seconds']:.2f}", f"{cost['image_gradients']:,.0f}"]
    return f"| {' | '.join([name, *told, *(f'{x:.3f}' for x in numbers)])} |"


def _matrix(cell: Cell) -> list[str]:
    heads = ["request", "original", *(f"after {n}" for n in range(1, len(cell["rules"]) + 1))]
    lines = [f"| {' | '.join([*heads, 'retrained'])} |", "|---" * (len(heads) + 1) + "|"]
    states = [cell["before"], *cell["after"], cell["retrained"]]
    for key, words in ASKED.items():
        for place, rule in enumerate(cell["rules"]):
            known = [then["requests"][place : place + 1] for then in states]
            values = [f"{x[0][key]['value']:.3f}" if x and key in x[0] else "" for x in known]
            if any(values):
                lines.append(f"| {' | '.join([f'{place + 1} `{rule}`{words}', *values])} |")
    tests = [f"{then['utility']['test_accuracy']['value']:.3f}" for then in states]
    return [*lines, f"| {' | '.join(['test accuracy', *tests])} |"]


def _harms(harms: dict[str, Cell]) -> list[str]:
    lines = [
        "Where the retrained model is the aim: it never saw a spoiled image. 95 % intervals are in",
        "the cells.",
        "",
        "| case | model | trigger success | corrected-label accuracy | forget accuracy "
        "| test accuracy | seconds | image gradients |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, cell in harms.items():
        for name in ("original", METHOD, *OTHERS, "retrained"):
            model = cell["models"][name]
            keys = (*HARM, "forget_accuracy", "test_accuracy")
            values = [f"{model[key]['value']:.3f}" if key in model else "" for key in keys]
            spent = [f"{model['seconds']:.2f}", f"{model['image_gradients']:,.0f}"]
            lines.append(f"| {' | '.join([case, name, *values, *spent])} |")
    return lines


def page(text: str, found: dict[str, Cell]) -> str:
    """Return docs/sequences.md with the block below its mark made anew."""
    return text.partition(MARK)[0] + MARK + block(found)


def publish(found: dict[str, Cell]) -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(), found))


def main() -> None:
    """Measure what is asked for and not up to date, and write the page."""
    cells.command(main.__doc__, RESULTS, digests, make, publish)


if __name__ == "__main__":
    main()

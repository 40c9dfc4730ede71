"""How near to retraining the deep recipe comes: what it must show, measured and judged.

``python verify/frontier.py`` measures every cell that is not up to date and writes the page;
``python verify/frontier.py cifar10-class3 flat`` only the cells whose names begin so, and
``--page`` none.  A cell is one model: the original, one that was retrained, or one that was
unlearned with one seed.  It keeps 200 redraws of the images beside every figure, the same for all
models, so that any difference between models has its paired interval (``frontier_page.py``).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import cells
import frontier_page
import numpy as np
import provenance
import torch
from main_job import GIVEN, ROOT, SHARED, cifar
from torch import Tensor, nn

from unsee import events
from unsee.accounting import environment, measured
from unsee.audits import observe
from unsee.audits._few_shot import DRAWS as TIMES, SAMPLE, SHOTS
from unsee.audits._probe import SAMPLE as FITTED
from unsee.audits._relearning import STEPS, _curve, _lesson
from unsee.data import as_floats
from unsee.draws import generator
from unsee.erasure import trained, unlearn, unlearned
from unsee.errors import DamageError
from unsee.folder import write
from unsee.functional import (
    auc,
    few_shot_recall,
    js_distance,
    learned_scores,
    membership_scores,
    ridge_probe,
)
from unsee.methods import METHODS
from unsee.models import Checkpoint, head, pack, read
from unsee.nouns import Config, Data, Split, View
from unsee.preparation import Job, prepare
from unsee.training import device_of, predict

RESULTS = ROOT / "docs" / "evidence" / "frontier"
MODELS = ROOT / "runs" / "verify" / "frontier-models"
MNIST = SHARED / "data" / "MNIST" / "raw"
DRAWS, SEEDS, TIMED = 200, 3, 4096  # redraws; seeds of the method; images of a timed retraining
LENGTHS, ROUNDS = (5000, 10000, 20000, 50000), 5  # images that stay; how often each is timed
STAYS, GOES = 5000, 1000  # of those that stay, the buffer; beside them, images to forget
Columns = dict[str, tuple[str, Tensor]]  # by measurement: of which part, one number per image


@dataclass(frozen=True)
class Task:
    """What is forgotten by which model, and the retrained models to compare with."""

    config: Config
    given: tuple[str, ...] = ()  # retrained models among the given checkpoints
    trained: int = 0  # or how many to train here
    buffers: tuple[float, ...] = (0.1,)  # the first is judged in full
    rivals: tuple[str, ...] = ()  # other methods, which are shown all that stays

    def cells(self) -> Iterator[str]:
        """Yield the names of its models."""
        yield "original"
        yield from (f"retrained{n}" for n in range(len(self.given) or self.trained))
        for share in self.buffers:
            kind = "" if share == self.buffers[0] else f"buffer{round(100 * share):02d}-"
            yield from (f"{kind}seed{seed}" for seed in range(SEEDS))
        for method in self.rivals:
            yield from (f"{method}-seed{seed}" for seed in range(SEEDS))


def small(data: str, arch: str, epochs: int, retrained: int = 8) -> Task:
    """Say which models are trained here, all of them in minutes."""
    config = Config(data=data, arch=arch, forget="class=3", train_epochs=epochs)
    return Task(config, trained=retrained)


TASKS = {
    "cifar10-class3": Task(
        replace(cifar(3), oracle="none"),
        given=("cifar10-no-class3", "cifar10-no-class3-b"),
        buffers=(0.1, 0.01, 0.0),
    ),
    "cifar10-class0": Task(replace(cifar(0), oracle="none"), given=("cifar10-no-class0",)),
    "mnist-class3": small(f"mnist:{MNIST}", "resnet18:imagenet", 2),
    "digits-class3": small("digits", "convnet", 8),
    "cifar10-random10": Task(
        replace(cifar(3), oracle="none", forget=f"ids={GIVEN / 'random10-ids.txt'}"),
        given=("cifar10-no-random10",),
        rivals=("snu_weights",),
    ),
}


def digests() -> dict[str, str]:
    """Return by the name of every cell the digest of the sources that decide its numbers."""
    digest = cache(provenance.digest)
    found = {
        f"{name}-{model}": cells.made_by(
            digest(method_of(model) if "seed" in model else "retrain"),
            asked=[task, model, DRAWS, TIMED],
        )
        for name, task in TASKS.items()
        for model in task.cells()
    }
    return found | {"flat": cells.made_by(digest("snu_deep"), asked=[LENGTHS, ROUNDS, STAYS, GOES])}


def method_of(name: str) -> str:
    """Return the method of a model that was unlearned: its name says it, unless it is ours."""
    method = name.rpartition("-seed")[0]
    return method if method in METHODS else "snu_deep"


class Bench:
    """One task at work: its data are read once, and models that serve others are looked at once."""

    def __init__(self, name: str, task: Task) -> None:
        self.name, self.task = name, task
        with events.noted():
            self.job: Job = prepare(task.config)

    @property
    def split(self) -> Split:
        """What goes and what stays."""
        return self.job.split

    def model(self, name: str) -> nn.Module:
        """Return the original or a retrained model: given, or trained once and kept."""
        number = int(name.removeprefix("retrained")) if name != "original" else 0
        if name == "original" and self.task.config.model:
            return self._read(Path(self.task.config.model))
        if name != "original" and self.task.given:
            return self._read(GIVEN / f"{self.task.given[number]}.safetensors")
        whose = self.name.partition("-")[0] if name == "original" else self.name  # it saw all
        file = MODELS / f"{whose}-{name}-{provenance.digest('retrain')[:8]}.safetensors"
        if not file.exists():
            split, purpose = (None, "train") if name == "original" else (self.split, "retrain")
            model = trained(self.job, split, purpose, seed=number)
            MODELS.mkdir(parents=True, exist_ok=True)
            write(file, pack(Checkpoint(model.state_dict(), self.job.facts)))
        return self._read(file)

    def _read(self, file: Path) -> nn.Module:
        with events.noted():
            return self.job.load(read(file))

    @cached_property
    def answers(self) -> dict[str, Tensor]:
        """What the first two retrained models answer to the forgotten images."""
        names = [x for x in self.task.cells() if x in ("retrained0", "retrained1")]
        seen = {name: predict(self.model(name), self.split.forget) for name in names}
        return {name: x.logits.softmax(1) for name, x in seen.items()}

    @cached_property
    def before(self) -> View:
        """The original as relearning needs it: seen through unseen images alone."""
        kin = torch.isin(self.split.test.labels.cpu(), torch.tensor(self.split.gone))
        model = self.model("original")
        seen = predict(model, self.split.test[kin.nonzero()[:, 0].numpy()])
        return View("original", model, seen, seen, seen, seen)


def cell(bench: Bench, name: str) -> cells.Cell:
    """Make one model and measure it."""
    job, facts = bench.job, dict[str, Any]()
    if "seed" in name:
        model, facts = unlearned_once(bench, name)
    else:
        model = bench.model(name)
    view = observe("original", model, job.split, partial(generator, 0))
    columns, scores = columns_of(bench, name, view)
    return {
        "task": bench.name,
        "model": name,
        "n": {part: len(getattr(view, part).labels) for part in ("forget", "retain", "test")},
        "unseen": len(view.unseen.labels),
        "values": redrawn(columns, scores),
        "environment": environment(device_of(model)),
        **facts,
    }


def unlearned_once(bench: Bench, name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Unlearn with a method's defaults; beside it, where it is judged, retraining is timed.

    A guard that stops is recorded, and the model that it refused is measured all the same.
    """
    kind, _, seed = name.rpartition("seed")
    method = METHODS[method_of(name)]
    fraction = int(kind[6:8]) / 100 if kind.startswith("buffer") else bench.task.buffers[0]
    config = replace(bench.task.config, method=method.name, retain_fraction=fraction)
    job, original = replace(bench.job, config=config), bench.model("original")
    job = replace(job, method=method, options=method.chosen(dict(config.options)))
    timed = [] if kind else [retraining(job)]
    stopped = None
    try:
        model, cost = measured(lambda: unlearned(job, original, seed=int(seed)))
    except DamageError as error:
        stopped, job = str(error), replace(job, config=replace(config, guard=1.0))
        model, cost = measured(lambda: unlearned(job, original, seed=int(seed)))
    timed += [] if kind else [retraining(job)]
    return model, {
        "seed": int(seed),
        "retain_fraction": fraction,
        "buffer": round((1 if method.data == "all" else fraction) * len(job.split.retain)),
        "options": job.options,
        "stopped": stopped,
        "seconds": cost["seconds"],
        "image_gradients": cost["image_gradients"],
        "retraining": {"images": len(job.split.retain), "timed": timed},
    }


def retraining(job: Job) -> dict[str, float]:
    """Time one epoch of retraining on some of the images that stay; a first few warm up."""
    retain = job.split.retain
    draws = generator(0, "frontier/timed")
    some = retain[torch.randperm(len(retain), generator=draws)[:TIMED].numpy()]

    def epoch(data: Data) -> nn.Module:
        return unlearn(
            job.restart(),
            job.split.forget,
            data,
            method="retrain",
            guard=1,
            purpose="retrain",
            factory=job.restart,
            epochs=1,
        )

    epoch(some[:256])
    _, cost = measured(partial(epoch, some))
    return {"images": len(some), "seconds": cost["seconds"]}


def columns_of(
    bench: Bench, name: str, view: View
) -> tuple[Columns, dict[str, tuple[Tensor, Tensor]]]:
    """Return what every audit says of each image, and the scores of every membership attack."""
    found: Columns = {}
    for part in ("forget", "retain", "test"):
        seen = getattr(view, part)
        found[f"{part}_accuracy"] = part, seen.logits.argmax(1) == seen.labels
    answers = view.forget.logits.softmax(1)
    others = (theirs for other, theirs in bench.answers.items() if other != name)
    apart = [js_distance(answers, theirs) for theirs in others]
    if apart:
        found["js_distance"] = "forget", torch.stack(apart).mean(0)
    if bench.split.gone:
        found |= depth(bench, view)
    scores = {
        part: membership_scores(seen.logits, seen.labels)
        for part, seen in (("forget", view.forget), ("unseen", view.unseen))
    }
    attacks = {name: (scores["forget"][name], scores["unseen"][name]) for name in scores["forget"]}
    sides = (view.forget, view.unseen)
    each = [x for seen in sides for x in (seen.logits, seen.labels)]
    if learned := learned_scores(*each, rng=generator(0, "frontier/learned")):
        attacks["learned"] = learned
    return found, attacks


def depth(bench: Bench, view: View) -> Columns:
    """Return of each unseen image of the class whether probe, few shots and relearning know it.

    As the audits of these names ask it, by the same draws, but for every image instead of a share.
    """
    split, found = bench.split, {}
    (gone,) = split.gone
    features, labels = (
        torch.cat([getattr(seen, column) for seen in (view.forget, view.retain)])
        for column in ("features", "labels")
    )
    some = torch.randperm(len(labels), generator=generator(0, "probe"))[:FITTED]
    probed = ridge_probe(features[some], labels[some], view.unseen.features)
    found["probe_recall"] = "unseen", probed == view.unseen.labels
    draws = generator(0, "few_shot")
    some = torch.randperm(len(view.retain.labels), generator=draws)[:SAMPLE]
    kept, forgotten = view.retain, view.forget.features[view.forget.labels == gone]
    hits = few_shot_recall(
        kept.features[some],
        kept.labels[some],
        forgotten,
        view.unseen.features,
        rng=draws,
        shots=SHOTS,
        draws=TIMES,
    )
    found["few_shot_recall"] = "unseen", hits.double().mean(0)
    lesson = _lesson(bench.before, split, generator(0, "relearning"))
    first = as_floats(split.forget.take(torch.arange(1)).to(device_of(view.model)))
    for called, model in (
        ("relearn_recall", view.model),
        ("relearn_recall_restored", bench.before.model),
    ):
        curve = _curve(view.model, lesson, head(model, first))  # ends after the first STEPS
        if not curve.hits:
            raise ArithmeticError(f"{called} has no answer: the copy diverged within {STEPS} steps")
        found[called] = "asked", curve.hits[-1]
    return found


def redrawn(
    columns: Columns, scores: dict[str, tuple[Tensor, Tensor]], draws: int = DRAWS
) -> dict[str, list[float]]:
    """Return by measurement its value, then its value for each redraw of the images.

    A redraw takes rows by their number alone, so it is the same for all models of a task.
    """
    lengths = {part: len(values) for part, values in columns.values()}
    for forget, unseen in scores.values():
        lengths |= {"forget": len(forget), "unseen": len(unseen)}
    rows = {
        part: [torch.arange(n), *(torch.randint(n, (n,), generator=dice) for _ in range(draws))]
        for part, n in lengths.items()
        for dice in [generator(0, f"frontier/{part}")]
    }
    found = {
        name: [float(values.double()[some].mean()) for some in rows[part]]
        for name, (part, values) in columns.items()
    }
    for attack, (forget, unseen) in scores.items():
        both = zip(rows["forget"], rows["unseen"], strict=True)
        found[f"membership_auc/{attack}"] = [auc(forget[a], unseen[b]) for a, b in both]
    return found


def flat() -> cells.Cell:
    """Time the whole unlearning beside ever more images, the cutting of the buffer included."""
    with events.noted():
        job = prepare(Config(data=f"mnist:{MNIST}", arch="convnet", forget="class=3"))
        job = replace(job, config=replace(job.config, train_epochs=1))
    return timed(job, trained(job, None, "train"))


def timed(
    job: Job,
    original: nn.Module,
    lengths: tuple[int, ...] = LENGTHS,
    goes: int = GOES,
    stays: int = STAYS,
) -> cells.Cell:
    """Return how long unlearning takes beside ``lengths`` images that stay, several times each."""
    order = torch.randperm(len(job.split.retain), generator=generator(0, "frontier/flat"))
    forget = job.split.forget[:goes]
    seconds: dict[int, list[float]] = {n: [] for n in lengths}
    for number in range(ROUNDS + 1):
        for n in np.roll(lengths, number).tolist():
            retain = job.split.retain[order[:n].numpy()]
            start = time.perf_counter()
            share = stays / n  # the guard watches, which costs time, and never stops
            unlearn(original, forget, retain, seed=number, retain_fraction=share, guard=0.99)
            if number:  # the first round warms up
                seconds[n].append(time.perf_counter() - start)
    return {
        "forget": len(forget),
        "buffer": stays,
        "arch": job.config.arch,
        "seconds": {str(n): found for n, found in seconds.items()},
        "environment": environment(device_of(original)),
    }


@lru_cache(maxsize=1)
def bench_of(task: str) -> Bench:
    """Return a task at work; one at a time."""
    return Bench(task, TASKS[task])


def make(name: str) -> cells.Cell:
    """Measure one cell."""
    if name == "flat":
        return flat()
    task = next(task for task in TASKS if name.startswith(f"{task}-"))
    return cell(bench_of(task), name.removeprefix(f"{task}-"))


def publish(found: dict[str, cells.Cell]) -> None:
    """Write the page."""
    frontier_page.PAGE.write_text(frontier_page.page(found))


def main() -> None:
    """Measure what is asked for and not up to date, and write the page."""
    cells.command(main.__doc__, RESULTS, digests, make, publish)


if __name__ == "__main__":
    main()

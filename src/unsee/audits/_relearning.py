import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee import ranks
from unsee.audits._audit import Answer, audit
from unsee.audits._once import once
from unsee.data import as_floats, batches
from unsee.errors import DivergenceError, ModelError
from unsee.events import muted, warn
from unsee.functional import share
from unsee.models import head
from unsee.nouns import Data, Measurement, Split, View
from unsee.training import answers, descend, device_of, predict

FORGET, RETAIN, TESTED = 50, 450, 300  # images to learn again, beside these; to ask for
STEPS, BATCH = 20, 128
CAP, LATER = 200, 32  # steps; images in each of those after the first 20: see BUDGET
BUDGET = STEPS * BATCH + (CAP - STEPS) * LATER  # image gradients of one curve at most: 8,320
LR, ENOUGH = 0.01, 0.95  # the rate, constant; the share of the original's recall to come back to
ASKED = (0, 1, 2, 5, 10, *range(STEPS, 60, 10), *range(60, CAP + 1, 20))  # after these steps
NAMES = ("relearn_recall", "relearn_recall_restored", "relearn_steps", "anamnesis_index")


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What all models are taught and asked, the same for each."""

    data: Data  # forgotten and kept training images
    unseen: Data  # test images of the forgotten classes
    seed: int
    goal: float  # the recall at which all is back

    def key(self) -> tuple[object, ...]:
        """Name everything that a curve depends on but for the model."""
        ids = tuple(self.data.ids.tolist()), tuple(self.unseen.ids.tolist())
        return "relearning", *ids, self.data.labels.numpy().tobytes(), self.seed, self.goal


@dataclass(frozen=True)
class _Curve:
    hits: tuple[Tensor, ...]  # [n] booleans after each of the first steps of ASKED; perhaps none

    @property
    def recall(self) -> list[float]:
        return [float(hit.double().mean()) for hit in self.hits]


@audit(
    names=NAMES,
    question="How fast does the model learn again what it was to forget?",
    unit="recall; steps; steps over the retrained model's",
    goal="like retrained",
)
def relearning(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Recall on unseen images of the forgotten classes while a copy is trained on a few images.

    50 forgotten and 450 retain images, without augmentation; SGD at 0.01, constant, Nesterov 0.9,
    weight decay 5e-4, on all weights; the same images in the same order for every model, and at
    most 300 test images.

    * relearn_recall: after 20 steps of 128 images, of the model as delivered.
    * relearn_recall_restored: the same, with the original's output layer put back first: an output
      layer may be out of reach for 20 steps while all features are there.
    * relearn_steps: steps until recall is 95 % of the original's own before any step.  After the
      first 20 steps batches have 32 images, and recall is asked for every 10 steps, from 60 on
      every 20.  It ends at 200, which stands for 200 or more: at most 8,320 image gradients.
      The interval is the gap between two looks, without sampling error.
    * anamnesis_index: relearn_steps over the retrained model's; None where that is 0.

    The arrays ``relearn/steps``, ``/recall`` and ``/recall_restored`` are the first 20 steps;
    ``relearn/steps_to_cap`` and ``/recall_to_cap`` go on until 95 % or 200 steps.
    """
    found: Answer = dict.fromkeys(NAMES)
    if not split.gone or not len(view.unseen.labels):
        return found
    lesson = _lesson(original, split, rng)
    first = as_floats(split.forget.take(torch.arange(1)))
    delivered = _learned(view, lesson)
    output = head(original.model, first.to(device_of(original.model)))
    if _alike(output, head(view.model, first.to(device_of(view.model)))):
        restored = delivered
    else:
        restored = _curve(view.model, lesson, output)
    brief = ASKED.index(STEPS) + 1
    for curve, name, array in (
        (delivered, "relearn_recall", "recall"),
        (restored, "relearn_recall_restored", "recall_restored"),
    ):
        if curve.hits:
            found["relearn/steps"] = np.array(ASKED[:brief])
            found[name] = share(curve.hits[brief - 1])
            found[f"relearn/{array}"] = np.array(curve.recall[:brief])
    if delivered.hits:
        found["relearn/steps_to_cap"] = np.array(ASKED[: len(delivered.hits)])
        found["relearn/recall_to_cap"] = np.array(delivered.recall)
        found["relearn_steps"] = ours = _steps(delivered, lesson)
        if retrained is not None and len(retrained.unseen.labels):
            theirs = _learned(retrained, lesson)
            if theirs.hits and (reference := _steps(theirs, lesson)).value:
                found["anamnesis_index"] = _index(ours, reference, itself=view is retrained)
    return found


def _lesson(original: View, split: Split, rng: torch.Generator) -> _Lesson:
    """Draw the images; what is drawn depends on ``rng`` and ``split`` alone."""
    kin = torch.isin(split.test.labels.cpu(), torch.tensor(split.gone))
    unseen = split.test[kin.nonzero()[:, 0].numpy()]
    parts = [(split.forget, FORGET), (split.retain, RETAIN), (unseen, TESTED)]
    rows = [torch.randperm(len(data), generator=rng)[:most] for data, most in parts]
    forget, retain, asked = (
        data[some.numpy()] for (data, _), some in zip(parts, rows, strict=True)
    )
    everything = torch.arange(len(forget)), torch.arange(len(retain))
    data = Data(
        torch.cat([forget.take(everything[0]), retain.take(everything[1])]).cpu(),
        torch.cat([forget.labels, retain.labels]).cpu(),
        np.concatenate([forget.ids, retain.ids]),
        np.concatenate([forget.parts, retain.parts]),
        split.classes,
    )
    seed = int(torch.randint(2**62, (), generator=rng))
    right = original.unseen.logits.argmax(1) == original.unseen.labels
    return _Lesson(data, asked, seed, ENOUGH * float(right[rows[2]].double().mean()))


def _learned(view: View, lesson: _Lesson) -> _Curve:
    return once(view, lesson.key(), lambda: _curve(view.model, lesson, None))


def _alike(a: nn.Linear, b: nn.Linear) -> bool:
    pairs = [(a.weight, b.weight), (a.bias, b.bias)]
    return all(
        torch.equal(x.detach().cpu(), y.detach().cpu())
        for x, y in pairs
        if x is not None and y is not None
    )


def _curve(model: nn.Module, lesson: _Lesson, output: nn.Linear | None) -> _Curve:
    """Teach a copy of ``model``, as it is or with this output layer, and ask it on the way.

    With another output layer it ends after 20 steps.  A curve that diverges is none, and a warning
    says so: the model may be broken, and what else there is to say about it is said by others.
    """
    own = copy.deepcopy(model).requires_grad_(True)
    for weight in own.parameters():
        weight.grad = None
    device = device_of(own)
    if output is not None:
        layer = head(own, as_floats(lesson.unseen.take(torch.arange(1))).to(device))
        with torch.no_grad():
            layer.weight.copy_(output.weight)
            if layer.bias is not None and output.bias is not None:
                layer.bias.copy_(output.bias)
    hits: list[Tensor] = []
    last = CAP if output is None else STEPS
    rng = torch.Generator().manual_seed(lesson.seed)
    sizes = (batches(lesson.data, rng=rng, size=size) for size in (BATCH, LATER))
    taught = chain(islice(next(sizes), STEPS), next(sizes))

    def losses() -> Iterator[Tensor]:
        for step, (images, labels) in enumerate(taught):
            if step in ASKED:
                seen = predict(own, lesson.unseen)
                hits.append(seen.logits.argmax(1) == seen.labels)
                # Weights that autocast rounded while it kept no gradients would serve the next
                # step too, which then could not learn.
                torch.clear_autocast_cache()
            if step == last or (step >= STEPS and any(_back(hit, lesson) for hit in hits)):
                return
            yield cross_entropy(answers(own, images.to(device)), labels.to(device))

    # Dropout draws from the global generator; and each process learns by itself, or an answer would
    # depend on their number.
    with ranks.alone(), torch.random.fork_rng():
        torch.manual_seed(lesson.seed)
        try:
            with muted():
                descend(own, losses(), lr=LR)
        except (DivergenceError, ModelError):  # weights, or logits, that are no numbers
            warn(f"relearning has no answer for a model: its copy diverges at the rate {LR}")
            return _Curve(())
    return _Curve(tuple(hits))


def _back(hit: Tensor, lesson: _Lesson) -> bool:
    return float(hit.double().mean()) >= lesson.goal


def _steps(curve: _Curve, lesson: _Lesson) -> Measurement:
    """Return after how many steps all was back; the interval is the gap between two looks."""
    n = len(lesson.unseen)
    for place, hit in enumerate(curve.hits):
        if _back(hit, lesson):
            early = ASKED[place - 1] + 1 if place else 0
            return Measurement(float(ASKED[place]), float(early), float(ASKED[place]), n)
    return Measurement(float(CAP), float(CAP), float(CAP), n)


def _index(ours: Measurement, theirs: Measurement, *, itself: bool) -> Measurement:
    value = ours.value / theirs.value
    if itself:
        return Measurement(value, value, value, ours.n)
    return Measurement(value, ours.low / theirs.high, ours.high / theirs.low, ours.n)

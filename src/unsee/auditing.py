"""Ask every audit about every model: views -> measurements -> run -> verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unsee.accounting import described, environment, forgotten
from unsee.audits import AUDITS, Audit, Need, asked as asked_by_name, observe
from unsee.data import as_floats, with_fewer
from unsee.draws import generator
from unsee.explanation import control, look_closely, pictures, plane
from unsee.matching import fits
from unsee.models import output_layer
from unsee.nouns import Data, Measurement, Measurements, Run, Split, View
from unsee.training import device_of
from unsee.verdict import Policy, load_policy, verdict

MAPPED = 200  # images of each kind whose maps are compared
EVERYTHING: tuple[Need, ...] = ("maps", "stages")
IN_THE_PLANE = {"evidence", "few_shot", "probe"}  # audits that the feature map is a picture of
Samples = dict[str, tuple[Data, NDArray[np.int64]]]  # of forget and retain: the data, the rows
Arrays = dict[str, NDArray[Any]]
References = dict[str, list[float | None]]


@dataclass(frozen=True)
class Inquiry:
    """What is asked of every model alike: the same images, the same draws, the same questions."""

    split: Split
    seed: int = 0
    audits: Mapping[str, Audit] = field(default_factory=lambda: AUDITS)

    @classmethod
    def of(
        cls, split: Split, seed: int, audits: Mapping[str, Audit], most: int | None
    ) -> "Inquiry":
        """Ask about a sample of the images that stay: ``most`` of them, or all."""
        return cls(with_fewer(split, most, generator(seed, "audit/retain")), seed, audits)

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the audits that are asked need to see beside answers and features."""
        found = {need for audit in self.audits.values() for need in audit.needs}
        return tuple(need for need in EVERYTHING if need in found)

    def samples(self) -> Samples:
        """Return the images of each kind that are looked at closely."""
        found: Samples = {}
        for part in ("forget", "retain"):
            data, draws = getattr(self.split, part), generator(self.seed, f"maps/{part}")
            found[part] = data, torch.randperm(len(data), generator=draws)[:MAPPED].numpy()
        return found

    def look(self, name: str, model: nn.Module) -> View:
        """See all data once, for all audits; and a sample of it closely, for the maps."""
        return look(name, model, self.split, self.samples(), self.seed, self.needs)

    def answers(
        self, view: View, original: View, retrained: View | None
    ) -> tuple[Measurements, Arrays]:
        """Ask all audits about one model."""
        numbers: Measurements = {}
        arrays: Arrays = {}
        for key, ask in self.audits.items():
            if view.name == "control" and key != "evidence":
                continue  # it is there for the maps alone
            draws = generator(self.seed, key)
            answer = ask(view, original=original, retrained=retrained, split=self.split, rng=draws)
            for called, value in answer.items():
                if value is None or isinstance(value, Measurement):
                    numbers[called] = value
                else:
                    arrays[f"{view.name}/{called}"] = value
        return numbers, arrays

    def values(self, model: nn.Module, number: int, original: View, retrained: View) -> References:
        """Return what every audit says of one more retrained model, as lists of one value.

        Args:
            model: the retrained model.
            number: its place among them, from 1; 0 is ``retrained`` itself.
            original: before.
            retrained: the first of the retrained models.

        """
        view = self.look(f"retrained {number}", model)
        numbers, _ = self.answers(view, original, retrained)
        return {name: [m.value if m else None] for name, m in numbers.items()}


def look(
    name: str,
    model: nn.Module,
    split: Split,
    samples: Samples,
    seed: int = 0,
    needs: Sequence[Need] = EVERYTHING,
) -> View:
    """See all data once, for all audits; and a sample of it closely, for the maps.

    What is not among ``needs`` is not computed.
    """
    view = observe(name, model, split, partial(generator, seed), inside="stages" in needs)
    if "maps" not in needs:
        return view
    return replace(view, maps=look_closely(model, *(data[rows] for data, rows in samples.values())))


def joined(first: Measurements, others: Sequence[References]) -> References:
    """Return the values of K retrained models by measurement: of the first, then of the others."""
    values: References = {name: [m.value if m else None] for name, m in first.items()}
    for other in others:
        for name in values:
            values[name] += other.get(name, [None])
    return values


def audit(
    split: Split,
    *,
    original: nn.Module,
    unlearned: nn.Module,
    retrained: nn.Module | Sequence[nn.Module] | None = None,
    seed: int = 0,
    audits: Mapping[str, Audit] | Sequence[str] = AUDITS,
    audit_retain: int | None = None,
    policy: Policy | None = None,
    references: Sequence[References] | None = None,
    **facts: Any,
) -> Run:
    """Ask every audit about every model, with the same draws for each, and judge the answers.

    Args:
        split: what was to go and what to stay, as the unlearning had it.
        original: before.
        unlearned: after.
        retrained: trained without the forget set, if there is such a model; or several of them,
            from different seeds: a verdict needs eight for a green light.
        seed: of every draw.
        audits: which to ask, names among ``unsee.audits.AUDITS`` or a mapping of them; nothing is
            computed that none of them needs.
        audit_retain: how many of the images that stay to look at, of each class its share; None:
            all.  Intervals are those of so many images.
        policy: by which to judge; by default the one that unsee brings.
        references: of the retrained models but the first, where they were measured elsewhere.
        **facts: what else the run should record: fields of :class:`unsee.Run`.

    Raises:
        ModelError: if a model cannot have learned these images.
        OptionError: if there is no audit of a name.

    """
    asked = audits if isinstance(audits, Mapping) else asked_by_name(audits)
    several = [retrained] if isinstance(retrained, nn.Module) else [*(retrained or ())]
    for model in (original, unlearned, *several):
        fits(model, split.forget)
    inquiry = Inquiry.of(split, seed, asked, audit_retain)
    split, maps = inquiry.split, "maps" in inquiry.needs
    given = {"original": original, "unlearned": unlearned}
    if several:
        given["retrained"] = several[0]
    views = {name: inquiry.look(name, model) for name, model in given.items()}
    before, again = views["original"], views.get("retrained")
    samples = inquiry.samples()
    blank = control(original, samples, generator(seed, "control")) if maps else None
    arrays = pictures(samples, views, blank)
    if IN_THE_PLANE & asked.keys():
        arrays |= plane(views, split, partial(generator, seed))
    measurements: dict[str, Measurements] = {}
    for view in (*views.values(), *((blank,) if blank else ())):
        measurements[view.name], found = inquiry.answers(view, before, again)
        arrays |= found
    if references is None and again is not None:
        numbered = enumerate(several[1:], 1)
        references = [inquiry.values(model, n, before, again) for n, model in numbered]
    notes = (*facts.pop("notes", ()), *_unasked(before, split), *_looked_at(split, asked))
    if before.maps is not None and blank is None:
        notes += ("Grad-CAM has no control of random weights: a module cannot be re-initialised",)
    first = as_floats(split.forget.take(torch.arange(1)).to(device_of(original)))
    done = Run(
        data=described(split),
        forget=forgotten(split),
        measurements=measurements,
        environment=environment(device_of(original)),
        seed=seed,
        output_layer=output_layer(original, first),
        explained_layer=None if before.maps is None else before.maps.layer,
        references=joined(measurements["retrained"], references or ()) if again else {},
        notes=notes,
        arrays=arrays,
        **facts,
    )
    return replace(done, verdict=verdict(done, policy or load_policy()))


def _looked_at(split: Split, audits: Mapping[str, Audit]) -> list[str]:
    """Say what the audits did not look at, and which were not asked."""
    left = [name for name in AUDITS if name not in audits]
    told = [f"only these audits were asked: {', '.join(audits)}"] if left else []
    if split.stays is not None:
        told.append(
            f"the audits looked at {len(split.retain):,} of the {split.stays:,} images that stay, "
            "of each class its share, drawn by the seed: intervals are those of so many images"
        )
    return told


def _unasked(view: View, split: Split) -> list[str]:
    """Say for which questions there are no test images."""
    names = [split.classes[number] for number in split.gone]
    kinds = {f"of the forgotten {names}": view.unseen, "of the classes that stay": view.test}
    return [
        f"there are no test images {kind}: what is asked about them is left open"
        for kind, seen in kinds.items()
        if not len(seen.labels)
    ]

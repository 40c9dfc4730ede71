from collections.abc import Callable

import torch
from torch import Tensor, nn

from unsee.data import as_floats
from unsee.models import StageMeans, stages
from unsee.nouns import Data, Seen, Split, Stage, View
from unsee.training import device_of, predict

MOST = {"forget": 500, "retain": 2000, "unseen": 1000, "test": 1000}  # images sampled of each part
Draws = Callable[[str], torch.Generator]  # by purpose


def observe(
    name: str, model: nn.Module, split: Split, draws: Draws, *, inside: bool = True
) -> View:
    """See all data of ``split`` once, and keep what each stage says about a sample of it.

    Args:
        name: of the model: original, unlearned or retrained.
        model: keeps its modes, hooks and gradients.
        split: every image passes through ``model`` once.
        draws: gives the generator that draws a part's sample, the same one for every model.
        inside: whether an audit asks about the stages; if none does, the view has none.

    Returns:
        A view without maps.  Where single images are forgotten, ``unseen`` and ``test`` are both
        all test images, and one sample.

    """
    first = as_floats(split.forget.take(torch.arange(1)).to(device_of(model)))
    names = stages(model, first) if inside else ()
    kin = torch.isin(split.test.labels.cpu(), torch.tensor(split.gone))
    places = {"forget": torch.arange(len(split.forget)), "retain": torch.arange(len(split.retain))}
    if split.gone:
        places |= {"unseen": kin.nonzero()[:, 0], "test": (~kin).nonzero()[:, 0]}
    else:
        places["test"] = torch.arange(len(split.test))
    sampled = {
        part: torch.randperm(len(rows), generator=draws(f"stages/{part}"))[: MOST[part]]
        for part, rows in places.items()
    }
    seen: dict[str, Seen] = {}
    means: dict[str, dict[str, Tensor]] = {}
    for part in ("forget", "retain"):
        seen[part], means[part] = _seen(model, getattr(split, part), names, sampled[part])
    kinds = [part for part in ("unseen", "test") if part in places]
    wanted = torch.cat([places[part][sampled[part]] for part in kinds])
    everything, found = _seen(model, split.test, names, wanted)
    lengths = [len(sampled[part]) for part in kinds]
    for part in kinds:
        rows = places[part]
        seen[part] = everything[rows]
        means[part] = {}
    for stage, both in found.items():
        for part, some in zip(kinds, both.split(lengths), strict=True):
            means[part][stage] = some
    if not split.gone:
        seen["unseen"], means["unseen"] = seen["test"], means["test"]
        sampled["unseen"] = sampled["test"]
    for part, kept in means.items():
        kept["penultimate"] = seen[part].features[sampled[part]]
    layers = tuple(
        Stage(stage, **{part: kept[stage] for part, kept in means.items()})
        for stage in ((*names, "penultimate") if inside else ())
    )
    forget, retain, unseen, test = (seen[part] for part in MOST)
    return View(name, model, forget, retain, unseen, test, stages=layers, sampled=sampled)


def _seen(
    model: nn.Module, data: Data, names: tuple[str, ...], rows: Tensor
) -> tuple[Seen, dict[str, Tensor]]:
    if not names:
        return predict(model, data), {}
    means = StageMeans(names, rows)
    return predict(model, data, means=means), means.found()

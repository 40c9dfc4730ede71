"""Maps of a small sample, and the pictures that a report shows of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unsee.data import as_floats
from unsee.errors import ModelError
from unsee.explanation._gradcam import gradcams
from unsee.explanation._layers import mapped_stages
from unsee.models import reinitialised
from unsee.nouns import Data, Maps, Seen, View
from unsee.training import device_of, predict

SHOWN = {"forget": 8, "retain": 6}  # images that reports show, drawn at random
CHANGE = ("original", "unlearned")
EXTREMES = 4  # forgotten images that changed most, and least
Samples = Mapping[str, tuple[Data, NDArray[np.int64]]]  # of forget and retain: the data, the rows
Arrays = dict[str, NDArray[Any]]


def look_closely(model: nn.Module, forget: Data, retain: Data) -> Maps | None:
    """Return where ``model`` looks for the true class, and for the one that it answers.

    None if no layer has maps of a useful size: then there is nothing to compare.
    """
    try:
        first = as_floats(forget.take(torch.arange(1)).to(device_of(model)))
        names = mapped_stages(model, first)
    except ModelError:
        return None
    layer = names[-1]
    (before, answered), (kept, kept_answered) = (
        gradcams(model, data, [(data.labels.cpu(), names), (None, [layer])])
        for data in (forget, retain)
    )
    stages = {name: (before[name], kept[name]) for name in names[:-1]}
    return Maps(layer, before[layer], kept[layer], answered[layer], kept_answered[layer], stages)


def control(model: nn.Module, samples: Samples, rng: torch.Generator) -> View | None:
    """Look at the sampled images with the architecture of ``model`` and random weights.

    A map that hardly differs from this model's shows the image and not what was learned: the
    randomised-weights control of Adebayo et al., Sanity Checks for Saliency Maps (NeurIPS 2018,
    https://arxiv.org/abs/1810.03292).

    Args:
        model: stays as it is.
        samples: of "forget" and "retain" the data and the rows to look at.
        rng: draws the weights; the global generator stays as it is.

    Returns:
        A view named "control" of the sampled rows alone, in their order, and of no test image;
        None if a module of the model cannot start anew, or no layer has maps of a useful size.

    """
    try:
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
            blank = reinitialised(model).eval()
    except ModelError:
        return None
    forget, retain = (samples[part][0][samples[part][1]] for part in ("forget", "retain"))
    if (maps := look_closely(blank, forget, retain)) is None:
        return None
    seen, kept = (predict(blank, data) for data in (forget, retain))
    none = seen[:0]
    return View("control", blank, seen, kept, none, none, maps)


def pictures(samples: Samples, views: Mapping[str, View], blank: View | None = None) -> Arrays:
    """Return what a report needs to show some images and what each model sees in them.

    Parts are the first images of the sample ("forget", "retain"), and those forgotten images whose
    mass for the true class differs most and least between the original and the unlearned model
    ("forget-most", "forget-least"), where both have maps.

    Args:
        samples: of "forget" and "retain" the data and the rows that ``view.maps`` are about.
        views: by the name of the model.
        blank: what :func:`control` returned.

    Returns:
        ``pictures/PART/images`` uint8 ``[n, C, H, W]``, ``/ids`` and ``/labels``; by
        ``MODEL/PART`` their ``/map`` and ``/answer_map`` ``[n, h, w]``, ``/answer``,
        ``/answer_probability`` and ``/probability`` (of the true class); and by ``MODEL/forget``
        and ``MODEL/retain`` of the whole sample ``/mass`` and ``/answer_mass``, the mean of a map.

    """
    shown = {part: (part, np.arange(n)[: len(samples[part][1])]) for part, n in SHOWN.items()}
    shown |= {part: ("forget", places) for part, places in _extremes(samples, views).items()}
    arrays: Arrays = {}
    for part, (kind, places) in shown.items():
        data, rows = samples[kind]
        arrays |= shown_images(part, data[rows[places]])
        for name, view in views.items():
            arrays |= _said(f"{name}/{part}", getattr(view, kind), rows[places])
            arrays |= _maps(f"{name}/{part}", view.maps, kind, places)
        if blank is not None:
            arrays |= _said(f"control/{part}", getattr(blank, kind), places)
            arrays |= _maps(f"control/{part}", blank.maps, kind, places)
    for name, view in (*views.items(), *(() if blank is None else (("control", blank),))):
        if view.maps is not None:
            for kind in SHOWN:
                arrays[f"{name}/{kind}/mass"] = _mass(getattr(view.maps, kind))
                arrays[f"{name}/{kind}/answer_mass"] = _mass(getattr(view.maps, f"{kind}_answer"))
    return arrays


def shown_images(part: str, data: Data) -> Arrays:
    """Return ``pictures/PART/images``, ``/ids`` and ``/labels`` of ``data``."""
    return {
        f"pictures/{part}/images": _visible(data.take(torch.arange(len(data)))),
        f"pictures/{part}/ids": data.ids,
        f"pictures/{part}/labels": data.labels.cpu().numpy(),
    }


def _extremes(samples: Samples, views: Mapping[str, View]) -> dict[str, NDArray[np.int64]]:
    """Return the places, within the sample, of the images that changed most and least."""
    before, after = (
        views["original"].maps,
        views["unlearned"].maps if "unlearned" in views else None,
    )
    if before is None or after is None:
        return {}
    data, rows = samples["forget"]
    change = np.abs(_mass(after.forget) - _mass(before.forget))
    order = np.lexsort((data.ids[rows], -change))  # ids settle ties, whatever the order of images
    n = min(EXTREMES, len(order) // 2)
    return {"forget-most": order[:n], "forget-least": order[::-1][:n].copy()} if n else {}


def _said(place: str, seen: Seen, rows: NDArray[np.int64]) -> Arrays:
    """Return the answers to some rows, their probabilities and those of the true classes."""
    likely = seen.logits[rows].softmax(1)
    best = likely.max(1)
    return {
        f"{place}/answer": best.indices.numpy(),
        f"{place}/answer_probability": best.values.numpy(),
        f"{place}/probability": likely.gather(1, seen.labels[rows, None])[:, 0].numpy(),
    }


def _maps(place: str, maps: Maps | None, kind: str, places: NDArray[np.int64]) -> Arrays:
    """Return the maps of these places of the sample."""
    if maps is None:
        return {}
    own, other = getattr(maps, kind), getattr(maps, f"{kind}_answer")
    return {f"{place}/map": own[places].numpy(), f"{place}/answer_map": other[places].numpy()}


def _mass(maps: Tensor) -> NDArray[np.float32]:
    masses: NDArray[np.float32] = maps.mean((1, 2)).numpy()
    return masses


def _visible(images: Tensor) -> NDArray[np.uint8]:
    """Return images as bytes; floats of unknown units are stretched over their common range."""
    if images.dtype == torch.uint8:
        return images.cpu().numpy()
    low, high = images.min(), images.max()
    stretched = (images - low) / (high - low).clamp_min(1e-12) * 255
    return stretched.round().to(torch.uint8).cpu().numpy()

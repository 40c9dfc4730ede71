"""Maps of a small sample, and the pictures that a report shows of it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unsee.data import as_floats
from unsee.errors import ModelError
from unsee.explanation._gradcam import explained_layer, gradcam
from unsee.nouns import Data, Maps, View
from unsee.training import device_of

SHOWN = {"forget": 12, "retain": 6}  # images that reports show


def look_closely(model: nn.Module, forget: Data, retain: Data) -> Maps | None:
    """Return where ``model`` looks for the true class, and for the one that it answers.

    None if no layer has maps of a useful size: then there is nothing to compare.
    """
    try:
        first = as_floats(forget.take(torch.arange(1)).to(device_of(model)))
        layer = explained_layer(model, first)
    except ModelError:
        return None
    true, answered = (
        [
            gradcam(model, data, data.labels.cpu() if own else None, layer=layer)
            for data in (forget, retain)
        ]
        for own in (True, False)
    )
    return Maps(layer, *true, *answered)


def pictures(
    samples: dict[str, tuple[Data, NDArray[np.int64]]], views: dict[str, View]
) -> dict[str, NDArray[Any]]:
    """Return what a report needs to show some images and what each model sees in them.

    Args:
        samples: of "forget" and "retain" the data and the rows that ``view.maps`` are about.
        views: by the name of the model.

    Returns:
        ``pictures/PART/images`` uint8 ``[n, C, H, W]``, ``/ids`` and ``/labels``; and by
        ``MODEL/PART`` the first n ``/map`` and ``/answer_map``, ``/answer``,
        ``/answer_probability`` and ``/probability`` (of the true class).

    """
    arrays: dict[str, NDArray[Any]] = {}
    for part, (data, rows) in samples.items():
        rows = rows[: SHOWN[part]]
        shown = data[rows]
        arrays[f"pictures/{part}/images"] = _visible(shown.take(torch.arange(len(shown))))
        arrays[f"pictures/{part}/ids"] = shown.ids
        arrays[f"pictures/{part}/labels"] = shown.labels.cpu().numpy()
        for name, view in views.items():
            seen = getattr(view, part)
            likely = seen.logits[rows].softmax(1)
            best = likely.max(1)
            arrays[f"{name}/{part}/answer"] = best.indices.numpy()
            arrays[f"{name}/{part}/answer_probability"] = best.values.numpy()
            own = seen.labels[rows, None]
            arrays[f"{name}/{part}/probability"] = likely.gather(1, own)[:, 0].numpy()
            if view.maps is not None:
                n = len(rows)
                arrays[f"{name}/{part}/map"] = getattr(view.maps, part)[:n].numpy()
                other = getattr(view.maps, f"{part}_answer")
                arrays[f"{name}/{part}/answer_map"] = other[:n].numpy()
    return arrays


def _visible(images: Tensor) -> NDArray[np.uint8]:
    """Return images as bytes; floats of unknown units are stretched over their common range."""
    if images.dtype == torch.uint8:
        return images.cpu().numpy()
    low, high = images.min(), images.max()
    stretched = (images - low) / (high - low).clamp_min(1e-12) * 255
    return stretched.round().to(torch.uint8).cpu().numpy()

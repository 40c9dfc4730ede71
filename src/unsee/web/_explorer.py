"""What the explorer of a run draws: its feature map, as numbers."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from unsee.nouns import Run

MODELS = ("original", "unlearned", "retrained")
PARTS = ("retain", "gone", "unseen")
SIDE = 64  # pixels of a picture that is shown on hover


def feature_map(run: Run) -> dict[str, Any]:
    """Return the points of every model on the one plane, and the pictures that the run has kept.

    ``points[model][part]`` is ``[N][2]``; the images of a part are in the same order in every
    model.  ``pictures`` leads from places among the forgotten images to data URLs; a redacted run
    has none.
    """
    points = {
        model: {
            part: np.round(values.astype(float), 4).tolist()
            for part in PARTS
            if (values := run.arrays.get(f"{model}/plane/{part}")) is not None
        }
        for model in MODELS
    }
    outside = {m: run.arrays.get(f"{m}/plane/outside") for m in MODELS}
    overlap = run.arrays.get("unlearned/plane/overlap")
    labels = run.arrays.get("plane/retain_labels")
    return {
        "models": [model for model in MODELS if points[model]],
        "points": {model: found for model, found in points.items() if found},
        "classes": [*run.data.get("classes", ())],
        "retain_labels": [] if labels is None else labels.tolist(),
        "outside": {m: float(x) for m, x in outside.items() if x is not None},
        "overlap": [] if overlap is None else np.round(overlap.astype(float), 3).tolist(),
        "pictures": _pictures(run),
    }


def _pictures(run: Run) -> dict[str, str]:
    places = run.arrays.get("plane/moved")
    images = run.arrays.get("pictures/forget-moved/images")
    if places is None or images is None:
        return {}
    return {str(int(n)): _url(image) for n, image in zip(places, images, strict=False)}


def _url(image: np.ndarray[Any, Any]) -> str:
    """Return ``[C, H, W]`` uint8 as the address of a PNG; in grey unless there are three."""
    pixels = image.transpose(1, 2, 0) if image.shape[0] == 3 else image[0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

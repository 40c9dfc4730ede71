"""Finished run folders: hand-written runs and models of a few numbers, without torch."""

import dataclasses
import hashlib
import json

import numpy as np
import runs
from safetensors.numpy import save

from unsee.folder import Folder, pack_arrays, write
from unsee.nouns import Config


def weights(seed, metadata=None):
    """Return a safetensors file of 26 numbers."""
    dice = np.random.default_rng(seed)
    tensors = {
        "fc.weight": dice.normal(size=(3, 8)).astype(np.float32),
        "fc.bias": dice.normal(size=2).astype(np.float16),
    }
    return save(tensors, metadata)


def config_of(run, **changes):
    """Return a Config that would have led to this run."""
    oracle = "retrain" if "retrained" in run.measurements else "none"
    facts = {"forget": run.forget["rule"], "method": run.method, "seed": run.seed, "oracle": oracle}
    return Config(**facts | changes)


def finished(
    place, run=None, *, model=None, pt=None, digests=None, skip=(), arrays=False, **changes
):
    """Write the folder of a finished run and return its path.

    Args:
        place: of the folder, which is made.
        run: by default the example.
        model: the file of the model that the run was given; None: the run trained one.
        pt: the bytes of ``model.pt``.
        digests: of further files that the run was given.
        skip: stages that it did not get to.
        arrays: whether the run's arrays are kept, too.
        changes: of its Config.

    """
    run = run or runs.example()
    place.mkdir(parents=True)
    folder, named = Folder(place), dict(digests or {})
    if model:
        changes["model"] = str(model)
        named["model"] = hashlib.sha256(model.read_bytes()).hexdigest()
    config = config_of(run, **changes)
    words = dataclasses.asdict(config) | {"fingerprint": run.data["fingerprint"], "digests": named}
    write(place / "config.json", json.dumps(words, indent=1, sort_keys=True).encode())
    stages = {} if model else {"train": ("original.safetensors", weights(0))}
    stages["unlearn"] = "model.safetensors", weights(1)
    if pt:
        stages["container"] = "model.pt", pt
    if config.oracle == "retrain":
        stages["retrain"] = "retrained.safetensors", weights(2)
    stages["audit"] = "audit.json", run.to_json().encode()
    stages["arrays"] = "arrays.npz", pack_arrays(run.arrays if arrays else {})
    stages["report"] = "report.html", b"<!doctype html>"
    for stage, (file, content) in stages.items():
        if stage not in skip:
            folder.stage(stage, file, lambda content=content: (content, {}))
    return place

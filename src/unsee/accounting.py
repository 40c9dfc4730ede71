"""What a run cost and what its numbers depend on."""

import hashlib
import hmac
import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unsee import memory
from unsee.machine import has_fast_bf16, instructions
from unsee.nouns import STAGES, Split
from unsee.ranks import world
from unsee.training import counting, warm_up

Facts = dict[str, Any]


def measured(make: Callable[[], nn.Module]) -> tuple[nn.Module, Facts]:
    """Return a model and what it cost: seconds, image gradients and the peak memory so far."""
    warm_up()
    start = time.perf_counter()
    with memory.watching(), counting() as spent:
        model = make()
        seconds = time.perf_counter() - start
        peaks = peak_memory()
    return model, {"seconds": seconds, "image_gradients": sum(spent), **peaks}


def peak_memory() -> dict[str, int | None]:
    """Return the most memory that this process and its children have had, in bytes."""
    found = memory.peak()
    return {"peak_memory": found.total, "peak_anonymous": found.anonymous}


def highest(*costs: Facts) -> Facts:
    """Return the larger of each peak among some costs; None where none is known."""
    known = {
        name: [cost[name] for cost in costs if cost.get(name) is not None]
        for name in ("peak_memory", "peak_anonymous")
    }
    return {name: max(values, default=None) for name, values in known.items()}


def totals(costs: dict[str, Facts]) -> Facts:
    """Turn the stages' costs into the run's."""
    none = dict.fromkeys(STAGES)
    seconds = {stage: cost["seconds"] for stage, cost in costs.items()}
    spent = {stage: cost["image_gradients"] for stage, cost in costs.items()}
    rates = {stage: spent[stage] / max(seconds[stage], 1e-9) for stage in costs}
    return {
        "seconds": none | seconds,
        "image_gradients": none | spent,
        "images_per_second": none | rates,
        **highest(peak_memory(), *costs.values()),
    }


def described(split: Split) -> Facts:
    """Return what the data is, in numbers."""
    parts = ("forget", "retain", "validation", "test")
    counts = {part: len(getattr(split, part)) for part in parts}
    told = {
        "name": split.forget.name,
        "fingerprint": split.fingerprint,
        "classes": [*split.classes],
    }
    if split.stays is None:
        return told | {"counts": counts}
    sampled = {"retain": counts["retain"]}
    return told | {"counts": counts | {"retain": split.stays}, "audited": sampled}


def forgotten(split: Split) -> Facts:
    """Return what is to go, without naming a single image.

    ``staying``: how many of the images are of classes of which others stay.
    """
    return {
        "rule": split.rule,
        "count": len(split.forget),
        "ids_digest": ids_digest(split.forget.ids.tolist(), split.fingerprint),
        "gone": [split.classes[number] for number in split.gone],
        "staying": int((~np.isin(split.forget.labels.cpu().numpy(), split.gone)).sum()),
    }


def ids_digest(ids: Sequence[str], fingerprint: str) -> str:
    """Return a digest of a set of ids, keyed by that of the data.

    Ids are easily guessed, pixels are not.
    """
    words = json.dumps(sorted(ids)).encode()
    return hmac.new(fingerprint.encode(), words, hashlib.sha256).hexdigest()


def environment(device: torch.device) -> dict[str, str]:
    """Return the versions and the hardware that numbers depend on."""
    gpu = device.type == "cuda"
    more = {"processes": str(world())} if world() > 1 else {}
    if not gpu:
        more["instructions"] = instructions()
    return more | {
        "unsee": version("unsee"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if gpu else _cpu_name(),
        "threads": str(torch.get_num_threads()),
        "precision": "bfloat16" if has_fast_bf16(device.type) else "float32",
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor() or platform.machine()

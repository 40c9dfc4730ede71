"""What a run cost and what its numbers depend on."""

import hashlib
import hmac
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unsee.nouns import STAGES, Split
from unsee.ranks import world
from unsee.training import counting, has_fast_bf16, warm_up

Facts = dict[str, Any]


def measured(make: Callable[[], nn.Module]) -> tuple[nn.Module, Facts]:
    """Return a model and what it cost: seconds, image gradients and the peak memory so far."""
    warm_up()
    start = time.perf_counter()
    with counting() as spent:
        model = make()
    seconds = time.perf_counter() - start
    return model, {"seconds": seconds, "image_gradients": sum(spent), "peak_memory": peak_memory()}


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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
        "peak_memory": max(peak_memory(), *(cost["peak_memory"] for cost in costs.values())),
    }


def described(split: Split) -> Facts:
    """Return what the data is, in numbers."""
    parts = ("forget", "retain", "validation", "test")
    return {
        "name": split.forget.name,
        "fingerprint": split.fingerprint,
        "classes": [*split.classes],
        "counts": {part: len(getattr(split, part)) for part in parts},
    }


def forgotten(split: Split) -> Facts:
    """Return what is to go, without naming a single image."""
    return {
        "rule": split.rule,
        "count": len(split.forget),
        "ids_digest": ids_digest(split.forget.ids.tolist(), split.fingerprint),
        "gone": [split.classes[number] for number in split.gone],
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
    several = {"processes": str(world())} if world() > 1 else {}
    return several | {
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

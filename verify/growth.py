"""What unlearning costs when one thing grows and the rest stays: ``make bench-growth``.

One cell is one setting, measured in a process of its own: seconds, and anonymous memory above that
of the process before it held any image.  Images are noise of 32 x 32 in three colours, in arrays
that are mapped where they are large; models have random weights, since what a step costs does not
depend on what it learns.  Nothing is watched (``guard=1``): such a model has no accuracy to lose.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cells
import numpy as np
import performance
import provenance

if TYPE_CHECKING:
    from unsee.reporting._svg import Picture

METHOD = "snu_deep"


@dataclass(frozen=True)
class Setting:
    """What is unlearned from what, and by which model."""

    train: int = 20_000  # training images
    forget: int = 1000
    buffer: int = 2000
    classes: int = 10
    arch: str = "convnet"
    side: int = 32
    work: str = METHOD  # or "audit", of all images


STANDARD = Setting()
AXES: dict[str, dict[str, Setting]] = {
    "train": {
        str(n): replace(STANDARD, train=n) for n in (5000, 20_000, 50_000, 200_000, 1_000_000)
    },
    "forget": {str(n): replace(STANDARD, forget=n) for n in (250, 500, 1000, 2000, 4000, 8000)},
    "buffer": {str(n): replace(STANDARD, buffer=n) for n in (250, 1000, 4000, 16_000)},
    "classes": {str(n): replace(STANDARD, classes=n) for n in (10, 100, 1000)},
    "model": {
        arch: replace(STANDARD, arch=arch, forget=200, buffer=400, train=2000)
        for arch in ("convnet", "resnet18:cifar-pool", "resnet18:imagenet", "resnet50")
    }
    | {
        "timm:vit_tiny_patch16_224": replace(
            STANDARD, arch="timm:vit_tiny_patch16_224", side=224, forget=50, buffer=100, train=1000
        )
    },
    "audit": {
        str(n): replace(STANDARD, train=n, work="audit") for n in (5000, 20_000, 50_000, 200_000)
    },
}
SETTINGS = {f"{axis}-{x}": setting for axis, each in AXES.items() for x, setting in each.items()}


def smaller(setting: Setting) -> Setting:
    """Return a setting that takes seconds."""
    shrunk = {"train": 400, "forget": 20, "buffer": 40}
    return replace(setting, **{k: min(n, getattr(setting, k)) for k, n in shrunk.items()})


def write_set(folder: Path, setting: Setting) -> str:
    """Write noise, block by block: class 0 is what goes, the others take turns."""
    draws = np.random.default_rng(0)
    counts = {"train": setting.train, "test": max(200, 2 * setting.classes)}
    for part, count in counts.items():
        labels = np.arange(count) % (setting.classes - 1) + 1
        labels[: setting.forget if part == "train" else 50] = 0
        np.save(folder / f"{part}_labels.npy", labels)
        shape = (count, 3, setting.side, setting.side)
        images = np.lib.format.open_memmap(folder / f"{part}_images.npy", "w+", np.uint8, shape)
        for start in range(0, count, 1024):
            rows = slice(start, min(start + 1024, count))
            images[rows] = draws.integers(0, 256, images[rows].shape, dtype=np.uint8)
        images.flush()
        del images
    (folder / "classes.txt").write_text("\n".join(map(str, range(setting.classes))))
    return f"npz:{folder}"


def work(source: str, setting: Setting) -> dict[str, Any]:
    """Do it in this process."""
    import torch

    from unsee import memory
    from unsee.auditing import audit
    from unsee.data import choose, load
    from unsee.erasure import unlearn
    from unsee.models import blueprint, normalise
    from unsee.training import counting, warm_up

    warm_up()
    torch.manual_seed(0)
    three = torch.full((3,), 0.5)
    model = normalise(blueprint(setting.arch, channels=3, classes=setting.classes)(), three, three)
    idle = memory.now()
    names = Path(source.partition(":")[2]) / "classes.txt"
    with memory.watching():
        split = choose(load(source, classes=names), "class=0")
        rows = torch.randperm(len(split.retain), generator=torch.Generator().manual_seed(0))
        buffer = split.retain[rows[: setting.buffer].numpy()]
        start = time.perf_counter()
        with counting() as spent:
            if setting.work == "audit":
                audit(split, original=model, unlearned=model)
            else:
                unlearn(
                    model,
                    split.forget,
                    split.retain,
                    method=setting.work,
                    buffer=buffer,
                    guard=1.0,
                )
        seconds = time.perf_counter() - start
        peak = memory.peak()
    return {
        "seconds": seconds,
        "image_gradients": sum(spent),
        "above_idle": (peak.anonymous or 0) - (idle.anonymous or 0),
        "total": peak.total,
    }


def make(name: str, tiny: bool) -> cells.Cell:
    """Measure one setting in a process of its own."""
    setting = smaller(SETTINGS[name]) if tiny else SETTINGS[name]
    with tempfile.TemporaryDirectory() as folder:
        source = write_set(Path(folder), setting)
        command = [sys.executable, __file__, "--of", source, json.dumps(asdict(setting))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
    return {"setting": asdict(setting), **json.loads(done.stdout.splitlines()[-1])}


def lines(found: performance.Cells) -> list[str]:
    """Return the section of the page."""
    import growth_page

    return [*growth_page.lines(found), *performance.machines(found)[1:]]


def pictures(found: performance.Cells) -> dict[str, "Picture"]:
    """Return its pictures, by the names of their files."""
    import growth_page

    return growth_page.pictures(found)


def digests() -> dict[str, str]:
    """Return the digest of what decides each cell."""
    ours = [provenance.code(Path(__file__).read_text()), provenance.digest(METHOD)]
    return {name: cells.made_by(*ours, asked=setting) for name, setting in SETTINGS.items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        print(json.dumps(work(sys.argv[2], Setting(**json.loads(sys.argv[3])))))
    else:
        performance.command(__doc__, "growth", digests(), make, lines, pictures=pictures)

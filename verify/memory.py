"""Data larger than memory: ``make bench-memory`` makes a set of 1 GiB and unlearns 2,000 of it.

A process of its own reads the set from its file, unlearns one class of 2,000 images with SNU and
asks all audits about the models before and after.  What it takes of memory that is no file's
(``RssAnon``), above the same process when it has loaded torch and holds a model, is to stay below
300 MiB; all of it is to take 3 minutes at most.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cells
import numpy as np
import performance
import provenance
import pyarrow as arrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image
from torch import nn

MIB = 2**20
SIZE, SIDE, CLASSES = 1024 * MIB, 64, 10
FORGET = 2000  # images of class 0, which goes
TESTED, EPOCHS = 0.1, 20
MOST, SECONDS = 300 * MIB, 180.0  # what is allowed
ROWS = 1024  # images that are made at a time
FORMS = {  # in which the images lie
    "npy": "`.npy` files",
    "npz": "an `.npz` that packs nothing",
    "arrow": "Arrow files of PNG",
    "parquet": "Parquet files of PNG",
}

Pixels = NDArray[np.uint8]
Blocks = Iterator[tuple[Pixels, NDArray[np.int64]]]


def net(channels: int, classes: int) -> nn.Module:
    """Return a small net: two strided convolutions, 64 features."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def blocks(count: int, draws: np.random.Generator) -> Iterator[tuple[Pixels, NDArray[np.int64]]]:
    """Yield images ``[B, 3, 64, 64]`` and their labels, so many in all.

    Each class has a bright stripe of its own on noise.  2,000 are of class 0 (fewer where there are
    not so many), the others of the rest in turn.
    """
    labels = np.arange(count) % (CLASSES - 1) + 1
    labels[: min(FORGET, count // CLASSES)] = 0
    labels = draws.permutation(labels)
    for start in range(0, count, ROWS):
        some = labels[start : start + ROWS]
        images = draws.integers(0, 128, (len(some), 3, SIDE, SIDE), dtype=np.uint8)
        for image, label in zip(images, some, strict=True):
            image[:, 6 * label : 6 * label + 6] += 127
        yield images, some


def write_set(folder: Path, form: str, size: int) -> str:
    """Write images of so many bytes, block by block, and return the source that names them."""
    draws, n = np.random.default_rng(0), size // (3 * SIDE * SIDE)
    tested = round(TESTED * n)
    for part, count in (("train", n - tested), ("test", tested)):
        write = write_tables if form in ("arrow", "parquet") else write_arrays
        write(folder, part, count, blocks(count, draws), form)
    if form != "npz":
        return f"{'npz' if form == 'npy' else 'parquet'}:{folder}"
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    np.savez(folder / "set.npz", **arrays)
    for path in folder.glob("*.npy"):
        path.unlink()
    return f"npz:{folder / 'set.npz'}"


def write_arrays(folder: Path, part: str, count: int, found: Blocks, form: str) -> None:
    """Write a part as two ``.npy`` files."""
    shape = (count, 3, SIDE, SIDE)
    images = np.lib.format.open_memmap(folder / f"{part}_images.npy", "w+", np.uint8, shape)
    labels = np.empty(count, np.int64)
    for n, (some, names) in enumerate(found):
        images[ROWS * n : ROWS * (n + 1)], labels[ROWS * n : ROWS * (n + 1)] = some, names
    images.flush()
    np.save(folder / f"{part}_labels.npy", labels)


def write_tables(folder: Path, part: str, count: int, found: Blocks, form: str) -> None:
    """Write a part as ``datasets`` does: a column of PNG files, one of labels."""
    schema = arrow.schema([("image", arrow.binary()), ("label", arrow.int64())])
    path = folder / f"{part}-00000.{form}"
    kind = arrow.parquet.ParquetWriter if form == "parquet" else arrow.ipc.new_stream
    with kind(str(path), schema) as writer:
        for images, labels in found:
            content = [_png(image) for image in images.transpose(0, 2, 3, 1)]
            writer.write_batch(arrow.record_batch([content, labels], schema=schema))


def _png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def work(source: str) -> dict[str, Any]:
    """Unlearn and audit in this process, and return what it took.

    The model is trained on 6,000 images first, which is not measured: any would do.
    """
    import torch

    from unsee import memory
    from unsee.auditing import audit
    from unsee.data import batches, choose, load, steps_per_epoch
    from unsee.erasure import unlearn
    from unsee.training import descend

    torch.manual_seed(0)
    model = net(3, CLASSES)
    descend(model, iter([model(torch.rand(64, 3, SIDE, SIDE)).square().mean()]), lr=1e-6)
    idle = memory.now()
    took: dict[str, float] = {}
    start = time.perf_counter()
    with memory.watching():
        data = load(source)
        split = choose(data, "class=0")
        took["read"] = time.perf_counter() - start
        rows = np.concatenate([split.forget.rows[:600], split.retain.rows[:5400]])
        some = data[rows]
        taught = batches(some, rng=torch.Generator().manual_seed(0), epochs=EPOCHS)
        loss = nn.functional.cross_entropy
        steps = EPOCHS * steps_per_epoch(len(some), 128)
        descend(model, (loss(model(x), y) for x, y in taught), lr=0.1, steps=steps)
        took["train"] = time.perf_counter() - start - sum(took.values())
        after = unlearn(model, split.forget, split.retain, method="snu", retain_fraction=0.1)
        took["unlearn"] = time.perf_counter() - start - sum(took.values())
        done = audit(split, original=model, unlearned=after)
        took["audit"] = time.perf_counter() - start - sum(took.values())
        peak = memory.peak()
    known = {
        name: done.measurements[name]["forget_accuracy"].value for name in ("original", "unlearned")
    }
    return {
        "images": len(data),
        "forget": len(split.forget),
        "idle_anonymous": idle.anonymous,
        "peak_anonymous": peak.anonymous,
        "peak_total": peak.total,
        "seconds": took,
        "forget_accuracy": known,
    }


def make(form: str, tiny: bool) -> cells.Cell:
    """Make a set, and measure a process that works on it."""
    size = 16 * MIB if tiny else SIZE
    with tempfile.TemporaryDirectory() as folder:
        source = write_set(Path(folder), form, size)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--of", source], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        whole = time.perf_counter() - start
    found = json.loads(done.stdout.splitlines()[-1])
    above = found["peak_anonymous"] - found["idle_anonymous"]
    return {**found, "bytes": size, "whole_seconds": whole, "above_idle": above}


def lines(found: performance.Cells) -> list[str]:
    """Return the section of the page."""
    told = [
        "| images lie in | bytes | images | anonymous, idle | above it, at most | allowed "
        "| read, unlearn, audit, s | process, s | allowed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for form, cell in found.items():
        took = ", ".join(f"{cell['seconds'][name]:.0f}" for name in ("read", "unlearn", "audit"))
        idle, above = cell["idle_anonymous"] / MIB, cell["above_idle"] / MIB
        told.append(
            f"| {FORMS[form]} | {cell['bytes'] / MIB:,.0f} MiB | {cell['images']:,} "
            f"| {idle:.0f} MiB | {above:.0f} MiB "
            f"| 300 MiB: {_yes(cell['above_idle'] <= MOST)} | {took} | {cell['whole_seconds']:.0f} "
            f"| {SECONDS:.0f}: {_yes(cell['whole_seconds'] <= SECONDS)} |"
        )
    return [*told, *performance.machines(found)]


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def digests() -> dict[str, str]:
    """Return the digest of what decides each cell."""
    ours = provenance.code(Path(__file__).read_text())
    return {form: cells.made_by(ours, provenance.digest("snu")) for form in FORMS}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        print(json.dumps(work(sys.argv[2])))
    else:
        performance.command(__doc__, "memory", digests(), make, lines)

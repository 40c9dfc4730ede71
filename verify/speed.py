"""How near to the hardware, how far ahead of what people do: ``make bench-speed``.

The product's own training, unlearning and evaluation, with augmentation on, against

* bare: a loop of a few lines that imports nothing of unsee: the same model, optimiser and precision
  on tensors that lie in place already, in the layout that suits convolutions.  The ceiling.
* usual: what people write today: a data set of PIL images, PIL transforms, a DataLoader with two
  workers, float32, contiguous.

Everything computes on a GPU, where there is one, else on the CPU.

One cell is one task on one model, on a machine where bfloat16 is fast or on one where it is not
(``float32``); a machine measures its own.  Its repetitions are paired: in each all three run once,
in alternating order, and the ratio is taken within it.  Who trains makes the model first: a new
one, or a copy of the one that is there.  Rates are image gradients a second (an image passed
forwards and backwards once; forwards alone a third), so that methods that do several things can be
held against the bare step.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cells
import numpy as np
import performance
import provenance
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision import transforms
from torchvision.datasets import VisionDataset

from unsee.data import load
from unsee.methods import METHODS
from unsee.models import blueprint, normalise
from unsee.nouns import Data
from unsee.training import counting, has_fast_bf16, predict

REPEATS = 7  # short ones: a pair must see the same machine
BATCH, SEEN = 128, 512  # images in a step of training, of evaluation
MEAN, STD = 0.5, 0.25
TASKS = ("train", "finetune", "snu", "evaluate")
SLOW = "-float32"  # of a cell's name: measured where bfloat16 is not fast
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Case:
    """A model and images to train it on."""

    arch: str
    channels: int
    images: int  # 0: the data's own
    epochs: int


CASES = {
    "resnet18": Case("resnet18:cifar-pool", 3, 2560, 1),
    "digits": Case("convnet", 1, 0, 8),
}


def bare_training(model, images, labels, epochs, bf16):  # type: ignore[no-untyped-def]
    """Train on tensors that lie in place: the ceiling."""
    model = model.train().to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    pairs = [*zip(images.split(BATCH), labels.split(BATCH), strict=True)] * epochs
    for x, y in pairs:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            loss = cross_entropy(model(x), y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()


def bare_evaluation(model, images, bf16):  # type: ignore[no-untyped-def]
    """Pass images forwards: the ceiling."""
    model = model.eval().to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return torch.cat([model(x).float() for x in images.split(SEEN)])


class Pictures(VisionDataset):
    """Images as torchvision's CIFAR10 hands them out: from an array, as PIL, through transforms."""

    def __init__(self, data: Data, transform: Any) -> None:
        super().__init__(None, transform=transform)
        pixels = data.take(torch.arange(len(data))).permute(0, 2, 3, 1)
        self.pixels, self.labels = pixels.contiguous().numpy().squeeze(), data.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, n: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[n])), self.labels[n]


def usual_batches(data: Data, size: int, *, train: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches as a tutorial would."""
    side, channels = data.images.shape[-1], data.images.shape[1]
    kept = [transforms.ToTensor(), transforms.Normalize([MEAN] * channels, [STD] * channels)]
    changed = [transforms.RandomCrop(side, padding=4)]
    changed += [transforms.RandomHorizontalFlip()] if "flip" in data.augment else []
    told = transforms.Compose([*changed, *kept] if train else kept)
    workers = torch.utils.data.DataLoader(Pictures(data, told), size, train, num_workers=2)
    yield from workers


def usual_training(model: nn.Module, data: Data, epochs: int) -> None:
    """Train as a tutorial would."""
    model.train()
    sgd = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    for _ in range(epochs):
        for x, y in usual_batches(data, BATCH, train=True):
            sgd.zero_grad()
            cross_entropy(model(x.to(DEVICE)), y.to(DEVICE)).backward()
            sgd.step()


def usual_evaluation(model: nn.Module, data: Data) -> Tensor:
    """Look as a tutorial would."""
    model.eval()
    with torch.no_grad():
        batches = usual_batches(data, SEEN, train=False)
        return torch.cat([model(x.to(DEVICE)).cpu() for x, _ in batches])


class Bench:
    """One case, ready to be timed."""

    def __init__(self, case: Case, *, tiny: bool) -> None:
        self.case, self.epochs = case, 1 if tiny else case.epochs
        images = min(case.images, 256) if tiny else case.images
        self.data = _noise(images, case.channels) if images else load("digits").part("train")
        self.data = self.data[:256] if tiny else self.data
        classes = len(self.data.classes)
        build = blueprint(case.arch, channels=case.channels, classes=classes)
        self.plain: Callable[[], nn.Module] = lambda: _seeded(build).to(DEVICE)
        self.bf16 = has_fast_bf16(DEVICE.type)
        pixels = self.data.take(torch.arange(len(self.data))).to(DEVICE).float().div_(255)
        self.placed = pixels.contiguous(memory_format=torch.channels_last)
        self.labels = self.data.labels.to(DEVICE)
        gone = np.flatnonzero(self.data.labels.numpy() == 0)
        self.forget = self.data[gone]
        self.retain = self.data[np.flatnonzero(self.data.labels.numpy() != 0)]

    def built(self) -> nn.Module:
        """Return a new model with our normalisation in it."""
        channels = self.case.channels
        given = (torch.full((channels,), x) for x in (MEAN, STD))
        return normalise(self.plain(), *given).to(DEVICE)

    def started(self, task: str, build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        """Return what makes the model to train: anew, or a copy of one that is there."""
        if task == "train":
            return build
        there = build()
        return lambda: copy.deepcopy(there)

    def product(self, task: str) -> Callable[[], float]:
        """Return what unsee does; it returns the image gradients spent."""
        model = self.built()
        draws = torch.Generator().manual_seed(0)
        if task == "evaluate":
            return lambda: len(predict(model, self.data).labels) / 3
        name = {"train": "retrain"}.get(task, task)
        data = self.data if task == "train" else self.retain
        given = {"gone": (0,)} if task == "snu" else {}
        given |= {"factory": self.built, "batch": BATCH} if task == "train" else {}
        given |= {} if task == "snu" else {"epochs": self.epochs}
        forget = self.data[:0] if task == "train" else self.forget

        def work() -> float:
            with counting() as spent:
                METHODS[name](model, forget, data, rng=draws, **given)
            return sum(spent)

        return work

    def bare(self, task: str) -> Callable[[], float]:
        """Return the ceiling of it."""
        model, n = self.built(), len(self.data)
        if task == "evaluate":
            return lambda: len(bare_evaluation(model, self.placed, self.bf16)) / 3
        start = self.started(task, self.built)

        def work() -> float:
            bare_training(start(), self.placed, self.labels, self.epochs, self.bf16)
            return float(n * self.epochs)

        return work

    def usual(self, task: str) -> Callable[[], float]:
        """Return what people do today."""
        model, n = self.plain(), len(self.data)
        if task == "evaluate":
            return lambda: len(usual_evaluation(model, self.data)) / 3
        start = self.started(task, self.plain)

        def work() -> float:
            usual_training(start(), self.data, self.epochs)
            return float(n * self.epochs)

        return work


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def _noise(n: int, channels: int) -> Data:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, 32, 32), generator=draws, dtype=torch.uint8)
    ids = np.array([f"train/{i:05d}" for i in range(n)])
    names = tuple(map(str, range(10)))
    data = Data(images, torch.arange(n) % 10, ids, np.array(["train"] * n), names, "noise")
    return replace(data, augment=("crop", "flip"))


def rate(work: Callable[[], float]) -> float:
    """Return image gradients a second."""
    _wait()
    start = time.perf_counter()
    done = work()
    _wait()
    return done / (time.perf_counter() - start)


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def make(name: str, tiny: bool) -> cells.Cell:
    """Time one task of one case, all three ways in each repetition."""
    case, task = name.removesuffix(SLOW).rsplit("-", 1)
    bench = Bench(CASES[case], tiny=tiny)
    ways = {"bare": bench.bare(task), "usual": bench.usual(task), "product": bench.product(task)}
    for work in ways.values():  # once unmeasured: kernels are chosen, memory is taken
        work()
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(2 if tiny else REPEATS):
        order = [*ways] if repeat % 2 else [*ways][::-1]
        for way in order:
            rates[way].append(rate(ways[way]))
    ratios = {
        f"over_{way}": performance.spread(
            [a / b for a, b in zip(rates["product"], rates[way], strict=True)]
        )
        for way in ("bare", "usual")
    }
    return {"rates": {way: performance.spread(x) for way, x in rates.items()}, **ratios}


def wanted(task: str, bf16: bool, case: str) -> tuple[float | None, float | None]:
    """Return what issue 6 asks for: of the ceiling, and over what is usual."""
    over = (2.0 if bf16 else 1.1) if case == "resnet18" else 1.1
    return (0.95 if task in ("train", "evaluate") else None), over


def lines(found: performance.Cells) -> list[str]:
    """Return the section of the page."""
    told = [
        "| model | task | computes in | product, per s | of the bare step: median (least to most) "
        "| wanted | over the usual: median (least to most) | wanted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cell in found.items():
        case, task = name.removesuffix(SLOW).rsplit("-", 1)
        slow = name.endswith(SLOW)
        shown = f"{cell['rates']['product']['median']:,.0f}"
        columns = [case, task, "float32" if slow else "bfloat16", shown]
        for way, least in zip(("bare", "usual"), wanted(task, not slow, case), strict=True):
            x = cell[f"over_{way}"]
            columns.append(f"{x['median']:.2f} ({x['low']:.2f} to {x['high']:.2f})")
            columns.append(
                "" if least is None else f"{least:g}: {'yes' if x['median'] >= least else '**no**'}"
            )
        told.append(f"| {' | '.join(columns)} |")
    return [*told, *performance.machines(found)]


def digests() -> dict[str, str]:
    """Return the digest of what decides each cell, here and on machines of the other sort."""
    ours = provenance.code(Path(__file__).read_text())
    sources = {task: ["retrain"] if task in ("train", "evaluate") else [task] for task in TASKS}
    return {
        f"{case}-{task}{sort}": cells.made_by(ours, *map(provenance.digest, sources[task]))
        for sort in ("", SLOW)
        for case in CASES
        for task in TASKS
    }


def able(name: str) -> bool:
    """Say whether this machine computes as a cell asks for."""
    return name.endswith(SLOW) != has_fast_bf16(DEVICE.type)


if __name__ == "__main__":
    performance.command(__doc__, "speed", digests(), make, lines, device=DEVICE, able=able)

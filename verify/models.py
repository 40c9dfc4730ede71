"""Every tiny network of timm, and some of torchvision, all the way: writes docs/models.md's table.

``python verify/models.py [NAME ...]``; without names all that are not in the results yet.  Weights
are random: nothing is fetched.  Images are made: three classes, each a bright patch in its place.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from unsee.data import as_floats, choose
from unsee.errors import DivergenceError, ModelError, UnseeError
from unsee.explanation import control, explained_layer, look_closely
from unsee.methods import METHODS
from unsee.models import Checkpoint, blueprint, head, pack, published, stages
from unsee.models._safetensors import decode
from unsee.nouns import Data
from unsee.training import predict

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "evidence" / "models.json"
PAGE = ROOT / "docs" / "models.md"
MARKS = ("<!-- table -->", "<!-- end of table -->")
OF_TORCHVISION = ("mobilenet_v3_small", "swin_t", "convnext_tiny", "vit_b_32")
SIDE = 32  # pixels, where a network takes any
COLUMNS = ("pixels", "batch norm", "trains", "snu", "snu_deep", "features", "explained", "control")
RATES = (0.01, 0.005)  # each where what is trained by the one before diverges
FEW: dict[str, dict[str, Any]] = {"snu": {"epochs": 1}, "snu_deep": {}}


def made(size: int, n: int = 30) -> Data:
    """Return images of three classes, each with a bright patch in a place of its own."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 60, (n, 3, size, size), generator=rng)
    side = size // 4
    for row, label in enumerate(labels.tolist()):
        place = slice(side * label, side * label + side)
        images[row, :, place, place] += 180
    parts = np.array(["train"] * (n - 6) + ["test"] * 6)
    return Data(images.to(torch.uint8), labels, np.arange(n).astype(str), parts, ("a", "b", "c"))


def tried(arch: str) -> dict[str, Any]:
    """Take one architecture all the way, by the first rate at which nothing diverges.

    Raises:
        DivergenceError: if something does by the last of them.

    """
    for rate in RATES[:-1]:
        try:
            return tried_by(rate, arch)
        except DivergenceError as error:
            print(f"{arch}, rate {rate}: {error}", file=sys.stderr)
    return tried_by(RATES[-1], arch) | {"rate": RATES[-1]}


def tried_by(rate: float, arch: str) -> dict[str, Any]:
    """Take one architecture all the way, and say what came of each step."""
    known = published(arch)
    size = known.size if known and known.only_size else SIDE
    data = made(size)
    split, train = choose(data, "class=2"), data.part("train")
    image = as_floats(data.take(torch.arange(1)))
    row: dict[str, Any] = {"pixels": size}
    start = time.perf_counter()
    torch.manual_seed(0)
    build = blueprint(arch, channels=3, classes=3)
    rng = torch.Generator().manual_seed(0)
    model = METHODS["retrain"](
        nn.Identity(), train[:0], train, rng=rng, factory=build, epochs=1, lr=rate, batch=12
    )
    norms = (nn.modules.batchnorm._BatchNorm,)
    row["batch norm"] = any(isinstance(module, norms) for module in model.modules())
    row["trains"] = True
    for method, options in FEW.items():
        after = METHODS[method](model, split.forget, split.retain, rng=rng, lr=rate, **options)
        row[method] = all(bool(x.isfinite().all()) for x in after.state_dict().values())
    row["features"] = predict(model, split.test).features.shape[1]
    if row["features"] != head(model, image).in_features:
        raise ModelError(f"Expected features of the output layer, got {row['features']}")
    row["stages"] = [*stages(model, image)]
    try:
        row["explained"] = explained_layer(model, image)
    except ModelError as error:
        row["explained"], row["why"] = None, str(error)
    if (look_closely(model, split.forget, split.retain) is None) is not (not row["explained"]):
        raise ModelError("Expected maps where there is a layer to explain")
    samples = {p: (getattr(split, p), np.arange(2)) for p in ("forget", "retain")}
    row["control"] = control(model, samples, rng) is not None
    row["stored"] = comes_back(model, build)
    return row | {"seconds": round(time.perf_counter() - start, 1)}


def comes_back(model: nn.Module, build: Any) -> bool:
    """Store it in half precision, load it into another, and compare names, types, ties, values."""
    state = model.state_dict()
    half = {n: x.half() if x.is_floating_point() else x for n, x in state.items()}
    given = Checkpoint(half)
    loaded = given.into(build())
    out, _ = decode(pack(given.like(loaded)))
    same = out.keys() == half.keys() and all(torch.equal(out[n], x) for n, x in half.items())
    ties = len([*loaded.parameters()]) == len([*model.parameters()])
    return same and ties and all(out[n].dtype == x.dtype for n, x in half.items())


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table of docs/models.md."""
    lines = ["| architecture | " + " | ".join((*COLUMNS, "comes back")) + " |"]
    lines.append("|---" * (len(COLUMNS) + 2) + "|")
    for arch, row in sorted(rows.items()):
        if "error" in row:
            lines.append(f"| `{arch}` | {row['error']} |")
            continue
        cells = [row[name] for name in (*COLUMNS, "stored")]
        told = ["yes" if c is True else "no" if c is False else f"`{c}`" for c in cells[:-1]]
        if "rate" in row:
            told[COLUMNS.index("trains")] += f", at {row['rate']}"
        lines.append(f"| `{arch}` | " + " | ".join(told) + f" | {'yes' if cells[-1] else 'no'} |")
    return "\n".join(lines)


def everything() -> list[str]:
    """Return the names of all that are tried."""
    return [f"timm:{name}" for name in timm.list_models("test_*")] + [*OF_TORCHVISION]


def main() -> None:
    """Try what is asked for, and write results and page."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    warnings.simplefilter("ignore")  # few images, and no validation: told and meant
    for arch in sys.argv[1:] or [arch for arch in everything() if arch not in rows]:
        try:
            rows[arch] = tried(arch)
        except UnseeError as error:
            rows[arch] = {"error": str(error)}
        print(arch, rows[arch], file=sys.stderr)
        RESULTS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    if PAGE.exists():
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        _, _, after = rest.partition(MARKS[1])
        PAGE.write_text(f"{before}{MARKS[0]}\n{table(rows)}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()

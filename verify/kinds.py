"""Every kind of request on digits: classes, shares, ten single images, one source; ``make kinds``.

One cell is one ``unsee run`` beside its own retrained model.  ``python verify/kinds.py`` measures
every cell that is not up to date and writes docs/kinds.md; ``python verify/kinds.py random`` only
those whose names begin so, and ``--page`` none.
"""

import io
from collections.abc import Iterable
from dataclasses import asdict
from inspect import getsource
from pathlib import Path
from statistics import stdev

import cells
import numpy as np
import provenance
import pyarrow as arrow
import pyarrow.parquet as parquet
import torch
from main_job import ROOT
from PIL import Image
from scipy.stats import t
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from unsee import Config, run
from unsee.draws import generator

RESULTS = ROOT / "docs" / "evidence" / "kinds"
PAGE = ROOT / "docs" / "kinds.md"
WORK = ROOT / "runs" / "verify" / "kinds"
METHOD = "snu_deep"
SEEDS = range(3)
SOURCES = 13  # runs of neighbours in the file, which is in the order in which people wrote
KINDS = {  # name -> what goes, in words
    "class": "one class: `class=3`",
    "classes": "two classes: `class=3,5`",
    "random10": "a tenth at random: `random=10%`",
    "random01": "a hundredth at random: `random=1%`",
    "ten": "ten images by their ids: `ids=FILE`",
    "source": "one source of thirteen: `where=source:4`",
}
RULES = {
    "class": "class=3",
    "classes": "class=3,5",
    "random10": "random=10%",
    "random01": "random=1%",
    "source": "where=source:4",
}
SHOWN = {
    "forget": "forget_accuracy",
    "retain": "retain_accuracy",
    "test that stays": "test_accuracy",
    "AUC": "membership_auc",
    "few-shot": "few_shot_recall",
}
MODELS = ("original", "unlearned", "retrained")


def config(kind: str, seed: int) -> Config:
    """Return the run of one cell; ids and sources are written where it looks for them."""
    rule = f"ids={ids(seed)}" if kind == "ten" else RULES[kind]
    data = f"parquet:{by_source()}" if kind == "source" else "digits"
    return Config(
        data=data,
        arch="convnet",
        train_epochs=6,
        forget=rule,
        oracle="retrain",
        method=METHOD,
        seed=seed,
    )


def ids(seed: int) -> Path:
    """Write ten ids, drawn anew with every seed."""
    file = WORK / f"ten-{seed}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = torch.randperm(1437, generator=generator(seed, "kinds/ten"))[:10]
    file.write_text("".join(f"train/{row:05d}\n" for row in sorted(rows.tolist())))
    return file


def by_source() -> Path:
    """Write scikit-learn's digits once more, as Parquet with a column that names a source."""
    place = WORK / "digits-by-source"
    if (place / "test.parquet").exists():
        return place
    place.mkdir(parents=True, exist_ok=True)
    found = load_digits()
    rows = np.arange(len(found.target))
    train, test = train_test_split(rows, test_size=360, stratify=found.target, random_state=0)
    for part, some in (("train", np.sort(train)), ("test", np.sort(test))):
        trained = part == "train"  # nobody asks for what the model never saw to be forgotten
        table = arrow.table(
            {
                "img": [{"bytes": png(found.images[row]), "path": None} for row in some],
                "label": [str(found.target[row]) for row in some],
                "source": [str(row * SOURCES // len(rows)) if trained else "" for row in some],
            }
        )
        parquet.write_table(table, place / f"{part}.parquet")
    return place


def png(pixels: np.ndarray) -> bytes:
    """Return one digit ``[8, 8]`` of 0 to 16 as a PNG of 32 x 32 in grey."""
    grey = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8))
    file = io.BytesIO()
    grey.resize((32, 32), Image.Resampling.BILINEAR).save(file, "PNG")
    return file.getvalue()


def split(name: str) -> tuple[str, int]:
    """Return kind and seed of a cell."""
    kind, _, seed = name.rpartition("-")
    return kind, int(seed)


def make(name: str) -> cells.Cell:
    """Measure one cell."""
    kind, seed = split(name)
    done = run(config(kind, seed), WORK / f"{name}-{digests()[name][:8]}")
    return {
        "forget": done.forget["count"],
        "options": done.options,
        "models": {
            model: {key: m and asdict(m) for key, m in found.items() if "/" not in key}
            for model, found in done.measurements.items()
        },
        "verdict": {key: done.verdict[key] for key in ("light", "kind")},
        "seconds": done.seconds,
        "image_gradients": done.image_gradients,
        "environment": done.environment,
    }


def digests() -> dict[str, str]:
    """Return by the name of every cell the digest of the sources that decide its numbers."""
    ours = provenance.digest(METHOD)
    asks = [provenance.code(getsource(f)) for f in (config, ids, by_source, png)]
    return {
        f"{kind}-{seed}": cells.made_by(ours, *asks, asked=[kind, RULES, seed, SOURCES])
        for kind in KINDS
        for seed in SEEDS
    }


# The page, from the cells alone.

HEAD = """# Every kind of request, measured

`snu_deep` with its defaults on scikit-learn's digits (`convnet`, 6 epochs), each run beside one
model that was retrained without the images; means of three seeds, with the half-width of the 95 %
interval over these seeds (Student's t). Made by `make kinds`; cells with every figure and its own
interval are in `docs/evidence/kinds`. The source is a stretch of neighbours in the file, which is
in the order in which people wrote; the data name no writers. It needs a column, so its rows are of
the digits written once more as Parquet, and images of Parquet are mirrored in training, too
([data](data.md)): a harder task for all three models, not to be compared with the rows above it.

For single images the right forget accuracy is the retrained model's, not 0, and the AUC to compare
with is its AUC. `random=1%` is 14 images and `ids=FILE` 10: one image is .07 and .1 of accuracy.
So few images of so easy a set do not tell an original from a retrained model, and nothing here
says that `snu_deep` forgets single images: on a random tenth of CIFAR-10 it hardly does, and
`snu_weights` does ([frontier](frontier.md)).

The guard allows accuracy of what stays to fall by .10 before it stops a run; a verdict calls less
than that *damaged* already. Two classes together cost .03 here, and are red for it.
"""


def page(found: dict[str, cells.Cell]) -> str:
    """Return docs/kinds.md."""
    if not found:
        return f"{HEAD}\nNot measured yet: `make kinds`.\n"
    lines = [
        HEAD,
        f"| what goes | images | model | {' | '.join(SHOWN)} | image gradients | verdicts |",
        f"|---|---|---|{'---|' * len(SHOWN)}---|---|",
    ]
    for kind, words in KINDS.items():
        some = [cell for name, cell in found.items() if split(name)[0] == kind]
        lines += [line for model in MODELS if some for line in [_line(words, model, some)]]
    machine = cells.machines(found.values())
    return "\n".join([*lines, "", f"Machine: {machine}.", ""])


def _line(words: str, model: str, some: list[cells.Cell]) -> str:
    stage = {"original": "train", "unlearned": "unlearn", "retrained": "retrain"}[model]
    measured = [
        _spread(m[key]["value"] for cell in some if (m := cell["models"][model]).get(key))
        for key in SHOWN.values()
    ]
    spent = cells.mean(cell["image_gradients"][stage] for cell in some)
    lights = sorted(f"{c['verdict']['light']} ({c['verdict']['kind']})" for c in some)
    each = {light: lights.count(light) for light in lights}
    told = ", ".join(f"{n} {light}" for light, n in each.items()) if model == "unlearned" else ""
    counts = [cell["forget"] for cell in some]
    images = "-".join(str(n) for n in sorted({min(counts), max(counts)}))
    return f"| {words} | {images} | {model} | {' | '.join(measured)} | {spent:,.0f} | {told} |"


def _spread(values: Iterable[float]) -> str:
    """Return mean and half-width of the interval over seeds, where there are several."""
    found = [*values]
    if not found:
        return ""
    if len(found) == 1:
        return f"{found[0]:.3f}"
    half = t.ppf(0.975, len(found) - 1) * stdev(found) / len(found) ** 0.5
    return f"{cells.mean(found):.3f} ±{half:.3f}"


def publish(found: dict[str, cells.Cell]) -> None:
    """Write the page."""
    PAGE.write_text(page(found))


def main() -> None:
    """Measure what is asked for and not up to date, and write the page."""
    cells.command(main.__doc__, RESULTS, digests, make, publish)


if __name__ == "__main__":
    main()

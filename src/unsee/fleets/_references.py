"""What every audit says of each retrained model: the band from seed to seed."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from unsee import events
from unsee.auditing import Inquiry, References
from unsee.fleets._members import job_of, words_of
from unsee.folder import write
from unsee.models import read
from unsee.nouns import Config, View
from unsee.parallel import fan_out


@dataclass(frozen=True)
class Asked:
    """One retrained model to measure, in a process of its own."""

    config: str
    original: str  # a checkpoint
    first: str  # the retrained model that stands for all in the report
    model: str
    number: int
    answer: str  # the file that is written


def reference_values(
    config: Config, original: Path, oracles: list[Path], folder: Path, *, jobs: int = 0
) -> list[References]:
    """Ask all audits about every retrained model but the first.

    Args:
        config: of the run.
        original: checkpoint of the model before.
        oracles: checkpoints of the retrained models.
        folder: where answers are kept, one file each, so that a killed run goes on.
        jobs: processes; 0: one a core.

    """
    words = words_of(config)
    asked = [
        Asked(words, str(original), str(oracles[0]), str(path), n, str(folder / f"{n:04d}.json"))
        for n, path in enumerate(oracles)
        if n
    ]
    return [*fan_out(_answered, asked, jobs=jobs)]


def _answered(asked: Asked) -> References:
    file = Path(asked.answer)
    if file.exists():
        known: References = json.loads(file.read_text())
        return known
    job = job_of(asked.config)
    inquiry, original, first = _beside(asked.config, asked.original, asked.first)
    with events.noted():
        model = job.load(read(Path(asked.model)))
        values = inquiry.values(model, asked.number, original, first)
    write(file, json.dumps(values, sort_keys=True).encode())
    return values


@lru_cache(maxsize=1)
def _beside(config: str, original: str, first: str) -> tuple[Inquiry, View, View]:
    """Look at the models that the others are compared with, once a process."""
    job = job_of(config)
    inquiry = Inquiry(job.split, job.config.seed)
    with events.noted():
        models = {
            name: job.load(read(Path(path)))
            for name, path in (("original", original), ("retrained", first))
        }
    before, again = (inquiry.look(name, model) for name, model in models.items())
    return inquiry, before, again

"""What every audit says of each retrained model: the band from seed to seed."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from unsee import events
from unsee.auditing import Inquiry, References
from unsee.fleets._members import job_of, words_of
from unsee.folder import digest, write
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
    inputs: str  # digests of config, data, original and first model
    key: str  # of these, of this model and of our version: an answer to other questions is none


def reference_values(
    config: Config, original: Path, oracles: list[Path], folder: Path, *, inputs: str, jobs: int = 0
) -> list[References]:
    """Ask all audits about every retrained model but the first.

    Args:
        config: of the run.
        original: checkpoint of the model before.
        oracles: checkpoints of the retrained models.
        folder: where answers are kept, one file each, so that a killed run goes on.
        inputs: digests of what the config's files hold: ``Job.words``.
        jobs: processes; 0: one a core.

    """
    words, first = words_of(config), str(oracles[0].resolve())
    inputs = json.dumps([inputs, digest(original), digest(oracles[0]), version("unsee")])
    asked = [
        Asked(
            config=words,
            original=str(original.resolve()),
            first=first,
            model=str(path.resolve()),
            number=n,
            answer=str((folder / f"{n:04d}.json").resolve()),
            inputs=inputs,
            key=hashlib.sha256(f"{inputs}{digest(path)}".encode()).hexdigest(),
        )
        for n, path in enumerate(oracles)
        if n
    ]
    return [*fan_out(_answered, asked, jobs=jobs)]


def _answered(asked: Asked) -> References:
    file = Path(asked.answer)
    if (known := _known(file, asked.key)) is not None:
        return known
    job = job_of(asked.config, asked.inputs)
    inquiry, original, first = _beside(asked.config, asked.original, asked.first, asked.inputs)
    with events.noted():
        model = job.load(read(Path(asked.model)))
        values = inquiry.values(model, asked.number, original, first)
    write(file, json.dumps({"key": asked.key, "values": values}, sort_keys=True).encode())
    return values


def _known(file: Path, key: str) -> References | None:
    """Return an answer that was written before; None if it is missing, damaged or of others."""
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    values: References = record.get("values", {})
    return values if record.get("key") == key else None


@lru_cache(maxsize=1)
def _beside(config: str, original: str, first: str, inputs: str) -> tuple[Inquiry, View, View]:
    """Look at the models that the others are compared with, once a process."""
    job = job_of(config, inputs)
    inquiry = Inquiry.of(job.split, job.config.seed, job.audits, job.config.audit_retain)
    with events.noted():
        models = {
            name: job.load(read(Path(path)))
            for name, path in (("original", original), ("retrained", first))
        }
    before, again = (inquiry.look(name, model) for name, model in models.items())
    return inquiry, before, again

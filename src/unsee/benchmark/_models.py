"""The originals and retrained references of a grid: trained once, shared by all its cells.

A run without ``--model`` and with ``--oracle retrain`` trains the very same two by itself, so that
a cell's recipe needs no file of the grid's.
"""

import contextvars
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from unsee import events
from unsee.accounting import measured
from unsee.benchmark._grid import Cell
from unsee.benchmark._sources import digest_of_sources
from unsee.benchmark._turns import at_most, lock_of, turn
from unsee.erasure import trained
from unsee.errors import BusyError, StorageError
from unsee.fleets import oracles
from unsee.folder import write
from unsee.machine import instructions
from unsee.models import Checkpoint, pack
from unsee.preparation import lay_out

FREE = (  # of what a cell asks, what such a model does not depend on
    *("method", "options", "code", "budget", "tune", "retain_fraction", "guard", "oracle"),
    *("policy", "redact", "require", "buffer", "search"),
)
BESIDE = ("forget", "validation", "audits", "audit_retain")  # nor an original
Result = TypeVar("Result")
Kind = Literal["original", "retrained"]


@dataclass(frozen=True)
class Model:
    """One model to train, unless it is there."""

    kind: Kind
    cell: Cell  # one of those that it serves
    folder: str
    threads: int = 0  # to compute with, at most; 0: as many as there are

    @property
    def place(self) -> Path:
        """Its own folder: of all that it depends on; threads and instructions since sums round."""
        record = self.cell.asked() | {"threads": self.threads, "instructions": instructions()}
        for name in (*FREE, *(BESIDE if self.kind == "original" else ())):
            record.pop(name, None)
        words = json.dumps([self.kind, record, digest_of_sources("retrain")], sort_keys=True)
        return Path(self.folder, f"{self.kind}-{hashlib.sha256(words.encode()).hexdigest()[:16]}")


@dataclass(frozen=True)
class Made:
    """A model that is there, or why it is not."""

    path: str = ""
    cost: dict[str, Any] | None = None
    failed: str = ""


def needed(cell: Cell, folder: Path, threads: int = 0) -> list[Model]:
    """Return the models that a cell shares with others and that nobody gave."""
    kinds: list[Kind] = [] if cell.config.model else ["original"]
    if cell.config.oracle == "retrain":
        kinds.append("retrained")
    return [Model(kind, cell, str(folder), threads) for kind in kinds]


def make(model: Model) -> Made:
    """Train a model, unless it is there; what goes wrong is what its cells will say.

    Of several processes that want the same one trains it, and the others wait.
    """
    work = _original if model.kind == "original" else _retrained
    try:
        with turn(lock_of(Path(model.folder).parent, model.place.name)), at_most(model.threads):
            return alone(lambda: work(model))
    except (BusyError, StorageError):
        raise
    except Exception as error:  # of one rule or one seed: the others go on
        return Made(failed=f"{type(error).__name__}: {error}")


def _original(model: Model) -> Made:
    place, config = model.place, replace(model.cell.config, oracle="none", require=())
    file, facts = place / "original.safetensors", place / "original.json"  # facts are written last
    if not facts.exists():
        bench = lay_out(config)
        done, cost = measured(lambda: trained(bench, None, "train"))
        place.mkdir(parents=True, exist_ok=True)
        write(file, pack(Checkpoint(done.state_dict(), bench.facts)))
        write(facts, json.dumps(cost, sort_keys=True).encode())
    return Made(str(file), json.loads(facts.read_text()))


def _retrained(model: Model) -> Made:
    """Train a fleet of one, as ``unsee oracles --models 1 --first-seed SEED`` does."""
    config = model.cell.config
    plain = replace(config, method="noop", options={}, tune=0, guard=1.0)
    model.place.mkdir(parents=True, exist_ok=True)
    (cost,) = oracles(plain, model.place, models=1, first_seed=config.seed, jobs=1)
    return Made(str(model.place / f"oracle-{config.seed:04d}.safetensors"), cost)


def unique(models: list[Model]) -> dict[Path, Model]:
    """Return each model once, by its folder."""
    return {model.place: model for model in models}


def alone(work: Callable[[], Result]) -> Result:
    """Call ``work`` as if in a process of its own: nobody hears of its stages and warnings."""

    def quiet() -> Result:
        with events.noted():
            return work()

    return contextvars.Context().run(quiet)

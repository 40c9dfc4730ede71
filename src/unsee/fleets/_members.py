"""One model of a fleet: its weights, its logits, and the facts that say that both are whole."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unsee import events
from unsee.accounting import measured
from unsee.draws import generator
from unsee.erasure import trained, unlearned
from unsee.folder import digest, write
from unsee.methods import find, own_digest
from unsee.models import Checkpoint, pack
from unsee.nouns import Config, Data
from unsee.preparation import Job, prepare
from unsee.training import predict

Kind = Literal["oracle", "unlearned"]
RETAINED = 2000  # images to keep whose logits are kept
Facts = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A model to train: everything that a process of its own needs to know."""

    folder: str
    config: str  # JSON of the Config, which has no hash
    kind: Kind  # oracle: trained without the forget set; unlearned: with it, then unlearned
    seed: int
    inputs: str = ""  # digests of what the config's files hold: a cache must not outlive them

    @property
    def name(self) -> str:
        """Of its files, without an ending."""
        if self.kind == "oracle":
            return f"oracle-{self.seed:04d}"
        return f"{unlearned_by(Config.from_json(self.config))}-{self.seed:04d}"

    def path(self, ending: str) -> Path:
        """Return one of its files."""
        return Path(self.folder, f"{self.name}.{ending}")

    def facts(self) -> Facts | None:
        """Return what is known of a finished model; None if it is not there, or not whole."""
        try:
            facts: Facts = json.loads(self.path("json").read_text())
            found = {end: digest(self.path(end)) for end in ("safetensors", "npz")}
        except (OSError, ValueError):
            return None
        return facts if facts.get("sha256") == found else None


def unlearned_by(config: Config) -> str:
    """Return the name of the models that one method makes with these options."""
    method = find(config.method)
    chosen = {"options": method.chosen(dict(config.options)), "buffer": config.retain_fraction}
    if config.tune:
        chosen["tune"] = config.tune
    if (code := own_digest(config.method)) is not None:
        chosen["code"] = code
    words = json.dumps(chosen, sort_keys=True).encode()
    return f"unlearned-{method.name}-{hashlib.sha256(words).hexdigest()[:8]}"


def train(member: Member) -> Facts:
    """Train one model of a fleet, unless it is there, and return what is known of it.

    The facts are written last, so a model that a kill left half made is made again.
    """
    if (known := member.facts()) is not None:
        return known
    job = job_of(member.config, member.inputs)
    with events.noted():  # every process would tell the same warnings
        model, cost = measured(lambda: _made(job, member))
        logits = _logits(job, model)
    content = {"safetensors": pack(Checkpoint(model.state_dict(), job.facts)), "npz": logits}
    facts = {
        "kind": member.kind,
        "seed": member.seed,
        "sha256": {end: hashlib.sha256(data).hexdigest() for end, data in content.items()},
        **cost,
    }
    if member.kind == "unlearned":
        facts |= {"method": job.method.name, "options": job.options}
    for end, data in content.items():
        write(member.path(end), data)
    write(member.path("json"), json.dumps(facts, indent=1, sort_keys=True).encode())
    return facts


@lru_cache(maxsize=1)
def job_of(config: str, inputs: str) -> Job:
    """Prepare a run; a process that makes several models reads the data once.

    Args:
        config: as text.
        inputs: whatever changes with the files that it names.

    """
    with events.noted():
        return prepare(Config.from_json(config))


def words_of(config: Config) -> str:
    """Return a Config as text, which other processes and caches can take."""
    return json.dumps(asdict(config), sort_keys=True)


def _made(job: Job, member: Member) -> nn.Module:
    if member.kind == "oracle":
        return trained(job, job.split, "retrain", seed=member.seed)
    return unlearned(job, trained(job, None, "train", seed=member.seed), seed=member.seed)


def retained(job: Job) -> Data:
    """Return the sample of images to keep whose logits a fleet has: the same for every model."""
    retain = job.split.retain
    some = torch.randperm(len(retain), generator=generator(0, "fleet/retain"))[:RETAINED]
    return retain[some.numpy()]


def seen_logits(job: Job, model: nn.Module) -> dict[str, Tensor]:
    """Return the logits ``[N, K]`` of forget and test images and of a sample of those to keep."""
    split = job.split
    parts = {"forget": split.forget, "test": split.test, "retain": retained(job)}
    return {part: predict(model, data).logits for part, data in parts.items()}


def _logits(job: Job, model: nn.Module) -> bytes:
    file = io.BytesIO()
    arrays: dict[str, NDArray[np.float32]] = {
        part: logits.numpy() for part, logits in seen_logits(job, model).items()
    }
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()

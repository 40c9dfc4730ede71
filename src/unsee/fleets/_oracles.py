import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unsee import events
from unsee.errors import OptionError
from unsee.fleets._members import Facts, Member, train, words_of
from unsee.folder import digest, opened
from unsee.machine import has_fast_bf16
from unsee.methods import find, own_digest
from unsee.nouns import Config
from unsee.parallel import fan_out
from unsee.preparation import Job, chosen_device, prepare
from unsee.references import asked


def oracles(
    config: Config,
    folder: Path,
    *,
    models: int = 16,
    first_seed: int = 0,
    with_unlearned: bool = False,
    jobs: int = 0,
) -> list[Facts]:
    """Train ``models`` models without the forget set, and return what is known of each.

    Those that are in the folder already are not trained again, so a killed call goes on, and a
    later one with more models adds to them.

    Args:
        config: of the run that they are the reference of: data, rule, architecture, recipe.  Its
            own seed draws a random forget set; the models have seeds of their own.
        folder: of the fleet; a new one, or one of the very same recipe.
        models: how many.
        first_seed: of the seeds first_seed, first_seed + 1, ...
        with_unlearned: as many again that saw everything and then unlearned by ``config``'s method:
            what U-LiRA and KLoM compare with.
        jobs: processes; 0: one a core.

    Raises:
        OptionError: if a number is out of range.
        RunError: if the folder holds anything else.
        BusyError: if another process works in it.

    """
    if models < 1 or first_seed < 0:
        raise OptionError(
            f"Expected 1 model or more and a seed of 0 or more, got {models} and {first_seed}"
        )
    config = replace(config, oracle="none", require=())
    with events.noted() as notes:
        job = prepare(config)
    with opened(folder, recipe(job)):
        for message in notes:
            events.tell("warning", message=message)
        inputs = f"{job.words}{own_digest(config.method) or ''}"
        kinds = ("oracle", "unlearned") if with_unlearned else ("oracle",)
        wanted = [
            Member(str(folder.resolve()), words_of(config), kind, seed, inputs)  # type: ignore[arg-type]
            for kind in kinds
            for seed in range(first_seed, first_seed + models)
        ]
        with events.stage("oracles"):
            return [*fan_out(train, wanted, jobs=jobs)]


def _shapes(job: Job) -> str:
    """Return a digest of the weights' names and shapes: code of one's own changes behind a name."""
    with torch.random.fork_rng():
        state = job.new().state_dict()
    words = json.dumps([[name, [*x.shape]] for name, x in state.items()])
    return hashlib.sha256(words.encode()).hexdigest()


def recipe(job: Job) -> str:
    """Return the key of a fleet: everything that its retrained models depend on, but the seed.

    Versions of libraries are not part of it: they change the last digits of a training, as a seed
    does, and not what it is a draw of.
    """
    config, device = job.config, chosen_device(job.config.device)
    facts: dict[str, Any] = {
        "format": 1,
        "rule": job.split.rule,
        **asked(job.split),
        **job.facts,
        "weights": _shapes(job),
        "init": config.init and digest(Path(config.init)),
        "train_epochs": config.train_epochs,
        "retrain": find("retrain").options,
        "precision": "bfloat16" if has_fast_bf16(device.type) else "float32",
    }
    return json.dumps(facts, indent=1, sort_keys=True)

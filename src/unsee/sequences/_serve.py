import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from unsee import events
from unsee.accounting import environment, measured
from unsee.draws import generator
from unsee.erasure import trained
from unsee.errors import OptionError, RunError
from unsee.folder import CONFIG, EVENTS, LOCK, STAGES, Begun, Facts, Folder, clear, opened, write
from unsee.methods import find
from unsee.models import Checkpoint, pack, read
from unsee.nouns import (
    Config,
    History,
    Request,
    Run,
    Split,
    Standing,
    standing as read_standing,
)
from unsee.ownership import refuse_inputs
from unsee.pipeline import run
from unsee.preparation import Bench, chosen_device, chosen_split, lay_out
from unsee.reporting import history_page, history_picture
from unsee.sequences._standing import KEPT, gaps, standing

REQUESTS, IDS, AFTER = "requests.json", "forgotten", "after"
RESULTS = ("sequence.json", "sequence.md", "sequence.svg")


def sequence(
    config: Config, rules: Sequence[str], folder: Path, *, begun: Begun = "continue"
) -> History:
    """Serve requests one after another on the same model, and ask about all of them after each.

    Each request is one :func:`unsee.run` in ``folder/01``, ``folder/02``, ...: it begins with the
    model of the one before, and images of earlier requests are in no part of its data.  What is
    done already is not done again, so a stopped call goes on, and a later one with more ``rules``
    behind the same ones adds to them.

    Args:
        config: of all runs, but for ``forget``; the first has its ``seed``, the others have seeds
            of their own.  With ``oracle`` "retrain" one model is trained without the images of all
            requests, at the end; a checkpoint is taken for such a model.
        rules: in the order of the requests; ``random=`` draws from what is left.
        folder: a new one, or one that was begun with the same ``config``.
        begun: what to do where ``folder`` holds a sequence already.

    Raises:
        UnseeError: for a wrong name or input, before ``folder`` is touched; or of a request that
            fails: then the model of the one before stays in use, and ``sequence.json`` says so far.

    """
    with events.noted() as notes:
        plan = planned(config, rules)
    if begun == "replace":
        needed = {**json.loads(plan.words), "oracle": config.oracle, "rules": [*rules]}
        refuse_inputs(folder, json.dumps(needed), removed=None)
        _clear(folder)
    with opened(folder, plan.words, "refuse" if begun == "refuse" else "continue") as place:
        for message in dict.fromkeys(notes):
            events.tell("warning", message=message)
        _remember(place, plan.rules)
        served: list[Request] = []
        after: list[Standing] = []
        for number in range(1, len(rules) + 1):
            asked = plan.config(number, folder.resolve())
            plan.write_ids(place, number - 1)
            done = run(asked, folder / f"{number:02d}")
            served.append(_request(number, rules[number - 1], asked, done))
            after.append(_standing(plan, place, number))
            found = plan.history(served, after)
            _publish(place, found)
        if config.oracle != "none":
            found = _compared(plan, place, found)
            _publish(place, found)
    return found


@dataclass(frozen=True, eq=False)
class Plan:
    """What all requests choose, worked out before the first is served."""

    bench: Bench
    rules: tuple[str, ...]
    splits: list[Split] = field(default_factory=list)

    @property
    def words(self) -> str:
        """What the folder is for, whatever the requests: its ``config.json``."""
        record = asdict(self.bench.config)
        for name in ("forget", "oracle", "require"):
            del record[name]
        facts = {"kind": "sequence", "fingerprint": self.bench.data.fingerprint}
        return json.dumps(record | facts, indent=1, sort_keys=True)

    def seed_of(self, number: int) -> int:
        """Return the seed of a request; the first has the sequence's own."""
        seed = self.bench.config.seed
        return seed if number == 1 else generator(seed, f"request {number}").initial_seed() % 2**31

    def config(self, number: int, folder: Path) -> Config:
        """Return the run of a request, which begins where the one before has ended."""
        ours = self.bench.config
        before = folder / f"{number - 1:02d}" / "model.safetensors"
        fixed = (
            f"ids={_ids(folder, n)}" if rule.startswith("random=") else rule
            for n, rule in enumerate(self.rules[: number - 1], 1)
        )
        return replace(
            ours,
            forget=self.rules[number - 1],
            seed=self.seed_of(number),
            model=ours.model if number == 1 else str(before),
            earlier=(*ours.earlier, *fixed),
            oracle="none",
            require=(),
        )

    def write_ids(self, place: Folder, number: int) -> None:
        """Write down what ``random=`` has drawn for a request that another one follows."""
        if number and self.rules[number - 1].startswith("random="):
            ids = "".join(f"{x}\n" for x in self.splits[number - 1].forget.ids.tolist())
            write(_ids(place.path, number), ids.encode())

    def load(self, path: Path) -> nn.Module:
        """Return a model that this sequence wrote."""
        with events.noted():  # of what reading our own file tells
            return self.bench.load(read(path))

    def history(self, served: list[Request], after: list[Standing]) -> History:
        """Return what is known after the last of these requests."""
        config, data = self.bench.config, self.bench.data
        method = find(config.method)
        return History(
            data=data.name,
            fingerprint=data.fingerprint,
            method=config.method,
            options=method.chosen(dict(config.options)),
            seed=config.seed,
            environment=environment(chosen_device(config.device)),
            requests=tuple(served),
            after=tuple(after),
        )


def planned(config: Config, rules: Sequence[str]) -> Plan:
    """Choose what every request takes from what those before it leave.

    Args:
        config: of all of them, see :func:`sequence`.
        rules: in the order of the requests.

    Raises:
        UnseeError: of the kind of what is wrong.

    """
    if not rules:
        raise OptionError("Expected requests, got none: add, for example, --forget class=3")
    method = find(config.method)
    method.chosen(dict(config.options))
    bench = lay_out(replace(config, forget="", require=()))
    if len(bench.oracles) > 1:
        raise OptionError(
            f"Expected --oracle none, retrain or one checkpoint, got a folder of several: "
            f"{config.oracle}"
        )
    if bench.buffer is not None:
        bench.buffer.suits(config, len(bench.train), method)
    plan = Plan(bench, tuple(rules))
    taken: list[Any] = [*config.earlier]
    for number, rule in enumerate(rules, 1):
        own = replace(bench, config=replace(config, forget=rule, seed=plan.seed_of(number)))
        validate = method.validates(tuned=config.tune > 0)
        split = chosen_split(own, validate=validate, earlier=taken)
        method.suits(split.forget, split.gone)
        plan.splits.append(split)
        taken.append(np.flatnonzero(np.isin(bench.data.ids, split.forget.ids)))
    return plan


def _ids(folder: Path, number: int) -> Path:
    return folder / IDS / f"{number:02d}.txt"


def _request(number: int, rule: str, config: Config, done: Run) -> Request:
    before = done.measurements["original"]
    return Request(
        number=number,
        rule=rule,
        count=done.forget["count"],
        gone=tuple(done.forget["gone"]),
        seed=config.seed,
        seconds=done.seconds["unlearn"],
        image_gradients=done.image_gradients["unlearn"],
        light=str(done.verdict.get("light", "")),
        before={name: before[name] for name in KEPT if before.get(name)},
    )


def _standing(plan: Plan, place: Folder, number: int) -> Standing:
    """Ask the model after a request about all requests so far, unless that is done already."""
    file = f"{AFTER}/{number:02d}.json"

    def content() -> tuple[bytes, Facts]:
        model = plan.load(place / f"{number:02d}" / "model.safetensors")
        found = standing(model, plan.splits[:number], plan.bench.config.seed)
        return json.dumps(asdict(found)).encode(), {}

    place.stage(f"{AFTER} {number:02d}", file, content)
    return read_standing(json.loads((place / file).read_text()))


def _compared(plan: Plan, place: Folder, found: History) -> History:
    """Hold the last model against one that was trained without the images of all requests."""
    number, bench = len(plan.rules), plan.bench
    retraining: Facts = {}
    if bench.oracle is not None:
        again = bench.load(bench.oracle)
    else:
        name = f"retrained-{number:02d}.safetensors"

        def content() -> tuple[bytes, Facts]:
            model, cost = measured(lambda: trained(bench, plan.splits[-1], "retrain"))
            return pack(Checkpoint(model.state_dict(), bench.facts)), cost

        spent = place.stage(f"retrain {number}", name, content)
        retraining = {key: spent[key] for key in ("seconds", "image_gradients")}
        again = plan.load(place / name)
    last = plan.load(place / f"{number:02d}" / "model.safetensors")
    seed = bench.config.seed
    return replace(
        found,
        retrained=standing(again, plan.splits, seed),
        retraining=retraining,
        gaps=gaps(last, again, plan.splits),
    )


def _publish(place: Folder, found: History) -> None:
    texts = (found.to_json(), history_page(found), history_picture(found))
    for name, text in zip(RESULTS, texts, strict=True):
        write(place / name, text.encode())


def _remember(place: Folder, rules: tuple[str, ...]) -> None:
    """Write down the requests; those that were served stay the first.  Raises RunError."""
    path = place / REQUESTS
    try:
        known = [*json.loads(path.read_text())] if path.exists() else []
    except (ValueError, TypeError) as error:
        raise RunError(f"Expected the requests so far in {path}, got {error}") from error
    if [*rules[: len(known)]] != known:
        raise RunError(
            f"Expected first the requests that {place.path} was begun with, {known}, got "
            f"{[*rules]}: repeat them, then the new ones, or take another --out"
        )
    write(path, json.dumps([*rules]).encode())


def _clear(folder: Path) -> None:
    """Remove a sequence from its folder, so that another may begin.  Raises RunError."""
    if not (folder / CONFIG).exists():
        return  # opened() refuses strangers
    words = (folder / CONFIG).read_text()
    if '"kind": "sequence"' not in words:
        raise RunError(f"Expected the folder of a sequence to replace, got another: {folder}")
    with opened(folder, words) as place:
        for inner in sorted(folder.glob("[0-9][0-9]*")):
            clear(inner)
            (inner / LOCK).unlink(missing_ok=True)
            inner.rmdir()
        for part in (IDS, AFTER):
            if (place / part).is_dir():
                for file in (place / part).iterdir():
                    file.unlink()
                (place / part).rmdir()
        old = [*folder.glob("retrained-*.safetensors"), *map(folder.joinpath, RESULTS)]
        for file in (*old, place / REQUESTS, place / STAGES, place / EVENTS, place / CONFIG):
            file.unlink(missing_ok=True)

"""From a Config to what a run works on: data, split, an original model and how to build others."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unsee import data as sources
from unsee.audits import AUDITS
from unsee.data import as_floats
from unsee.errors import ModelError, OptionError
from unsee.events import warn
from unsee.folder import digest
from unsee.methods import Method, find
from unsee.models import Checkpoint, blueprint, normalise, output_layer, read, without_code
from unsee.nouns import Config, Data, Split
from unsee.references import digest_of, left_out_the_same, named_oracles
from unsee.requirements import Requirement, parse
from unsee.training import predict
from unsee.verdict import Policy, load_policy

ARCH = "resnet18:cifar-pool"  # the fastest of the 32 x 32 stems that is accurate, on a CPU
ENOUGH = {"digits": "resnet18:imagenet"}  # 8 x 8, enlarged: this stem loses nothing, at a third
CHECKED = 1000  # training images that a given model has to know before anything is done to it


@dataclass(frozen=True, eq=False)
class Bench:
    """Data and how to build models for it: all that training needs."""

    config: Config
    data: Data
    new: Callable[[], nn.Module]  # an untrained model of the run's architecture
    restart: Callable[[], nn.Module]  # what training starts from: new, or the --init checkpoint
    given: Checkpoint | None  # of --model
    oracle: Checkpoint | None  # of --oracle PATH; of a folder, the first in it
    oracles: tuple[Path, ...]  # all checkpoints of --oracle PATH
    output_layer: str
    facts: dict[str, Any]  # that its checkpoints carry

    @property
    def train(self) -> Data:
        """All training images."""
        return self.data.part("train")

    def load(self, checkpoint: Checkpoint) -> nn.Module:
        """Return a model of the run's architecture with these weights, in eval mode."""
        with torch.random.fork_rng():  # the weights that go away again are nobody's draws
            return checkpoint.into(self.new())


@dataclass(frozen=True, eq=False)
class Job(Bench):
    """Everything that a run needs and that costs no training."""

    split: Split
    method: Method
    options: dict[str, Any]
    requirements: tuple[Requirement, ...]
    policy: Policy
    words: str  # config.json


def prepare(config: Config) -> Job:
    """Read everything that ``config`` names and refuse what cannot work; nothing is written.

    Raises:
        UnseeError: of the kind of what is wrong.

    """
    method = find(config.method)
    options = method.chosen(dict(config.options))
    names = {name for audit in AUDITS.values() for name in audit.names}
    requirements = tuple(parse(text, names) for text in config.require)
    policy = load_policy(config.policy)
    if not 0 <= config.retain_fraction <= 1:
        raise OptionError(f"Expected --retain-fraction in 0..1, got {config.retain_fraction}")
    bench = lay_out(config)
    split = chosen_split(bench, validate=method.needs("validation"))
    method.suits(split.forget, split.gone)
    if bench.given is not None:
        _knows_its_images(bench, bench.given)
    left_out_the_same(config.oracle, split)
    return Job(
        **vars(bench),
        split=split,
        method=method,
        options=options,
        requirements=requirements,
        policy=policy,
        words=_words(config, split, bench.oracles),
    )


def chosen_split(bench: Bench, *, validate: bool = False) -> Split:
    """Apply the forget rule.  Raises SplitError."""
    config = bench.config
    return sources.choose(
        bench.data,
        config.forget,
        seed=config.seed,
        include_twins=config.include_twins,
        validation=config.validation,
        validate=validate,
    )


def lay_out(config: Config) -> Bench:
    """Read the data and the checkpoints, and find out how to build models that fit both.

    Raises:
        UnseeError: of the kind of what is wrong.

    """
    if config.seed < 0:
        raise OptionError(f"Expected a --seed of 0 or more, got {config.seed}")
    if config.train_epochs < 1:
        raise OptionError(f"Expected --train-epochs of 1 or more, got {config.train_epochs}")
    device = chosen_device(config.device)
    oracles = named_oracles(config.oracle)
    named = (config.model, config.init, oracles[0] if oracles else None)
    given, init, oracle = (None if path is None else read(Path(path)) for path in named)
    data = sources.load(config.data, size=config.size, classes=config.classes)
    facts = {**(init.facts if init else {}), **(given.facts if given else {})}
    for checkpoint in (given, init, oracle):
        data = _with_class_names(data, checkpoint.facts if checkpoint else {})
    mean, std = _units(config, facts, data)
    _same_units(oracle, mean, std)
    facts = {
        "arch": config.arch or without_code(facts.get("arch") or ENOUGH.get(config.data, ARCH)),
        "classes": [*data.classes],
        "mean": mean and [*mean],
        "std": std and [*std],
    }
    build = blueprint(facts["arch"], channels=data.images.shape[1], classes=len(data.classes))

    def new() -> nn.Module:
        model = build()
        if mean and std:
            normalise(model, torch.tensor(mean), torch.tensor(std))
        if config.output_layer:
            model.unsee_output_layer = config.output_layer  # type: ignore[assignment]
        return model.to(device)

    with torch.random.fork_rng():
        blank = new()
        layer = output_layer(
            blank, as_floats(data.take(torch.arange(1)).to(device)), config.output_layer
        )
        outputs = blank.get_submodule(layer).out_features
        if outputs != len(data.classes):
            raise ModelError(
                f"Expected {len(data.classes)} outputs, one per class, got {outputs} from "
                f"{layer!r}: name the output layer with --output-layer, or the classes with "
                "--classes"
            )
    bench = Bench(
        config=config,
        data=data,
        new=new,
        restart=new if init is None else lambda: init.into(new()),
        given=given,
        oracle=oracle,
        oracles=oracles,
        output_layer=layer,
        facts=facts,
    )
    for checkpoint in (init, given, oracle):
        if checkpoint is not None:
            bench.load(checkpoint)
    return bench


def chosen_device(name: str) -> torch.device:
    """Return the device of that name; auto: CUDA if there is one.  Raises OptionError."""
    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"Expected a --device among ['auto', 'cpu', 'cuda'], got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("Expected a CUDA device for --device cuda, got none on this machine")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _with_class_names(data: Data, facts: dict[str, Any]) -> Data:
    """Give numbered classes the names that the checkpoint knows.

    Raises:
        ModelError: if the checkpoint has another number of classes, or another order of the same.

    """
    named = tuple(facts.get("classes") or data.classes)
    numbered = data.classes == tuple(map(str, range(len(data.classes))))
    if len(named) == len(data.classes) and numbered:
        return replace(data, classes=named)
    if named != data.classes and (len(named) != len(data.classes) or {*named} == {*data.classes}):
        raise ModelError(
            f"Expected the checkpoint's classes {[*named][:12]} in the order of the data, got "
            f"{[*data.classes][:12]}: give the names in the order of the labels with --classes"
        )
    return data


def _units(
    config: Config, facts: dict[str, Any], data: Data
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return mean and std per channel: as told, else of the checkpoint, else of the images."""
    mean, std = (getattr(config, key) or facts.get(key) for key in ("mean", "std"))
    if mean is None and std is None:
        if data.images.dtype != torch.uint8:  # floats are as their owner has prepared them
            return None, None
        if config.model is None and config.init is None:
            return _moments(data)
        warn(
            "the checkpoint says nothing of mean and std, and no --mean and --std were given: "
            "its images are passed in 0..1"
        )
        return None, None
    if mean is None or std is None:
        raise OptionError("Expected --mean and --std together, got one of them")
    channels = data.images.shape[1]
    if not len(mean) == len(std) == channels:
        raise OptionError(
            f"Expected one --mean and --std per channel ({channels}), got {mean} and {std}"
        )
    return tuple(mean), tuple(std)


def _same_units(
    oracle: Checkpoint | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> None:
    """Refuse a reference that was trained on other numbers: it would be shown the wrong ones."""
    for name, ours in (("mean", mean), ("std", std)):
        theirs = None if oracle is None else oracle.facts.get(name)
        if theirs is not None and not np.allclose(theirs, ours or np.nan, rtol=0, atol=0.01):
            raise ModelError(
                f"Expected an --oracle with the {name} of the original, {ours}, got {theirs}: "
                "give --mean and --std, or another reference"
            )


def _moments(data: Data) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel over the training images, to four places."""
    train = data.part("train")
    total, squares = torch.zeros(2, data.images.shape[1], dtype=torch.float64)
    n = 0
    for rows in torch.arange(len(train)).split(2048):
        pixels = as_floats(train.take(rows)).double()
        total = total + pixels.sum((0, 2, 3))
        squares = squares + pixels.square().sum((0, 2, 3))
        n += pixels[:, 0].numel()
    mean = total / n
    std = (squares / n - mean.square()).clamp_min(1e-8).sqrt()
    places = [[round(x, 4) for x in values.tolist()] for values in (mean, std)]
    return tuple(places[0]), tuple(max(x, 1e-4) for x in places[1])


def _knows_its_images(bench: Bench, given: Checkpoint) -> None:
    """Refuse a model that does not know its own training images: then something is mixed up."""
    train = bench.train
    some = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CHECKED]
    seen = predict(bench.load(given), train[some.numpy()])
    accuracy = float((seen.logits.argmax(1) == seen.labels).float().mean())
    chance = 1 / len(train.classes)
    if accuracy < chance + 0.1 * (1 - chance):
        raise ModelError(
            f"Expected a model that knows its training images, got an accuracy of {accuracy:.3f} "
            f"on {len(some)} of them (chance: {chance:.3f}): another order of classes (--classes), "
            "other units (--mean --std) or another --arch?"
        )


def _words(config: Config, split: Split, oracles: tuple[Path, ...]) -> str:
    """Return ``config.json``: the flags, and digests of what the named files hold."""
    named = {
        "model": config.model,
        "init": config.init,
        "policy": config.policy,
        "classes": config.classes,
        "validation": config.validation and config.validation.removeprefix("ids="),
        "forget": config.forget.removeprefix("ids=") if config.forget.startswith("ids=") else None,
    }
    digests = {name: digest(Path(path)) for name, path in named.items() if path}
    if oracles:
        digests["oracle"] = digest_of(oracles)
    record = asdict(config) | {"fingerprint": split.fingerprint, "digests": digests}
    return json.dumps(record, indent=1, sort_keys=True)

"""From a Config to what a run works on: data, split, an original model and how to build others."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unsee import buffers, data as sources
from unsee.audits import Audit, asked
from unsee.buffers import Placed
from unsee.data import as_floats
from unsee.errors import ModelError, OptionError
from unsee.folder import digest
from unsee.machine import has_fast_bf16
from unsee.matching import knows_its_images
from unsee.methods import Method, find
from unsee.models import (
    Checkpoint,
    blueprint,
    normalise,
    output_layer,
    published,
    read,
    without_code,
)
from unsee.nouns import Config, Data, Split
from unsee.ranks import gpu_each, same
from unsee.references import digest_of, left_out_the_same, named_oracles, trained_the_same
from unsee.requirements import Requirement, parse
from unsee.units import as_published, named_by, same_units, size_of, units
from unsee.verdict import Policy, load_policy

ARCH = "resnet18:cifar-pool"  # the fastest of the 32 x 32 stems that is accurate, on a CPU
ENOUGH = dict.fromkeys(  # 8 x 8, enlarged: this stem loses nothing, at a third
    ("digits", *(f"{harm}:digits" for harm in sources.SPOILED)), "resnet18:imagenet"
)


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
    buffer: Placed | None  # of --buffer; its images are among the data

    @property
    def train(self) -> Data:
        """All training images."""
        return self.data.part("train")

    def load(self, checkpoint: Checkpoint) -> nn.Module:
        """Return a model of the run's architecture with these weights, in eval mode.

        Raises:
            ModelError: if they do not fit, or say that they have other classes or units.

        """
        named_by(self.data, checkpoint.facts)
        if self.config.mean is None:  # else it was told, whatever checkpoints say
            same_units(checkpoint, self.facts["mean"], self.facts["std"])
        with torch.random.fork_rng():  # the weights that go away again are nobody's draws
            model = self.new()
            return checkpoint.fitted(model.state_dict()).into(model)


@dataclass(frozen=True, eq=False)
class Job(Bench):
    """Everything that a run needs and that costs no training."""

    split: Split
    method: Method
    options: dict[str, Any]
    requirements: tuple[Requirement, ...]
    audits: dict[str, Audit]
    policy: Policy
    words: str  # config.json

    @property
    def shown(self) -> Data | None:
        """The images of ``--buffer`` that stay; None: the method's share is drawn instead."""
        return None if self.buffer is None else self.buffer.shown(self.split)


def prepare(config: Config) -> Job:
    """Read everything that ``config`` names and refuse what cannot work; nothing is written.

    Raises:
        UnseeError: of the kind of what is wrong.

    """
    method = find(config.method)
    options = method.chosen(dict(config.options))
    audits = asked(config.audits)
    names = {name for audit in audits.values() for name in audit.names}
    requirements = tuple(parse(text, names) for text in config.require)
    policy = load_policy(config.policy)
    if config.audit_retain is not None and config.audit_retain < 1:
        raise OptionError(f"Expected --audit-retain of 1 or more, got {config.audit_retain}")
    if config.tune and not method.searched(config.options):
        raise OptionError(f"Expected options of {method.name!r} left to --tune, got none")
    bench = lay_out(config)
    split = chosen_split(bench, validate=method.validates(tuned=config.tune > 0))
    method.suits(split.forget, split.gone)
    if bench.buffer is not None:
        bench.buffer.suits(config, len(bench.train), method)
    if bench.given is not None:
        left = sources.without(bench.data, config.earlier, include_twins=config.include_twins)
        knows_its_images(bench.load(bench.given), left.part("train"))
    left_out_the_same(config.oracle, split)
    if config.model is None:
        own = {name: bench.facts[name] for name in ("arch", "mean", "std")}
        trained_the_same(config.oracle, own | {"train_epochs": config.train_epochs})
    words = _words(config, split, bench.oracles)
    same("images and files (by digest)", hashlib.sha256(words.encode()).hexdigest())
    return Job(
        **vars(bench),
        split=split,
        method=method,
        options=options,
        requirements=requirements,
        audits=audits,
        policy=policy,
        words=words,
    )


def chosen_split(
    bench: Bench, *, validate: sources.Validate = False, earlier: Sequence[Any] | None = None
) -> Split:
    """Apply the forget rule to what earlier requests have left.  Raises SplitError.

    Args:
        bench: data, and the config with the rule.
        validate: whether validation images are needed, or only for single images.
        earlier: rules or places in data instead of the config's ``earlier``.

    """
    config = bench.config
    return sources.choose(
        bench.data,
        config.forget,
        seed=config.seed,
        include_twins=config.include_twins,
        validation=config.validation,
        validate=validate,
        earlier=config.earlier if earlier is None else earlier,
        elsewhere=bench.buffer.elsewhere if bench.buffer else (),
    )


def lay_out(config: Config) -> Bench:
    """Read the data and the checkpoints, and find out how to build models that fit both.

    Raises:
        UnseeError: of the kind of what is wrong.

    """
    config.check_ranges()
    if config.earlier and not config.model:
        raise OptionError(
            f"Expected with --earlier the --model that has unseen {[*config.earlier]}, got none"
        )
    device = chosen_device(config.device)
    same("precision", has_fast_bf16(device.type))
    oracles = named_oracles(config.oracle)
    named = (config.model, config.init, oracles[0] if oracles else None)
    given, init, oracle = (None if path is None else read(Path(path)) for path in named)
    kept = None if config.buffer is None else buffers.read(Path(config.buffer))
    facts = {**(init.facts if init else {}), **(given.facts if given else {})}
    arch = config.arch or without_code(facts.get("arch") or ENOUGH.get(config.data, ARCH))
    size, some = size_of(config, known := published(arch)), kept is not None
    data = sources.load(config.data, size=size, classes=config.classes, some=some)
    if kept is not None:
        data = sources.aligned(data, kept.data.classes)
    for checkpoint in (given, init, oracle):
        data = named_by(data, checkpoint.facts if checkpoint else {})
    if known is not None and (given or init):  # weights from elsewhere
        if "classes" not in facts and len(known.classes) == len(data.classes):
            data = named_by(data, {"classes": known.classes})
        facts = as_published(config, facts, known, data)
    placed = None
    if kept is not None:
        data, placed = buffers.placed(kept, data, buffers.digest_of(config.model))
    mean, std = units(config, facts, data)
    same_units(oracle, mean, std)
    facts = {
        "arch": arch,
        "classes": [*data.classes],
        "mean": mean and [*mean],
        "std": std and [*std],
    }
    build = blueprint(arch, channels=data.images.shape[1], classes=len(data.classes))

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
            what = "name the output layer with --output-layer, or the classes with --classes"
            if outputs == 1:
                what = "two classes have two logits, torch.cat([0 * z, z], 1) of a single one"
            raise ModelError(
                f"Expected {len(data.classes)} outputs, one per class, got {outputs} from "
                f"{layer!r}: {what}"
            )
    given, init, oracle = (x and x.fitted(blank.state_dict()) for x in (given, init, oracle))
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
        buffer=placed,
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
    if name != "cpu" and torch.cuda.is_available() and not gpu_each():
        raise OptionError(
            "Expected a CUDA device for each process on this machine, got more processes: lower "
            "--nproc-per-node, or take --device cpu"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _words(config: Config, split: Split, oracles: tuple[Path, ...]) -> str:
    """Return ``config.json``: the flags, and digests of what the named files hold."""
    named = {
        "model": config.model,
        "buffer": config.buffer,
        "init": config.init,
        "policy": config.policy,
        "classes": config.classes,
        "validation": config.validation and config.validation.removeprefix("ids="),
        "forget": config.forget.removeprefix("ids=") if config.forget.startswith("ids=") else None,
    }
    named |= {rule: rule[4:] for rule in config.earlier if rule.startswith("ids=")}
    digests = {name: digest(Path(path)) for name, path in named.items() if path}
    if oracles:
        digests["oracle"] = digest_of(oracles)
    record = asdict(config) | {"fingerprint": split.fingerprint, "digests": digests}
    return json.dumps(record, indent=1, sort_keys=True)

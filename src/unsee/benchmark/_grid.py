"""A grid in TOML: data x rules x methods x seeds, and the cells that it stands for."""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from unsee.benchmark._budget import length_of
from unsee.benchmark._results import CONTROLS
from unsee.errors import OptionError
from unsee.folder import digest
from unsee.methods import METHODS, find, own_digest, own_file
from unsee.nouns import Config

OURS = ("data", "forget", "method", "options", "seed", "tune", "require", "redact")
FILES = ("model", "oracle", "init", "buffer", "policy", "classes", "validation")
KEYS = {
    *("title", "data", "forget", "methods", "seeds", "config", "options", "rule"),
    *("budget", "tune", "tune_on"),
}


@dataclass(frozen=True)
class Cell:
    """One method with one seed on one rule of one data set: a call of ``pipeline.run``."""

    data: str  # the name that the grid has for it
    config: Config  # as a reader would run it: without the shared original and reference
    budget: int | None = None  # image gradients that a trained method may spend
    tune: int = 0  # settings tried beforehand on ``tune_on``
    tune_on: str = ""  # another rule; empty: tuned in the run itself

    @property
    def method(self) -> str:
        """What the tables call it: of ``path.py:name`` the name."""
        return self.config.method.rpartition(":")[2]

    @property
    def name(self) -> str:
        """Of its result file: letters, digits and ``=%.-`` alone."""
        config = self.config
        rule = f"ids={Path(config.forget[4:]).stem}" if self._lists() else config.forget
        words = f"{self.data}-{rule}-{self.method}-seed{config.seed}"
        return re.sub(r"[^\w=%.-]", "_", words)

    def _lists(self) -> bool:
        return self.config.forget.startswith("ids=")

    def asked(self) -> dict[str, Any]:
        """Return everything that decides it, wherever files lie: files by what they hold."""
        config = self.config
        record = asdict(config) | {"data": self.data, "budget": self.budget}
        record |= {"tune": [self.tune, self.tune_on], "method": self.method}
        for name in FILES:
            if (path := getattr(config, name)) is not None and path not in ("none", "retrain"):
                record[name] = _held(Path(str(path).removeprefix("ids=")))
        if self._lists():
            record["forget"] = _held(Path(config.forget[4:]))
        return record | {"code": own_digest(config.method)}


def _held(path: Path) -> str:
    """Return a digest of what a file holds, or a folder of checkpoints."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    found = [_digest(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return found[0] if files == [path] else hashlib.sha256("".join(found).encode()).hexdigest()


@cache
def _digest(file: Path, changed: int, size: int) -> str:
    """Return a file's digest, computed once for every state of the file."""
    return digest(file)


@dataclass(frozen=True)
class Grid:
    """What a TOML file asks for."""

    name: str
    title: str
    sources: dict[str, str]  # of data, by name
    rules: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    shared: dict[str, Any] = field(default_factory=dict)  # fields of every Config
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # by method
    rule: dict[str, dict[str, Any]] = field(default_factory=dict)  # fields by rule, and seeds
    budget: int | None = None
    tune: int = 0
    tune_on: str = ""

    def cells(self) -> list[Cell]:
        """Return all cells: by data, rule, method and seed."""
        return [
            self._cell(data, rule, method, seed)
            for data in self.sources
            for rule in self.rules
            for method in self.methods
            for seed in _seeds(self.rule.get(rule, {}).get("seeds", self.seeds))
        ]

    def _cell(self, data: str, rule: str, name: str, seed: int) -> Cell:
        method, options = find(name), self.options.get(name, {})
        method.chosen(dict(options))
        more = {key: x for key, x in self.rule.get(rule, {}).items() if key != "seeds"}
        named = self.shared | more
        config = Config(
            **{"oracle": "retrain", **named},
            data=self.sources[data],
            forget=rule,
            method=name,
            options=options,
            seed=seed,
        )
        free = name not in CONTROLS and not method.exact
        length = length_of(method) if self.budget else None  # a budget decides it, not a search
        fixed = dict(options) | ({length: 0} if length else {})
        tuned = self.tune if free and method.searched(fixed) else 0
        if tuned and not self.tune_on:
            config = replace(config, tune=tuned)
        return Cell(
            data=data,
            config=config,
            budget=self.budget if free else None,
            tune=tuned if self.tune_on else 0,
            tune_on=self.tune_on if tuned else "",
        )


def read_grid(path: Path) -> Grid:
    """Read a grid, and refuse what it does not know.

    ``data`` is a list of sources or a table of names and sources; ``methods`` a list of names and
    of ``path.py:name``, or "all"; ``seeds`` a number or a list.  ``[config]`` holds fields of
    Config, ``[rule."class=3"]`` those of one rule, ``[options.snu]`` options of one method.

    Raises:
        OptionError: naming what is wrong and what would do.

    """
    try:
        record = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OptionError(f"Expected a grid in TOML, got {path}: {error}") from error
    _known(record, KEYS, f"keys of the grid {path}")
    lacking = [key for key in ("data", "forget", "methods", "seeds") if not record.get(key)]
    if lacking:
        raise OptionError(f"Expected {lacking[0]} in the grid {path}, got none")
    sources = record["data"]
    sources = dict(sources) if isinstance(sources, dict) else {_called(x): x for x in sources}
    methods = [*METHODS] if record["methods"] == "all" else [*record["methods"]]
    allowed = {f.name for f in fields(Config)} - {*OURS}
    shared, rules = dict(record.get("config", {})), dict(record.get("rule", {}))
    _known(shared, allowed, f"fields of a run in [config] of {path}")
    _known(rules, {*record["forget"]}, f"rules of [rule] in {path}")
    for rule in rules.values():
        _known(rule, allowed | {"seeds"}, f"fields of a run in [rule] of {path}")
    if record.get("tune_on") and not shared.get("validation"):
        raise OptionError(
            f"Expected in {path} with tune_on the images that tuning may look at, as validation = "
            '"ids=FILE" in [config], so that no cell audits them; got none'
        )
    options = dict(record.get("options", {}))
    _known(options, {*methods}, f"methods of [options] in {path}")
    for name in ("budget", "tune"):
        if (number := record.get(name, 0)) != int(number) or number < 0:
            raise OptionError(f"Expected a whole {name} of 0 or more in {path}, got {number}")
    grid = Grid(
        name=path.stem,
        title=record.get("title", path.stem),
        sources=sources,
        rules=tuple(record["forget"]),
        methods=tuple(methods),
        seeds=_seeds(record["seeds"]),
        shared=_fields(shared),
        options=options,
        rule={name: _fields(more) for name, more in rules.items()},
        budget=record.get("budget") or None,
        tune=record.get("tune", 0),
        tune_on=record.get("tune_on", ""),
    )
    names = [cell.name for cell in grid.cells()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise OptionError(
            f"Expected every cell once in {path}, got {twice[:3]} twice: a cell is named after its "
            "data, rule, method and seed, and a method of your own after its function"
        )
    return grid


def own_methods(grid: Grid) -> list[str]:
    """Return the methods of a grid that come from files of their own."""
    return [name for name in grid.methods if own_file(name) is not None]


def _seeds(asked: Any) -> tuple[int, ...]:
    found = tuple(range(asked)) if isinstance(asked, int) else tuple(asked)
    if not found or not all(isinstance(seed, int) and seed >= 0 for seed in found):
        raise OptionError(f"Expected seeds as a number or a list of numbers, got {asked!r}")
    return found


def _fields(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of Config as it has them: lists are tuples."""
    return {key: tuple(x) if isinstance(x, list) else x for key, x in named.items()}


def _called(source: str) -> str:
    """Return a short name for a source: of files the last part of their path, or their format."""
    kind, _, place = source.rpartition(":")
    if not Path(place).parent.name:
        return source.replace(":", "_")
    return Path(place).name if kind in ("parquet", "npz", "folder") else kind


def _known(given: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(given.keys() - known):
        raise OptionError(f"Expected {what} among {sorted(known)}, got {unknown}")

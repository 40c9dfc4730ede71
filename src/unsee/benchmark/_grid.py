"""A grid: data x rules x methods x seeds, and the cells that it stands for."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unsee.benchmark._budget import length_of
from unsee.benchmark._held import held, held_by_module, held_by_source
from unsee.benchmark._results import CONTROLS
from unsee.methods import find, own_digest, own_file
from unsee.nouns import Config

FILES = ("model", "oracle", "init", "buffer", "policy", "classes", "validation")


@dataclass(frozen=True)
class Cell:
    """One method with one seed on one rule of one data set: a call of ``pipeline.run``."""

    data: str  # the name that the grid has for it
    config: Config  # as a reader would run it: without the shared original and reference
    budget: int | None = None  # image gradients that a trained method may spend
    tune: int = 0  # settings tried beforehand on ``tune_on``
    tune_on: str = ""  # another rule; empty: tuned in the run itself
    content: str | None = None  # digest of the data's files; None: it has none
    search: "Cell | None" = None  # what is tuned beforehand: the same for all rules and seeds

    @property
    def method(self) -> str:
        """What the tables call it: of ``path.py:name`` the name."""
        return self.config.method.rpartition(":")[2]

    @property
    def name(self) -> str:
        """Of its result file: letters, digits and ``=%.-`` alone."""
        config = self.config
        rule = f"ids={Path(config.forget[4:]).stem}" if _lists(config.forget) else config.forget
        words = f"{self.data}-{rule}-{self.method}-seed{config.seed}"
        return re.sub(r"[^\w=%.-]", "_", words)

    def asked(self) -> dict[str, Any]:
        """Return everything that decides it, wherever files lie: files by what they hold."""
        config = self.config
        record = asdict(config) | {"data": self.data, "budget": self.budget}
        record |= {"tune": [self.tune, self.tune_on], "method": self.method}
        for name in FILES:
            if (path := getattr(config, name)) is not None and path not in ("none", "retrain"):
                record[name] = held(Path(str(path).removeprefix("ids=")))
        record["forget"] = _rule(config.forget)
        record["earlier"] = [_rule(each) for each in config.earlier]
        more = {
            "content": self.content,
            "architecture": held_by_module(config.arch),
            "search": self.search and self.search.settings,
        }
        known = {name: x for name, x in more.items() if x is not None}
        return record | known | {"code": own_digest(config.method)}

    @property
    def settings(self) -> str:
        """Digest of everything that it asks; unlike its key it knows nothing of our code."""
        words = json.dumps(self.asked(), sort_keys=True)
        return hashlib.sha256(words.encode()).hexdigest()


def _lists(rule: str) -> bool:
    return rule.startswith("ids=")


def _rule(rule: str) -> str:
    """Return a rule; of one that names a file what that holds."""
    return held(Path(rule[4:])) if _lists(rule) else rule


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
        content = {data: held_by_source(source) for data, source in self.sources.items()}
        return [
            self._cell(data, content[data], rule, method, seed)
            for data in self.sources
            for rule in self.rules
            for method in self.methods
            for seed in self.rule.get(rule, {}).get("seeds", self.seeds)
        ]

    def _cell(self, data: str, content: str | None, rule: str, name: str, seed: int) -> Cell:
        method = find(name)
        config = self._config(data, rule, name, seed)
        free = name not in CONTROLS and not method.exact
        length = length_of(method) if self.budget else None  # a budget decides it, not a search
        fixed = dict(config.options) | ({length: 0} if length else {})
        tuned = self.tune if free and method.searched(fixed) else 0
        budget = self.budget if free else None
        if not (tuned and self.tune_on):
            return Cell(data, replace(config, tune=tuned), budget, content=content)
        found = replace(self._config(data, self.tune_on, name, 0), oracle="none")
        search = Cell(data, found, budget, tuned, self.tune_on, content)
        return Cell(data, config, budget, tuned, self.tune_on, content, search)

    def _config(self, data: str, rule: str, name: str, seed: int) -> Config:
        """Return a run as the grid asks for it: a rule's own fields before those of all."""
        options = dict(self.options.get(name, {}))
        more = {key: x for key, x in self.rule.get(rule, {}).items() if key != "seeds"}
        config = Config(
            **{"oracle": "retrain", **self.shared, **more},
            data=self.sources[data],
            forget=rule,
            method=name,
            seed=seed,
        )
        if name == "retrain":  # as long as the reference that it stands beside
            options = {"epochs": config.train_epochs} | options
        find(name).chosen(dict(options))
        return replace(config, options=options)


def named(cells: Sequence[Cell], parts: Sequence[str]) -> list[Cell]:
    """Return the cells whose names have one of these parts; of no parts all."""
    return [cell for cell in cells if not parts or any(part in cell.name for part in parts)]


def own_methods(grid: Grid) -> list[str]:
    """Return the methods of a grid that come from files of their own."""
    return [name for name in grid.methods if own_file(name) is not None]

"""A grid's TOML file: read, and refused where it means nothing or two things."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from unsee.benchmark._grid import Grid
from unsee.errors import OptionError
from unsee.methods import METHODS
from unsee.nouns import Config

OURS = ("data", "forget", "method", "options", "seed", "tune", "require", "redact")
TABLE = "a table"
KEYS = {  # of a grid, and what each is in TOML
    "title": "a text",
    "data": "a list of texts, or a table of names and texts",
    "forget": "a list of texts",
    "methods": 'a list of texts, or "all"',
    "seeds": "a number or a list of numbers, of 0 or more",
    "config": TABLE,
    "options": "a table of tables",
    "rule": "a table of tables",
    "budget": "a whole number of 0 or more",
    "tune": "a whole number of 0 or more",
    "tune_on": "a text",
}


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
    _known(record, {*KEYS}, f"keys of the grid {path}")
    for key, what in KEYS.items():
        if key in record and not _fits(key, record[key]):
            raise OptionError(f"Expected {key} as {what} in {path}, got {record[key]!r}")
    lacking = [key for key in ("data", "forget", "methods", "seeds") if not record.get(key)]
    if lacking:
        raise OptionError(f"Expected {lacking[0]} in the grid {path}, got none")
    methods = [*METHODS] if record["methods"] == "all" else [*record["methods"]]
    options = dict(record.get("options", {}))
    _known(options, {*methods}, f"methods of [options] in {path}")
    rules = {name: dict(more) for name, more in record.get("rule", {}).items()}
    _known(rules, {*record["forget"]}, f"rules of [rule] in {path}")
    grid = Grid(
        name=path.stem,
        title=record.get("title", path.stem),
        sources=_sources(record["data"], path),
        rules=tuple(record["forget"]),
        methods=tuple(methods),
        seeds=_seeds(record["seeds"]),
        shared=_fields(record.get("config", {}), f"[config] of {path}"),
        options=options,
        rule={name: _of_rule(name, more, path) for name, more in rules.items()},
        budget=record.get("budget") or None,
        tune=record.get("tune", 0),
        tune_on=record.get("tune_on", ""),
    )
    _tunes_apart(grid, path)
    names = [cell.name for cell in grid.cells()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise OptionError(
            f"Expected every cell once in {path}, got {twice[:3]} twice: a cell is named after its "
            "data, rule, method and seed, and a method of your own after its function"
        )
    return grid


def _tunes_apart(grid: Grid, path: Path) -> None:
    """Refuse a grid that tunes on what it audits, or by other images in one cell than another."""
    if not grid.tune_on:
        return
    if not grid.tune:
        raise OptionError(f"Expected tune = N in {path} with tune_on, got none to try")
    if not grid.shared.get("validation"):
        raise OptionError(
            f"Expected in {path} with tune_on the images that tuning may look at, as validation = "
            '"ids=FILE" in [config], so that no cell audits them; got none'
        )
    if own := [rule for rule, more in grid.rule.items() if "validation" in more]:
        raise OptionError(
            f"Expected validation in [config] of {path} alone with tune_on, got it for {own}: what "
            "tuning looks at is held out of every cell"
        )


def _fits(key: str, value: Any) -> bool:
    """Tell whether a key of the grid holds what :data:`KEYS` says."""
    if key in ("title", "tune_on"):
        return isinstance(value, str)
    if key in ("budget", "tune"):
        return _whole(value)
    if key in ("config", "options", "rule"):
        tables = isinstance(value, dict)
        return tables and (key == "config" or all(isinstance(x, dict) for x in value.values()))
    if key == "seeds":
        some = [*range(value)] if _whole(value) else value
        return isinstance(some, list) and all(map(_whole, some))
    if key == "methods" and value == "all":
        return True
    if key == "data" and isinstance(value, dict):
        value = [*value.values()]
    return isinstance(value, list) and all(isinstance(x, str) and x for x in value)


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 0  # true is a number in Python, and none in TOML


def _seeds(asked: Any) -> tuple[int, ...]:
    return tuple(range(asked)) if isinstance(asked, int) else tuple(asked)


def _of_rule(name: str, more: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the fields of one rule, and its seeds if it has its own."""
    where = f"[rule.{name!r}] of {path}"
    if "seeds" not in more:
        return _fields(more, where)
    seeds = more.pop("seeds")
    if not seeds or not _fits("seeds", seeds):
        raise OptionError(f"Expected seeds as {KEYS['seeds']} in {where}, got {seeds!r}")
    return _fields(more, where) | {"seeds": _seeds(seeds)}


def _fields(named: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return fields of Config as it has them: lists are tuples.

    Raises:
        OptionError: if one is none of a grid's, or no such value is one of it.

    """
    hints = get_type_hints(Config)
    allowed = {f.name for f in fields(Config)} - {*OURS}
    _known(named, allowed, f"fields of a run in {where}")
    found: dict[str, Any] = {
        key: tuple(x) if isinstance(x, list) else x for key, x in named.items()
    }
    for key, value in found.items():
        if not _is(value, hints[key]):
            raise OptionError(f"Expected {key} in {where} as {_told(hints[key])}, got {value!r}")
    Config(**found).check_ranges()
    return found


def _is(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a field's type: str, int, float, bool, a tuple of one, or None."""
    if isinstance(hint, UnionType):
        return any(_is(value, each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is(x, get_args(hint)[0]) for x in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _told(hint: Any) -> str:
    """Name a field's type as a reader of TOML knows it."""
    if isinstance(hint, UnionType):
        return " or ".join(_told(each) for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is tuple:
        return f"a list, each {_told(get_args(hint)[0])}"
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return words[hint]


def _sources(data: Any, path: Path) -> dict[str, str]:
    """Return sources by the names that cells have for them."""
    if isinstance(data, dict):
        return dict(data)
    found = {_called(source): source for source in data}
    if len(found) < len(data):
        raise OptionError(
            f"Expected sources of different names in data of {path}, got {[*map(_called, data)]}: "
            'name them, as [data] with lines NAME = "SOURCE"'
        )
    return found


def _called(source: str) -> str:
    """Return a short name for a source: of files the last part of their path, or their format."""
    kind, _, place = source.rpartition(":")
    if not Path(place).parent.name:
        return source.replace(":", "_")
    return Path(place).name if kind in ("parquet", "npz", "folder") else kind


def _known(given: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(given.keys() - known):
        raise OptionError(f"Expected {what} among {sorted(known)}, got {unknown}")

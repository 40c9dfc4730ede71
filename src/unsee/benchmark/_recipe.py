"""A run as the line that a reader can paste."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from unsee.machine import limits
from unsee.nouns import Config

JOINED = ("mean", "std", "audits")  # given once, with commas; other lists repeat their flag


def recipe(config: Config, out: str) -> str:
    """Return the command line of a run: what differs from the defaults, and where it goes.

    >>> recipe(Config(forget="class=3", options={"lr": 0.1}, oracle="retrain"), "runs/x")
    'unsee run --forget class=3 --method snu_deep --set lr=0.1 --oracle retrain --out runs/x'
    """
    words = ["unsee", "run"]
    for field in fields(config):
        name, value = field.name, getattr(config, field.name)
        flag = f"--{name.replace('_', '-')}"
        if name == "options":
            words += [word for key, x in value.items() for word in ("--set", f"{key}={_told(x)}")]
        elif value == field.default and name != "method":
            continue
        elif isinstance(value, bool):
            words.append(flag)
        elif name in JOINED:
            words += [flag, ",".join(map(str, value))]
        elif isinstance(value, tuple):
            words += [word for x in value for word in (flag, str(x))]
        else:
            words += [flag, _told(value)]
    return shlex.join([*words, "--out", out])


def _told(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def pasted(record: Mapping[str, Any]) -> str:
    """Return a result's recipe with the threads and instructions that it had: these decide sums.

    >>> ran = {"threads": "1", "instructions": "AVX2"}
    >>> pasted({"recipe": "unsee run", "environment": ran}).split()[:2]
    ['OMP_NUM_THREADS=1', 'ATEN_CPU_CAPABILITY=avx2']
    """
    found = record.get("environment", {})  # of a cell that failed there is none
    threads = {"OMP_NUM_THREADS": found["threads"]} if found.get("threads") else {}
    told = threads | limits(found.get("instructions", ""))
    return " ".join([*(f"{name}={value}" for name, value in told.items()), record["recipe"]])

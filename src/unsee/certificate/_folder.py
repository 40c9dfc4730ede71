"""What a finished run folder holds, each part compared with the digest that the run recorded."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsee.certificate._weights import Digests, digests
from unsee.errors import RunError
from unsee.folder import CONFIG, STAGES
from unsee.nouns import Run
from unsee.unnamed import LEFT_OUT, unnamed

AUDIT, LAST = "audit.json", "report"  # the stage that is finished last
INPUTS = ("model", "init", "buffer", "policy", "oracle", "validation")  # digests, where given
MODELS = {  # of a stage; what may be gone by now: models that remember what was to go
    "train": ("original.safetensors", True),
    "unlearn": ("model.safetensors", False),
    "container": ("model.pt", False),
    "retrain": ("retrained.safetensors", True),
}


@dataclass(frozen=True)
class Recorded:
    """A finished run as its folder has it."""

    run: Run
    config: dict[str, Any]
    files: dict[str, str]  # SHA-256 of what config.json and audit.json say without naming images
    models: dict[str, Digests]  # of the stages that made one: train, unlearn, container, retrain
    before: Digests


def recorded(place: Path) -> Recorded:
    """Read a run folder.

    Raises:
        RunError: if it holds none, is not finished, or a file is not what the run recorded.

    """
    try:
        return _recorded(place)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"Expected a finished run folder at {place}, got {type(error).__name__}: {error}"
        ) from error


def _recorded(place: Path) -> Recorded:
    if (place / AUDIT).exists() and not (place / STAGES).exists():
        raise RunError(
            f"Expected a finished run in {place}, got one without {STAGES}: a purge takes it, so a "
            "run is certified before its request is purged"
        )
    stages = _json(place / STAGES)
    if missing := sorted({"unlearn", "audit", LAST} - stages.keys()):
        raise RunError(
            f"Expected a finished run in {place}, got one without {missing}: unsee run --resume "
            f"{place}"
        )
    audit, config = ((place / name).read_bytes() for name in (AUDIT, CONFIG))
    sha256 = hashlib.sha256(audit).hexdigest()
    _same(place / AUDIT, sha256, stages["audit"]["sha256"])
    run, words = Run.from_json(audit.decode()), dict(json.loads(config))
    told = (words["fingerprint"], words["method"], words["seed"])
    if told != (run.data["fingerprint"], run.method, run.seed):
        raise RunError(f"Expected {AUDIT} and {CONFIG} of one run in {place}, got two runs' files")
    models = {
        stage: _model(place / name, stages[stage]["sha256"], may_be_gone)
        for stage, (name, may_be_gone) in MODELS.items()
        if stage in stages
    }
    return Recorded(
        run=run,
        config=words,
        files={CONFIG: _digest(_settings(words)), AUDIT: _digest(unnamed(audit.decode()).text)},
        models=models,
        before=models["train"] if "train" in models else _given(words),
    )


def _settings(config: dict[str, Any]) -> str:
    """Return a config.json without rules and digests of files of ids: guesses could be tried."""
    told = config | {"forget": LEFT_OUT, "earlier": len(config["earlier"])}
    told["digests"] = {k: x for k, x in config["digests"].items() if k in INPUTS}
    return json.dumps(told, indent=1, sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _model(path: Path, sha256: str, may_be_gone: bool) -> Digests:
    if may_be_gone and not path.exists():
        return Digests(sha256, None)
    found = digests(path)
    _same(path, found.sha256, sha256)
    return found


def _given(config: dict[str, Any]) -> Digests:
    """Return the digests of the model that the run was given; its file may be elsewhere by now."""
    sha256 = str(config["digests"]["model"])
    if Path(config["model"]).is_file():
        found = digests(Path(config["model"]))
        if found.sha256 == sha256:
            return found
    return Digests(sha256, None)


def _same(path: Path, found: str, noted: str) -> None:
    if found != noted:
        raise RunError(
            f"Expected {path} as the run wrote it (SHA-256 {noted[:16]}...), got another file "
            f"({found[:16]}...): it was changed since, and cannot be certified"
        )


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))

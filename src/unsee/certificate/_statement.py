"""The in-toto statement about a run: what was done and measured, without any id.

The specification is https://github.com/in-toto/attestation/tree/main/spec/v1.  No rule is quoted
either, nor a name of a class or a path: where a person is a class or a folder, they name somebody.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from unsee.certificate import _keys
from unsee.certificate._folder import INPUTS, Recorded
from unsee.certificate._weights import Digests

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE, VERSION = "urn:unsee:unlearning:v", "1"
SAFETENSORS, PT = "model.safetensors", "model.pt"
SETTINGS = (  # of config.json; none of them holds a path, a rule or a name that users choose
    *("retain_fraction", "guard", "tune", "train_epochs", "size", "include_twins", "device"),
    "redact",
)
EXACT, EMPIRICAL = "exact", "empirical only"
OUTSIDE = (
    "copies of the images: among those that stay, in source files, backups, caches, exports, with "
    "recipients",
    "models made from the model before, such as fine-tuned, distilled or exported ones",
    "attacks and kinds of trace other than the audits that are listed",
    "other seeds of the unlearning",
)
MEANING = (
    "The signer states that this was run and measured. It is evidence, not a proof that nothing "
    "is left, and says nothing about the law."
)


def now() -> str:
    """Return the time, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def statement(
    found: Recorded, key: Ed25519PublicKey, made: str, ledger: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the statement about a finished run.

    Args:
        found: the run.
        key: the public part of the key that will sign it.
        made: when, in UTC.
        ledger: what a ledger says of it, as ``Draft.signed`` takes it.

    """
    tied = {} if ledger is None else {"ledger": dict(ledger)}
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest.sha256}}
            for name, digest in after(found).items()
        ],
        "predicateType": PREDICATE + VERSION,
        "predicate": {
            "made": made,
            "signer": {"keyid": _keys.keyid(key), "public_key": _keys.pem(key)},
            "meaning": MEANING,
            "kind": _kind(found),
            "before": _facts(found.before) | {"trained_by_the_run": "train" in found.models},
            "after": {
                "container": "pt" if "container" in found.models else "safetensors",
                "weights": found.models["unlearn"].weights,
            },
            "retrained": _retrained(found),
            "evidence": found.files,
            "data": {key: found.run.data[key] for key in ("fingerprint", "counts")},
            "forget": _forget(found),
            "method": _method(found),
            "verdict": _verdict(found),
            "tested": sorted(_measured(found)),
            "not_tested": _not_tested(found),
            "versions": {"certificate": version("unsee"), **found.run.environment},
            **tied,
        },
    }


def after(found: Recorded) -> dict[str, Digests]:
    """Return the files of the unlearned model: one, or the same weights in two containers."""
    files = {SAFETENSORS: found.models["unlearn"]}
    return files | ({PT: found.models["container"]} if "container" in found.models else {})


def _kind(found: Recorded) -> str:
    """Retraining is exact, unless it starts from weights that may have seen the images."""
    return EXACT if found.run.method == "retrain" and not found.config["init"] else EMPIRICAL


def _facts(digest: Digests) -> dict[str, Any]:
    return {"sha256": digest.sha256, "weights": digest.weights}


def _retrained(found: Recorded) -> dict[str, Any]:
    oracle = found.config["oracle"]
    count = len(next(iter(found.run.references.values()), []))
    if oracle == "none":
        return {"how": "none", "models": 0, "sha256": None}
    if oracle == "retrain":
        return {"how": "by the run", "models": count, "sha256": found.models["retrain"].sha256}
    return {"how": "given", "models": count, "sha256": found.config["digests"].get("oracle")}


def _forget(found: Recorded) -> dict[str, Any]:
    forget = found.run.forget
    return {
        "rule": str(found.config["forget"]).partition("=")[0],
        "count": forget["count"],
        "classes": len(forget["gone"]),
        "earlier_requests": len(found.config["earlier"]),
    }


def _method(found: Recorded) -> dict[str, Any]:
    digests = found.config["digests"]
    return {
        "name": found.run.method,
        "options": found.run.options,
        "seed": found.run.seed,
        "settings": {name: found.config[name] for name in SETTINGS},
        "inputs": {name: digests[name] for name in INPUTS if name in digests},
    }


def _verdict(found: Recorded) -> dict[str, Any] | None:
    verdict = found.run.verdict
    if not verdict:
        return None
    words = {name: verdict[name] for name in ("light", "kind", "sentence", "reasons")}
    policy = {name: verdict["policy"][name] for name in ("name", "sha256")}
    return words | {"retrained_models": verdict["k"], "policy": policy, "audits": verdict["audits"]}


def _measured(found: Recorded) -> set[str]:
    """Return what was asked about the unlearned model; what follows a slash may be a class."""
    asked = found.run.measurements["unlearned"].items()
    return {name.partition("/")[0] for name, measured in asked if measured is not None}


def _not_tested(found: Recorded) -> dict[str, list[str]]:
    from unsee.verdict._gaps import gaps  # a verifier needs none of that

    return gaps(found.run) | {"outside": [*OUTSIDE]}

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from unsee.errors import RunError
from unsee.nouns._run import Measurement, Measurements, Options


@dataclass(frozen=True)
class Request:
    """One request that was served, and what its run says of it."""

    number: int  # from 1; its run lies in the folder of that number
    rule: str
    count: int  # training images
    gone: tuple[str, ...]  # names of the classes of which nothing stays
    seed: int
    seconds: float | None
    image_gradients: float | None
    light: str  # of its own verdict
    before: Measurements  # of the model that the request was put to


@dataclass(frozen=True)
class Standing:
    """What one model still knows: of what stays, and of every request served so far."""

    utility: Measurements  # retain_accuracy and test_accuracy, of the classes that stay
    requests: tuple[Measurements, ...]  # in their order; empty: all of its classes went since


@dataclass(frozen=True)
class History:
    """Requests served one after another on the same model; the text of ``sequence.json``."""

    data: str
    fingerprint: str  # of all images, before the first request
    method: str
    options: Options
    seed: int
    environment: dict[str, str]
    requests: tuple[Request, ...]
    after: tuple[Standing, ...]  # after each request
    retrained: Standing | None = None  # a model that never saw any of the forgotten images
    retraining: dict[str, float] = field(default_factory=dict)  # its seconds, image_gradients
    gaps: Measurements = field(default_factory=dict)  # the last model less the retrained one

    def to_json(self) -> str:
        """Return the text of ``sequence.json``, schema 1."""
        return json.dumps({"schema": 1, **asdict(self)}, indent=1, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> History:
        """Read ``to_json``'s text.  Raises RunError if it is anything else."""
        try:
            record = dict(json.loads(text))
            if record.pop("schema") == 1:
                record["requests"] = tuple(
                    Request(**r | {"gone": tuple(r["gone"]), "before": measurements(r["before"])})
                    for r in record["requests"]
                )
                record["after"] = tuple(map(standing, record["after"]))
                again = record["retrained"]
                record["retrained"] = None if again is None else standing(again)
                return cls(**record | {"gaps": measurements(record["gaps"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"Expected a sequence.json of unsee, got {error!r}") from error
        raise RunError("Expected a sequence.json of schema 1, got another")


def measurements(record: dict[str, Any]) -> Measurements:
    """Read measurements by name."""
    return {name: m and Measurement(**m) for name, m in record.items()}


def standing(record: dict[str, Any]) -> Standing:
    """Read a Standing."""
    return Standing(measurements(record["utility"]), tuple(map(measurements, record["requests"])))

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from unsee.errors import RunError
from unsee.nouns._notebook import small_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

Options = dict[str, str | int | float | bool]  # what JSON gives back as it was
Goal = Literal["lower", "higher", "like retrained"]
STAGES = ("train", "unlearn", "retrain")  # that cost time
Costs = dict[str, float | None]  # of each of them; None: there was none


def _no_costs() -> Costs:
    return dict.fromkeys(STAGES)


@dataclass(frozen=True)
class Measurement:
    """One number with its 95 % interval and the number of images behind it."""

    value: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            raise RunError(f"Expected finite numbers, got {self}")


STRAY = 0.05  # of the images to forget: fewer of classes that stay do not count beside whole ones
Measurements = dict[str, Measurement | None]  # None: the question does not arise here


@dataclass(frozen=True)
class Run:
    """One erasure as plain data: the row of the ledger and the only input of the report.

    What only a pipeline knows is empty or None where models were unlearned elsewhere.

    ``references`` holds, by name of the measurement, the value of each of the K retrained models,
    in the order of their seeds; the first is the one that ``measurements["retrained"]`` describes.
    """

    data: dict[str, Any]  # name, fingerprint, classes, counts of forget, retain, ...
    forget: dict[str, Any]  # rule, count, ids_digest, gone (names of classes that go), staying
    measurements: dict[str, Measurements]  # of original, unlearned and perhaps retrained
    environment: dict[str, str]
    seed: int
    method: str | None = None  # None: unlearned elsewhere
    options: Options = field(default_factory=dict)
    seconds: Costs = field(default_factory=_no_costs)
    images_per_second: Costs = field(default_factory=_no_costs)
    image_gradients: Costs = field(default_factory=_no_costs)
    peak_memory: int | None = None  # bytes, with those of mapped files that are in memory
    peak_anonymous: int | None = None  # bytes that are of no file; None: the system does not tell
    output_layer: str | None = None
    explained_layer: str | None = None
    references: dict[str, list[float | None]] = field(default_factory=dict)  # see below
    fleet: dict[str, Any] = field(default_factory=dict)  # K, seeds, what was refused and why
    verdict: dict[str, Any] = field(default_factory=dict)  # see :mod:`unsee.verdict`
    notes: tuple[str, ...] = ()  # what a reader has to know: twins, corrupt files, halved tests
    guard: dict[str, Any] = field(default_factory=dict)  # accuracy that was watched; {}: none was
    tuning: dict[str, Any] = field(default_factory=dict)  # settings that were tried; {}: none were
    buffer: dict[str, Any] = field(default_factory=dict)  # of --buffer, what was shown; {}: a draw
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def aim(self) -> float | None:
        """What forget accuracy should be, as far as no retrained model has to tell it, 0..1.

        0 where whole classes go, and hardly an image beside; where single images go, the model's
        own accuracy on unseen images of their classes.  None where both go, or it was not measured.
        """
        if self.forget.get("gone"):
            stray = self.forget.get("staying", 0) < STRAY * self.forget.get("count", 1)
            return 0.0 if stray or not self.forget.get("staying") else None
        measured = self.measurements.get("unlearned", {})
        kin = measured.get("forgotten_test_accuracy") or measured.get("test_accuracy")
        return kin.value if kin else None

    def _repr_html_(self) -> str:
        """Return what a notebook shows: verdict and main measurements; see :func:`unsee.report`."""
        what = f"{self.method or 'unlearned elsewhere'}: {self.forget.get('rule', 'not recorded')}"
        return small_table(what, self.verdict, self.measurements)

    def to_json(self) -> str:
        """Return the text of ``audit.json``, schema 1; ``arrays`` lie beside it."""
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "arrays"}
        models = {
            model: {name: m and asdict(m) for name, m in measured.items()}
            for model, measured in record.pop("measurements").items()
        }
        for cost in ("seconds", "images_per_second", "image_gradients"):
            record[cost] = {**_no_costs(), **record[cost]}
        text = {"schema": 1, "models": {"retrained": None, **models}, **record}
        return json.dumps(text, indent=1, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, arrays: dict[str, NDArray[Any]] | None = None) -> Run:
        """Read ``to_json``'s text.  Raises RunError if it is anything else."""
        try:
            record = json.loads(text)
            version, models = record.pop("schema"), record.pop("models")
            found = {model: names for model, names in models.items() if names is not None}
            measurements = {
                model: {name: m and Measurement(**m) for name, m in names.items()}
                for model, names in found.items()
            }
            if version == 1:
                notes = tuple(record.pop("notes", ()))
                known = {f.name for f in fields(cls)}
                kept = {name: value for name, value in record.items() if name in known}
                return cls(measurements=measurements, notes=notes, arrays=arrays or {}, **kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"Expected an audit.json of unsee, got {error!r}") from error
        raise RunError(f"Expected an audit.json of schema 1, got schema {version}")

"""The words of unsee: small frozen records with no behaviour beyond checking themselves.

Importing them costs no torch: reports, ledgers and tables read a ``Run`` without it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from unsee.errors import DataError, RunError, SplitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    class Images(Protocol):
        """Where pixels come from: a tensor, or anything that is read when it is asked for rows."""

        @property
        def shape(self) -> Sequence[int]: ...
        @property
        def dtype(self) -> torch.dtype: ...
        def __len__(self) -> int: ...
        def __getitem__(self, rows: Any) -> Tensor: ...
        def to(self, device: torch.device) -> Images: ...


Options = dict[str, str | int | float | bool]  # what JSON gives back as it was
Goal = Literal["lower", "higher", "like retrained"]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)  # `==` between tensors is a tensor, so records of them have none
class Data:
    """Labelled images, each with an id that stays with it in any order.

    ``data[index]`` takes rows by a slice, numbers or booleans and copies no pixels: every part of
    a data set looks into the same ``images``.
    """

    images: Images  # [M, C, H, W], uint8, or float exactly as the model takes it
    labels: Tensor  # [N] int64 in 0..len(classes) - 1, or soft [N, K]
    ids: NDArray[np.str_]  # [N], no two alike
    parts: NDArray[np.str_]  # [N]: train, validation or test
    classes: tuple[str, ...]
    name: str = "unnamed"
    rows: NDArray[np.int64] | None = None  # [N] places in ``images``; None: all, in order
    augment: tuple[str, ...] = ()  # what training may do to an image: "crop", "flip"
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)  # [N] each, for where=

    def __post_init__(self) -> None:
        n = len(self.images) if self.rows is None else len(self.rows)
        lengths = {"labels": len(self.labels), "parts": len(self.parts), "ids": len(self.ids)}
        if wrong := {name: length for name, length in lengths.items() if length != n}:
            raise DataError(f"Expected one label, part and id for each of {n} images, got {wrong}")
        if twice := n - len(np.unique(self.ids)):
            raise DataError(f"Expected one unique id per image, got {twice} repeated")
        if unknown := {*np.unique(self.parts).tolist()} - {*PARTS}:
            raise DataError(f"Expected parts among {list(PARTS)}, got {sorted(unknown)}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: NDArray[Any] | slice) -> Data:
        rows = np.arange(len(self)) if self.rows is None else self.rows
        return replace(
            self,
            labels=self.labels[index],
            ids=self.ids[index],
            parts=self.parts[index],
            rows=rows[index],
            columns={name: column[index] for name, column in self.columns.items()},
        )

    def take(self, index: Tensor) -> Tensor:
        """Return the images ``[B, C, H, W]`` at these places ``[B]``, as they are stored."""
        if self.rows is not None:
            index = index.new_tensor(self.rows[index.numpy()])
        return self.images[index]

    def part(self, name: str) -> Data:
        """Return the rows of one part: train, validation or test."""
        return self[np.flatnonzero(self.parts == name)]

    def to(self, device: torch.device) -> Data:
        """Return the same data with images and labels on ``device``."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a model could learn from, in order."""
        import torch

        facts = [self.ids.tolist(), self.parts.tolist(), self.classes, [*self.images.shape[1:]]]
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(self.labels.cpu().numpy().tobytes())
        for rows in torch.arange(len(self)).split(1024):
            digest.update(self.take(rows).cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_dataset(
        cls,
        train: Any,
        test: Any,
        *,
        classes: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        name: str = "dataset",
    ) -> Data:
        """Read two map-style ``torch.utils.data.Dataset`` of ``(image, label)``.

        Images are tensors or arrays ``[C, H, W]``, all of one shape, or PIL images.  Floats are
        taken as they come: no rescaling, normalisation or augmentation.  uint8 becomes 0..1.  A
        dataset that augments is read once, as it answers then: pass it without augmentation.

        Args:
            train: what the model was trained on, all of it, with what is to be forgotten.
            test: images that it never saw.
            classes: one name per label; by default ``train.classes``, else "0", "1", ...
            ids: one id per row of ``train`` followed by ``test``; by default ``train/00042``.
            name: what reports call the data.

        Raises:
            DataError: if images differ in shape, or labels are not whole numbers from 0.

        """
        from unsee.data._dataset import read

        return cls(**read(train, test, classes, ids), name=name)


@dataclass(frozen=True, eq=False)
class Split:
    """What to forget, what to keep, what methods may tune on, and what nobody but audits sees."""

    forget: Data
    retain: Data
    validation: Data  # the one part that may be empty
    test: Data
    rule: str  # how the forget set was chosen: "class=3", "random=10%"
    fingerprint: str  # of all the data that it was chosen from

    def __post_init__(self) -> None:
        for part in ("forget", "retain", "test"):
            if not len(getattr(self, part)):
                raise SplitError(f"Expected images to {part}, got none for the rule {self.rule!r}")
        ids = np.concatenate(
            [d.ids for d in (self.forget, self.retain, self.validation, self.test)]
        )
        if twice := len(ids) - len(np.unique(ids)):
            raise SplitError(f"Expected sets without overlap, got {twice} ids twice")

    @property
    def gone(self) -> tuple[int, ...]:
        """The classes of which nothing stays; none where single images are forgotten."""
        return tuple(sorted({*self.forget.labels.tolist()} - {*self.retain.labels.tolist()}))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes."""
        return self.forget.classes


@dataclass(frozen=True, eq=False)
class Seen:
    """One set of images as a model sees it, in eval mode and without augmentation."""

    labels: Tensor  # [N]
    logits: Tensor  # [N, K] float32
    features: Tensor  # [N, D] float32, what goes into the output layer


@dataclass(frozen=True, eq=False)
class Maps:
    """Where one model looks, on a small sample of images; see :mod:`unsee.explanation`."""

    layer: str  # whose output is looked at
    forget: Tensor  # [F, h, w] >= 0, logit of the true class, unscaled
    retain: Tensor  # [R, h, w]
    forget_answer: Tensor  # [F, h, w], logit of the class that this model answers
    retain_answer: Tensor  # [R, h, w]


@dataclass(frozen=True, eq=False)
class View:
    """One model, seen through the data once; all that an audit gets."""

    name: str  # original, unlearned or retrained
    model: nn.Module  # in eval mode, never changed
    forget: Seen
    retain: Seen
    unseen: Seen  # test images of the same kind as the forgotten ones
    test: Seen  # test images that the model is still to get right
    maps: Maps | None = None  # None: the model has no layer to explain


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


Measurements = dict[str, Measurement | None]  # None: the question does not arise here


@dataclass(frozen=True)
class Run:
    """One erasure as plain data: the row of the ledger and the only input of the report.

    What only a pipeline knows is empty or None where models were unlearned elsewhere.
    """

    data: dict[str, Any]  # name, fingerprint, classes, counts of forget, retain, ...
    forget: dict[str, Any]  # rule, count, ids_digest, gone (names of the classes that go)
    measurements: dict[str, Measurements]  # of original, unlearned and perhaps retrained
    environment: dict[str, str]
    seed: int
    method: str | None = None  # None: unlearned elsewhere
    options: Options = field(default_factory=dict)
    seconds: dict[str, float | None] = field(default_factory=dict)  # of train, unlearn, retrain
    images_per_second: dict[str, float | None] = field(default_factory=dict)
    image_gradients: dict[str, float | None] = field(default_factory=dict)
    peak_memory: int | None = None  # bytes
    output_layer: str | None = None
    explained_layer: str | None = None
    notes: tuple[str, ...] = ()  # what a reader has to know: twins, corrupt files, halved tests
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)

    def to_json(self) -> str:
        """Return the text of ``audit.json``, schema 1; ``arrays`` lie beside it."""
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "arrays"}
        models = {
            model: {name: m and asdict(m) for name, m in measured.items()}
            for model, measured in record.pop("measurements").items()
        }
        stages = {"train": None, "unlearn": None, "retrain": None}
        for cost in ("seconds", "images_per_second", "image_gradients"):
            record[cost] = {**stages, **record[cost]}
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


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, one field per flag; ``config.json`` in its folder."""

    data: str = "digits"
    classes: str | None = None  # a file of class names, one a line
    size: int | None = None  # pixels; None: as the source has it
    validation: str | None = None  # "ids=FILE"; None: half of the test images, where needed
    arch: str | None = None  # None: as the checkpoint says, else resnet18:cifar-pool
    model: str | None = None  # a checkpoint; None: the run trains one
    init: str | None = None  # a checkpoint from which training and retraining start
    mean: tuple[float, ...] | None = None  # per channel, in 0..1 units
    std: tuple[float, ...] | None = None
    output_layer: str | None = None  # None: the last Linear that runs
    forget: str = ""  # a rule: "class=3"
    include_twins: bool = False
    method: str = "snu_deep"
    options: Options = field(default_factory=dict)  # of the method: --set, --epochs
    retain_fraction: float = 0.1
    train_epochs: int = 12
    seed: int = 0
    device: str = "auto"
    oracle: str = "none"  # none, retrain, or a checkpoint
    redact: bool = False
    require: tuple[str, ...] = ()  # "forget_accuracy<=0.01"

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read the fields of a ``config.json``; what it holds beside them is left out."""
        try:
            record = json.loads(text)
            kept = {f.name: record[f.name] for f in fields(cls) if f.name in record}
            for name in ("mean", "std", "require"):
                kept[name] = kept[name] if kept.get(name) is None else tuple(kept[name])
            return cls(**kept)
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(f"Expected a config.json of unsee, got {error!r}") from error

import json
from dataclasses import dataclass, field, fields

from unsee.errors import OptionError, RunError
from unsee.nouns._run import Options


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, one field per flag; ``config.json`` in its folder."""

    data: str = "digits"
    classes: str | None = None  # a file of class names, one a line
    size: int | None = None  # pixels; None: as the source has it
    validation: str | None = None  # "ids=FILE"; None: half of the test images, where needed
    arch: str | None = None  # None: as the checkpoint says, else a resnet18 that fits
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
    buffer: str | None = None  # a file of `unsee buffer`; None: drawn by retain_fraction
    guard: float = 0.1  # how far accuracy on what stays may fall; 1: as far as it likes
    tune: int = 0  # settings tried on validation images; 0: the method's own
    earlier: tuple[str, ...] = ()  # rules that this model has unseen already, in order
    train_epochs: int = 12
    seed: int = 0
    device: str = "auto"
    oracle: str = "none"  # none, retrain, a checkpoint, or a folder of them: a fleet
    policy: str | None = None  # a TOML file; None: the policy that unsee brings
    audits: tuple[str, ...] = ()  # that are asked; (): all
    audit_retain: int | None = None  # images that stay that audits look at; None: all
    redact: bool = False
    require: tuple[str, ...] = ()  # "forget_accuracy<=0.01"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """Read the fields of a ``config.json``; what it holds beside them is left out."""
        try:
            record = dict(json.loads(text))
            kept = {f.name: record[f.name] for f in fields(cls) if f.name in record}
            for name in ("mean", "std", "require", "earlier", "audits"):
                if kept.get(name) is not None:
                    kept[name] = tuple(kept[name])
            return cls(**kept)
        except (ValueError, TypeError) as error:
            raise RunError(f"Expected a config.json of unsee, got {error!r}") from error

    def check_ranges(self) -> None:
        """Refuse numbers that no run takes, before there are data to see.

        Raises:
            OptionError: naming the first of them.

        """
        for name, least in (("seed", 0), ("train_epochs", 1), ("tune", 0)):
            if (got := getattr(self, name)) < least:
                flag = f"--{name.replace('_', '-')}"
                raise OptionError(f"Expected {flag} of {least} or more, got {got}")
        if not 0 <= self.retain_fraction <= 1:
            raise OptionError(f"Expected --retain-fraction in 0..1, got {self.retain_fraction}")
        if not 0 <= self.guard <= 1:
            raise OptionError(f"Expected --guard in 0..1, got {self.guard}: 1 never stops")

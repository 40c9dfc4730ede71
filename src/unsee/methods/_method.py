"""What an unlearning method is: one function and a few facts about it.

Dropout and some device kernels draw from torch's global generator, so a call forks and seeds it.
Batch norm's running statistics change too, and what they hold is learned from images like any
weight: the copy that a method works on has its own, and audits look at the result as a whole.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin

import torch
from torch import nn

from unsee.data import Validate
from unsee.errors import OptionError, SplitError
from unsee.models import Factory
from unsee.nouns import Data
from unsee.training import count_images, device_of

Shown = Literal["buffer", "all", "forget"]
# Keyword-only too, but handed in and not chosen.  ``unseen``: the validation images, wanted only
# where single images go.
GIVEN = ("validation", "unseen", "factory", "gone")
AT_LEAST_ONE = ("epochs", "batch", "draws", "noise")  # unless the default is 0: it has a meaning
DIVISORS = ("temperature",)
Factors = Mapping[str, tuple[float, float]]  # by which an option's value may be multiplied
SEARCH: Factors = {"lr": (1 / 8, 4.0), "epochs": (1.0, 2.0)}  # where a method says nothing else


@dataclass(frozen=True)
class Method:
    """``after = method(model, forget, retain, rng=rng, **options)``; ``model`` stays as it was."""

    run: Callable[..., nn.Module]
    title: str
    paper: str
    data: Shown = "buffer"  # how much of what stays it is shown
    exact: bool = False  # True only if the result is a model that never saw the forget set
    whole_classes: bool = False  # whether it can forget classes alone, not single images
    search: Factors = field(default_factory=lambda: SEARCH)  # what tuning tries, around a value

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, Any]:
        """Names and defaults of what may be chosen: for command line, docs, ledger and errors."""
        return {name: p.default for name, p in self._parameters().items()}

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The values of those options that have a fixed list of them."""
        kinds = {name: p.annotation for name, p in self._parameters().items()}
        return {name: get_args(k) for name, k in kinds.items() if get_origin(k) is Literal}

    def searched(self, fixed: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """Return the options that tuning searches, with the factors between which it does.

        Args:
            fixed: the options that were asked for: they stay as they are.

        """
        free = self.options.keys() - fixed.keys()
        return {name: ends for name, ends in self.search.items() if name in free}

    def needs(self, name: str) -> bool:
        """Return whether it declares one of GIVEN."""
        return name in inspect.signature(self.run).parameters

    def validates(self, *, tuned: bool) -> Validate:
        """Return whether validation images are needed, or only where single images go."""
        if tuned or self.needs("validation"):
            return True
        return "single images" if self.needs("unseen") else False

    def suits(self, forget: Data, gone: tuple[int, ...]) -> None:
        """Refuse single images where it can forget whole classes alone.

        Args:
            forget: what is to go.
            gone: the classes of which nothing stays.

        Raises:
            SplitError: if it cannot forget these.

        """
        if self.whole_classes and not {*forget.labels.tolist()} <= {*gone}:
            raise SplitError(
                f"Expected whole classes to forget with {self.name!r}, got images of classes that "
                "stay: choose class=NAME, or another method"
            )

    def _parameters(self) -> dict[str, inspect.Parameter]:
        parameters = inspect.signature(self.run, eval_str=True).parameters.values()
        chosen = (p for p in parameters if p.kind is p.KEYWORD_ONLY)
        return {p.name: p for p in chosen if p.name not in ("rng", *GIVEN)}

    def chosen(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return all options, the given ones over the defaults.

        Text is read as what the default is, so a command line's ``lr=0.1`` is a number.

        Raises:
            OptionError: if a name or a value is unknown, or a number is not finite.

        """
        if unknown := sorted(options.keys() - self.options.keys()):
            known = list(self.options)
            raise OptionError(f"Expected options of {self.name!r} among {known}, got {unknown}")
        return self.options | {name: self._value(name, x) for name, x in options.items()}

    def _value(self, name: str, value: Any) -> Any:
        default, kind = self.options[name], type(self.options[name])
        words = {"true": True, "false": False}
        try:
            read = words[value.lower()] if kind is bool and isinstance(value, str) else kind(value)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise OptionError(
                f"Expected {self.name}'s {name} as {kind.__name__}, such as {default!r}, "
                f"got {value!r}"
            ) from error
        if name in self.choices and read not in self.choices[name]:
            raise OptionError(
                f"Expected {self.name}'s {name} among {list(self.choices[name])}, got {value!r}"
            )
        least = 1 if name in AT_LEAST_ONE and kind is int and default else 0
        outside = isinstance(read, int | float) and not least <= read < float("inf")
        if outside or (isinstance(value, float) and kind is int and value != read):
            raise OptionError(
                f"Expected {self.name}'s {name} as {kind.__name__} >= {least}, got {value!r}"
            )
        if name in DIVISORS and default and not read:
            raise OptionError(
                f"Expected {self.name}'s {name} as {kind.__name__} > 0, got {value!r}"
            )
        return read

    def __call__(
        self, model: nn.Module, forget: Data, retain: Data, *, rng: torch.Generator, **more: Any
    ) -> nn.Module:
        """Return a new model; ``more`` are options and what is GIVEN, as far as it is declared."""
        given = {name: more.pop(name, None) for name in GIVEN}
        if given["gone"] is None:
            given["gone"] = gone_classes(forget, retain)
        if given["unseen"] is None:
            given["unseen"] = given["validation"]
        self.suits(forget, given["gone"])
        if self.data == "all" and not len(retain):
            raise SplitError(
                f"Expected images that stay for {self.name!r}, which learns from all of them, got "
                "none"
            )
        chosen = self.chosen(more) | {name: x for name, x in given.items() if self.needs(name)}
        if chosen.get("factory") is not None:
            chosen["factory"] = _counted(chosen["factory"])
        device = device_of(model)
        forget, retain = brought(device, forget, retain)
        with _own_dice(rng):  # dropout and fresh weights draw from the global generator
            own = copy.deepcopy(model)
            for weight in own.parameters():
                weight.grad = None
            own.register_forward_pre_hook(count_images)
            done = self.run(own, forget, retain, rng=rng, **chosen)
        if not isinstance(done, nn.Module):
            raise OptionError(
                f"Expected the model that {self.name!r} makes, got {type(done).__name__}: end it "
                "with `return model`"
            )
        for module in done.modules():
            for key, hook in [*module._forward_pre_hooks.items()]:
                if hook is count_images:
                    del module._forward_pre_hooks[key]
        return done.eval()


def brought(device: torch.device, *sets: Data) -> list[Data]:
    """Return sets of images on a device, where those that look into the same ones still do."""
    there = {id(data.images): data.images.to(device) for data in sets}
    return [
        replace(data, images=there[id(data.images)], labels=data.labels.to(device)) for data in sets
    ]


def gone_classes(forget: Data, *stays: Data) -> tuple[int, ...]:
    """Return the classes of which nothing stays; none if that would be all of them."""
    kept = {label for each in stays for label in each.labels.tolist()}
    left = sorted({*forget.labels.tolist()} - kept)
    return () if len(left) == len(forget.classes) else tuple(left)


def _counted(factory: Factory) -> Factory:
    """Let the models that a method makes count their images too."""

    def build() -> nn.Module:
        model = factory()
        model.register_forward_pre_hook(count_images)
        return model

    return build


@contextmanager
def _own_dice(rng: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator from ``rng`` inside, and give it back as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        yield


def method(
    *,
    title: str,
    paper: str,
    data: Shown = "buffer",
    exact: bool = False,
    whole_classes: bool = False,
    search: Factors = SEARCH,
) -> Callable[[Callable[..., nn.Module]], Method]:
    """Turn a function into a :class:`Method`.

    Its first parameters are ``model, forget, retain, *, rng``: see docs/your-own-method.md.

    Args:
        title: what it is called in a report.
        paper: where it is from.
        data: what of the images that stay it is shown: a share of them (``"buffer"``), ``"all"``,
            or none (``"forget"``).
        exact: whether its result never saw the images to forget; nothing checks that.
        whole_classes: whether single images are refused, because it can do nothing with them.
        search: which options ``--tune`` may try, and between which factors of their values.

    """
    if data not in get_args(Shown):
        raise OptionError(f"Expected data among {[*get_args(Shown)]}, got {data!r}")

    def made(run: Callable[..., nn.Module]) -> Method:
        found = Method(run, title, paper, data, exact, whole_classes, search)
        if bare := [name for name, x in found.options.items() if x is inspect.Parameter.empty]:
            raise OptionError(
                f"Expected a default for every option of {found.name!r}, got none: {bare}"
            )
        return found

    return made

"""What every unlearning method promises, as checks that any method can be put through.

``check_method(method)`` asks all of them of a flat and of a convolutional network, in seconds; the
package's own methods pass the same.  A broken promise is a :class:`unsee.errors.PromiseError`.
"""

import copy
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unsee.data import choose
from unsee.errors import PromiseError
from unsee.methods import METHODS, Method, find
from unsee.models import normalise
from unsee.nouns import Data, Split
from unsee.training import counting

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
FEW = (1, 2, 33)  # images to forget
CLASSES = ("a", "b", "c")
SHOWN = ("forget", "retain", "validation")  # to a method
State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Case:
    """A model, what it is to forget, and how a new one is made."""

    name: str
    model: nn.Module
    split: Split
    factory: Callable[[], nn.Module]

    def apply(self, method: Method, model: nn.Module | None = None, **more: Any) -> nn.Module:
        """Unlearn by ``method``, from a copy of the model or from another; ``seed`` is 0."""
        more = {
            "factory": self.factory,
            "validation": self.split.validation,
            "forget": self.split.forget,
            "retain": self.split.retain,
            **more,
        }
        rng = torch.Generator().manual_seed(more.pop("seed", 0))
        given = copy.deepcopy(self.model) if model is None else model
        return method(given, more.pop("forget"), more.pop("retain"), rng=rng, **more)


def pattern_data(n: int = 96, size: int = 8, seed: int = 0) -> Data:
    """Return grey images of three classes, each a bright patch in its own place."""
    labels = torch.arange(n) % 3
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (n, 1, size, size), generator=draws)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 2 * label : 2 * label + 3, 2 * label : 2 * label + 3] += 180
    parts = ["train"] * (n - n // 4) + ["test"] * (n // 4)
    ids = [f"{part}/{parts[:i].count(part):05d}" for i, part in enumerate(parts)]
    place = np.array(ids), np.array(parts)
    return Data(images.to(torch.uint8), labels, *place, CLASSES, "patterns")


def flat_net() -> nn.Module:
    """Return a network for 4 x 4 images without a convolution, with its own normalisation."""
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 3))
    return normalise(net, torch.tensor([0.5]), torch.tensor([0.25]))


def block(given: int, out: int) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU, whose maps are as large as the image."""
    return nn.Sequential(
        nn.Conv2d(given, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def conv_net(channels: int = 1, classes: int = 3) -> nn.Module:
    """Return two blocks, pooling and one Linear."""
    return nn.Sequential(
        block(channels, 6),
        block(6, 6),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, classes),
    )


def cases() -> list[Case]:
    """Return an untrained flat network on noise, and a convolutional one that knows its images."""
    draws = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (48, 1, 4, 4), generator=draws, dtype=torch.uint8)
    parts = np.array(["train"] * 32 + ["validation"] * 4 + ["test"] * 12)
    flat = Data(noise, torch.arange(48) % 3, np.arange(48).astype(str), parts, CLASSES)
    patterns = pattern_data(144)  # 36 of each class to learn
    held = np.array([*patterns.parts[:-12].tolist(), *["validation"] * 12])
    patterns = replace(patterns, parts=held)
    everything = patterns.part("train")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = flat_net().eval()
        known = METHODS["retrain"](
            nn.Identity(), everything[:0], everything, rng=draws, factory=conv_net, epochs=8
        )
    return [
        Case("flat", net, choose(flat, "class=c"), flat_net),
        Case("convolutional", known, choose(patterns, "class=c"), conv_net),
    ]


def check_method(method: str | Method, *, changes: bool = True) -> None:
    """Put a method through every promise.

    Args:
        method: a name among ``unsee.METHODS``, ``path.py:name``, or a method.
        changes: False for a control that is to leave the weights as they are.

    Raises:
        OptionError: if there is no such method.
        PromiseError: naming the first promise that it breaks, on which network, and how.

    """
    found = find(method)
    says_what_it_is(found)
    for case in cases():
        for promise in PROMISES:
            with _named(found, promise, case):
                if promise is changes_weights:
                    changes_weights(found, case, changes=changes)
                else:
                    promise(found, case)


@contextmanager
def _named(method: Method, promise: Callable[..., None], case: Case) -> Iterator[None]:
    """Say of whatever goes wrong which promise of whom it breaks."""
    words = promise.__name__.replace("_", " ")
    try:
        yield
    except Exception as error:
        told = str(error) if isinstance(error, PromiseError) else f"{type(error).__name__}: {error}"
        raise PromiseError(
            f"Expected that {method.name!r} {words} ({case.name} network), got: {told}"
        ) from error


def same(a: State, b: State) -> bool:
    """Return whether two state dicts hold the same tensors."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def hooks(model: nn.Module) -> list[int]:
    """Return how many hooks each module has, kind by kind."""
    return [len(getattr(module, kind)) for module in model.modules() for kind in HOOKS]


def says_what_it_is(method: Method) -> None:
    """It has a title, a source and a sentence; its options are typed values of JSON."""
    named = {"a title": bool(method.title), "a paper": bool(method.paper)}
    named |= {"a docstring whose first line is a sentence": method.summary.endswith(".")}
    named |= {"data among buffer, all and forget": method.data in ("buffer", "all", "forget")}
    first = [*inspect.signature(method.run).parameters][:4]
    named["the parameters model, forget, retain, rng"] = first == [
        *("model", "forget", "retain", "rng")
    ]
    parameters = inspect.signature(method.run, eval_str=True).parameters
    for name, default in method.options.items():
        kinds = (str, int, float, bool)
        typed = type(default) is parameters[name].annotation
        good = default in method.choices[name] if name in method.choices else typed
        named[f"{name}: a typed option with a default of JSON"] = good and type(default) in kinds
    if missing := [what for what, there in named.items() if not there]:
        raise PromiseError(f"Expected of the method {method.name!r} {missing[0]}, got none")


def leaves_everything_alone(method: Method, case: Case) -> None:
    """The model, its modes, gradients, flags and hooks, the images, and all global dice stay."""
    model = copy.deepcopy(case.model).train()
    next(m for m in model.modules() if not [*m.children()]).eval()  # a mixed mode
    for n, weight in enumerate(model.parameters()):
        weight.grad = torch.full_like(weight, float(n))

    def seen() -> dict[str, Any]:
        dice = [*np.random.get_state()], random.getstate()
        weights = [*model.parameters()]
        return {
            "weights": {name: x.clone() for name, x in model.state_dict().items()},
            "modes": [m.training for m in model.modules()],
            "hooks": hooks(model),
            "gradients": [float(w.grad.sum()) if w.grad is not None else None for w in weights],
            "requires_grad": [w.requires_grad for w in weights],
            "gradient mode": torch.is_grad_enabled(),
            "torch's dice": torch.get_rng_state().tolist(),
            "numpy's and Python's dice": repr(dice),
            "images": [getattr(case.split, part).fingerprint for part in SHOWN],
        }

    before = seen()
    case.apply(method, model)
    after = seen()
    if not same(before.pop("weights"), after.pop("weights")):
        raise PromiseError("the weights of the model that it was given are others")
    if changed := [what for what in before if before[what] != after[what]]:
        raise PromiseError(f"{changed[0]} of the caller are others than before")


def is_repeatable(method: Method, case: Case) -> None:
    """One seed gives one model, whatever the caller drew before."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = case.apply(method).state_dict()
        torch.manual_seed(2)
        again = case.apply(method).state_dict()
    if not same(first, again):
        raise PromiseError("the same seed gave two models: draw from rng, or torch's global dice")


def changes_weights(method: Method, case: Case, *, changes: bool = True) -> None:
    """The result is a changed model of the same kind, in eval mode, without anything of ours."""
    model = copy.deepcopy(case.model).train()
    after = case.apply(method, model)
    old, new = model.state_dict(), after.state_dict()
    flags = [[w.requires_grad for w in m.parameters()] for m in (model, after)]
    found = {
        "another model than the one that it was given": after is not model,
        "eval mode": not any(m.training for m in after.modules()),
        "the hooks that the model had": hooks(after) == hooks(model),
        "no gradients left over": all(w.grad is None for w in after.parameters()),
        "weights of the same names": new.keys() == old.keys(),
        "weights that require gradients as before": flags[0] == flags[1],
    }
    if missing := [what for what, there in found.items() if not there]:
        raise PromiseError(f"Expected {missing[0]}, got otherwise")
    if wrong := [k for k in old if (new[k].dtype, new[k].shape) != (old[k].dtype, old[k].shape)]:
        raise PromiseError(f"{wrong[0]} has another number type or shape")
    if same(old, new) is changes:
        raise PromiseError("no weight has changed" if changes else "weights have changed")


def survives_without_what_it_does_not_declare(method: Method, case: Case) -> None:
    """No factory and no validation images; a buffer of nothing unless it declares all data."""
    retain = case.split.retain
    kept = [retain] if method.data == "all" else [retain, retain[:0]]
    for some in kept:
        _finite(case.apply(method, retain=some, factory=None, validation=None))


def forgets_as_few_images_as_are_asked(method: Method, case: Case) -> None:
    """One image, two, 33, or as many as there are; beside a buffer of one image, too."""
    if method.whole_classes:
        return
    forget, retain = case.split.forget, case.split.retain
    for n in FEW:
        for kept in (retain, retain[:1]):
            _finite(case.apply(method, forget=forget[:n], retain=kept, factory=None))


def counts_its_image_gradients(method: Method, case: Case) -> None:
    """What it spends is counted: nothing passes by the model that it was given, or the factory."""
    passed: list[float] = []

    def first(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        passed.append(len(args[0]) * (1.0 if torch.is_grad_enabled() else 1 / 3))

    def watched(model: nn.Module) -> nn.Module:
        weighted = next(m for m in model.modules() if [*m.parameters(recurse=False)])
        weighted.register_forward_pre_hook(first)
        return model

    with counting() as spent:
        case.apply(
            method, watched(copy.deepcopy(case.model)), factory=lambda: watched(case.factory())
        )
    if sum(spent) < sum(passed) - 1e-6:
        raise PromiseError(
            f"{sum(passed):.0f} image gradients passed through its networks, {sum(spent):.0f} were "
            "counted: call the model itself, not its parts"
        )


def _finite(model: nn.Module) -> None:
    if wrong := [k for k, x in model.state_dict().items() if not bool(x.isfinite().all())]:
        raise PromiseError(f"{wrong[0]} has numbers that are none")


PROMISES: tuple[Callable[..., None], ...] = (
    leaves_everything_alone,
    is_repeatable,
    changes_weights,
    survives_without_what_it_does_not_declare,
    forgets_as_few_images_as_are_asked,
    counts_its_image_gradients,
)

"""The only loops of the package: ``descend`` changes a model, ``predict`` looks at one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from unsee.data import as_floats
from unsee.distributed import averaged, mine, shared_out, whole
from unsee.errors import DivergenceError, ModelError
from unsee.events import Pace
from unsee.machine import has_fast_bf16
from unsee.models import FROZEN, StageMeans, channels_last, head, small_maps, trained_weights
from unsee.nouns import Data, Seen
from unsee.ranks import gathered

Statistics = Literal["shared", "separate", "frozen"]
CHECK = 50  # steps between two looks at the loss: a look waits for the device
LOOKS = (1 / 2, 3 / 4)  # shares of the steps at which whoever watches is shown the model
Look = Callable[[nn.Module, float], None]
_tally: ContextVar[list[float] | None] = ContextVar("tally", default=None)
_look: ContextVar[Look | None] = ContextVar("look", default=None)


@contextmanager
def counting() -> Iterator[list[float]]:
    """Sum up, in a list of one, the image gradients spent inside; a forward pass is a third."""
    spent = [0.0]
    token = _tally.set(spent)
    try:
        yield spent
    finally:
        _tally.reset(token)
        if (outer := _tally.get()) is not None:
            outer[0] += spent[0]


def count_images(model: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Count the images that pass through ``model``: a forward pre-hook, kept by copies of it."""
    if (spent := _tally.get()) is not None:
        spent[0] += len(args[0]) * (1.0 if torch.is_grad_enabled() else 1 / 3)


@contextmanager
def counted(model: nn.Module) -> Iterator[None]:
    """Count the images that pass through ``model`` inside, each once."""
    hooked = count_images in model._forward_pre_hooks.values()
    hook = None if hooked else model.register_forward_pre_hook(count_images)
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


@contextmanager
def watched(look: Look | None) -> Iterator[None]:
    """Show ``look`` the models that descend inside, half way and at three quarters of their steps.

    It gets the model and that share, and ends the descent by raising.  It is shown whole models
    alone: those whose images are counted.
    """
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


@contextmanager
def switched_off(modules: Iterable[nn.Module | Tensor], flag: str) -> Iterator[None]:
    """Make ``flag`` false in ``modules`` (or weights), and afterwards what it was in each one."""
    before = [(module, getattr(module, flag)) for module in modules]
    try:
        for module, _ in before:
            setattr(module, flag, False)
        yield
    finally:
        for module, value in before:
            setattr(module, flag, value)


def batch_norm(model: nn.Module, statistics: Statistics) -> AbstractContextManager[None]:
    """Say how batch norm treats the batches that pass inside, usually noisy ones.

    shared: like every other batch.  separate: normalised by their own statistics, the running ones
    do not move.  frozen: normalised by the running ones.  Yield the loss outside.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if statistics == "shared":
        return nullcontext()
    return switched_off(norms, "training" if statistics == "frozen" else "track_running_stats")


def answers(model: nn.Module, images: Tensor, statistics: Statistics = "shared") -> Tensor:
    """Return the logits of a batch; one image alone has no statistics, so it takes the running."""
    with batch_norm(model, "frozen" if len(images) == 1 else statistics):
        logits = model(images)
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"Expected logits of a model while it trains, got {type(logits).__name__}: let it "
            "return its logits alone, with self.training too"
        )
    return logits


@contextmanager
def precision(model: nn.Module) -> Iterator[None]:
    """Compute in bfloat16 where that is fast, else in float32; on a CPU, small maps as products."""
    device = device_of(model).type
    with small_maps(model), torch.autocast(device, torch.bfloat16, enabled=has_fast_bf16(device)):
        yield


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's weights lie."""
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))


@cache
def warm_up() -> None:
    """Make torch's first optimizer: it imports the compiler, seconds that are no method's cost."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).zero_grad()


def _one_cycle(sgd: torch.optim.Optimizer, lr: float, total: int, warmup: float) -> OneCycleLR:
    if warmup * total == 1:  # torch divides by the length of the climb, which would be 0
        warmup -= 1e-6
    return OneCycleLR(
        sgd,
        lr,
        total_steps=total,
        pct_start=warmup,
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def descend(
    model: nn.Module,
    losses: Iterable[Tensor],
    *,
    lr: float,
    steps: int | None = None,
    warmup: float = 0.25,
    weight_decay: float = 5e-4,
) -> nn.Module:
    """Take one step of SGD (Nesterov 0.9) per loss.

    Args:
        model: is changed and returned.
        losses: a lazy stream, so each is computed with the weights of its turn.
        lr: the highest learning rate.
        steps: how many losses will come; with it the rate climbs to ``lr`` and falls to 0 again
            (one cycle, linear); without it stays as it is.
        warmup: the share of ``steps`` that climbs.
        weight_decay: of all weights that train.

    Raises:
        DivergenceError: if a loss or a weight is no longer finite.
        ModelError: if no weight of ``model`` trains, or none that a loss depends on.

    """
    model.train().to(memory_format=torch.channels_last)
    weights = trained_weights(model)
    optimizer = torch.optim.SGD(
        weights, lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    cycle = None if steps is None else _one_cycle(optimizer, lr, max(2, steps) + 1, warmup)
    pace, total = Pace(steps), torch.zeros((), device=device_of(model))
    stream, taken, looks = shared_out(model, losses), 0, _looks(model, steps)
    while True:
        with precision(model):
            loss = next(stream, None)
        if loss is None or taken % CHECK == 0:
            # no loss tells of the last step
            _stay_finite([total, *(weights if loss is None else ())], taken, lr)
        if loss is None:
            optimizer.zero_grad()
            return model.to(memory_format=torch.contiguous_format)  # as it is stored and read
        optimizer.zero_grad()
        if not loss.requires_grad:
            raise ModelError(f"Expected a loss that depends on weights that train, got {FROZEN}")
        loss.backward()
        averaged(weights)
        optimizer.step()
        if cycle is not None:
            cycle.step()
        total += loss.detach()
        taken += 1
        if (look := looks.get(taken)) is not None:
            _stay_finite([total, *weights], taken, lr)
            look()
        pace.at(taken, sum(_tally.get() or ()))


def _stay_finite(tensors: Iterable[Tensor], taken: int, lr: float) -> None:
    """Raise DivergenceError if a number among these is none."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise DivergenceError(
            f"Expected finite losses and weights, got others within {taken} steps: the original "
            f"model is untouched; try a lower rate, such as --set lr={lr / 4:g}"
        )


def _looks(model: nn.Module, steps: int | None) -> dict[int, Callable[[], None]]:
    """Return after how many steps whoever watches is shown ``model``."""
    look = _look.get()
    if look is None or steps is None or count_images not in model._forward_pre_hooks.values():
        return {}
    return {int(x * steps): partial(look, model, x) for x in LOOKS if x * steps >= 1}


def predict(
    model: nn.Module, data: Data, *, size: int = 512, means: StageMeans | None = None
) -> Seen:
    """Look at ``data`` with ``model``, which keeps its modes, hooks and gradients.

    Args:
        model: what looks, in eval mode.
        data: N images; each passes through ``model`` once.
        size: images at a time.
        means: collects on the way what the model's stages say about some of the images.

    Returns:
        Labels, logits ``[N, K]`` and features ``[N, D]`` as float32 on the CPU, in data's order.

    Raises:
        ModelError: if a logit is not finite.

    """
    device, pace = device_of(model), Pace(len(data))
    blocks = torch.arange(len(data)).split(size)
    kept: dict[str, Tensor] = {}  # whole from the start: pieces between batches litter the heap
    place = slice(0)

    def keep(name: str, batch: Tensor) -> None:
        if name not in kept:
            kept[name] = torch.empty(len(data), *batch.shape[1:])
        kept[name][place] = batch

    def in_float32(layer: nn.Module, args: tuple[Tensor], _: Tensor) -> Tensor:
        """Redo the output layer: rounded logits would tie, and losses of sure answers with them."""
        features = args[0].float()
        keep("features", features)
        with torch.autocast(device.type, enabled=False):
            return cast("Tensor", layer.forward(features))  # its own, if it has one

    layer = head(model, as_floats(data.take(torch.arange(1)).to(device)))
    watched = nullcontext() if means is None else means.watching(model)
    modes = switched_off(model.modules(), "training")
    catch = layer.register_forward_hook(in_float32)
    try:
        with torch.no_grad(), modes, channels_last(model), precision(model), watched:
            for rows in mine(blocks):
                if means is not None:
                    means.at(rows)
                place = slice(int(rows[0]), int(rows[-1]) + 1)
                images = as_floats(data.take(rows).to(device))
                images = images.contiguous(memory_format=torch.channels_last)
                keep("logits", model(images).float())
                pace.at(int(rows[-1]) + 1, int(rows[-1]) + 1)
    finally:
        catch.remove()
    if means is not None:
        means.join(gathered(means.seen))
    elsewhere, spent = len(data) - sum(map(len, mine(blocks))), _tally.get()
    if elsewhere and spent is not None and count_images in model._forward_pre_hooks.values():
        spent[0] += elsewhere / 3
    logits, features = (whole(kept.get(name), blocks) for name in ("logits", "features"))
    seen = Seen(data.labels.cpu(), logits, features)
    if wrong := int((~seen.logits.isfinite()).any(1).sum()):
        raise ModelError(
            f"Expected finite logits, got others for {wrong} of {len(data)} images: "
            "look for weights or pixels that are not numbers"
        )
    return seen

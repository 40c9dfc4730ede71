"""The stages of a network, found by running it, and what they say about some images."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from unsee.models._places import Places, has_aspect, places

MOST, TOKENS = 8, 4  # stages; blocks of a transformer
OUTPUT = "output"  # the weights behind the last stage


@dataclass
class _Trace:
    """When modules ran, by name; of a module that runs often, its first start and last end."""

    clock: int = 0
    started: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)  # in this order
    shapes: dict[str, torch.Size] = field(default_factory=dict)

    def start(self, name: str, _: nn.Module, __: object) -> None:
        self.clock += 1
        self.started.setdefault(name, self.clock)

    def end(self, name: str, _: nn.Module, __: object, output: object) -> None:
        self.clock += 1
        self.ended.pop(name, None)
        self.ended[name] = self.clock
        self.shapes.pop(name, None)
        if isinstance(output, Tensor):
            self.shapes[name] = output.shape


def _traced(model: nn.Module, images: Tensor) -> _Trace:
    """Run ``model`` once in eval mode; modes, hooks and the dice are put back."""
    trace = _Trace()
    modes = {module: module.training for module in model.modules()}
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(partial(trace.start, name)))
        hooks.append(module.register_forward_hook(partial(trace.end, name)))
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng():
            model(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return trace


def stages(model: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Return names of modules whose outputs stand for the stages, from the stem on.

    * Of modules that give maps ``[B, C, h, w]`` (or, channels last, ``[B, h, w, C]``) of more than
      one place, one for every size ``h x w`` (for every shape, if there are only one or two sizes):
      the last to run of the outermost.  Of a ResNet these are the stem's ReLU and its layers 1 to
      4.  Sizes of another aspect than the image's are no maps.
    * Of networks of tokens ``[B, T, D]`` (their last output with places is of that form) up to 4 of
      the blocks, evenly spread over the depth.

    Args:
        model: stays as it is, modes and hooks included.
        images: ``[B, C, H, W]`` to run it on; one is enough.

    Returns:
        At most 8 names in order of execution, thinned evenly; none, if no output has places.

    """
    maps, tokens = _with_places(model, images)
    if tokens:
        return _spread(_blocks(model, tokens) or tokens, TOKENS)
    sizes = {(where.height, where.width) for where, _ in maps.values()}
    last: dict[tuple[int, ...], str] = {}
    for name, (where, channels) in maps.items():
        size = (where.height, where.width, *(() if len(sizes) > 2 else (channels,)))
        if size not in last or name.count(".") <= last[size].count("."):
            last[size] = name
    order = [name for name in maps if name in last.values()]
    return _spread(order, MOST)


def blocks(model: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Return all blocks of a network of tokens, in order of execution; none, if none repeats.

    None of a network of maps either.

    Args:
        model: stays as it is.
        images: ``[B, C, H, W]`` to run it on; one is enough.

    """
    _, tokens = _with_places(model, images)
    return tuple(_blocks(model, tokens))


def _with_places(
    model: nn.Module, images: Tensor
) -> tuple[dict[str, tuple[Places, int]], list[str]]:
    """Return the modules that give maps, with their channels, and those that give tokens.

    The latter only of a network of tokens: one whose last output with places is of that form.
    """
    shapes = _traced(model, images).shapes
    shapes.pop("", None)
    # Where there are tokens, dropout puts out attention [B, heads, T, T], which looks like maps.
    passed_over = nn.Dropout if any(len(shape) == 3 for shape in shapes.values()) else ()
    maps = {}
    for name, shape in shapes.items():
        is_map = len(shape) == 4 and not isinstance(model.get_submodule(name), passed_over)
        where = places(shape, images.shape) if is_map else None
        if where and where.layout == "channels last":
            maps[name] = where, shape[3]
        elif where and has_aspect(shape[2:], images.shape):
            maps[name] = where, shape[1]
    tokens = [name for name, shape in shapes.items() if len(shape) == 3 and shape[1] > 1]
    order = [name for name in shapes if name in maps or name in tokens]
    return maps, tokens if order and order[-1] in tokens else []


def _blocks(model: nn.Module, names: list[str]) -> list[str]:
    """Return those that repeat: two or more of one type beside each other, the outermost such."""
    kinds = {
        name: (name.count("."), name.rpartition(".")[0], type(model.get_submodule(name)))
        for name in names
        if next(model.get_submodule(name).parameters(), None) is not None
    }
    repeated = {kind: n for kind, n in Counter(kinds.values()).items() if n > 1}
    if not repeated:
        return []
    chosen = min(repeated, key=lambda kind: (kind[0], -repeated[kind]))
    return [name for name, kind in kinds.items() if kind == chosen]


def _spread(names: Sequence[str], most: int) -> tuple[str, ...]:
    """Thin evenly to at most ``most``; the first and the last stay."""
    if len(names) <= most:
        return tuple(names)
    return tuple(names[round(i * (len(names) - 1) / (most - 1))] for i in range(most))


def stage_of_weights(model: nn.Module, images: Tensor, stages: Sequence[str]) -> dict[str, str]:
    """Say for each parameter to which of the stages it belongs.

    It is the first stage that ends after the parameter's module starts: the one that holds the
    module, or the next to run.

    Args:
        model: stays as it is.
        images: ``[B, C, H, W]`` to run it on; one is enough.
        stages: names as :func:`stages` gives them.

    Returns:
        By the name of the parameter, the name of a stage, or "output" for those behind the last.

    """
    trace = _traced(model, images)
    found = {}
    for name, _ in model.named_parameters():
        owner = name.rpartition(".")[0]
        while owner and owner not in trace.started:  # its weights are used by what holds it
            owner = owner.rpartition(".")[0]
        later = [stage for stage in stages if trace.ended[stage] > trace.started[owner]]
        found[name] = later[0] if later else OUTPUT
    return found


class StageMeans:
    """Collects the outputs of stages for some images, averaged over places, batch by batch.

    ``with means.watching(model)``: call ``means.at(rows)`` before each batch, with the rows of the
    data that it holds; :meth:`found` has them when all batches have passed.
    """

    def __init__(self, stages: Sequence[str], rows: Tensor) -> None:
        """Take the names of the stages, and ``[n]`` the rows to keep, none of them twice."""
        self.stages, self.rows = tuple(stages), rows
        self._means: dict[str, Tensor] = {}
        self._images: torch.Size | None = None  # the shape of the batch that passes
        self._places, self._inside = rows, rows

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Listen to the stages of ``model`` inside; hooks are removed again."""
        hooks = [
            model.get_submodule(name).register_forward_hook(partial(self._keep, name))
            for name in self.stages
        ]
        hooks.append(model.register_forward_pre_hook(self._entered))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def at(self, batch: Tensor) -> None:
        """Say which rows ``[B]`` of the data come next: a run without a gap, in order."""
        first, last = int(batch[0]), int(batch[-1])
        self._places = ((self.rows >= first) & (self.rows <= last)).nonzero()[:, 0]
        self._inside = self.rows[self._places] - first

    def _entered(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._images = args[0].shape

    def _keep(self, name: str, _: nn.Module, __: object, output: Tensor) -> None:
        if len(self._inside):
            some = output[self._inside.to(output.device)].float()
            where = places(some.shape, self._images) if self._images and some.dim() == 4 else None
            if where and where.layout == "channels last":
                some = where.maps(some)
            mean = some.mean((2, 3) if some.dim() == 4 else 1).cpu()
            kept = self._means.setdefault(name, mean.new_zeros(len(self.rows), mean.shape[1]))
            kept[self._places] = mean  # of a module that runs twice, the last output stays

    @property
    def seen(self) -> dict[str, Tensor]:
        """Of every stage that has run, ``[n, D]``: 0 for what has not passed."""
        return self._means

    def join(self, several: Sequence[dict[str, Tensor]]) -> None:
        """Take what several processes have ``seen``, each of images of its own."""
        if len(several) == 1:
            return
        names = dict.fromkeys(name for seen in several for name in seen)
        parts = {name: [seen[name] for seen in several if name in seen] for name in names}
        self._means = {name: torch.stack(each).sum(0) for name, each in parts.items()}

    def found(self) -> dict[str, Tensor]:
        """Return by stage ``[n, D]`` float32 on the CPU, in the order of ``rows``."""
        return {name: self._means.get(name, torch.zeros(0, 1)) for name in self.stages}

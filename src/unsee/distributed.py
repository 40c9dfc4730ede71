"""The forward and backward passes of one model, shared out among the processes of a job.

Every process draws the same batches and computes the same loss of them.  In between, each takes its
share of the batch through the model, as far as the output layer; there the features of all shares
come together, so that a method sees the whole batch in every process and no method knows of this.
Gradients are counted ``world()`` times on the way back through a share and averaged before the
step: the sum over the shares, and what every process computes alike once.

Batch norm takes the mean and variance of the whole batch.  A model that draws random numbers in its
forward pass (dropout) would draw others for a share: every process computes the whole batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from unsee.errors import ModelError
from unsee.models import named_output
from unsee.ranks import answering, gathered, rank, world

Item = TypeVar("Item")


def shared_out(model: nn.Module, losses: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the losses, computed with the passes of ``model`` shared out.

    The first pass is not: it shows which layer gives the answers, and whether the model draws.  Nor
    is one without gradients, or with those of its images, or with fewer than two images a process.

    Args:
        model: whose weights descend, by :func:`averaged` gradients.
        losses: a lazy stream.

    """
    return iter(losses) if world() == 1 else _Passes(model).of(iter(losses))


def averaged(weights: Sequence[Tensor]) -> None:
    """Put the average over all processes in the place of the weights' gradients."""
    if world() == 1:
        return
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for weight in weights:
        if weight.grad is not None:
            kinds.setdefault(weight.grad.dtype, []).append(weight.grad)
    for grads in kinds.values():
        flat = torch.cat([grad.flatten() for grad in grads])
        _sum(flat).div_(world())
        for grad, mean in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view(grad.shape))


def mine(items: Sequence[Item]) -> Sequence[Item]:
    """Return every N-th of the items, from the one with this process's number on."""
    return items[rank() :: world()] if world() > 1 else items


def everyones(items: Sequence[Item]) -> list[Item]:
    """Return what all processes made of the items that were theirs, in the order of all items."""
    if world() == 1:
        return [*items]
    parts = gathered([*items])
    return [parts[n % len(parts)][n // len(parts)] for n in range(sum(map(len, parts)))]


def whole(own: Tensor | None, blocks: Sequence[Tensor]) -> Tensor:
    """Return the rows of all processes where each has filled in those of its blocks.

    Args:
        own: ``[N, ...]``, or None where no block was this process's.
        blocks: the numbers of the rows, in order; dealt out by :func:`mine`.

    """
    if world() == 1 and own is not None:
        return own
    filled = [] if own is None else [own[rows] for rows in mine(blocks)]
    return torch.cat(everyones(filled))


@dataclass
class _Share:
    """What one process takes of a batch."""

    images: int  # of the whole batch
    first: int
    last: int  # the first of the next process


class _Passes(TorchFunctionMode):
    """Watches the forward passes of a model while a loss is computed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.output: nn.Module | None = None
        self.draws: bool | None = None  # None: not known before the first pass
        self.share: _Share | None = None  # of the pass that is under way
        self.dice: Tensor | None = None  # before that pass
        self.ran: list[nn.Linear] = []  # in the first pass

    def of(self, losses: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield losses; between them the model is as it was."""
        while True:
            with self._watching(), self:
                loss = next(losses, None)
            if loss is None:
                return
            yield loss

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Give batch norm the statistics of the whole batch."""
        if self.share is not None and func is batch_norm:
            return _batch_norm(self.share, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Hook the model; the hooks mean it alone, and are nothing to copies made meanwhile."""
        model, output = self.model, self.output

        def start(module: nn.Module, args: tuple[Any, ...]) -> Any:
            return self._start(args) if module is model else None

        def features(layer: nn.Module, args: tuple[Any, ...]) -> Any:
            if layer is output and self.share is not None:
                share, self.share = self.share, None
                return _whole(args[0], share), *args[1:]
            if self.dice is not None and self.draws is None and isinstance(layer, nn.Linear):
                self.ran.append(layer)
            return None

        def end(module: nn.Module, args: tuple[Any, ...], answer: Any) -> Any:
            return self._end(answer) if module is model else None

        layers = [output] if output is not None else []
        if self.draws is None:
            layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        hooks = [
            model.register_forward_pre_hook(start),
            *(layer.register_forward_pre_hook(features, prepend=True) for layer in layers),
            model.register_forward_hook(end, always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _start(self, args: tuple[Any, ...]) -> Any:
        """Take this process's share of a batch, where the pass can be shared out."""
        images = args[0]
        if not torch.is_grad_enabled() or images.requires_grad:
            return None
        n = len(images)
        if self.draws is None or (not self.draws and n >= 2 * world()):
            self.dice = _dice(images)
        if self.draws is not False or n < 2 * world():
            return None
        share = _Share(n, n * rank() // world(), n * (rank() + 1) // world())
        self.share = share
        return images[share.first : share.last], *args[1:]

    def _end(self, answer: Any) -> Any:
        """Learn from the first pass; of any other return the answers to the whole batch."""
        share, before = self.share, self.dice
        self.share = self.dice = None
        if not isinstance(answer, Tensor) or before is None:  # or it failed
            return None
        drew = not torch.equal(before, _dice(answer))
        if self.draws is None:
            self.draws, self.output = drew, _answering(self.model, self.ran, answer)
        elif drew:
            raise ModelError(
                "Expected a model that draws random numbers in every pass or in none, got one that "
                "began to on its way: train it in one process"
            )
        return None if share is None else _whole(answer, share)


def _answering(model: nn.Module, ran: list[nn.Linear], answer: Tensor) -> nn.Module | None:
    """Return the layer before which shares come together; None: behind the whole model."""
    if (named := named_output(model)) is not None:
        return named
    last = ran[-1] if ran else None
    fits = last is not None and answer.shape[1:] == (last.out_features,)
    return last if fits and ran.count(last) == 1 else None  # type: ignore[arg-type]


def _dice(images: Tensor) -> Tensor:
    """Return the state of the generators from which a forward pass may draw."""
    state = torch.get_rng_state()
    if images.is_cuda:
        state = torch.cat([state, torch.cuda.get_rng_state(images.device)])
    return state


def _batch_norm(
    share: _Share,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise ``[b, C, ...]`` by mean and variance over the whole batch, in float32."""
    if not training:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    values, others = x.float(), [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    count = share.images * (x.numel() // (x.shape[0] * x.shape[1]))
    mean = _sum_of_all(values.sum(others)) / count
    apart = values - mean.view(shape)
    var = _sum_of_all(apart.square().sum(others)) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((var * (count / (count - 1))).to(running_var), momentum)
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    y = apart * scale.view(shape)
    return (y if bias is None else y + bias.view(shape)).to(x.dtype)


def _sum(x: Tensor) -> Tensor:
    """Add up over all processes, in place."""
    from torch.distributed import all_reduce  # not every build of torch has it

    with answering():
        all_reduce(x)
    return x


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes; the gradient of their losses is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Add up."""
        return _sum(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Add up."""
        return _sum(grad.clone(memory_format=torch.contiguous_format))


class _Whole(torch.autograd.Function):
    """The rows of all processes, in order; each sends gradients back through its own alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: _Share) -> Tensor:
        """Bring rows together; in float32, which holds all that bfloat16 does."""
        ctx.share = share
        whole = x.new_zeros((share.images, *x.shape[1:]), dtype=torch.float32)
        whole[share.first : share.last] = x
        return _sum(whole).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Count the own rows so often that the average over all processes is right."""
        return grad[ctx.share.first : ctx.share.last] * world(), None


def _whole(x: Tensor, share: _Share) -> Tensor:
    if len(x) != share.last - share.first:
        raise ModelError(
            f"Expected one row of features for each of {share.last - share.first} images, got "
            f"{len(x)}: train this model in one process"
        )
    whole: Tensor = _Whole.apply(x, share)
    return whole


def _sum_of_all(x: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(x)
    return total

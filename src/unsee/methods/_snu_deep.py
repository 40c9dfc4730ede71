"""Our stronger recipe of the same family; what was tried and measured: docs/methods/snu_deep.md.

    L = weight * CE(h_0(z_f + noise), q)  +  adversary * (v (z_f - m))^2
        +  CE(f(x_r), kd p_0(x_r) + (1 - kd) y_r)

z: features before the output layer, h_0 the original's, which no training of today's can persuade
to be silent; q: what images to forget are to be taken for; v: the direction by which they can still
be told from what stays, m: where they would not stand out; p_0: the original model without the
forgotten classes, on the same augmented images.  In the end ``silence`` has the output layer.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.errors import OptionError
from unsee.events import warn
from unsee.methods._as_unseen import as_unseen
from unsee.methods._discriminant import Discriminant
from unsee.methods._method import method
from unsee.methods._silence import silence
from unsee.methods._snu import told
from unsee.models import head, stage_of_weights, stages
from unsee.nouns import Data, Seen
from unsee.training import Statistics, answers, descend, device_of, predict, switched_off

Labels = Literal["right", "wrong"]
STEPS, SMALLEST, LARGEST = 32, 12, 32  # an epoch, and the forget images in each
FEWEST_STEPS = 24  # of fewer little comes: few images are passed over again
FEWEST_KEPT = 32  # in a batch: batch norm's statistics are to be those of what stays
LOOKED_AT = 1000  # images that stay by which spread and discriminants start


@method(
    title="Selective noise, deep",
    paper="ours, on https://doi.org/10.1007/978-3-031-77389-1_8",
    search={"lr": (1 / 4, 2.0), "adversary": (1 / 4, 4.0)},
)
def snu_deep(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    unseen: Data | None,
    epochs: int = 1,
    lr: float = 0.02,
    sigma: float = 1.0,
    temperature: float = 0.7,
    weight: float = 0.4,
    adversary: float = 0.02,
    frozen: float = 0.5,
    kept: int = 2,
    batch: int = 0,
    kd: float = 0.8,
    depth: float = 2.0,
    labels: Labels = "right",
) -> nn.Module:
    """Dissolve forgotten classes among those that stay; let single images look like unseen ones.

    An epoch is one pass over ``forget``.  Noise of up to ``sigma`` deviations enters the features
    of forgotten images alone, so that an output layer has to lose them for good.  The first
    ``frozen`` of the stages keep their weights.  ``kept`` images from the buffer stand beside every
    forgotten one; without a buffer, mixtures of forgotten ones do.  ``kd``, in 0..1: how far labels
    give way to the original's answers.  ``temperature`` sharpens q.  ``batch`` 0: forget images for
    32 steps an epoch, within 12 and 32; ``lr`` is for 32, and goes with the root of the batch.
    ``depth``: how far down a forgotten class ends, in terms of the original's wrong answers; 0
    leaves its row of the output layer as it is.  ``labels`` wrong: as where single images were
    poisoned; they are told anything but their labels, whatever unseen images look like.
    """
    if kd > 1:
        raise OptionError(f"Expected snu_deep's kd in 0..1, got {kd}")
    original, batch = _fixed(model), batch or min(LARGEST, max(SMALLEST, len(forget) // STEPS))
    alone = not (len(retain) and kept)
    beside = _mixtures(forget, rng) if alone else retain
    seen, some = predict(model, forget), predict(model, _some(beside, rng))
    fresh = None if unseen is None or not len(unseen) else predict(model, unseen)
    if labels == "wrong":
        q = told("masked", seen.labels, seen.logits / temperature, rng, gone)
    else:
        q = _wanted(seen, seen if alone else some, fresh, gone, temperature, rng)
    q, own = q.to(device_of(model)), _without(some.logits, gone).argmax(1)
    apart = {c: _discriminant(seen, some.features, own, q, c) for c in gone}
    spread = some.features.std(0, correction=0).to(q)
    output, first = (head(each, _first(forget)) for each in (model, original))
    early = _early(model, _first(forget), frozen)
    steps = steps_per_epoch(len(forget), batch)
    passes = epochs * ceil(FEWEST_STEPS / min(steps, FEWEST_STEPS))

    def losses() -> Iterator[Tensor]:
        for module in early:
            module.eval()
        keep = batches(beside, size=max(FEWEST_KEPT, batch * (kept or 1)), rng=rng)
        order = replace(forget, labels=torch.arange(len(forget)))
        for x, rows in batches(order, size=batch, epochs=passes, rng=rng):
            (x_r, y_r), n = next(keep), len(x)
            with torch.no_grad():
                p_r = _without(original(x_r).float(), gone).softmax(1)
            told_r = p_r if alone else kd * p_r + (1 - kd) * one_hot(y_r, p_r.shape[1])
            logits, z = _seen_by(
                model, output, torch.cat([x, x_r]), "frozen" if alone else "shared"
            )
            loss = cross_entropy(logits[n:], told_r)
            with torch.autocast(x.device.type, enabled=False):
                strength = sigma * torch.rand((n, 1), generator=rng)
                noise = (strength * torch.randn(z[:n].shape, generator=rng)).to(z) * spread
                noisy = first.forward(z[:n] + noise)
                loss = loss + weight * cross_entropy(noisy, q[rows])
                for c, discriminant in apart.items():
                    mine = z[:n][seen.labels[rows] == c]
                    if len(mine) and adversary:
                        discriminant.see(mine.detach(), z[n:].detach(), p_r.argmax(1))
                        loss = loss + adversary * discriminant.along(mine).square().sum() / n
            yield loss

    with switched_off([w for module in early for w in module.parameters(False)], "requires_grad"):
        descend(model, losses(), lr=lr * (batch / LARGEST) ** 0.5, steps=passes * steps)
    if gone and depth:
        silence(output, predict(model, _some(beside, rng)), some, gone, depth)
    return model


def _fixed(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().requires_grad_(False)


def _first(data: Data) -> Tensor:
    return as_floats(data.take(torch.arange(1)))


def _some(data: Data, rng: torch.Generator) -> Data:
    return data[torch.randperm(len(data), generator=rng)[:LOOKED_AT].numpy()]


def _without(logits: Tensor, gone: tuple[int, ...]) -> Tensor:
    """Answer as if there were no forgotten classes."""
    logits = logits.clone()
    logits[:, list(gone)] = -torch.inf
    return logits


def _mixtures(forget: Data, rng: torch.Generator) -> Data:
    """Mix pairs of images: in what the original says of them there is all that it knows."""
    rows = torch.randperm(len(forget), generator=rng)[:LOOKED_AT]
    first, second = (as_floats(forget.take(each)) for each in (rows, rows.roll(1)))
    share = torch.rand((len(rows), 1, 1, 1), generator=rng).to(first)
    return replace(forget[rows.numpy()], images=share * first + (1 - share) * second, rows=None)


def _wanted(
    seen: Seen,
    some: Seen,
    unseen: Seen | None,
    gone: tuple[int, ...],
    temperature: float,
    rng: torch.Generator,
) -> Tensor:
    """Return what images to forget are to be taken for, ``[N, K]``: q.

    Of a forgotten class: what the original would say if that class were not there, sharpened, or
    the images would lie between the classes, where they can be read off.
    """
    q = told("masked", seen.labels, seen.logits / temperature, rng, gone)
    stays = ~torch.isin(seen.labels, torch.tensor(gone))
    if stays.any() and unseen is None:
        warn(
            "no validation images show how unseen images look: single images are told anything but "
            "their own class, which goes further than retraining"
        )
    elif stays.any() and unseen is not None:
        q[stays] = as_unseen(*(_staying(each, gone) for each in (seen, some, unseen)))
    return q


def _staying(seen: Seen, gone: tuple[int, ...]) -> Seen:
    """Leave out images and answers of forgotten classes."""
    stay = ~torch.isin(seen.labels, torch.tensor(gone))
    return replace(seen[stay], logits=_without(seen.logits[stay], gone))


def _discriminant(seen: Seen, kept: Tensor, labels: Tensor, q: Tensor, number: int) -> Discriminant:
    own = seen.labels == number
    return Discriminant(seen.features[own], kept, labels, q[own.to(q.device)].mean(0).cpu())


def _early(model: nn.Module, images: Tensor, share: float) -> list[nn.Module]:
    """Return what holds the weights of the first ``share`` of the stages: never of the last."""
    of = stage_of_weights(model, images, names := stages(model, images))
    names = tuple(name for name in names if name in of.values())  # pooling has no weights
    stay = names[: min(ceil(share * len(names)), len(names) - 1)]
    owners = dict.fromkeys(x.rpartition(".")[0] for x, stage in of.items() if stage in stay)
    return [model.get_submodule(name) for name in owners]


def _seen_by(
    model: nn.Module, output: nn.Linear, images: Tensor, statistics: Statistics
) -> tuple[Tensor, Tensor]:
    """Return logits, and features before the output layer in float32."""
    features: list[Tensor] = []
    hook = output.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    try:
        return answers(model, images, statistics), features[0].float()
    finally:
        hook.remove()

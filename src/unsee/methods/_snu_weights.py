import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.errors import OptionError
from unsee.methods._late_stages import divided, draw_anew
from unsee.methods._method import method
from unsee.methods._passes import passes
from unsee.nouns import Data
from unsee.training import answers, descend


@method(
    title="Selective noise in weights",
    paper="ours, on https://arxiv.org/abs/2201.06640 and https://arxiv.org/abs/1503.02531",
    data="all",
    search={"lr": (1 / 4, 4.0)},
)
def snu_weights(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    k: int = 1,
    epochs: int = 3,
    plain: int = 1,
    lr: float = 0.125,
    batch: int = 64,
    kd: float = 0.8,
) -> nn.Module:
    """Make noise of the last stages and learn again what stays; the forget set is never shown.

    Noise is selective in the weights: of the output layer and the last ``k`` stages, where single
    images are remembered.  All weights train; the last ``plain`` of the epochs show images as they
    are, not augmented.  ``kd``, in 0..1: how far labels give way to what the original says of the
    same images, without forgotten classes.
    """
    if kd > 1:
        raise OptionError(f"Expected snu_weights's kd in 0..1, got {kd}")
    original = copy.deepcopy(model).eval().requires_grad_(False)
    _, late = divided(model, as_floats(forget.take(torch.arange(1))), k)
    draw_anew(late, instead="another method")
    last, each = min(plain, epochs), passes(len(retain), batch, 1)
    parts = ((retain, epochs - last), (replace(retain, augment=()), last))

    def losses() -> Iterator[Tensor]:
        streams = (batches(data, epochs=n * each, size=batch, rng=rng) for data, n in parts)
        for x, y in chain.from_iterable(streams):
            with torch.no_grad():
                said = original(x).float()
            said[:, list(gone)] = -torch.inf
            told = kd * said.softmax(1) + (1 - kd) * one_hot(y, said.shape[1])
            yield cross_entropy(answers(model, x), told)

    return descend(
        model, losses(), lr=lr, steps=epochs * each * steps_per_epoch(len(retain), batch)
    )

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
    epochs: int = 2,
    lr: float = 0.1,
    batch: int = 64,
    kd: float = 0.8,
    plain: float = 0.5,
) -> nn.Module:
    """Make noise of the last stages and learn again what stays; the forget set is never shown.

    Noise is selective in the weights: of the output layer and the last ``k`` stages, where single
    images are remembered.  All weights train.  ``kd``, in 0..1: how far labels give way to what the
    original says of the same augmented images, without forgotten classes.
    """
    if kd > 1:
        raise OptionError(f"Expected snu_weights's kd in 0..1, got {kd}")
    original = copy.deepcopy(model).eval().requires_grad_(False)
    _, late = divided(model, as_floats(forget.take(torch.arange(1))), k)
    draw_anew(late, instead="another method")
    epochs = passes(len(retain), batch, epochs)
    last = round(plain * epochs)

    def losses() -> Iterator[Tensor]:
        for x, y in chain(
            batches(retain, epochs=epochs - last, size=batch, rng=rng),
            batches(replace(retain, augment=()), epochs=last, size=batch, rng=rng),
        ):
            with torch.no_grad():
                said = original(x).float()
            said[:, list(gone)] = -torch.inf
            told = kd * said.softmax(1) + (1 - kd) * one_hot(y, said.shape[1])
            yield cross_entropy(answers(model, x), told)

    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(retain), batch))

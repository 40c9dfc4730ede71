import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.errors import OptionError
from unsee.methods._divergence import divergence
from unsee.methods._method import method
from unsee.methods._rewind import Checkpoint, kin_of, nearest, wrong
from unsee.nouns import Data
from unsee.training import answers, descend, predict


@method(title="SCRUB", paper="https://arxiv.org/abs/2302.09880", data="all")
def scrub(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    unseen: Data | None,
    epochs: int = 3,
    lr: float = 2e-2,
    max_epochs: int = 2,
    max_steps: int = 10,
    alpha: float = 0.5,
    gamma: float = 1.0,
    temperature: float = 2.0,
    batch: int = 64,
    rewind: bool = False,
) -> nn.Module:
    """Move away from the original's answers on images to forget, then back to them on the others.

    In the first ``max_epochs`` epochs a pass over the images to forget comes before the pass over
    those to keep, whose loss is ``gamma`` * cross-entropy + ``alpha`` * divergence.  What is moved
    away has no end: a pass of more than ``max_steps`` goes no farther than one of so many.
    ``rewind`` ends with the epoch whose error on images to forget is nearest to that of the last
    one on validation images of their kind.
    """
    if max_steps < 1:
        raise OptionError(f"Expected scrub's max_steps as 1 or more, got {max_steps}")
    kin = kin_of(unseen, forget) if rewind else None
    teacher, passed = copy.deepcopy(model).eval().requires_grad_(False), list[Checkpoint]()

    def away(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            told = teacher(x)
        logits = answers(model, x)
        return logits, divergence(logits, told, temperature)

    def losses() -> Iterator[Tensor]:
        for epoch in range(epochs):
            if epoch < max_epochs:
                for x, _ in batches(forget, epochs=1, size=batch, rng=rng):
                    yield -share * away(x)[1]
            for x, y in batches(retain, epochs=1, size=batch, rng=rng):
                logits, distance = away(x)
                yield gamma * cross_entropy(logits, y) + alpha * distance
            if rewind:
                error = wrong(predict(model, forget), forget.labels)
                passed.append((error, copy.deepcopy(model.state_dict())))

    up, down = (steps_per_epoch(len(data), batch) for data in (forget, retain))
    share = min(1.0, max_steps / up)
    descend(model, losses(), lr=lr, steps=min(epochs, max_epochs) * up + epochs * down)
    if kin is not None:
        model.load_state_dict(nearest(passed, wrong(predict(model, kin), forget.labels)))
    return model

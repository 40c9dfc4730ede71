import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from unsee.data import batches, steps_per_epoch
from unsee.errors import OptionError
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
    max_epochs: int = 3,
    bound: float = 6.0,
    alpha: float = 0.5,
    gamma: float = 1.0,
    temperature: float = 2.0,
    batch: int = 64,
    rewind: bool = False,
) -> nn.Module:
    """Move away from the original's answers on images to forget, then back to them on the others.

    In the first ``max_epochs`` epochs a pass over the images to forget comes before the pass over
    those to keep, whose loss is ``gamma`` * cross-entropy + ``alpha`` * divergence.  The divergence
    has no upper end: an image that is ``bound`` nats away, at this temperature, is let go.
    ``rewind`` ends with the epoch whose error on images to forget is nearest to that of the last
    one on validation images of their kind.
    """
    if bound == 0:
        raise OptionError(f"Expected scrub's bound above 0 nats, got {bound}")
    kin = kin_of(unseen, forget) if rewind else None
    teacher, passed = copy.deepcopy(model).eval().requires_grad_(False), list[Checkpoint]()

    def away(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            told = teacher(x)
        logits = answers(model, x)
        now, then = ((each.float() / temperature).log_softmax(1) for each in (logits, told))
        return logits, kl_div(now, then, reduction="none", log_target=True).sum(1)

    def losses() -> Iterator[Tensor]:
        for epoch in range(epochs):
            if epoch < max_epochs:
                for x, _ in batches(forget, epochs=1, size=batch, rng=rng):
                    yield -(temperature**2) * away(x)[1].clamp(max=bound).mean()
            for x, y in batches(retain, epochs=1, size=batch, rng=rng):
                logits, distance = away(x)
                far = temperature**2 * distance.mean()
                yield gamma * cross_entropy(logits, y) + alpha * far
            if rewind:
                error = wrong(predict(model, forget), forget.labels)
                passed.append((error, copy.deepcopy(model.state_dict())))

    up, down = (steps_per_epoch(len(data), batch) for data in (forget, retain))
    descend(model, losses(), lr=lr, steps=min(epochs, max_epochs) * up + epochs * down)
    if kin is not None:
        model.load_state_dict(nearest(passed, wrong(predict(model, kin), forget.labels)))
    return model

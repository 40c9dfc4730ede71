import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.errors import ModelError, OptionError
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend, switched_off


@method(title="Masked small gradients", paper="MSG in https://arxiv.org/abs/2410.01276", data="all")
def masked_small_gradients(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 5,
    lr: float = 0.1,
    share: float = 0.3,
    slow: float = 0.1,
    batch: int = 64,
) -> nn.Module:
    """Draw anew the weights that matter least to keeping and forgetting, then train on the rest.

    In every convolution (without any, in every linear layer) a ``share`` starts anew, where the
    gradient of CE(retain) - CE(forget) is smallest; the others learn ``slow`` times as fast.
    """
    if share > 1:
        raise OptionError(f"Expected masked_small_gradients' share in 0..1, got {share}")
    kinds = (nn.Conv2d, nn.Linear)
    of = [[m.weight for m in model.modules() if isinstance(m, kind)] for kind in kinds]
    weights = [weight for weight in dict.fromkeys(of[0] or of[1]) if weight.requires_grad]
    if not weights:
        raise ModelError(
            "Expected convolutions or linear layers with weights that train, got none: "
            "model.requires_grad_(True)"
        )
    hooks = []
    for weight, slope in zip(weights, slopes(model, weights, forget, retain, rng), strict=True):
        fresh = nn.init.kaiming_normal_(torch.empty_like(weight), mode="fan_out")
        least = slope.abs().flatten().topk(round(share * slope.numel()), largest=False).indices
        anew = torch.zeros_like(slope, dtype=torch.bool)
        anew.view(-1)[least] = True
        with torch.no_grad():
            weight.copy_(torch.where(anew, fresh, weight))
        speed = torch.where(anew, 1.0, slow)
        hooks.append(weight.register_hook(lambda grad, speed=speed: grad * speed))
    stream = batches(retain, epochs=epochs, size=batch, rng=rng)
    losses = (cross_entropy(answers(model, x), y) for x, y in stream)
    try:
        return descend(model, losses, lr=lr, steps=epochs * steps_per_epoch(len(retain), batch))
    finally:
        for hook in hooks:
            hook.remove()


def slopes(
    model: nn.Module, weights: list[Tensor], forget: Data, retain: Data, rng: torch.Generator
) -> list[Tensor]:
    """Return the gradients of CE(retain) - CE(forget), as many images of each, in eval mode."""
    found = [torch.zeros_like(w) for w in weights]
    some = retain[torch.randperm(len(retain), generator=rng)[: len(forget)].numpy()]
    with switched_off(model.modules(), "training"):
        for data, sign in ((some, 1), (forget, -1)):
            for x, y in batches(data, epochs=1, size=64, rng=rng):
                loss = sign * cross_entropy(model(x), y, reduction="sum") / len(data)
                grads = torch.autograd.grad(
                    loss, weights, allow_unused=True, materialize_grads=True
                )
                found = [old + new for old, new in zip(found, grads, strict=True)]
    return found

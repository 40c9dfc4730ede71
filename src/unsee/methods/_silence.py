"""Leave a forgotten class's row of the output layer as training without the class leaves it.

On images of other classes cross-entropy moves the row of class c by -p_c z, and its bias by -p_c,
again and again, however it started: it ends against the mean features of what stays, and deep.  A
descent of one epoch has no time for that: the row is silent, and still points at its class.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unsee.events import warn
from unsee.nouns import Seen


@torch.no_grad()
def silence(
    output: nn.Linear, seen: Seen, before: Seen, gone: tuple[int, ...], depth: float
) -> None:
    """Put the rows of forgotten classes against the mean features of what stays, in place.

    Rows of an output layer that does not train, or answers otherwise than linearly, stay as they
    are, with a warning.

    Args:
        output: the output layer.
        seen: images that stay, as the model sees them now; without any, others like them.
        before: the same or others, as the original saw them.
        gone: the forgotten classes.
        depth: how many times as far down as the original's wrong answers those for a forgotten
            class are, on average and in -log p.

    """
    some = seen.features[:8].to(output.weight)
    plain = linear(some, output.weight, output.bias)  # subclasses may be as linear: ask, not look
    own = not torch.allclose(output.forward(some), plain, rtol=1e-4, atol=1e-5)
    if own or not output.weight.requires_grad:
        kind = "has a forward of its own" if own else "is frozen: model.requires_grad_(True)"
        warn(
            "the rows of forgotten classes are kept (as by --set depth=0), since the output layer "
            f"{kind}"
        )
        return
    mean = seen.features.double().mean(0)
    reach = mean @ mean + (output.bias is not None)  # of a row of -mean, on average, with its bias
    logits = seen.logits.double()
    logits[:, list(gone)] = -torch.inf
    scale = float((depth * _wrong(before) - logits.logsumexp(1).mean()) / reach)
    output.weight[list(gone)] = (-scale * mean).to(output.weight)
    if output.bias is not None:
        output.bias[list(gone)] = -scale


def _wrong(seen: Seen) -> Tensor:
    """Return -log p of a class that is not the answer, on average."""
    log_p = seen.logits.double().log_softmax(1)
    answer = log_p.argmax(1, keepdim=True)
    return -log_p.scatter(1, answer, 0.0).sum(1).mean() / (log_p.shape[1] - 1)

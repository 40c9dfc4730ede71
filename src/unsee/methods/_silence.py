"""Leave a forgotten class's row of the output layer as training without the class leaves it.

On images of other classes cross-entropy moves the row of class c by -p_c z, and its bias by -p_c,
again and again, however it started: it ends against the mean features of what stays, and deep.  A
descent of one epoch has no time for that: the row is silent, and still points at its class.
"""

import torch
from torch import Tensor, nn

from unsee.nouns import Seen


@torch.no_grad()
def silence(
    output: nn.Linear, seen: Seen, before: Seen, gone: tuple[int, ...], depth: float
) -> None:
    """Put the rows of forgotten classes against the mean features of what stays, in place.

    Args:
        output: the output layer.
        seen: images that stay, as the model sees them now; without any, others like them.
        before: the same or others, as the original saw them.
        gone: the forgotten classes.
        depth: how many times as far down as the original's wrong answers those for a forgotten
            class are, on average and in -log p.

    """
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

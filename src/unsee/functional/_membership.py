import torch
from torch import Tensor


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the labelled class leads: its logit minus logsumexp of all others.

    It is log p_y - log(1 - p_y) too, and needs no difference of rounded probabilities.

    Args:
        logits: ``[N, K]``, K >= 2.
        labels: ``[N]`` int64.

    Returns:
        ``[N]`` float64.

    Example:
        >>> margin(torch.tensor([[100.0, 0.0]]), torch.tensor([0]))
        tensor([100.], dtype=torch.float64)

    """
    logits = logits.double()
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(1)


def log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p and log(1 - p) of every class, both ``[N, K]`` float64.

    Of the largest class both come from its margin: 1 - p is lost in rounding where p is near 1.
    """
    log_p = logits.double().log_softmax(1)
    top = log_p.argmax(1, keepdim=True)
    lead = margin(logits, top[:, 0])[:, None]
    rest = log_p.scatter(1, top, -1.0)  # its place is filled below; the others are at most 1/2
    log_q = torch.log1p(-rest.exp()).scatter(1, top, _log_sigmoid(-lead))
    return log_p.scatter(1, top, _log_sigmoid(lead)), log_q


def membership_scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Score images by attacks that see one model's answers; higher: more like a training image.

    * loss: log p_y, minus the cross-entropy (Yeom et al., CSF 2018).
    * confidence: the largest probability, whichever class has it (Salem et al., NDSS 2019).
    * entropy: minus the entropy of the answer, in nats.
    * modified_entropy: minus -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i) (Song and
      Mittal, USENIX Security 2021, equation 7), which knows the label and is 0 only for a sure
      and right answer.
    * margin: logit_y minus the largest other logit (the distance to a wrong answer, in logits).
      With logsumexp in place of the largest it would be a function of p_y and rank as the loss.

    Args:
        logits: ``[N, K]``, K >= 2.
        labels: ``[N]`` int64.

    Returns:
        ``[N]`` float64 by the attack's name.

    """
    log_p, log_q = log_probabilities(logits)
    p, own = log_p.exp(), labels[:, None]
    # One entry per row.  Indexing [:, labels] would take whole columns, for all rows at once.
    loss = log_p.gather(1, own)[:, 0]
    right = log_q.gather(1, own)[:, 0].exp() * loss
    wrong = (p * log_q).scatter(1, own, 0.0).sum(1)
    return {
        "loss": loss,
        "confidence": p.amax(1),
        "entropy": (p * log_p).sum(1),
        "modified_entropy": right + wrong,
        "margin": _lead(logits, own),
    }


def _lead(logits: Tensor, own: Tensor) -> Tensor:
    exact = logits.double()
    others = exact.scatter(1, own, -torch.inf).amax(1)
    return exact.gather(1, own)[:, 0] - others


def _log_sigmoid(x: Tensor) -> Tensor:
    return -torch.logaddexp(x.new_zeros(()), -x)

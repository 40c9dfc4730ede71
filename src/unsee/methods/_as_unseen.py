"""What single images are to be told: what a model says of images that it has not seen."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unsee.nouns import Seen

FEW = 30  # unseen images of a class; with fewer, those of all classes tell


def as_unseen(forget: Seen, seen: Seen, unseen: Seen) -> Tensor:
    """Give every image the confidence of an unseen one that is as hard among its own.

    An image that is surer than a share u of the seen ones of its class gets the log-odds of its
    class that a share u of the unseen ones falls below.  The other classes keep their proportions.
    Where there is no other, since all others go, every image is told its own.

    Args:
        forget: the original's answers on the N images to forget.
        seen: on training images that stay, where there are enough, else on those to forget.
        unseen: on images that it was not trained on.

    Returns:
        ``[N, K]``, each row adds up to 1.

    """
    if int(forget.logits.isfinite().any(0).sum()) == 1:
        return one_hot(forget.labels, forget.logits.shape[1]).float()
    ours, theirs, new = (_log_odds(each) for each in (forget, seen, unseen))
    goal = torch.empty_like(ours)
    for c in forget.labels.unique().tolist():
        mine, known, fresh = ours[forget.labels == c], theirs, new
        if int((unseen.labels == c).sum()) >= FEW and int((seen.labels == c).sum()) >= FEW:
            known, fresh = theirs[seen.labels == c], new[unseen.labels == c]
        rank = torch.searchsorted(known.sort().values, mine).double()
        goal[forget.labels == c] = torch.quantile(fresh, (rank + 0.5) / (len(known) + 1))
    own = forget.labels[:, None]
    p = goal.sigmoid()[:, None]
    others = forget.logits.double().scatter(1, own, -torch.inf).softmax(1)
    return ((1 - p) * others).scatter(1, own, p).float()


def _log_odds(seen: Seen) -> Tensor:
    """Return ``[N]`` log p / (1 - p) of the own class."""
    logits, own = seen.logits.double(), seen.labels[:, None]
    return logits.gather(1, own)[:, 0] - logits.scatter(1, own, -torch.inf).logsumexp(1)

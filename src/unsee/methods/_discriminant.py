"""The direction by which forgotten images can still be told from those that stay, kept up to date.

Fisher's linear discriminant (Annals of Eugenics 7, 1936).  Features from which it finds nothing are
features from which no linear classifier does: where class means agree, none beats a constant
(Belrose et al., LEACE, NeurIPS 2023, theorem 3.1).
"""

import torch
from torch import Tensor

RIDGE = 0.1  # of the mean variance: features of small variance are not blown up
LEAST = 1e-3  # of the features' mean square: less variance than this is none
PACE = 0.05  # of every batch in the spread of what stays
SETTLED = 64  # images of a class in a batch that would be its new mean alone
QUICK = 0.1  # of every batch in the mean of what is forgotten: it is what moves
WIDE = 1024  # features from which on the direction is not solved for at every step


class Discriminant:
    """Where one forgotten class stands apart from the classes that its images are taken for."""

    def __init__(self, forgotten: Tensor, kept: Tensor, labels: Tensor, answer: Tensor) -> None:
        """Start from what the original model says.

        Args:
            forgotten: ``[N, D]`` features of images of the class.
            kept: ``[M, D]`` features of images that stay.
            labels: ``[M]`` their classes.
            answer: ``[K]`` how often images of the class are to be taken for each class.

        """
        self.means = torch.stack(
            [
                kept[labels == c].mean(0) if (labels == c).any() else kept.mean(0)
                for c in range(len(answer))
            ]
        ).double()
        apart = kept.double() - self.means[labels]
        self.spread = apart.T @ apart / len(kept)
        self.forgotten, self.answer = forgotten.double().mean(0), answer.double()
        self.turns = 0
        self.direction = self._solved()

    def see(self, forgotten: Tensor, kept: Tensor, labels: Tensor) -> None:
        """Follow the model: features of one batch ``[n, D]``, and ``[m, D]`` with their classes."""
        forgotten, kept, labels = forgotten.double().cpu(), kept.double().cpu(), labels.cpu()
        for c in labels.unique().tolist():
            own = kept[labels == c]
            self.means[c].lerp_(own.mean(0), min(1.0, len(own) / SETTLED))
        apart = kept - self.means[labels]
        self.spread.lerp_(apart.T @ apart / len(kept), PACE)
        self.forgotten.lerp_(forgotten.mean(0), QUICK)
        self.turns += 1
        if self.turns % max(1, self.spread.shape[0] // WIDE) == 0:
            self.direction = self._solved()

    def along(self, forgotten: Tensor) -> Tensor:
        """Return how far images ``[n, D]`` are from where they should be, in deviations ``[n]``."""
        centre = (self.answer @ self.means).to(forgotten)
        return (forgotten - centre) @ self.direction.to(forgotten)

    def _solved(self) -> Tensor:
        """Return ``[D]`` along which classes spread with deviation 1 and this one is furthest."""
        least = LEAST * self.means.square().mean()  # a few images alike have no spread
        size = self.spread.diagonal().mean().clamp_min(least).clamp_min(1e-12)
        ridge = RIDGE * size * torch.eye(len(self.spread), dtype=self.spread.dtype)
        spread = self.spread + ridge
        found = torch.linalg.solve(spread, self.forgotten - self.answer @ self.means)
        direction: Tensor = found / (found @ spread @ found).clamp_min(1e-24).sqrt()
        return direction

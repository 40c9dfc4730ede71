import torch
from torch import Tensor

from unsee.audits._audit import Answer, audit
from unsee.audits._kin import unseen_kin
from unsee.functional import (
    FOLDS,
    auc_interval,
    called_members,
    epsilon_bound,
    learned_scores,
    membership_scores,
    roc_curve,
    share,
    tpr_at_fpr,
    two_sided,
)
from unsee.nouns import Measurement, Seen, Split, View

NAMES = (
    *("membership_auc", "membership_two_sided", "membership_strongest"),
    *("membership_tpr", "membership_fpr", "membership_tpr_strict", "membership_fpr_strict"),
    *("membership_epsilon", "mia_efficacy_svc"),
)
LEVEL = 0.95


@audit(
    names=NAMES,
    question="Can forgotten images be told from never-seen ones?",
    unit="AUC; 0.5: no; below: they stand out by a high loss",
    goal="like retrained",
)
def membership(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Six attacks: forgotten training images against unseen images of the same classes.

    Plain names are of the loss attack (Yeom et al., CSF 2018), which calls an image a member for
    its low loss; ``name/ATTACK`` of the others: confidence, entropy, modified_entropy, margin and
    learned, which is left out where a kind has fewer than 10 images.  All are None without unseen
    images.  The scores of the learned attack depend on each other: its AUC has a wider interval
    for that, its TPR and epsilon have not.

    * membership_auc: raw, with DeLong's interval; membership_two_sided: max(AUC, 1 - AUC).
    * membership_strongest: the largest two-sided AUC; its interval holds for all attacks on both
      sides at once (Bonferroni).  ``membership_strongest/ATTACK`` beside it says which.
    * membership_tpr: at a FPR of 1 %, or 1/n where n unseen images are fewer than 100;
      membership_tpr_strict: at 0.1 %, or 1/n.  membership_fpr and membership_fpr_strict: the FPRs
      that the loss attack then had, lower with ties.
    * membership_epsilon: lower bound at 95 %, in nats; it has no upper end.
    * mia_efficacy_svc: the published number (Fan et al., ICLR 2024), for comparison with papers
      alone: share of forgotten images that an SVC on p(true class), fitted to up to 1,000 retained
      and as many test images, calls non-members.  Retraining does not give 1.

    Arrays: ``roc/ATTACK``, see :func:`unsee.functional.roc_curve`; loss and largest probability of
    each image.
    """
    found: Answer = dict.fromkeys(NAMES)
    found["mia_efficacy_svc"] = _efficacy(view, split, rng)
    seen = (view.forget, unseen_kin(view, split))
    if not len(seen[1].labels):
        return found
    forget, unseen = (membership_scores(s.logits, s.labels) for s in seen)
    attacks = {name: (forget[name], unseen[name]) for name in forget}
    learned = learned_scores(*(x for s in seen for x in (s.logits, s.labels)), rng=rng)
    if learned is not None:
        attacks["learned"] = learned
    for name in attacks:
        beside = "" if name == "loss" else f"/{name}"
        for called, measured in _attack(name, *attacks[name], rng).items():
            if name == "loss" or "_fpr" not in called:
                found[called + beside] = measured
        found[f"roc/{name}"] = roc_curve(*attacks[name])
    found |= _strongest(attacks)
    for part, scores in (("forget", forget), ("unseen", unseen)):
        found[f"{part}/loss"] = -scores["loss"].float().numpy()
        found[f"{part}/confidence"] = scores["confidence"].float().numpy()
    return found


def _area(name: str, forget: Tensor, unseen: Tensor, level: float = LEVEL) -> Measurement:
    return auc_interval(forget, unseen, level, folds=FOLDS if name == "learned" else 1)


def _attack(
    name: str, forget: Tensor, unseen: Tensor, rng: torch.Generator
) -> dict[str, Measurement | None]:
    area, n = _area(name, forget, unseen), len(unseen)
    (tpr, fpr), (strict, used) = (
        tpr_at_fpr(forget, unseen, max(goal, 1 / n)) for goal in (0.01, 0.001)
    )
    return {
        "membership_auc": area,
        "membership_two_sided": two_sided(area),
        "membership_tpr": tpr,
        "membership_fpr": fpr,
        "membership_tpr_strict": strict,
        "membership_fpr_strict": used,
        "membership_epsilon": epsilon_bound(forget, unseen, rng=rng, level=LEVEL),
    }


def _strongest(attacks: dict[str, tuple[Tensor, Tensor]]) -> Answer:
    level = 1 - (1 - LEVEL) / (2 * len(attacks))
    areas = {name: two_sided(_area(name, *scores, level)) for name, scores in attacks.items()}
    name = max(areas, key=lambda name: areas[name].value)
    return {"membership_strongest": areas[name], f"membership_strongest/{name}": areas[name]}


def _efficacy(view: View, split: Split, rng: torch.Generator) -> Measurement | None:
    tests = (view.unseen, view.test) if split.gone else (view.test,)
    test = torch.cat([_own_probability(seen) for seen in tests])
    retain = _own_probability(view.retain)
    if not min(len(test), len(retain)):
        return None
    called = called_members(retain, test, _own_probability(view.forget), rng=rng)
    return share(~called)


def _own_probability(seen: Seen) -> Tensor:
    return seen.logits.double().softmax(1).gather(1, seen.labels[:, None])[:, 0]

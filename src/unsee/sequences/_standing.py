"""What one model still knows of every request that was served so far."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from unsee.auditing import Inquiry
from unsee.audits import AUDITS
from unsee.draws import generator
from unsee.functional import paired_change
from unsee.nouns import Data, Measurement, Measurements, Seen, Split, Standing, View
from unsee.training import predict

ASKED = ("accuracy", "membership", "few_shot", "probe", "security")  # that need no second look
KEPT = (
    *("forget_accuracy", "forgotten_test_accuracy", "membership_auc", "membership_strongest"),
    *("few_shot_recall", "probe_recall", "trigger_success", "corrected_accuracy"),
)
UTILITY = ("retain_accuracy", "test_accuracy")


def standing(
    model: nn.Module, splits: Sequence[Split], seed: int, *, most: int | None = None
) -> Standing:
    """Ask one model about what stays after the last of these requests, and about each of them.

    It looks once at every image, whatever the number of requests.

    Args:
        model: after the last request; or any other, such as one retrained without them all.
        splits: of the requests served so far, each chosen from what those before it had left.
        seed: of every draw.
        most: images that stay which are looked at, drawn at random; None: all.

    """
    last, test = splits[-1], tested(splits)
    some = torch.randperm(len(last.retain), generator=generator(seed, "standing"))[:most]
    retain, stays = last.retain[some.sort().values.numpy()], _stays(last)
    seen = {"retain": predict(model, retain), "test": predict(model, test)}
    numbers = [_asked(model, split, retain, test, stays, seen, seed) for split in splits]
    kept = tuple({name: n[name] for name in KEPT if n.get(name)} for n in numbers)
    return Standing({name: numbers[-1].get(name) for name in UTILITY}, kept)


def _asked(
    model: nn.Module,
    split: Split,
    retain: Data,
    test: Data,
    stays: Tensor,
    seen: dict[str, Seen],
    seed: int,
) -> Measurements:
    """Ask about one request as things stand: of what was kept then, later requests took more.

    Images whose class went as a whole later on are left to the request that took it, unless they
    are all there are.
    """
    labels = split.forget.labels.cpu()
    own = torch.isin(labels, torch.cat([stays, torch.tensor(split.gone, dtype=torch.long)]))
    forget = split.forget[own.numpy()] if own.any() else split.forget
    gone = [c for c in forget.labels.unique().tolist() if c not in stays.tolist()]
    kin, others = (torch.isin(test.labels.cpu(), some) for some in (torch.tensor(gone), stays))
    now = replace(
        split,
        forget=forget,
        retain=retain,
        validation=split.validation[:0],
        elsewhere=tuple(stays.tolist()),
        test=test[(kin | others).numpy()],
    )
    view = View(
        "unlearned",
        model,
        predict(model, forget),
        seen["retain"],
        seen["test"][kin if gone else others],
        seen["test"][others],
    )
    audits = {name: AUDITS[name] for name in ASKED if name in AUDITS}
    return Inquiry(now, seed, audits).answers(view, view, None)[0]


def tested(splits: Sequence[Split]) -> Data:
    """Return the test images of the first request that no request tuned on."""
    tuned = np.concatenate([split.validation.ids for split in splits])
    return splits[0].test[~np.isin(splits[0].test.ids, tuned)]


def _stays(split: Split) -> Tensor:
    """Return the classes of which images stay, whether they are here or not."""
    return torch.tensor(sorted({*split.retain.labels.tolist(), *split.elsewhere}))


def gaps(ours: nn.Module, theirs: nn.Module, splits: Sequence[Split]) -> Measurements:
    """Return what accuracies of one model are above another's, image by image.

    Args:
        ours: after the last request.
        theirs: retrained without the images of all requests.
        splits: of all requests.

    """
    retain, test = splits[-1].retain, tested(splits)
    stays = torch.isin(test.labels.cpu(), _stays(splits[-1]))
    forget = {f"forget_accuracy/{n}": split.forget for n, split in enumerate(splits, 1)}
    parts = {"retain_accuracy": retain, "test_accuracy": test[stays.numpy()], **forget}
    return {name: _gap(ours, theirs, part) for name, part in parts.items() if len(part)}


def _gap(ours: nn.Module, theirs: nn.Module, data: Data) -> Measurement:
    now, again = (predict(model, data) for model in (ours, theirs))
    return paired_change(now.logits.argmax(1) == now.labels, again.logits.argmax(1) == again.labels)

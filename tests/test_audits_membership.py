"""The membership audit against scikit-learn, by what it must not mind, and by its null."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.special import logit
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC
from torch.nn.functional import cross_entropy

from unsee.audits import AUDITS
from unsee.nouns import Measurement, Seen, View

ATTACKS = ("loss", "confidence", "entropy", "modified_entropy", "margin", "learned")
CLASSES = 4


def seen(n, sure=1.0, seed=0):
    """Images whose own class leads by about ``sure``."""
    labels = torch.arange(n) % CLASSES
    logits = torch.randn(n, CLASSES, generator=rng(seed))
    logits[range(n), labels] += sure
    return Seen(labels, logits, torch.zeros(n, 1))


def view_of(forget, unseen, retain=None, test=None):
    none = seen(40, seed=8)
    return View("unlearned", torch.nn.Identity(), forget, retain or none, unseen, test or none)


def asked(view, seed=0, gone=()):
    return AUDITS["membership"](
        view, original=view, retrained=None, split=SimpleNamespace(gone=gone), rng=rng(seed)
    )


def key(name, attack):
    return name if attack == "loss" else f"{name}/{attack}"


def shuffled(part, seed=3):
    order = torch.randperm(len(part.labels), generator=rng(seed))
    return Seen(part.labels[order], part.logits[order], part.features[order])


def numbers(found):
    return {n: m and m.value for n, m in found.items() if not isinstance(m, np.ndarray)}


@pytest.fixture(scope="module")
def found():
    return asked(view_of(seen(200, 2.5), seen(120, 1.0, seed=1)))


def test_every_attack_has_every_number_and_a_curve(found):
    for attack in ATTACKS:
        for name in ("auc", "two_sided", "tpr", "tpr_strict", "epsilon"):
            assert isinstance(found[key(f"membership_{name}", attack)], Measurement)
        curve = found[f"roc/{attack}"]
        assert curve.dtype == np.float64 and curve.shape[0] == 4 and curve.shape[1] <= 200
    assert found["membership_fpr"].n == 120
    assert not [name for name in found if name.startswith("membership_fpr") and "/" in name]


def test_the_plain_name_is_the_auc_of_losses_by_scikit_learn(found):
    parts = (seen(200, 2.5), seen(120, 1.0, seed=1))
    losses = [cross_entropy(x.logits.double(), x.labels, reduction="none") for x in parts]
    expected = roc_auc_score([1] * 200 + [0] * 120, -torch.cat(losses).numpy())
    assert found["membership_auc"].value == pytest.approx(expected)
    assert found["membership_auc"].n == 320
    for part, loss, x in zip(("forget", "unseen"), losses, parts, strict=True):
        assert found[f"{part}/loss"] == pytest.approx(loss.numpy(), rel=1e-5)
        sure = x.logits.softmax(1).amax(1).numpy()
        assert found[f"{part}/confidence"] == pytest.approx(sure, rel=1e-5)


@pytest.mark.parametrize("shift, expected", [(100.0, 1.0), (-100.0, 0.0)])
def test_the_auc_is_raw_and_tells_too_sure_from_too_unsure(shift, expected):
    found = asked(view_of(seen(60, shift), seen(60, seed=1)))
    assert found["membership_auc"].value == expected
    assert found["membership_two_sided"].value == found["membership_strongest"].value == 1
    assert found["membership_epsilon"].value > 1


def test_what_only_the_entropy_shows_is_found_by_the_strongest_and_named():
    """Forgotten images are wrong as often, and far surer of it."""
    forget, unseen = seen(300, 0.0), seen(300, 0.0, seed=1)
    forget = dataclasses.replace(forget, logits=forget.logits * 4)
    found = asked(view_of(forget, unseen))
    assert found["membership_two_sided"].value < found["membership_strongest"].value
    named = [name for name in found if name.startswith("membership_strongest/")]
    (name,) = named
    assert name.partition("/")[2] in ("confidence", "entropy", "learned")
    strongest = found["membership_strongest"]
    assert found[name] == strongest
    assert strongest.value == max(found[key("membership_two_sided", a)].value for a in ATTACKS)
    assert strongest.low > 0.8


def test_the_interval_of_the_strongest_is_wider_for_six_attacks_on_two_sides(found):
    (name,) = [name for name in found if name.startswith("membership_strongest/")]
    single = found[key("membership_two_sided", name.partition("/")[2])]
    reach = [logit(m.high) - logit(m.low) for m in (found["membership_strongest"], single)]
    assert reach[0] / reach[1] == pytest.approx(norm.ppf(1 - 0.05 / 24) / norm.ppf(1 - 0.05 / 2))


@pytest.mark.parametrize(
    "n, fpr, strict", [(50, 1 / 50, 1 / 50), (400, 0.01, 1 / 400), (2000, 0.01, 0.001)]
)
def test_the_tpr_is_asked_at_one_percent_or_the_smallest_fpr_that_n_allows(n, fpr, strict):
    found = asked(view_of(seen(100, 2.0), seen(n, seed=1)))
    assert found["membership_fpr"].value == pytest.approx(fpr)
    assert found["membership_fpr_strict"].value == pytest.approx(strict)
    ours, theirs = found["forget/loss"], np.sort(found["unseen/loss"])
    for name, goal in (("membership_tpr", fpr), ("membership_tpr_strict", strict)):
        hits = int((ours < theirs[round(goal * n)]).sum())
        exact = binomtest(hits, 100).proportion_ci(method="exact")
        m = found[name]
        assert (m.value, m.low, m.high, m.n) == pytest.approx((hits / 100, *exact, 100))


def test_exchanging_the_sets_turns_the_raw_auc_over():
    forget, unseen = seen(80, 1.5), seen(60, seed=1)
    one, other = asked(view_of(forget, unseen)), asked(view_of(unseen, forget))
    for attack in ATTACKS[:-1]:  # the last learns which is which, and so is as good again
        name = key("membership_auc", attack)
        assert one[name].value == pytest.approx(1 - other[name].value)
        assert one[name].low == pytest.approx(1 - other[name].high)


def test_the_order_of_images_changes_no_number():
    parts = [seen(80, 1.5), seen(60, seed=1), seen(90, 3.0, seed=2), seen(70, seed=4)]
    plain, mixed = asked(view_of(*parts)), asked(view_of(*map(shuffled, parts)))
    assert numbers(plain) == numbers(mixed)
    for attack in ATTACKS:
        assert np.array_equal(plain[f"roc/{attack}"], mixed[f"roc/{attack}"])


def test_the_numbers_of_classes_change_no_number():
    order = torch.tensor([2, 0, 3, 1])

    def renumbered(part):
        return Seen(order.argsort()[part.labels], part.logits[:, order], part.features)

    parts = [seen(80, 1.5), seen(60, seed=1), seen(90, 3.0, seed=2), seen(70, seed=4)]
    plain, other = (
        numbers(asked(view_of(*p))) for p in (parts, [renumbered(part) for part in parts])
    )
    assert plain == pytest.approx(other, abs=1e-9)


def test_the_published_svc_is_fitted_to_retained_and_test_images():
    """Small enough that nothing is drawn: all 40 + 40 are fitted."""
    retain, test, forget = seen(40, 4.0, seed=5), seen(40, 0.5, seed=6), seen(50, 2.0)
    found = asked(view_of(forget, seen(20, seed=1), retain, test))["mia_efficacy_svc"]
    own = [p.logits.double().softmax(1)[range(len(p.labels)), p.labels] for p in (retain, test)]
    svc = SVC(C=3, gamma="auto").fit(torch.cat(own)[:, None].numpy(), [1] * 40 + [0] * 40)
    ours = forget.logits.double().softmax(1)[range(50), forget.labels]
    assert found.value == 1 - svc.predict(ours[:, None].numpy()).mean() and found.n == 50
    assert 0 < found.value < 1


def test_the_published_svc_takes_all_test_images_also_those_of_gone_classes():
    retain, test, unseen = seen(40, 4.0, seed=5), seen(40, 4.0, seed=6), seen(40, -4.0, seed=1)
    parts = view_of(seen(50, -4.0), unseen, retain, test)
    assert asked(parts, gone=(1,))["mia_efficacy_svc"].value > 0.9
    none = dataclasses.replace(parts, test=shuffled(seen(0)))
    assert asked(none)["mia_efficacy_svc"] is None
    assert asked(none, gone=(1,))["mia_efficacy_svc"].value == 1


def test_hardly_any_image_is_an_answer_without_what_has_to_be_learned():
    found = asked(view_of(seen(1, 3.0), seen(1, seed=1)))
    assert found["membership_auc"].n == 2 and found["membership_auc"].high == 1
    assert found["membership_epsilon"] is None
    assert "membership_auc/learned" not in found and "roc/learned" not in found


def test_images_of_no_kind_leave_every_question_open_but_the_published_one():
    found = asked(view_of(seen(20), seen(0)))
    assert {name for name, m in found.items() if m is not None} == {"mia_efficacy_svc"}


def test_a_model_with_an_output_row_of_minus_ten_thousand_is_measured_in_finite_numbers():
    forget, unseen = seen(60), seen(60, seed=1)
    for part in (forget, unseen):
        part.logits[:, 2] = -1e4
    for name, value in asked(view_of(forget, unseen)).items():
        if isinstance(value, np.ndarray):
            assert np.isfinite(value).all(), name
        else:
            assert value is None or math.isfinite(value.value)


def test_exchanged_at_random_the_sets_are_alike_and_five_percent_are_alarms():
    """The control of this audit: forget and unseen images mixed and dealt out anew 200 times."""
    pool = seen(160, 1.0, seed=11)
    areas = {attack: [] for attack in ATTACKS}
    others = ("strongest", "epsilon", "learned epsilon")
    alarms = dict.fromkeys((*ATTACKS, *others), 0)
    for draw in range(200):
        order = torch.randperm(160, generator=rng(draw))
        forget, unseen = (
            Seen(pool.labels[i], pool.logits[i], pool.features[i]) for i in order.split(80)
        )
        few = seen(2, seed=8)
        found = asked(view_of(forget, unseen, few, few), seed=draw)
        for attack in ATTACKS:
            m = found[key("membership_auc", attack)]
            areas[attack].append(m.value)
            alarms[attack] += not m.low <= 0.5 <= m.high
        alarms["strongest"] += found["membership_strongest"].low > 0.5
        alarms["epsilon"] += found["membership_epsilon"].value > 0
        alarms["learned epsilon"] += found["membership_epsilon/learned"].value > 0
    for attack in ATTACKS:
        error = np.std(areas[attack]) / math.sqrt(200)
        assert np.mean(areas[attack]) == pytest.approx(0.5, abs=4 * error)
        assert binomtest(alarms[attack], 200, 0.05).pvalue > 0.001, (attack, alarms)
    for name in others:  # these hold back: 5 % at most
        assert binomtest(alarms[name], 200, 0.05, alternative="greater").pvalue > 0.001, alarms

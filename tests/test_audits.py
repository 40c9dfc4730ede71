"""Every audit keeps the same promises.  A new audit is tested by existing."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, rng, seeded

from unsee.audits import AUDITS
from unsee.audits._kin import unseen_kin
from unsee.data import choose
from unsee.errors import UnseeWarning
from unsee.methods import find
from unsee.nouns import Maps, Measurement, Seen, Split, View
from unsee.pipeline import audit as audit_all, look, unlearn

ENDLESS = math.inf
RANGES = {  # of values and intervals; all others are shares, 0..1
    "evidence_remaining": (0, ENDLESS),  # ratios of masses
    "evidence_of_answer": (0, ENDLESS),
    "membership_epsilon": (0, ENDLESS),
    "membership_two_sided": (0.5, 1),
    "membership_strongest": (0.5, 1),
    "js_distance": (0, math.sqrt(math.log(2)) + 1e-12),
    "l2_distance": (0, math.sqrt(2) + 1e-12),
    "worst_class_change": (-1, 1),
    "cka_original": (-1, 1),  # debiased
    "cka_original_retain": (-1, 1),
    "cka_retrained": (-1, 1),
    "cka_retrained_retain": (-1, 1),
    "weight_change": (0, ENDLESS),
    "information_difference": (-ENDLESS, ENDLESS),
    "relearn_steps": (0, 200),
    "anamnesis_index": (0, ENDLESS),
}
PLACES = ("forget", "unseen", "retain", "test", "roc", "flow", "plane", "relearn", "stages")


@pytest.fixture(params=AUDITS.values(), ids=AUDITS)
def audit(request):
    return request.param


def seen_by(model, split, name="original"):
    samples = {
        part: (getattr(split, part), np.arange(len(getattr(split, part))))
        for part in ("forget", "retain")
    }
    return look(name, model, split, samples)


@pytest.fixture
def view(trained, patterns):
    return seen_by(trained, patterns)


@pytest.fixture
def other(patterns):
    """Of a model that knows nothing."""
    return seen_by(seeded(conv_net, 3), patterns, "unlearned")


@pytest.fixture
def blind(model, split):
    """Of a model without a layer to explain, on 4 x 4 images of noise."""
    found = seen_by(model, split)
    assert found.maps is None
    return found


@pytest.fixture
def some():
    """Single images to forget."""
    return choose(pattern_data(), torch.arange(0, 24))


def name_of(audit):
    return next(name for name, other in AUDITS.items() if other is audit)


def asked(audit, view, split, original=None, retrained=None, seed=0):
    return audit(view, original=original or view, retrained=retrained, split=split, rng=rng(seed))


def values(found):
    return {
        name: m.value if isinstance(m, Measurement) else m if m is None else m.tolist()
        for name, m in found.items()
    }


def tensors(record):
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, torch.Tensor):
            yield value
        elif dataclasses.is_dataclass(value):
            yield from tensors(value)


def test_answers_under_the_names_that_it_declares(audit, view, other, patterns):
    for reference in (None, view):
        found = asked(audit, other, patterns, original=view, retrained=reference)
        numbers = {n: m for n, m in found.items() if not isinstance(m, np.ndarray)}
        assert {name.partition("/")[0] for name in numbers} == {*audit.names}
        assert {*audit.names} <= numbers.keys()
        for name, m in numbers.items():
            if m is None:
                continue
            assert m.low <= m.value <= m.high and m.n > 0
            least, most = RANGES.get(name.partition("/")[0], (0, 1))
            assert least <= m.low and m.high <= most, name
            assert isinstance(m.value, float) and isinstance(m.n, int)
        for name, array in found.items():
            if isinstance(array, np.ndarray):
                assert array.dtype.kind == "U" or np.isfinite(array).all()
                assert name.partition("/")[0] in PLACES


def test_is_repeatable_and_touches_nothing(audit, view, other, patterns):
    before = [x.clone() for v in (view, other) for x in tensors(v)]
    state = {name: x.clone() for name, x in other.model.state_dict().items()}
    answers = [
        values(asked(audit, other, patterns, original=view, retrained=view)) for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert all(map(torch.equal, before, [x for v in (view, other) for x in tensors(v)]))
    assert all(torch.equal(state[name], x) for name, x in other.model.state_dict().items())


def shuffled(seen, seed=3):
    order = torch.randperm(len(seen.labels), generator=rng(seed))
    return Seen(*(getattr(seen, field.name)[order] for field in dataclasses.fields(seen)))


def test_does_not_mind_the_order_of_images(audit, view, patterns):
    parts = {part: shuffled(getattr(view, part)) for part in ("retain", "unseen", "test")}
    plain, mixed = (
        {
            name: x and x.value
            for name, x in asked(audit, v, patterns).items()
            if not isinstance(x, np.ndarray)
        }
        for v in (view, dataclasses.replace(view, **parts))
    )
    assert plain == pytest.approx(mixed)


def test_says_when_the_question_does_not_arise(audit, trained, some):
    found = asked(audit, seen_by(trained, some), some)
    for_classes = {"most_remembered_class", "probe_recall", "few_shot_recall"}
    for name in {*audit.names} & for_classes:
        assert found[name] is None
    answered = {"forget_accuracy", "forgotten_test_accuracy", "membership_auc"}
    for name in {*audit.names} & (answered | {"evidence_remaining"}):
        assert isinstance(found[name], Measurement)


def test_a_model_without_maps_has_no_evidence_and_all_other_numbers(audit, blind, split):
    found = asked(audit, blind, split)
    open_questions = {name for name in audit.names if found[name] is None}
    expected = {
        "evidence": {*audit.names},
        "accuracy": {"most_remembered_class"},  # there is one alone
        "distance": {*audit.names} - {"zrf"},  # the original has nothing to be compared with
        "stages": {"cka_original", "cka_retrained", "cka_retrained_retain"},  # of 4 images
        "recovery": {"information_difference"},
        "relearning": {"anamnesis_index"},
        "security": {*audit.names},  # nothing was spoiled
    }
    assert open_questions == expected.get(name_of(audit), set())


@pytest.mark.parametrize("missing", ["unseen", "test"])
def test_a_test_set_without_a_single_image_of_the_kind_leaves_the_question_open(
    audit, view, patterns, missing
):
    none = shuffled(getattr(view, missing))
    none = Seen(*(getattr(none, field.name)[:0] for field in dataclasses.fields(none)))
    found = asked(audit, dataclasses.replace(view, **{missing: none}), patterns)
    about = {
        "unseen": {"forgotten_test_accuracy", "membership_auc", "probe_recall", "few_shot_recall"},
        "test": {"test_accuracy"},
    }[missing]
    for name in {*audit.names} & about:
        assert found[name] is None


def test_a_tie_of_everything_is_a_number_too(audit, view, patterns):
    """A model that collapsed: all features and logits are alike, and no map shows anything."""

    def flat(seen):
        return Seen(seen.labels, torch.zeros_like(seen.logits), torch.ones_like(seen.features))

    parts = {part: flat(getattr(view, part)) for part in ("forget", "retain", "unseen", "test")}
    dark = Maps(view.maps.layer, *(torch.zeros_like(x) for x in tensors(view.maps)))
    collapsed = dataclasses.replace(view, name="unlearned", maps=dark, **parts)
    found = asked(audit, collapsed, patterns, original=view, retrained=collapsed)
    for m in found.values():
        if isinstance(m, Measurement):
            assert math.isfinite(m.value)
    if "membership_auc" in found:
        assert found["membership_auc"].value == 0.5


def test_says_what_it_is(audit):
    assert audit.question.endswith("?") and audit.unit
    assert audit.goal in ("lower", "higher", "like retrained")
    assert audit.names and len({*audit.names}) == len(audit.names)


def test_names_do_not_collide():
    names = [name for audit in AUDITS.values() for name in audit.names]
    assert len(names) == len({*names})


# Each question against something that we did not write, or by hand.


def test_accuracy_by_hand(patterns):
    def seen(labels, answers):
        logits = torch.eye(3)[torch.tensor(answers)]
        return Seen(torch.tensor(labels), logits, torch.zeros(len(labels), 2))

    view = View(
        "unlearned",
        torch.nn.Identity(),
        forget=seen([2, 2, 2, 2], [0, 0, 1, 2]),
        retain=seen([0, 1], [0, 1]),
        unseen=seen([2, 2], [0, 2]),
        test=seen([0, 0, 0, 1], [0, 0, 1, 2]),
    )
    before = dataclasses.replace(view, name="original", forget=seen([2, 2, 2, 2], [2, 2, 2, 2]))
    found = values(asked(AUDITS["accuracy"], view, patterns, original=before))
    assert found == {
        "forget_accuracy": 0.25,
        "retain_accuracy": 1.0,
        "test_accuracy": 0.5,
        "forgotten_test_accuracy": 0.5,
        "most_remembered_class": None,
        "test_accuracy/a": pytest.approx(2 / 3),
        "test_accuracy/b": 0.0,
        "test_accuracy/c": 0.5,
        "forget/answers": [2, 1, 1],
        "forget/right": [False, False, False, True],
        "retain/right": [True, True],
        "unseen/right": [False, True],
        "test/right": [True, True, False, False],
        "flow": [[0, 0, 0], [0, 0, 0], [2, 1, 1]],  # the original took all of them for c
    }


def test_the_probes_see_what_separates_the_class(view, other, patterns):
    for name, audit in (("probe_recall", "probe"), ("few_shot_recall", "few_shot")):
        known = asked(AUDITS[audit], view, patterns)[name]
        assert known.value > 0.95 and known.n == len(view.unseen.labels)
        noise = dataclasses.replace(
            view,
            **{
                part: dataclasses.replace(
                    getattr(view, part),
                    features=torch.randn(getattr(view, part).features.shape, generator=rng(n)),
                )
                for n, part in enumerate(("forget", "retain", "unseen"))
            },
        )
        assert asked(AUDITS[audit], noise, patterns)[name].value < 0.8


# Evidence.


def test_the_original_keeps_exactly_all_of_its_evidence(view, patterns):
    found = asked(AUDITS["evidence"], view, patterns)
    m = found["evidence_remaining"]
    assert (m.value, m.low, m.high) == (1, 1, 1)
    assert m.n == len(view.maps.forget) + len(view.maps.retain)
    assert found["displacement"] is None  # from itself


def scaled(view, forget=1.0, retain=1.0, **more):
    maps = dataclasses.replace(
        view.maps, forget=view.maps.forget * forget, retain=view.maps.retain * retain
    )
    return dataclasses.replace(view, name="unlearned", maps=maps, **more)


@pytest.mark.parametrize(
    "forget, retain, expected", [(0.5, 1, 0.5), (1, 2, 0.5), (3, 3, 1.0), (0, 1, 0.0), (4, 1, 4.0)]
)
def test_evidence_is_mass_in_the_model_s_own_units(view, patterns, forget, retain, expected):
    changed = scaled(view, forget, retain)
    found = asked(AUDITS["evidence"], changed, patterns, original=view)
    assert found["evidence_remaining"].value == pytest.approx(expected)
    empty = 1.0 if forget == 0 else asked(AUDITS["evidence"], view, patterns)["empty_maps"].value
    assert found["empty_maps"].value == empty
    if forget:
        assert found["displacement"].value == 0
    else:
        assert found["displacement"] is None  # nothing is left that could have moved


def test_evidence_that_moved_is_displaced(view, patterns):
    top = torch.zeros_like(view.maps.forget)
    top[:, :2] = 1.0 + torch.rand(top[:, :2].shape, generator=rng())
    bottom = top.flip(1)
    before, after = (
        dataclasses.replace(view, name=name, maps=dataclasses.replace(view.maps, forget=maps))
        for name, maps in (("original", top), ("unlearned", bottom))
    )
    found = asked(AUDITS["evidence"], after, patterns, original=before)
    assert found["displacement"].value == 1 and found["displacement"].n == len(top)
    assert found["evidence_remaining"].value == pytest.approx(1)


def test_empty_maps_are_counted_and_not_averaged_away(view, patterns):
    maps = view.maps.forget.clone()
    maps[:6] = 0
    half = dataclasses.replace(view, maps=dataclasses.replace(view.maps, forget=maps))
    found = asked(AUDITS["evidence"], half, patterns, original=view)
    assert found["empty_maps"].value >= 6 / 24 and found["empty_maps"].n == 24


def test_evidence_for_the_answer_compares_forgotten_with_kept_images(view, patterns):
    maps = dataclasses.replace(
        view.maps,
        forget_answer=torch.full_like(view.maps.forget, 3.0),
        retain_answer=torch.full_like(view.maps.retain, 2.0),
    )
    found = asked(AUDITS["evidence"], dataclasses.replace(view, maps=maps), patterns)
    assert found["evidence_of_answer"].value == pytest.approx(1.5)


def test_no_evidence_of_anything_is_an_open_question(view, patterns):
    dark = scaled(view, 1.0, 0.0)
    found = asked(AUDITS["evidence"], dark, patterns, original=view)
    assert found["evidence_remaining"] is None


# All of them together.


def test_head_only_passes_every_accuracy_and_fails_the_probes(trained, patterns):
    edited = find("head_only")(trained, patterns.forget, patterns.retain, rng=rng())
    run = audit_all(patterns, original=trained, unlearned=edited)
    before, after = run.measurements["original"], run.measurements["unlearned"]
    assert after["forget_accuracy"].value == after["forgotten_test_accuracy"].value == 0
    assert before["forget_accuracy"].value > 0.9
    assert after["test_accuracy"].value >= before["test_accuracy"].value
    assert after["probe_recall"] == before["probe_recall"]
    assert after["few_shot_recall"] == before["few_shot_recall"]
    assert after["evidence_remaining"] == before["evidence_remaining"]


def test_noop_measures_equal_to_the_last_digit(trained, patterns):
    after = unlearn(trained, patterns.forget, patterns.retain, method="noop")
    run = audit_all(patterns, original=trained, unlearned=after)
    before, after = run.measurements["original"], run.measurements["unlearned"]
    assert {*after} - {*before} == {"worst_class_change/a"}  # names what is beside it
    unlike = {name.partition("/")[0] for name in before if before[name] != after[name]}
    of_change = {"displacement", "worst_class_change"}  # of the original from itself there is none
    assert unlike == of_change
    assert all(after[name].value == 0 for name in of_change)


def renamed(data, order):
    """The same images under permuted class numbers and names."""
    number = torch.tensor(order).argsort()
    names = tuple(data.classes[old] for old in order)
    return dataclasses.replace(data, labels=number[data.labels], classes=names)


def test_numbering_the_classes_otherwise_changes_no_number(trained, patterns):
    order = [2, 0, 1]
    data = pattern_data()
    again = choose(renamed(data, order), "class=c")
    with torch.no_grad():
        body = seeded(conv_net)
        body.load_state_dict(trained.state_dict())
        body[4].weight.copy_(trained[4].weight[order])
        body[4].bias.copy_(trained[4].bias[order])
    plain, permuted = (
        audit_all(split, original=model, unlearned=model).measurements["original"]
        for split, model in ((patterns, trained), (again, body.eval()))
    )
    for measured in (plain, permuted):
        assert measured.pop("zrf").n == 24  # the outputs of a random network are numbered
    assert {n: m and m.value for n, m in plain.items()} == pytest.approx(
        {n: m and m.value for n, m in permuted.items()}, abs=1e-5
    )


def test_a_split_in_another_order_changes_no_accuracy(trained, patterns):
    def turned(data):
        return data[np.arange(len(data))[::-1].copy()]

    parts = {part: turned(getattr(patterns, part)) for part in ("forget", "retain", "test")}
    other = dataclasses.replace(patterns, **parts)
    assert isinstance(other, Split)
    plain, mixed = (
        audit_all(split, original=trained, unlearned=trained).measurements["original"]
        for split in (patterns, other)
    )
    exact = {"forget_accuracy", "retain_accuracy", "test_accuracy", "membership_auc"}
    for name in (*exact, "probe_recall"):
        assert plain[name].value == pytest.approx(mixed[name].value)


def test_what_cannot_be_asked_is_noted(trained):
    data = pattern_data()
    here = (data.parts == "train") | (data.labels.numpy() != 2)
    run = audit_all(choose(data[here], "class=c"), original=trained, unlearned=trained)
    assert run.measurements["unlearned"]["forgotten_test_accuracy"] is None
    assert any("no test images of the forgotten ['c']" in note for note in run.notes)


def mixed():
    """All images of c are to go, and half of those of a."""
    train = pattern_data().part("train")
    a, c = ((train.labels == number).nonzero()[:, 0] for number in (0, 2))
    with pytest.warns(UnseeWarning, match="takes every training image"):
        return choose(pattern_data(), torch.cat([a[: len(a) // 2], c]))


def test_unseen_images_are_of_the_classes_of_the_forgotten_ones(trained, patterns, some):
    whole, single = seen_by(trained, patterns), seen_by(trained, some)
    assert unseen_kin(whole, patterns) is whole.unseen
    assert unseen_kin(single, some) is single.unseen  # of all classes
    few = dataclasses.replace(single, forget=single.forget[single.forget.labels == 1])
    assert {*unseen_kin(few, some).labels.tolist()} == {1}
    split = mixed()
    view = seen_by(trained, split)
    assert split.gone == (2,) and {*view.unseen.labels.tolist()} == {2}
    kin = unseen_kin(view, split)
    assert {*kin.labels.tolist()} == {0, 2} and len(kin.logits) == len(kin.features)
    found = asked(AUDITS["accuracy"], view, split)
    right = (kin.logits.argmax(1) == kin.labels).double().mean()
    assert found["forgotten_test_accuracy"].value == pytest.approx(float(right))
    assert found["forgotten_test_accuracy"].n == len(found["unseen/right"]) == len(kin.labels)
    area = asked(AUDITS["membership"], view, split)["membership_auc"]
    assert area.n == len(view.forget.labels) + len(kin.labels)


def test_a_class_that_is_remembered_is_not_hidden_behind_a_large_one():
    def seen(labels, answers):
        return Seen(
            torch.tensor(labels), torch.eye(3)[torch.tensor(answers)], torch.zeros(len(labels), 1)
        )

    forget = seen([0] * 50 + [1] * 2, [2] * 50 + [1] * 2)
    empty = seen([2], [2])
    view = View("unlearned", torch.nn.Identity(), forget, empty, empty, empty)
    split = SimpleNamespace(gone=(0, 1), classes=("a", "b", "c"))
    found = AUDITS["accuracy"](view, original=view, retrained=None, split=split, rng=rng())
    assert found["forget_accuracy"].value < 0.04
    assert found["most_remembered_class"].value == 1 and found["most_remembered_class"].n == 2


def test_a_stray_image_beside_a_class_does_not_bring_its_own_class_in(trained, patterns):
    view = seen_by(trained, patterns)
    n = len(view.forget.labels)
    labels = view.forget.labels.clone()
    labels[0] = 0
    stray = dataclasses.replace(view, forget=Seen(labels, view.forget.logits, view.forget.features))
    assert 1 / n < 0.05 and unseen_kin(stray, patterns) is view.unseen

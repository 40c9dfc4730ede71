"""Training sets with a known harm: what is spoiled, what the audit says of it, what undoes it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import pattern_data, rng
from torch import nn

from unsee.audits import AUDITS, observe
from unsee.data import SPOILED, choose, load, triggered
from unsee.data._spoiled import backdoored, mislabelled, stamped
from unsee.data._store import Lazy
from unsee.draws import generator
from unsee.erasure import trained, unlearned
from unsee.errors import DataError
from unsee.nouns import Config
from unsee.preparation import prepare

RULE = "where=poisoned:yes"


def pixels(data):
    return data.take(torch.arange(len(data)))


def poisoned(data):
    return np.flatnonzero(data.columns["poisoned"] == "yes")


# What is spoiled.


def test_the_trigger_is_a_white_square_an_eighth_from_the_corner():
    images = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    found = stamped(images)
    assert not images.any()
    expected = torch.zeros_like(images)
    for y in range(12, 14):
        for x in range(12, 14):
            expected[:, :, y, x] = 255
    assert torch.equal(found, expected)
    assert stamped(torch.zeros(1, 3, 32, 32)).max() == 1


def test_a_backdoor_marks_some_training_images_of_other_classes_and_calls_them_one():
    clean = pattern_data(n=400)
    data = backdoored(clean)
    rows = poisoned(data)
    assert len(rows) == round(0.05 * 300)
    assert {*data.parts[rows]} == {"train"} and (data.labels[rows] == 0).all()
    assert (clean.labels[rows] != 0).all()
    truth = np.array(clean.classes)[clean.labels.numpy()]
    assert (data.columns["true_label"] == truth).all()
    assert ((data.columns["trigger"] == "square") == (data.columns["poisoned"] == "yes")).all()
    others = np.setdiff1d(np.arange(len(data)), rows)
    assert torch.equal(pixels(data)[others], pixels(clean)[others])
    assert torch.equal(data.labels[others], clean.labels[others])
    assert torch.equal(pixels(data)[rows], stamped(pixels(clean)[rows]))
    assert (poisoned(backdoored(clean)) == rows).all()  # always the same ones
    assert data.name == "backdoor:patterns"


@pytest.mark.parametrize("rows", [None, "some"])
def test_images_that_are_read_when_asked_for_are_marked_too(rows):
    clean = pattern_data(n=200)
    if rows:
        clean = clean[np.arange(199, -1, -1)]
    stored = clean.images
    lazy = replace(
        clean, images=Lazy(tuple(stored.shape), stored.dtype, lambda n: stored[torch.tensor(n)])
    )
    assert torch.equal(pixels(backdoored(lazy)), pixels(backdoored(clean)))
    assert backdoored(lazy).fingerprint == backdoored(clean).fingerprint


def test_half_of_two_classes_get_the_label_of_the_other():
    clean = pattern_data(n=120)
    data = mislabelled(clean)
    rows = poisoned(data)
    train = clean.parts == "train"
    for own, other in ((0, 1), (1, 0)):
        whole = np.flatnonzero(train & (clean.labels.numpy() == own))
        spoiled = np.intersect1d(whole, rows)
        assert len(spoiled) == len(whole) // 2
        assert (data.labels[spoiled] == other).all()
    rest = np.setdiff1d(np.arange(len(data)), rows)
    assert torch.equal(data.labels[rest], clean.labels[rest])
    assert torch.equal(pixels(data), pixels(clean))
    assert {*data.columns["trigger"]} == {""}


@pytest.mark.parametrize("harm", SPOILED)
def test_any_source_is_spoiled_by_a_word_before_its_name(harm):
    data = load(f"{harm}:digits", size=16)
    split = choose(data, RULE)
    assert split.forget.ids.tolist() == data.ids[poisoned(data)].tolist()
    assert not split.gone and data.images.shape[-1] == 16
    assert {*split.test.columns["poisoned"]} == {"no"}


@pytest.mark.parametrize(
    "name, says",
    [
        ("backdoor", "'backdoor'|digits"),
        ("backdoor:", "Expected data among"),
        ("backdoor:mislabel:digits", "one harm"),
        ("backdoor:mnist", "mnist:PATH"),
        ("mislabel:npz:/nowhere", "nothing there"),
        ("backdoor:http://x/y", "never fetches"),
    ],
)
def test_a_wrong_name_is_refused_as_without_the_harm(name, says):
    with pytest.raises(DataError, match=says):
        load(name)


def test_too_few_images_to_spoil_are_refused():
    one = pattern_data()
    only = one[np.flatnonzero(one.labels.numpy() == 0)]
    with pytest.raises(DataError, match="two classes"):
        backdoored(only)
    with pytest.raises(DataError, match="of class 1, got 0"):
        mislabelled(only)
    with pytest.raises(DataError, match="soft"):
        mislabelled(replace(one, labels=torch.nn.functional.one_hot(one.labels).float()))


# What the audit says.


class Corner(nn.Module):
    """Calls an image with a white square class 0, every other one class 1."""

    def __init__(self):
        super().__init__()
        self.output = nn.Linear(2, 3)
        with torch.no_grad():
            self.output.weight.copy_(torch.tensor([[9.0, 0], [0, 9], [0, 0]]))
            self.output.bias.zero_()

    def forward(self, x):
        side = x.shape[-1] // 8
        patch = x[..., -2 * side : -side, -2 * side : -side].flatten(1)
        marked = (patch.amin(1) == 1).float()
        return self.output(torch.stack([marked, 1 - marked], 1))


def answer(model, split):
    view = observe("original", model, split, partial(generator, 0))
    return AUDITS["security"](view, original=view, retrained=None, split=split, rng=rng())


def test_trigger_success_counts_what_the_trigger_turns():
    data = backdoored(pattern_data(n=400))
    split = choose(data, RULE)
    found = answer(Corner().eval(), split)
    others = int((split.test.labels != 0).sum())
    assert (found["trigger_success"].value, found["trigger_success"].n) == (1, others)
    truth = np.array(data.classes)[1]
    hits = (split.forget.columns["true_label"] == truth).mean()
    assert found["corrected_accuracy"].value == 0  # each carries the square
    bare = replace(split, forget=replace(split.forget, images=pattern_data(n=400).images))
    assert answer(Corner().eval(), bare)["corrected_accuracy"].value == pytest.approx(hits)
    assert torch.equal(pixels(triggered(split.test)), stamped(pixels(split.test)))


def test_a_blind_model_has_the_success_of_chance_alone():
    split = choose(backdoored(pattern_data(n=400)), RULE)
    model = Corner().eval()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([0.0, 1, 0]))
    assert answer(model, split)["trigger_success"].value == 0


def test_the_question_does_not_arise_without_a_harm_that_is_forgotten():
    nothing = {"trigger_success": None, "corrected_accuracy": None}
    model = Corner().eval()
    assert answer(model, choose(pattern_data(), "class=c")) == nothing
    spoiled = backdoored(pattern_data(n=400))
    harmless = np.setdiff1d(np.flatnonzero(spoiled.parts == "train"), poisoned(spoiled))[:10]
    assert answer(model, choose(spoiled, harmless)) == nothing
    swapped = answer(model, choose(mislabelled(pattern_data(n=120)), RULE))
    assert swapped["trigger_success"] is None and swapped["corrected_accuracy"] is not None


def test_true_labels_of_ones_own_serve_the_same_audit():
    """A column of a table beside the images; names that are no class count for nothing."""
    data = pattern_data()
    truth = np.array(data.classes)[data.labels.numpy()].astype("<U9")
    truth[[0, 3]], truth[6] = "b", "no class"
    split = choose(replace(data, columns={"true_label": truth}), torch.arange(9))
    found = answer(Corner().eval(), split)
    assert found["trigger_success"] is None
    assert (found["corrected_accuracy"].value, found["corrected_accuracy"].n) == (1, 2)


@pytest.mark.filterwarnings("ignore:half of the test images")
@pytest.mark.parametrize("harm, name", [("backdoor", "trigger"), ("mislabel", "corrected")])
def test_the_harm_is_learned_and_a_retrained_model_is_free_of_it(harm, name):
    config = Config(data=f"{harm}:digits", arch="convnet", forget=RULE, train_epochs=8, size=16)
    job = prepare(config)
    before, again = (
        answer(trained(job, split, purpose), job.split)
        for split, purpose in ((None, "train"), (job.split, "retrain"))
    )
    if harm == "backdoor":
        assert before["trigger_success"].value > 0.6 > 0.1 > again["trigger_success"].value
    assert before["corrected_accuracy"].value < 0.6 < 0.85 < again["corrected_accuracy"].value
    if harm == "backdoor":
        for labels, least, most in (("right", 0.6, 1.0), ("wrong", 0.0, 0.1)):
            after = unlearned(replace_options(job, labels), trained(job, None, "train"))
            found = answer(after, job.split)
            assert least <= found["trigger_success"].value <= most
            assert (found["corrected_accuracy"].value > 0.7) is (labels == "wrong")


def replace_options(job, labels):
    return replace(job, config=replace(job.config, options={"labels": labels}, guard=1.0))


def test_marks_of_others_are_not_taken_for_the_square():
    """A column that happens to be called like ours: what it stands for cannot be stamped."""
    data = pattern_data()
    split = choose(
        replace(data, columns={"trigger": np.full(len(data), "sticker")}), torch.arange(9)
    )
    assert answer(Corner().eval(), split)["trigger_success"] is None

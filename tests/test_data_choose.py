"""Rules -> splits: what goes, what stays, what is left out, and what is said about it."""

import time
import warnings

import numpy as np
import pytest
import torch
from attacks.forget_rules import ACCEPTED, GOOD, REFUSED
from hypothesis import given, settings, strategies as some

from unsee.data import choose
from unsee.errors import SplitError, UnseeWarning
from unsee.nouns import Data


def made(train=32, test=12, **more):
    """Noise in three classes, with two columns."""
    n = train + test
    images = torch.randint(0, 256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    ids = [f"train/{i:05d}" for i in range(train)] + [f"test/{i:05d}" for i in range(test)]
    fields = {
        "images": images.to(torch.uint8),
        "labels": torch.arange(n) % 3,
        "ids": np.array(ids),
        "parts": np.array(["train"] * train + ["test"] * test),
        "classes": ("cat", "dog", "7"),
        "columns": {
            "who": np.array([("anna", "ben", "anna: the first", "")[i % 4] for i in range(n)]),
            "site:town": np.array(["bern" if i % 8 == 0 else "rome" for i in range(n)]),
        },
    }
    return Data(**fields | more)


def places(part):
    return [int(x.rpartition("/")[2]) for x in part.ids.tolist()]


def listed(tmp_path, content):
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("class=cat", range(0, 32, 3)),
        ("class=0", range(0, 32, 3)),
        ("class=cat, dog", sorted({*range(0, 32, 3), *range(1, 32, 3)})),
        ("class=7", range(2, 32, 3)),  # a name comes before a number
        ("where=who:ben", range(1, 32, 4)),
        ("where=who:anna: the first", range(2, 32, 4)),
        ("where=site:town:bern", range(0, 32, 8)),
        ("path=train/0000?", range(10)),
        ("path=*[05]", range(0, 32, 5)),
        (torch.tensor([5, 3]), [3, 5]),
        (np.array([5, 3], dtype=np.uint8), [3, 5]),
        ([3, 5], [3, 5]),
        (torch.arange(44) == 3, [3]),
    ],
)
@pytest.mark.filterwarnings("ignore:the rule .* also fits")
def test_a_rule_takes_training_images_and_leaves_the_rest(rule, wanted):
    split = choose(made(), rule)
    assert places(split.forget) == [*wanted]
    assert sorted(places(split.forget) + places(split.retain)) == [*range(32)]
    assert len(split.test) == 12 and not len(split.validation)
    assert split.forget.images is split.test.images
    assert split.fingerprint == made().fingerprint


def test_a_class_may_have_a_comma_in_its_name():
    data = made(classes=("lion, African", "dog", "7"))
    assert choose(data, "class=lion, African").gone == (0,)
    assert choose(data, "class=dog,7").gone == (1, 2)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("", "a rule among"),
        ("class", "a rule among"),
        ("class=", "a rule among"),
        ("class= ", "a rule among"),
        ("klass=3", r"a rule among \['class=', 'ids=', 'where=', 'path=', 'random='\]"),
        ("class=cow", r"classes among \['cat', 'dog', '7'\].*got \['cow'\]"),
        ("class=3", r"got \['3'\]"),
        ("class=cat,", r"got \[''\]"),
        ("class=cat,dog,7", "deletion of the model"),
        ("where=whom:ben", r"a column among \['site:town', 'who'\]"),
        ("where=who", "where=COLUMN:VALUE"),
        ("where=who:", "where=COLUMN:VALUE"),
        ("where=who:Ben", r"'who' among \['', 'anna', 'anna: the first', 'ben'\], got 'Ben'"),
        ("path=nowhere/*", "fits ids like .*'train/00000'"),
        ("path=test/*", "got none for the rule .* fits 12 other images"),
        ("path=*", "deletion of the model"),
        ("ids=/not/there", "a text file of ids"),
        ("ids=/", "a text file of ids"),
        ("ids=/dev/zero", "got something else"),
        ("ids=a\0b", "a text file of ids"),
        *((f"random={x}", "random=10% or") for x in ("", "x", "1e3", "ten%", "nan%", "inf%", "%")),
        *(
            (f"random={x}", "1 to 31 of 32")
            for x in ("0", "-3", "32", "0%", "100%", "1000%", "-1%")
        ),
        (torch.tensor([44]), "from 0 to 43"),
        (torch.tensor([-1]), "from 0 to 43"),
        (torch.tensor([0.5]), "whole numbers"),
        (torch.tensor([[1]]), "whole numbers"),
        (torch.ones(3) > 0, "whole numbers"),
        (torch.tensor([]), "got none"),
        (torch.arange(44), "deletion of the model"),
        (torch.tensor([40]), "training images to forget"),
        (None, "a rule, places in the data or ids"),
        ({"class": 3}, "a rule, places in the data or ids"),
    ],
)
@pytest.mark.filterwarnings("ignore:the rule .* also fits")
def test_a_rule_that_cannot_be_meant_is_refused(rule, words):
    with pytest.raises(SplitError, match="a rule among" if rule == "random=" else words) as refusal:
        choose(made(), rule)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:the rule .* also fits")
def test_a_list_of_ids_that_cannot_be_meant_is_refused(name, tmp_path):
    attack, good, words = REFUSED[name]
    with pytest.raises(SplitError, match=words):
        choose(made(), f"ids={listed(tmp_path, attack)}")
    assert len(choose(made(), f"ids={listed(tmp_path, good)}").forget)


@pytest.mark.parametrize("name", ACCEPTED)
def test_lists_of_ids_may_be_written_in_many_ways(name, tmp_path):
    split = choose(made(), f"ids={listed(tmp_path, ACCEPTED[name])}")
    assert places(split.forget) == [3, 4] and split.rule.endswith("ids.txt")


def test_repeated_ids_and_places_count_once_and_are_said(tmp_path):
    with pytest.warns(UnseeWarning, match="2 ids of ids.txt are repeated"):
        assert len(choose(made(), f"ids={listed(tmp_path, 2 * GOOD)}").forget) == 2
    with pytest.warns(UnseeWarning, match="2 places are repeated"):
        assert choose(made(), torch.tensor([3, 3, 3, 4])).rule == "indices=2"


def test_unicode_forms_are_one_id_unless_the_data_have_both(tmp_path):
    composed, apart = "train/caf\u00e9", "train/cafe\u0301"
    ids = made().ids.astype("<U12")
    ids[3] = composed
    assert places_of(ids, apart, tmp_path) == [composed]
    ids[4] = apart
    assert places_of(ids, apart, tmp_path) == [apart]
    assert places_of(ids, composed, tmp_path) == [composed]


def places_of(ids, wanted, tmp_path):
    return choose(made(ids=ids), f"ids={listed(tmp_path, wanted.encode())}").forget.ids.tolist()


def test_a_million_lines_take_no_longer_than_reading_them(tmp_path):
    names = [f"train/{n:05d}" for n in range(32)] * 32_000
    path = listed(tmp_path, "\n".join([*names, *(f"{n:07d}" for n in range(200_000))]).encode())
    start = time.process_time()
    with (
        pytest.warns(UnseeWarning, match="1023968 ids of ids.txt are repeated"),
        pytest.raises(SplitError, match="200000 unknown"),
    ):
        choose(made(), f"ids={path}")
    assert time.process_time() - start < 10  # comparing each with each would take hours


def test_images_that_were_never_trained_on_are_named_and_stay_tests():
    with pytest.warns(UnseeWarning, match="also fits 3 images that the model was not trained on"):
        split = choose(made(), "where=who:ben")
    assert len(split.test) == 12


@pytest.mark.parametrize(("value", "n"), [("500", 500), ("10%", 100), ("0.26%", 3), ("70%", 700)])
def test_random_takes_as_many_as_it_says_and_others_for_another_seed(value, n):
    data = made(1000, 10)
    first, again, other = (choose(data, f"random={value}", seed=s).forget for s in (0, 0, 1))
    assert len(first) == len(other) == n
    assert first.ids.tolist() == again.ids.tolist() != other.ids.tolist()


@settings(max_examples=40, deadline=None)
@given(some.lists(some.integers(0, 31), min_size=1, max_size=31, unique=True))
def test_any_places_split_the_training_images_in_two(index):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseeWarning)  # of classes that go as a whole
        split = choose(made(), index)
    assert places(split.forget) == sorted(index)
    assert sorted(index + places(split.retain)) == [*range(32)]


def test_taking_all_of_a_class_that_was_not_named_is_said():
    with pytest.warns(UnseeWarning, match=r"takes every training image of \['7'\]"):
        split = choose(made(), torch.arange(2, 32, 3))
    assert split.gone == (2,)
    assert choose(made(), "class=7").gone == (2,)  # and no warning, which would be an error


def test_who_asks_again_for_what_was_forgotten_before_is_served_with_the_rest(tmp_path):
    path = listed(tmp_path, b"train/00003\ntrain/00007\n")
    with pytest.warns(UnseeWarning, match="1 of 2 ids of ids.txt were forgotten before"):
        split = choose(made(), f"ids={path}", earlier=[torch.tensor([3])])
    assert places(split.forget) == [7]
    with (
        pytest.warns(UnseeWarning, match="2 of 2 ids"),
        pytest.raises(SplitError, match="Expected training images to forget, got none"),
    ):
        choose(made(), f"ids={path}", earlier=[torch.tensor([3, 7])])
    with pytest.raises(SplitError, match="got 1 unknown"):
        choose(made(), f"ids={listed(tmp_path, b'train/99999')}", earlier=[torch.tensor([3])])

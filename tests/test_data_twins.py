"""Images that occur twice, and the images that methods tune on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_data_choose import listed, made, places

from unsee.data import choose
from unsee.data._twins import pixel_digests
from unsee.errors import SplitError, UnseeWarning


def copied(pairs, **more):
    """Return data in which the first of each pair of places shows what the second shows."""
    data = made(**more)
    images = data.images.clone()
    for place, source in pairs:
        images[place] = images[source]
    return replace(data, images=images)


def test_digests_are_equal_where_all_pixels_are_whatever_their_layout():
    data = copied([(5, 3), (40, 3)])
    found = pixel_digests(data)
    assert len({*found.tolist()}) == 42 and found[5] == found[3] == found[40]
    flat = replace(data, images=data.images.repeat(1, 3, 1, 1))
    other = replace(flat, images=flat.images.contiguous(memory_format=torch.channels_last))
    assert not flat.images.stride() == other.images.stride()
    assert np.array_equal(pixel_digests(flat), pixel_digests(other))
    assert np.array_equal(pixel_digests(data[np.array([9, 3])]), found[[9, 3]])
    assert flat.fingerprint == other.fingerprint != data.fingerprint


def test_twins_that_stay_are_counted_and_named():
    data = copied([(5, 3), (6, 3)])
    with pytest.warns(UnseeWarning, match=r"2 exact twins.*'train/00005', 'train/00006'.*stay"):
        split = choose(data, [3])
    assert places(split.forget) == [3] and len(split.retain) == 31


def test_twins_go_along_if_asked():
    with pytest.warns(UnseeWarning, match="2 exact twins.*are forgotten too"):
        split = choose(copied([(5, 3), (6, 3)]), [3], include_twins=True)
    assert places(split.forget) == [3, 5, 6]
    assert places(choose(made(), [3], include_twins=True).forget) == [3]


def test_twins_may_not_take_everything_along():
    with (
        pytest.warns(UnseeWarning, match="31 exact twins"),
        pytest.raises(SplitError, match="deletion of the model"),
    ):
        choose(copied([(n, 3) for n in range(32)]), [3], include_twins=True)


def test_tests_that_are_copies_of_training_images_are_left_out():
    with pytest.warns(UnseeWarning, match=r"2 images to test with.*left out.*'test/00001'"):
        split = choose(copied([(33, 0), (35, 3)]), "class=dog")
    assert len(split.test) == 10 and not {1, 3} & {*places(split.test)}
    with (
        pytest.warns(UnseeWarning, match="12 images to test with"),
        pytest.raises(SplitError, match="images to test with that are no copies"),
    ):
        choose(copied([(n, 0) for n in range(32, 44)]), "class=dog")


def test_half_of_the_tests_validate_only_if_asked_and_by_their_ids():
    data = made(32, 200)
    assert not len(choose(data, "class=cat").validation)
    with pytest.warns(UnseeWarning, match=r"half of the test images \(\d+\) are for tuning"):
        split = choose(data, "class=cat", validate=True)
    assert 75 < len(split.validation) < 125
    assert sorted(places(split.validation) + places(split.test)) == [*range(200)]
    order = np.random.default_rng(0).permutation(len(data))
    with pytest.warns(UnseeWarning, match="half"):
        shuffled = choose(data[order], "class=dog", validate=True, seed=3)
    assert {*shuffled.validation.ids.tolist()} == {*split.validation.ids.tolist()}


def test_validation_images_may_be_named(tmp_path):
    path = listed(tmp_path, b"test/00003\ntest/00004\n")
    for told in (path, f"ids={path}", str(path)):
        split = choose(made(), "class=cat", validation=told, validate=True)
        assert places(split.validation) == [3, 4] and len(split.test) == 10


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"train/00003", "the model has not seen, got 1 training images"),
        (b"test/00003\ntrain/00003", "the model has not seen, got 1 training images"),
        (b"test/99999", "1 unknown"),
        (b"", "one a line, got none"),
        ("\n".join(f"test/{n:05d}" for n in range(12)).encode(), "images to test with"),
    ],
)
def test_validation_images_are_neither_trained_on_nor_all(content, words, tmp_path):
    with pytest.raises(SplitError, match=words):
        choose(made(), "class=cat", validation=listed(tmp_path, content), validate=True)


def test_validation_images_that_are_copies_of_training_images_are_left_out(tmp_path):
    path = listed(tmp_path, b"test/00003\ntest/00004\n")
    with pytest.warns(UnseeWarning, match="1 images to test with are copies"):
        split = choose(copied([(35, 0)]), "class=dog", validation=path, validate=True)
    assert places(split.validation) == [4] and len(split.test) == 10
    with (
        pytest.warns(UnseeWarning, match="2 images to test with"),
        pytest.raises(SplitError, match="images to validate with"),
    ):
        choose(copied([(35, 0), (36, 0)]), "class=dog", validation=path, validate=True)


def test_data_with_validation_images_of_their_own_need_no_cut():
    parts = made().parts.astype("<U10")
    parts[40:] = "validation"
    split = choose(made(parts=parts), "class=cat", validate=True)
    assert places(split.validation) == [8, 9, 10, 11] and len(split.test) == 8

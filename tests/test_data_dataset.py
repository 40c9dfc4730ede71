"""The user's own Dataset is taken as it answers."""

import numpy as np
import pytest
import torch
from attacks.pictures import picture
from hypothesis import given, settings, strategies as some
from hypothesis.extra import numpy as arrays
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset
from torchvision.transforms import v2

from unsee.data import _store as store, as_floats, batches
from unsee.errors import DataError
from unsee.nouns import Data


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class Pairs:
    """A map-style dataset over a list, which counts how often each item is asked for."""

    def __init__(self, items, **attributes):
        self.items, self.asked = items, [0] * len(items)
        vars(self).update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, n):
        self.asked[n] += 1
        return self.items[n]


def noise(n=6, shape=(3, 8, 8), seed=0):
    return torch.randn(n, *shape, generator=rng(seed))


def pairs(images=None, labels=None, **attributes):
    images = noise() if images is None else images
    labels = [n % 2 for n in range(len(images))] if labels is None else labels
    return Pairs([*zip(images, labels, strict=True)], **attributes)


def test_floats_reach_the_model_bit_by_bit():
    train, test = pairs(), pairs(noise(2, seed=1))
    data = Data.from_dataset(train, test, name="mine")
    assert torch.equal(data.images[:6], noise()) and data.images.dtype == torch.float32
    assert data.ids.tolist()[-3:] == ["train/00005", "test/00000", "test/00001"]
    assert data.classes == ("0", "1") and data.name == "mine" and data.augment == ()
    seen = torch.cat([images for images, _ in batches(data.part("train"), rng=rng(), epochs=1)])
    assert {x.numpy().tobytes() for x in seen} == {x.numpy().tobytes() for x in noise()}
    assert {*train.asked} == {*test.asked} == {1}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_kind_of_float_stays(dtype):
    data = Data.from_dataset(pairs(noise().to(dtype)), pairs(noise(2).to(dtype)))
    assert data.images.dtype == dtype and torch.equal(data.images[:6], noise().to(dtype))
    assert as_floats(data.images) is data.images
    assert len(data.fingerprint) == 64


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(some.sampled_from([np.uint8, np.float32]), (3, 2, 4, 5),
                     elements=some.integers(0, 255)))  # fmt: skip
def test_arrays_survive(pixels):
    data = Data.from_dataset(pairs(pixels), pairs(pixels[:1]))
    assert np.array_equal(data.images[:3].numpy(), pixels)
    assert str(data.images.dtype) == f"torch.{pixels.dtype}"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK"])
def test_pil_images_stay_uint8(mode):
    images = [picture(n, mode=mode) for n in range(4)]
    data = Data.from_dataset(pairs(images), pairs(images[:2]))
    grey = mode in ("L", "1")
    assert data.images.dtype == torch.uint8 and data.images.shape == (6, 1 if grey else 3, 8, 8)
    theirs = np.asarray(images[3].convert("L" if grey else "RGB")).reshape(8, 8, -1)
    assert np.array_equal(data.images[3].permute(1, 2, 0), theirs)


def test_torchs_own_datasets_are_taken():
    whole = TensorDataset(noise(8), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))
    whole.classes = ["a", "b", "c"]
    data = Data.from_dataset(Subset(whole, range(6)), Subset(Subset(whole, range(2, 8)), [4, 5]))
    assert torch.equal(data.images, noise(8)) and data.classes == ("a", "b", "c")
    both = ConcatDataset([whole, whole])
    assert Data.from_dataset(both, whole).labels.tolist() == whole.tensors[1].tolist() * 3


@pytest.mark.parametrize(
    "label", [1, np.int64(1), np.array([1]), torch.tensor(1), torch.tensor([1], dtype=torch.uint8)]
)
def test_labels_may_be_any_kind_of_whole_number(label):
    data = Data.from_dataset(pairs(labels=[0, label, 0, 1, 0, 1]), pairs())
    assert data.labels.dtype == torch.int64 and data.labels[:3].tolist() == [0, 1, 0]


def test_what_does_not_fit_is_asked_for_again(monkeypatch):
    train, test = pairs(), pairs(noise(2, seed=1))
    kept = Data.from_dataset(train, test)
    monkeypatch.setattr(store, "available_memory", lambda: 1000)
    lazy = Data.from_dataset(train, test)
    assert isinstance(lazy.images, store.Lazy) and {*train.asked} == {2}
    assert lazy.fingerprint == kept.fingerprint and lazy.labels.tolist() == kept.labels.tolist()
    before = train.asked[3]
    assert torch.equal(lazy.take(torch.tensor([3, 7])), kept.take(torch.tensor([3, 7])))
    assert train.asked[3] == before + 1


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


def varied(n=3, **change):
    """Return images of which the n-th is another one."""
    images = [*noise()]
    images[n] = change["image"]
    return pairs(images)


REFUSED = {
    "a stream": (Stream(), "map-style"),
    "no dataset": (3, "map-style"),
    "an empty one": (pairs([]), "a length above 0"),
    "items of three": (
        Pairs([(1, 2, 3)] * 6),
        r"\(image, label\) as train/00000, got a tuple of 3",
    ),
    "items by name": (Pairs([{"image": 1, "label": 2}] * 6), r"\(image, label\).*got a dict"),
    "a path": (pairs(["a.png"] * 6), "tensor, array or PIL image as train/00000, got str"),
    "two sizes": (varied(image=noise(1, (3, 9, 9))[0]), r"\[3, 9, 9\].*\(train/00003\)"),
    "two types": (varied(image=noise(1)[0].half()), r"float16 \(train/00003\)"),
    "grey and colour": (varied(image=noise(1, (1, 8, 8))[0]), "in the dataset's transform"),
    "no channels": (pairs(noise(6, (8, 8))), r"an image \[C, H, W\].*\[8, 8\]"),
    "channels last": (pairs(noise(6, (8, 8, 3))), r"channels first.*permute\(2, 0, 1\)"),
    "wide integers": (pairs(noise().long()), "uint8 or floats.*int64"),
    "16 bits": (pairs([picture(mode="I")] * 6), "8 bits as train/00000"),
    "not a number": (varied(image=torch.full((3, 8, 8), torch.nan)), "finite.*train/00003"),
    "half a label": (pairs(labels=[0, 1, 0.5, 1, 0, 1]), r"whole numbers or names.*\[0.5\]"),
    "a yes": (pairs(labels=[0, 1, True, 1, 0, 1]), r"whole numbers or names.*\[True\]"),
    "soft labels": (pairs(labels=[*torch.eye(6)]), "whole numbers or names"),
    "a label below zero": (pairs(labels=[0, 1, -1, 1, 0, 1]), "labels from 0"),
    "no label": (pairs(labels=[0, 1, None, 1, 0, 1]), "1 without"),
    "a label too high": (pairs(labels=[0, 1, 2, 1, 0, 1], classes=["a", "b"]), "from 0 to 1"),
    "names alike": (pairs(classes=["a", "a"]), "no two are alike"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_with_the_row_and_the_remedy(name):
    dataset, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        Data.from_dataset(dataset, pairs(noise(2)))
    assert len(Data.from_dataset(pairs(), pairs(noise(2)))) == 8


def test_ids_and_names_may_be_given_and_have_to_fit():
    ids = [f"person {n}" for n in range(8)]
    data = Data.from_dataset(pairs(), pairs(noise(2)), ids=ids, classes=["x", "y"])
    assert data.ids.tolist() == ids and data.classes == ("x", "y")
    with pytest.raises(DataError, match="8 ids, one per image, got 7"):
        Data.from_dataset(pairs(), pairs(noise(2)), ids=ids[:7])
    with pytest.raises(DataError, match="1 repeated"):
        Data.from_dataset(pairs(), pairs(noise(2)), ids=[*ids[:7], ids[0]])


def test_a_transform_of_theirs_is_applied_and_none_of_ours():
    steps = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.2])]
    )
    images = [steps(picture(n, mode="L")) for n in range(4)]
    data = Data.from_dataset(pairs(images), pairs(images[:2]))
    assert torch.equal(data.images[:4], torch.stack([*images]).as_subclass(torch.Tensor))
    assert float(data.images.min()) < 0


def test_datasets_that_number_their_classes_otherwise_are_refused():
    """As two ImageFolders do where a class lacks among the test images."""

    class Named(list):
        classes = ("bird", "cat", "dog")

    train = Named((torch.zeros(1, 4, 4), n % 3) for n in range(6))
    test = Named((torch.zeros(1, 4, 4), n % 2) for n in range(4))
    test.classes = ("cat", "dog")
    with pytest.raises(DataError, match=r"numbered as \['bird', 'cat', 'dog'\].*\['cat', 'dog'\]"):
        Data.from_dataset(train, test)
    told = Data.from_dataset(train, test, classes=("a", "b", "c"))
    assert told.classes == ("a", "b", "c")

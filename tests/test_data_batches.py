import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import pad
from torchvision.transforms.v2 import functional as theirs

from unsee.data import as_floats, batches, load, steps_per_epoch
from unsee.data._batches import MARGIN, augmented
from unsee.nouns import Data


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=40, size=12, channels=3):
    return torch.randint(0, 256, (n, channels, size, size), generator=rng(), dtype=torch.uint8)


def shifts(image, mirrored):
    """Return all that a crop may make of one image, by torchvision's pad, crop and flip."""
    size = image.shape[-1]
    image = theirs.horizontal_flip(image) if mirrored else image
    padded = theirs.pad(image, [MARGIN] * 4, padding_mode="reflect")
    places = [(y, x) for y in range(2 * MARGIN + 1) for x in range(2 * MARGIN + 1)]
    return {(y, x): theirs.crop(padded, y, x, size, size).numpy().tobytes() for y, x in places}


def test_torchvision_pads_as_torch_does():
    padded = theirs.pad(noise(), [MARGIN] * 4, padding_mode="reflect")
    assert torch.equal(padded, pad(noise().float(), [MARGIN] * 4, mode="reflect").byte())


@pytest.mark.parametrize("how", [("crop",), ("flip",), ("crop", "flip")])
def test_augmented_is_torchvisions_pad_crop_and_flip(how):
    images, found = noise(), augmented(noise(), how, rng())
    flips, places = 0, set()
    for image, changed in zip(images, found.contiguous(), strict=True):
        known = {
            content: (mirrored, place)
            for mirrored in ((False, True) if "flip" in how else (False,))
            for place, content in shifts(image, mirrored).items()
            if "crop" in how or place == (MARGIN, MARGIN)
        }
        mirrored, place = known[changed.numpy().tobytes()]
        flips, places = flips + mirrored, places | {place}
    assert (8 < flips < 32) if "flip" in how else flips == 0
    assert len(places) > 20 if "crop" in how else places == {(MARGIN, MARGIN)}


def test_augmented_covers_all_shifts_and_half_of_the_mirrors_evenly():
    image = noise(1, 12, 1)
    many = augmented(image.expand(8100, -1, -1, -1), ("crop", "flip"), rng()).contiguous()
    counts = {}
    for changed in many:
        counts[changed.numpy().tobytes()] = counts.get(changed.numpy().tobytes(), 0) + 1
    assert len(counts) == 2 * 81  # 50 each on average
    assert min(counts.values()) > 15 and max(counts.values()) < 100


def test_augmented_without_shift_is_the_image_itself():
    assert torch.equal(augmented(noise(), (), rng()), noise())
    tiny = noise(size=4)  # too small for a shift of 4 to leave anything
    assert torch.equal(augmented(tiny, ("crop",), rng()), tiny)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_augmented_lies_channels_last_and_repeats_for_a_seed(layout):
    images = noise().contiguous(memory_format=layout)
    first, second = (augmented(images, ("crop", "flip"), rng(3)) for _ in range(2))
    assert torch.equal(first, second) and first.dtype == torch.uint8
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(first, augmented(images, ("crop", "flip"), rng(4)))
    assert torch.equal(images, noise())


def test_uint8_becomes_0_to_1_and_floats_stay():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(as_floats(images), images.double().div(255).float())
    floats = torch.randn(2, 1, 4, 4, generator=rng())
    assert as_floats(floats) is floats
    assert int(images.max()) == 255  # the caller's images stay


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 130, 257, 1000])
def test_an_epoch_shows_each_image_once_in_batches_that_differ_by_one_at_most(n):
    images = torch.zeros(n, 1, 1, 1)
    labels = torch.arange(n)
    data = Data(images, labels, np.arange(n).astype(str), np.array(["train"] * n), ("a",) * n)
    found = [*batches(data, rng=rng(), epochs=2)]
    sizes = [len(images) for images, _ in found]
    assert len(found) == 2 * steps_per_epoch(n, 128) == 2 * math.ceil(n / 128)
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= 128
    epochs = torch.cat([labels for _, labels in found]).split(n)
    assert all(torch.equal(epoch.sort().values, labels) for epoch in epochs)
    assert n < 3 or not torch.equal(*epochs)


def test_batches_go_on_for_ever_repeat_for_a_seed_and_keep_images_with_labels():
    data = load("digits", size=8).part("train")
    plain = replace(data, augment=())
    stream = batches(plain, rng=rng(), size=500)
    taken = [next(stream) for _ in range(7)]
    again = batches(plain, rng=rng(), size=500)
    assert all(torch.equal(x, next(again)[0]) for x, _ in taken)
    images = plain.take(torch.arange(len(plain)))
    known = {x.numpy().tobytes(): y for x, y in zip(images, plain.labels, strict=True)}
    for images, labels in taken:
        for image, label in zip((images * 255).round().byte(), labels, strict=True):
            assert known[image.numpy().tobytes()] == label


def test_augmentation_happens_only_where_the_data_allow_it():
    data = load("digits").part("train")[:64]
    ways = {"plain": (), "crop": ("crop",)}
    seen = {
        name: next(batches(replace(data, augment=how), rng=rng(), size=64))[0]
        for name, how in ways.items()
    }
    assert not torch.equal(seen["plain"], seen["crop"])
    assert seen["crop"].min() >= 0 and seen["crop"].max() <= 1

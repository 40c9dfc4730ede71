"""Decoding: what a file's pixels are taken to be, and where they are kept."""

import io
import re
import struct
import time
import zlib

import numpy as np
import pytest
import torch
from attacks.folders import write_folder
from attacks.pictures import picture, saved
from PIL import Image, ImageCms
from torch.nn.functional import interpolate

from unsee.data import _store as store, choose, load
from unsee.data._decode import CHUNK, THREADS, decode, decoding, stack
from unsee.data._pixels import resized
from unsee.errors import DataError

GREY = ("1", "L", "LA")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *(("L", "PNG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG")),
        *(("L", "JPEG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("YCbCr", "JPEG")),
        *(("RGB", "WEBP"), ("RGB", "BMP"), ("P", "GIF"), ("RGB", "TIFF"), ("CMYK", "TIFF")),
    ],
)
def test_every_ordinary_file_is_grey_or_colour(mode, kind):
    content = saved(picture(mode=mode), kind)
    pixels = decode(content)
    theirs = Image.open(io.BytesIO(content)).convert("L" if mode in GREY else "RGB")
    assert pixels.shape == (8, 8, 1 if mode in GREY else 3) and pixels.dtype == np.uint8
    assert np.array_equal(pixels.squeeze(), np.asarray(theirs))


def test_neither_rotation_nor_colour_profile_is_applied():
    image = picture(size=8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    usual = ImageCms.createProfile("sRGB")
    plain = ImageCms.ImageCmsProfile(usual).tobytes()
    swapped = plain.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
    applied = ImageCms.profileToProfile(image, io.BytesIO(swapped), usual)
    assert not np.array_equal(np.asarray(applied), np.asarray(image))  # it would show
    for more in ({"exif": exif}, {"icc_profile": b"no profile at all"}, {"icc_profile": swapped}):
        assert np.array_equal(decode(saved(image, **more)), decode(saved(image)))


def test_damaged_notes_beside_the_pixels_are_no_damage():
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\xff"
    photo = saved(picture(), "JPEG", exif=exif)
    palette = saved(picture(mode="P"), "PNG", transparency=bytes(range(8)))
    with pytest.raises(DataError, match="UserWarning"):
        decode(photo)  # Pillow warns of it, and warnings are errors in these tests
    assert len(stack(["a", "b"], [photo, palette].__getitem__, None)[0]) == 2


def test_a_photo_with_a_preview_is_its_photo():
    content = saved(picture(0), "MPO", save_all=True, append_images=[picture(1)], quality=95)
    assert np.array_equal(decode(content), decode(saved(picture(0), "JPEG", quality=95)))


def test_one_colour_image_makes_all_of_them_colour():
    files = [saved(picture(n, mode="RGB" if n == 70 else "L")) for n in range(140)]
    images, read = stack([str(n) for n in range(140)], files.__getitem__, None)
    assert images.shape == (140, 3, 8, 8) and read.tolist() == [*range(140)]
    for n, content in enumerate(files):
        theirs = np.broadcast_to(decode(content), (8, 8, 3))
        assert np.array_equal(images[n].permute(1, 2, 0), theirs)


def test_images_come_to_one_size_alone_or_together(monkeypatch):
    files = [saved(picture(n, size=8 + n % 3)) for n in range(100)]
    together, _ = stack([*map(str, range(100))], files.__getitem__, 12)
    monkeypatch.setattr("unsee.data._decode.SMALL", 0)
    alone, _ = stack([*map(str, range(100))], files.__getitem__, 12)
    assert torch.equal(together, alone) and together.shape == (100, 3, 12, 12)
    assert len({image.numpy().tobytes() for image in together.contiguous()}) == 100


def test_whoever_takes_images_slowly_does_not_find_them_all_decoded():
    content, asked = saved(picture(0)), []
    many = 4 * THREADS * CHUNK

    def read(n):
        asked.append(n)
        return content

    with decoding(read, None) as decoded:
        images = decoded([*range(many)])
        assert next(images).shape == (8, 8, 3)
        time.sleep(0.5)  # far longer than all of them take
        assert len(asked) <= (2 * THREADS + 1) * CHUNK < many
        assert len([*images]) == many - 1
    assert sorted(asked) == [*range(many)]


def test_resizing_is_that_of_pillow_to_one_step():
    image = picture(size=32)
    theirs = np.asarray(image.resize((20, 20), Image.Resampling.BILINEAR)).astype(int)
    ours = resized(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None], 20)[0]
    assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() <= 1


def test_floats_are_resized_without_rounding():
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    theirs = interpolate(images, (6, 6), mode="bilinear", antialias=True)
    assert torch.equal(resized(images, 6), theirs)
    assert resized(images, 8) is images and resized(images, None) is images


@pytest.mark.parametrize("size", [None, 12])
def test_what_does_not_fit_in_memory_is_read_when_asked_for(size, tmp_path, monkeypatch):
    name = write_folder(tmp_path, extra=saved(picture(9, mode="L")))
    kept = load(name, size=size)
    monkeypatch.setattr(store, "available_memory", lambda: 1000)
    lazy = load(name, size=size)
    assert isinstance(lazy.images, store.Lazy) and isinstance(kept.images, torch.Tensor)
    assert lazy.images.shape == kept.images.shape and lazy.images.dtype == torch.uint8
    assert lazy.fingerprint == kept.fingerprint
    for rows in (torch.tensor([3, 0, 3]), slice(1, 4), [2], torch.arange(0)):
        assert torch.equal(lazy.images[rows], kept.images[rows])
    split, same = (choose(d, "class=cat") for d in (lazy, kept))
    assert split.retain.images is lazy.images
    places = torch.arange(len(split.retain))
    assert torch.equal(split.retain.take(places), same.retain.take(places))
    moved = lazy.to(torch.device("meta"))
    assert moved.take(torch.arange(2)).device.type == "meta" and len(moved.images) == 7


def test_a_file_that_vanishes_later_is_named(tmp_path, monkeypatch):
    name = write_folder(tmp_path)
    monkeypatch.setattr(store, "available_memory", lambda: 1000)
    data = load(name)
    (tmp_path / "train/cat/odd.png").unlink()
    with pytest.raises(DataError, match="could be read before.*odd.png"):
        data.take(torch.arange(len(data)))


def test_the_available_memory_is_what_is_said_to_be_there():
    assert 1 << 27 < store.available_memory() < 1 << 50
    assert store.fits(1) and not store.fits(1 << 60)


def test_nothing_to_decode_is_refused():
    with pytest.raises(DataError, match="Expected images, got none"):
        stack([], lambda n: b"", None)


def test_errors_hold_no_addresses_so_that_reports_stay_equal():
    with pytest.raises(DataError) as refusal:
        decode(b"nothing")
    assert not re.search("0x[0-9a-f]{6}", str(refusal.value))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_are_refused_and_not_halved(channels):
    """Grey and alpha, RGB, RGBA: Pillow would keep the upper half of each."""
    raw = np.arange(8 * 8 * channels, dtype=">u2").reshape(8, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in raw)
    kind = {2: 4, 3: 2, 4: 6}[channels]

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows))
    with pytest.raises(DataError, match="not 8 bits"):
        decode(content + chunk(b"IEND", b""))

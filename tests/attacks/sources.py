"""Data sets that mean harm or are broken: one function each, and what the refusal says.

Each function writes a data set below ``place`` and returns its name for ``load``; with ``hostile``
false it writes the same without the attack, which has to pass.
"""

import gzip
import io
import os
import pickle
import struct
import zipfile

import numpy as np

ATTACKS = {}  # name -> (function, what the refusal says)


def attack(reason):
    def listed(function):
        ATTACKS[function.__name__] = (function, reason)
        return function

    return listed


class Calls:
    """Pickles as a call that leaves a folder behind if it is ever made."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def _batch(n, labels, **more):
    pixels = np.random.default_rng(n).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    names = [f"photo_{n}_{i}.png".encode() for i in range(len(labels))]
    return {b"data": pixels, b"labels": labels, b"filenames": names, **more}


def write_cifar10(place, first=None, meta=None):
    """The original archive with four images per file; ``first`` goes over the first batch."""
    root = place / "cifar-10-batches-py"
    root.mkdir(parents=True, exist_ok=True)
    names = [b"airplane", b"automobile", b"bird", b"cat", b"deer"]
    names += [b"dog", b"frog", b"horse", b"ship", b"truck"]
    files = {f"data_batch_{n}": _batch(n, [0, 1, 2 * n - 1, 2 * n - 2]) for n in range(1, 6)}
    files |= {"test_batch": _batch(6, [0, 1, 2, 9]), "batches.meta": {b"label_names": names}}
    files["data_batch_1"] |= first or {}
    files["batches.meta"] |= meta or {}
    for name, content in files.items():
        (root / name).write_bytes(pickle.dumps(content, protocol=2))
    return f"cifar10:{place}"


@attack("mkdir.*which is not run")
def a_pickle_with_a_call(place, hostile):
    return write_cifar10(place, {b"note": Calls(place / "canary")} if hostile else None)


@attack("which is not run")
def a_call_among_the_class_names(place, hostile):
    extra = {b"note": Calls(place / "canary")}
    return write_cifar10(place, meta=extra if hostile else None)


@attack("which is not run")
def a_call_inside_an_array(place, hostile):
    boxed = np.array([Calls(place / "canary")], dtype=object)
    return write_cifar10(place, {b"data": boxed} if hostile else None)


@attack("rows of 3072 bytes")
def an_array_of_objects(place, hostile):
    boxed = np.array([None] * 4, dtype=object)
    return write_cifar10(place, {b"data": boxed} if hostile else None)


@attack("rows of 3072 bytes")
def rows_of_floats(place, hostile):
    return write_cifar10(place, {b"data": np.zeros((4, 3072), np.float32)} if hostile else None)


@attack("one label and one name per image")
def a_label_too_few(place, hostile):
    return write_cifar10(place, {b"labels": [0, 1, 2]} if hostile else None)


@attack("labels from 0 to 9")
def an_eleventh_label(place, hostile):
    return write_cifar10(place, {b"labels": [0, 1, 2, 10]} if hostile else None)


@attack("a list 'labels'")
def labels_that_are_no_list(place, hostile):
    return write_cifar10(place, {b"labels": {b"0": 1}} if hostile else None)


@attack("a batch of CIFAR-10")
def half_a_pickle(place, hostile):
    name = write_cifar10(place)
    path = place / "cifar-10-batches-py/data_batch_3"
    path.write_bytes(path.read_bytes()[: -1000 if hostile else None])
    return name


@attack("unpacked")
def a_missing_batch(place, hostile):
    name = write_cifar10(place)
    if hostile:
        (place / "cifar-10-batches-py/data_batch_4").unlink()
    return name


def arrays(**more):
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    plain = {"train_images": noise, "train_labels": labels}
    return plain | {"test_images": noise[:2], "test_labels": labels[:2]} | more


def write_npz(place, **more):
    place.mkdir(parents=True, exist_ok=True)
    kept = {name: array for name, array in arrays(**more).items() if array is not None}
    np.savez_compressed(place / "data.npz", **kept)
    return f"npz:{place / 'data.npz'}"


@attack("allow_pickle")
def an_npz_with_a_pickle(place, hostile):
    boxed = np.array([Calls(place / "canary")], dtype=object)
    return write_npz(place, **({"note": boxed} if hostile else {}))


@attack("fit in half of the memory")
def an_npz_that_unpacks_for_ever(place, hostile):
    write_npz(place)
    with zipfile.ZipFile(place / "data.npz", "a") as archive:
        archive.writestr("note.npy", _npy())
        if hostile:
            archive.infolist()[-1].file_size = 1 << 45
    return f"npz:{place / 'data.npz'}"


def _npy():
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


@attack("plain arrays")
def half_an_npz(place, hostile):
    name = write_npz(place)
    path = place / "data.npz"
    path.write_bytes(path.read_bytes()[: -100 if hostile else None])
    return name


@attack("test_images and test_labels")
def an_npz_without_test_labels(place, hostile):
    return write_npz(place, **({"test_labels": None} if hostile else {}))


@attack("finite")
def not_a_number(place, hostile):
    floats = arrays()["train_images"] / 255
    floats[3, 3, 3] = np.nan if hostile else 0
    return write_npz(place, train_images=floats, test_images=floats[:2] * 0)


@attack("uint8 or floats")
def wide_integers(place, hostile):
    wide = arrays()["train_images"].astype(np.int64)
    return write_npz(place, **({"train_images": wide} if hostile else {}))


@attack("one label per image")
def labels_in_rows(place, hostile):
    rows = np.zeros((6, 2), int)
    return write_npz(place, **({"train_labels": rows} if hostile else {}))


def idx(array):
    """Return an idx file: http://yann.lecun.com/exdb/mnist."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(place, packed=False, **more):
    """Six training and two test images of 28 x 28; ``more`` replaces whole files."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.array([0, 1, 2, 9, 1, 2], np.uint8)
    files = {"train_images": idx(noise), "train_labels": idx(labels)}
    files |= {"test_images": idx(noise[:2]), "test_labels": idx(labels[:2])} | more
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        part, kind = name.replace("test", "t10k").split("_")
        path = place / f"{part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
        if packed:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
        else:
            path.write_bytes(content)
    return f"mnist:{place}"


@attack("another header")
def idx_files_swapped(place, hostile):
    labels = idx(np.zeros(6, np.uint8))
    return write_idx(place, **({"train_images": labels} if hostile else {}))


@attack("Expected 1 to .* bytes")
def an_idx_header_of_terabytes(place, hostile):
    huge = struct.pack(">BBBBIII", 0, 0, 8, 3, 1 << 31, 1 << 31, 28)
    return write_idx(place, **({"train_images": huge} if hostile else {}))


@attack("after the header")
def an_idx_file_cut_off(place, hostile):
    short = idx(np.zeros((6, 28, 28), np.uint8))[:-5]
    return write_idx(place, **({"train_images": short} if hostile else {}))


@attack("another header")
def an_idx_header_cut_off(place, hostile):
    return write_idx(place, **({"train_images": bytes([0, 0, 8, 3, 0, 0])} if hostile else {}))


@attack("whole idx file")
def a_damaged_gzip_file(place, hostile):
    name = write_idx(place, packed=True)
    path = place / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    if hostile:
        path.write_bytes(content[:2000] + bytes(100) + content[2100:])
    return name


@attack("labels from 0 to 9")
def a_label_beyond_the_classes(place, hostile):
    wrong = np.array([0, 1, 2, 9, 1, 10], np.uint8)
    return write_idx(place, **({"train_labels": idx(wrong)} if hostile else {}))


@attack("one label per image")
def a_label_too_many(place, hostile):
    more = np.zeros(7, np.uint8)
    return write_idx(place, **({"train_labels": idx(more)} if hostile else {}))

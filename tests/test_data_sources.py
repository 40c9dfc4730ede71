"""Sources that have their own files: digits, idx, CIFAR-10's archive, npz, Parquet."""

import gzip
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet
import pytest
import torch
from attacks.pictures import picture, saved
from attacks.places import write_parquet
from attacks.sources import arrays, write_cifar10, write_idx, write_npz
from PIL import Image
from torchvision import datasets

from unsee.data import load
from unsee.errors import DataError, UnseeWarning

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
few_classes = pytest.mark.filterwarnings("ignore:.*have no training image")


def shared(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs {name} in ../shared/data beside the checkout")
    return SHARED / name


def test_digits_have_one_stratified_split():
    data = load("digits")
    assert data.images.shape == (1797, 1, 32, 32) and data.images.dtype == torch.uint8
    assert len(data.part("train")) == 1437 and len(data.part("test")) == 360
    counts = torch.bincount(data.part("test").labels)
    assert counts.min() >= 35 and counts.max() <= 37
    assert data.ids[[0, 1437]].tolist() == ["train/00000", "test/00000"]
    assert data.augment == ("crop",)
    assert load("digits", size=8).images.shape == (1797, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", "data among"),
        ("digits:here", "given as 'digits'"),
        ("mnist", "given as 'mnist:PATH'"),
        ("mnist:", "given as 'mnist:PATH'"),
        ("https://example.org/x", "never fetches"),
    ],
)
def test_an_unknown_name_is_refused(name, words):
    with pytest.raises(DataError, match=words):
        load(name)


@pytest.mark.parametrize("size", [0, 3, 2049, -1])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(DataError, match="size of 4 to 2048"):
        load("digits", size=size)


def test_class_names_come_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(
        "nul\r\nöin\r\n".encode("utf-16") + "\r\n".join("23456789").encode("utf-16-le")
    )
    assert load("digits", classes=path).classes == ("nul", "öin", *"23456789")
    for text, words in (("a\na\n", "no two alike"), ("", "no two alike"), ("a\nb", "from 0 to 1")):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            load("digits", classes=path)
    with pytest.raises(DataError, match="a text file of class names"):
        load("digits", classes=tmp_path)


@few_classes
def test_idx_files_are_read_gzipped_or_not_and_below_torchvisions_folder(tmp_path):
    plain = load(write_idx(tmp_path / "plain"), size=28)
    packed = load(write_idx(tmp_path / "packed", packed=True), size=28)
    write_idx(tmp_path / "nested/MNIST/raw")
    nested = load(f"mnist:{tmp_path / 'nested'}", size=28)
    assert plain.fingerprint == packed.fingerprint == nested.fingerprint
    assert plain.ids.tolist() == [f"train/{n:05d}" for n in range(6)] + ["test/00000", "test/00001"]
    theirs = datasets.MNIST(tmp_path / "nested", train=True)
    assert torch.equal(plain.images[:6, 0], theirs.data)
    assert torch.equal(plain.labels[:6], theirs.targets)
    assert load(write_idx(tmp_path / "plain")).images.shape == (8, 1, 32, 32)


@few_classes
def test_fashion_may_be_mirrored_and_digits_not(tmp_path):
    write_idx(tmp_path)
    fashion = load(f"fashion-mnist:{tmp_path}")
    assert "flip" in fashion.augment and "flip" not in load(f"mnist:{tmp_path}").augment
    assert fashion.classes[9] == "Ankle boot"


def test_the_archive_of_cifar10_reads_as_numpy_reads_it(tmp_path):
    name = write_cifar10(tmp_path)
    data = load(name)
    assert data.images.shape == (24, 3, 32, 32) and data.classes[3] == "cat"
    assert data.ids[[0, 19, 20]].tolist() == ["train/00000", "train/00019", "test/00000"]
    assert data.columns["filename"][4] == "photo_2_0.png"
    for n in range(1, 6):
        path = tmp_path / f"cifar-10-batches-py/data_batch_{n}"
        theirs = pickle.loads(path.read_bytes(), encoding="bytes")
        rows = slice(4 * n - 4, 4 * n)
        assert np.array_equal(data.images[rows].flatten(1).numpy(), theirs[b"data"])
        assert data.labels[rows].tolist() == theirs[b"labels"]
    inside = load(f"cifar10:{tmp_path / 'cifar-10-batches-py'}")
    assert inside.fingerprint == data.fingerprint


def test_cifar10_in_the_oldest_form_of_a_pickle_is_read_too(tmp_path):
    """Python 2 wrote arrays as escaped text; numbers and names as below."""
    data = load(write_cifar10(tmp_path))
    raw = bytes(range(256)) * 48
    text = (
        "(dp0\nS'data'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n"
        "(I0\ntp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I4\nI3072\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\n"
        "I0\nI1\ntp11\nRp12\n(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n"
        f"S{str(raw)[1:]}\np15\ntp16\nbsS'labels'\np17\n(lp18\nI0\naI1\naI2\naI3\na"
        "sS'filenames'\np19\n(lp20\nS'a'\naS'b'\naS'c'\naS'd'\nas."
    )
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(text.encode("latin1"))
    old = load(f"cifar10:{tmp_path}")
    assert old.images[:4].contiguous().numpy().tobytes() == raw
    assert torch.equal(old.images[4:], data.images[4:])


@pytest.mark.parametrize(
    "shape", [(6, 8, 8), (6, 8, 8, 3), (6, 3, 8, 8), (6, 1, 8, 8), (6, 8, 8, 1)]
)
def test_npz_images_may_lie_in_any_order(shape, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = load(write_npz(tmp_path, train_images=pixels, test_images=pixels[:2]))
    first = pixels[0] if len(shape) == 3 or shape[1] < 8 else pixels[0].transpose(2, 0, 1)
    assert np.array_equal(data.images[0].numpy(), first.reshape(data.images.shape[1:]))
    assert data.images.shape[2:] == (8, 8)


def test_npz_floats_stay_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(6, 8, 8))
    data = load(write_npz(tmp_path, train_images=pixels, test_images=pixels[:2]))
    assert torch.equal(data.images[:6, 0], torch.from_numpy(pixels).float())
    assert data.augment == ()
    assert load(f"npz:{tmp_path / 'data.npz'}", size=16).images.dtype == torch.float32


def test_npz_may_be_named_as_keras_and_medmnist_do(tmp_path):
    plain = arrays()
    keras = {"x_train": "train_images", "y_train": "train_labels"}
    keras |= {"x_test": "test_images", "y_test": "test_labels"}
    np.savez(tmp_path / "keras.npz", **{new: plain[old] for new, old in keras.items()})
    plain |= {"val_images": plain["test_images"], "val_labels": plain["test_labels"]}
    columns = {k: v[:, None] if k.endswith("labels") else v for k, v in plain.items()}
    names = {"classes": np.array(["a", "b"]), "train_ids": np.array([*"uvwxyz"])}
    np.savez(tmp_path / "medmnist.npz", **columns, **names)
    first, second = (load(f"npz:{tmp_path / name}.npz") for name in ("keras", "medmnist"))
    assert torch.equal(first.images, second[np.flatnonzero(second.parts != "validation")].take(
        torch.arange(8)))  # fmt: skip
    assert first.classes == ("0", "1") and second.classes == ("a", "b")
    assert second.ids.tolist() == [*"uvwxyz", "validation/00000", "validation/00001"] + [
        "test/00000", "test/00001"]  # fmt: skip


def rewritten(place, metadata=None, **columns):
    """Write the Parquet files again, with more columns and other metadata."""
    for path in place.glob("*.parquet"):
        table = arrow.parquet.read_table(path)
        for name, values in columns.items():
            kept = table.drop_columns([n for n in table.column_names if n == name])
            table = kept.append_column(name, [values[path.name[:4]]])
        table = table.replace_schema_metadata(metadata)
        arrow.parquet.write_table(table, path)


def test_parquet_takes_class_names_from_the_metadata(tmp_path):
    name = write_parquet(tmp_path)
    assert load(name).classes == ("0", "1")
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    rewritten(tmp_path, {"huggingface": json.dumps(features)})
    assert load(name).classes == ("cat", "dog")
    odd = (json.dumps(features).replace('["cat", "dog"]', names) for names in ("3", "[[1], [1]]"))
    for damaged in ("{", "[]", '{"info": 3}', *odd):
        rewritten(tmp_path, {"huggingface": damaged})
        assert load(name).classes == ("0", "1")
    (tmp_path / "names.txt").write_text("Katze\nHund\n")
    assert load(name, classes=tmp_path / "names.txt").classes == ("Katze", "Hund")


def test_parquet_takes_ids_text_labels_and_columns(tmp_path):
    name = write_parquet(tmp_path)
    plain = load(name)
    assert plain.ids.tolist()[:2] == ["train/00000", "train/00001"]
    rewritten(
        tmp_path,
        id={"trai": [*"abcd"], "test": ["=cmd()", "../../etc/passwd"]},
        label={"trai": ["dog", "cat", "dog", "cat"], "test": ["dog", "cat"]},
        who={"trai": ["anna", None, "ben", "ben"], "test": ["anna", "ben"]},
        year={"trai": [1999, 2000, 2001, 2001], "test": [1, 2]},
    )
    data = load(name)
    assert data.ids.tolist() == ["a", "b", "c", "d", "=cmd()", "../../etc/passwd"]
    assert data.classes == ("cat", "dog") and data.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert data.columns["who"].tolist() == ["anna", "", "ben", "ben", "anna", "ben"]
    assert data.columns["year"].tolist()[0] == "1999" and {*data.columns} == {"who", "year"}
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    ordered = load(name, classes=tmp_path / "names.txt")
    assert ordered.classes == ("dog", "cat") and ordered.labels.tolist()[:2] == [0, 1]


def test_parquet_pixels_are_those_of_the_files_in_any_number_of_parts(tmp_path):
    name = write_parquet(tmp_path)
    data = load(name)
    for n in range(4):
        assert np.array_equal(data.images[n].permute(1, 2, 0), np.asarray(picture(n)))
    table = arrow.parquet.read_table(tmp_path / "train-0.parquet")
    (tmp_path / "data").mkdir()
    for n in range(2):
        arrow.parquet.write_table(table[2 * n : 2 * n + 2], tmp_path / f"data/train-{n}.parquet")
    (tmp_path / "train-0.parquet").unlink()
    assert load(name).fingerprint == data.fingerprint


def test_an_image_without_bytes_is_unreadable_and_not_another_ones(tmp_path):
    name = write_parquet(tmp_path)
    content = [{"bytes": saved(picture(n)), "path": None} for n in range(4)]
    for hole in (None, {"bytes": None, "path": "2.png"}):
        content[2] = hole
        table = arrow.table({"img": content, "label": [0, 1, 0, 1]})
        arrow.parquet.write_table(table, tmp_path / "train-0.parquet")
        with pytest.raises(DataError, match="'train/00002': no bytes"):
            load(name)


def test_labels_from_one_are_doubted(tmp_path):
    with pytest.warns(UnseeWarning, match=r"1 of 3 classes.*\['0'\].*start at 1"):
        load(write_parquet(tmp_path, labels=(1, 2, 1, 2)))


def test_mnist_beside_the_checkout_is_whole():
    data = load(f"mnist:{shared('MNIST')}")
    assert data.images.shape == (70_000, 1, 32, 32) and len(data.part("train")) == 60_000
    path = shared("MNIST") / "raw/t10k-labels-idx1-ubyte.gz"
    theirs = np.frombuffer(gzip.decompress(path.read_bytes())[8:], np.uint8)
    assert np.array_equal(data.part("test").labels.numpy(), theirs)


def test_cifar10_beside_the_checkout_is_decoded_as_pillow_does(tmp_path):
    table = arrow.parquet.read_table(shared("cifar10") / "test-00000-of-00001.parquet")[:200]
    for part in ("train", "test"):
        arrow.parquet.write_table(table, tmp_path / f"{part}.parquet")
    data = load(f"parquet:{tmp_path}")
    assert data.images.shape == (400, 3, 32, 32) and len(data.classes) == 10
    for n, row in enumerate(table["img"].to_pylist()):
        theirs = np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB"))
        assert np.array_equal(data.images[n].permute(1, 2, 0), theirs)
    assert data.labels[:200].tolist() == table["label"].to_pylist()


def test_parts_of_parquet_that_name_their_classes_otherwise_are_refused(tmp_path):
    place = Path(write_parquet(tmp_path).partition(":")[2])
    for part, names in (("train", ["cat", "dog"]), ("test", ["dog", "cat"])):
        (path,) = place.glob(f"{part}*.parquet")
        table = pyarrow.parquet.read_table(path)
        note = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(note)})
        pyarrow.parquet.write_table(table, path)
    with pytest.raises(DataError, match="the same names of classes in all parts"):
        load(f"parquet:{place}")


def test_validation_files_may_be_called_val(tmp_path):
    place = Path(write_parquet(tmp_path).partition(":")[2])
    (path,) = place.glob("test*.parquet")
    (place / "val-00000.parquet").write_bytes(path.read_bytes())
    table = pyarrow.parquet.read_table(path)
    if "id" in table.column_names:
        names = arrow.array([f"val/{n}" for n in range(len(table))])
        table = table.set_column(table.column_names.index("id"), "id", names)
        pyarrow.parquet.write_table(table, place / "val-00000.parquet")
    assert len(load(f"parquet:{place}").part("validation")) == len(table)


def test_npz_text_is_utf8_and_no_two_classes_are_alike(tmp_path):
    plain = arrays()
    n = len(plain["train_images"])
    names = np.array(["Käse".encode(), b"dog", b"emu"][: int(plain["train_labels"].max()) + 1])
    ids = np.array([f"é{number}".encode() for number in range(n)])
    np.savez(tmp_path / "bytes.npz", **plain | {"classes": names, "train_ids": ids})
    data = load(f"npz:{tmp_path / 'bytes.npz'}")
    assert data.classes[0] == "Käse" and data.ids[0] == "é0"
    np.savez(tmp_path / "odd.npz", **plain | {"train_ids": np.array([b"\xff"] * n)})
    with pytest.raises(DataError, match="text in UTF-8"):
        load(f"npz:{tmp_path / 'odd.npz'}")
    np.savez(tmp_path / "twice.npz", **plain | {"classes": np.array(["cat"] * len(names))})
    with pytest.raises(DataError, match="no two are alike"):
        load(f"npz:{tmp_path / 'twice.npz'}")


def test_one_class_alone_is_no_data_for_a_classifier(tmp_path):
    plain = arrays()
    plain |= {name: np.zeros_like(x) for name, x in plain.items() if name.endswith("labels")}
    np.savez(tmp_path / "one.npz", **{k: x for k, x in plain.items() if k != "classes"})
    with pytest.raises(DataError, match="two classes or more"):
        load(f"npz:{tmp_path / 'one.npz'}")

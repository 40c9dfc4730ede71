"""Images are held once, and those larger than memory are read from where they lie: counted."""

import gc
import json
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet
import pytest
import torch
from attacks.pictures import picture, saved
from attacks.places import write_parquet
from attacks.sources import idx
from conftest import pattern_data, save_patterns
from PIL import Image
from torch import nn

from unsee import memory
from unsee.auditing import audit
from unsee.audits import AUDITS
from unsee.data import _arrays as arrays, _store as store, choose, joined, load
from unsee.erasure import unlearn
from unsee.errors import DataError, StorageError, UnseeWarning
from unsee.nouns import Data
from unsee.training import predict

MIB = 2**20
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
few_classes = pytest.mark.filterwarnings("ignore:.*have no training image")
copies = pytest.mark.filterwarnings("ignore:.*are copies of training images")


def highest(work):
    """Return the most anonymous bytes while ``work`` ran above what was before; others may go."""
    gc.collect()  # what goes meanwhile would hide what comes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "EVERY", 0.002)
        patch.setattr(memory, "_children", lambda name: [])  # workers of earlier tests may end
        before = memory.now().anonymous
        with memory.watching():
            kept = work()
            return memory.peak().anonymous - before, kept


# Held once.

COUNT = 48 * MIB // (28 * 28)  # images of 28 x 28
SOURCES = ("packed", "plain", "idx", "backdoor", "files", "tables", "own")
PHOTOS, SIDE = 1024, 128  # in colour, 48 MiB, too


def write_npz(place, save):
    place.mkdir()
    pixels = np.zeros((COUNT, 28, 28), np.uint8)
    pixels[:, 0, :4] = np.arange(COUNT, dtype=np.uint32)[:, None].view(np.uint8)
    labels, tested = np.arange(COUNT) % 2, COUNT // 6
    parts = {"train": slice(tested, None), "test": slice(tested)}
    kept = {f"{part}_images": pixels[rows] for part, rows in parts.items()}
    save(place / "x.npz", **kept, **{f"{p}_labels": labels[r] for p, r in parts.items()})
    return f"npz:{place / 'x.npz'}"


def write_idx(place):
    place.mkdir()
    for part, count in (("train", COUNT - COUNT // 6), ("t10k", COUNT // 6)):
        pixels = np.zeros((count, 28, 28), np.uint8)
        (place / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (place / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return f"mnist:{place}"


def photo(n):
    """Return an image that is no other's, and packs well."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[0, :2] = np.array([n % 256, n // 256, 1])
    return Image.fromarray(pixels)


def write_photos(place):
    """Write them as files in folders, and as tables; return both sources."""
    for part, numbers in (("train", range(PHOTOS - 100)), ("test", range(PHOTOS - 100, PHOTOS))):
        content = [saved(photo(n)) for n in numbers]
        for n, found in zip(numbers, content, strict=True):
            file = place / "files" / part / str(n % 2) / f"{n}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(found)
        table = arrow.table({"img": content, "label": [n % 2 for n in numbers]})
        (place / "tables").mkdir(exist_ok=True)
        arrow.parquet.write_table(table, place / "tables" / f"{part}-0.parquet")
    return {"files": f"folder:{place / 'files'}", "tables": f"parquet:{place / 'tables'}"}


class Photos:
    """Somebody's own data set, which draws its images when it is asked."""

    def __len__(self):
        return PHOTOS // 2

    def __getitem__(self, n):
        return photo(n), n % 2


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    place = tmp_path_factory.mktemp("large")
    plain = write_npz(place / "plain", np.savez)
    found = {
        "packed": write_npz(place / "packed", np.savez_compressed),
        "plain": plain,
        "idx": write_idx(place / "idx"),
        "backdoor": f"backdoor:{plain}",
    }
    return found | write_photos(place)


def read_all(name, large):
    if name == "own":
        return Data.from_dataset(Photos(), test=Photos())
    return load(large[name], size=28 if name == "idx" else None)


IN_TURN = """
import json, math, sys, warnings
from test_memory import COUNT, highest, load, read_all, torch
warnings.simplefilter("ignore")
load("digits", size=8)  # what is imported on the way is no image
def twice(large):
    data = load(large["plain"])
    return data, torch.cat([data.images[: COUNT // 2], data.images[COUNT // 2 :]])
large, found = json.loads(sys.argv[1]), {}
for name in sys.argv[2:]:
    most, data = highest(lambda: read_all(name, large))
    found[name] = most, math.prod(data.images.shape)
    del data
most, (data, again) = highest(lambda: twice(large))
print(json.dumps(found | {"twice": (most, again.nbytes)}))
"""


@pytest.fixture(scope="module")
def held(large):
    """The most that each source held while it was read, in a process that has done nothing else."""
    here = {"cwd": Path(__file__).parent, "capture_output": True, "text": True}
    asked = [sys.executable, "-c", IN_TURN, json.dumps(large), *SOURCES]
    done = subprocess.run(asked, **here)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@on_linux
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_holds_its_images_once_while_it_is_read(name, held):
    most, size = held[name]
    assert 47 * MIB < size < 49 * MIB
    assert 0.9 * size < most < 1.6 * size  # ids and labels are in it, too


@on_linux
def test_a_second_copy_would_be_noticed(held):
    most, size = held["twice"]
    assert most > 1.9 * size


def test_an_archive_grows_where_it_lies():
    whole = np.empty((0, 3), np.uint8)
    for n in range(4):
        store.append(whole, np.full((2, 3), n, np.uint8))
    assert whole.tolist() == [[n] * 3 for n in range(4) for _ in range(2)]


def test_images_of_a_buffer_are_put_beside_the_others_without_a_copy():
    data = pattern_data()
    new = replace(pattern_data(seed=1).part("train")[:5], ids=np.array([*"abcde"]))
    both, ids = joined(data, new)
    assert both.images.pieces[0] is data.images and ids.tolist() == [*"abcde"]
    theirs = torch.cat([data.images, new.take(torch.arange(5))])
    for rows in (torch.tensor([99, 3, 98, 3]), torch.tensor([7, 2]), slice(94, 98), slice(0)):
        assert torch.equal(both.images[rows], theirs[rows])
        if len(theirs[rows]):
            assert both.images[rows].stride() == theirs[rows].stride()
    assert both.images.shape == theirs.shape and both.images.dtype == theirs.dtype
    assert both.to(torch.device("meta")).images[:2].device.type == "meta"


def test_the_trigger_is_put_on_images_when_they_are_asked_for(tmp_path):
    plain = load(f"npz:{save_patterns(tmp_path / 'x.npz')}")
    before = plain.images.clone()
    data = load(f"backdoor:npz:{tmp_path / 'x.npz'}")
    marked = data.columns["poisoned"] == "yes"
    everything = data.take(torch.arange(len(data)))
    assert torch.equal(everything[~marked], plain.images[~marked])
    assert bool((everything[marked][..., -2:-1, -2:-1] == 255).all()) and marked.sum() == 4
    assert torch.equal(data.images[2:5], everything[2:5]) and torch.equal(plain.images, before)


# Read from where they lie.


@pytest.fixture
def mapping(monkeypatch):
    monkeypatch.setattr(arrays, "MAPPED", 0)


def as_folder(place, path):
    place.mkdir()
    with np.load(path) as found:
        for name in found.files:
            np.save(place / f"{name}.npy", found[name])
    return f"npz:{place}"


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_mapped_images_give_the_same_run_bit_for_bit(form, tmp_path, trained, monkeypatch):
    path = save_patterns(tmp_path / "x.npz")
    kept = load(f"npz:{path}")
    monkeypatch.setattr(arrays, "MAPPED", 0)
    name = f"npz:{path}" if form == "npz" else as_folder(tmp_path / "x", path)
    lazy = load(name)
    assert isinstance(kept.images, torch.Tensor)
    assert all(isinstance(piece, store.Mapped) for piece in lazy.images.pieces)
    quick = {n: AUDITS[n] for n in ("accuracy", "membership", "evidence", "stages")}
    runs = []
    for data in (kept, lazy):
        split = choose(data, "class=c")
        after = unlearn(trained, split.forget, split.retain, method="snu")
        runs.append(audit(split, original=trained, unlearned=after, audits=quick))
    one, other = (json.loads(run.to_json()) for run in runs)
    assert one == other and one["models"]["unlearned"]["forget_accuracy"]["n"] == 24
    assert all(np.array_equal(x, runs[1].arrays[key]) for key, x in runs[0].arrays.items())


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 3), (6, 3, 8, 8)])
@pytest.mark.parametrize("kind", ["uint8", "float64", ">f4"])
@pytest.mark.parametrize("size", [None, 12])
def test_a_map_gives_rows_as_memory_would(shape, kind, size, tmp_path, monkeypatch):
    draws = np.random.default_rng(0)
    pixels = (draws.random(shape) * 255).astype(kind)
    named = {"train_images": pixels, "test_images": pixels[:2]}
    labels = {"train_labels": np.arange(6) % 2, "test_labels": np.arange(2)}
    np.savez(tmp_path / "x.npz", **named, **labels)
    kept = load(f"npz:{tmp_path / 'x.npz'}", size=size)
    monkeypatch.setattr(arrays, "MAPPED", 0)
    lazy = load(f"npz:{tmp_path / 'x.npz'}", size=size)
    assert lazy.images.shape == kept.images.shape and lazy.images.dtype == kept.images.dtype
    assert lazy.fingerprint == kept.fingerprint
    rows = torch.tensor([7, 0, 3, 3])
    assert torch.equal(lazy.take(rows), kept.take(rows))
    assert lazy.take(rows).stride() == kept.take(rows).stride()


def test_a_packed_file_is_no_map(tmp_path, mapping):
    data = pattern_data()
    np.savez_compressed(tmp_path / "x.npz", **dict(np.load(save_patterns(tmp_path / "y.npz"))))
    assert isinstance(load(f"npz:{tmp_path / 'x.npz'}").images, torch.Tensor)
    assert load(f"npz:{tmp_path / 'x.npz'}").labels.tolist() == data.labels.tolist()


def test_a_byte_that_flipped_in_a_file_to_map_is_noticed(tmp_path, mapping):
    path = save_patterns(tmp_path / "x.npz")
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("train_images.npy").header_offset + 1000
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="plain arrays .* Bad CRC-32"):
        load(f"npz:{path}")


@pytest.mark.parametrize("damage", ["short", "pickle", "not a number"])
def test_a_damaged_array_in_a_folder_is_refused(damage, tmp_path, mapping):
    name = as_folder(tmp_path / "x", save_patterns(tmp_path / "x.npz"))
    path = tmp_path / "x" / "train_images.npy"
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "pickle":
        np.save(path, np.array([None] * 72, dtype=object), allow_pickle=True)
    else:
        for part in ("train", "test"):
            file = tmp_path / "x" / f"{part}_images.npy"
            floats = np.load(file) / np.float32(255)
            floats[3, 3, 3] = np.nan
            np.save(file, floats)
    words = {"short": "an array", "pickle": "a pickle", "not a number": "finite"}
    with pytest.raises(DataError, match=words[damage]):
        load(name)


def as_arrow(place, form):
    """Write the Parquet files in ``place`` again as Arrow's, in a folder of their own."""
    target = place / "arrow"
    for path in sorted(place.glob("*.parquet")):
        table = arrow.parquet.read_table(path)
        part = path.name.partition("-")[0]
        file = target / (f"{part}.arrow" if form == "file" else f"{part}/data-00000.arrow")
        file.parent.mkdir(parents=True, exist_ok=True)
        new = arrow.ipc.new_file if form == "file" else arrow.ipc.new_stream
        with new(str(file), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return f"parquet:{target}"


@pytest.mark.parametrize("form", ["file", "stream"])
def test_arrow_files_are_mapped_and_say_what_parquet_files_say(form, tmp_path):
    kept = load(write_parquet(tmp_path, who=["anna", "ben", "anna", "ben"]))
    before = arrow.total_allocated_bytes()
    found = load(as_arrow(tmp_path, form))
    assert arrow.total_allocated_bytes() - before < 1000  # of 6 images of 2,000 bytes and more
    assert found.fingerprint == kept.fingerprint
    assert found.columns["who"].tolist() == kept.columns["who"].tolist()


@pytest.mark.parametrize("limit", ["KEPT", "available_memory"])
def test_parquet_files_too_large_for_memory_are_laid_out_in_a_file_without_a_name(
    limit, tmp_path, monkeypatch
):
    name, rooms = write_parquet(tmp_path), tmp_path / "rooms"
    rooms.mkdir()
    kept = load(name)
    monkeypatch.setattr(store, limit, 1000 if limit == "KEPT" else lambda: 1000)
    monkeypatch.setattr("tempfile.tempdir", str(rooms))
    with pytest.warns(UnseeWarning, match=f"a file in {rooms} that has no name"):
        lazy = load(name)
    assert isinstance(lazy.images, store.Lazy) and not [*rooms.iterdir()]
    assert lazy.fingerprint == kept.fingerprint
    rows = torch.tensor([5, 0, 2])
    assert torch.equal(lazy.take(rows), kept.take(rows))
    assert lazy.take(rows).stride() == kept.take(rows).stride()  # channels last, as decoded


def test_all_parts_together_decide_whether_they_are_laid_out(tmp_path, monkeypatch):
    name = write_parquet(tmp_path)
    files = [arrow.parquet.read_metadata(path) for path in sorted(tmp_path.glob("*.parquet"))]
    both = sum(x.row_group(0).total_byte_size for x in files)
    monkeypatch.setattr(store, "KEPT", both)
    kept = load(name)
    monkeypatch.setattr(store, "KEPT", both - 1)  # each of them would fit
    with pytest.warns(UnseeWarning, match=f"{both:,} bytes of encoded images") as told:
        assert load(name).fingerprint == kept.fingerprint
    assert len(files) == 2 and len(told) == 1


@pytest.mark.parametrize("size", [None, 8])
def test_parquet_files_are_laid_out_where_their_pixels_do_not_stay(size, tmp_path, monkeypatch):
    """They would fit, but are looked into for as long as the data are used."""
    name, asked = write_parquet(tmp_path), []
    pixels = load(name, size=size).images.nbytes
    monkeypatch.setattr("unsee.data._parquet.MAPPED", 1000)
    monkeypatch.setattr("unsee.data._parquet.stays", lambda size: not asked.append(size))
    load(name, size=size)
    assert asked[1] == pixels and len(asked) == 2
    monkeypatch.setattr("unsee.data._parquet.stays", lambda size: size != pixels)
    with pytest.warns(UnseeWarning, match="too many for the memory"):
        load(name, size=size)


@pytest.mark.parametrize("content", [b"", b"no image"])
@pytest.mark.filterwarnings("error")
def test_a_first_image_that_cannot_be_read_decides_nothing(content, tmp_path, monkeypatch):
    monkeypatch.setattr("unsee.data._parquet.MAPPED", 0)
    write_parquet(tmp_path)
    rows = [{"bytes": content, "path": None}] + [
        {"bytes": saved(picture(n)), "path": None} for n in range(3)
    ]
    table = arrow.table({"img": rows, "label": [0, 1, 0, 1]})
    arrow.parquet.write_table(table, tmp_path / "train-0.parquet")
    with pytest.raises(DataError, match="'train/00000': "):
        load(f"parquet:{tmp_path}")


@pytest.mark.filterwarnings("ignore:.*too many for the memory")
def test_no_room_to_lay_them_out_is_an_error_of_the_disk(tmp_path, monkeypatch):
    name = write_parquet(tmp_path)
    monkeypatch.setattr(store, "available_memory", lambda: 1000)

    class Full:
        def __getattr__(self, name):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.PythonFile", lambda file, mode: Full())
    monkeypatch.setattr("pyarrow.ipc.new_file", lambda sink, schema: sink.write)
    with pytest.raises(StorageError, match="TMPDIR names another"):
        load(name)


def test_the_rows_of_a_table_in_chunks_are_those_of_the_whole(tmp_path):
    """Chunks of two rows, of which one image is missing: none takes another one's place."""
    write_parquet(tmp_path)
    content = [{"bytes": saved(picture(n)), "path": None} for n in range(4)]
    content[2] = None
    table = arrow.table({"img": content, "label": [0, 1, 0, 1]})
    arrow.parquet.write_table(table, tmp_path / "train-0.parquet")
    with pytest.raises(DataError, match="'train/00002': no bytes"):
        load(as_arrow(tmp_path, "file"))


@on_linux
@copies
def test_a_set_of_128_mib_is_read_with_less_than_half_of_that(tmp_path, monkeypatch):
    """Opened, split and seen once by a model; what is no file's stays below half of the images."""
    monkeypatch.setattr(memory, "EVERY", 0.005)
    size, each = 128 * MIB, 3 * 32 * 32
    counts = {"train": size // each, "test": 512}
    for part, count in counts.items():
        shape = (count, 3, 32, 32)
        images = np.lib.format.open_memmap(tmp_path / f"{part}_images.npy", "w+", "u1", shape)
        images[:, 0, 0, :4] = np.arange(count, dtype=np.uint32)[:, None].view(np.uint8)
        images[:, 1, 0, 0] = len(part)  # no image of one part is in the other
        np.save(tmp_path / f"{part}_labels.npy", np.arange(count) % 10)
        del images
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10))
    before = memory.now().anonymous
    with memory.watching():
        split = choose(load(f"npz:{tmp_path}"), "class=3")
        seen = predict(net, split.retain)
        most = memory.peak().anonymous
    assert len(seen.labels) > 35_000 and most - before < size / 2


# What was taken.

CHILD = "import sys; x = bytearray(b'x') * (64 << 20); print(flush=True); sys.stdin.read()"


@on_linux
def test_memory_of_children_and_of_mapped_files_is_told_apart(tmp_path):
    path = tmp_path / "pages"
    path.write_bytes(bytes(64 * MIB))
    before = memory.now()
    pages = np.memmap(path, "u1", "r")
    assert int(pages.sum()) == 0
    mapped = memory.now()
    assert mapped.total - before.total > 50 * MIB
    assert mapped.anonymous - before.anonymous < 20 * MIB
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        process.stdout.readline()
        found = memory.now()
    finally:
        process.communicate()
    assert 60 * MIB < found.anonymous - mapped.anonymous < 120 * MIB


@on_linux
def test_a_peak_is_kept_after_it_has_gone_and_begins_anew_with_the_next_watch(monkeypatch):
    monkeypatch.setattr(memory, "EVERY", 0.005)
    with memory.watching():
        with memory.watching():
            before = memory.peak().anonymous
            taken = bytearray(b"x") * (96 * MIB)
            until = memory.now().anonymous
            while memory._watch.seen.anonymous < until - MIB:
                pass
            del taken
        assert memory.now().anonymous < before + 48 * MIB
        assert memory.peak().anonymous > before + 90 * MIB
    with memory.watching():
        assert memory.peak().anonymous < before + 48 * MIB


def test_where_the_system_tells_nothing_the_peak_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROC", tmp_path)
    with memory.watching():
        found = memory.peak()
    assert found.anonymous is None and found.total > 50 * MIB
    assert str(memory.Memory(3 * 2**29)) == "1.50 GiB"
    assert str(memory.Memory(2**30, 2**29)) == "1.00 GiB, 0.50 GiB of it anonymous"


def test_a_look_that_ends_after_its_watch_tells_nothing_to_the_next(monkeypatch):
    monkeypatch.setattr(memory, "_sum", lambda names: memory.Memory(2**60, 2**60))
    watch, over = memory._Watch(), threading.Event()
    over.set()
    watch._look(over)
    assert watch.seen == memory.Memory(0)


@on_linux
def test_a_run_records_both_peaks(patterns, config, tmp_path, monkeypatch):
    from unsee import pipeline

    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})
    cheapest = replace(config, method="noop", oracle="none", train_epochs=1, audits=("accuracy",))
    done = pipeline.run(cheapest, tmp_path / "run")
    assert 50 * MIB < done.peak_anonymous < done.peak_memory
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{done.peak_anonymous / 2**30:.2f} GiB of it anonymous" in page

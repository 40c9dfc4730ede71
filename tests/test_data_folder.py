"""Folders of image files as people have them."""

import os
from dataclasses import replace

import numpy as np
import pytest
from attacks.folders import write_folder
from attacks.pictures import picture, saved
from torchvision.datasets import ImageFolder

from unsee.data import choose, load
from unsee.errors import UnseeWarning

NAMES = [
    "-rf",
    "a b",
    "=cmd|' !A0",
    "<script>alert(1)</script>".replace("/", "\\"),
    "line\nbreak",
    "\u202egnp.exe",
    "\N{CAT FACE}",
    "x" * 251,
    "%2e%2e",
    "caf\u00e9",
    "cafe\u0301",
]


def test_a_folder_is_read_as_torchvision_reads_it(tmp_path):
    data = load(write_folder(tmp_path))
    theirs = ImageFolder(tmp_path / "train")
    assert data.classes == tuple(theirs.classes) == ("cat", "dog")
    train = data.part("train")
    assert len(train) == len(theirs) == 5 and len(data.part("test")) == 2
    for n, (image, label) in enumerate(theirs):
        path = os.path.relpath(theirs.samples[n][0], tmp_path)
        row = int(np.flatnonzero(train.ids == path)[0])
        pixels = data.images[train.rows[row]].permute(1, 2, 0)
        assert np.array_equal(pixels, np.asarray(image)) and int(train.labels[row]) == label


class Turned:
    """A folder's entries in the opposite order."""

    def __init__(self, entries):
        self.entries = entries

    def __enter__(self):
        return reversed([*self.entries])

    def __exit__(self, *_):
        self.entries.close()


def test_the_order_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    scandir = os.scandir
    first = load(write_folder(tmp_path / "a"))
    for name in reversed(first.ids.tolist()):
        path = tmp_path / "b" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((tmp_path / "a" / name).read_bytes())
    assert load(f"folder:{tmp_path / 'b'}").fingerprint == first.fingerprint
    for part in ("train", "test"):
        ids = first.part(part).ids.tolist()
        assert ids == sorted(ids)
    monkeypatch.setattr(os, "scandir", lambda *a: Turned(scandir(*a)))
    assert load(f"folder:{tmp_path / 'b'}").fingerprint == first.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_odd_file_names_are_ids_like_all_others(name, tmp_path):
    data = load(write_folder(tmp_path, also=(f"train/cat/{name}.png",)))
    assert f"train/cat/{name}.png" in data.ids
    glob = choose(data, "path=train/cat/[!12]*")
    assert glob.forget.ids.tolist() == [f"train/cat/{name}.png"]
    assert glob.fingerprint == data.fingerprint


def test_names_that_are_no_text_get_an_id_that_is(tmp_path):
    name = write_folder(tmp_path)
    odd = os.fsencode(tmp_path / "train/cat") + b"/\xff\xfe.png"
    try:
        with open(odd, "wb") as file:
            file.write(saved(picture(50)))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    data = load(name)
    assert "train/cat/\\xff\\xfe.png" in data.ids
    choose(data, "class=cat", validate=False)
    assert data.fingerprint == load(name).fingerprint


def test_formats_are_told_by_content_and_leftovers_are_ignored(tmp_path):
    name = write_folder(tmp_path, extra=saved(picture(), "JPEG"), also=("train/cat/a.txt",))
    assert len(load(name)) == 7
    for leftover in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "train/cat" / leftover).write_bytes(b"junk")
    (tmp_path / "train/.git").mkdir()
    (tmp_path / "train/.git/HEAD").write_bytes(b"ref")
    assert len(load(name)) == 7


def test_folders_within_a_class_belong_to_it(tmp_path):
    data = load(write_folder(tmp_path, also=("train/cat/anna/1.png", "train/cat/ben/2/3.png")))
    assert data.labels[data.ids == "train/cat/ben/2/3.png"].tolist() == [0]
    assert choose(data, "path=train/*/anna/*").forget.ids.tolist() == ["train/cat/anna/1.png"]


@pytest.mark.parametrize("called", ["validation", "val"])
def test_validation_images_may_be_given(called, tmp_path):
    data = load(write_folder(tmp_path, also=("train/cat/3.png", f"{called}/dog/1.png")))
    assert data.part("validation").ids.tolist() == [f"{called}/dog/1.png"]
    assert choose(data, "class=cat").validation.ids.tolist() == [f"{called}/dog/1.png"]


def test_an_emptied_class_keeps_its_number(tmp_path):
    name = write_folder(tmp_path)
    before = load(name)
    for path in (tmp_path / "train/cat").iterdir():
        path.unlink()
    with pytest.warns(UnseeWarning, match=r"1 of 2 classes.*\['cat'\]"):
        after = load(name)
    assert after.classes == before.classes and {*after.part("train").labels.tolist()} == {1}


def test_class_names_from_a_file_order_the_folders(tmp_path):
    name = write_folder(tmp_path)
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    data = load(name, classes=tmp_path / "names.txt")
    assert data.classes == ("dog", "cat")
    assert {*data.labels[np.char.find(data.ids, "/cat/") > 0].tolist()} == {1}


def test_links_within_the_folder_are_followed_and_others_named(tmp_path):
    name = write_folder(tmp_path / "photos")
    outside = tmp_path / "outside.png"
    outside.write_bytes(saved(picture(77)))
    cats = tmp_path / "photos/train/cat"
    os.symlink("1.png", cats / "again.png")
    os.symlink(outside, cats / "stranger.png")
    os.symlink("..", cats / "loop")
    os.mkfifo(cats / "pipe.png")
    with pytest.warns(UnseeWarning, match="3 links and special files.*loop.*pipe.*stranger"):
        data = load(name)
    assert len(data) == 8 and "train/cat/again.png" in data.ids
    linked = tmp_path / "link"
    os.symlink(tmp_path / "photos", linked)
    with pytest.warns(UnseeWarning):
        assert load(f"folder:{linked}").fingerprint == data.fingerprint


def test_a_file_that_may_not_be_opened_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("unsee.data._folder.LIMIT", 10)
    with pytest.raises(ValueError, match="'train/cat/1.png': a file of more than 10 bytes"):
        load(write_folder(tmp_path))


@pytest.mark.parametrize("key", ["id", "path", "file_name"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_gives_columns(key, encoding, tmp_path):
    rows = [f"who,{key}", "anna,train/cat/1.png", '"o\'neil, ben",./train/dog/2.png', ""]
    name = write_folder(tmp_path, table="")
    (tmp_path / "metadata.csv").write_bytes("\r\n".join(rows).encode(encoding))
    data = load(name)
    assert {*data.columns} == {"who"}
    assert choose(data, "where=who:anna").forget.ids.tolist() == ["train/cat/1.png"]
    assert choose(data, "where=who:o'neil, ben").forget.ids.tolist() == ["train/dog/2.png"]
    assert (data.columns["who"] == "").sum() == 5


def test_a_table_of_any_name_is_found_and_other_tables_ignored(tmp_path):
    name = write_folder(tmp_path)
    (tmp_path / "people.csv").write_text("id,who\ntrain/cat/1.png,anna\nnot/there.png,ben\n")
    (tmp_path / "costs.csv").write_text("month,euro\nMay,3\n")
    with pytest.warns(UnseeWarning, match=r"1 rows of people.csv name no image.*not/there.png"):
        data = load(name)
    assert choose(data, "where=who:anna").forget.ids.tolist() == ["train/cat/1.png"]


def test_a_table_may_spell_an_id_in_another_unicode_form(tmp_path):
    name = write_folder(tmp_path, also=("train/cat/caf\u00e9.png",))
    (tmp_path / "metadata.csv").write_text("id,who\ntrain/cat/cafe\u0301.png,anna\n", "utf-8")
    data = load(name)
    assert choose(data, "where=who:anna").forget.ids.tolist() == ["train/cat/caf\u00e9.png"]
    assert replace(data).columns is data.columns


def test_files_outside_of_class_folders_are_named(tmp_path):
    source = write_folder(tmp_path)
    (tmp_path / "train" / "stray.png").write_bytes(saved(picture()))
    with pytest.warns(UnseeWarning, match=r"1 files lie in no folder of a class.*stray\.png"):
        data = load(source)
    assert len(data.part("train")) == 5

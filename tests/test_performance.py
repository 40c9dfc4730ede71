"""What measures speed, memory and growth: the page shows the numbers, the fits are right."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unsee.nouns import Config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import cells  # noqa: E402
import growth  # noqa: E402
import memory as large  # noqa: E402
import peer_ways  # noqa: E402
import peers  # noqa: E402
import performance  # noqa: E402
import speed  # noqa: E402
import startup  # noqa: E402

SECTIONS = {
    "speed": speed,
    "memory": large,
    "growth": growth,
    "peers": peers,
    "startup": startup,
}


def cells_of(section):
    """Return what was measured, in the order of the page."""
    found = performance.measured(section)
    return {name: found[name] for name in SECTIONS[section].digests() if name in found}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_shows_what_was_measured(section):
    found = cells_of(section)
    lines = performance.of_section(section, found, SECTIONS[section].lines)
    page = performance.PAGE.read_text()
    assert performance.with_section(page, section, lines) == page


def test_a_section_is_written_between_its_marks_alone():
    text = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n"
    found = performance.with_section(text, "a", ["\\1 is no group"])
    assert found == "before\n<!-- a -->\n\n\\1 is no group\n\n<!-- end of a -->\nafter\n"
    with pytest.raises(SystemExit, match="Expected the marks"):
        performance.with_section(text, "b", [])


def test_the_bare_step_is_short_and_imports_nothing_of_ours():
    """The ceiling is one that anybody could have written: at most 20 lines, torch alone."""
    for function in (speed.bare_training, speed.bare_evaluation):
        code = function.__code__
        last = max(line for *_, line in code.co_lines() if line)
        assert last - code.co_firstlineno < 20
        ours = {"unsee", "predict", "descend", "batches", "augmented", "Data"}
        assert not ours & {*code.co_names, *code.co_varnames}


def test_each_way_says_what_it_spent():
    bench = speed.Bench(speed.CASES["digits"], tiny=True)
    for task in speed.TASKS:
        done = [bench.bare(task)(), bench.product(task)()]
        assert all(x > 0 for x in done)
        if task == "train":
            assert done == [256.0, 256.0]
        if task == "evaluate":
            assert done == [256 / 3, 256 / 3]


def test_pictures_are_those_of_the_data():
    bench = speed.Bench(speed.CASES["digits"], tiny=True)
    kept = speed.transforms.ToTensor()
    pictures = speed.Pictures(bench.data, kept)
    image, label = pictures[7]
    assert np.allclose(image, bench.placed[7]) and label == int(bench.data.labels[7])
    assert len(pictures) == 256


def test_a_set_has_the_size_and_the_class_that_were_asked_for(tmp_path):
    source = large.write_set(tmp_path, "npz", 4 * 2**20)
    with np.load(source.partition(":")[2]) as found:
        size = sum(found[f"{part}_images"].nbytes for part in ("train", "test"))
        labels = found["train_labels"]
    assert 0.98 < size / (4 * 2**20) <= 1
    assert np.bincount(labels)[0] == len(labels) // 10 and len(np.bincount(labels)) == 10


def test_fields_of_a_config_that_came_later_make_no_cell_stale():
    old = {k: v for k, v in asdict(Config()).items() if k not in dict(cells.LATER)}
    assert cells.made_by("x", asked=[Config()]) == cells.made_by("x", asked=[old])
    asked = replace(Config(), audit_retain=5)
    assert cells.made_by("x", asked=[asked]) != cells.made_by("x", asked=[old])


# Other packages.


def test_ours_and_theirs_are_counted_alike_and_start_from_the_same_model(monkeypatch):
    """A package that does what our method does: the same gradients, on the same images."""
    handed = []

    def mine(job):
        handed.append(job)
        for x, y in job.loader("forget"):
            job.model.zero_grad()
            torch.nn.functional.cross_entropy(job.model(x), y).backward()
        return job.model

    package = peer_ways.Package("mine", "1", (), {"ascent": mine})
    monkeypatch.setitem(peers.PACKAGES, "mine", package)
    bench = speed.Bench(speed.CASES["digits"], tiny=True)
    monkeypatch.setattr(speed, "Bench", lambda case, tiny: bench)
    found = peers.work("digits-mine-ascent", tiny=True)
    first = next(iter(handed))
    assert torch.equal(first.forget[1], bench.forget.labels) and len(handed) == 3
    assert len({next(job.model.parameters()).sum().item() for job in handed}) == 1
    for way in ("theirs", "ours"):
        pairs = zip(found["rates"][way]["each"], found["seconds"][way]["each"], strict=True)
        assert [rate * took for rate, took in pairs] == pytest.approx([len(bench.forget)] * 2)
    ratio = found["rates"]["ours"]["each"][0] / found["rates"]["theirs"]["each"][0]
    assert found["over_theirs"]["each"][0] == pytest.approx(ratio)
    assert found["accuracy"]["theirs"] == found["accuracy"]["before"]  # it never steps
    row = peers.lines({"digits-mine-ascent": {"version": "1", **found}})[2]
    assert f"| {found['over_theirs']['median']:.2f} (" in row


def test_a_package_that_raises_is_a_row_with_its_first_line_and_no_place_of_this_machine(
    monkeypatch,
):
    def broken(job):
        raise ImportError("cannot import name 'x' from 'y' (/somewhere/on/this/disk.py)\nmore")

    package = peer_ways.Package("mine", "1", (), {"ascent": broken})
    monkeypatch.setitem(peers.PACKAGES, "mine", package)
    found = peers.work("digits-mine-ascent", tiny=True)
    assert found == {"failed": "ImportError: cannot import name 'x' from 'y'"}
    row = peers.lines({"digits-mine-ascent": {"version": "1", **found}})[2]
    assert row.startswith("| digits | mine 1 | climbs the loss of what goes | failed: ImportError")
    assert row.count("|") == peers.lines({})[0].count("|")


def test_a_package_that_pip_does_not_reach_is_a_row_that_says_so(tmp_path):
    """An environment whose pip is a stand-in: what it answers is the reason."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 'WARNING: x' >&2; echo 'ERROR: No matching' >&2; exit 1\n")
    python.chmod(0o755)
    found = peers.make("digits-erasus-ascent", True, tmp_path)
    assert found == {"version": "0.2.0", "failed": "pip: ERROR: No matching"}


def test_a_loader_hands_out_each_image_once_with_its_label():
    images, labels = torch.arange(300.0).reshape(300, 1, 1, 1), torch.arange(300)
    parts = {"forget": (images[:9], labels[:9]), "retain": (images[9:], labels[9:])}
    job = peer_ways.Job(torch.nn.Identity(), **parts, classes=300)
    batches = [*job.loader("forget", "retain", labels=2)]
    assert [len(x) for x, *_ in batches] == [128, 128, 44]
    for x, one, other in batches:
        assert torch.equal(x.flatten(), one.float()) and torch.equal(one, other)
    assert sorted(torch.cat([y for _, y, _ in batches]).tolist()) == [*range(300)]

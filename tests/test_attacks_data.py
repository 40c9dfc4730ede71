"""Hostile and broken data are refused for the right reason, and pass without the attack."""

import json
import random
import re
import subprocess
import sys
import warnings

import pytest
from attacks import folders, places, sources  # noqa: F401  (they fill ATTACKS)
from attacks.folders import write_folder
from attacks.pictures import FILES, picture, saved
from attacks.places import write_parquet
from attacks.sources import ATTACKS, write_cifar10, write_idx, write_npz

from unsee.data import load
from unsee.errors import DataError

MEASURE = """
import json, resource, sys
from pathlib import Path
from unsee.data._decode import decode
from unsee.errors import DataError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for path in sorted(Path(sys.argv[1]).iterdir()):
    encoded, before = path.read_bytes(), peak()
    try:
        decode(encoded)
        outcome = "decoded"
    except DataError as error:
        outcome = str(error)
    print(json.dumps([path.name, outcome, peak() - before]), flush=True)
"""


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_is_refused_and_the_rest_passes(name, tmp_path):
    make, reason = ATTACKS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of links left out, and of classes without images
        with pytest.raises(DataError, match=reason) as refusal:
            load(make(tmp_path / "hostile", True))
        assert len(load(make(tmp_path / "good", False))) >= 6
    assert "\n" not in str(refusal.value)
    assert not [*tmp_path.rglob("canary")]


WHOLE = {
    "parquet": (write_parquet, "train-0.parquet"),
    "cifar10": (write_cifar10, "cifar-10-batches-py/data_batch_1"),
    "names": (write_cifar10, "cifar-10-batches-py/batches.meta"),
    "npz": (write_npz, "data.npz"),
    "idx": (write_idx, "train-labels-idx1-ubyte"),
    "gzip": (lambda place: write_idx(place, packed=True), "train-labels-idx1-ubyte.gz"),
    "table": (lambda place: write_folder(place, table=TABLE), "metadata.csv"),
    "picture": (write_folder, "train/cat/odd.png"),
}
TABLE = "id,who\ntrain/cat/1.png,anna\ntrain/cat/2.png,ben\n"


@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(kind, tmp_path):
    write, file = WHOLE[kind]
    name, path = write(tmp_path), tmp_path / file
    good, dice, outcomes = path.read_bytes(), random.Random(0), {"read": 0, "refused": 0}
    for _ in range(60):
        content = bytearray(good)
        for _ in range(dice.choice((1, 1, 2, 8))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load(name)
                outcomes["read"] += 1
            except DataError:
                outcomes["refused"] += 1
    assert outcomes["refused"] and sum(outcomes.values()) == 60


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What decoding each file led to, and by how many MB it raised the memory."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (make, _) in FILES.items():
        (folder / name).write_bytes(make())
    (folder / "a_good_one").write_bytes(saved(picture()))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, folder],
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (outcome, growth) for name, outcome, growth in lines}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_little_memory(name, outcomes):
    outcome, growth = outcomes[name]
    assert re.search(FILES[name][1], outcome), outcome
    assert growth < 100
    assert outcomes["a_good_one"][0] == "decoded"


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_hostile_file_is_refused_by_its_name(name, tmp_path):
    with pytest.raises(DataError, match=f"1 that are not.*'train/cat/odd.png'.*{FILES[name][1]}"):
        load(write_folder(tmp_path, extra=FILES[name][0]()))


def test_the_same_folder_passes_without_it(tmp_path):
    assert len(load(write_folder(tmp_path, extra=saved(picture())))) == 7


def test_one_bad_file_in_a_hundred_is_left_out_and_named(tmp_path):
    also = ["train/cat/odd.png", *(f"train/dog/{n}.png" for n in range(100, 200))]
    name = write_folder(tmp_path, extra=b"GIF89a", also=also)
    with pytest.warns(UserWarning, match="1 of 107 images cannot be read.*'train/cat/odd.png'"):
        data = load(name)
    assert len(data) == 106 and "train/cat/odd.png" not in data.ids
    (tmp_path / "train/cat/1.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 that are not among the first 3 of 107"):
        load(name)

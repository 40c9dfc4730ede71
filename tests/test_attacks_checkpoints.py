"""Hostile checkpoints are refused for the right reason, and nothing of them is run or unpacked.

They are read in a process of their own: one that crashes it is a failed test and not the end of
all tests.
"""

import json
import pickle
import re
import subprocess
import sys

import pytest
from attacks.checkpoints import ATTACKS, CANARY, TWINS

from unsee.errors import ModelError
from unsee.models import _safetensors, read

READER = """
import json, random, resource, sys, warnings
from pathlib import Path
from unsee.errors import ModelError
from unsee.models import read
warnings.simplefilter("ignore")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def outcome(path):
    try:
        read(path)
    except ModelError as error:
        return str(error)
    except BaseException as error:
        return f"BUG {type(error).__name__}: {error}"
    return "read"

folder = Path(sys.argv[1])
for path in [*sorted(folder.glob("twin*")), *sorted(folder.glob("attack*"))]:
    before = peak()
    print(json.dumps([path.name, outcome(path), peak() - before]), flush=True)
dice = random.Random(0)
for path in sorted(folder.glob("twin*")):
    for _ in range(40):
        content = bytearray(path.read_bytes())
        for _ in range(dice.choice((1, 1, 2, 8))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        damaged = folder / "damaged"
        damaged.write_bytes(content)
        print(json.dumps(["damaged", outcome(damaged), 0]), flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def outcomes(folder):
    """What reading each file led to, and by how many MB it raised the memory."""
    for i, (make, _) in enumerate(ATTACKS.values()):
        (folder / f"attack{i:03d}.pt").write_bytes(make())
    for i, make in enumerate(TWINS.values()):
        (folder / f"twin{i:03d}.pt").write_bytes(make())
    command = [sys.executable, "-c", READER, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()], done


def found(outcomes, name):
    lines, done = outcomes
    told = next((line for line in lines if line[0] == name), None)
    assert told, f"the reader died before it with {done.returncode}: {done.stderr[-500:]}"
    return told


@pytest.mark.parametrize("name", TWINS)
def test_a_checkpoint_without_the_attack_is_read(outcomes, name):
    assert found(outcomes, f"twin{[*TWINS].index(name):03d}.pt")[1] == "read"


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_reason_on_one_line(outcomes, folder, name):
    file, (_, reason) = f"attack{[*ATTACKS].index(name):03d}.pt", ATTACKS[name]
    _, told, megabytes = found(outcomes, file)
    assert re.search(f"attack.*: .*Expected .*{reason.removeprefix('Expected ')}", told), told
    assert told.isprintable() and len(told) < 900
    assert megabytes < 40 + 3 * (folder / file).stat().st_size / 2**20
    assert not (folder / CANARY).exists()


def test_the_attack_with_code_is_real(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(ATTACKS["code, no file of torch"][0]())
    assert (tmp_path / CANARY).exists()


def test_a_damaged_file_is_read_or_refused_and_nothing_else(outcomes):
    lines, done = outcomes
    damaged = [told for name, told, _ in lines if name == "damaged"]
    assert len(damaged) == 40 * len(TWINS) and done.returncode == 0
    assert not [told for told in damaged if told.startswith("BUG")]
    assert sum(told != "read" for told in damaged) > 40


def test_a_header_beyond_the_limit_is_not_parsed(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(content := TWINS["safetensors"]())
    read(path)
    length = int.from_bytes(content[:8], "little")
    monkeypatch.setattr(_safetensors, "HEADER", length - 1)
    with pytest.raises(ModelError, match=f"would be the first {length}"):
        read(path)


@pytest.mark.parametrize("name", ["short storage", "tensor beyond its storage"])
def test_nothing_depends_on_the_suffix(tmp_path, name):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(ATTACKS[name][0]())
    with pytest.raises(ModelError, match=ATTACKS[name][1]):
        read(path)

"""Two processes of one job, started by torchrun: the numbers of one process, each image once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import save_patterns
from together import LOOKED_AT, NETS, TRAINED, findings

from unsee import training

HERE = Path(__file__).parent
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
    *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # sums of floats in another order, over up to 24 steps


def torchrun(*arguments, **environment):
    paths = filter(None, [str(HERE), os.environ.get("PYTHONPATH")])
    more = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": ":".join(paths)}
    return subprocess.run(
        [*TORCHRUN, str(HERE / "together.py"), *arguments],
        env=os.environ | more | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def one():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        patch.setitem(training.predict.__kwdefaults__, "size", LOOKED_AT)
        return findings()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun("findings", str(folder))
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def test_two_processes_train_and_unlearn_the_model_of_one(one, two):
    first, second = (found["weights"] for found in two)
    for name, weights in one["weights"].items():
        assert torch.allclose(first[name], weights, **CLOSE), name
        assert torch.equal(first[name], second[name]), f"{name} differs between the processes"


def test_each_takes_its_share_of_every_batch_but_the_first(one, two):
    for name, passed in one["passed"].items():
        shares = [found["passed"][name] for found in two]
        if name.startswith("drawing"):
            assert shares == [passed, passed], "each has to draw for the whole batch"
        else:
            first = sum(shares) - passed  # once too often: it shows what may be shared out
            few_batches = name.startswith("plain/") and name.partition("/")[2] not in TRAINED
            assert 0 <= first <= (passed if few_batches else 40), name
            assert few_batches or (first and max(shares) < 0.65 * passed), name


def test_image_gradients_are_counted_once_over_all_processes(one, two):
    assert {name.partition("/")[0] for name in one["spent"]} == {*NETS, "predict"}
    for found in two:
        assert found["spent"] == pytest.approx(one["spent"])


def test_answers_come_in_order_from_uneven_shares_and_are_the_same_bits(one, two):
    assert len(one["seen"][0]) == 48
    for found in two:
        assert all(map(torch.equal, found["seen"], one["seen"]))


def test_audits_of_two_processes_are_those_of_one(one, two):
    for found in two:
        assert found["audits"] == one["audits"]
        assert found["arrays"].keys() == one["arrays"].keys()
        for name, array in one["arrays"].items():
            assert np.array_equal(found["arrays"][name], array), name


def test_processes_hear_the_first_and_differences_are_refused(two):
    for rank, found in enumerate(two):
        assert found["told"] == 5 and found["gathered"] == [0, 1]
        assert found["fan_out"] == [(item, 0, 1) for item in range(3)], "the first works alone"
        assert found["differs"].startswith("Expected the same number in all processes, got [0, 1]")
        assert found["speaks"] == [rank == 0, True, rank == 0]


def test_a_killed_process_ends_the_job_and_the_same_command_goes_on(tmp_path):
    data = f"npz:{save_patterns(tmp_path / 'patterns.npz')}"
    flags = ("--data", data, "--arch", "conftest:conv_net", "--forget", "class=c")
    asked = ("unsee", "run", *flags, "--method", "finetune", "--train-epochs", "2")
    folder, died = tmp_path / "run", tmp_path / "died"

    done = torchrun(*asked, "--out", str(folder), DIES="7", DIED=str(died))
    assert time.time() - float(died.read_text()) < 60  # 2 where nothing else runs, not 30 minutes
    assert done.returncode != 0 and done.stdout == ""
    assert "unsee: Expected all processes of this job" in done.stderr or (
        "unsee: stopped: nothing is half written" in done.stderr
    )
    assert [*json.loads((folder / "stages.json").read_text())] == ["train"]
    before = (folder / "original.safetensors").stat().st_mtime_ns

    done = torchrun(*asked, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next    unsee report") == 1 == done.stderr.count("audit: done")
    assert (folder / "original.safetensors").stat().st_mtime_ns == before
    lines = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    told = [line["stage"] for line in lines if line["event"] == "end"]
    assert told == ["train", "unlearn", "audit", "arrays", "report"]
    assert json.loads((folder / "audit.json").read_text())["environment"]["processes"] == "2"

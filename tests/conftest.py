"""A tiny data set with one class to forget, tiny models, and a run of a second over both."""

import copy
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from postgresql import started
from torch import nn

from unsee import training
from unsee.data import choose
from unsee.methods import METHODS
from unsee.nouns import Config, Data
from unsee.testing import (
    block as block,
    conv_net as conv_net,
    flat_net as flat_net,
    pattern_data as pattern_data,
)

torch.set_num_threads(1)  # the nets are tiny: more threads only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def seeded(build, seed=0):
    """Build with weights that are the same in every test."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def save_patterns(path, data=None):
    """Write them as a file for ``npz:PATH``."""
    data = data or pattern_data()
    arrays = {"classes": np.array(data.classes)}
    for part in ("train", "test"):
        some = data.part(part)
        images = some.take(torch.arange(len(some))).numpy()
        arrays[f"{part}_images"] = images[:, 0] if images.shape[1] == 1 else images
        arrays[f"{part}_labels"] = some.labels.numpy()
    np.savez(path, **arrays)
    return path


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    """The same numbers on every machine; tests of bfloat16 ask for it."""
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: False)


@pytest.fixture
def in_bfloat16(monkeypatch, in_float32):
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: True)


@pytest.fixture
def data():
    """48 images of noise, 4 x 4: what is to be learned is nothing, what is to be counted is all."""
    images = torch.randint(0, 256, (48, 1, 4, 4), generator=rng(), dtype=torch.uint8)
    parts = np.array(["train"] * 32 + ["validation"] * 4 + ["test"] * 12)
    return Data(images, torch.arange(48) % 3, np.arange(48).astype(str), parts, ("a", "b", "c"))


@pytest.fixture
def split(data):
    return choose(data, "class=c")


@pytest.fixture
def single(data):
    """Four single images of classes that stay."""
    return choose(data, torch.tensor([0, 1, 2, 5]))


@pytest.fixture
def model():
    return seeded(flat_net)


@pytest.fixture
def patterns():
    return choose(pattern_data(), "class=c")


@cache
def _trained():
    everything = pattern_data().part("train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        return METHODS["retrain"](
            nn.Identity(), everything[:0], everything, rng=rng(), factory=conv_net, epochs=8
        )


@pytest.fixture
def trained():
    """A conv net that knows the patterns; each test has its own."""
    return copy.deepcopy(_trained())


def small_config(path):
    """A run of a second over the patterns, which are written to this folder."""
    return Config(
        data=f"npz:{save_patterns(path / 'patterns.npz')}",
        arch="conftest:conv_net",
        forget="class=c",
        method="snu",
        train_epochs=4,
        oracle="retrain",
    )


@pytest.fixture
def config(tmp_path):
    """For ``run(config, folder)``."""
    return small_config(tmp_path)


@pytest.fixture
def shared():
    """The folder of real data and checkpoints beside the checkout."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared' with data and checkpoints beside the checkout")
    return folder


@pytest.fixture(scope="session")
def postgres():
    """A function to a new database on a server of PostgreSQL, which ends with the tests."""
    with started() as new:
        yield new


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Where a ledger may be made: the same tests on both kinds of database."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.sqlite")
    return request.getfixturevalue("postgres")()

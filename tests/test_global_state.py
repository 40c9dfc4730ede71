"""Importing and calling unsee leaves the process as it was: dice, threads, types and flags."""

import os
import random
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from unsee import training
from unsee.erasure import unlearn
from unsee.methods import METHODS

CODE = """
import importlib.util, json, pkgutil, sys, warnings
import matplotlib, numpy, pyarrow, scipy, sklearn, timm, torch, torchvision  # not ours
import sklearn.decomposition, matplotlib.colors
if importlib.util.find_spec("ray"):
    import ray
from test_global_state import state
before = state()
import unsee
for module in pkgutil.walk_packages(unsee.__path__, "unsee."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
after = state()
changed = [name for name in before if before[name] != after[name]]
sys.exit(f"importing unsee changed {changed}" if changed else 0)
"""


def state():
    """Return by name all that a caller may have set and that we could spoil."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    found = {
        "dice of torch": torch.get_rng_state().tolist(),
        "dice of numpy": repr(np.random.get_state()),
        "dice of python": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "deterministic, warn": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly": torch.is_anomaly_enabled(),
        "autocast": [
            (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            for kind in ("cpu", "cuda")
        ],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "tf32": cuda.matmul.allow_tf32,
        "attention": (
            cuda.flash_sdp_enabled(),
            cuda.math_sdp_enabled(),
            cuda.mem_efficient_sdp_enabled(),
        ),
        "fast path of encoders": torch.backends.mha.get_fastpath_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "printing": repr(vars(torch._tensor_str.PRINT_OPTS)),
        "filters of warnings": [repr(each) for each in warnings.filters],
        "numbers of numpy": np.geterr(),
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "hooks": (sys.excepthook, warnings.showwarning),
    }
    return found


def test_importing_every_module_leaves_the_process_as_it_was():
    paths = os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    )
    assert done.returncode == 0, done.stderr


def test_unlearning_auditing_looking_and_running_leave_the_process_as_it_was(tmp_path):
    import unsee
    from unsee.training import predict

    config = unsee.Config(
        arch="tinynet:build",
        forget="class=3",
        method="snu",
        train_epochs=1,
        oracle="retrain",
        guard=1,
    )
    data = unsee.load("digits")
    rows = np.concatenate([np.flatnonzero(data.parts == part)[:120] for part in ("train", "test")])
    split = unsee.choose(data[rows], "class=3")
    model = METHODS["retrain"](
        torch.nn.Identity(),
        split.forget,
        split.retain,
        rng=torch.Generator(),
        factory=net,
        epochs=1,
    )
    calls = {
        "predict": lambda: predict(model, split.test),
        "unlearn": lambda: unsee.unlearn(model, split.forget, split.retain, method="snu", guard=1),
        "audit": lambda: unsee.audit(split, original=model, unlearned=model),
        "run": lambda: unsee.run(config, tmp_path / "run"),
    }
    for name, call in calls.items():
        before = state()
        call()
        after = state()
        assert not [fact for fact in before if before[fact] != after[fact]], name


@pytest.mark.parametrize("name", METHODS)
def test_every_method_leaves_the_process_as_it_was(name, model, split):
    training.warm_up()  # torch's first optimizer imports its compiler
    before = state()
    unlearn(model, split.forget, split.retain, method=name, guard=1, factory=lambda: model)
    after = state()
    assert not [fact for fact in before if before[fact] != after[fact]]


def net():
    import tinynet

    return tinynet.build(1, 10)

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, rng, save_patterns, small_config
from torch import nn
from torch.utils.data import TensorDataset

import unsee.folder
from unsee import events, pipeline, training
from unsee.data import choose
from unsee.errors import (
    DivergenceError,
    OptionError,
    RunError,
    SplitError,
    StorageError,
    UnseeError,
)
from unsee.folder import FILES, load_run, write
from unsee.methods import METHODS, method
from unsee.models import Checkpoint, pack, read
from unsee.nouns import Config, Data, Run
from unsee.pipeline import audit, generator, look, run, unlearn
from unsee.training import predict

FINISHED = {
    *("config.json", "stages.json", "events.jsonl", ".lock", "original.safetensors"),
    *("model.safetensors", "retrained.safetensors", "audit.json", "arrays.npz", "report.html"),
    "figures",
}


def undrawn(run, drawn=None):
    return f"<!doctype html><p>{run.method}</p>"


@pytest.fixture
def quick(monkeypatch):
    """Without the drawing of the page, which is most of a tiny run's time."""
    monkeypatch.setattr(pipeline, "page", undrawn)
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: [])
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {"strip": "<svg/>"})


@pytest.fixture
def cheapest(config):
    return replace(config, method="noop", oracle="none", train_epochs=1)


def files(path):
    return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def events_of(path):
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


# Unlearning.


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
@pytest.mark.parametrize("shown, n", [("all", 22), ("buffer", 6), ("forget", 0)])
def test_a_method_is_shown_no_more_than_it_declares(model, split, shown, n):
    sizes = []

    @method(title="Spy", paper="none", data=shown)
    def spy(model, forget, retain, *, rng):
        """Count."""
        sizes.append((len(forget), len(retain)))
        return model

    unlearn(model, split.forget, split.retain, method=spy, retain_fraction=0.25)
    assert sizes == [(10, n)]
    for fraction in (2, -0.1, float("nan")):
        with pytest.raises(OptionError, match="retain_fraction"):
            unlearn(model, split.forget, split.retain, method=spy, retain_fraction=fraction)


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
def test_the_buffer_is_drawn_by_the_seed_and_for_all_methods_alike(model, split):
    shown = {}

    def spying(name):
        def spy(model, forget, retain, *, rng):
            """Look."""
            shown.setdefault(name, []).append(retain.ids.tolist())
            return model

        spy.__name__ = name
        return method(title="Spy", paper="none")(spy)

    for name in ("a", "b"):
        for seed in (0, 0, 1):
            unlearn(model, split.forget, split.retain, method=spying(name), seed=seed)
    assert shown["a"] == shown["b"]
    assert shown["a"][0] == shown["a"][1] != shown["a"][2]


def test_every_purpose_has_its_own_draws():
    draws = {torch.rand((), generator=generator(s, p)).item() for s in (0, 1) for p in ("a", "b")}
    assert len(draws) == 4


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
def test_a_name_and_a_method_give_the_same(model, split):
    a, b = (
        unlearn(model, split.forget, split.retain, method=m).state_dict()
        for m in ("snu", METHODS["snu"])
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


# Looking.


def sampled(split, n=8):
    return {
        part: (getattr(split, part), np.arange(min(n, len(getattr(split, part)))))
        for part in ("forget", "retain")
    }


def test_unseen_are_the_test_images_of_the_forgotten_kind(model, split):
    view = look("original", model, split, sampled(split))
    assert set(view.unseen.labels.tolist()) == {2} and set(view.test.labels.tolist()) == {0, 1}
    assert len(view.unseen.labels) + len(view.test.labels) == len(split.test)


def test_single_images_are_compared_with_all_test_images(model, single):
    view = look("original", model, single, sampled(single))
    assert len(view.unseen.labels) == len(view.test.labels) == len(single.test)


# A run.

MEASUREMENT = {"value": float, "low": float, "high": float, "n": int}
PER_STAGE = {"train": float, "unlearn": float, "retrain": float}
MODEL = {
    name: MEASUREMENT
    for name in (
        *("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
        *("membership_auc", "probe_recall", "few_shot_recall", "evidence_remaining"),
    )
}
CONTRACT = {  # what others read; keys may be added, none is renamed
    "schema": int,
    "models": {"original": MODEL, "unlearned": MODEL, "retrained": MODEL},
    "seconds": PER_STAGE,
    "images_per_second": PER_STAGE,
    "image_gradients": PER_STAGE,
    "peak_memory": int,
    "output_layer": str,
    "forget": {"rule": str, "count": int, "ids_digest": str},
    "data": {"name": str, "fingerprint": str, "classes": list, "counts": dict},
    "method": str,
    "options": dict,
    "seed": int,
    "environment": dict,
}


def broken_promises(contract, record, where="audit.json"):
    if isinstance(contract, type):
        wanted = (int, float) if contract is float else contract
        if not isinstance(record, wanted) or isinstance(record, bool):
            yield f"{where} is {record!r}, not {contract.__name__}"
        return
    for name, inner in contract.items():
        if name not in record:
            yield f"{where} has no {name}"
        else:
            yield from broken_promises(inner, record[name], f"{where}/{name}")


def test_a_run_goes_from_data_to_a_report(config, tmp_path):
    dice, heard = torch.get_rng_state(), []
    with events.listening(heard.append):
        done = run(config, tmp_path / "run")
    assert torch.equal(dice, torch.get_rng_state())
    assert {path.name for path in (tmp_path / "run").iterdir()} == FINISHED
    assert {*FINISHED} - {".lock"} <= {*FILES}
    text = (tmp_path / "run" / "audit.json").read_text()
    assert done == Run.from_json(text) and done.to_json() == text
    assert [*broken_promises(CONTRACT, json.loads(text))] == []
    assert "<html" in (tmp_path / "run" / "report.html").read_text()
    assert [event.event for event in heard][-1] == "end"

    record = json.loads(text)
    assert record["schema"] == 1 and record["method"] == "snu" and record["output_layer"] == "4"
    assert record["options"] == METHODS["snu"].options
    assert record["data"]["counts"] == {"forget": 24, "retain": 48, "validation": 0, "test": 24}
    assert record["forget"]["count"] == 24 and record["forget"]["gone"] == ["c"]
    for measured in record["models"].values():
        for name, m in measured.items():
            if m is None:
                continue
            assert m["low"] <= m["value"] <= m["high"] and m["n"] > 0, name
    spent = record["image_gradients"]
    guarded = 2 * (48 + 1) / 3  # before and after; the one shows which layer is the last
    unlearned = pytest.approx(24 + 25 / 3 + 5 + guarded)
    assert spent == {"train": 4 * 72, "retrain": 4 * 48, "unlearn": unlearned}
    rates = record["images_per_second"]
    for stage, seconds in record["seconds"].items():
        assert rates[stage] == pytest.approx(spent[stage] / seconds)


def test_a_run_without_a_reference_leaves_its_place_empty(cheapest, tmp_path, quick):
    done = run(cheapest, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert record["models"]["retrained"] is None and "retrained" not in done.measurements
    assert record["seconds"]["retrain"] is record["image_gradients"]["retrain"] is None
    assert not (tmp_path / "run" / "retrained.safetensors").exists()
    assert Run.from_json(done.to_json()) == done


def test_single_images_have_no_figures_of_a_class(config, tmp_path, quick):
    done = run(replace(config, forget="random=9", oracle="none"), tmp_path / "run")
    for model in ("original", "unlearned"):
        measured = done.measurements[model]
        assert measured["probe_recall"] is measured["few_shot_recall"] is None
        assert measured["forgotten_test_accuracy"] == measured["test_accuracy"]  # of all classes
        assert measured["test_accuracy"].n == 24
    assert done.forget["gone"] == []


def test_a_line_of_the_log_has_exactly_the_keys_of_the_contract(config, tmp_path, quick):
    run(config, tmp_path / "run")
    lines = events_of(tmp_path / "run")
    keys = {"time", "stage", "event", "done", "total", "images_per_second", "seconds_left"}
    assert all(set(line) == keys | {"message"} for line in lines)
    assert {line["event"] for line in lines} <= {"start", "progress", "end", "warning", "error"}
    ends = [line["stage"] for line in lines if line["event"] == "end"]
    assert ends == ["train", "unlearn", "retrain", "audit", "arrays", "report"]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_warnings_are_told_once_and_kept_with_the_run(config, tmp_path, quick):
    data = pattern_data()
    twins = data.images.clone()
    twins[3] = twins[2]  # one of class a, one of class c
    path = save_patterns(tmp_path / "twins.npz", replace(data, images=twins))
    heard = []
    with events.listening(heard.append):
        done = run(replace(config, data=f"npz:{path}", oracle="none"), tmp_path / "run")
    told = [event.message for event in heard if event.event == "warning"]
    logged = [e["message"] for e in events_of(tmp_path / "run") if e["event"] == "warning"]
    assert told == logged == [*done.notes] and len([note for note in told if "twin" in note]) == 1


def test_the_config_is_kept_with_what_its_files_held(config, tmp_path, quick):
    run(replace(config, method="noop", oracle="none"), tmp_path / "run")
    text = (tmp_path / "run" / "config.json").read_text()
    assert Config.from_json(text) == replace(config, method="noop", oracle="none")
    assert (
        json.loads(text)["fingerprint"]
        == json.loads((tmp_path / "run" / "audit.json").read_text())["data"]["fingerprint"]
    )
    assert asdict(config).keys() < json.loads(text).keys()


def test_noop_leaves_every_number_as_it_was(cheapest, tmp_path, quick):
    done = run(cheapest, tmp_path / "run")
    before, after = done.measurements["original"], done.measurements["unlearned"]
    changed = {name.partition("/")[0] for name in before if before[name] != after[name]}
    assert changed <= {"displacement", "worst_class_change"}
    weights = [tmp_path / "run" / f"{name}.safetensors" for name in ("original", "model")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_same_words_make_the_same_bytes_in_another_folder(config, tmp_path, quick):
    for name in ("a", "b"):
        run(config, tmp_path / name)
    for name in ("original", "model", "retrained"):
        a, b = ((tmp_path / d / f"{name}.safetensors").read_bytes() for d in ("a", "b"))
        assert a == b
    a, b = (json.loads((tmp_path / d / "audit.json").read_text()) for d in ("a", "b"))
    assert a["models"] == b["models"] and a["forget"] == b["forget"]
    assert (tmp_path / "a" / "arrays.npz").read_bytes() == (
        tmp_path / "b" / "arrays.npz"
    ).read_bytes()


def test_a_seed_changes_the_run(config, tmp_path, quick):
    for seed in (0, 1):
        run(replace(config, seed=seed), tmp_path / str(seed))
    for name in ("original", "model"):
        a, b = ((tmp_path / d / f"{name}.safetensors").read_bytes() for d in "01")
        assert a != b


# Killed, full, busy, strange.


def killing(stop, nth):
    seen = []

    def killed(path, content):
        if path.name == stop:
            seen.append(path)
            if len(seen) == nth:
                path.parent.mkdir(exist_ok=True)
                path.with_name(f"{path.name}.12-0123abcd.part").write_bytes(content[:9])
                raise KeyboardInterrupt
        write(path, content)

    return killed


@pytest.fixture(scope="module")
def _whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        patch.setattr(pipeline, "page", undrawn)
        patch.setattr(pipeline, "pictures_of", lambda run: [])
        patch.setattr(pipeline, "figures", lambda run, drawn: {"strip": "<svg/>"})
        config = small_config(path)
        run(config, path / "run")
    return config, path / "run"


@pytest.fixture
def whole(_whole, tmp_path, quick):
    """A finished run, one for each test, and its config."""
    config, folder = _whole
    shutil.copytree(folder, tmp_path / "whole")
    return config, tmp_path / "whole"


STOPS = [
    (name, 1) for name in sorted(FINISHED - {"events.jsonl", ".lock", "stages.json", "figures"})
]
STOPS.append(("strip.svg", 1))


@pytest.mark.parametrize("stop, nth", [*STOPS, *(("stages.json", n) for n in range(1, 7))], ids=str)
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch, whole, stop, nth):
    config, finished = whole
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed = killing(stop, nth)
        for module in (unsee.folder, pipeline):
            patch.setattr(module, "write", killed)
        run(config, tmp_path / "killed")
    stages = tmp_path / "killed" / "stages.json"
    done = json.loads(stages.read_text()) if stages.exists() else {}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.safetensors")}
    resumed = run(config, tmp_path / "killed")
    names = {"train": "original", "unlearn": "model", "retrain": "retrained"}
    for path, then in kept.items():  # a finished stage is not repeated
        stage = next(stage for stage, name in names.items() if name == path.stem)
        assert (path.stat().st_mtime_ns == then) is (stage in done)
    for name in (*(f"{name}.safetensors" for name in names.values()), "arrays.npz"):
        assert (tmp_path / "killed" / name).read_bytes() == (finished / name).read_bytes()
    assert resumed.measurements == load_run(finished).measurements
    assert {path.name for path in (tmp_path / "killed").iterdir()} == FINISHED
    assert not [name for name in files(tmp_path / "killed") if name.endswith(".part")]


def test_a_finished_run_is_only_read(whole):
    config, folder = whole
    before = files(folder)
    again = run(config, folder)
    assert again.to_json().encode() == before["audit.json"]
    assert files(folder) == before


@pytest.mark.parametrize(
    "name", sorted(FINISHED - {"config.json", "events.jsonl", ".lock", "figures"})
)
def test_a_damaged_file_is_made_again(whole, name):
    config, folder = whole
    before = files(folder)
    (folder / name).write_bytes(b"{}" if name == "stages.json" else b"damaged")
    run(config, folder)
    after = files(folder)
    assert after[name] not in (b"{}", b"damaged")
    assert name != "report.html" or after[name] == before[name]
    for weights in ("original.safetensors", "model.safetensors", "retrained.safetensors"):
        assert after[weights] == before[weights]
    assert after["arrays.npz"] == before["arrays.npz"]


def test_a_full_disk_at_any_write_ends_in_five_and_can_be_resumed(
    cheapest, tmp_path, monkeypatch, quick
):
    sync, count = os.fsync, 0

    def limited(handle):
        nonlocal count
        count += 1
        if count == limit:
            raise OSError(28, "No space left on device")
        sync(handle)

    whole = files_of_a_whole_run(cheapest, tmp_path / "whole")
    monkeypatch.setattr(os, "fsync", limited)
    limit, failed = 1, 0
    while True:
        count, path = 0, tmp_path / f"run{limit}"
        try:
            run(cheapest, path)
        except StorageError as error:
            failed, limit = failed + 1, limit + 5  # odd: a file, then a folder
            assert error.exit_code == 5
            there = {n: c for n, c in files(path).items() if n in whole}
            assert {name: whole[name] for name in there} == there
            assert not [name for name in files(path) if name.endswith(".part")]
            count = -(10**6)
            run(cheapest, path)
            assert (path / "model.safetensors").read_bytes() == whole["model.safetensors"]
        else:
            break
    assert failed == 5


def files_of_a_whole_run(config, path):
    """The files whose bytes do not depend on the time a run takes."""
    run(config, path)
    same = ("config.json", "original.safetensors", "model.safetensors", "arrays.npz")
    return {name: (path / name).read_bytes() for name in same}


def test_a_process_that_is_killed_for_good_is_taken_over(config, tmp_path, quick):
    slow = replace(config, train_epochs=40, guard=1)
    run(slow, tmp_path / "whole")
    code = f"""
from pathlib import Path
import conftest
from unsee import pipeline, training
from unsee.nouns import Config
training.has_fast_bf16 = lambda device: False
words = Path({str(tmp_path / "whole" / "config.json")!r}).read_text()
pipeline.run(Config.from_json(words), Path({str(tmp_path / "killed")!r}))
"""
    place = Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )
    log, end = tmp_path / "killed" / "events.jsonl", time.monotonic() + 60
    while not (log.exists() and b'"unlearn"' in log.read_bytes()):
        assert child.poll() is None, child.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    kept = (tmp_path / "killed" / "original.safetensors").stat().st_mtime_ns
    run(slow, tmp_path / "killed")
    assert (tmp_path / "killed" / "original.safetensors").stat().st_mtime_ns == kept
    for name in ("original", "model", "retrained"):
        a, b = (tmp_path / d / f"{name}.safetensors" for d in ("whole", "killed"))
        assert a.read_bytes() == b.read_bytes()


def test_a_folder_holds_one_run(cheapest, tmp_path, quick):
    run(cheapest, tmp_path / "run")
    before = files(tmp_path / "run")
    with pytest.raises(RunError, match=r"differs in \['seed'\]"):
        run(replace(cheapest, seed=1), tmp_path / "run")
    assert files(tmp_path / "run") == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="thesis"):
        run(cheapest, tmp_path / "other")
    assert files(tmp_path / "other") == {"thesis.txt": b"mine"}


def test_changed_data_is_not_taken_for_the_same(cheapest, tmp_path, quick):
    run(cheapest, tmp_path / "run")
    data = pattern_data()
    changed = data.images.clone()
    changed[0, 0, 0, 0] ^= 1
    save_patterns(tmp_path / "patterns.npz", replace(data, images=changed))
    with pytest.raises(RunError, match=r"differs in \['fingerprint'\]"):
        run(cheapest, tmp_path / "run")


@pytest.mark.parametrize("flag", ["model", "oracle", "init"])
def test_a_changed_checkpoint_is_not_taken_for_the_same(cheapest, trained, tmp_path, quick, flag):
    path = tmp_path / "given.safetensors"
    path.write_bytes(pack(Checkpoint(trained.state_dict(), {"mean": [0.0], "std": [1.0]})))
    config = replace(cheapest, mean=(0.0,), std=(1.0,), **{flag: str(path)})
    run(config, tmp_path / "run")
    with torch.no_grad():
        trained[4].bias += 0.01
    path.write_bytes(pack(Checkpoint(trained.state_dict(), {"mean": [0.0], "std": [1.0]})))
    with pytest.raises(RunError, match=r"differs in \['digests'\]"):
        run(config, tmp_path / "run")


def test_a_given_model_is_used_as_it_is_and_stays_so(config, trained, tmp_path, quick):
    facts = {"arch": "conftest:conv_net", "classes": ["a", "b", "c"], "mean": [0.0], "std": [1.0]}
    path = tmp_path / "given.safetensors"
    path.write_bytes(pack(Checkpoint(trained.state_dict(), facts)))
    before = path.read_bytes()
    given = replace(config, model=str(path), oracle="none")
    done = run(given, tmp_path / "run")
    assert path.read_bytes() == before
    assert not (tmp_path / "run" / "original.safetensors").exists()
    assert done.measurements["original"]["test_accuracy"].value > 0.9
    assert done.seconds["train"] is None
    made = read(tmp_path / "run" / "model.safetensors")
    assert [*made.state] == [*read(path).state]
    assert made.facts == facts


def test_divergence_leaves_no_model_and_the_run_can_be_looked_at(config, tmp_path, quick):
    broken = replace(config, method="finetune", options={"lr": 1e38, "epochs": 3}, oracle="none")
    with pytest.raises(DivergenceError) as caught:
        run(broken, tmp_path / "run")
    assert caught.value.exit_code == 3
    assert {"original.safetensors", "config.json"} <= files(tmp_path / "run").keys()
    assert not {"model.safetensors", "audit.json"} & files(tmp_path / "run").keys()
    last = events_of(tmp_path / "run")[-1]
    assert (last["stage"], last["event"]) == ("unlearn", "error")
    assert "lower rate" in last["message"]


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"method": "scurb"}, "a method among"),
        ({"options": {"rate": 1}}, r"options of 'snu' among .*'rate'"),
        ({"options": {"lr": "fast"}}, "snu's lr as float"),
        ({"forget": "class=x"}, "'x'"),
        ({"forget": ""}, "rule"),
        ({"arch": "big"}, "architecture"),
        ({"data": "cifar"}, "data among"),
        ({"data": "npz:nowhere"}, "nowhere"),
        ({"retain_fraction": 1.5}, "retain-fraction in 0..1, got 1.5"),
        ({"train_epochs": 0}, "train-epochs of 1 or more, got 0"),
        ({"seed": -1}, "seed of 0 or more, got -1"),
        ({"device": "tpu"}, "device among"),
        ({"require": ("accuracy<=1",)}, "a measurement among"),
        ({"require": ("forget_accuracy",)}, "a requirement such as"),
        ({"mean": (0.5,)}, "--mean and --std together"),
        ({"mean": (0.5, 0.5), "std": (1.0, 1.0)}, r"per channel \(1\)"),
        ({"model": "nowhere.safetensors"}, "nowhere"),
        ({"oracle": "nowhere.safetensors"}, "nowhere"),
        ({"output_layer": "head"}, "output layer among"),
        ({"method": "head_only", "forget": "random=5"}, "whole classes"),
    ],
    ids=str,
)
def test_bad_words_are_refused_before_anything_is_written(config, tmp_path, wrong, told):
    with pytest.raises((UnseeError, OSError), match=told) as caught:
        run(replace(config, **wrong), tmp_path / "run")
    assert getattr(caught.value, "exit_code", None) == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert re.match("Expected .*, got |.*", str(caught.value))


# Without a folder.


def test_the_python_way_gives_what_the_folder_gives(config, tmp_path, quick):
    done = run(replace(config, oracle="none"), tmp_path / "run")
    job = pipeline.prepare(config)
    split = choose(job.data, "class=c")
    original = job.load(read(tmp_path / "run" / "original.safetensors"))
    after = unlearn(original, split.forget, split.retain, method="snu", seed=0)
    again = audit(split, original=original, unlearned=after, seed=0)
    for model in ("original", "unlearned"):
        assert again.measurements[model] == done.measurements[model]
    assert again.method is None and again.seconds["train"] is None
    assert Run.from_json(again.to_json()) == again


def test_floats_of_a_dataset_reach_the_model_as_they_are():
    images = torch.randn(40, 2, 8, 8, generator=rng()) * 3 - 1
    labels = torch.arange(40) % 2
    sets = (TensorDataset(images[:30], labels[:30]), TensorDataset(images[30:], labels[30:]))
    data = Data.from_dataset(*sets, classes=["a", "b"])
    assert data.augment == () and len(data.part("train")) == 30
    net = conv_net(channels=2, classes=2)
    net[-1].bias.data.copy_(torch.tensor([9.0, -9.0]))  # it knows the class that stays
    passed = []
    net.register_forward_pre_hook(lambda _, args: passed.append(args[0].detach().clone()))
    predict(net, data)
    assert torch.equal(torch.cat(passed[1:]), images)  # the first shows which layer is the last
    split = choose(data, "class=b")
    passed.clear()
    unlearn(net, split.forget, split.retain, method="finetune", epochs=1)
    known = {row.numpy().tobytes() for row in images}
    assert passed and all(row.contiguous().numpy().tobytes() in known for x in passed for row in x)


def test_auditing_needs_a_fitting_model(split):
    with pytest.raises(UnseeError):
        audit(split, original=nn.Flatten(), unlearned=nn.Flatten())
    with pytest.raises(SplitError):
        replace(split, test=split.test[:0])

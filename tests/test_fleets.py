"""Fleets: trained once, resumed model by model, refused for another request."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small_config
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from unsee import auditing, events, training
from unsee.draws import generator
from unsee.erasure import trained, unlearn
from unsee.errors import BusyError, ModelError, OptionError, RunError, UnseeWarning
from unsee.fleets import Member, fleet_answers, oracles, train
from unsee.fleets._members import unlearned_by, words_of
from unsee.folder import opened
from unsee.models import read
from unsee.nouns import Config
from unsee.pipeline import run
from unsee.preparation import prepare
from unsee.references import checkpoints, named_oracles

K = 5


@pytest.fixture(scope="module", autouse=True)
def exactly():
    """What the fixtures of this module make is float32 too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def config(place):
    return replace(small_config(place), oracle="none")


@pytest.fixture(scope="module")
def fleet(place, config):
    """Five models without the class, five that unlearned it."""
    folder = place / "oracles"
    made = oracles(config, folder, models=K, with_unlearned=True, jobs=1)
    assert len(made) == 2 * K
    return folder


@pytest.fixture(scope="module")
def judged(place, config, fleet):
    """A run that is held against the fleet."""
    return run(replace(config, oracle=str(fleet)), place / "judged", jobs=1)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def without(folder, *names):
    return {name: x for name, x in files(folder).items() if name not in names}


def test_a_model_is_the_retrained_one_of_its_seed(config, fleet):
    job = prepare(config)
    for seed in (0, 3):
        again = trained(job, job.split, "retrain", seed=seed).state_dict()
        stored = read(fleet / f"oracle-{seed:04d}.safetensors").state
        assert all(torch.equal(again[name], stored[name]) for name in again)


def test_the_models_differ_by_their_seeds_and_are_kept_in_their_order(fleet):
    paths = checkpoints(fleet)
    assert [path.name for path in paths] == [f"oracle-{n:04d}.safetensors" for n in range(K)]
    assert len({path.read_bytes() for path in paths}) == K
    assert len(checkpoints(fleet, "unlearned-snu")) == K


def test_logits_are_those_of_the_model(config, fleet):
    job = prepare(config)
    model = job.load(read(fleet / "oracle-0002.safetensors"))
    with np.load(fleet / "oracle-0002.npz") as stored, torch.no_grad():
        images = job.split.forget.take(torch.arange(len(job.split.forget))).float() / 255
        assert np.allclose(stored["forget"], model(images).numpy(), atol=1e-4)
        assert len(stored["test"]) == len(job.split.test)


def test_what_is_there_is_not_trained_again(config, fleet, monkeypatch):
    before = without(fleet, "events.jsonl")
    monkeypatch.setattr("unsee.fleets._members._made", None)
    assert len(oracles(config, fleet, models=K, jobs=1)) == K
    assert without(fleet, "events.jsonl") == before


@pytest.mark.parametrize("file", ["oracle-0001.json", "oracle-0001.safetensors", "oracle-0001.npz"])
def test_a_model_that_is_not_whole_is_made_again_to_the_same_bytes(config, fleet, file):
    whole = (fleet / "oracle-0001.safetensors").read_bytes()
    (fleet / file).write_bytes(b"half")
    oracles(config, fleet, models=2, jobs=1)
    assert (fleet / "oracle-0001.safetensors").read_bytes() == whole
    assert Member(str(fleet), words_of(config), "oracle", 1).facts()["seed"] == 1


def test_more_models_are_added_to_a_fleet(config, place):
    folder = place / "growing"
    oracles(config, folder, models=1, jobs=1)
    first = (folder / "oracle-0000.safetensors").read_bytes()
    oracles(config, folder, models=2, jobs=1)
    assert len(checkpoints(folder)) == 2
    assert (folder / "oracle-0000.safetensors").read_bytes() == first


@pytest.mark.parametrize(
    "change", [{"train_epochs": 5}, {"forget": "class=a"}, {"mean": (0.2,), "std": (0.3,)}], ids=str
)
def test_a_folder_holds_one_recipe(config, fleet, change):
    before = files(fleet)
    with pytest.raises(RunError, match="differs in"):
        oracles(replace(config, **change), fleet, models=1, jobs=1)
    assert files(fleet) == before


def test_a_seed_of_the_run_or_a_method_does_not_change_the_recipe_of_a_class(config, fleet):
    other = replace(config, seed=9, method="noop", oracle="retrain")
    assert len(oracles(other, fleet, models=K, jobs=1)) == K


@pytest.mark.parametrize("models, seed", [(0, 0), (3, -1)])
def test_numbers_out_of_range_are_refused(config, place, models, seed):
    with pytest.raises(OptionError, match="1 model or more"):
        oracles(config, place / "none", models=models, first_seed=seed)
    assert not (place / "none").exists()


def test_a_fleet_belongs_to_one_process_at_a_time(config, fleet):
    words = (fleet / "config.json").read_text()
    with opened(fleet, words), pytest.raises(BusyError):
        oracles(config, fleet, models=1, jobs=1)


def test_a_killed_fleet_goes_on_model_by_model(place, config, fleet):
    folder = place / "killed"
    asked = [sys.executable, "-m", "unsee", "oracles", "--data", config.data, "--arch", config.arch]
    asked += ["--forget", config.forget, "--train-epochs", "4", "--models", "5", "--jobs", "1"]
    asked += ["--out", str(folder)]
    where = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    started = subprocess.Popen(asked, env=where, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not [*folder.glob("oracle-*.json")] and time.monotonic() < end:
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)
    started.wait(20)
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("oracle-*.json")}
    assert kept
    done = subprocess.run(asked, env=where, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "5 models of this fleet are there" in done.stdout
    assert len(checkpoints(folder)) == 5
    assert all((folder / name).stat().st_mtime_ns == at for name, at in kept.items())
    assert files(folder)["config.json"] == files(fleet)["config.json"]


# A run beside a fleet.


def test_a_run_beside_a_fleet_has_its_bands(judged):
    assert judged.fleet["k"] == K and judged.fleet["seeds"] == [0, 1, 2, 3, 4]
    first = judged.measurements["retrained"]
    for name, values in judged.references.items():
        assert len(values) == K
        assert values[0] == (first[name].value if first[name] else None)
    assert len({*judged.references["test_accuracy"]} | {*judged.references["membership_auc"]}) > 2
    assert judged.verdict["k"] == K
    assert judged.verdict["audits"]["test_accuracy"]["low"] is not None
    agreement = judged.references["agreement"]
    assert agreement[0] is None and all(0 <= x <= 1 for x in agreement[1:])


def test_references_are_what_an_audit_of_each_model_would_say(config, fleet, judged, place):
    job = prepare(config)
    original = job.load(read(place / "judged" / "original.safetensors"))
    for n in (1, 4):
        model = job.load(read(fleet / f"oracle-{n:04d}.safetensors"))
        alone = auditing.audit(job.split, original=original, unlearned=model, retrained=model)
        for name in ("test_accuracy", "membership_auc", "few_shot_recall", "cka_original"):
            expected = alone.measurements["unlearned"][name].value
            assert judged.references[name][n] == pytest.approx(expected, abs=1e-6)


def test_several_retrained_models_in_python_give_the_same_bands(config, fleet, judged, place):
    job = prepare(config)
    original, after = (
        job.load(read(place / "judged" / f"{name}.safetensors")) for name in ("original", "model")
    )
    models = [job.load(read(path)) for path in checkpoints(fleet)]
    done = auditing.audit(job.split, original=original, unlearned=after, retrained=models)
    assert done.verdict == judged.verdict
    assert done.references.keys() == judged.references.keys()
    for name, values in done.references.items():
        assert values == pytest.approx(judged.references[name], abs=1e-9), name


def test_a_statistic_with_too_few_models_refuses_and_names_the_number(judged):
    refused = judged.fleet["refused"]
    assert len(refused) == 1 and "at least 16 retrained models, got 5" in refused[0]
    assert "unlearned/forget/still" not in judged.arrays
    for name in ("ulira_auc", "rmia_auc", "klom", "klom_95"):
        assert judged.measurements["unlearned"][name] is not None, name


def test_rmia_is_computed_from_the_logits_of_the_fleet(config, fleet, judged, place):
    """Written out again, by the paper's formula, from the stored files."""
    job = prepare(config)
    model = job.load(read(place / "judged" / "model.safetensors"))

    def likely(logits, labels):
        p = np.exp(logits - logits.max(1, keepdims=True))
        return (p / p.sum(1, keepdims=True))[np.arange(len(labels)), labels]

    def ours(data):
        with torch.no_grad():
            return model(data.take(torch.arange(len(data))).float() / 255).double().numpy()

    test = job.split.test
    kin = np.flatnonzero(test.labels.numpy() == 2)
    references = [np.load(fleet / f"oracle-{n:04d}.npz") for n in range(K)]
    ratios = []
    for part, data, rows in (("forget", job.split.forget, slice(None)), ("test", test, kin)):
        labels = data.labels.numpy()[rows]
        out = np.mean([likely(r[part][rows].astype(float), labels) for r in references], 0)
        ratios.append(likely(ours(data)[rows], labels) / ((1.3 / 2) * out + 0.7 / 2))
    forgotten, unseen = ratios
    scores = [
        np.mean(forgotten[:, None] > unseen[None], 1),
        np.array([np.mean(x > np.delete(unseen, i)) for i, x in enumerate(unseen)]),
    ]
    truth = [1] * len(scores[0]) + [0] * len(scores[1])
    expected = roc_auc_score(truth, np.concatenate(scores))
    assert judged.measurements["unlearned"]["rmia_auc"].value == pytest.approx(expected, abs=1e-3)


def test_ulira_tells_a_method_that_does_nothing_from_retraining(place, config):
    """noop leaves what retrained models never had: every model is told apart."""
    folder, idle = place / "idle", replace(config, method="noop")
    oracles(idle, folder, models=K, with_unlearned=True, jobs=1)
    job = prepare(replace(idle, oracle=str(folder)))
    original = trained(job, None, "train", seed=77)
    numbers, arrays, _ = fleet_answers(job, original, folder)
    assert numbers["ulira_auc"].value > 0.95
    assert (arrays["unlearned/forget/ulira"] > 0.5).mean() > 0.9
    assert numbers["klom"].value > numbers["klom/test"].value


def test_a_fleet_of_sixteen_lists_the_images_still_remembered(place, config, fleet):
    folder = place / "sixteen"
    oracles(config, folder, models=16, jobs=1)
    job = prepare(replace(config, oracle=str(folder)))
    numbers, arrays, refused = fleet_answers(job, trained(job, None, "train"), folder)
    assert arrays["unlearned/forget/still"].mean() > 0.8  # the original knows nearly all of them
    assert {*arrays["unlearned/forget/worst_ids"]} <= {*job.split.forget.ids}
    assert not any("still remembered" in sentence for sentence in refused)
    assert any("U-LiRA" in sentence and "got 0" in sentence for sentence in refused)
    clean = train(Member(str(folder), words_of(config), "oracle", 99))
    assert clean["seed"] == 99
    model = job.load(read(folder / "oracle-0099.safetensors"))
    for end in ("json", "npz", "safetensors"):
        (folder / f"oracle-0099.{end}").unlink()
    _, arrays, _ = fleet_answers(job, model, folder)
    assert arrays["unlearned/forget/still"].mean() < 0.3


def test_a_fleet_for_another_request_is_refused(config, fleet):
    with pytest.raises(ModelError, match="without the images of 'class=a'.*'class=c'.*ids_digest"):
        prepare(replace(config, forget="class=a", oracle=str(fleet)))


def test_a_fleet_that_was_trained_otherwise_than_the_run_s_own_original_is_told_of(config, fleet):
    with pytest.warns(UnseeWarning, match=r"trained with train_epochs \d+ \(here: 99\)"):
        prepare(replace(config, train_epochs=99, oracle=str(fleet)))


def test_a_folder_of_one_s_own_retrained_models_will_do(config, fleet, tmp_path):
    for n in range(3):
        content = (fleet / f"oracle-{n:04d}.safetensors").read_bytes()
        (tmp_path / f"mine-{n}.safetensors").write_bytes(content)
    job = prepare(replace(config, oracle=str(tmp_path)))
    assert len(job.oracles) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="unsee oracles trains them"):
        prepare(replace(config, oracle=str(tmp_path / "empty")))


def test_another_fleet_behind_the_same_flag_is_another_run(config, fleet, tmp_path):
    words = [prepare(replace(config, oracle=str(fleet))).words]
    oracles(config, fleet, models=K + 1, jobs=1)
    words.append(prepare(replace(config, oracle=str(fleet))).words)
    for end in ("json", "npz", "safetensors"):
        (fleet / f"oracle-{K:04d}.{end}").unlink()
    assert words[0] != words[1]


def test_retraining_as_a_method_is_not_its_own_reference(config):
    """Both train without the images; from one stream of draws they would be the same model."""
    job = prepare(replace(config, method="retrain", options={"epochs": 4}))
    reference = trained(job, job.split, "retrain", seed=0)
    done = unlearn(
        trained(job, None, "train"),
        job.split.forget,
        job.split.retain,
        method="retrain",
        seed=0,
        factory=job.restart,
        guard=1,
        epochs=4,
    )
    pairs = zip(reference.parameters(), done.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs if a.ndim > 1)


def test_methods_with_other_options_are_other_members():
    plain = Config(method="snu")
    names = {
        unlearned_by(c)
        for c in (plain, replace(plain, options={"lr": 0.5}), replace(plain, retain_fraction=0.2))
    }
    assert len(names) == 3
    assert unlearned_by(replace(plain, options={"epochs": "1"})) in names  # the default, as text


def test_a_prediction_of_gaussians_is_not_listed_more_often_than_said():
    """The multiple-testing promise, on draws of known truth: no image differs."""
    from unsee.functional import still_remembered

    rng, listed = np.random.default_rng(0), 0
    for _ in range(200):
        values = torch.from_numpy(norm.rvs(size=(17, 40), random_state=rng))
        listed += bool(still_remembered(values[0], values[1:])[2].any())
    assert listed / 200 < 0.12


def test_progress_of_a_fleet_is_told(config, fleet):
    heard = []
    with events.listening(heard.append):
        oracles(config, fleet, models=2, jobs=1)
    assert [e.done for e in heard if e.event == "progress" and e.stage == "oracles"][-1] == 2


def test_a_generator_is_of_its_purpose_alone():
    draws = {int(torch.randint(2**60, (), generator=generator(0, p))) for p in ("a", "b", "a")}
    assert len(draws) == 2


def test_a_copy_of_a_retrained_model_is_no_second_one(tmp_path, fleet):
    found = checkpoints(fleet)
    for number, path in enumerate(found[:2]):
        (tmp_path / f"mine-{number}.safetensors").write_bytes(path.read_bytes())
    assert len(named_oracles(str(tmp_path))) == 2
    (tmp_path / "mine-best.safetensors").write_bytes(found[1].read_bytes())
    with pytest.raises(ModelError, match="got mine-1.* and mine-best.* with the same content"):
        named_oracles(str(tmp_path))

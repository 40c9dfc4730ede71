"""Requests one after another: what each leaves out, what is asked again, what is done once."""

import json
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, save_patterns, seeded

from unsee import buffers, events, pipeline
from unsee.cli import call
from unsee.data import choose, without
from unsee.erasure import unlearn
from unsee.errors import DamageError, OptionError, RunError, SplitError, UnseeError
from unsee.folder import Folder, clear
from unsee.methods import METHODS, method
from unsee.nouns import History
from unsee.preparation import prepare
from unsee.reporting import history_page, history_picture
from unsee.sequences import _serve, gaps, planned, sequence, standing

TWICE = ("class=c", "random=10%")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without the drawing of each run's page, which is most of a tiny run's time."""
    monkeypatch.setattr(pipeline, "page", lambda run, drawn=None: "<!doctype html>")
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: [])
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})


@pytest.fixture
def config(config):
    return replace(config, oracle="none", guard=1.0, retain_fraction=0.5)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Two requests and a model retrained without either, served once for all tests that look."""
    from conftest import small_config

    from unsee import training

    folder = tmp_path_factory.mktemp("served")
    asked = replace(small_config(folder), guard=1.0, retain_fraction=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        patch.setattr(pipeline, "page", lambda run, drawn=None: "<!doctype html>")
        patch.setattr(pipeline, "pictures_of", lambda run: [])
        patch.setattr(pipeline, "figures", lambda run, drawn: {})
        found = sequence(asked, TWICE, folder / "all")
    return asked, folder / "all", found


def ids_of(data):
    return {*data.ids.tolist()}


def config_in(folder):
    return json.loads((folder / "config.json").read_text())


# What earlier requests leave.


def test_images_of_earlier_requests_are_in_no_part():
    data = pattern_data()
    before = choose(data, "class=c")
    with events.noted():  # that half of the test images are for tuning
        now = choose(data, "random=10%", earlier=["class=c"], validate=True)
    parts = [ids_of(part) for part in (now.forget, now.retain, now.validation, now.test)]
    assert not ids_of(before.forget) & set.union(*parts)
    assert parts[0] | parts[1] == ids_of(before.retain)
    assert len(now.forget) == round(0.1 * len(before.retain))  # of what is left
    held = (now.validation, now.test)
    assert all(2 not in part.labels.tolist() for part in held)  # nobody is to get them right


def test_single_images_take_no_test_images_with_them():
    data = pattern_data()
    now = choose(data, "class=a", earlier=[torch.arange(5)])
    assert len(now.test) == len(data.part("test"))
    assert not {*data.ids[:5].tolist()} & (ids_of(now.forget) | ids_of(now.retain))


def test_nothing_is_left_out_without_earlier_requests():
    data = pattern_data()
    assert without(data, []) is data


def test_an_earlier_request_may_not_draw_again():
    with pytest.raises(SplitError, match=r"ids=FILE"):
        without(pattern_data(), ["random=10%"])


def test_ids_that_were_deleted_since_are_left_out_already(tmp_path):
    data = pattern_data()
    (tmp_path / "ids.txt").write_text("train/00003\ntrain/99999\n")
    left = without(data, [f"ids={tmp_path / 'ids.txt'}"])
    assert ids_of(data) - ids_of(left) == {"train/00003"}
    with pytest.raises(SplitError, match="unknown"):
        choose(data, f"ids={tmp_path / 'ids.txt'}")


@pytest.mark.parametrize("rule", ["class=c", "ids=FILE"])
def test_a_class_whose_images_are_no_longer_here_is_gone_all_the_same(tmp_path, rule):
    data = pattern_data()
    train = data.parts == "train"
    going = train & (data.labels.numpy() == 2)
    (tmp_path / "ids.txt").write_text("\n".join(data.ids[going]))
    rule = rule.replace("FILE", str(tmp_path / "ids.txt"))
    deleted = data[np.flatnonzero(~going)]
    for left in (data, deleted):
        assert 2 not in without(left, [rule]).labels.tolist()
    assert 2 in without(deleted, [rule], elsewhere=[0, 1, 2]).labels.tolist() or rule == "class=c"


def test_a_class_of_which_images_stay_elsewhere_is_not_gone():
    """Beside a buffer most training images are not here; a rule that names a class takes all."""
    data = pattern_data()
    labels, b = data.labels.numpy(), data.ids[data.labels.numpy() == 1][0]
    few = data[np.flatnonzero((data.parts != "train") | (labels != 1) | (data.ids == b))]
    split = choose(few, "class=a", earlier=["class=c"], elsewhere=[1, 2])
    assert {*split.test.labels.tolist()} == {0, 1}
    assert split.elsewhere == (1,) and split.gone == (0,)


def test_twins_of_earlier_images_go_with_them_where_twins_do():
    data = pattern_data()
    images = data.images.clone()
    images[9] = images[3]
    data = replace(data, images=images)
    assert "train/00009" in ids_of(without(data, [torch.tensor([3])]))
    assert "train/00009" not in ids_of(without(data, [torch.tensor([3])], include_twins=True))


def test_a_validation_file_may_name_images_of_a_class_that_went(tmp_path):
    data = pattern_data()
    (tmp_path / "held.txt").write_text("\n".join(data.part("test").ids[:9].tolist()))
    split = choose(data, "class=a", validation=tmp_path / "held.txt", earlier=["class=c"])
    assert len(split.validation) == 6


def test_something_has_to_be_left():
    with pytest.raises(SplitError, match="left after"):
        without(pattern_data(), ["class=a", "class=b,c"])


def test_a_run_that_follows_others_needs_the_model_that_they_left(config):
    with pytest.raises(OptionError, match="--model"):
        prepare(replace(config, earlier=("class=a",)))


# The sequence.


def test_each_request_begins_where_the_one_before_has_ended(served):
    _, folder, found = served
    first, second = (config_in(folder / name) for name in ("01", "02"))
    assert first["model"] is None and first["earlier"] == []
    assert second["model"] == str(folder.resolve() / "01" / "model.safetensors")
    assert second["earlier"] == ["class=c"] and second["forget"] == "random=10%"
    assert [request.rule for request in found.requests] == [*TWICE]
    assert [request.count for request in found.requests] == [24, 5]
    assert first["seed"] != second["seed"]


def test_every_request_is_asked_about_after_every_other(served):
    _, folder, found = served
    assert [len(then.requests) for then in found.after] == [1, 2]
    for then in (*found.after, found.retrained):
        assert {"forget_accuracy", "few_shot_recall"} <= then.requests[0].keys()
        assert then.utility["test_accuracy"].n == 16  # of the two classes that stay
    assert found.retrained.requests[0]["forget_accuracy"].value == 0  # it never saw the class
    ours = found.after[1].utility["test_accuracy"].value
    theirs = found.retrained.utility["test_accuracy"].value
    assert found.gaps["test_accuracy"].value == pytest.approx(ours - theirs)


def test_what_is_told_of_a_request_is_what_its_own_run_measured(served):
    _, folder, found = served
    run = pipeline.load_run(folder / "02")
    assert (
        found.after[1].requests[1]["forget_accuracy"]
        == (run.measurements["unlearned"]["forget_accuracy"])
    )
    assert (
        found.requests[1].before["forget_accuracy"]
        == (run.measurements["original"]["forget_accuracy"])
    )
    assert found.requests[1].image_gradients == run.image_gradients["unlearn"]


def test_the_reference_never_saw_an_image_of_any_request(served, monkeypatch, tmp_path):
    asked, folder, _ = served
    seen = []

    def spy(bench, split, purpose):
        seen.append(ids_of(split.retain))
        return bench.new()

    monkeypatch.setattr(_serve, "trained", spy)
    plan, number = planned(asked, TWICE), len(TWICE)
    (tmp_path / f"{number:02d}").mkdir()
    for name in ("stages.json", "02/model.safetensors"):
        shutil.copy(folder / name, tmp_path / name)
    _serve._compared(plan, Folder(tmp_path), plan.history([], []))
    taken = set.union(*(ids_of(split.forget) for split in plan.splits))
    assert seen == [ids_of(plan.bench.train) - taken]


def test_ids_are_kept_only_for_draws_that_others_follow(config, tmp_path):
    rules = ("random=10%", "class=c", "random=10%")
    sequence(replace(config, method="noop"), rules, tmp_path / "s")
    (kept,) = (tmp_path / "s" / "forgotten").iterdir()
    assert kept.name == "01.txt"
    plan = planned(config, rules)
    assert kept.read_text().split() == plan.splits[0].forget.ids.tolist()
    earlier = config_in(tmp_path / "s" / "03")["earlier"]
    assert earlier == [f"ids={kept.resolve()}", "class=c"]
    ids = [ids_of(split.forget) for split in plan.splits]
    assert not ids[0] & ids[1] and not ids[0] & ids[2] and not ids[1] & ids[2]


def test_what_is_done_is_not_done_again(served, monkeypatch):
    asked, folder, found = served
    names = ("01/model.safetensors", "02/model.safetensors", "sequence.json", "sequence.svg")
    before = [(folder / name).read_bytes() for name in names]
    monkeypatch.setattr(_serve, "trained", None)
    monkeypatch.setattr(pipeline, "unlearned", None)
    monkeypatch.setattr(pipeline, "audit", None)
    assert sequence(asked, TWICE, folder) == found
    assert [(folder / name).read_bytes() for name in names] == before


def test_a_stopped_sequence_goes_on_to_the_same_models(config, tmp_path, monkeypatch):
    calls, run = [], _serve.run

    def dies(one, folder):
        calls.append(folder.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(one, folder)

    monkeypatch.setattr(_serve, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        sequence(config, TWICE, tmp_path / "stopped")
    told = History.from_json((tmp_path / "stopped" / "sequence.json").read_text())
    assert len(told.requests) == 1  # and so it is told
    sequence(config, TWICE, tmp_path / "stopped")
    sequence(config, TWICE, tmp_path / "whole")
    models = ((tmp_path / s / "02" / "model.safetensors") for s in ("stopped", "whole"))
    assert len({path.read_bytes() for path in models}) == 1


def test_a_request_that_fails_leaves_the_model_of_the_one_before(config, tmp_path, monkeypatch):
    run = _serve.run

    def harms(one, folder):
        if folder.name == "02":
            raise DamageError("Expected accuracy to stay")
        return run(one, folder)

    monkeypatch.setattr(_serve, "run", harms)
    with pytest.raises(DamageError):
        sequence(config, TWICE, tmp_path / "s")
    told = History.from_json((tmp_path / "s" / "sequence.json").read_text())
    assert [request.rule for request in told.requests] == ["class=c"]
    assert (tmp_path / "s" / "01" / "model.safetensors").exists()


def test_requests_are_added_behind_the_same_ones(config, tmp_path):
    config = replace(config, method="noop")
    sequence(config, TWICE[:1], tmp_path / "s")
    first = (tmp_path / "s" / "01" / "model.safetensors").stat().st_mtime_ns
    found = sequence(config, TWICE, tmp_path / "s")
    assert len(found.requests) == 2
    assert (tmp_path / "s" / "01" / "model.safetensors").stat().st_mtime_ns == first
    with pytest.raises(RunError, match="repeat them, then the new ones"):
        sequence(config, ["class=a"], tmp_path / "s")
    with pytest.raises(RunError, match="differs in \\['seed'\\]"):
        sequence(replace(config, seed=1), TWICE, tmp_path / "s")


def test_a_sequence_is_replaced_by_force_alone_and_only_as_such(config, tmp_path):
    config = replace(config, method="noop")
    folder = tmp_path / "s"
    sequence(config, TWICE[1:], folder)
    (folder / "01" / "mine.txt").write_text("stays")
    with pytest.raises(RunError, match="holds a sequence"):
        clear(folder)
    with pytest.raises(OSError):  # a file of somebody's own: its folder is not removed
        sequence(config, TWICE[:1], folder, begun="replace")
    (folder / "01" / "mine.txt").unlink()
    found = sequence(config, TWICE[:1], folder, begun="replace")
    assert [r.rule for r in found.requests] == ["class=c"]
    assert not (folder / "02").exists() and not (folder / "forgotten").exists()
    with pytest.raises(RunError, match="folder of a sequence"):
        sequence(config, TWICE[:1], folder / "01", begun="replace")


def test_force_does_not_remove_what_the_new_sequence_begins_from(config, tmp_path):
    config = replace(config, method="noop")
    folder = tmp_path / "s"
    sequence(config, TWICE[:1], folder)
    served, ids = folder / "01" / "model.safetensors", folder / "ids.txt"
    ids.write_text("train/00000\n")
    for asked, rules in (
        (replace(config, model=str(served)), TWICE[:1]),
        (replace(config, oracle=str(served)), TWICE[:1]),
        (config, [f"ids={ids}"]),
    ):
        with pytest.raises(RunError, match="needs nothing of the folder it replaces"):
            sequence(asked, rules, folder, begun="replace")
        assert served.exists() and (folder / "requests.json").exists()


def test_a_broken_list_of_requests_is_no_bug(config, tmp_path):
    config = replace(config, method="noop")
    sequence(config, TWICE[1:], tmp_path / "s")
    (tmp_path / "s" / "requests.json").write_text("{")
    with pytest.raises(RunError, match=r"requests so far in .*requests\.json"):
        sequence(config, TWICE[1:], tmp_path / "s")


def test_no_image_of_an_earlier_request_comes_back_out_of_a_buffer(
    config, tmp_path, trained, monkeypatch
):
    kept = buffers.make(trained, pattern_data(), share=0.5)
    (tmp_path / "buffer.npz").write_bytes(kept.pack())
    shown = []

    @method(title="Spy", paper="none")
    def spy(model, forget, retain, *, rng):
        """Look."""
        shown.append((ids_of(forget), ids_of(retain)))
        return model

    monkeypatch.setitem(METHODS, "spy", spy)
    config = replace(config, method="spy", buffer=str(tmp_path / "buffer.npz"))
    sequence(config, ("random=20%", "class=c"), tmp_path / "s")
    (first, _), (second, after) = shown
    assert first & ids_of(kept.data)  # else nothing would be tested
    assert after == ids_of(kept.data) - first - second


def test_no_reference_is_trained_where_the_training_images_are_gone(config, tmp_path, trained):
    data = pattern_data()
    (tmp_path / "buffer.npz").write_bytes(buffers.make(trained, data, share=0.5).pack())
    few = data[np.flatnonzero((data.labels.numpy() == 2) | (data.parts == "test"))]
    save_patterns(tmp_path / "few.npz", few)
    gone = replace(config, data=f"npz:{tmp_path / 'few.npz'}", buffer=str(tmp_path / "buffer.npz"))
    with events.noted(), pytest.raises(OptionError, match="Expected all 72 training images"):
        planned(replace(gone, oracle="retrain"), ["class=c"])


def test_an_audit_leaves_out_what_a_model_has_unseen_before(served, tmp_path, capsys):
    asked, folder, _ = served
    models = [
        *("--original", str(folder / "01" / "model.safetensors")),
        *("--unlearned", str(folder / "02" / "model.safetensors")),
    ]
    flags = ["--data", asked.data, "--arch", asked.arch, "--quiet", "--forget", "class=a"]
    for name, earlier in (("all", []), ("left", ["--earlier", "class=c"])):
        assert call("audit", *models, *flags, *earlier, "--out", str(tmp_path / name)) == 0
    counts = [pipeline.load_run(tmp_path / n).data["counts"] for n in ("all", "left")]
    assert [c["retain"] for c in counts] == [48, 24]
    assert [c["test"] for c in counts] == [24, 16]


@pytest.mark.parametrize(
    "rules, changed, says",
    [
        ([], {}, "--forget"),
        (["class=c", "class=c"], {}, "got none for the rule"),
        (["class=a", "class=b", "class=c"], {}, "deletion of the model"),
        (["class=z"], {}, "among"),
        (["class=c"], {"method": "head_only", "options": {"x": 1}}, "options"),
        (["random=10%"], {"method": "head_only"}, "whole classes"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_written(
    config, tmp_path, rules, changed, says
):
    with pytest.raises(UnseeError, match=says):
        sequence(replace(config, **changed), rules, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_fleet_is_no_model_to_compare_a_sequence_with(served, config, tmp_path):
    _, folder, _ = served
    for name in ("01", "02"):
        (tmp_path / f"{name}.safetensors").write_bytes(
            (folder / name / "model.safetensors").read_bytes()
        )
    with pytest.raises(OptionError, match="a folder of several"):
        planned(replace(config, oracle=str(tmp_path)), TWICE)


# What a model still knows.


def requests(*rules):
    data, taken, splits = pattern_data(), [], []
    for rule in rules:
        splits.append(choose(data, rule, earlier=taken))
        taken.append(np.flatnonzero(np.isin(data.ids, splits[-1].forget.ids)))
    return splits


def test_a_request_that_a_later_one_undid_is_seen(trained):
    """The original model in place of the last one: the class is back, and the table says so."""
    splits = requests("class=c", torch.arange(4))
    first = unlearn(trained, splits[0].forget, splits[0].retain, method="head_only", guard=1.0)
    served, undone = (
        standing(model, splits[:n], 0).requests[0] for model, n in ((first, 1), (trained, 2))
    )
    assert served["forget_accuracy"].value == 0
    assert undone["forget_accuracy"].value > 0.9
    assert undone["forgotten_test_accuracy"].n == 8


def test_images_of_a_class_that_went_later_are_left_to_that_request(trained):
    singles = torch.arange(6)  # two of each class
    splits = requests(singles, "class=c")
    before, after = (standing(trained, splits[:n], 0).requests[0] for n in (1, 2))
    assert before["forget_accuracy"].n == 6 and after["forget_accuracy"].n == 4
    assert "few_shot_recall" not in after  # it is still about single images
    whole = standing(trained, requests(torch.tensor([2, 5]), "class=c"), 0).requests[0]
    assert whole["forget_accuracy"].n == 2 and "few_shot_recall" in whole


def test_fewer_images_that_stay_may_be_looked_at(trained):
    splits = requests("class=c", torch.arange(4))
    few, every = (standing(trained, splits, 0, most=n) for n in (10, None))
    assert few.utility["retain_accuracy"].n == 10
    assert every.utility["retain_accuracy"].n == len(splits[-1].retain)
    assert few.requests[1]["forget_accuracy"] == every.requests[1]["forget_accuracy"]


def test_looking_leaves_the_model_alone(trained):
    before = {name: x.clone() for name, x in trained.state_dict().items()}
    trained.train()
    standing(trained, requests("class=c"), 0)
    assert trained.training
    assert all(torch.equal(before[name], x) for name, x in trained.state_dict().items())


def test_gaps_are_ours_less_theirs(trained):
    splits = requests("class=c")
    blank = seeded(conv_net, 3)
    found = gaps(trained, blank, splits)
    back = gaps(blank, trained, splits)
    assert found["test_accuracy"].value == -back["test_accuracy"].value > 0
    assert found.keys() == {"retain_accuracy", "test_accuracy", "forget_accuracy/1"}


# What is written and told.


def test_a_history_survives_its_json(served):
    _, folder, found = served
    assert History.from_json((folder / "sequence.json").read_text()) == found
    for text in ("", "[]", "{}", '{"schema": 2}', '{"schema": 1, "requests": 3}'):
        with pytest.raises(RunError, match=r"Expected a sequence\.json"):
            History.from_json(text)


def test_the_page_and_the_picture_show_the_numbers(served):
    _, folder, found = served
    page, picture = ((folder / f"sequence.{kind}").read_text() for kind in ("md", "svg"))
    assert (page, picture) == (history_page(found), history_picture(found))
    accuracy = found.after[1].requests[0]["forget_accuracy"].value
    rows = [line for line in page.splitlines() if line.startswith("| 1 |")]
    assert any(f" {accuracy:.3f} " in line for line in rows)
    assert "retrained without them all" in page and "Few-shot recall" in page
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert f"{100 * accuracy:.1f}" in picture


def test_names_cannot_break_the_page(served):
    _, _, found = served
    odd = replace(found.requests[0], rule="where=a|b:<x>\u202e\n&c")
    found = replace(found, requests=(odd, *found.requests[1:]))
    page = history_page(found)
    assert "a\\|b" in page and "\u202e" not in page
    (line,) = [x for x in page.splitlines() if "where=" in x]
    assert line.count(" | ") == 7
    ElementTree.fromstring(history_picture(found))


def test_a_table_is_left_out_where_its_question_does_not_arise(served):
    _, _, found = served
    assert "Trigger success" not in history_page(found)
    none = replace(found, retrained=None, gaps={})
    assert "retrained" not in history_page(none)


def test_the_verb_serves_and_tells_in_eighty_columns(config, tmp_path, capsys):
    flags = ["--data", config.data, "--arch", config.arch, "--method", "noop", "--quiet"]
    flags += ["--train-epochs", "4", "--guard", "1", "--oracle", "retrain"]
    asked = [*flags, "--forget", "random=5%", "--times", "3", "--out", str(tmp_path / "s")]
    assert call("sequence", *asked) == 0
    told = capsys.readouterr().out
    shown = told.replace(str(tmp_path), "")
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("random=5%") == 3 and "retrained without them all" in shown
    assert call("sequence", *asked, "--json") == 0
    printed = capsys.readouterr().out
    assert History.from_json(printed) == History.from_json(
        (tmp_path / "s" / "sequence.json").read_text()
    )


@pytest.mark.parametrize(
    "flags, says",
    [
        ((), "--forget"),
        (("--forget", "class=3"), "--out"),
        (("--forget", "class=3", "--out", "x", "--times", "0"), "0: mind --times"),
        (("--forget", "class=3", "--out", "x", "--times", "9999"), "1 to 1000 requests"),
    ],
)
def test_the_verb_refuses_in_one_line(flags, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("sequence", *flags) == 2
    told = capsys.readouterr().err
    assert says in told and len(told.splitlines()) == 1
    assert not [*tmp_path.iterdir()]

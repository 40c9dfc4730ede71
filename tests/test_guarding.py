"""The guard: what it watches, when it stops, what it says, and that it changes nothing else."""

import copy
import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, seeded
from torch import nn
from torch.nn.functional import cross_entropy

from unsee import guarding
from unsee.data import batches, choose
from unsee.erasure import unlearn
from unsee.errors import DamageError, DivergenceError, OptionError, UnseeWarning
from unsee.events import listening
from unsee.guarding import Guard, accuracy
from unsee.methods import METHODS, method
from unsee.nouns import Run
from unsee.pipeline import prepare, run
from unsee.training import answers, counting, descend, predict, watched


@method(title="Spoiler", paper="none", data="forget")
def spoiler(model, forget, retain, *, rng, epochs: int = 4, lr: float = 1.0):
    """Call everything the first class."""

    def losses():
        for _ in range(epochs):
            logits = answers(model, forget.take(torch.arange(8)).float() / 255, "frozen")
            yield cross_entropy(logits, logits.argmax(1) * 0)

    return descend(model, losses(), lr=lr, steps=epochs, weight_decay=0)


@method(title="Breaker", paper="none", data="forget")
def breaker(model, forget, retain, *, rng):
    """Leave numbers that are none, without any descent."""
    with torch.no_grad():
        next(model.parameters())[:] = math.nan
    return model


@method(title="Constant", paper="none", data="forget")
def constant(model, forget, retain, *, rng):
    """Answer with the first class, whatever comes."""
    with torch.no_grad():
        model[4].weight.zero_()
        model[4].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    return model


def spoil(trained, patterns, how=constant, **more):
    return unlearn(trained, patterns.forget, patterns.retain, method=how, **more)


def test_damage_ends_in_an_error_with_the_numbers_and_the_next_step(trained, patterns):
    before = copy.deepcopy(trained.state_dict())
    with pytest.raises(DamageError) as caught:
        spoil(trained, patterns)
    said = str(caught.value)
    assert caught.value.exit_code == 3 and "\n" not in said
    right = accuracy(trained, patterns.retain)
    assert f"at most 0.1, got {right:.3f} before and 0.500 (48 images)" in said
    assert "original model is untouched and stays in use" in said
    assert f"--guard {math.ceil(20 * (right - 0.5)) / 20:g} if such a loss is acceptable" in said
    after = trained.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_loss_that_is_allowed_is_let_through_and_recorded(trained, patterns):
    facts = {}
    spoil(trained, patterns, guard=0.6, facts=facts)
    assert facts["guard"]["before"] - facts["guard"]["after"] == pytest.approx(0.5, abs=0.05)
    assert facts["guard"]["allowed"] == 0.6 and facts["guard"]["images"] == 48
    assert json.loads(json.dumps(facts)) == facts


def test_the_guard_that_an_error_names_is_enough(trained, patterns):
    with pytest.raises(DamageError) as caught:
        spoil(trained, patterns)
    named = float(str(caught.value).partition("--guard ")[2].split()[0])
    spoil(trained, patterns, guard=named)


def test_the_numbers_in_the_next_step_are_those_of_the_attempt():
    options = {"lr": 0.08, "epochs": 1}
    said = guarding.advice(METHODS["snu"], options, 0.1)
    assert "--set lr=0.02," in said and "--retain-fraction 0.2" in said and "--tune 8" in said
    assert "--retain-fraction" not in guarding.advice(METHODS["snu"], options, 1.0)
    assert "a larger --buffer" in guarding.advice(METHODS["snu"], options, None)
    assert "--tune 16" in guarding.advice(METHODS["snu"], options, 0.1, tune=8)
    assert "--epochs 2, --tune 8" in guarding.advice(METHODS["retrain"], options, 0.1)
    assert "retain" not in guarding.advice(METHODS["gradient_ascent"], options, 0.1)
    assert guarding.advice(METHODS["random_head"], {}, 0.1).startswith("another method")


def test_a_guard_of_one_neither_watches_nor_costs(trained, patterns):
    facts = {}
    with counting() as spent:
        spoil(trained, patterns, guard=1, facts=facts)
    assert facts["guard"] == {} and sum(spent) == 0


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_a_guard_that_cannot_be_is_refused(trained, patterns, config, wrong):
    with pytest.raises(OptionError, match=r"guard in 0\.\.1"):
        spoil(trained, patterns, guard=wrong)
    with pytest.raises(OptionError, match=r"--guard in 0\.\.1"):
        prepare(replace(config, guard=wrong))


def test_what_is_watched_costs_a_third_of_an_image_gradient_each(trained, patterns):
    with counting() as spent:
        spoil(trained, patterns, METHODS["noop"])
    assert sum(spent) == pytest.approx(2 * (48 + 1) / 3)


@pytest.mark.parametrize("name", ["snu", "snu_deep", "finetune"])
def test_a_guard_changes_nothing_about_the_model_that_comes_out(name, trained, patterns):
    guarded, free = (
        unlearn(trained, patterns.forget, patterns.retain, method=name, guard=guard, epochs=8)
        for guard in (0.99, 1)
    )
    a, b = guarded.state_dict(), free.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_it_looks_half_way_at_three_quarters_and_at_the_end(trained, patterns):
    facts = {}
    quiet = {"lr": 0.0, "epochs": 8, "guard": 0.99, "facts": facts}
    spoil(trained, patterns, spoiler, **quiet)
    looks = facts["guard"]["on_the_way"]
    assert [look["at"] for look in looks] == [0.5, 0.75]
    assert facts["guard"]["before"] == facts["guard"]["after"] == looks[0]["accuracy"]


def test_what_is_hopeless_on_the_way_is_stopped_there(trained, patterns):
    taken = []

    @method(title="Counting spoiler", paper="none", data="forget")
    def slow(model, forget, retain, *, rng, lr: float = 3.0):
        """Count the steps."""

        def losses():
            for step in range(40):
                taken.append(step)
                logits = answers(model, forget.take(torch.arange(8)).float() / 255, "frozen")
                yield cross_entropy(logits, logits.argmax(1) * 0)

        return descend(model, losses(), lr=lr, steps=40, weight_decay=0)

    with pytest.raises(DamageError, match="after 75% of the steps, and stopped"):
        spoil(trained, patterns, slow, guard=0.05)
    assert len(taken) == 30


def test_a_fall_that_is_not_hopeless_may_be_made_good_by_the_end():
    guard = Guard(pattern_data(), 0.98, 0.1, "wait")
    net = answering(0.6)
    guard(net, 0.5)
    with pytest.raises(DamageError, match="after 75% of the steps"):
        replace(guard, allowed=0.05)(net, 0.75)
    guard(net, 0.75)  # 0.38 lost is less than four times 0.1
    with pytest.raises(DamageError, match=r"0\.980 before and 0\.604 \("):
        guard.judge(net)


def test_near_guessing_is_hopeless_whatever_the_guard_allows():
    guard = Guard(pattern_data(), 0.98, 0.5, "wait")
    guard(answering(0.45), 0.5)
    with pytest.raises(DamageError, match="after 50%"):
        guard(answering(0.38), 0.5)


def answering(share):
    """Return a net that knows the answers to this share of the patterns, and errs on the others."""
    data = pattern_data()
    right = torch.arange(len(data)) < share * len(data)
    known = torch.where(right, data.labels, (data.labels + 1) % 3)

    class Knowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(3, 3)
            self.at = 0

        def forward(self, x):
            rows = (torch.arange(len(x)) + self.at) % len(data)
            return self.last(nn.functional.one_hot(known[rows], 3).float())

    net = Knowing()
    with torch.no_grad():
        net.last.weight.copy_(torch.eye(3))
        net.last.bias.zero_()
    return net


def test_the_fall_that_is_allowed_is_allowed_exactly():
    images = pattern_data(10)[:10]
    guard = Guard(images, 0.9, 0.1, "wait")
    assert not guard._fell(0.8) and guard._fell(0.7)


def test_numbers_that_are_none_are_divergence_and_not_the_user_s_fault(trained, patterns):
    with pytest.raises(DivergenceError, match="original model is untouched and stays in use") as e:
        spoil(trained, patterns, breaker)
    assert e.value.exit_code == 3


def test_divergence_on_the_way_is_seen_before_the_guard_looks(trained, patterns):
    with pytest.raises(DivergenceError, match="within 2 steps"):
        spoil(trained, patterns, spoiler, lr=1e38)


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
def test_an_original_that_guesses_has_nothing_to_lose(patterns):
    net = seeded(conv_net)
    with torch.no_grad():
        net[4].weight.zero_()
        net[4].bias.copy_(torch.tensor([0.0, 0.0, 1.0]))  # the class that goes: 0 of what stays
    facts = {}
    spoil(net, patterns, facts=facts)
    assert facts["guard"]["before"] == 0.0 and facts["guard"]["after"] == 0.5


@pytest.fixture
def looked_at(monkeypatch):
    """The ids that the guard looked at last."""
    seen, watch = [], guarding.accuracy

    def looked(model, data):
        seen[:] = data.ids.tolist()
        return watch(model, data)

    monkeypatch.setattr(guarding, "accuracy", looked)
    return seen


def spy_on(shown, data):
    """Make a method that changes nothing and notes the ids that it is shown."""

    @method(title="Spy", paper="none", data=data)
    def spy(model, forget, retain, *, rng):
        """Look."""
        shown[:] = retain.ids.tolist()
        return model

    return spy


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
@pytest.mark.parametrize("data, others", [("buffer", True), ("forget", True), ("all", False)])
def test_it_looks_at_images_that_the_method_is_not_shown(looked_at, data, others):
    split, shown = choose(pattern_data(1200), "class=c"), []
    unlearn(seeded(conv_net), split.forget, split.retain, method=spy_on(shown, data))
    assert len(looked_at) == len({*looked_at}) == 500
    assert {*looked_at} <= {*split.retain.ids.tolist()}
    assert {*shown}.isdisjoint(looked_at) is others


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
def test_images_of_a_given_buffer_are_shown_and_others_watched(looked_at):
    split, shown = choose(pattern_data(1200), "class=c"), []
    buffer = split.retain[np.arange(0, 120)]
    net, spy = seeded(conv_net), spy_on(shown, "buffer")
    unlearn(net, split.forget, split.retain, method=spy, buffer=buffer)
    assert shown == buffer.ids.tolist() and len(looked_at) >= 400
    assert {*looked_at}.isdisjoint(shown)
    unlearn(net, split.forget, buffer, method=spy, buffer=buffer)  # nothing else is left
    assert {*looked_at} == {*buffer.ids.tolist()}


def test_where_nothing_stays_the_guard_says_that_it_is_off(trained, patterns):
    facts = {}
    with pytest.warns(UnseeWarning, match="no guard watches"):
        unlearn(trained, patterns.forget, patterns.retain[:0], method="noop", facts=facts)
    assert facts["guard"] == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unlearn(trained, patterns.forget, patterns.retain[:0], method="noop", guard=1)


def test_who_watches_is_shown_whole_models_alone(trained, patterns):
    shown = []

    @method(title="Head", paper="none", data="all")
    def head(model, forget, retain, *, rng, lr: float = 0.0):
        """Train the last layer by itself, then all of them."""
        features = model[:4]
        stream = batches(retain, epochs=2, size=8, rng=rng)
        own = (cross_entropy(model[4](features(x)), y) for x, y in stream)
        descend(model[4], own, lr=lr, steps=12)
        stream = batches(retain, epochs=2, size=8, rng=rng)
        return descend(model, (cross_entropy(model(x), y) for x, y in stream), lr=lr, steps=12)

    with watched(lambda model, share: shown.append((type(model), share))):
        head(trained, patterns.forget, patterns.retain, rng=torch.Generator())
    assert shown == [(nn.Sequential, 0.5), (nn.Sequential, 0.75)]


def test_looking_keeps_modes_and_running_statistics_in_the_middle_of_a_descent(trained, patterns):
    states = []

    def look(model, share):
        before = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
        accuracy(model, patterns.retain)
        after = model.state_dict()
        assert all(torch.equal(before[0][name], after[name]) for name in after)
        assert before[1] == [m.training for m in model.modules()] and all(before[1])
        states.append(share)

    with watched(look):
        METHODS["snu"](trained, patterns.forget, patterns.retain, rng=torch.Generator(), epochs=8)
    assert states == [0.5, 0.75]


def test_training_anew_is_not_judged_on_its_way(trained, patterns):
    facts = {}
    after = unlearn(
        trained,
        patterns.forget,
        patterns.retain,
        method="retrain",
        factory=conv_net,
        epochs=8,
        facts=facts,
    )
    assert facts["guard"]["on_the_way"] == [] and facts["guard"]["after"] > 0.9
    assert float((predict(after, patterns.retain).logits.argmax(1) < 2).float().mean()) > 0.9


def test_a_run_that_is_stopped_leaves_the_original_and_says_why_in_its_log(config, tmp_path):
    harsh = replace(config, method="finetune", options={"lr": 30.0}, oracle="none")
    for _ in range(2):  # it goes on, and comes to the same end
        with pytest.raises((DamageError, DivergenceError)) as caught:
            run(harsh, tmp_path / "run")
        kept = {file.name for file in (tmp_path / "run").iterdir()}
        assert "original.safetensors" in kept and "model.safetensors" not in kept
        lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])
        assert (last["stage"], last["event"]) == ("unlearn", "error")
        assert last["message"].startswith(type(caught.value).__name__)
        assert "original model is untouched" in last["message"]
        assert caught.value.exit_code == 3


def test_a_run_records_its_guard_and_a_resumed_one_keeps_it(config, tmp_path):
    quick = replace(config, method="noop", oracle="none", guard=0.25)
    done = run(quick, tmp_path / "run")
    assert done.guard["allowed"] == 0.25 and done.guard["images"] == 48
    assert done.guard["before"] == done.guard["after"] and done.tuning == {}
    assert Run.from_json(done.to_json()).guard == done.guard
    for name in ("audit.json", "report.html"):
        (tmp_path / "run" / name).unlink()
    assert run(quick, tmp_path / "run").guard == done.guard


def test_watching_is_no_progress_of_the_stage(trained, patterns):
    heard = []
    with listening(heard.append):
        spoil(trained, patterns, METHODS["noop"])
    assert heard == []

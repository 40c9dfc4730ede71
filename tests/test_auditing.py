"""All audits of all models together: what they leave behind, what they do not depend on."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, rng, seeded

from unsee.auditing import audit
from unsee.audits import AUDITS
from unsee.data import choose
from unsee.erasure import unlearn
from unsee.methods import METHODS
from unsee.nouns import Data

QUICK = {name: AUDITS[name] for name in AUDITS if name not in ("relearning", "stages", "recovery")}
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")


def values(run, model="unlearned"):
    return {name: m and m.value for name, m in run.measurements[model].items()}


@pytest.fixture
def retrained(patterns):
    everything = patterns.retain
    return METHODS["retrain"](
        seeded(conv_net), everything[:0], everything, rng=rng(5), factory=conv_net, epochs=8
    )


def test_audited_models_end_as_they_began(trained, retrained, patterns):
    """Bytes, buffers, modes, gradients, hooks, and the dice of the whole process."""
    after = seeded(conv_net, 2)
    models = (trained, after, retrained)
    for n, model in enumerate(models):
        model.train(n == 1)
        model[0].train(n == 0)
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, float(n))
    before = [
        (
            copy.deepcopy(model.state_dict()),
            [m.training for m in model.modules()],
            [len(getattr(m, kind)) for m in model.modules() for kind in HOOKS],
            [weight.requires_grad for weight in model.parameters()],
        )
        for model in models
    ]
    dice = torch.get_rng_state()
    audit(patterns, original=trained, unlearned=after, retrained=retrained)
    for n, (model, (state, modes, hooks, trains)) in enumerate(zip(models, before, strict=True)):
        assert all(torch.equal(state[name], x) for name, x in model.state_dict().items())
        assert modes == [m.training for m in model.modules()]
        assert hooks == [len(getattr(m, kind)) for m in model.modules() for kind in HOOKS]
        assert trains == [weight.requires_grad for weight in model.parameters()]
        assert all(bool((weight.grad == n).all()) for weight in model.parameters())
    assert torch.equal(dice, torch.get_rng_state())


def test_other_ids_change_no_number_and_no_verdict(trained, retrained):
    data = pattern_data()
    renamed = dataclasses.replace(
        data, ids=np.array([f"photo-{n * 7919 % 9973:05d}" for n in range(len(data))])
    )
    assert isinstance(renamed, Data)
    plain, other = (
        audit(
            choose(d, "class=c"),
            original=trained,
            unlearned=trained,
            retrained=retrained,
            audits=QUICK,
        )
        for d in (data, renamed)
    )
    assert values(plain) == values(other) and plain.verdict == other.verdict
    assert plain.forget["ids_digest"] != other.forget["ids_digest"]


def test_doing_nothing_is_red_beside_one_retrained_model(trained, retrained, patterns):
    after = unlearn(trained, patterns.forget, patterns.retain, method="noop")
    done = audit(patterns, original=trained, unlearned=after, retrained=retrained, audits=QUICK)
    assert (done.verdict["light"], done.verdict["kind"]) == ("red", "still remembers")
    assert done.verdict["k"] == 1 and done.references["test_accuracy"] == [
        done.measurements["retrained"]["test_accuracy"].value
    ]


def test_doing_nothing_is_red_without_any_retrained_model_too(trained, patterns):
    done = audit(patterns, original=trained, unlearned=trained, audits=QUICK)
    assert (done.verdict["light"], done.verdict["kind"]) == ("red", "nothing was forgotten")


def test_without_a_retrained_model_the_light_is_grey(trained, patterns):
    after = unlearn(trained, patterns.forget, patterns.retain, method="head_only")
    done = audit(patterns, original=trained, unlearned=after, audits=QUICK)
    assert (done.verdict["light"], done.verdict["kind"]) == ("grey", "no reference")
    assert done.references == {} and "retrained" not in done.measurements


def test_the_control_is_asked_for_its_maps_alone(trained, patterns):
    done = audit(patterns, original=trained, unlearned=trained, audits=QUICK)
    names = {name.partition("/")[0] for name in done.measurements["control"]}
    assert names == {*AUDITS["evidence"].names}


def test_what_is_not_asked_is_not_computed(trained, patterns):
    done = audit(
        patterns, original=trained, unlearned=trained, audits={"accuracy": AUDITS["accuracy"]}
    )
    found = {name.partition("/")[0] for name in done.measurements["unlearned"]}
    assert found == {*AUDITS["accuracy"].names}

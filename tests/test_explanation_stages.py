"""Grad-CAM at every stage of a network by one forward pass, and its control of random weights."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from conftest import block, conv_net, pattern_data, rng, seeded
from torch import nn

from unsee.audits import AUDITS
from unsee.data import as_floats, choose
from unsee.explanation import control, gradcam, gradcams, look_closely, mapped_stages, pictures
from unsee.models import blueprint
from unsee.pipeline import audit, look


def floats(data):
    return as_floats(data.take(torch.arange(len(data))))


def stage_net():
    """Three sizes of maps: 8, 4 and 2."""
    return nn.Sequential(
        block(1, 6),
        nn.MaxPool2d(2),
        block(6, 6),
        nn.MaxPool2d(2),
        block(6, 6),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


@pytest.fixture
def net():
    """Batch norms have seen something, so that their statistics are not those of new ones."""
    net = seeded(stage_net)
    net(floats(pattern_data()))
    return net.eval()


def sampled(split, n=20):
    return {
        part: (getattr(split, part), np.arange(min(n, len(getattr(split, part)))))
        for part in ("forget", "retain")
    }


@pytest.fixture
def samples(patterns):
    return sampled(patterns)


def captum(model, layer, images, classes):
    attr = pytest.importorskip("captum.attr", reason="needs captum")
    model = copy.deepcopy(model).eval()
    for module in model.modules():  # captum's hooks do not survive them
        if isinstance(module, nn.ReLU):
            module.inplace = False
    explained = attr.LayerGradCam(model, model.get_submodule(layer))
    return explained.attribute(images, target=classes, relu_attributions=True)[:, 0].detach()


def test_every_layer_of_one_pass_agrees_with_captum(net, patterns):
    data, layers = patterns.test, ["0.0", "0", "1", "2", "3", "4.1"]
    answered = net(floats(data)).argmax(1)
    found = gradcams(net, data, [(data.labels, layers), (None, layers)], size=7)
    for maps, classes in zip(found, (data.labels, answered), strict=True):
        assert [*maps] == layers
        for layer in layers:
            theirs = captum(net, layer, floats(data), classes)
            assert torch.allclose(maps[layer], theirs, rtol=1e-4, atol=1e-6), layer
            assert maps[layer].max() > 0


def test_every_stage_of_a_resnet18_agrees_with_captum():
    resnet = seeded(blueprint("resnet18:cifar-pool", channels=1, classes=3)).eval()
    data = pattern_data(n=12, size=32)[np.arange(3)]
    layers = mapped_stages(resnet, floats(data))
    assert layers == ["relu", "layer1", "layer2", "layer3"]
    (maps,) = gradcams(resnet, data, [(data.labels, layers)])
    for layer, side in zip(layers, (32, 16, 8, 4), strict=True):
        theirs = captum(resnet, layer, floats(data), data.labels)
        assert torch.allclose(maps[layer], theirs, rtol=1e-3, atol=1e-6) and theirs.max() > 0
        assert maps[layer].shape == (3, side, side)


def test_maps_of_many_layers_are_those_of_each_alone(net, patterns):
    data, layers = patterns.test, ["4", "0", "2"]
    (together,) = gradcams(net, data, [(data.labels, layers)])
    for layer in layers:
        alone = gradcam(net, data, data.labels, layer=layer)
        assert torch.allclose(together[layer], alone, rtol=1e-5, atol=1e-7)


def test_one_forward_pass_serves_all_questions(net, patterns):
    ran = []
    hook = net[0].register_forward_hook(lambda *_: ran.append(1))
    question = (patterns.test.labels, ["0", "2"])
    gradcams(net, patterns.test, [question, (None, ["0", "2"]), question], size=len(patterns.test))
    hook.remove()
    assert len(ran) == 1


def test_a_layer_that_the_logits_do_not_hang_on_has_no_evidence(net, patterns):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.aside, self.main = nn.Conv2d(1, 2, 3, padding=1), net

        def forward(self, x):
            self.aside(x)
            return self.main(x)

    layers = ["aside", "main.0"]
    (maps,) = gradcams(Aside(), patterns.test, [(patterns.test.labels, layers)])
    assert maps["aside"].shape == (len(patterns.test), 8, 8) and not maps["aside"].any()
    assert maps["main.0"].any()


def test_many_layers_leave_no_trace(net, patterns, samples):
    net.train()
    net[0].eval()
    for n, weight in enumerate(net.parameters()):
        weight.grad = torch.ones_like(weight)
        weight.requires_grad_(n != 1)
    before, dice = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    modes = [m.training for m in net.modules()]
    gradcams(net, patterns.test, [(None, ["0", "2"])])
    look_closely(net, patterns.forget, patterns.retain)
    control(net, samples, rng())
    assert modes == [m.training for m in net.modules()]
    assert all(torch.equal(before[name], x) for name, x in net.state_dict().items())
    assert all(bool((w.grad == 1).all()) for w in net.parameters())
    assert [w.requires_grad for w in net.parameters()] == [
        n != 1 for n, _ in enumerate(net.parameters())
    ]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert torch.equal(dice, torch.get_rng_state())


def test_hooks_and_weights_come_back_where_the_model_fails(net, patterns):
    wrong = dataclasses.replace(patterns.test, images=torch.zeros(96, 2, 8, 8))
    with pytest.raises(RuntimeError, match="channels"):
        gradcams(net, wrong, [(None, ["0", "2"])])
    assert not any(m._forward_hooks for m in net.modules())
    assert all(w.requires_grad for w in net.parameters())


def test_a_close_look_holds_the_explained_layer_and_the_stages_before_it(net, patterns):
    maps = look_closely(net, patterns.forget, patterns.retain)
    names = mapped_stages(net, floats(patterns.forget))
    assert names == [*maps.stages, maps.layer] and len(names) == 2
    for part, stored in (("forget", maps.forget), ("retain", maps.retain)):
        data = getattr(patterns, part)
        own = gradcam(net, data, data.labels, layer=maps.layer)
        assert torch.allclose(stored, own, atol=1e-7)
        assert torch.allclose(getattr(maps, f"{part}_answer"), gradcam(net, data, layer=maps.layer))
    early = names[0]
    for data, stored in zip((patterns.forget, patterns.retain), maps.stages[early], strict=True):
        own = gradcam(net, data, data.labels, layer=early)
        assert torch.allclose(stored, own, rtol=1e-5, atol=1e-7) and stored.shape[1:] == (8, 8)


def test_the_order_of_images_changes_no_map(net, patterns):
    turned = patterns.retain[np.arange(len(patterns.retain))[::-1].copy()]
    plain, other = (
        look_closely(net, patterns.forget, retain) for retain in (patterns.retain, turned)
    )
    assert torch.allclose(plain.retain, other.retain.flip(0), atol=1e-6)
    for stage, (_, retain) in plain.stages.items():
        assert torch.allclose(retain, other.stages[stage][1].flip(0), atol=1e-6)


# The evidence audit, stage by stage.


def evidence(view, original, split):
    return AUDITS["evidence"](view, original=original, retrained=None, split=split, rng=rng())


def changed(view, stage, factor, flip=False):
    forget, retain = view.maps.stages[stage]
    stages = {**view.maps.stages, stage: ((forget.flip(1) if flip else forget) * factor, retain)}
    return dataclasses.replace(
        view, name="unlearned", maps=dataclasses.replace(view.maps, stages=stages)
    )


def test_evidence_of_a_stage_is_of_its_own_maps(net, patterns, samples):
    view = look("original", net, patterns, samples)
    (early,) = view.maps.stages
    found = evidence(changed(view, early, 0.25), view, patterns)
    assert found[f"evidence_remaining/{early}"].value == pytest.approx(0.25)
    assert found["evidence_remaining"].value == pytest.approx(1)
    assert found[f"evidence_remaining/{view.maps.layer}"] == found["evidence_remaining"]
    assert found[f"displacement/{early}"].value == found["displacement"].value == 0
    turned = evidence(changed(view, early, 1.0, flip=True), view, patterns)
    assert turned[f"displacement/{early}"].value > 0.2 and turned["displacement"].value == 0
    assert turned[f"displacement/{view.maps.layer}"] == turned["displacement"]


def test_a_stage_that_went_dark_leaves_its_place_open(net, patterns, samples):
    view = look("original", net, patterns, samples)
    (early,) = view.maps.stages
    found = evidence(changed(view, early, 0.0), view, patterns)
    assert found[f"evidence_remaining/{early}"].value == 0
    assert found[f"displacement/{early}"] is None


def test_the_original_is_not_displaced_from_itself_at_any_stage(net, patterns, samples):
    view = look("original", net, patterns, samples)
    found = evidence(view, view, patterns)
    for stage in (*view.maps.stages, view.maps.layer):
        m = found[f"evidence_remaining/{stage}"]
        assert (m.value, m.low, m.high) == (1, 1, 1) and found[f"displacement/{stage}"] is None


# The control of random weights.


def test_the_control_shows_no_evidence_of_what_was_learned(trained, patterns, samples):
    """Adebayo et al., NeurIPS 2018: a map has to depend on what was learned.

    Two top fifths at random places share 1/9 of what they cover together.
    """
    original = look("original", trained, patterns, samples)
    moved = []
    for seed in range(4):
        blank = control(trained, samples, rng(seed))
        moved.append(evidence(blank, original, patterns)["displacement"].value)
    assert blank.name == "control" and len(blank.test.labels) == len(blank.unseen.labels) == 0
    assert np.mean(moved) == pytest.approx(8 / 9, abs=0.1)


def test_the_control_is_drawn_by_its_generator_alone(trained, samples):
    one, again, other = (control(trained, samples, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.maps.forget, again.maps.forget)
    assert not torch.equal(one.maps.forget, other.maps.forget)
    weights = zip(one.model.parameters(), trained.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in weights if a.dim() > 1)


def test_a_model_that_cannot_start_anew_has_no_control(trained, patterns, samples):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.scale = trained, nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.inner(x * self.scale)

    assert control(Own(), samples, rng()) is None
    run = audit(patterns, original=Own(), unlearned=Own())
    assert "control" not in run.measurements
    assert not [name for name in run.arrays if name.startswith("control/")]
    assert [note for note in run.notes if "no control of random weights" in note]


def test_a_model_without_maps_needs_no_control_and_no_note(model, split):
    run = audit(split, original=model, unlearned=model)
    assert "control" not in run.measurements and not run.notes


def test_the_control_is_asked_for_evidence_alone(trained, patterns):
    run = audit(patterns, original=trained, unlearned=trained)
    names = {name.partition("/")[0] for name in run.measurements["control"]}
    assert names == {*AUDITS["evidence"].names}
    parts = ("forget", "retain", "forget-most", "forget-least")
    kinds = ("map", "answer_map", "answer", "answer_probability", "probability")
    masses = {f"{part}/{kind}" for part in parts[:2] for kind in ("mass", "answer_mass")}
    assert {
        name.removeprefix("control/") for name in run.arrays if name.startswith("control/")
    } == ({f"{part}/{kind}" for part in parts for kind in kinds} | masses)


# What a report gets.


def test_masses_are_the_means_of_all_sampled_maps(trained, patterns, samples):
    view, blank = look("original", trained, patterns, samples), control(trained, samples, rng())
    arrays = pictures(samples, {"original": view}, blank)
    for name, maps in (("original", view.maps), ("control", blank.maps)):
        for part in ("forget", "retain"):
            expected = getattr(maps, part).flatten(1).mean(1)
            assert arrays[f"{name}/{part}/mass"].tolist() == pytest.approx(expected.tolist())
            expected = getattr(maps, f"{part}_answer").flatten(1).mean(1)
            assert arrays[f"{name}/{part}/answer_mass"].tolist() == pytest.approx(expected.tolist())


def test_most_and_least_are_the_images_whose_mass_changed_so(trained, patterns, samples):
    view = look("original", trained, patterns, samples)
    data, rows = samples["forget"]
    factors = torch.ones(len(rows))
    factors[[3, 11, 5, 17]] = torch.tensor([9.0, 7.0, 5.0, 0.0])
    mass = view.maps.forget.mean((1, 2))
    forget = view.maps.forget / mass.clamp_min(1e-9)[:, None, None]  # each of mass 1
    forget[mass == 0] = 1.0
    factors[[0, 1, 2, 4]] = torch.tensor([1.0, 1.001, 0.998, 1.003])
    factors[[6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 18, 19]] = 1.1
    before = dataclasses.replace(view, maps=dataclasses.replace(view.maps, forget=forget))
    moved = dataclasses.replace(view.maps, forget=forget * factors[:, None, None])
    after = dataclasses.replace(view, name="unlearned", maps=moved)
    arrays = pictures(samples, {"original": before, "unlearned": after})
    most, least = (arrays[f"pictures/forget-{which}/ids"].tolist() for which in ("most", "least"))
    assert most == data.ids[rows[[3, 11, 5, 17]]].tolist()
    assert least == data.ids[rows[[0, 1, 2, 4]]].tolist()
    shown = arrays["unlearned/forget-most/map"]
    assert np.allclose(shown, moved.forget[[3, 11, 5, 17]].numpy())
    likely = view.forget.logits[rows[[3, 11, 5, 17]]].softmax(1)
    assert arrays["unlearned/forget-most/answer"].tolist() == likely.argmax(1).tolist()


def test_few_images_are_not_shown_as_both_most_and_least(trained):
    split = choose(pattern_data(), torch.tensor([2, 5, 8]))
    samples = sampled(split)
    view = look("original", trained, split, samples)
    arrays = pictures(samples, {"original": view, "unlearned": view})
    most, least = ({*arrays[f"pictures/forget-{w}/ids"].tolist()} for w in ("most", "least"))
    assert len(most) == len(least) == 1 and not most & least


def test_the_flow_counts_every_forgotten_image_once(trained, patterns):
    run = audit(patterns, original=trained, unlearned=seeded(conv_net, 4))
    answers = {m: run.arrays[f"{m}/forget/answers"] for m in ("original", "unlearned")}
    flow = run.arrays["unlearned/flow"]
    assert flow.shape == (3, 3) and flow.sum() == len(patterns.forget)
    assert flow.sum(1).tolist() == answers["original"].tolist()
    assert flow.sum(0).tolist() == answers["unlearned"].tolist()
    assert np.array_equal(run.arrays["original/flow"], np.diag(answers["original"]))

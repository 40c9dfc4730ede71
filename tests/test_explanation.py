import copy
import dataclasses

import numpy as np
import pytest
import torch
from conftest import block, conv_net, pattern_data, rng, seeded
from torch import nn
from torch.nn.functional import relu

from unsee.data import as_floats, choose
from unsee.errors import ModelError
from unsee.explanation import explained_layer, gradcam, look_closely, pictures, saliency
from unsee.models import blueprint
from unsee.pipeline import look

LayerGradCam = pytest.importorskip("captum.attr", reason="needs captum").LayerGradCam


def floats(data):
    return as_floats(data.take(torch.arange(len(data))))


def captum(model, layer, images, classes):
    model = copy.deepcopy(model).eval()
    for module in model.modules():  # captum's hooks do not survive them
        if isinstance(module, nn.ReLU):
            module.inplace = False
    explained = LayerGradCam(model, model.get_submodule(layer))
    maps = explained.attribute(images, target=classes, relu_attributions=True)
    return maps[:, 0].detach()


@pytest.mark.parametrize("layer", ["0", "1", "0.1"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_gradcam_agrees_with_captum(trained, patterns, layer, number):
    data = patterns.test
    classes = torch.full((len(data),), number)
    ours = gradcam(trained, data, classes, layer=layer)
    theirs = captum(trained, layer, floats(data), classes)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6) and ours.max() > 0


@pytest.fixture(scope="module")
def resnet():
    return seeded(blueprint("resnet18:cifar-pool", channels=1, classes=3)).eval()


@pytest.mark.parametrize("layer", ["layer3", "layer2.1.bn2", "layer1"])
def test_gradcam_of_a_resnet18_agrees_with_captum(resnet, layer):
    data = pattern_data(n=12, size=32)
    data = data[np.arange(4)]
    ours = gradcam(resnet, data, data.labels, layer=layer)
    theirs = captum(resnet, layer, floats(data), data.labels)
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-6) and ours.max() > 0


@pytest.mark.parametrize(
    "stem, size, layer, side",
    [
        ("imagenet", 32, "layer2", 4),
        ("cifar-pool", 32, "layer3", 4),
        ("cifar", 32, "layer4", 4),
        ("imagenet", 224, "layer4", 7),
    ],
)
def test_the_layer_is_the_deepest_that_still_shows_a_place(stem, size, layer, side):
    model = seeded(blueprint(f"resnet18:{stem}", channels=3, classes=3))
    image = torch.rand(1, 3, size, size, generator=rng())
    assert explained_layer(model, image) == layer
    shown = model.eval().get_submodule(layer)
    shapes = []
    with shown.register_forward_hook(lambda _, __, out: shapes.append(out.shape)):
        model(image)
    assert shapes[0][2:] == (side, side)


def test_a_model_without_maps_has_nothing_to_explain(model, split):
    with pytest.raises(ModelError, match="maps of at least 4 x 4, got none"):
        explained_layer(model, floats(split.test))
    assert look_closely(model, split.forget, split.retain) is None


class OneReLU(nn.Module):
    """As many users write it: one ReLU for all layers, the last of them without maps."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.hidden = nn.Linear(256, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = relu(self.conv2(x), inplace=True)
        return self.out(self.relu(self.hidden(x.flatten(1))))


def test_a_relu_that_serves_every_layer_is_not_mistaken_for_one(patterns):
    model = seeded(OneReLU)
    assert explained_layer(model, floats(patterns.test)) == "conv2"
    ours = gradcam(model, patterns.test, patterns.test.labels)
    slow = copy.deepcopy(model)
    slow.forward = lambda x: slow.out(
        relu(slow.hidden(relu(slow.conv2(relu(slow.conv1(x)))).flatten(1)))
    )
    theirs = LayerGradCam(slow, slow.conv2).attribute(
        floats(patterns.test), target=patterns.test.labels, relu_attributions=True
    )
    assert torch.allclose(ours, theirs[:, 0].detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("inplace", [True, False])
def test_what_follows_in_place_leaves_the_map_as_it_is(trained, patterns, inplace):
    expected = gradcam(trained, patterns.test, patterns.test.labels, layer="1.1")
    trained[1][2].inplace = inplace
    found = gradcam(trained, patterns.test, patterns.test.labels, layer="1.1")
    assert torch.equal(expected, found) and bool((found > 0).any())


def test_gradcam_leaves_no_trace(trained, patterns):
    trained.train()
    trained[0].eval()
    trained.requires_grad_(True)
    for weight in trained.parameters():
        weight.grad = torch.ones_like(weight)
    before = copy.deepcopy(trained.state_dict())
    modes, dice = [m.training for m in trained.modules()], torch.get_rng_state()
    gradcam(trained, patterns.test)
    saliency(trained, patterns.test)
    assert modes == [m.training for m in trained.modules()]
    assert all(torch.equal(before[name], x) for name, x in trained.state_dict().items())
    assert all(bool((w.grad == 1).all()) and w.requires_grad for w in trained.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trained.modules())
    assert torch.equal(dice, torch.get_rng_state())


def test_hooks_go_even_where_the_model_fails(trained, patterns):
    wrong = dataclasses.replace(patterns.test, images=torch.zeros(len(pattern_data()), 2, 8, 8))
    for ask in (lambda: gradcam(trained, wrong, layer="1"), lambda: gradcam(trained, wrong)):
        with pytest.raises(RuntimeError, match="channels"):
            ask()
    assert not any(m._forward_hooks for m in trained.modules())


@pytest.mark.parametrize("around", ["no_grad", "autocast", "frozen"])
def test_the_map_does_not_depend_on_what_the_caller_does(trained, patterns, around):
    expected = gradcam(trained, patterns.test, patterns.test.labels)
    if around == "frozen":
        trained.requires_grad_(False)
    context = {
        "no_grad": torch.no_grad(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
        "frozen": torch.enable_grad(),
    }[around]
    with context:
        found = gradcam(trained, patterns.test, patterns.test.labels)
    assert found.dtype == torch.float32 and torch.equal(expected, found)


def test_the_size_of_batches_changes_no_map(trained, patterns):
    whole, parts = (gradcam(trained, patterns.test, size=size) for size in (128, 5))
    assert torch.allclose(whole, parts, atol=1e-6)


def test_a_map_grows_with_the_logit_and_is_not_scaled_away(trained, patterns):
    before = gradcam(trained, patterns.test, patterns.test.labels)
    with torch.no_grad():
        trained[4].weight *= 3
    after = gradcam(trained, patterns.test, patterns.test.labels)
    assert torch.allclose(after, 3 * before, rtol=1e-4)


def test_without_classes_the_answer_is_explained(trained, patterns):
    with torch.no_grad():
        answers = trained.eval()(floats(patterns.test)).argmax(1)
    assert torch.equal(gradcam(trained, patterns.test), gradcam(trained, patterns.test, answers))


def test_a_model_of_random_weights_looks_elsewhere(trained, patterns):
    """The sanity check of Adebayo et al., NeurIPS 2018: a map must depend on what was learned."""
    learned, random = (
        gradcam(m, patterns.test, patterns.test.labels).flatten(1)
        for m in (trained, seeded(conv_net, 9))
    )
    alike = torch.nn.functional.cosine_similarity(learned, random)
    assert float(alike.mean()) < 0.9 and not torch.allclose(learned, random)


def test_an_image_without_evidence_is_salient_everywhere(trained, patterns):
    with torch.no_grad():
        trained[4].weight.zero_()
    assert bool((saliency(trained, patterns.forget) == 1).all())


def test_saliency_is_brought_to_the_size_of_the_image():
    parts = (block(1, 4), nn.AvgPool2d(2), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(64, 3))
    net = nn.Sequential(*parts)
    maps = saliency(net, pattern_data()[:6])
    assert maps.shape == (6, 1, 8, 8) and bool(((maps >= 0) & (maps <= 1)).all())


# What a report gets.


def seen_closely(model, split, n=20):
    samples = {
        part: (getattr(split, part), np.arange(min(n, len(getattr(split, part))))[::-1].copy())
        for part in ("forget", "retain")
    }
    return samples, look("original", model, split, samples)


def test_pictures_are_of_the_sampled_rows_in_their_order(trained, patterns):
    samples, view = seen_closely(trained, patterns)
    arrays = pictures(samples, {"original": view, "unlearned": view})
    for part, n in (("forget", 8), ("retain", 6)):
        data, rows = samples[part]
        assert arrays[f"pictures/{part}/ids"].tolist() == data.ids[rows[:n]].tolist()
        images = arrays[f"pictures/{part}/images"]
        assert images.dtype == np.uint8
        assert np.array_equal(images, data[rows[:n]].take(torch.arange(n)).numpy())
        for model in ("original", "unlearned"):
            assert arrays[f"{model}/{part}/map"].shape == (n, 8, 8)
            likely = getattr(view, part).logits[rows[:n].copy()].softmax(1)
            assert arrays[f"{model}/{part}/answer"].tolist() == likely.argmax(1).tolist()
            best = arrays[f"{model}/{part}/answer_probability"]
            assert best.tolist() == pytest.approx(likely.max(1).values.tolist())
    own = gradcam(trained, patterns.forget, patterns.forget.labels)
    rows = samples["forget"][1]
    assert np.allclose(arrays["original/forget/map"], own[rows[:8].copy()].numpy(), atol=1e-6)


def test_pictures_of_floats_are_stretched_over_all_of_them(trained):
    data = pattern_data()
    data = dataclasses.replace(data, images=data.images.float() / 255 * 4 - 2)
    split = choose(data, "class=c")
    samples, view = seen_closely(trained, split)
    images = pictures(samples, {"original": view})["pictures/forget/images"]
    assert images.dtype == np.uint8 and images.min() == 0 and images.max() == 255


def test_pictures_do_without_maps(model, split):
    samples, view = seen_closely(model, split)
    arrays = pictures(samples, {"original": view})
    assert "original/forget/map" not in arrays and "original/forget/answer" in arrays

"""The output layer is the last Linear that runs; asking for it changes nothing."""

import copy

import pytest
import torch
from conftest import conv_net, seeded
from torch import nn

from unsee.errors import ModelError
from unsee.models import blueprint, head, normalise, output_layer, reinitialised

IMAGE = torch.zeros(1, 1, 4, 4)


class Net(nn.Module):
    """Defined in another order than it runs in, with one layer that never runs."""

    def __init__(self, answer=lambda x: x):
        super().__init__()
        self.last, self.first, self.idle = nn.Linear(8, 3), nn.Linear(16, 8), nn.Linear(3, 3)
        self.same, self.answer = self.last, answer

    def forward(self, x):
        return self.answer(self.last(self.first(x.flatten(1)).relu()))


def test_finds_the_last_linear_that_runs_and_not_the_last_defined():
    net = Net()
    assert output_layer(net, IMAGE) == "last" and head(net, IMAGE) is net.last


@pytest.mark.parametrize("wrap", [nn.DataParallel, nn.Sequential])
def test_finds_it_inside_a_wrapper(wrap):
    wrapped = wrap(Net())
    assert output_layer(wrapped, IMAGE) in ("module.last", "0.last")
    assert head(wrapped, IMAGE) is [*wrapped.children()][0].last


def test_a_shared_layer_counts_where_it_runs_last():
    shared = nn.Linear(16, 16)
    net = nn.Sequential(nn.Flatten(), shared, nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), shared)
    assert output_layer(net, IMAGE) == "1"


@pytest.mark.parametrize("name", ["last", "same", "idle"])
def test_the_caller_may_know_better(name):
    assert output_layer(Net(), IMAGE, name) == name


def test_a_layer_whose_logits_are_not_the_answer_is_no_output_layer():
    with pytest.raises(ModelError, match=r"logits \[1, 8\] of 'first', the layer that was named"):
        output_layer(Net(), IMAGE, "first")


def test_a_copy_remembers_what_the_caller_knew():
    net = Net()
    net.unsee_output_layer = "same"
    assert output_layer(copy.deepcopy(net), IMAGE) == "same"
    assert "unsee_output_layer" not in net.state_dict()


@pytest.mark.parametrize("name", ["relu", "", "last.weight"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    net = Net()
    net.unsee_output_layer = name
    if name:
        with pytest.raises(
            ModelError, match=rf"among \['last', 'first', 'idle', 'same'\], got '{name}'"
        ):
            output_layer(net, IMAGE, name)
    with pytest.raises(ModelError, match="among"):
        output_layer(net, IMAGE)


def traces(model):
    hooks = [(len(m._forward_pre_hooks), len(m._forward_hooks)) for m in model.modules()]
    buffers = [buffer.clone().tolist() for buffer in model.buffers()]
    return [m.training for m in model.modules()], hooks, buffers


@pytest.mark.parametrize("image", [IMAGE, torch.zeros(1, 3, 4, 4)], ids=["fits", "fails"])
def test_modes_hooks_statistics_and_gradients_stay(image):
    model = normalise(conv_net(), torch.tensor([0.5]), torch.tensor([0.5])).train()
    model[0].eval()
    before, dice = traces(model), torch.get_rng_state()
    if image is IMAGE:
        output_layer(model, image)
    else:
        with pytest.raises(ModelError):
            output_layer(model, image)
    assert traces(model) == before and torch.equal(dice, torch.get_rng_state())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


def test_a_model_that_does_not_take_the_images_is_told_what_it_was_fed():
    with pytest.raises(
        ModelError, match=r"takes images \[1, 2, 9, 9\], got '.*mat1.*--size"
    ) as error:
        output_layer(Net(), torch.zeros(5, 2, 9, 9))
    assert isinstance(error.value.__cause__, RuntimeError)


def test_a_fault_of_the_users_code_is_theirs():
    def wrong(x):
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        output_layer(Net(wrong), IMAGE)


@pytest.mark.parametrize(
    "net, reason",
    [
        (nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()), "ends in nn.Linear, got none that runs"),
        (Net(lambda x: (x, x)), "as the model's answer, got 'tuple'|got tuple"),
        (Net(lambda x: x.repeat(1, 2)), r"Expected the logits \[1, 3\] of 'last'.*got \[1, 6\]"),
        (Net(lambda x: x[0]), r"got \[3\]"),
    ],
)
def test_a_model_that_is_no_classifier_with_a_linear_end_is_refused(net, reason):
    with pytest.raises(ModelError, match=reason):
        output_layer(net, IMAGE)


def test_starting_anew_draws_all_weights_and_leaves_the_model_alone():
    model = normalise(seeded(conv_net), torch.tensor([0.5]), torch.tensor([0.5]))
    model[0][1].running_mean.fill_(7)
    before = copy.deepcopy(model.state_dict())
    fresh = seeded(lambda: reinitialised(model), seed=1)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not torch.equal(fresh[0][0].weight, model[0][0].weight)
    assert not torch.equal(fresh[4].bias, model[4].bias)
    assert fresh[0][1].running_mean.eq(0).all() and fresh[0][1].running_var.eq(1).all()
    assert fresh(torch.zeros(1, 1, 8, 8)).shape == (1, 3)  # its normalisation is still there


def test_starting_anew_keeps_ties():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert reinitialised(net)[0].weight is not net[0].weight
    assert (fresh := reinitialised(net))[0].weight is fresh[1].weight


class Scaled(nn.Module):
    def __init__(self, *, trained=False, persistent=True):
        super().__init__()
        if trained:
            self.scale = nn.Parameter(torch.ones(1))
        else:
            self.register_buffer("scale", torch.ones(1), persistent=persistent)


@pytest.mark.parametrize("stuck", [Scaled(trained=True), Scaled()], ids=["weights", "statistics"])
def test_modules_that_cannot_start_anew_are_named(stuck):
    with pytest.raises(ModelError, match=r"--init.*cannot be re-initialised: \['1'\]"):
        reinitialised(nn.Sequential(nn.Linear(1, 1), stuck))
    with pytest.raises(ModelError, match=r"\['Scaled'\]"):
        reinitialised(stuck)


def test_constants_that_no_checkpoint_holds_are_no_obstacle():
    fresh = reinitialised(nn.Sequential(nn.Linear(1, 1), Scaled(persistent=False)))
    assert fresh[1].scale.item() == 1


class Changing(nn.Module):
    """Normalises its images in place."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        return self.last(x.sub_(0.5).div_(0.25).flatten(1))


class Tokens(nn.Module):
    """Answers for every token, and averages the answers."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(x[:, 0]).mean(1)


@pytest.mark.parametrize(
    "net, told",
    [(Changing, "leaves its images as they are"), (Tokens, r"one answer of 'last'.*\[1, 4, 3\]")],
)
def test_models_that_no_pass_can_be_repeated_or_looked_into_are_refused(net, told):
    with pytest.raises(ModelError, match=told):
        output_layer(net(), IMAGE)


def convnext():
    """A network of which the scales cannot start anew by themselves."""
    return blueprint("convnext_tiny", channels=1, classes=3)()


@pytest.mark.parametrize("build, part", [(conv_net, "1"), (convnext, "features.1")])
def test_frozen_parts_start_anew_unless_they_are_to_be_kept(build, part):
    model = seeded(build)
    model.get_submodule(part).requires_grad_(False)
    with torch.random.fork_rng():
        kept, anew = reinitialised(model, keep_frozen=True), reinitialised(model)
    for name, weight in model.named_parameters():
        if name.endswith("weight") and weight.ndim > 1:  # others begin as they were
            same = [torch.equal(x.get_parameter(name), weight) for x in (kept, anew)]
            assert same == [name.startswith(f"{part}."), False]

"""Every method keeps the same promises.  A new method is tested by existing."""

import copy
import math
from functools import cache
from typing import Literal

import pytest
import torch
from conftest import conv_net, flat_net, pattern_data, rng, seeded
from torch import nn

from unsee import testing, training
from unsee.data import choose
from unsee.errors import DivergenceError, ModelError, OptionError, SplitError, UnseeWarning
from unsee.explanation import gradcam, saliency
from unsee.methods import METHODS, find, gone_classes, method as make_method
from unsee.methods._head_only import NEVER
from unsee.methods._method import brought
from unsee.methods._snu import disturbed, told
from unsee.pipeline import unlearn
from unsee.training import counting, predict

REPEATED = ("noop", "head_only")  # draw nothing
TRAINED = [name for name, m in METHODS.items() if "lr" in m.options]


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def method(request):
    return request.param


@cache
def cases():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        return testing.cases()


@pytest.fixture(params=[0, 1], ids=["flat", "convolutional"])
def case(request):
    """A model, what it is to forget, and how to build a new one."""
    return cases()[request.param]


def apply(method, model, split, seed=0, **more):
    factory = flat_net if isinstance(model[0], nn.Flatten) else conv_net
    more = {"factory": factory, **more}
    return method(model, split.forget, split.retain, rng=rng(seed), **more)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a.keys() | b.keys())


@pytest.mark.parametrize("promise", testing.PROMISES, ids=lambda promise: promise.__name__)
def test_keeps_what_every_method_promises(method, case, promise):
    idle = promise is testing.changes_weights and method.name == "noop"
    promise(method, case, **({"changes": False} if idle else {}))


def test_another_seed_gives_another_model(method, case):
    a, other = (case.apply(method, seed=seed).state_dict() for seed in (0, 1))
    assert same(a, other) is (method.name in REPEATED)


@pytest.mark.parametrize("name", TRAINED)
def test_training_moves_every_convolution(name, trained, patterns):
    fixed = {"frozen": 0.0} if "frozen" in METHODS[name].options else {}
    after = apply(METHODS[name], trained, patterns, **fixed)
    layers = [key for key, m in trained.named_modules() if isinstance(m, nn.Conv2d)]
    for key in layers:
        old, new = (m.get_submodule(key).weight for m in (trained, after))
        moved = (new - old).norm() / old.norm()
        assert moved.item() > 1e-4, f"{key} is as it was"
    assert len(layers) == 2


def test_says_what_it_is(method):
    testing.says_what_it_is(method)
    assert method.exact is (method.name == "retrain")


def test_the_registry_knows_every_method_by_its_name():
    assert [*METHODS] == sorted(METHODS) == [m.name for m in METHODS.values()]
    assert find("snu") is METHODS["snu"] is find(METHODS["snu"])


# What a call may say.


def test_refuses_unknown_names_and_lists_the_known_ones(model, split):
    known = r"options of 'finetune' among \['epochs', 'lr', 'batch'\], got \['rate'\]"
    with pytest.raises(OptionError, match=known):
        apply(find("finetune"), model, split, rate=1)
    with pytest.raises(OptionError, match=r"among \['.*'snu'.*\], got 'scurb'"):
        find("scurb")
    with pytest.raises(OptionError, match="'masked'.*got 'other'"):
        apply(find("snu"), model, split, target="other")


@make_method(title="Choosy", paper="none")
def choosy(
    model,
    forget,
    retain,
    *,
    rng,
    epochs: int = 1,
    lr: float = 0.1,
    deep: bool = False,
    batch: int = 0,
    kind: Literal["a", "b"] = "a",
):
    """Change nothing, in many ways."""
    return model


@pytest.mark.parametrize(
    "name, text, value",
    [
        *[("epochs", "3", 3), ("epochs", 3.0, 3), ("lr", "0.1", 0.1), ("lr", "1e-3", 1e-3)],
        *[("lr", 1, 1.0), ("lr", "0", 0.0), ("deep", "true", True), ("deep", "False", False)],
        *[("deep", True, True), ("kind", "b", "b"), ("batch", "0", 0)],
    ],
)
def test_text_is_read_as_what_the_default_is(name, text, value):
    found = choosy.chosen({name: text})[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "name, value",
    [
        *[("epochs", "1.5"), ("epochs", 1.5), ("epochs", "x"), ("epochs", -1), ("epochs", None)],
        *[("epochs", math.inf), ("epochs", math.nan), ("epochs", 0), ("epochs", "")],
        *[("lr", "fast"), ("lr", "nan"), ("lr", math.inf), ("lr", -0.1), ("lr", [0.1])],
        *[("deep", "maybe"), ("kind", "c"), ("kind", 3), ("batch", -1), ("lr", "1e999")],
    ],
)
def test_a_bad_value_is_refused_with_a_good_one(name, value):
    with pytest.raises(OptionError, match=rf"Expected 'choosy'|Expected choosy's {name}"):
        choosy.chosen({name: value})


def test_an_option_of_nothing_at_all_is_refused_before_it_divides():
    with pytest.raises(OptionError, match="batch as int >= 1, got 0"):
        METHODS["finetune"].chosen({"batch": 0})
    assert METHODS["retrain"].chosen({"batch": 0})["batch"] == 0  # there it means: choose yourself


def test_what_is_handed_in_goes_only_where_it_is_declared(model, split):
    seen = []

    @make_method(title="Tuned", paper="none")
    def tuned(model, forget, retain, *, rng, validation, gone, strength: float = 1.0):
        """Look at the validation images."""
        seen.append((validation, gone))
        return model

    assert tuned.options == {"strength": 1.0}
    assert tuned.needs("validation") and not tuned.needs("factory")
    apply(tuned, model, split, validation=split.validation)
    assert seen == [(split.validation, (2,))]
    apply(find("noop"), model, split, validation=split.validation)  # not declared: not passed


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
def test_a_whole_class_is_known_to_go_even_without_a_buffer(model, split, single):
    seen = []

    @make_method(title="Spy", paper="none", data="forget")
    def spy(model, forget, retain, *, rng, gone):
        """Look at what goes."""
        seen.append((len(retain), gone))
        return model

    unlearn(model, split.forget, split.retain, method=spy)
    unlearn(model, single.forget, single.retain, method=spy)
    assert seen == [(0, (2,)), (0, ())]
    assert gone_classes(single.forget, single.retain[:0]) == ()  # not a model without any class


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
def test_a_class_of_which_the_buffer_holds_images_stays(model, split, single):
    seen = []

    @make_method(title="Spy", paper="none", data="buffer")
    def spy(model, forget, retain, *, rng, gone):
        """Look at what goes."""
        seen.append(gone)
        return model

    with pytest.raises(SplitError, match="of images that stay, got 2 that are to be forgotten"):
        unlearn(model, split.forget, split.retain, method=spy, buffer=split.forget[:2])
    unlearn(model, single.forget, single.retain[:0], method=spy, buffer=single.retain)
    unlearn(model, split.forget, split.retain[:0], method=spy, buffer=split.retain[:5], guard=0.5)
    assert seen == [(), (2,)]


# Retrain.


def test_retrain_without_a_factory_starts_every_module_anew(model, split):
    model[1].running_mean += 100.0
    after = apply(find("retrain"), model, split, factory=None, lr=0.0)
    assert not torch.equal(after[3].weight, model[3].weight)
    assert float(after[1].running_mean.abs().max()) < 10  # nothing of the old statistics


def test_retrain_names_what_it_cannot_initialise(split):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.factor * x

    model = nn.Sequential(nn.Flatten(), Scaled(), nn.Linear(16, 3))
    with pytest.raises(ModelError, match=r"factory.*cannot be re-initialised: \['1'\]"):
        find("retrain")(model, split.forget, split.retain, rng=rng(), factory=None)
    built = find("retrain")(
        model, split.forget, split.retain, rng=rng(), factory=lambda: copy.deepcopy(model)
    )
    assert isinstance(built[1], Scaled)


def test_retrain_knows_nothing_of_the_model_it_is_given(model, split):
    other = seeded(flat_net, 5)
    a, b = (apply(find("retrain"), m, split).state_dict() for m in (model, other))
    assert same(a, b)


# Output layer only.


def test_head_only_changes_the_bias_of_the_class_and_nothing_else(trained, patterns):
    after = apply(find("head_only"), trained, patterns)
    bias = trained[4].bias.detach().clone()
    bias[2] = NEVER
    assert same(after.state_dict(), trained.state_dict() | {"4.bias": bias})
    seen = predict(after, patterns.forget)
    assert not (seen.logits.argmax(1) == 2).any()
    assert torch.equal(seen.features, predict(trained, patterns.forget).features)


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_head_only_refuses_single_images_whatever_the_buffer_is(model, single, fraction):
    with pytest.raises(SplitError, match="whole classes to forget with 'head_only'"):
        unlearn(
            model,
            single.forget,
            single.retain,
            method="head_only",
            retain_fraction=fraction,
        )


def test_head_only_needs_a_bias(split):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    with pytest.raises(ModelError, match="bias"):
        apply(find("head_only"), model, split)


# Selective noise: every value of every option, by a property that only it has.


@pytest.fixture
def x():
    return torch.rand(64, 2, 16, 16, generator=rng())


UNIT = torch.tensor([0.5, 2.0])[:, None, None]


def noisy(x, noise, sigma, where=None, seed=7):
    return disturbed(x, noise, sigma, UNIT, torch.ones(()) if where is None else where, rng(seed))


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_added_noise_has_the_deviation_it_says(x, noise):
    change = noisy(x, noise, 0.3) - x
    deviation = change.std((0, 2, 3))
    assert deviation.tolist() == pytest.approx([0.15, 0.6], rel=0.03)
    assert change.mean((0, 2, 3)).abs().max() < 0.02
    bound = 0.3 * UNIT * 3**0.5
    assert bool((change.abs() <= bound + 1e-6).all()) is (noise == "uniform")


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_added_noise_does_not_depend_on_the_image(x, noise):
    assert torch.allclose(noisy(x, noise, 0.3) - x, noisy(x + 1, noise, 0.3) - x - 1, atol=1e-5)


@pytest.mark.parametrize("sigma, kept", [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (3.0, 0.0)])
def test_mixed_noise_keeps_its_share_of_the_image(x, sigma, kept):
    shift = torch.randn(x.shape, generator=rng(3))
    shift -= shift.mean((0, 2, 3), keepdim=True)  # as the mean of the channels stays
    difference = noisy(x + shift, "mix", sigma) - noisy(x, "mix", sigma)
    assert torch.allclose(difference, kept * shift, atol=1e-5)


def test_replaced_images_keep_nothing_but_the_mean_of_their_channels(x):
    shuffled = x.flip(0, 2, 3)
    assert torch.allclose(noisy(x, "replace", 0.5), noisy(shuffled, "replace", 0.5), atol=1e-5)
    fresh = noisy(x, "replace", 0.5)
    assert fresh.mean((0, 2, 3)).tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert fresh.std((0, 2, 3)).tolist() == pytest.approx([0.25, 1.0], rel=0.03)


@pytest.mark.parametrize("noise", ["gaussian", "uniform", "mix", "replace"])
def test_pixels_without_evidence_are_not_touched(x, noise):
    where = torch.zeros(64, 1, 16, 16)
    where[..., :8] = 0.5
    changed = noisy(x, noise, 0.7, where)
    assert torch.equal(changed[..., 8:], x[..., 8:])
    everywhere = noisy(x, noise, 0.7) - x
    assert torch.allclose((changed - x)[..., :8], 0.5 * everywhere[..., :8], atol=1e-6)


def test_saliency_is_the_map_of_the_true_class_scaled_to_one_per_image(trained, patterns):
    maps = saliency(trained, patterns.forget)
    raw = gradcam(trained, patterns.forget, patterns.forget.labels)
    assert maps.shape == (24, 1, 8, 8)
    assert maps.amax((1, 2, 3)).tolist() == pytest.approx([1] * 24)
    assert bool((maps >= 0).all())
    for scaled, one in zip(maps[:, 0], raw, strict=True):  # of the image's size already
        assert torch.allclose(scaled * one.max(), one, atol=1e-5) or one.max() == 0


@pytest.mark.parametrize("target", ["own", "random", "uniform", "masked"])
def test_targets_of_noise(target):
    labels, logits = torch.tensor([0, 1]), torch.tensor([[3.0, 2.0, 0.0], [0.0, 9.0, 0.0]])
    q = told(target, labels, logits, rng())
    own = q.gather(1, labels[:, None])
    assert torch.allclose(q.sum(1), torch.ones(2))
    assert bool((own == (1.0 if target == "own" else 0.0)).all())
    expected = {
        "uniform": [[0, 0.5, 0.5], [0.5, 0, 0.5]],
        "masked": [[0, 0.881, 0.119], [0.5, 0, 0.5]],
    }
    if target in expected:
        assert torch.allclose(q, torch.tensor(expected[target]), atol=1e-3)
    if target == "random":
        assert sorted(q.flatten().tolist()) == [0, 0, 0, 0, 1, 1]


def test_random_targets_are_every_other_class_equally_often():
    labels = torch.zeros(3000, dtype=torch.long)
    q = told("random", labels, torch.zeros(3000, 4), rng())
    assert q.sum(0).tolist() == pytest.approx([0, 1000, 1000, 1000], abs=100)


@pytest.mark.parametrize("target", ["random", "uniform", "masked"])
def test_forgotten_classes_do_not_teach_each_other(target):
    labels = torch.tensor([0, 1, 2])
    q = told(target, labels, torch.randn(3, 4, generator=rng()), rng(), gone=(0, 1))
    assert float(q[:, [0, 1]].sum()) == 0
    assert q[2].tolist() == [0, 0, 0, 1]
    last = told(target, labels[2:], torch.zeros(1, 3), rng(), gone=(0, 1))  # nothing else is left
    assert torch.equal(last, last.nan_to_num()) and float(last.sum()) == pytest.approx(1)


OPTIONS = [(name, value) for name, values in METHODS["snu"].choices.items() for value in values]


def test_every_choice_of_snu_is_known():
    assert {name: len(values) for name, values in METHODS["snu"].choices.items()} == {
        "noise": 4,
        "where": 2,
        "target": 4,
        "statistics": 3,
    }


@pytest.mark.parametrize("name, value", OPTIONS, ids=lambda text: text)
def test_every_choice_of_snu_makes_a_model_of_its_own(trained, patterns, name, value):
    def made(choice):  # at sigma 1 nothing of the image is left, and "mix" is "replace"
        return apply(METHODS["snu"], trained, patterns, sigma=0.5, **{name: choice}).state_dict()

    chosen = made(value)
    others = [other for other in METHODS["snu"].choices[name] if other != value]
    assert not [other for other in others if same(chosen, made(other))]


@pytest.mark.parametrize(
    "name, value", [("clean", 1.0), ("kept", 1), ("sigma", 0.1), ("epochs", 2)]
)
def test_every_number_of_snu_counts(trained, patterns, name, value):
    options = {name: value} if name != "kept" else {"kept": 0}
    plain, other = (apply(METHODS["snu"], trained, patterns, **o) for o in ({}, options))
    assert not same(plain.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    "statistics, moves", [("shared", True), ("separate", False), ("frozen", False)]
)
def test_noise_does_not_move_running_statistics_unless_asked(model, split, statistics, moves):
    options = {"statistics": statistics, "lr": 0.0}
    after = find("snu")(model, split.forget, split.retain[:0], rng=rng(), **options)
    assert same(model.state_dict(), after.state_dict()) is not moves


def test_snu_counts_noise_in_the_pixel_units_of_the_model(model, split):
    normalised = []
    model[0].register_forward_pre_hook(lambda _, args: normalised.append(args[0]))
    find("snu")(model, split.forget, split.retain[:0], rng=rng(), sigma=10.0)
    assert normalised[-1].std().item() == pytest.approx(10, rel=0.2)


def test_snu_forgets_and_keeps(trained, patterns):
    after = apply(METHODS["snu"], trained, patterns, epochs=6, lr=0.05, sigma=0.2, clean=1.0)
    right = {
        part: float((seen.logits.argmax(1) == seen.labels).float().mean())
        for part, seen in (
            ("forget", predict(after, patterns.forget)),
            ("retain", predict(after, patterns.retain)),
        )
    }
    assert right["forget"] < 0.1 and right["retain"] > 0.9


# What it costs.


@pytest.mark.parametrize(
    "name, options, teachers, learned",
    [
        ("noop", {}, 0, 0),
        ("head_only", {}, 1, 0),
        ("finetune", {"epochs": 2}, 0, 2 * 22),
        ("finetune", {"epochs": 1, "batch": 5}, 0, 22),
        ("retrain", {"epochs": 3}, 0, 3 * 22),
        ("snu", {}, 10 + 1, 10 + 22),  # a batch of the buffer is all of it here
        ("snu", {"kept": 0}, 10 + 1, 10),
        ("snu", {"clean": 0.5}, 10 + 1, 10 + 10 + 22),
        ("snu", {"epochs": 2}, 10 + 1, 2 * (10 + 22)),
    ],
    ids=str,
)
def test_image_gradients_are_counted_and_teachers_for_a_third(
    model, split, name, options, teachers, learned
):
    with counting() as spent:
        apply(METHODS[name], model, split, **options)
    assert sum(spent) == pytest.approx(learned + teachers / 3)


def test_the_maps_of_salient_noise_are_counted_too(trained, patterns):
    spent = {}
    for where in ("everywhere", "saliency"):
        with counting() as count:
            apply(METHODS["snu"], trained, patterns, where=where)
        spent[where] = sum(count)
    looks = 2 / 3  # at one image, twice: which layers has the network, and are there blocks
    assert spent["saliency"] - spent["everywhere"] == pytest.approx(24 + looks)


def test_counting_sees_a_factory_s_models_and_a_wrapped_result(model, split):
    @make_method(title="Wrapped", paper="none", data="all")
    def wrapped(model, forget, retain, *, rng, factory):
        """Return the model inside another."""
        return nn.Sequential(model, nn.Identity(), factory())

    with counting() as spent:
        done = wrapped(model, split.forget, split.retain, rng=rng(), factory=lambda: nn.Identity())
        done(torch.rand(4, 1, 4, 4, generator=rng()))
    assert sum(spent) == 0  # once it is returned, its images are its owner's


# What can go wrong.


@pytest.mark.parametrize("name", TRAINED)
def test_divergence_is_an_error_and_leaves_the_original(name, trained, patterns):
    before = copy.deepcopy(trained.state_dict())
    with pytest.raises(DivergenceError, match="original model is untouched") as caught:
        apply(METHODS[name], trained, patterns, lr=1e38, epochs=4)
    assert caught.value.exit_code == 3
    assert same(before, trained.state_dict())


def test_a_model_whose_weights_are_all_frozen_is_refused(trained, patterns):
    with pytest.raises(ModelError, match="requires_grad"):
        apply(METHODS["finetune"], trained.requires_grad_(False), patterns)


def test_soft_labels_and_single_images_are_told_apart_by_the_rule(data):
    whole, some = choose(data, "class=c"), choose(data, torch.arange(0, 10))
    assert gone_classes(whole.forget, whole.retain) == whole.gone == (2,)
    assert gone_classes(some.forget, some.retain) == some.gone == ()


def test_forgetting_two_classes_teaches_neither_the_other(trained):
    both = choose(pattern_data(), "class=b,c")
    after = unlearn(
        trained,
        both.forget,
        both.retain,
        method="snu",
        retain_fraction=1.0,
        epochs=6,
        target="masked",
        lr=0.05,
        sigma=0.2,
        clean=1.0,
    )
    answers = predict(after, both.forget).logits.argmax(1)
    assert float((answers == 0).float().mean()) > 0.9


EXACT = {"lipschitz"}  # of bfloat16 it would see the rounding


@pytest.mark.parametrize("name", TRAINED)
def test_bfloat16_gives_about_the_same_model(name, trained, patterns, in_bfloat16, monkeypatch):
    rounded = apply(METHODS[name], trained, patterns)
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: False)
    exact = apply(METHODS[name], trained, patterns)
    a, b = (torch.cat([x.flatten() for x in m.parameters()]) for m in (rounded, exact))
    assert a.dtype == torch.float32 and torch.equal(a, b) is (name in EXACT)
    assert ((a - b).norm() / b.norm()).item() < 0.1
    if name != "retrain":  # the others move less than that
        before = torch.cat([x.flatten() for x in trained.parameters()])
        assert (a - b).norm() < 0.5 * (b - before).norm()


def test_forgotten_and_retained_images_are_on_a_device_once():
    split, device = choose(pattern_data(), "class=c"), torch.device("meta")
    forget, retain = brought(device, split.forget, split.retain)
    assert split.forget.images is split.retain.images  # and there as here:
    assert forget.images is retain.images and forget.images.device == device
    assert forget.labels.device == retain.labels.device == device
    other = pattern_data(seed=1)
    first, second = brought(device, split.forget, other)
    assert first.images is not second.images


@pytest.mark.parametrize("target", ["random", "uniform", "masked"])
def test_where_a_single_class_stays_its_images_are_told_their_own(target):
    labels, logits = torch.tensor([0, 0, 1, 2]), torch.zeros(4, 3)
    q = told(target, labels, logits, rng(), gone=(1, 2))
    assert torch.equal(q, torch.nn.functional.one_hot(torch.zeros(4).long(), 3).float())
    alone = told(target, torch.tensor([0, 1]), torch.zeros(2, 2), rng(), gone=(1,))
    assert torch.equal(alone, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if m.data == "all"])
def test_methods_that_learn_from_all_that_stays_say_so_where_nothing_does(name, model, split):
    with pytest.raises(SplitError, match=f"images that stay for '{name}'"):
        METHODS[name](model, split.forget, split.retain[:0], rng=rng())


@pytest.mark.parametrize(
    "name, option",
    [
        *((name, "temperature") for name in ("scrub", "bad_teacher", "snu_deep", "cola")),
        *(("lipschitz", "draws"), ("lipschitz", "sigma"), ("unsir", "noise")),
    ],
)
def test_what_a_method_divides_by_is_not_nothing(name, option, trained, patterns):
    with pytest.raises(OptionError, match=f"Expected {name}'s {option} as"):
        METHODS[name](trained, patterns.forget, patterns.retain, rng=rng(), **{option: 0})


@pytest.mark.parametrize("name", ["pour", "cola"])
def test_a_loss_that_no_weight_can_lower_is_told_and_not_raised_by_torch(name, trained, patterns):
    model = copy.deepcopy(trained)
    for layer in [*model][:-1]:
        layer.requires_grad_(False)
    with pytest.raises(ModelError, match="loss that depends on weights that train"):
        METHODS[name](model, patterns.forget, patterns.retain, rng=rng())


def test_frozen_weights_keep_their_values_in_every_method(method, trained, patterns):
    model = copy.deepcopy(trained)
    model[1].requires_grad_(False)
    if not method.exact:
        done = apply(method, model, patterns)
    else:
        with pytest.warns(UnseeWarning, match="frozen parts are kept.*never seen the images"):
            done = apply(method, model, patterns, factory=None)
    for ours, theirs in zip(done[1].parameters(), model[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_frozen_output_layer_is_not_written_over(trained, patterns):
    model = copy.deepcopy(trained)
    model[-1].requires_grad_(False)
    with pytest.raises(ModelError, match="output layer that trains"):
        METHODS["pour"](model, patterns.forget, patterns.retain, rng=rng())
    with pytest.warns(UnseeWarning, match="rows of forgotten classes are kept.*is frozen"):
        done = METHODS["snu_deep"](model, patterns.forget, patterns.retain, rng=rng())
    assert torch.equal(done[-1].weight, model[-1].weight)


def test_limits_of_our_own_options_are_not_those_of_others(model, split):
    @make_method(title="Own", paper="none", data="forget")
    def own(model, forget, retain, *, rng, noise: float = 0.1, temperature: float = 0.0):
        """Do nothing."""
        return model

    own(model, split.forget, split.retain, rng=rng(), noise=0.1, temperature=0.0)

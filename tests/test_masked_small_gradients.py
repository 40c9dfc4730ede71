"""What makes masked_small_gradients itself: which weights start anew, and how fast others learn."""

import copy

import pytest
import torch
from conftest import flat_net, rng, seeded
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats
from unsee.errors import ModelError, OptionError
from unsee.methods import METHODS
from unsee.methods._masked_small_gradients import slopes
from unsee.training import counting

MSG = METHODS["masked_small_gradients"]


def apply(model, split, **more):
    return MSG(model, split.forget, split.retain, rng=rng(), **more)


def plain(model, forget, retain):
    """The gradient of CE(retain) - CE(forget) by one backward pass over all images at once."""
    model = copy.deepcopy(model).eval()
    losses = [
        cross_entropy(model(as_floats(data.take(torch.arange(len(data))))), data.labels)
        for data in (retain, forget)
    ]
    (losses[0] - losses[1]).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def convolutions(model):
    return [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]


def test_the_gradient_is_that_of_keeping_less_that_of_forgetting(trained, patterns):
    retain = patterns.retain[: len(patterns.forget)]  # as many: none is left out
    names = convolutions(trained)
    weights = [trained.get_submodule(name).weight for name in names]
    found = slopes(trained, weights, patterns.forget, retain, rng())
    wanted = plain(trained, patterns.forget, retain)
    for name, slope in zip(names, found, strict=True):
        assert torch.allclose(slope, wanted[f"{name}.weight"], atol=1e-6)
    assert trained.training is copy.deepcopy(trained).training  # as it was


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_with_the_smallest_gradients_starts_anew(trained, patterns, share):
    patterns = patterns.__class__(
        **{**patterns.__dict__, "retain": patterns.retain[: len(patterns.forget)]}
    )
    after = apply(trained, patterns, share=share, lr=0.0)
    slope = plain(trained, patterns.forget, patterns.retain)
    for name in convolutions(trained):
        old, new = (m.get_submodule(name).weight.detach() for m in (trained, after))
        size, anew = slope[f"{name}.weight"].abs(), (old != new)
        assert int(anew.sum()) == round(share * old.numel())
        if 0 < share < 1:
            assert size[anew].max() <= size[~anew].min() + 1e-7
    others = [n for n, w in trained.named_parameters() if "weight" not in n or w.dim() != 4]
    assert all(torch.equal(trained.get_parameter(n), after.get_parameter(n)) for n in others)


def test_new_weights_are_kaimings_with_the_deviation_of_what_goes_out(trained, patterns):
    wide = nn.Conv2d(8, 32, 3, padding=1, bias=False)
    model = nn.Sequential(nn.Conv2d(1, 8, 1), wide, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(32, 3))
    after = apply(model, patterns, share=1.0, lr=0.0)
    assert after[1].weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)


def test_old_weights_learn_slower_by_the_factor_and_no_hook_stays(trained, patterns, monkeypatch):
    from unsee.methods import _masked_small_gradients as module

    def one_step(model, losses, *, lr, steps):
        model.train()
        next(iter(losses)).backward()
        found.append({n: w.grad.clone() for n, w in model.named_parameters()})
        model.zero_grad()
        return model

    monkeypatch.setattr(module, "descend", one_step)
    found = []
    for slow in (1.0, 0.25):
        after = apply(trained, patterns, share=0.0, slow=slow, batch=48)
        assert not any(w._backward_hooks for w in after.parameters())
    fast, slow = found
    for name in convolutions(trained):
        assert torch.allclose(slow[f"{name}.weight"], 0.25 * fast[f"{name}.weight"], atol=1e-8)
    assert torch.allclose(slow["4.weight"], fast["4.weight"])


def test_a_model_without_convolutions_has_its_linear_layers_drawn(split):
    model = seeded(flat_net)
    after = apply(model, split, share=0.5, lr=0.0)
    changed = (model[3].weight != after[3].weight).double().mean().item()
    assert changed == pytest.approx(0.5)


def test_a_model_of_frozen_weights_is_refused(trained, patterns):
    with pytest.raises(ModelError, match="weights that train, got none"):
        apply(trained.requires_grad_(False), patterns)


def test_a_share_of_more_than_all_is_refused(trained, patterns):
    with pytest.raises(OptionError, match="share in 0..1, got 1.5"):
        apply(trained, patterns, share=1.5)


def test_both_sets_are_counted_once_before_training(trained, patterns):
    with counting() as spent:
        apply(trained, patterns, epochs=2)
    assert sum(spent) == pytest.approx(24 + 24 + 2 * 48)


def test_a_weight_that_layers_share_learns_as_slowly_as_any(patterns, monkeypatch):
    model = seeded(lambda: nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))))
    model = nn.Sequential(nn.Conv2d(1, 4, 1), *model, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(4, 3))
    model[2].weight = model[3].weight = model[1].weight
    factors = []
    monkeypatch.setattr(
        "unsee.methods._masked_small_gradients.descend",
        lambda net, losses, **_: factors.append(len(net[1].weight._backward_hooks)) or net,
    )
    apply(model, patterns, epochs=1)
    assert factors == [1]

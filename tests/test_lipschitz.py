"""What makes lipschitz itself: the slope between an image and its noisy self, from one side."""

import numpy as np
import pytest
import torch
from conftest import rng, seeded
from torch import nn

from unsee.data import as_floats
from unsee.methods import METHODS, _lipschitz
from unsee.methods._lipschitz import steepness
from unsee.training import counting

LIPSCHITZ = METHODS["lipschitz"]


def test_the_slope_of_a_linear_model_and_its_gradient_are_those_of_a_closed_form():
    """For f(x) = Wx and a change d: |Wd| / |d|; seen from x alone its gradient is u x' / |d|."""
    dice = np.random.default_rng(0)
    w, x, d = dice.normal(size=(3, 5)), dice.normal(size=(4, 5)), dice.normal(size=(4, 5))
    weights = torch.tensor(w, requires_grad=True)
    images, change = torch.tensor(x), torch.tensor(d)
    far = ((images + change) @ weights.T).detach()
    found = steepness(images @ weights.T, far, change)
    wanted = np.linalg.norm(d @ w.T, axis=1) / np.linalg.norm(d, axis=1)
    assert np.allclose(found.detach().numpy(), wanted)
    found.sum().backward()
    u = -(d @ w.T) / np.linalg.norm(d @ w.T, axis=1, keepdims=True)
    slope = sum(np.outer(u[n], x[n]) / np.linalg.norm(d[n]) for n in range(4))
    assert np.allclose(weights.grad.numpy(), slope)


def slope(model, data):
    """Return how steep a model is at some images, by noise of this test's own."""
    x = as_floats(data.take(torch.arange(len(data))))
    d = 0.1 * torch.randn(20, *x.shape, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        gaps = [
            (model(x + each) - model(x)).norm(dim=1) / each.flatten(1).norm(dim=1) for each in d
        ]
    return float(torch.stack(gaps).mean())


def test_a_model_grows_deaf_to_noise_on_images_to_forget(trained, patterns):
    after = LIPSCHITZ(trained, patterns.forget, patterns.retain[:0], rng=rng(), lr=1e-3, epochs=10)
    assert slope(after, patterns.forget) < 0.9 * slope(trained.eval(), patterns.forget)


def test_batch_norm_learns_nothing_from_forgotten_images(trained, patterns):
    after = LIPSCHITZ(trained, patterns.forget, patterns.retain[:0], rng=rng())
    for name, module in trained.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            other = after.get_submodule(name)
            assert torch.equal(module.running_mean, other.running_mean)
            assert torch.equal(module.running_var, other.running_var)


def test_dropout_is_no_noise_of_the_image(patterns):
    """With and without dropout the model takes the same steps."""
    ends = []
    for between in (nn.Identity(), nn.Dropout(0.5)):
        net = seeded(lambda between=between: nn.Sequential(nn.Flatten(), between, nn.Linear(64, 3)))
        after = LIPSCHITZ(net, patterns.forget, patterns.retain[:0], rng=rng(), lr=1e-2)
        ends.append(after[2].weight)
    assert torch.equal(*ends)


def test_many_steps_share_the_rate_of_a_few(monkeypatch, trained, patterns):
    rates = []
    monkeypatch.setattr(
        _lipschitz, "descend", lambda model, stream, *, lr, **more: rates.append(lr) or model
    )
    for batch in (24, 8, 2):  # 1, 3 and 12 steps over 24 images
        LIPSCHITZ(
            trained, patterns.forget, patterns.retain, rng=rng(), lr=0.5, batch=batch, max_steps=3
        )
    assert rates == [0.5, 0.5, 0.125]


@pytest.mark.parametrize("draws", [1, 5])
def test_an_image_costs_one_gradient_and_a_look_for_each_draw(trained, patterns, draws):
    with counting() as spent:
        LIPSCHITZ(trained, patterns.forget, patterns.retain, rng=rng(), draws=draws, epochs=2)
    assert sum(spent) == pytest.approx(2 * len(patterns.forget) * (1 + draws / 3))

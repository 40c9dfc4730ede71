"""What makes cola itself: the contrastive loss, and which images it looks at."""

import numpy as np
import pytest
import torch
from conftest import rng

from unsee.errors import OptionError
from unsee.methods import METHODS, _cola
from unsee.methods._cola import contrast
from unsee.training import counting, watched

COLA = METHODS["cola"]


def by_loops(z, labels, temperature):
    """Khosla et al., equation 2, word by word."""
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    n, losses = len(z), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        alike = [j for j in others if labels[j] == labels[i]]
        if alike:
            total = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
            each = [np.log(np.exp(z[i] @ z[p] / temperature) / total) for p in alike]
            losses.append(-sum(each) / len(alike))
    return np.mean(losses)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_loss_is_that_of_the_paper_and_the_lonely_do_not_count(temperature):
    z = torch.randn((9, 4), generator=rng(3))
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])  # one is alone
    found = contrast(z, labels, temperature).item()
    assert found == pytest.approx(by_loops(z.numpy().astype(float), labels.numpy(), temperature))


def test_a_batch_of_single_images_has_no_loss_and_still_a_gradient():
    z = torch.randn((3, 4), generator=rng(4)).requires_grad_()
    loss = contrast(z, torch.arange(3), 0.1)
    loss.backward()
    assert loss.item() == 0 and z.grad.abs().max() == 0


def test_no_temperature_is_refused(trained, patterns):
    with pytest.raises(OptionError, match="temperature as float > 0"):
        COLA(trained, patterns.forget, patterns.retain, rng=rng(), temperature=0)


def test_features_collapse_before_the_output_layer_learns(trained, patterns, monkeypatch):
    learns = []

    def one_step(model, losses, **more):
        next(iter(losses)).backward()
        learns.append([w.grad is not None for w in (model[0][0].weight, model[4].weight)])
        model.zero_grad()
        return model

    monkeypatch.setattr(_cola, "descend", one_step)
    COLA(trained, patterns.forget, patterns.retain, rng=rng())
    assert learns == [[True, False], [True, True]]  # the first layer, the output layer


def test_whoever_watches_sees_models_whose_output_layer_follows(trained, patterns):
    before, shown = trained[4].weight.detach().clone(), []

    def look(model, share):
        shown.append((share, torch.equal(model[4].weight, before)))

    with watched(look):
        COLA(trained, patterns.forget, patterns.retain, rng=rng())
    assert shown == [(1 / 2, False), (3 / 4, False)]


def test_forgotten_images_are_never_looked_at(trained, patterns):
    a = COLA(trained, patterns.forget, patterns.retain, rng=rng(), epochs=1)
    b = COLA(trained, patterns.forget[:1], patterns.retain, rng=rng(), epochs=1, gone=(2,))
    assert all(torch.equal(x, b.state_dict()[key]) for key, x in a.state_dict().items())
    with counting() as spent:
        COLA(trained, patterns.forget, patterns.retain, rng=rng(), epochs=2)
    assert sum(spent) == pytest.approx(1 / 3 + 4 * 48)


def test_cosines_are_not_rounded(trained, patterns, in_bfloat16, monkeypatch):
    kinds = set()

    def noted(z, *more):
        kinds.add((z @ z.T).dtype)
        return contrast(z, *more)

    monkeypatch.setattr(_cola, "contrast", noted)
    COLA(trained, patterns.forget, patterns.retain, rng=rng(), epochs=1)
    assert kinds == {torch.float32}

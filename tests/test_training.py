import copy

import pytest
import torch
from conftest import conv_net, rng, seeded
from torch import nn

from unsee import training
from unsee.data import as_floats, batches
from unsee.errors import DivergenceError, ModelError
from unsee.events import listening
from unsee.models import head
from unsee.training import answers, batch_norm, counting, descend, predict


def statistics(model):
    return torch.stack([model[1].running_mean, model[1].running_var]).clone()


def first(data):
    return as_floats(data.take(torch.arange(1)))


def test_predict_leaves_no_trace(model, split):
    model[1].eval()
    before, modes = statistics(model), [m.training for m in model.modules()]
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    layer, dice = head(model, first(split.forget)), torch.get_rng_state()
    predict(model, split.forget)
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(before, statistics(model))
    assert not layer._forward_hooks and not layer._forward_pre_hooks
    assert all(bool((weight.grad == 1).all()) for weight in model.parameters())
    assert torch.equal(dice, torch.get_rng_state())


def test_predicted_features_go_into_the_head_and_give_the_logits(model, split):
    seen = predict(model, split.forget)
    assert torch.allclose(head(model, first(split.forget))(seen.features), seen.logits)
    with torch.no_grad():
        expected = model.eval()(as_floats(split.forget.take(torch.arange(len(split.forget)))))
    assert torch.allclose(seen.logits, expected, atol=1e-6)
    assert torch.equal(seen.labels, split.forget.labels)


def test_images_of_one_channel_take_the_kernels_of_channels_last_and_weights_lie_as_they_lay(split):
    """One channel alone looks alike in both layouts: without a word of weights all are slow."""
    model = seeded(conv_net)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    before = [(m.weight, m.weight.data_ptr(), m.weight.stride()) for m in convolutions]
    laid = []

    def look(module, _, maps):
        if len(maps) > 1:  # one image was looked at before, to find the output layer
            laid.append(maps.is_contiguous(memory_format=torch.channels_last))

    for module in convolutions:
        module.register_forward_hook(look)
    predict(model, split.forget)
    after = [(m.weight, m.weight.data_ptr(), m.weight.stride()) for m in convolutions]
    assert laid and all(laid)
    assert all(x is y for (x, *_), (y, *_) in zip(before, after, strict=True))
    assert [rest for _, *rest in before] == [rest for _, *rest in after]

    def fail(module, _, maps):
        if len(maps) > 1:
            raise RuntimeError("in the middle")

    convolutions[-1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        predict(model, split.forget)
    assert [m.weight.stride() for m in convolutions] == [lay for *_, lay in before]


def test_the_size_of_batches_changes_no_prediction(model, split):
    whole, parts = (predict(model, split.retain, size=size).logits for size in (512, 5))
    assert torch.allclose(whole, parts, atol=1e-6)


@pytest.mark.parametrize("fast", [False, True], ids=["float32", "bfloat16"])
def test_logits_are_float32_whatever_the_body_computes_in(model, split, monkeypatch, fast):
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: fast)
    seen = predict(model, split.retain)
    assert seen.logits.dtype == seen.features.dtype == torch.float32
    rounded = seen.logits.to(torch.bfloat16).float()
    assert not torch.equal(rounded, seen.logits)  # not rounded: equal losses would tie


def test_a_model_that_answers_with_no_numbers_is_refused(model, split):
    with torch.no_grad():
        model[3].weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"finite logits, got others for 10 of 10 images"):
        predict(model, split.forget)
    assert not model[3]._forward_hooks


def test_normalisation_belongs_to_the_model_and_renames_nothing(model, split):
    assert [*model.state_dict()][:2] == ["1.weight", "1.bias"]
    images = as_floats(split.forget.take(torch.arange(len(split.forget))))
    with torch.no_grad():
        by_hand = images.sub(0.5).div(0.25).flatten(1)
        body = nn.Sequential(*[*model.children()][1:]).eval()
        assert torch.allclose(model.eval()(images), body(by_hand))


@pytest.mark.parametrize(
    "kind, moves, own", [("shared", 1, 1), ("separate", 0, 1), ("frozen", 0, 0)]
)
def test_batch_norm_of_noisy_batches(model, kind, moves, own):
    x, norm, before = torch.randn(8, 16, generator=rng()), model.train()[1], statistics(model)
    with batch_norm(model, kind):
        y = norm(x)
    assert (not torch.equal(before, statistics(model))) == bool(moves)
    assert torch.allclose(y.mean(0), torch.zeros(16), atol=1e-6) == bool(own)
    assert norm.training and norm.track_running_stats


@pytest.mark.parametrize("kind", ["shared", "separate", "frozen"])
def test_one_image_alone_is_normalised_by_the_running_statistics(model, kind):
    model[2].p = 0.0  # no dropout
    x, before = torch.randn(1, 1, 4, 4, generator=rng()), statistics(model)
    y = answers(model.train(), x, kind)
    assert torch.equal(y, model.eval()(x))
    assert torch.equal(before, statistics(model))


def test_losses_are_lazy_and_gradients_are_counted(model, split):
    weights = []
    model.register_forward_pre_hook(training.count_images)

    def losses():
        for x, _ in batches(split.forget, epochs=2, size=5, rng=rng()):
            weights.append(model[3].weight.clone())
            yield model(x).square().mean()

    with counting() as spent:
        descend(model, losses(), lr=0.1)
        assert sum(spent) == 2 * len(split.forget)
        predict(model, split.retain)
    assert not torch.equal(weights[0], weights[1])
    looked = len(split.retain) + 1  # one image shows which layer gives the logits
    assert sum(spent) == pytest.approx(2 * len(split.forget) + looked / 3)
    descend(model, losses(), lr=0.1)
    assert sum(spent) == pytest.approx(2 * len(split.forget) + looked / 3)  # nobody counts now


def rates(monkeypatch, steps, taken, **how):
    """The learning rate of every step that descend takes."""
    used = []
    step = torch.optim.SGD.step

    def noted(self, *args, **more):
        used.append(self.param_groups[0]["lr"])
        return step(self, *args, **more)

    model = nn.Linear(2, 2)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", noted)
        losses = (model(torch.ones(1, 2)).sum() * 0 for _ in range(taken))
        descend(model, losses, steps=steps, **how)
    return used


def test_the_rate_climbs_for_a_quarter_and_falls_to_nothing(monkeypatch):
    used = rates(monkeypatch, 100, 100, lr=0.2)
    top = used.index(max(used))
    assert max(used) == pytest.approx(0.2, rel=0.02) and 20 <= top <= 30
    assert used[: top + 1] == sorted(used[: top + 1])
    assert used[top:] == sorted(used[top:], reverse=True)
    assert used[0] <= 0.2 / 20 and used[-1] < 0.2 / 50
    falls = torch.tensor(used[top + 1 :]).diff()
    assert torch.allclose(falls, falls.mean().expand(len(falls)), atol=1e-5)  # linear


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_cycles_move_the_weights(monkeypatch, steps):
    used = rates(monkeypatch, steps, steps, lr=0.2)
    assert len(used) == steps and max(used) > 0


def test_the_rate_stays_where_nobody_knows_how_many_losses_come(monkeypatch):
    assert rates(monkeypatch, None, 7, lr=0.3) == [0.3] * 7


def test_no_losses_change_nothing(model):
    before = copy.deepcopy(model.state_dict())
    descend(model, [], lr=1.0, steps=0)
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


def test_a_step_is_sgd_with_nesterov_and_decay():
    """Against the update written down by hand: v = 0.9 v + g, w -= lr (g + 0.9 v)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    descend(model, (model.weight.sum() * 3 for _ in range(2)), lr=0.1)
    w, v = 2.0, 0.0
    for _ in range(2):
        g = 3 + 5e-4 * w
        v = 0.9 * v + g
        w -= 0.1 * (g + 0.9 * v)
    assert model.weight.item() == pytest.approx(w)


def broken(model, at, value):
    for step in range(at + 1):
        yield model.weight.sum() * (value if step == at else 1.0)


@pytest.mark.parametrize("at", [0, 3, 60], ids=["first", "fourth", "after a check"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_descent(at, value):
    model = nn.Linear(2, 2)
    with pytest.raises(DivergenceError, match="try a lower rate, such as --set lr=0.005") as caught:
        descend(model, broken(model, at, value), lr=0.02)
    assert caught.value.exit_code == 3


def test_a_last_step_into_the_void_is_noticed_too():
    model = nn.Linear(2, 2)
    with pytest.raises(DivergenceError, match="within 1 steps"):
        descend(model, (model.weight.sum() * 1e30 for _ in range(1)), lr=1e30)


def test_a_model_of_frozen_weights_is_refused_with_the_remedy(model):
    with pytest.raises(ModelError, match=r"requires_grad_\(True\)"):
        descend(model.requires_grad_(False), [], lr=0.1)


def test_frozen_weights_stay_where_others_train(model):
    model[1].requires_grad_(False)
    before = model[1].weight.clone()
    losses = (model(torch.randn(4, 1, 4, 4, generator=rng())).square().mean() for _ in range(3))
    descend(model, losses, lr=0.1)
    assert torch.equal(before, model[1].weight)


def test_training_learns_what_there_is_to_learn(trained, patterns):
    for data in (patterns.retain, patterns.forget, patterns.test):
        seen = predict(trained, data)
        assert float((seen.logits.argmax(1) == seen.labels).float().mean()) > 0.95


def test_progress_is_told_with_what_is_left():
    told = []
    model = nn.Linear(2, 2)
    with listening(told.append):
        descend(model, (model.weight.sum() * 0 for _ in range(4)), lr=0.1, steps=4)
    assert (told[-1].done, told[-1].total) == (4, 4)
    assert told[-1].seconds_left == 0


class Cosine(nn.Linear):
    """An output layer that answers in its own way."""

    def forward(self, x):
        return 10 * nn.functional.linear(
            nn.functional.normalize(x, dim=1), nn.functional.normalize(self.weight, dim=1)
        )


def test_an_output_layer_answers_by_its_own_forward(data):
    model = nn.Sequential(nn.Flatten(), Cosine(data.images[0].numel(), 3, bias=False)).eval()
    some = data.part("test")
    with torch.no_grad():
        wanted = model(as_floats(some.take(torch.arange(len(some)))))
    assert torch.allclose(predict(model, some).logits, wanted, atol=1e-5)


def test_a_model_that_answers_with_more_while_it_trains_is_refused_with_what_to_do():
    class Two(nn.Module):
        def forward(self, x):
            return (x, x) if self.training else x

    with pytest.raises(ModelError, match="return its logits alone, with self.training too"):
        answers(Two().train(), torch.zeros(2, 3))
    assert answers(Two().eval(), torch.zeros(2, 3)).shape == (2, 3)

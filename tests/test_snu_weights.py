"""What makes snu_weights itself: noise in the last stages, and who teaches what stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.special import softmax
from test_cf_k import staged

from unsee.data import as_floats
from unsee.errors import OptionError
from unsee.methods import METHODS, _snu_weights
from unsee.training import counting, predict

WEIGHTS, CFK = METHODS["snu_weights"], METHODS["cf_k"]


def apply(model, split, **more):
    return WEIGHTS(model, split.forget, split.retain, rng=rng(), **more)


def same(a, b):
    return all(x.equal(y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def shuffled(data):
    return replace(data, labels=data.labels.roll(1))


@pytest.mark.parametrize("k, anew", [(0, {"7"}), (1, {"4", "7"}), (9, {"0", "2", "4", "7"})])
def test_noise_takes_the_place_of_the_last_stages_alone(patterns, k, anew):
    torch.manual_seed(0)
    model = staged()
    after = dict(apply(model, patterns, k=k, lr=0.0).named_parameters())
    convolutions = {key: w for key, w in model.named_parameters() if w.dim() > 1}
    moved = {key.split(".")[0] for key, w in convolutions.items() if not w.equal(after[key])}
    assert moved == anew


def test_without_a_teacher_it_is_eu_k_of_all_stages(trained, patterns):
    """The other method with everything drawn anew and nothing frozen."""
    options = {"k": 9, "epochs": 24, "lr": 0.05, "batch": 64}
    ours = apply(trained, patterns, **options | {"epochs": 1}, kd=0.0, plain=0)
    theirs = CFK(trained, patterns.forget, patterns.retain, rng=rng(), anew=True, **options)
    assert same(ours, theirs)  # one batch an epoch: it is passed over 24 times


def test_the_teacher_alone_needs_no_labels_and_labels_alone_no_teacher(trained, patterns):
    wrong = replace(patterns, retain=shuffled(patterns.retain))
    gone = patterns.gone
    by_teacher = [apply(trained, split, kd=1.0, gone=gone) for split in (patterns, wrong)]
    by_labels = [apply(trained, split, kd=0.0, gone=gone) for split in (patterns, wrong)]
    assert same(*by_teacher) and not same(*by_labels)


def test_labels_give_way_to_what_the_original_says_without_the_class(
    monkeypatch, trained, patterns
):
    """Soft labels by scipy, of the original on the images as they are stored."""
    told = []
    monkeypatch.setattr(
        _snu_weights, "cross_entropy", lambda z, q: told.append(q.double()) or z.sum() * 0
    )
    WEIGHTS(trained, patterns.forget, patterns.retain, rng=rng(), gone=(2,), epochs=1, kd=0.25)
    with torch.no_grad():
        images = as_floats(patterns.retain.take(torch.arange(48)))
        logits = trained.eval()(images).double().numpy()
    logits[:, 2] = -np.inf
    labels = np.eye(3)[patterns.retain.labels.numpy()]
    wanted = 0.25 * softmax(logits, axis=1) + 0.75 * labels
    found = torch.cat(told).numpy()[: len(wanted)]  # the first pass
    rows = [np.abs(wanted - row).max(1).argmin() for row in found]
    assert np.allclose(found, wanted[rows], atol=1e-5)
    assert np.allclose(found.sum(0), wanted.sum(0), atol=1e-4)  # each once


def test_the_forget_set_is_never_learned_from(trained, patterns):
    other = replace(patterns.forget, labels=patterns.forget.labels.roll(1))
    other = replace(other, images=255 - torch.as_tensor(patterns.forget.images))
    after = WEIGHTS(trained, other, patterns.retain, rng=rng(), gone=patterns.gone)
    assert same(after, apply(trained, patterns))


def test_the_teacher_knows_no_forgotten_class(trained, patterns):
    """Told by the teacher alone: an original that answers with the class is not followed in it."""
    with torch.no_grad():
        trained[-1].bias[list(patterns.gone)] += 20.0
    (c,) = patterns.gone
    assert bool((predict(trained, patterns.retain).logits.argmax(1) == c).all())
    after = predict(apply(trained, patterns, kd=1.0, epochs=4), patterns.retain)
    assert float((after.logits.argmax(1) == c).double().mean()) < 0.1


def test_an_epoch_costs_a_pass_and_a_look_of_the_teacher(trained, patterns):
    with counting() as spent:
        apply(trained, patterns, epochs=1, batch=2)
    looks = 2  # one image each: to find the stages, and whose weights they hold
    assert sum(spent) == pytest.approx(looks / 3 + len(patterns.retain) * 4 / 3)


@pytest.mark.parametrize("plain, shown", [(0, [0, 0, 0]), (1, [0, 0, 1]), (5, [1, 1, 1])])
def test_the_last_epochs_show_images_as_they_are(trained, patterns, plain, shown):
    retain = replace(patterns.retain, augment=("crop", "flip"))
    known = {row.tobytes() for row in as_floats(retain.images).numpy()}
    seen = []
    hook = trained.register_forward_pre_hook(
        lambda module, args: seen.append([x.numpy().tobytes() in known for x in args[0]])
    )
    WEIGHTS(trained, patterns.forget, retain, rng=rng(), epochs=3, plain=plain, batch=2)
    hook.remove()
    steps = [rows for rows in seen if len(rows) == 2][::2]  # of teacher and pupil, one
    epochs = [steps[i : i + 24] for i in (0, 24, 48)]
    assert [int(all(map(all, epoch))) for epoch in epochs] == shown


def test_a_share_above_one_is_refused(trained, patterns):
    with pytest.raises(OptionError, match=r"kd in 0\.\.1, got 1\.5"):
        apply(trained, patterns, kd=1.5)

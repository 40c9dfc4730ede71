"""The conformance kit: it passes what keeps the promises, and names the one that is broken."""

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee import testing
from unsee.data import as_floats
from unsee.errors import OptionError, PromiseError, UnseeError
from unsee.methods import method as make_method


def made(run, **facts):
    run.__doc__ = run.__doc__ or "Do something."
    return make_method(**{"title": "Some", "paper": "none", "data": "forget"} | facts)(run)


def shrunk(model):
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.9)
    return model


def good(model, forget, retain, *, rng):
    return shrunk(model)


def moves_numpy(model, forget, retain, *, rng):
    np.random.rand()
    return shrunk(model)


def moves_python(model, forget, retain, *, rng):
    random.random()
    return shrunk(model)


def touches_the_images(model, forget, retain, *, rng):
    forget.labels[0] = 1 - forget.labels[0]
    return shrunk(model)


def draws_elsewhere(model, forget, retain, *, rng, dice=np.random.default_rng(0)):  # noqa: B008
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(float(dice.random()))
    return model


def idle(model, forget, retain, *, rng):
    return model


def freezes(model, forget, retain, *, rng):
    return shrunk(model).requires_grad_(False)


def leaves_gradients(model, forget, retain, *, rng):
    cross_entropy(model(as_floats(forget.take(torch.arange(4)))), forget.labels[:4]).backward()
    return shrunk(model)


def leaves_a_hook(model, forget, retain, *, rng):
    model.register_forward_hook(lambda *_: None)
    return shrunk(model)


def in_doubles(model, forget, retain, *, rng):
    return shrunk(model).double()


def wraps(model, forget, retain, *, rng):
    return nn.Sequential(shrunk(model))


def wants_a_buffer(model, forget, retain, *, rng):
    retain.labels.max()
    return shrunk(model)


def wants_many(model, forget, retain, *, rng):
    if len(forget) < 3:
        raise ValueError("too few")
    return shrunk(model)


def breaks_for_many(model, forget, retain, *, rng):
    if len(forget) == 33:
        raise ValueError("two batches")
    return shrunk(model)


def touches_what_is_held_out(model, forget, retain, *, rng, validation=None):
    if validation is not None:
        validation.labels[0] = 1 - validation.labels[0]
    return shrunk(model)


def breaks_for_few(model, forget, retain, *, rng):
    with torch.no_grad():
        next(model.parameters()).mul_(0.9 if len(forget) > 1 else float("nan"))
    return model


def passes_by(model, forget, retain, *, rng):
    images = as_floats(forget.take(torch.arange(len(forget))))
    layers = [*model]
    layers[0].register_forward_pre_hook(lambda *_: None).remove()
    x = images
    for layer in layers:  # the parts, and never the whole
        x = layer(x)
    return shrunk(model)


@pytest.mark.parametrize(
    "run, told",
    [
        (moves_numpy, "leaves everything alone .*numpy's and Python's dice"),
        (moves_python, "leaves everything alone .*numpy's and Python's dice"),
        (touches_the_images, "leaves everything alone .*images"),
        (idle, "changes weights .*no weight has changed"),
        (freezes, "changes weights .*require gradients as before"),
        (leaves_gradients, "changes weights .*no gradients left over"),
        (leaves_a_hook, "changes weights .*the hooks that the model had"),
        (in_doubles, "changes weights .*another number type"),
        (wraps, "changes weights .*the hooks|changes weights .*same names"),
        (wants_many, r"forgets as few .*\(flat network\), got: ValueError: too few"),
        (breaks_for_many, r"forgets as few .*\(convolutional network\), got: ValueError: two"),
        (touches_what_is_held_out, "leaves everything alone .*images"),
        (breaks_for_few, "forgets as few .*numbers that are none"),
        (passes_by, "counts its image gradients .*call the model itself"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_broken_promise_is_named(run, told):
    with pytest.raises(PromiseError, match=told):
        testing.check_method(made(run))


def test_a_buffer_method_has_to_do_without_a_buffer():
    with pytest.raises(PromiseError, match="survives without what it does not declare"):
        testing.check_method(made(wants_a_buffer, data="buffer"))
    testing.check_method(made(wants_a_buffer, data="all"))


def test_dice_of_one_s_own_are_found():
    def draws(model, forget, retain, *, rng):
        return draws_elsewhere(model, forget, retain, rng=rng)

    with pytest.raises(PromiseError, match="is repeatable .*draw from rng"):
        testing.check_method(made(draws))


def test_what_keeps_every_promise_passes():
    testing.check_method(made(good))
    testing.check_method(made(idle), changes=False)
    testing.check_method("head_only")
    with pytest.raises(PromiseError, match="weights have changed"):
        testing.check_method(made(good), changes=False)
    with pytest.raises(OptionError, match="among"):
        testing.check_method("scurb")


@pytest.mark.parametrize(
    "facts, told",
    [({"title": ""}, "a title"), ({"paper": ""}, "a paper"), ({"data": "some"}, "data among")],
)
def test_a_method_says_what_it_is(facts, told):
    with pytest.raises(PromiseError, match=told):
        testing.says_what_it_is(replace(made(copy.copy(good)), **facts))


def test_options_are_typed():
    def untyped(model, forget, retain, *, rng, lr=0.1):
        return model

    def other(model, forget, retain, *, rng, lr: float = 1):
        return model

    def first(forget, model, retain, *, rng):
        return model

    for run, told in ((untyped, "lr: a typed"), (other, "lr: a typed"), (first, "parameters")):
        with pytest.raises(PromiseError, match=told):
            testing.says_what_it_is(made(run))


def test_a_broken_promise_is_a_failed_test_and_an_error_of_unsee():
    assert issubclass(PromiseError, AssertionError) and issubclass(PromiseError, UnseeError)

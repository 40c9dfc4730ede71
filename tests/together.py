"""What tests of distributed jobs run, in the processes that torchrun starts and in their own.

``together.py findings FOLDER`` writes what each process found; ``together.py unsee ...`` is the
command line without drawing, in which ``DIES=N`` lets process 1 die in its N-th step.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from conftest import _trained, conv_net, pattern_data, rng, seeded
from torch import nn

from unsee import cli, distributed, pipeline, ranks, training
from unsee.auditing import audit
from unsee.data import choose
from unsee.errors import WorkerError
from unsee.methods import METHODS
from unsee.models import StageMeans
from unsee.parallel import fan_out

LOOKED_AT = 10  # images at a time: of 48 the last are 8, and the first process has one batch more
TRAINED = {  # batches of 6 and 7 images, so that shares are uneven
    "finetune": {"batch": 7, "epochs": 2},
    "gradient_ascent": {"batch": 7},
    "snu": {"epochs": 2},
    "snu_deep": {"batch": 5, "depth": 0.0},
    "retrain": {"batch": 7, "epochs": 2, "factory": None},
}


def plain_net(*middle):
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        *(*middle, nn.Linear(24, 3)),
    )


def named_net():
    net = plain_net(nn.Linear(24, 24))
    net.unsee_output_layer = "5"
    return net


def twice_net():
    """One layer answers twice: shares come together behind it."""
    last = nn.Linear(3, 3)
    return nn.Sequential(*plain_net(), last, nn.Tanh(), last)


NETS = {
    "plain": (plain_net, tuple(sorted(METHODS.keys() - {"amun"}))),  # it needs answers that differ
    "norm": (conv_net, ("finetune", "snu", "snu_deep")),
    "drawing": (lambda: plain_net(nn.Dropout()), ("finetune", "snu_deep")),
    "named": (named_net, ("finetune",)),
    "twice": (twice_net, ("finetune",)),
}


class Passed:
    """Counts the images that a process takes through a layer with gradients, in copies too."""

    def __init__(self):
        self.images = 0

    def __deepcopy__(self, _):
        return self

    def __call__(self, layer, args, output):
        self.images += len(args[0]) * torch.is_grad_enabled()


def findings():
    """Return what one process computes of a few trainings, answers and audits."""
    split = choose(pattern_data(), "class=c")
    found = {"weights": {}, "spent": {}, "passed": {}}
    for name, (build, methods) in NETS.items():
        for method in methods:
            model, passed = seeded(build), Passed()
            model[0].register_forward_hook(passed)
            with training.counting() as spent:
                done = METHODS[method](
                    model, split.forget, split.retain, rng=rng(), **TRAINED.get(method, {})
                )
            state = [x.double().flatten() for x in done.state_dict().values()]
            found["weights"][f"{name}/{method}"] = torch.cat(state)
            found["spent"][f"{name}/{method}"] = sum(spent)
            found["passed"][f"{name}/{method}"] = passed.images
    with ranks.alone():  # or their weights would differ in the last digit
        known = _trained()
        less = METHODS["snu"](known, split.forget, split.retain, rng=rng())
    means = StageMeans(("0", "1"), torch.tensor([40, 3, 47, 11]))
    with training.counting() as spent, training.counted(known):
        seen = training.predict(known, split.retain, means=means)
    found["seen"] = [seen.logits, seen.features, *means.found().values()]
    found["spent"]["predict"] = sum(spent)
    done = audit(split, original=known, unlearned=less, retrained=seeded(conv_net).eval())
    found["audits"] = done.measurements
    found["arrays"] = done.arrays
    return found


def words():
    """Return what processes told each other."""
    ranks.HEARD *= 0.05
    found = {"told": ranks.told(ranks.rank() + 5), "gathered": ranks.gathered(ranks.rank())}
    found["fan_out"] = [*fan_out(where, range(3), jobs=1)]
    ranks.same("number", 1)
    try:
        ranks.same("number", ranks.rank())
    except WorkerError as error:
        found["differs"] = str(error)
    found["speaks"] = [ranks.speaks("alike"), ranks.speaks(f"{ranks.rank()}"), ranks.leads()]
    return found


def where(item):
    """Return which process does a piece of work, and among how many it thinks it is."""
    return item, ranks.rank(), ranks.world()


def dying(step):
    """Let process 1 die between the passes and the sum of gradients."""
    steps, averaged = [], distributed.averaged

    def counted(weights):
        steps.append(1)
        died = Path(os.environ["DIED"])
        if len(steps) == step and ranks.rank() == 1 and not died.exists():
            died.write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        averaged(weights)

    return counted


def main(verb, *arguments):
    torch.set_num_threads(1)
    training.has_fast_bf16 = lambda device: False
    if verb == "unsee":
        pipeline.pictures_of = lambda run: None
        pipeline.page = lambda run, drawn: "<!doctype html>"
        pipeline.figures = lambda run, drawn: {}
        if "DIES" in os.environ:
            training.averaged = dying(int(os.environ["DIES"]))
        sys.argv = ["unsee", *arguments]
        return cli.main()
    training.predict.__kwdefaults__["size"] = LOOKED_AT
    ranks.begin()
    found = findings() | words()
    torch.save(found, Path(arguments[0], f"{ranks.rank()}.pt"))
    ranks.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

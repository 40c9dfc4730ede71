"""How each package is called: by its own code, on a model and images that are handed to it.

A way gets a model of its own, which normalises by itself, and images that lie in place as floats
in 0..1; a DataLoader of torch hands them out in batches of 128, shuffled, without workers.  It
works for one epoch and returns the model that comes out.  What is not said here is the package's
own default.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

BATCH = 128


@dataclass(frozen=True)
class Job:
    """What a way is handed: images [N, C, H, W], labels [N]."""

    model: nn.Module
    forget: tuple[Tensor, Tensor]
    retain: tuple[Tensor, Tensor]
    classes: int

    def loader(self, *parts: str, labels: int = 1) -> DataLoader[Any]:
        """Return batches of some parts; ``labels`` says how many times each has its label."""
        images, numbers = (torch.cat([getattr(self, part)[n] for part in parts]) for n in range(2))
        return DataLoader(TensorDataset(images, *[numbers] * labels), BATCH, shuffle=True)


def erasus(job: Job, strategy: str) -> nn.Module:
    """Call ``ErasusUnlearner`` as its README does."""
    from erasus import ErasusUnlearner

    unlearner = ErasusUnlearner(model=job.model, strategy=strategy, device="cpu")
    model: nn.Module = unlearner.fit(job.loader("forget"), job.loader("retain"), epochs=1).model
    return model


def supreme_cycle(job: Job, part: str, *, climb: bool) -> nn.Module:
    """Call the loop of its ``finetune`` and ``neg_grad``, for one epoch and not their five.

    It evaluates after every epoch: it is handed 128 images for that.
    """
    from lightning.fabric import Fabric
    from supreme.utils.training.training_utils import fit_one_learning_cycle

    loader = job.loader(part, labels=2)
    looked = TensorDataset(*(x[:BATCH] for x in loader.dataset.tensors))  # type: ignore[attr-defined]
    fit_one_learning_cycle(
        fabric=Fabric(accelerator="cpu", devices=1),
        num_gpus=1,
        epochs=1,
        model=job.model,
        train_dataloader=loader,
        test_dataloader=DataLoader(looked, BATCH),
        lr=0.02,
        milestones=None,
        wandb_logging_flag=False,
        neggrad_flag=climb,
    )
    return job.model


def supreme_dampening(job: Job) -> nn.Module:
    """Call its ``lfssd`` with the paper's alpha and lambda: a pass over what goes, one over all."""
    from lightning.fabric import Fabric
    from supreme.methods.unlearning_methods.lfssd import lfssd

    lfssd(
        fabric=Fabric(accelerator="cpu", devices=1),
        num_gpus=1,
        wandb_logging_flag=False,
        model=job.model,
        forget_train_dataloader=job.loader("forget", labels=2),
        full_train_dataloader=job.loader("forget", "retain", labels=2),
        dampening_constant=1.0,
        selection_weighting=10.0,
    )
    return job.model


def torchunlearn(job: Job, trainer: str, part: str) -> nn.Module:
    """Call one of its trainers as its ``demo.py`` does."""
    found = import_module(f"torchunlearn.unlearn.trainers.{trainer.lower()}")
    import torchunlearn
    from torchunlearn.utils.data import MergedLoaders

    channels = job.forget[0].shape[1]
    none = {"mean": [0.0] * channels, "std": [1.0] * channels}
    robust = torchunlearn.RobModel(job.model, n_classes=job.classes, normalization_used=none)
    work = getattr(found, trainer)(robust)
    work.setup(optimizer="SGD(lr=0.01, momentum=0.9, weight_decay=5e-4)", n_epochs=1)
    loaders = MergedLoaders({part.capitalize(): job.loader(part)})
    work.fit(train_loaders=loaders, n_epochs=1, record_type=None, save_type=None)
    return job.model


@dataclass(frozen=True)
class Package:
    """One package: what is installed, and what it can do of the three things."""

    project: str  # its name on PyPI
    version: str
    needs: tuple[str, ...]  # what it imports that unsee does not bring
    ways: dict[str, Callable[[Job], nn.Module]]


OURS: dict[str, tuple[str, dict[str, Any]]] = {  # what each thing is called here, with options
    "finetune": ("finetune", {"epochs": 1, "batch": BATCH}),
    "ascent": ("gradient_ascent", {"epochs": 1, "batch": BATCH}),
    "dampening": ("ssd", {"importance_of": "outputs", "batch": BATCH}),
}
PACKAGES = {
    "erasus": Package(
        "erasus",
        "0.2.0",
        (),
        {
            "finetune": partial(erasus, strategy="gradient_ascent"),
            "ascent": partial(erasus, strategy="negative_gradient"),
            "dampening": partial(erasus, strategy="ssd"),
        },
    ),
    "supreme": Package(
        "supreme-unlearning",
        "0.1.5",
        (
            *("lightning==2.6.6", "lightning-utilities==0.15.3", "torchmetrics==1.9.0"),
            *("wandb==0.25.1", "platformdirs==4.14.8", "protobuf==6.33.6"),  # to log, and not used
            *("debugpy==1.8.22", "psutil==7.2.2"),
        ),
        {
            "finetune": partial(supreme_cycle, part="retain", climb=False),
            "ascent": partial(supreme_cycle, part="forget", climb=True),
            "dampening": supreme_dampening,
        },
    ),
    "torchunlearn": Package(
        "torchunlearn",
        "0.1.0",
        ("pandas==3.1.1",),
        {
            "finetune": partial(torchunlearn, trainer="Finetune", part="retain"),
            "ascent": partial(torchunlearn, trainer="NegGrad", part="forget"),
        },
    ),
}

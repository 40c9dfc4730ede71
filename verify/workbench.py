"""The method with which ``snu_deep`` was looked for: one switch for every idea of the grid.

    L = CE(f(x_r), t_r)  +  weight * CE(h(z_f), q)  +  original_head * CE(h_0(z_f), q)
        + match * |mean z_f - m|^2  +  adversary * (v (z_f - m))^2  +  anchor * (1 - cos(z_r, z_r0))

Letters are those of ``unsee/methods/_snu_deep.py``, which is what came of it and what to read
first; 0: the original model.  The order in which random numbers are drawn decides the figures of
``docs/evidence/ablation``, so it stays as it is.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.methods._snu import disturbed, told
from unsee.models import head, pixel_unit
from unsee.nouns import Data, Seen
from unsee.training import answers, descend, predict

STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")  # of a ResNet
RIDGE, PACE, QUICK, SETTLED = 0.1, 0.05, 0.9, 64


def workbench(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    lr: float = 0.02,
    batch: int = 32,
    kept: int = 3,
    temperature: float = 1.0,
    weight: float = 1.0,
    original_head: float = 0.0,
    kd: float = 0.0,
    online: bool = False,
    adversary: float = 0.0,
    match: float = 0.0,
    anchor: float = 0.0,
    freeze: int = 0,
    sigma: float = 0.0,
    feature_sigma: float = 0.0,
    mix: float = 0.0,
    share: float = 1.0,
    averaged: float = 0.0,
) -> nn.Module:
    """Change ``model`` in one pass over ``forget``, and return it.

    Args:
        model: a ResNet; is changed.
        forget: all images of whole classes.
        retain: the buffer.
        rng: draws everything.
        gone: the classes.
        lr: the top of one cycle.
        batch: forget images in a batch.
        kept: images of the buffer per forget image.
        temperature: sharpens q, what the original says without the forgotten classes.
        weight: of the forget images' term.
        original_head: of the same term through the original's output layer.
        kd: the teacher's share in what images to keep are told; the rest is their labels.
        online: the teacher sees the same augmented images, not the plain ones once before.
        adversary: of what the discriminant still finds.
        match: of the distance between whitened means, batch by batch.
        anchor: of the angle between features of images to keep, now and of the original.
        freeze: parts that keep their weights: 2 the stem and layer1, 3 layer2 too, 4 layer3 too.
        sigma: the most noise on pixels of forget images, in units of the model's deviation.
        feature_sigma: the most noise on their features, in deviations within classes.
        mix: the most of another image that is mixed into an image to keep.
        share: of the forget images that are seen at all.
        averaged: the share of last steps whose weights are averaged.

    """
    teacher, unit = copy.deepcopy(model).eval(), pixel_unit(model)
    seen, some = predict(model, forget), predict(model, retain)
    q = told("masked", seen.labels, seen.logits / temperature, rng, gone)
    labels = one_hot(some.labels, len(forget.classes))
    plain = (1 - kd) * labels + kd * _without(some.logits, gone).softmax(1)
    stays = Stays(seen, some, len(forget.classes))
    if share < 1:
        pick = torch.randperm(len(forget), generator=rng)[: round(share * len(forget))]
        forget, q = forget[pick.numpy()], q[pick]
    answer, steps = q.mean(0), steps_per_epoch(len(forget), batch)
    one = as_floats(forget.take(torch.arange(1)))
    layer, first = head(model, one), head(teacher, one)
    early = [model.get_submodule(name) for name in STAGES[: freeze + 1]] if freeze else []
    average = Average()

    def losses() -> Iterator[Tensor]:
        keep = batches(_numbered(retain), size=batch * kept, rng=rng)
        stream = batches(_numbered(forget), size=batch, epochs=1, rng=rng)
        for step in range(steps):
            for module in early:
                module.eval()
            x_r, i_r = next(keep)
            told_r = plain[i_r]
            if mix:
                others = torch.randperm(len(x_r), generator=rng)
                other = torch.rand((len(x_r), 1, 1, 1), generator=rng) * mix
                x_r = (1 - other) * x_r + other * x_r[others]
            if online or anchor:
                with torch.no_grad():
                    said, z_r0 = _with_features(teacher, first, _laid_out(x_r))
                if online:
                    told_r = (1 - kd) * labels[i_r] + kd * _without(said.float(), gone).softmax(1)
            x_f, i = next(stream)
            n, q_f = len(x_f), q[i]
            if sigma:
                strength = torch.rand((n, 1, 1, 1), generator=rng)
                x_f = disturbed(x_f, "gaussian", sigma, unit, strength, rng)
            logits, z = _with_features(model, layer, torch.cat([x_f, x_r]))
            noisy = z[:n]  # cut anew for every term: gradients add up in the order of the search
            loss = cross_entropy(logits[n:], told_r)
            if feature_sigma:
                strength = feature_sigma * torch.rand((n, 1), generator=rng)
                noise = strength * stays.deviation * torch.randn(noisy.shape, generator=rng)
                noisy = noisy + noise
                with _in_float32():
                    by_own = linear(noisy, layer.weight, layer.bias)
                    loss = loss + weight * cross_entropy(by_own, q_f)
            else:
                loss = loss + weight * cross_entropy(logits[:n], q_f)
            with _in_float32():
                if original_head:
                    by_original = linear(noisy, first.weight.detach(), first.bias.detach())
                    loss = loss + original_head * cross_entropy(by_original, q_f)
                stays.follow(z[n:].detach(), some.labels[i_r])
                if match:
                    apart = (z[:n].mean(0) - (q_f @ stays.means).mean(0)) @ stays.whitening
                    loss = loss + match * apart.square().mean() * 10
                if adversary:
                    centre, direction = stays.discriminant(z[:n].detach(), answer)
                    along = (z[:n] - centre.float()) @ direction.float()
                    loss = loss + adversary * along.square().mean()
            if anchor:
                angle = 1 - (normalize(z[n:], dim=1) * normalize(z_r0, dim=1)).sum(1)
                loss = loss + anchor * angle.mean()
            if averaged and step > steps * (1 - averaged):
                average.add(model)
            yield loss

    for module in early:
        module.requires_grad_(False)
    done = descend(model, losses(), lr=lr, steps=steps)
    average.into(done.requires_grad_(True))
    return done


class Stays:
    """Features of what stays: class means and spread, which follow the model."""

    def __init__(self, seen: Seen, some: Seen, classes: int) -> None:
        features, labels = some.features, some.labels
        own = [features[labels == c] for c in range(classes)]
        self.means = torch.stack([(x if len(x) else features).mean(0) for x in own])
        apart = features - self.means[labels]
        self.deviation = apart.std(0) + 1e-3
        covariance = apart.T @ apart / len(features)
        self.whitening = _whitening(covariance)
        self.spread, self.forgotten = covariance.double(), seen.features.mean(0).double()
        self.batch: tuple[Tensor, Tensor] | None = None

    def follow(self, z_r: Tensor, labels: Tensor) -> None:
        """Move the means of the classes of one batch."""
        for c in labels.unique().tolist():
            own = labels == c
            new = min(1.0, float(own.sum()) / SETTLED)
            self.means[c] = (1 - new) * self.means[c] + new * z_r[own].mean(0)
        self.batch = z_r, labels

    def discriminant(self, z_f: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Return where forgotten images should be, and along what they are furthest from it."""
        if self.batch is None:
            raise ValueError("Expected a batch of what stays before, got none")
        z_r, labels = self.batch
        apart = (z_r - self.means[labels]).double()
        self.spread = (1 - PACE) * self.spread + PACE * (apart.T @ apart / len(apart))
        self.forgotten = QUICK * self.forgotten + (1 - QUICK) * z_f.double().mean(0)
        centre = (answer @ self.means).double()
        found = torch.linalg.solve(_ridged(self.spread), self.forgotten - centre)
        return centre, found / (found @ self.spread @ found).clamp_min(1e-12).sqrt()


class Average:
    """The mean of weights and statistics over steps."""

    def __init__(self) -> None:
        self.mean: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, model: nn.Module) -> None:
        """Take one more step in."""
        state = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
        self.steps += 1
        for name, value in state.items():
            if self.steps == 1:
                self.mean[name] = value.detach().clone()
            else:
                self.mean[name] += (value - self.mean[name]) / self.steps

    def into(self, model: nn.Module) -> None:
        """Give the model the mean, if there is one."""
        state = model.state_dict()
        for name, value in self.mean.items():
            state[name].copy_(value)


def _ridged(spread: Tensor) -> Tensor:
    return spread + RIDGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)


def _whitening(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(_ridged(covariance).double())
    return (vectors @ torch.diag(values.rsqrt()) @ vectors.T).float()


def _with_features(model: nn.Module, output: nn.Linear, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits, and features before the output layer in float32."""
    features: list[Tensor] = []
    hook = output.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    try:
        return answers(model, images), features[0].float()
    finally:
        hook.remove()


def _without(logits: Tensor, gone: tuple[int, ...]) -> Tensor:
    logits = logits.clone()
    logits[:, list(gone)] = -torch.inf
    return logits


def _numbered(data: Data) -> Data:
    return replace(data, labels=torch.arange(len(data)))


def _laid_out(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _in_float32() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)

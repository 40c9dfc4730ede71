"""Grad-CAM (Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391), equations 1 and 2."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unsee.data import as_floats
from unsee.errors import ModelError
from unsee.nouns import Data
from unsee.training import device_of, switched_off

GRID = 4  # a map of fewer pixels a side shows no place


def explained_layer(model: nn.Module, images: Tensor) -> str:
    """Return the deepest module whose output still has a useful spatial size, 4 x 4 or more.

    Args:
        model: stays as it is.
        images: ``[B, C, H, W]`` to run it on; one is enough.

    Raises:
        ModelError: if no module gives maps ``[B, C, h, w]`` of that size.

    """
    ended: dict[str, torch.Size] = {}  # in the order of each module's last call

    def note(name: str, output: object) -> None:
        ended.pop(name, None)  # one ReLU may serve many layers: what counts is its last output
        if isinstance(output, Tensor):
            ended[name] = output.shape

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad(), switched_off(model.modules(), "training"):
            model(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    useful = [name for name, shape in ended.items() if len(shape) == 4 and min(shape[2:]) >= GRID]
    if not useful:
        raise ModelError(
            f"Expected a layer with maps of at least {GRID} x {GRID}, got none: "
            "there is nothing to explain by Grad-CAM"
        )
    return useful[-1]


@contextmanager
def _caught(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module puts out, as a leaf of the graph that follows.

    What follows gets a copy, since it may write into it: an in-place ReLU must not reach the leaf.
    """
    outputs: list[Tensor] = []

    def catch(_: nn.Module, __: object, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1].clone()

    hook = module.register_forward_hook(catch)
    try:
        yield outputs
    finally:
        hook.remove()


def gradcam(
    model: nn.Module,
    data: Data,
    classes: Tensor | None = None,
    *,
    layer: str | None = None,
    size: int = 128,
) -> Tensor:
    """Return where ``model`` finds evidence for a class, in units of that class's logit.

    The weight of a channel is the mean gradient of the logit (equation 1); a map is the positive
    part of the weighted sum of the channels (equation 2).  It is not scaled: a scale per image
    would hide that the evidence is gone.

    Args:
        model: keeps its modes, hooks and gradients.
        data: N images.
        classes: ``[N]`` whose logits to explain; None: those that the model answers.
        layer: whose output to look at; None: as :func:`explained_layer` chooses.
        size: images at a time.

    Returns:
        ``[N, h, w]`` float32 >= 0 on the CPU, of the layer's own resolution.

    """
    device = device_of(model)
    exact = torch.autocast(device.type, enabled=False)  # whatever the caller works in
    layer = layer or explained_layer(model, as_floats(data.take(torch.arange(1)).to(device)))
    maps = []
    with switched_off(model.modules(), "training"), _caught(model.get_submodule(layer)) as outputs:
        for rows in torch.arange(len(data)).split(size):
            outputs.clear()
            with torch.enable_grad(), exact:
                logits = model(as_floats(data.take(rows).to(device)))
                asked = logits.argmax(1) if classes is None else classes[rows].to(device)
                scores = logits.gather(1, asked[:, None]).sum()
                (gradient,) = torch.autograd.grad(scores, outputs[-1])
            weights = gradient.mean((2, 3), keepdim=True)
            maps.append((weights * outputs[-1]).sum(1).relu().detach().float().cpu())
    return torch.cat(maps)


def saliency(model: nn.Module, data: Data) -> Tensor:
    """Return ``[N, 1, H, W]`` in 0..1: where the true class is read, strongest 1 in every image.

    An image without any evidence gets 1 everywhere: there is no place to prefer.
    """
    maps = gradcam(model, data, data.labels.cpu())[:, None]
    maps = interpolate(maps, [*data.images.shape[2:]], mode="bilinear")
    top = maps.amax((2, 3), keepdim=True)
    return torch.where(top > 0, maps / top.clamp_min(1e-12), 1.0)

"""Grad-CAM (Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391), equations 1 and 2.

Of a layer of tokens the same: what stands for no place is left out, and the channels of the others
are laid out over the image as maps (as ``reshape_transform`` of pytorch-grad-cam does).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unsee.data import as_floats
from unsee.errors import ModelError
from unsee.explanation._layers import explained_layer
from unsee.models import places
from unsee.nouns import Data
from unsee.training import device_of, switched_off

BATCH = 64  # images at a time
Question = tuple[Tensor | None, Sequence[str]]  # classes (None: the answered ones), layers


@contextmanager
def _caught(model: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what modules put out, all in one graph; the first of them to run is its leaf.

    What follows gets a copy, since it may write into it: an in-place ReLU must not reach the map.
    """
    outputs: dict[str, Tensor] = {}

    def catch(name: str, output: Tensor) -> Tensor:
        outputs[name] = output if output.requires_grad else output.detach().requires_grad_()
        return outputs[name].clone()

    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: catch(name, output)
        )
        for name in layers
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def gradcams(
    model: nn.Module, data: Data, questions: Sequence[Question], *, size: int = BATCH
) -> list[dict[str, Tensor]]:
    """Return the maps of :func:`gradcam` for several classes and layers, by one forward pass.

    Each question costs one backward pass, from the logits to the earliest of its layers.

    Args:
        model: keeps its modes, hooks and gradients.
        data: N images.
        questions: the classes ``[N]`` whose logits to explain, None for those that the model
            answers; and the layers whose outputs to look at.
        size: images at a time.

    Returns:
        For each question, by the name of the layer, ``[N, h, w]`` float32 >= 0 on the CPU.

    """
    layers = dict.fromkeys(name for _, names in questions for name in names)
    found: list[dict[str, list[Tensor]]] = [{name: [] for name in names} for _, names in questions]
    with (
        switched_off(model.modules(), "training"),
        switched_off(model.parameters(), "requires_grad"),  # the graph is one of maps alone
        _caught(model, layers) as outputs,
    ):
        for rows in torch.arange(len(data)).split(size):
            batch = _explained(model, data, rows, questions, outputs)
            for maps, new in zip(found, batch, strict=True):
                for name, some in new.items():
                    maps[name].append(some)
    return [{name: torch.cat(batches) for name, batches in maps.items()} for maps in found]


def _explained(
    model: nn.Module,
    data: Data,
    rows: Tensor,
    questions: Sequence[Question],
    outputs: dict[str, Tensor],
) -> list[dict[str, Tensor]]:
    """Answer the questions for one batch; its graph goes with this function."""
    device = device_of(model)
    found = []
    # Whatever the caller works in, and a layer that the logits do not hang on has no evidence.
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        images = as_floats(data.take(rows).to(device))
        logits = model(images)
        for classes, names in questions:
            asked = logits.argmax(1) if classes is None else classes[rows].to(device)
            scores = logits.gather(1, asked[:, None]).sum()
            caught = [outputs[name] for name in names]
            slopes = torch.autograd.grad(
                scores, caught, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            found.append(
                {
                    name: _map(slope, output, images.shape)
                    for name, slope, output in zip(names, slopes, caught, strict=True)
                }
            )
    outputs.clear()
    return [{name: m.detach().float().cpu() for name, m in maps.items()} for maps in found]


def _map(slope: Tensor, output: Tensor, images: torch.Size) -> Tensor:
    """Return ``[B, h, w]``: equations 1 and 2."""
    where = places(output.shape, images)
    if where is None:
        raise ModelError(
            f"Expected a layer with maps or tokens to explain, got one that puts out "
            f"{[*output.shape]}: name another"
        )
    slope, output = where.maps(slope), where.maps(output)
    return (slope.mean((2, 3), keepdim=True) * output).sum(1).relu()


def gradcam(
    model: nn.Module,
    data: Data,
    classes: Tensor | None = None,
    *,
    layer: str | None = None,
    size: int = BATCH,
) -> Tensor:
    """Return where ``model`` finds evidence for a class, in units of that class's logit.

    The weight of a channel is the mean gradient of the logit (equation 1); a map is the positive
    part of the weighted sum of the channels (equation 2), over the tokens of places where the layer
    puts out tokens.  It is not scaled: a scale per image
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
    first = as_floats(data.take(torch.arange(1)).to(device_of(model)))
    layer = layer or explained_layer(model, first)
    return gradcams(model, data, [(classes, [layer])], size=size)[0][layer]


def saliency(model: nn.Module, data: Data) -> Tensor:
    """Return ``[N, 1, H, W]`` in 0..1: where the true class is read, strongest 1 in every image.

    An image without any evidence gets 1 everywhere: there is no place to prefer.
    """
    maps = gradcam(model, data, data.labels.cpu())[:, None]
    maps = interpolate(maps, [*data.images.shape[2:]], mode="bilinear")
    top = maps.amax((2, 3), keepdim=True)
    return torch.where(top > 0, maps / top.clamp_min(1e-12), 1.0)

"""Which layer of a network Grad-CAM looks at, of maps or of tokens."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unsee.errors import ModelError
from unsee.models import blocks, places, stages
from unsee.training import switched_off

GRID = 4  # a map of fewer pixels a side shows no place


def explained_layer(model: nn.Module, images: Tensor) -> str:
    """Return the layer to explain: the last that still says where it sees something.

    * Of maps, the deepest module whose output still has a useful spatial size, 4 x 4 or more.
    * Of tokens, what the last block attends to: the norm before its attention, or, where it begins
      with none, what the block before puts out.  Behind that attention a class token alone decides,
      and the gradient of all others is 0; the same layer is the choice of pytorch-grad-cam for ViT
      (https://github.com/jacobgil/pytorch-grad-cam/blob/master/tutorials/vision_transformers.md).

    Args:
        model: stays as it is.
        images: ``[B, C, H, W]`` to run it on; one is enough.

    Raises:
        ModelError: if no module gives maps or tokens of that size.

    """
    return _with_maps(model, images)[-1]


def mapped_stages(model: nn.Module, images: Tensor) -> list[str]:
    """Return those of :func:`unsee.models.stages` with maps of 4 x 4 or more, in running order.

    Args:
        model: stays as it is.
        images: ``[B, C, H, W]`` to run it on; one is enough.

    Returns:
        Names of modules; the last one is that of :func:`explained_layer`, and none runs after it.

    Raises:
        ModelError: if there is none.

    """
    useful = _with_maps(model, images)
    names = [name for name in stages(model, images) if name in useful[:-1]]
    return [*names, useful[-1]]


def _with_maps(model: nn.Module, images: Tensor) -> list[str]:
    """Return the modules with a useful size up to that to explain, in order of their last calls."""
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
    useful = {name: shape for name, shape in ended.items() if _is_useful(shape, images.shape)}
    repeated = blocks(model, images)
    if repeated:
        found = _up_to(_attended(model, repeated, useful), useful)
    else:
        found = [name for name, shape in useful.items() if len(shape) == 4]
    if not found:
        raise ModelError(
            f"Expected a layer with maps of at least {GRID} x {GRID}, got none, nor blocks of as "
            "many tokens: there is nothing to explain by Grad-CAM"
        )
    return found


def _is_useful(shape: torch.Size, images: torch.Size) -> bool:
    where = places(shape, images)
    return where is not None and min(where.height, where.width) >= GRID


def _attended(
    model: nn.Module, repeated: Sequence[str], useful: Mapping[str, torch.Size]
) -> str | None:
    """Return the norm with which the last of these blocks begins; else the block before it."""
    *before, last = repeated
    earlier = [name for name in before if name in useful]
    inside = [name for name in useful if name.startswith(f"{last}.")]
    first = next((name for name in inside if useful[name] == useful.get(last)), None)
    weights = [] if first is None else [*model.get_submodule(first).parameters()]
    if weights and all(weight.dim() == 1 for weight in weights):
        return first
    return earlier[-1] if earlier else None


def _up_to(layer: str | None, useful: Mapping[str, torch.Size]) -> list[str]:
    names = [*useful]
    return [] if layer is None else names[: names.index(layer) + 1]

"""What a model says of images before its output layer, with the graph behind it."""

from torch import Tensor, nn

from unsee.training import answers


def features(model: nn.Module, output: nn.Linear, images: Tensor) -> Tensor:
    """Return ``[B, D]`` float32: what goes into ``output``, the output layer of ``model``."""
    caught: list[Tensor] = []
    hook = output.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        answers(model, images)
    finally:
        hook.remove()
    return caught[0].float()

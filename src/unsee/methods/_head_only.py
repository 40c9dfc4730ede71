import torch
from torch import nn

from unsee.data import as_floats
from unsee.errors import ModelError
from unsee.methods._method import method
from unsee.models import head
from unsee.nouns import Data

NEVER = -1e4


@method(
    title="Output layer only",
    paper="control: only the probes see through it",
    data="forget",
    whole_classes=True,
)
def head_only(model: nn.Module, forget: Data, retain: Data, *, rng: torch.Generator) -> nn.Module:
    """Never answer with a forgotten class, and still know all about it.

    For whole classes alone: images of a class that stays cannot be told from the others here.
    """
    output = head(model, as_floats(forget.take(torch.arange(1))))
    if output.bias is None:
        raise ModelError("Expected an output layer with a bias for head_only, got one without")
    with torch.no_grad():
        output.bias[forget.labels.unique()] = NEVER
    return model

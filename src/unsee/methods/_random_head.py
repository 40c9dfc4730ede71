import torch
from torch import nn

from unsee.data import as_floats
from unsee.methods._method import method
from unsee.models import head
from unsee.nouns import Data


@method(title="New output layer", paper="control: a verdict must call it damaged", data="forget")
def random_head(model: nn.Module, forget: Data, retain: Data, *, rng: torch.Generator) -> nn.Module:
    """Draw the output layer anew, and lose everything with what was to be lost."""
    head(model, as_floats(forget.take(torch.arange(1)))).reset_parameters()
    return model

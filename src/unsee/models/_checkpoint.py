"""Checkpoints: read with suspicion, write as they came."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, nn

from unsee.errors import ModelError

KEY = "unsee"  # of the metadata: arch, mean, std, classes as JSON


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights as a file holds them, and what it says about them."""

    state: dict[str, Tensor]  # by the model's own names
    facts: dict[str, Any] = field(default_factory=dict)  # arch, mean, std, classes
    prefix: str = ""  # what stood before every name: "module."
    nest: str = ""  # the key that the weights lay under: "state_dict"

    def into(self, model: nn.Module) -> nn.Module:
        """Load the weights into ``model`` and return it in eval mode.  Raises ModelError."""
        own = model.state_dict()
        missing, extra = own.keys() - self.state.keys(), self.state.keys() - own.keys()
        shapes = [
            f"{name}: {tuple(self.state[name].shape)} for {tuple(own[name].shape)}"
            for name in own.keys() & self.state.keys()
            if self.state[name].shape != own[name].shape
        ]
        if missing or extra or shapes:
            parts = {
                "missing": sorted(missing),
                "unexpected": sorted(extra),
                "shape": sorted(shapes),
            }
            told = "; ".join(f"{k} {len(v)}: {v[:5]}" for k, v in parts.items() if v)
            raise ModelError(
                f"Expected the weights of this architecture (--arch), got others: {told}"
            )
        model.load_state_dict(self.state)
        return model.eval()

    def like(self, model: nn.Module) -> "Checkpoint":
        """Return the weights of ``model`` with the names and number types of this checkpoint."""
        state = {
            name: tensor.to(self.state[name].dtype) if name in self.state else tensor
            for name, tensor in model.state_dict().items()
        }
        return Checkpoint(state, self.facts, self.prefix, self.nest)


def read(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` file, or a ``.pt`` state dict without running what it pickles.

    Raises:
        ModelError: if it is neither, is damaged, or holds numbers that are not finite.

    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    facts = json.loads(header.get("__metadata__", {}).get(KEY, "{}"))
    return Checkpoint(load(content), facts)


def pack(checkpoint: Checkpoint) -> bytes:
    """Return a safetensors file: the same bytes for the same weights and facts."""
    state = {checkpoint.prefix + n: t.contiguous() for n, t in checkpoint.state.items()}
    metadata = {KEY: json.dumps(checkpoint.facts, sort_keys=True)} if checkpoint.facts else None
    return save(state, metadata)

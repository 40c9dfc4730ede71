"""Where random numbers come from: one generator for each purpose."""

import hashlib

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator for one purpose alone: a new audit leaves all other draws as they were."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

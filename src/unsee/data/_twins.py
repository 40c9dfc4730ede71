"""Find images with exactly the same pixels."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from unsee.nouns import Data


def pixel_digests(data: Data) -> NDArray[np.uint64]:
    """Return one short digest ``[N]`` per image: equal where all pixels are equal."""
    sha256 = hashlib.sha256  # faster than blake2b: processors have instructions for it
    digests = [sha256(image).digest()[:8] for block in data.blocks() for image in block]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)

"""A worker with a pipeline of 50 ms, to be killed: no torch, so it is there at once."""

import hashlib
import time
from pathlib import Path

from unsee.folder import write
from unsee.ledger import Ledger, Worker
from unsee.nouns import Run

SECONDS = 0.05


def pipeline(config, folder):
    """Write the files that a run writes, each a digest of what it depends on."""
    folder.mkdir(parents=True, exist_ok=True)
    if config.model is None:
        write(folder / "original.safetensors", b"original")
    time.sleep(SECONDS)
    before = b"original" if config.model is None else Path(config.model).read_bytes()
    made = hashlib.sha256(before + config.forget.encode()).hexdigest().encode()
    write(folder / "model.safetensors", made)
    return Run(data={}, forget={}, measurements={}, environment={}, seed=0)


def work(url, folder, name, lease, poll=0.02):
    """Serve until killed."""
    with Ledger(url, create=False) as ledger:
        worker = Worker(ledger, Path(folder), name=name, run=pipeline, lease=lease, poll=poll)
        worker.serve()

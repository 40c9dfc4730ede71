"""Write what `unsee methods` says of each method, from the methods; with --check only compare."""

import json
import sys

from unsee.cli._tables import CATALOGUE, described
from unsee.methods import METHODS


def text() -> str:
    """Return the text of the file: an object for every method, by its name, in order."""
    known = {name: described(method) for name, method in METHODS.items()}
    return json.dumps(known, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        stale = CATALOGUE.read_text(encoding="utf-8") != text()
        sys.exit(stale and f"{CATALOGUE} is stale: run this script")
    CATALOGUE.write_text(text(), encoding="utf-8")

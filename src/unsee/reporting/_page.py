from unsee.nouns import Run


def page(run: Run) -> str:
    """Return HTML."""
    return "<!doctype html><title>unsee</title>"

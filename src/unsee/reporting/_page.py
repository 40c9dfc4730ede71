"""The page: what each part of the template is given."""

from pathlib import Path

from unsee.folder import write
from unsee.nouns import Run
from unsee.reporting import _tables as tables
from unsee.reporting._figures import Pictures, pictures_of
from unsee.reporting._maps import native
from unsee.reporting._redact import REDACTED, is_redacted, redacted
from unsee.reporting._strip import READING, WARNING
from unsee.reporting._style import CONTROL, MISSING, models
from unsee.reporting._template import template
from unsee.reporting._verdict import HEAD, light
from unsee.reporting._words import asked, result


def page(run: Run, drawn: Pictures | None = None) -> str:
    """Return one HTML page that needs nothing else: no script, no font, no request.

    Shows the forgotten images, where the run has them: see :func:`redacted`.

    Args:
        run: what to tell of.
        drawn: what :func:`pictures_of` made of it, to draw nothing twice.

    """
    control = CONTROL in run.measurements
    return template("page.html.jinja").render(
        run=run,
        result=result(run),
        light=light(run),
        audit_head=HEAD,
        asked=asked(run),
        models=models(run),
        control=control,
        pictures=drawn or pictures_of(run),
        strip_reading=READING,
        strip_warning=WARNING,
        native=native(run),
        averages=tables.table(run, tables.AVERAGES, control=True),
        references=tables.references(run),
        costs=tables.costs(run),
        ratio=tables.ratios(run),
        peak=_peak(run),
        groups=tables.measurements(run),
        settings=tables.settings(run),
        environment=[(key, str(value)) for key, value in sorted(run.environment.items())],
        notes=[note for note in run.notes if note != REDACTED],
        redacted=is_redacted(run),
        shown=len(run.arrays.get("pictures/forget/images", ())),
    )


def report(run: Run, path: str | Path, *, redact: bool = False) -> Path:
    """Write the page of a run to a file, whole or not at all.

    Args:
        run: as :func:`unsee.run` or :func:`unsee.audit` returned it, or read from a folder.
        path: of the HTML file.
        redact: leave out every forgotten image and id, so that others may see the page.

    Returns:
        The path.

    Raises:
        StorageError: if the disk refuses; the file is as it was.

    """
    path = Path(path)
    write(path, page(redacted(run) if redact else run).encode())
    return path


def _peak(run: Run) -> str:
    if run.peak_memory is None:
        return MISSING
    anonymous = run.peak_anonymous
    told = "" if anonymous is None else f", {anonymous / 2**30:.2f} GiB of it anonymous"
    return f"{run.peak_memory / 2**30:.2f} GiB{told}"

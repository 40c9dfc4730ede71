"""Tables of Parquet or Arrow files, in memory where they fit and mapped where they do not."""

import mmap
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet

from unsee.data._store import stays
from unsee.errors import StorageError
from unsee.events import warn

ROWS = 256  # of a Parquet file that are in memory at a time while it is laid out


def files_of(place: Path, part: str) -> list[Path]:
    """Return the files of one part: ``PART*.parquet`` or ``PART*.arrow``, also in ``data``.

    Or, as ``datasets`` of Hugging Face saves them, ``PART/data-*.arrow``.
    """
    forms = [
        (f"{part}*.parquet", f"data/{part}*.parquet"),
        (f"{part}*.arrow", f"data/{part}*.arrow", f"{part}/data-*.arrow"),
    ]
    for patterns in forms:
        if found := sorted(path for pattern in patterns for path in place.glob(pattern)):
            return found
    return []


def table_of(paths: Sequence[Path]) -> arrow.Table:
    """Return all rows of some files of one schema.

    Arrow files are mapped.  Parquet files are packed, so they cannot be: they are read into memory,
    or laid out once in a file without a name that goes with this process.

    Raises:
        pyarrow.ArrowException, OSError, ValueError: if a file is damaged.
        StorageError: if there is no room to lay them out.

    """
    if paths[0].suffix == ".arrow":
        return arrow.concat_tables([_mapped(path) for path in paths])
    files = [arrow.parquet.ParquetFile(path, memory_map=True) for path in paths]
    size = sum(
        file.metadata.row_group(n).total_byte_size
        for file in files
        for n in range(file.metadata.num_row_groups)
    )
    if stays(size):
        return arrow.concat_tables([file.read() for file in files])
    return _laid_out(files, size)


def _mapped(path: Path) -> arrow.Table:
    """Map a file in either of Arrow's formats, of which streams are what ``datasets`` writes."""
    source = arrow.memory_map(str(path))
    try:
        return arrow.ipc.open_file(source).read_all()
    except arrow.ArrowInvalid:
        source.seek(0)
        return arrow.ipc.open_stream(source).read_all()


def _laid_out(files: Sequence[arrow.parquet.ParquetFile], size: int) -> arrow.Table:
    where = tempfile.gettempdir()
    warn(
        f"{size:,} bytes of encoded images are too many for the memory: they are laid out in a "
        f"file in {where} that has no name and goes with this process (TMPDIR names another)"
    )
    with tempfile.TemporaryFile() as file:
        try:
            with arrow.ipc.new_file(arrow.PythonFile(file, "w"), files[0].schema_arrow) as writer:
                for parquet in files:
                    for rows in parquet.iter_batches(ROWS):
                        writer.write_batch(rows)
            file.flush()
        except OSError as error:
            raise StorageError(
                f"Expected room for {size} bytes in {where}, got {error}: TMPDIR names another "
                "place, and Arrow files (*.arrow) need none"
            ) from error
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # outlives the file
    return arrow.ipc.open_file(arrow.py_buffer(pages)).read_all()

"""Tables of Parquet or Arrow files, in memory where they fit and mapped where they do not."""

import mmap
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet

from unsee.errors import StorageError

ROWS = 256  # of a Parquet file that are in memory at a time while it is laid out


def files_of(place: Path, part: str) -> list[Path]:
    """Return the files of one part: ``PART*.parquet`` or ``PART*.arrow``, also in ``data``.

    Or, as ``datasets`` of Hugging Face saves them, ``PART/data-*.arrow``.  Validation may be
    ``val-*``, too.
    """
    names = ("validation*", "val-*") if part == "validation" else (f"{part}*",)
    for form in (("{}.parquet", "data/{}.parquet"), ("{}.arrow", "data/{}.arrow")):
        patterns = [each.format(name) for each in form for name in names]
        if form[0].endswith(".arrow"):
            patterns.append(f"{part}/data-*.arrow")
        if found := sorted(path for pattern in patterns for path in place.glob(pattern)):
            return found
    return []


def sizes_of(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the bytes of memory and the rows of some Parquet files; of Arrow files, none.

    Raises:
        pyarrow.ArrowException, OSError, ValueError: if a file is damaged.

    """
    if paths[0].suffix == ".arrow":
        return 0, 0
    found = [arrow.parquet.read_metadata(path, memory_map=True) for path in paths]
    groups = [x.row_group(n) for x in found for n in range(x.num_row_groups)]
    return sum(x.total_byte_size for x in groups), sum(x.num_rows for x in groups)


def first_of(paths: Sequence[Path]) -> arrow.Table:
    """Return the first row of some files, or none where they have none."""
    if paths[0].suffix == ".arrow":
        return _mapped(paths[0])[:1]
    file = arrow.parquet.ParquetFile(paths[0], memory_map=True)
    return arrow.Table.from_batches([*islice(file.iter_batches(1), 1)], file.schema_arrow)


def table_of(paths: Sequence[Path], *, kept: bool) -> arrow.Table:
    """Return all rows of some files of one schema.

    Arrow files are mapped.  Parquet files are packed, so they cannot be.

    Args:
        paths: the files.
        kept: whether Parquet files are read into memory; else they are laid out once, in a file
            without a name that goes with this process.

    Raises:
        pyarrow.ArrowException, OSError, ValueError: if a file is damaged.
        StorageError: if there is no room to lay them out.

    """
    if paths[0].suffix == ".arrow":
        return arrow.concat_tables([_mapped(path) for path in paths])
    files = [arrow.parquet.ParquetFile(path, memory_map=True) for path in paths]
    if kept:
        return arrow.concat_tables([file.read() for file in files])
    return _laid_out(files)


def _mapped(path: Path) -> arrow.Table:
    """Map a file in either of Arrow's formats, of which streams are what ``datasets`` writes."""
    source = arrow.memory_map(str(path))
    try:
        return arrow.ipc.open_file(source).read_all()
    except arrow.ArrowInvalid:
        source.seek(0)
        return arrow.ipc.open_stream(source).read_all()


def _laid_out(files: Sequence[arrow.parquet.ParquetFile]) -> arrow.Table:
    where = tempfile.gettempdir()
    with tempfile.TemporaryFile() as file:
        try:
            with arrow.ipc.new_file(arrow.PythonFile(file, "w"), files[0].schema_arrow) as writer:
                for parquet in files:
                    for rows in parquet.iter_batches(ROWS):
                        writer.write_batch(rows)
            file.flush()
        except OSError as error:
            raise StorageError(
                f"Expected room for unpacked Parquet files in {where}, got {error}: TMPDIR names "
                "another place, and Arrow files (*.arrow) need none"
            ) from error
        arrow.default_memory_pool().release_unused()  # the batches are gone, their memory stayed
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # outlives the file
    return arrow.ipc.open_file(arrow.py_buffer(pages)).read_all()

"""Text files that people write: ids, class names, tables."""

from pathlib import Path

from unsee.errors import UnseeError

WIDE = (b"\xff\xfe", b"\xfe\xff")  # how UTF-16 starts


def text_of(path: Path, what: str, error: type[UnseeError]) -> str:
    """Return the text of a UTF-8 file, with or without a mark at its start, or of a UTF-16 one.

    Args:
        path: of an ordinary file: a pipe or a device could go on for ever.
        what: it holds, for the error.
        error: the kind to raise.

    Raises:
        UnseeError: of the kind ``error``, if it cannot be read.

    """
    try:
        if path.exists() and not path.is_file():
            raise error(f"Expected a text file of {what} at {path}, got something else")
        content = path.read_bytes()
        return content.decode("utf-16" if content.startswith(WIDE) else "utf-8-sig")
    except error:
        raise
    except (OSError, ValueError) as reason:  # ValueError: not of that encoding, or a NUL in path
        raise error(f"Expected a text file of {what} at {path}, got {reason}") from reason


def lines_of(path: Path, what: str, error: type[UnseeError]) -> list[str]:
    """Return the lines of such a file without space around them; empty ones are left out.

    Only line feeds and carriage returns end a line: names may hold every other character.
    """
    lines = text_of(path, what, error).replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]

"""A method from one file outside the package: ``path.py:name``, wherever a method has a name."""

import hashlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

from unsee.errors import OptionError
from unsee.methods._method import Method

ENDING = ".py:"
ADVICE = "decorate the function with @unsee.method(title=..., paper=...)"


def own_file(name: str | Method) -> Path | None:
    """Return the file that a method's name points to, None for one of the package.

    >>> own_file("mine/forget.py:forget")
    PosixPath('mine/forget.py')
    >>> own_file("snu")

    """
    if isinstance(name, Method) or ENDING not in name:
        return None
    return Path(name.rpartition(":")[0])


def own_digest(name: str | Method) -> str | None:
    """Return the SHA-256 of the file that a method's name points to, None for one of the package.

    Raises:
        OptionError: if the file cannot be read.

    """
    file = own_file(name)
    return None if file is None else hashlib.sha256(_read(file, str(name))).hexdigest()


def own_method(name: str) -> Method:
    """Run the file of ``path.py:name`` as a module of its own, and return the method in it.

    ``sys.path`` stays as it is and nothing is written beside the file.  The module is kept by the
    digest of its text: the same text is run once a process, a changed one anew.

    Raises:
        OptionError: if the file cannot be read or run, or holds no such method.

    """
    path, _, called = name.rpartition(":")
    content = _read(Path(path), name)
    key = f"unsee_own_{hashlib.sha256(content + path.encode()).hexdigest()[:16]}"
    if key not in sys.modules:
        module = module_from_spec(ModuleSpec(key, None, origin=path))
        module.__file__ = path
        sys.modules[key] = module  # dataclasses and pickles look their module up there
        try:
            exec(compile(content, path, "exec", dont_inherit=True), vars(module))
        except Exception as error:
            del sys.modules[key]
            raise OptionError(
                f"Expected a Python file that runs for --method {name}, got "
                f"{type(error).__name__}{_line(error, path)}: {error}. It is run by itself: what "
                "it imports has to be installed"
            ) from error
    found = vars(sys.modules[key])
    if isinstance(method := found.get(called), Method):
        return method
    methods = [key for key, value in found.items() if isinstance(value, Method)]
    if called in found:
        kind = type(found[called]).__name__
        raise OptionError(f"Expected a method in {name}, got a {kind}: {ADVICE}")
    raise OptionError(
        f"Expected the name of a method in {path} among {methods}, got {called!r}"
        + ("" if methods else f": {ADVICE}")
    )


def _read(file: Path, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise OptionError(
            f"Expected a readable file for --method {name}, got {error}: name it as path.py:name"
        ) from error


def _line(error: Exception, path: str) -> str:
    """Return the last line of the file that the error came through, in words."""
    lines, trace = [error.lineno] if isinstance(error, SyntaxError) else [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" in line {lines[-1]}" if lines else ""

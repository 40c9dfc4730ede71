"""Read a pickle without running it.

A pickle is a program for a small stack machine, and one of its instructions calls any function by
name.  This machine knows the instructions that ``torch.save`` writes for a state dict and calls
nothing: it refuses names that have no place there, and returns which storages the tensors lie in,
so that their sizes can be compared with what the file holds.
"""

import math
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from typing import Any

from unsee.errors import ModelError
from unsee.models._words import told

INSTRUCTIONS = 10_000_000  # 100,000 tensors with two moments of an optimiser each take about 9
DIMENSIONS = 16
REMEDY = "save model.state_dict() as .safetensors, or with torch.save"
_SIZES = {"Bool": 1, "Byte": 1, "Char": 1, "BFloat16": 2, "Half": 2, "Short": 2, "Int": 4}
_SIZES |= {"Float": 4, "Double": 8, "Long": 8}
BYTES = {  # of one number in a storage
    f"{module}.{kind}Storage": size
    for module in ("torch", "torch.cuda")
    for kind, size in _SIZES.items()
}
DTYPES = {f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64")}
REBUILD = "torch._utils._rebuild_tensor_v2"
PARAMETER = "torch._utils._rebuild_parameter"
PLAIN = {"torch.Size", "torch.device"}
DICTS = {"collections.OrderedDict", "collections.Counter"}
KNOWN = {*BYTES, *DTYPES, *PLAIN, *DICTS, REBUILD, PARAMETER}
FOREIGN = {  # harmless, and beyond what unsee can hand back as it came
    "Complex": "complex numbers",
    "_rebuild_qtensor": "quantised tensors",
    "torch.Q": "quantised tensors",
    "torch.q": "quantised tensors",
    "_rebuild_sparse_tensor": "sparse tensors",
    "_rebuild_tensor_v3": "numbers of an unusual type, such as float8",
    "_rebuild_from_type_v2": "a tensor subclass",
}


@dataclass(frozen=True)
class Storage:
    """A run of numbers that the file is to hold in a member of its own."""

    key: str
    kind: str  # "torch.FloatStorage"
    count: int  # of numbers

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * BYTES[self.kind]


@dataclass(frozen=True)
class _Name:
    path: str


@dataclass(eq=False)
class _Dict:
    keys: list[object] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Thing:
    kind: str  # list, tensor, plain


_MARK = _Thing("mark")
_PUSHED = {  # instructions that put one value on the stack, which may be their argument
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}


def storages(pickle: BytesIO) -> dict[str, Storage]:
    """Return the storages, by key, that the tensors of a pickled state dict lie in.

    Args:
        pickle: is read from where it stands to the end of the pickle that begins there.

    Raises:
        ModelError: if the pickle names anything but tensors and dicts, or is damaged, or holds a
            tensor that reaches beyond its storage.

    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            if count > INSTRUCTIONS:
                raise ModelError(f"Expected at most {INSTRUCTIONS:,} pickle instructions, got more")
            machine.step(opcode.name, argument)
    except ModelError as error:
        if all(word in pickle.getvalue() for word in (b"_parameters", b"_modules")):
            raise ModelError(
                f"Expected a state dict, got a whole model, a pickle that runs code when it is "
                f"read: save model.state_dict() in its place ({error})"
            ) from error
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"Expected a pickled state dict, got a damaged one ({told(str(error))}): {REMEDY}"
        ) from error
    return machine.storages


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do one instruction, without its consequences."""
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif (do := getattr(self, f"_{name.lower()}", None)) is not None:
            do(argument)
        else:
            if name == "INST":
                _trusted(argument)
            raise ModelError(
                f"Expected the pickle instructions of a state dict, got {name}: {REMEDY}"
            )

    def _proto(self, _: object) -> None:
        pass  # torch refuses what it does not read, after the names have been looked at

    _frame = _stop = _proto

    def _marked(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _global(self, argument: str) -> None:
        self.stack.append(_trusted(argument))

    def _stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_trusted(f"{module} {name}"))

    def _binput(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    _long_binput = _binput

    def _memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binget(self, place: int) -> None:
        self.stack.append(self.memo[place])

    _long_binget = _binget

    def _empty_dict(self, _: object) -> None:
        self.stack.append(_Dict())

    def _empty_list(self, _: object) -> None:
        self.stack.append(_Thing("list"))

    def _tuple(self, _: object) -> None:
        self.stack.append(tuple(self._marked()))

    def _tuple1(self, _: object) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _tuple2(self, _: object) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _tuple3(self, _: object) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _setitem(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(iter((key, value)))

    def _setitems(self, _: object) -> None:
        self._set(iter(self._marked()))

    def _set(self, items: Iterator[Any]) -> None:
        target = _of(_Dict, self.stack[-1], "a dict to set items of")
        for key, _ in zip(items, items, strict=True):
            # The hash of a deeply nested tuple overflows the stack of the interpreter.
            target.keys.append(_of((str, int, float, bytes, type(None)), key, "plain keys"))

    def _append(self, _: object) -> None:
        self.stack.pop()
        self._is_list()

    def _appends(self, _: object) -> None:
        self._marked()
        self._is_list()

    def _is_list(self) -> None:
        if _of(_Thing, self.stack[-1], "a list to append to").kind != "list":
            raise ModelError(f"Expected a list to append to, got {self.stack[-1].kind}")

    def _build(self, _: object) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        keys = _of(_Dict, state, "a dict as the state of an object").keys
        if not isinstance(target, _Dict) or keys != ["_metadata"]:
            raise ModelError(f"Expected no objects with a state, got one with {told(keys)}")

    def _reduce(self, _: object) -> None:
        arguments = _of(tuple, self.stack.pop(), "a tuple of arguments")
        name = _of(_Name, self.stack.pop(), "a function").path
        if name in DICTS and all(isinstance(argument, _Dict) for argument in arguments[:1]):
            self.stack.append(_Dict())
        elif name == REBUILD:
            _fits(*arguments)
            self.stack.append(_Thing("tensor"))
        elif name == PARAMETER and _of(_Thing, arguments[0], "a tensor").kind == "tensor":
            self.stack.append(_Thing("tensor"))
        elif name in PLAIN:
            self.stack.append(_Thing("plain"))
        else:
            raise ModelError(f"Expected tensors and dicts, got a call of {name}: {REMEDY}")

    def _binpersid(self, _: object) -> None:
        tag, kind, key, _device, count, *_ = self.stack.pop()
        named = _of(_Name, kind, "the type of a storage").path
        if tag != "storage" or named not in BYTES or not isinstance(key, str) or count < 0:
            raise ModelError(f"Expected a storage, got {told([tag, named, key, count])}")
        storage = Storage(key, named, _of(int, count, "the length of a storage"))
        if self.storages.setdefault(key, storage) != storage:
            raise ModelError(f"Expected one size of the storage {told(key)}, got two")
        self.stack.append(storage)


def _of(kind: Any, value: Any, expected: str) -> Any:
    if not isinstance(value, kind):
        raise ModelError(f"Expected {expected}, got {type(value).__name__}: {REMEDY}")
    return value


def _trusted(argument: str) -> _Name:
    """Return the name ``module name``.  Raises ModelError if no state dict needs it."""
    module, _, name = argument.partition(" ")
    path = f"{module}.{name}"
    if path in KNOWN:
        return _Name(path)
    for part, words in FOREIGN.items():
        if part in path and path.startswith("torch."):
            raise ModelError(
                f"Expected a state dict of dense floats and integers, got {words} ({path}): save "
                "the weights of the plain model"
            )
    raise ModelError(
        f"Expected a state dict, got a file that contains code ({told(path)[1:-1]}); nothing of "
        f"it was run: {REMEDY}"
    )


def _fits(
    storage: object,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    hooks: object,
) -> None:
    """Refuse a tensor that is not within its storage: torch would make room for it."""
    count = _of(Storage, storage, "a storage").count
    numbers = [*chain((offset,), shape, stride)]
    if len(shape) != len(stride) or len(shape) > DIMENSIONS or not all(map(_is_size, numbers)):
        raise ModelError(f"Expected a shape and strides, got {told([shape, stride, offset])}")
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if size > count or (size and last >= count):
        raise ModelError(
            f"Expected tensors within their storages, got one of shape {told([*shape])} in "
            f"{count:,} numbers: the file is damaged or was made to mislead"
        )


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**48

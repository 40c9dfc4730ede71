"""Checkpoints: read with suspicion, write as they came."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unsee.errors import ModelError
from unsee.events import warn
from unsee.models import _facts, _safetensors, _torch_file
from unsee.models._words import told

NESTS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "ema")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    *(torch.uint16, torch.uint32, torch.uint64),
}
COUNTED = "num_batches_tracked"  # of batch norm: older files do not hold it, and few models use it
State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights as a file holds them, and what it says about them."""

    state: State  # by the model's own names, in the order of the file
    facts: dict[str, Any] = field(default_factory=dict)  # arch, mean, std, classes
    prefix: str = ""  # what stood before every name: "module."
    nest: tuple[str, ...] = ()  # the keys that the weights lay under: ("state_dict",)
    container: Literal["safetensors", "pt"] = "safetensors"
    metadata: dict[str, str] = field(default_factory=dict)  # other keys than ours

    def into(self, model: nn.Module) -> nn.Module:
        """Load the weights into ``model`` and return it in eval mode.

        Raises:
            ModelError: if names, shapes or kinds of numbers differ; the first five of each.

        """
        own = model.state_dict()
        if lazy := [name for name, x in own.items() if is_lazy(x)]:
            raise ModelError(
                f"Expected layers that know their sizes, got lazy ones, such as {told(lazy)}: let "
                "the factory show the model one image before it returns it"
            )
        state = self._by_names_of(own)
        missing = [n for n in own if n not in state and not n.endswith(COUNTED)]
        extra = [name for name in state if name not in own]
        both = [name for name in own if name in state]
        shapes = {
            name: (tuple(state[name].shape), tuple(own[name].shape))
            for name in both
            if state[name].shape != own[name].shape
        }
        kinds = [n for n in both if state[n].is_floating_point() != own[n].is_floating_point()]
        differences = {
            "missing": missing,
            "unexpected": extra,
            "other shape": [f"{name} {a}, not {b}" for name, (a, b) in shapes.items()],
            "integers for floats or the reverse": kinds,
        }
        if found := [f"{len(v)} {k} {told(v)}" for k, v in differences.items() if v]:
            only = "" if missing or extra or kinds else _outputs(shapes.values())
            raise ModelError(
                f"Expected the weights of this architecture (--arch), got others: "
                f"{'; '.join(found)}{only or _hint(extra, shapes.values())}"
            )
        counts = {name: own[name] for name in own if name.endswith(COUNTED)}
        model.load_state_dict({**counts, **state})
        return model.eval()

    def like(self, model: nn.Module) -> "Checkpoint":
        """Return the weights of ``model`` with the names and number types of this checkpoint.

        Raises:
            ModelError: if a name is gone, or a weight is too large for the number type.

        """
        own = model.state_dict()
        if self.prefix and all(name.startswith(self.prefix) for name in own):
            own = {name.removeprefix(self.prefix): tensor for name, tensor in own.items()}
        if gone := [name for name in self.state if name not in own]:
            raise ModelError(f"Expected the checkpoint's weights in the model, got none {gone[:5]}")
        cast: dict[object, Tensor] = {}  # of tied weights once, so that they stay tied
        for name, before in self.state.items():
            key = _place(own[name]), before.dtype
            if key not in cast:
                cast[key] = _as(own[name].detach(), before.dtype, name)
        state = {name: cast[_place(own[name]), t.dtype] for name, t in self.state.items()}
        return replace(self, state=state)

    def fitted(self, own: Container[str]) -> "Checkpoint":
        """Return the same with one more prefix taken off, if only without it the names are ``own``.

        Such as Lightning's, of the attribute that holds the model.
        """
        first = next(iter(self.state), "")
        prefix = first[: first.find(".") + 1]
        bare = {name.removeprefix(prefix): tensor for name, tensor in self.state.items()}
        whole = prefix and all(name.startswith(prefix) for name in self.state)
        if not whole or first in own or not all(name in own for name in bare):
            return self
        warn(f"{prefix!r} stands before all names of the checkpoint, and is taken off")
        return replace(self, state=bare, prefix=self.prefix + prefix)

    def _by_names_of(self, own: Mapping[str, Tensor]) -> State:
        """Return the weights with the prefix where the model has it too, and all tied names."""
        state = dict(self.state)
        if self.prefix and all(name.startswith(self.prefix) for name in own):
            state = {self.prefix + name: tensor for name, tensor in state.items()}
        given = {_place(own[name]): state[name] for name in own if name in state}
        for name, tensor in own.items():  # safetensors keeps one of the names of a tied weight
            if name not in state and tensor.numel() and _place(tensor) in given:
                state[name] = given[_place(tensor)]
        return state


def read(path: Path) -> Checkpoint:
    """Read a safetensors file, or a state dict of ``torch.save`` without running what it pickles.

    Which of them it is, its bytes say and not its name.  The keys that a state dict lies under
    and a prefix before all of its names are taken off, told as a warning, and put back by
    :func:`pack` and :func:`pack_pt`.

    Raises:
        ModelError: if it is neither, is damaged or crafted, or holds numbers that are not finite.

    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file there"
        raise ModelError(f"Expected a checkpoint at {str(path)!r}, got {kind}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"Expected a checkpoint at {str(path)!r}, got {error.strerror}") from error
    try:
        return _read(content)
    except ModelError as error:
        raise ModelError(f"{str(path)!r}: {error}") from error


def pack(checkpoint: Checkpoint) -> bytes:
    """Return a safetensors file: the same bytes for the same weights and facts.

    It has the names of the input, prefix included, and none of its tensors shares memory.
    """
    state = {checkpoint.prefix + name: _own(t) for name, t in checkpoint.state.items()}
    ours = {_facts.KEY: _facts.text_of(checkpoint.facts)} if checkpoint.facts else {}
    return _safetensors.encode(state, {**checkpoint.metadata, **ours})


def pack_pt(checkpoint: Checkpoint) -> bytes:
    """Return a file of ``torch.save``: the same bytes for the same weights.

    It has the keys, names and ties of the input.  What lay beside the weights, such as the state
    of an optimiser, is not written: it remembers what was forgotten.
    """
    owned: dict[object, Tensor] = {}
    for tensor in checkpoint.state.values():
        if _place(tensor) not in owned:
            owned[_place(tensor)] = _own(tensor)
    content: dict[str, Any] = {
        checkpoint.prefix + name: owned[_place(t)] for name, t in checkpoint.state.items()
    }
    for key in reversed(checkpoint.nest):
        content = {key: content}
    return _torch_file.encode(content)


def _read(content: bytes) -> Checkpoint:
    nest: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    _torch_file.refuse_older(content)
    if pt := _torch_file.is_torch_file(content):
        state, nest = _unwrapped(_torch_file.decode(content), ())
    else:
        state, metadata = _safetensors.decode(content)
    if not state:
        raise ModelError("Expected weights, got a checkpoint without any")
    _refuse_odd(state)
    facts = _facts.parse(metadata.pop(_facts.KEY, "{}"))
    state, prefix = _stripped(state)
    if prefix:
        warn(f"{prefix!r} stands before every name of the checkpoint: taken off, and put back")
    return Checkpoint(state, facts, prefix, nest, "pt" if pt else "safetensors", metadata)


def _unwrapped(content: Any, nest: tuple[str, ...]) -> tuple[State, tuple[str, ...]]:
    """Return the state dict and the keys it lies under: the best known, or the only ones."""
    if not isinstance(content, dict):
        raise ModelError(f"Expected a state dict, got {type(content).__name__}")
    if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        return {name: tensor.detach() for name, tensor in content.items()}, nest
    inner = [key for key, value in content.items() if isinstance(key, str) and _is_nest(value)]
    known = [key for key in NESTS if key in inner] or (inner if len(inner) == 1 else [])
    if not known or len(nest) == 3:
        raise ModelError(
            f"Expected a state dict, names to tensors, at the top or under one of {[*NESTS]}, got "
            f"{told([*content])}: save model.state_dict()"
        )
    beside = [key for key in content if key != known[0]]
    left = f"; {told(beside)} beside it stay out, as they remember what is to go" if beside else ""
    warn(f"the checkpoint's weights lie under {told(known[0])}: those of the output will too{left}")
    return _unwrapped(content[known[0]], (*nest, known[0]))


def _is_nest(value: object) -> bool:
    return isinstance(value, dict) and any(
        isinstance(v, Tensor) or (k in NESTS and isinstance(v, dict)) for k, v in value.items()
    )


def _stripped(state: State) -> tuple[State, str]:
    prefix = ""
    while one := next((p for p in PREFIXES if all(n.startswith(prefix + p) for n in state)), ""):
        prefix += one
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}, prefix


def _refuse_odd(state: State) -> None:
    """Refuse numbers that are not finite, or of a type that cannot be handed back as it came."""
    odd = [n for n, t in state.items() if t.dtype not in DTYPES or t.layout != torch.strided]
    if odd:
        raise ModelError(
            f"Expected dense floats and integers, got {state[odd[0]].dtype} in {told(odd)}: save "
            "the weights of the plain model"
        )
    wrong = [
        name for name, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())
    ]
    if wrong:
        raise ModelError(
            f"Expected finite weights, got NaN or infinity in {told(wrong)}: the training diverged,"
            " take an earlier checkpoint"
        )


def _outputs(shapes: Iterable[tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    """Say so if all that differs is one number of outputs."""
    pairs = {(given[:1], own[:1], given[1:] == own[1:]) for given, own in shapes}
    match [*pairs]:
        case [((given,), (own,), True)]:
            return f": {given} classes in the checkpoint, {own} in the data (--classes)"
    return ""


def _hint(extra: Sequence[str], shapes: Iterable[tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    """Say what is likely the matter, if that is known."""
    if "n_averaged" in extra:
        return ": of an AveragedModel; save its .module.state_dict()"
    if any(name.lower().startswith(("auxlogits.", "aux1.", "aux2.")) for name in extra):
        return ": leave the auxiliary head out, by its names"
    if any(len(given) == 4 and (given[1], own[1]) == (3, 1) for given, own in shapes):
        return ": the images are grey, and the model takes colours: save them as RGB"
    return ""


def _place(tensor: Tensor) -> object:
    """Tell views apart: two names with the same place are one tied weight."""
    start = tensor.untyped_storage().data_ptr() if tensor.numel() else id(tensor)
    view = tensor.storage_offset(), tensor.shape, tensor.stride()
    return tensor.device, start, view, tensor.dtype


def _own(tensor: Tensor) -> Tensor:
    """Return a copy in main memory that shares nothing, whatever else its storage holds."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _as(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    new = tensor.to(dtype)
    if new is not tensor and bool(tensor.isfinite().all()) and not bool(new.isfinite().all()):
        raise ModelError(
            f"Expected weights that fit into {dtype} like those before, got {told(name)} beyond: "
            "give the checkpoint in float32"
        )
    return new

"""Checkpoints that mean harm or are broken: for each the bytes, and the reason to refuse them.

Nothing here reads a checkpoint.  ``ATTACKS`` has for each a function that makes its bytes, and what
the refusal says; ``TWINS`` makes the same files without the attack.
"""

import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save
from torch import nn

CANARY = "canary"  # appears in the working directory if a pickle is run


def weights(**more):
    return {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2), **more}


def saved(content, **options):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older formats are what is wanted here
        torch.save(content, file, **options)
    return file.getvalue()


class Calls:
    """Pickles as a call of ``function(*arguments)``, which happens when the pickle is read."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


EVIL = Calls(os.system, f"touch {CANARY}")


def rebuilt(count, offset, shape, stride, **more):
    """A tensor of this shape in a storage of ``count`` numbers."""
    storage = torch.arange(float(count)).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    arguments = (typed, offset, shape, stride, False, OrderedDict())
    return Calls(torch._utils._rebuild_tensor_v2, *arguments, **more)


def rezipped(content, method=zipfile.ZIP_STORED, more=(), **members):
    """Write the members of a zip archive anew, some of them with other bytes."""
    file, replaced = io.BytesIO(), {name.replace("__", "/"): b for name, b in members.items()}
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, replaced.get(name.partition("/")[2], old.read(name)))
        for name, data in more:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a name twice
                new.writestr(name, data)
    return file.getvalue()


def with_pickle(data):
    return rezipped(saved(weights()), **{"data.pkl": data})


def on_a_gpu():
    """The pickle of a state dict as a machine with CUDA writes it."""
    with zipfile.ZipFile(io.BytesIO(saved(weights()))) as archive:
        pickled = archive.read("archive/data.pkl")
    return pickled.replace(b"\x03\0\0\0cpu", b"\x06\0\0\0cuda:0")


def nested_key(depth=300_000):
    """A dict whose key is a tuple in a tuple in a tuple: its hash overflows the C stack."""
    return b"\x80\x02})" + b"\x85" * depth + b"Ns."


def claiming(size):
    """A member that says in the archive's directory how large it is, and is not."""
    content = saved(weights())
    at = content.index(b"archive/data/0", content.index(b"PK\x01\x02")) - 46
    return content[: at + 20] + struct.pack("<II", size, size) + content[at + 28 :]


def overlapping(times):
    """Many entries of one megabyte in the directory, all of them the same megabyte."""
    content = rezipped(saved(weights()), more=[("archive/data/9", bytes(1 << 20))])
    entry, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    copies = b"".join(
        content[entry : end - 1] + bytes([48 + digit]) for digit in range(9) for _ in range(times)
    )
    directory, tail = content[:end] + copies, bytearray(content[end:])
    n = struct.unpack_from("<H", tail, 8)[0] + 9 * times
    start = struct.unpack_from("<I", tail, 16)[0]
    struct.pack_into("<HHI", tail, 8, n, n, end - start + len(copies))
    return directory + bytes(tail)


def crowded(entries=100_200):
    content = saved(weights())
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    return content[:end] + content[start : start + 46] * entries + content[end:]


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("storages", "tensors", "pickle", "sys_info"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


def sparse():
    return saved(weights(s=torch.eye(3).to_sparse()))


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch moves them elsewhere
        return saved(weights(q=torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)))


def header(change=lambda header: None, text=None, tail=b""):
    """A safetensors file with a changed header."""
    content = save(weights())
    length = int.from_bytes(content[:8], "little")
    record = json.loads(content[8 : 8 + length])
    change(record)
    text = json.dumps(record).encode() if text is None else text
    return len(text).to_bytes(8, "little") + text + content[8 + length :] + tail


def offsets(name, begin, end):
    return header(lambda record: record[name].update(data_offsets=[begin, end]))


def entry(**facts):
    return header(lambda record: record["fc.weight"].update(facts))


def metadata(value):
    return header(lambda record: record.update(__metadata__={"unsee": value}))


def many_tensors(count=200_000):
    names = (f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(count))
    text = ("{" + ",".join(names) + "}").encode()
    return len(text).to_bytes(8, "little") + text


TWICE = b'{"fc.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
TWICE += b'"fc.bias":{"dtype":"F32","shape":[6],"data_offsets":[8,32]}}'
PT, SAFETENSORS = saved(weights()), save(weights())
TWINS = {  # what is left without the attack
    "a state dict": lambda: PT,
    "its archive, written anew": lambda: rezipped(PT),
    "its tensors on a GPU": lambda: with_pickle(on_a_gpu()),
    "a tensor made by hand": lambda: saved(weights(a=rebuilt(6, 2, (2, 2), (2, 1)))),
    "a training's checkpoint": lambda: saved({"state_dict": weights(), "epoch": 3, "best": 0.5}),
    "safetensors": lambda: SAFETENSORS,
    "its header, written anew": lambda: header(),
    "its metadata": lambda: metadata(
        '{"schema": 1, "classes": ["a", "b"], "mean": [0.5], "std": [1]}'
    ),
}
CODE = r"contains code \((posix|nt)\.system\); nothing of it was run.*safetensors"
WITHIN = "tensors within their storages"
BOMB = "that unpack to .*: nothing was unpacked"
ATTACKS = {
    "code beside the weights": (lambda: saved(weights(x=EVIL)), CODE),
    "code under a state dict": (lambda: saved({"state_dict": weights(), "args": EVIL}), CODE),
    "code, newer pickle": (lambda: saved(weights(x=EVIL), pickle_protocol=4), CODE),
    "code, older file": (
        lambda: saved(weights(x=EVIL), _use_new_zipfile_serialization=False),
        CODE,
    ),
    "code, no file of torch": (lambda: pickle.dumps(EVIL), CODE),
    "code by INST": (lambda: with_pickle(b"\x80\x02(X\x01\x00\x00\x00xiposix\nsystem\n."), CODE),
    "code by eval": (
        lambda: saved(weights(x=Calls(eval, "1"))),
        r"contains code \(\w+.eval\)",
    ),
    "a call that allocates": (
        lambda: saved(weights(x=Calls(torch.FloatTensor, 10**11))),
        r"contains code \(torch.FloatTensor\)",
    ),
    "a call of bytearray": (
        lambda: saved(weights(x=Calls(bytearray, 10**11))),
        r"contains code \(\w+.bytearray\)",
    ),
    "a whole model": (
        lambda: saved(nn.Sequential(nn.Linear(3, 2))),
        "a whole model.*model.state_dict()",
    ),
    "a whole model, older file": (
        lambda: saved(nn.Linear(3, 2), _use_new_zipfile_serialization=False),
        "a whole model.*model.state_dict()",
    ),
    "torch < 1.6": (
        lambda: saved(weights(), _use_new_zipfile_serialization=False),
        "torch < 1.6: save",
    ),
    "torch 0.4": (lambda: tar(), "a tar archive, as of torch 0.4: save"),
    "a newer pickle": (lambda: saved(weights(), pickle_protocol=4), "weights_only=True.*: save"),
    "short storage": (
        lambda: rezipped(PT, data__0=bytes(8)),
        "24 bytes in 'archive/data/0'.*, got 8:",
    ),
    "no storage": (
        lambda: PT.replace(b"archive/data/0", b"archive/data/7"),
        "24 bytes in 'archive/data/0'.*, got 0:",
    ),
    "tensor beyond its storage": (lambda: saved(weights(a=rebuilt(6, 0, (7,), (1,)))), WITHIN),
    "offset beyond its storage": (lambda: saved(weights(a=rebuilt(6, 5, (2,), (1,)))), WITHIN),
    "stride beyond its storage": (lambda: saved(weights(a=rebuilt(6, 0, (2,), (6,)))), WITHIN),
    "repeated without end": (lambda: saved(weights(a=rebuilt(6, 0, (10**12,), (0,)))), WITHIN),
    "negative size": (lambda: saved(weights(a=rebuilt(6, 0, (-1,), (1,)))), "a shape and strides"),
    "a tensor set anew": (
        lambda: saved(weights(a=rebuilt(6, 0, (6,), (1,), state={"x": 1}))),
        "no objects with a state",
    ),
    "item of no dict": (
        lambda: with_pickle(b"\x80\x02NK\x00Ns."),
        "a dict to set items of, got NoneType",
    ),
    "items of no dict": (lambda: with_pickle(b"\x80\x02](K\x00Nu."), "a dict to set items of"),
    "append to no list": (lambda: with_pickle(b"\x80\x02}K\x00a."), "a list to append to"),
    "deeply nested key": (lambda: with_pickle(nested_key()), "plain keys"),
    "empty stack": (lambda: with_pickle(b"\x80\x02)R."), "a damaged one"),
    "unfinished pickle": (lambda: with_pickle(b"\x80\x02}"), "a damaged one"),
    "unknown instruction": (lambda: with_pickle(b"\x80\x02}2."), "got DUP"),
    "compressed members": (
        lambda: rezipped(PT, zipfile.ZIP_DEFLATED, data__0=bytes(1 << 28)),
        BOMB,
    ),
    "claimed size": (lambda: claiming(0xF0000000), BOMB),
    "overlapping members": (lambda: overlapping(200), BOMB),
    "crowded directory": (lambda: crowded(), "at most 100,100 members"),
    "a name twice": (
        lambda: rezipped(PT, more=[("archive/data.pkl", b"")]),
        "one member of a name",
    ),
    "another archive": (
        lambda: rezipped(PT).replace(b"data.pkl", b"docs.xml"),
        "another zip archive",
    ),
    "a program": (
        lambda: rezipped(PT, more=[("archive/constants.pkl", b"")]),
        "a TorchScript program",
    ),
    "half an archive": (lambda: PT[: len(PT) // 2], "a damaged zip archive"),
    "a list": (lambda: saved([torch.ones(2)]), "a state dict, got list"),
    "no weights": (lambda: saved({}), "without any"),
    "no state dict": (
        lambda: saved({"epoch": 3, "loss": 0.5}),
        r"one of \['state_dict', .*got \['epoch'",
    ),
    "NaN": (
        lambda: saved(weights(bad=torch.tensor([1.0, float("nan")]))),
        r"NaN or .* in \['bad'\]",
    ),
    "infinity in bfloat16": (
        lambda: save(weights(bad=torch.full((2,), float("inf")).bfloat16())),
        r"infinity in \['bad'\]",
    ),
    "complex numbers": (
        lambda: saved(weights(c=torch.ones(2, dtype=torch.complex64))),
        "complex numbers",
    ),
    "quantised tensors": (lambda: quantised(), "quantised tensors"),
    "sparse tensors": (lambda: sparse(), "sparse tensors"),
    "float8": (lambda: saved(weights(f=torch.ones(2).to(torch.float8_e4m3fn))), "such as float8"),
    "float8 in safetensors": (
        lambda: save(weights(f=torch.ones(2).to(torch.float8_e4m3fn))),
        "F8_E4M3",
    ),
    "nothing": (lambda: b"", "got 0 bytes"),
    "a text": (
        lambda: b"Dear reader, this is not a checkpoint.",
        "Expected a checkpoint, safetensors or",
    ),
    "endless header": (
        lambda: (1 << 63).to_bytes(8, "little") + SAFETENSORS[8:],
        "9,223,372,036,854,775",
    ),
    "header not JSON": (lambda: header(text=b"{'a': 1}"), "header in JSON"),
    "header a list": (lambda: header(text=b"[]"), "to start with '{'"),
    "header nested": (lambda: header(text=b'{"a":' * 50_000), "header in JSON"),
    "a million tensors": (lambda: many_tensors(), "at most 100,000 tensors"),
    "a tensor twice": (lambda: header(text=TWICE), "'fc.bias' twice"),
    "overlap": (lambda: offsets("fc.weight", 4, 28), "an overlap before 'fc.weight'"),
    "hole": (lambda: offsets("fc.weight", 12, 36), "a hole before 'fc.weight'"),
    "too long": (lambda: header(tail=b"more"), "Expected 32 bytes of weights.*got 36"),
    "too short": (lambda: SAFETENSORS[:-4], "Expected 32 bytes of weights.*got 28"),
    "number type NaN": (lambda: entry(dtype="NaN"), "number type of 'fc.weight' among .*got 'NaN'"),
    "size NaN": (
        lambda: header(text=b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,32]}}'),
        "NaN, which is not JSON",
    ),
    "other shape": (lambda: entry(shape=[3, 3]), "Expected 24 bytes of 'fc.weight'"),
    "huge shape": (lambda: entry(shape=[2**62, 2**62]), "Expected 24 bytes of 'fc.weight'"),
    "negative shape": (lambda: entry(shape=[-2, -3]), "as whole numbers"),
    "no offsets": (lambda: header(lambda r: r["fc.weight"].pop("data_offsets")), "data_offsets of"),
    "metadata of numbers": (
        lambda: header(lambda r: r.update(__metadata__={"a": 1})),
        "of strings",
    ),
    "metadata not JSON": (lambda: metadata("{"), "metadata 'unsee' as a JSON object"),
    "metadata a list": (lambda: metadata("[]"), "metadata 'unsee' as a JSON object"),
    "metadata of tomorrow": (lambda: metadata('{"schema": 2}'), r"others in \['schema'\]"),
    "classes twice": (lambda: metadata('{"classes": ["a", "a"]}'), r"others in \['classes'\]"),
    "mean NaN": (lambda: metadata('{"mean": [NaN], "std": [1]}'), r"others in \['mean and std'\]"),
    "mean without std": (lambda: metadata('{"mean": [0.5]}'), r"others in \['mean and std'\]"),
    "name of two lines": (
        lambda: save({"a\nb\x1b[2J": torch.tensor([float("nan")])}),
        r"in \['a\\nb\\x1b\[2J'\]",
    ),
}

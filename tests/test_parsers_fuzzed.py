"""Whatever a parser is given, it returns a value or raises one of our errors, and nothing else.

The same inputs every time; ``UNSEE_FUZZ=20000`` tries as many others.
"""

import base64
import gzip
import json
import os
import struct
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet
import pytest
import runs
from attacks.pictures import picture, saved
from attacks.sources import write_idx
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import HealthCheck, given, settings, strategies as some
from hypothesis.extra import numpy as arrays
from test_data_choose import made

from unsee import requirements
from unsee.certificate import checked
from unsee.certificate._envelope import PAYLOAD_TYPE, sealed
from unsee.certificate._weights import digests
from unsee.data import choose, load
from unsee.data._rules import RULES, ids_in
from unsee.errors import DataError, OptionError, RunError, SplitError, UnseeError
from unsee.nouns import Config, Run
from unsee.verdict import default_words, load_policy

MANY = os.environ.get("UNSEE_FUZZ")
GOLDEN = Path(__file__).parent / "golden" / "certificates"
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda x: some.lists(x, max_size=3) | some.dictionaries(some.text(max_size=8), x, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def outcomes(parse, *inputs, errors=UnseeError, most=150):
    """Give ``parse`` many inputs; return how many it read and how many it refused."""
    seen = Counter()

    @given(some.tuples(*inputs))
    @settings(
        max_examples=int(MANY or most),
        derandomize=not MANY,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )
    def fuzz(values):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is read with a doubt is read
            try:
                parse(*values)
            except errors as error:
                assert str(error).startswith(("Expected", "check "))
                seen["refused"] += 1
            else:
                seen["read"] += 1

    fuzz()
    return seen


def damaged(content):
    """Return a strategy: ``content`` with some bytes replaced, removed, put in or repeated."""
    place = some.integers(0, len(content))
    edit = some.tuples(place, some.integers(0, 8), some.binary(max_size=8))

    def harmed(edits):
        harmed = content
        for at, gone, new in edits:
            harmed = harmed[:at] + new + harmed[at + gone :]
        return harmed

    return some.lists(edit, max_size=4).map(harmed)


LINES = some.lists(
    some.sampled_from(["train/00000", "train/00001", " train/00002 ", "test/00000"])
    | some.text(max_size=12),
    max_size=8,
)
TEXTS = some.builds(
    lambda lines, end, code: end.join(lines).encode(code, "surrogatepass"),
    LINES,
    some.sampled_from(["\n", "\r\n", "\r", "\0", "\u2028"]),
    some.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
)


def test_files_of_ids(folder):
    path, data = folder / "ids.txt", made()

    def parse(content):
        path.write_bytes(content)
        ids = ids_in(path)
        assert ids and len({*ids}) == len(ids)
        choose(data, f"ids={path}")

    seen = outcomes(parse, some.binary(max_size=64) | TEXTS, errors=SplitError, most=200)
    assert seen["read"] and seen["refused"]


def test_rules():
    data = made()
    words = ["cat", "dog", "7", "0", "who:ben", "site:town:bern", "train/*", "[a", "10%", "500"]
    words += ["1e309%", "-1", "nan%", "inf", "1_0", "٣", "9" * 5000, "\0", ",", "who:", "/", "~"]
    value = some.sampled_from(words) | some.text(max_size=20)
    several = some.lists(value, min_size=1, max_size=3).map(",".join)
    rule = some.builds("{}={}".format, some.sampled_from(sorted(RULES)), several)
    places = some.lists(some.integers(-2, 2**70) | some.floats() | some.booleans(), max_size=5)
    odd = some.none() | some.floats() | some.binary(max_size=4) | places | JSON

    def parse(rule):
        split = choose(data, rule)
        assert len(split.forget) and len(split.retain)

    seen = outcomes(parse, rule | some.text() | odd, errors=(SplitError, DataError), most=300)
    assert seen["read"] and seen["refused"]


def test_idx_files(folder):
    name = write_idx(folder / "idx")
    path = folder / "idx" / "train-images-idx3-ubyte"
    good = path.read_bytes()
    number = some.integers(0, 9) | some.sampled_from([28, 2**16, 2**31, 2**32 - 1])
    header = some.builds(
        lambda magic, shape, content: bytes(magic) + struct.pack(">3I", *shape) + content,
        some.sampled_from([(0, 0, 8, 3), (0, 0, 8, 1), (0, 0, 9, 3), (1, 0, 8, 3)]),
        some.tuples(number, number, number),
        some.binary(max_size=64),
    )

    def parse(content, packed):
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".gz").unlink(missing_ok=True)
        file = path.with_name(path.name + ".gz") if packed else path
        file.write_bytes(gzip.compress(content) if packed == 1 else content)
        load(name)

    content = damaged(good) | header | some.binary(max_size=40)
    seen = outcomes(parse, content, some.sampled_from([0, 0, 1, 2]), errors=DataError)
    assert seen["read"] and seen["refused"]


def test_npz_files(folder):
    path = folder / "data.npz"
    kinds = arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes()
    kinds |= arrays.unicode_string_dtypes(max_len=4) | arrays.complex_number_dtypes()
    kinds |= arrays.byte_string_dtypes(max_len=4) | arrays.datetime64_dtypes() | some.just("u1")
    any_array = arrays.arrays(kinds, arrays.array_shapes(min_dims=0, max_dims=4, max_side=5))
    good = {
        "train_images": np.zeros((6, 5, 5), np.uint8),
        "train_labels": np.arange(6) % 3,
        "test_images": np.zeros((3, 5, 5), np.uint8),
        "test_labels": np.arange(3),
    }
    names = some.sampled_from([*good, "train_ids", "classes", "x_val", "y_val", "more"])
    changes = some.dictionaries(names, any_array, max_size=2)

    def parse(changes):
        np.savez(path, **good | changes)
        load(f"npz:{path}")

    seen = outcomes(parse, changes, errors=DataError, most=150)
    assert seen["read"] and seen["refused"]


def test_parquet_schemas(folder):
    place = folder / "parquet"
    place.mkdir()
    picture_ = saved(picture())
    pictures = {"bytes": picture_, "path": "a.png"}
    columns = {
        "struct": arrow.array([pictures] * 3),
        "bytes": arrow.array([picture_] * 3),
        "large": arrow.array([picture_] * 3, arrow.large_binary()),
        "view": arrow.array([picture_] * 3, arrow.binary_view()),
        "fixed": arrow.array([b"abcd"] * 3, arrow.binary(4)),
        "no picture": arrow.array([b"", b"x", None]),
        "bytes that are text": arrow.array([{"bytes": "x"}] * 3),
        "numbers": arrow.array([0, 1, 2]),
        "small": arrow.array([0, 1, 255], arrow.uint8()),
        "huge": arrow.array([0, 1, 2**64 - 1], arrow.uint64()),
        "negative": arrow.array([-1, 0, 1]),
        "missing": arrow.array([0, None, 1]),
        "none": arrow.nulls(3),
        "floats": arrow.array([0.0, float("nan"), 1.0]),
        "text": arrow.array(["a", "b", "a"]),
        "large text": arrow.array(["a", "b\0", "é"], arrow.large_string()),
        "view of text": arrow.array(["a", "b", "c"], arrow.string_view()),
        "truths": arrow.array([True, False, None]),
        "decimals": arrow.array([1, 2, 3], arrow.decimal128(9, 2)),
        "times": arrow.array([0, 1, 2**40], arrow.timestamp("s")),
        "lists": arrow.array([[1], [], None]),
        "words": arrow.array(["a", "b", "a"]).dictionary_encode(),
    }
    chosen = some.sampled_from(sorted(columns))
    names = some.sampled_from(["image", "img", "label", "labels", "id", "who", "a:b", "", "\0"])
    more = some.dictionaries(names, chosen, max_size=3)
    note = (
        some.none()
        | JSON.map(json.dumps)
        | some.sampled_from(
            [
                json.dumps({"info": {"features": {"label": {"names": names}}}})
                for names in (["a", "b", "c"], ["a", "a"], [], 3, "abc", None, [[1]], {"a": 1})
            ]
        )
        | some.text(max_size=8)
    )
    base = some.sampled_from([{"image": "struct", "label": "numbers"}, {"img": "bytes"}, {}])

    def parse(base, more, others, note):
        for part, kinds in (("train", base | more), ("test", base | more | others)):
            table = arrow.table({name: columns[kind] for name, kind in kinds.items()})
            if note is not None:
                content = note.encode("utf-8", "surrogatepass")
                table = table.replace_schema_metadata({b"huggingface": content})
            arrow.parquet.write_table(table, place / f"{part}.parquet")
        load(f"parquet:{place}")

    others = some.just({}) | more
    seen = outcomes(parse, base, more, others, note, errors=DataError, most=150)
    assert seen["read"] and seen["refused"]


def test_policies(folder):
    path, good = folder / "policy.toml", default_words()
    line = some.sampled_from([*good.splitlines(), "[audits]", "[[audits]]", "margins = 1"])
    value = some.sampled_from(["nan", "inf", "0", "-1", "1e400", '""', "[]", "{}", "true", "[1]"])
    text = some.lists(line | value, max_size=12).map("\n".join)
    key = some.sampled_from(["name", "version", "family_level", "green_needs", "classes", "images"])
    key |= some.sampled_from(["forget_accuracy", "retain_accuracy", "margins", "audits"])

    def replaced(key, value):
        lines = [f"{key} = {value}" if x.startswith(key) else x for x in good.splitlines()]
        return "\n".join(lines)

    def parse(content):
        path.write_bytes(content)
        assert load_policy(path).family_level < 1

    texts = (text | some.builds(replaced, key, value) | some.just(good)).map(str.encode)
    content = texts | damaged(good.encode()) | some.binary(max_size=40)
    seen = outcomes(parse, content, errors=OptionError, most=200)
    assert seen["read"] and seen["refused"]


KEY = load_pem_private_key((GOLDEN / "test-key.pem").read_bytes(), None)
CERTIFICATE = (GOLDEN / "v1-red.json").read_bytes()
PAYLOAD = base64.b64decode(json.loads(CERTIFICATE)["payload"])


def replaced(record, path, value):
    """Return a nested record with ``value`` at some place."""
    if not path or not isinstance(record, dict | list) or not record:
        return value
    keys = sorted(record) if isinstance(record, dict) else range(len(record))
    key, copy = keys[path[0] % len(record)], record.copy()
    copy[key] = replaced(record[key], path[1:], value)
    return copy


def envelopes():
    place = some.lists(some.integers(0, 99), max_size=4)
    odd = JSON | some.sampled_from([PAYLOAD_TYPE, "a" * 64, "\ud800", 10**400, "é" * 88])
    outer = some.builds(replaced, some.just(json.loads(CERTIFICATE)), place, odd)
    inner = some.builds(replaced, some.just(json.loads(PAYLOAD)), place, odd)
    signed = (inner.map(lambda x: json.dumps(x).encode()) | damaged(PAYLOAD)).map(
        lambda payload: sealed(payload, KEY)
    )
    text = outer.map(lambda x: json.dumps(x).encode())
    return text | signed | damaged(CERTIFICATE) | some.binary(max_size=99)


def test_certificates():
    def parse(content, with_key):
        found = checked(content, KEY.public_key() if with_key else None)
        assert found.keyid == json.loads(PAYLOAD)["predicate"]["signer"]["keyid"]

    seen = outcomes(parse, envelopes(), some.booleans(), most=250)
    assert seen["read"] and seen["refused"]


def test_what_a_certificate_that_verifies_says_can_be_printed():
    from unsee.cli._certificate import told

    seen = outcomes(lambda content: told(checked(content)), envelopes(), most=250)
    assert seen["read"] and seen["refused"]


def test_files_of_models_are_told_apart_whatever_is_in_them(folder):
    path, good = folder / "model", (GOLDEN / "model.safetensors").read_bytes()
    whole, weights = digests(GOLDEN / "model.safetensors"), Counter()
    header = JSON.map(lambda x: json.dumps(x).encode())
    other = header.map(lambda x: len(x).to_bytes(8, "little") + x)

    def parse(content):
        path.write_bytes(content)
        found = digests(path)
        assert (found.sha256 == whole.sha256) is (content == good)
        weights[found.weights is not None] += 1

    outcomes(parse, damaged(good) | other | some.binary(max_size=40), errors=(), most=250)
    assert weights[True] and weights[False]


@pytest.mark.parametrize("kind", [Run, Config])
def test_what_a_run_folder_says(kind):
    good = runs.example().to_json() if kind is Run else json.dumps({"seed": 1, "mean": [0.5]})
    place = some.lists(some.integers(0, 99), max_size=4)
    record = some.builds(replaced, some.just(json.loads(good)), place, JSON).map(json.dumps)
    text = record | some.text(max_size=40) | some.just(good)
    seen = outcomes(kind.from_json, text, errors=RunError, most=200)
    assert seen["read"] and seen["refused"]


def test_requirements():
    names = {"forget_accuracy", "test_accuracy"}
    part = some.sampled_from([*names, "<=", ">", "0.1", "1e5", "-", "e", "/cat", " ", "९"])
    parts = some.lists(part, max_size=5)
    whole = some.tuples(some.sampled_from(sorted(names)), some.sampled_from(["<=", ">"]), part)
    text = (parts | whole).map("".join) | some.text(max_size=20)
    seen = outcomes(
        lambda text: requirements.parse(text, names), text, errors=OptionError, most=300
    )
    assert seen["read"] and seen["refused"]

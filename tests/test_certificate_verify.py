"""Golden certificates verify for ever; each tampered one fails, with a reason of its own."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from finished import finished, weights
from hypothesis import given, settings, strategies as some
from safetensors.numpy import load, save

import unsee
from unsee.certificate import checked, new_key
from unsee.certificate._envelope import PAYLOAD_TYPE, opened, pae, sealed
from unsee.certificate._schema import fault, schema
from unsee.certificate._weights import digests
from unsee.cli import call
from unsee.errors import CertificateError, OptionError

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden" / "certificates"
PUBLIC = GOLDEN / "test-key.pub.pem"
NAMES = ("v1-digits", "v1-exact-pt", "v1-ledger", "v1-not-judged", "v1-red")
KEY = load_pem_private_key((GOLDEN / "test-key.pem").read_bytes(), None)
TEXT = (GOLDEN / "v1-exact-pt.json").read_text()
RECORD = json.loads(TEXT)
PAYLOAD = base64.b64decode(RECORD["payload"])
SAID = json.loads(PAYLOAD)


def test_every_golden_certificate_is_among_those_that_are_tested():
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_certificate_verifies_for_ever(name):
    found = unsee.verify(GOLDEN / f"{name}.json", key=PUBLIC)
    assert found.trusted and not unsee.verify(GOLDEN / f"{name}.json").trusted
    assert found.statement["predicateType"] == "urn:unsee:unlearning:v1"
    jsonschema.validate(found.predicate, schema())
    lights = {"v1-digits": "amber", "v1-exact-pt": "green", "v1-ledger": "green", "v1-red": "red"}
    assert (found.predicate["verdict"] or {}).get("light") == lights.get(name)
    assert ("ledger" in found.predicate) is (name == "v1-ledger")
    assert found.predicate["kind"] == ("exact" if "exact" in name else "empirical only")


def test_the_schema_of_version_1_has_the_fields_that_it_had():
    required = {*schema()["required"]}
    assert required == {*SAID["predicate"]}
    assert schema()["$id"] == "urn:unsee:unlearning:v1"


def enveloped(**changes):
    return json.dumps(RECORD | changes).encode()


def payload(**changes):
    """The golden payload with other fields, under a good signature."""
    return sealed(json.dumps(SAID | changes).encode(), KEY)


def predicate(**changes):
    return payload(predicate=SAID["predicate"] | changes)


def flipped(content, place=100):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def encoded(content):
    return base64.b64encode(content).decode()


def signatures(**changes):
    return enveloped(signatures=[RECORD["signatures"][0] | changes])


def other_alphabet():
    """Base64 for URLs: another way to write the same bytes."""
    text = RECORD["signatures"][0]["sig"]
    assert {"+", "/"} & {*text}
    return text.replace("+", "-").replace("/", "_")


def loose_bits():
    """The same 64 bytes: of the last letter before "==" four bits do not count."""
    text = RECORD["signatures"][0]["sig"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = text[:-3] + letters[letters.index(text[-3]) + 1] + "=="
    assert base64.b64decode(twin) == base64.b64decode(text)
    return twin


SIGNATURE = base64.b64decode(RECORD["signatures"][0]["sig"])
SUBJECTS = SAID["subject"]
VERSION_2 = "urn:unsee:unlearning:v2"
OTHER = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA" + "A" * 43 + "=\n-----END PUBLIC KEY-----\n"
SIGNER = SAID["predicate"]["signer"]
TAMPERED = {  # what was done to it: the bytes, the check that finds it
    "payload changed": (enveloped(payload=encoded(flipped(PAYLOAD))), "signature"),
    "payload cut short": (enveloped(payload=encoded(PAYLOAD[:-1])), "signature"),
    "space behind the payload": (enveloped(payload=encoded(PAYLOAD + b" ")), "signature"),
    "signature changed": (signatures(sig=encoded(flipped(SIGNATURE, 5))), "signature"),
    "signature of nothing": (signatures(sig=""), "signature"),
    "signature too long": (signatures(sig=encoded(SIGNATURE + b"\0")), "signature"),
    "signature over the payload alone": (signatures(sig=encoded(KEY.sign(PAYLOAD))), "signature"),
    "signature over another type": (
        signatures(sig=encoded(KEY.sign(pae("text/plain", PAYLOAD)))),
        "signature",
    ),
    "another key named": (signatures(keyid="0" * 64), "key"),
    "no key named": (signatures(keyid=None), "envelope"),
    "another payloadType": (enveloped(payloadType="application/json"), "payload-type"),
    "payloadType in capitals": (enveloped(payloadType=PAYLOAD_TYPE.upper()), "payload-type"),
    "no payloadType": (enveloped(payloadType=None), "envelope"),
    "two signatures": (enveloped(signatures=RECORD["signatures"] * 2), "signatures"),
    "no signature": (enveloped(signatures=[]), "signatures"),
    "signature that is text": (enveloped(signatures=["sig"]), "signatures"),
    "base64 for URLs": (signatures(sig=other_alphabet()), "base64"),
    "base64 with loose bits": (signatures(sig=loose_bits()), "base64"),
    "base64 with a line break": (enveloped(payload=RECORD["payload"] + "\n"), "base64"),
    "base64 without padding": (signatures(sig=RECORD["signatures"][0]["sig"][:-2]), "base64"),
    "base64 in Chinese": (signatures(sig="四"), "base64"),
    "payload that is no text": (enveloped(payload=[1]), "envelope"),
    "a name twice": (TEXT.replace("{", '{"payload": "", ', 1).encode(), "duplicate"),
    "a name twice below": (
        TEXT.replace('"keyid"', '"sig": "", "keyid"', 1).encode(),
        "duplicate",
    ),
    "deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nesting"),
    "a little deep": (enveloped(more=eval("[" * 40 + "]" * 40)), "nesting"),
    "too large": (enveloped(more="x" * (1 << 20)), "size"),
    "not JSON": (TEXT[:-10].encode(), "json"),
    "something behind": (TEXT.encode() + b"{}", "json"),
    "in UTF-16": (TEXT.encode("utf-16"), "json"),
    "NaN": (enveloped(more=float("nan")), "json"),
    "infinite": (TEXT.replace("{", '{"more": 1e999, ', 1).encode(), "json"),
    "a list": (b"[" + TEXT.encode() + b"]", "json"),
    "empty": (b"", "json"),
    "signed: a name twice": (
        sealed(PAYLOAD.replace(b'"kind"', b'"kind": "exact", "kind"', 1), KEY),
        "duplicate",
    ),
    "signed: deep": (payload(more=eval("[" * 40 + "]" * 40)), "nesting"),
    "signed: no JSON": (sealed(b"hello", KEY), "json"),
    "signed: another statement": (payload(_type="https://in-toto.io/Statement/v0.1"), "statement"),
    "signed: another predicate": (payload(predicateType="https://slsa.dev/v1"), "predicate"),
    "signed: no predicate type": (payload(predicateType=None), "predicate"),
    "signed: a later version": (payload(predicateType=VERSION_2), "version"),
    "signed: version 1.1": (payload(predicateType="urn:unsee:unlearning:v1.1"), "version"),
    "signed: no predicate": (payload(predicate=None), "fields"),
    "signed: a field less": (payload(predicate={"kind": "exact"}), "fields"),
    "signed: another kind": (predicate(kind="proven"), "fields"),
    "signed: a ledger without a row": (predicate(ledger={"requests": [1], "row": 0}), "fields"),
    "signed: a count as text": (
        predicate(forget=SAID["predicate"]["forget"] | {"count": "200"}),
        "fields",
    ),
    "signed: an extra subject": (
        payload(subject=[*SUBJECTS, {"name": "other.safetensors", **SUBJECTS[0]}]),
        "subject",
    ),
    "signed: a subject twice": (payload(subject=[*SUBJECTS, SUBJECTS[0]]), "subject"),
    "signed: one subject of two": (payload(subject=SUBJECTS[:1]), "subject"),
    "signed: no subject": (payload(subject=[]), "subject"),
    "signed: a subject that is none": (payload(subject=[None, None]), "subject"),
    "signed: a subject without a digest": (
        payload(subject=[{"name": x["name"], "digest": {"md5": "0"}} for x in SUBJECTS]),
        "subject",
    ),
    "signed: another signer named": (predicate(signer=SIGNER | {"keyid": "0" * 64}), "signer"),
    "signed: another key inside": (predicate(signer=SIGNER | {"public_key": OTHER}), "signer"),
    "signed: no key inside": (predicate(signer=SIGNER | {"public_key": "none"}), "signer"),
    "signed: half a character": (predicate(note="\ud800"), "json"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_certificate_fails_with_its_own_reason(what, tmp_path, capsys):
    content, check = TAMPERED[what]
    path = tmp_path / "certificate.json"
    path.write_bytes(content)
    assert unsee.verify(GOLDEN / "v1-exact-pt.json", key=PUBLIC).trusted
    with pytest.raises(CertificateError) as failed:
        unsee.verify(path, key=PUBLIC)
    assert failed.value.check == check, failed.value
    with pytest.raises(CertificateError):  # by the key inside, too
        unsee.verify(path)
    assert call("verify", str(path), "--key", str(PUBLIC)) == CertificateError.exit_code == 3
    told = capsys.readouterr()
    assert told.out == "" and re.fullmatch(rf"unsee: check '{check}' failed: .+\n", told.err)


def test_every_check_that_the_page_lists_has_its_tampered_certificate():
    page = (ROOT / "docs" / "certificates.md").read_text()
    table = page.partition("| check | expects |")[2].partition("\n\n")[0]
    firsts = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = re.findall(r"`([a-z0-9-]+)`", " ".join(firsts))
    assert {*listed} == {check for _, check in TAMPERED.values()} | {"model"}


def test_no_single_changed_byte_passes():
    content = (GOLDEN / "v1-red.json").read_bytes()
    whole = checked(content, KEY.public_key())
    for place in range(0, len(content), 7):
        for new in (content[place] ^ 1, ord(" ")):
            harmed = content[:place] + bytes([new]) + content[place + 1 :]
            try:
                found = checked(harmed, KEY.public_key())
            except CertificateError:
                continue
            assert found == whole  # space between fields, which says nothing
            assert json.loads(harmed) == json.loads(content)


def test_another_signers_key_is_refused(tmp_path):
    new_key(tmp_path / "key.pem")
    with pytest.raises(CertificateError) as failed:
        unsee.verify(GOLDEN / "v1-red.json", key=tmp_path / "key.pub.pem")
    assert failed.value.check == "key"


def test_a_forged_certificate_is_only_self_consistent_and_fails_by_the_signers_key(
    tmp_path, capsys
):
    new_key(tmp_path / "key.pem")
    forged = unsee.certify(finished(tmp_path / "run"), tmp_path / "key.pem")
    assert call("verify", str(forged)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "SELF-CONSISTENT ONLY" in told and "anybody can make such a file" in told
    assert call("verify", str(forged), "--key", str(PUBLIC)) == 3
    assert call("verify", str(forged), "--key", str(tmp_path / "key.pub.pem")) == 0
    assert "good, by the key that you gave" in capsys.readouterr().out


def test_unknown_fields_are_passed_over():
    later = SAID["predicate"] | {"energy": {"joules": [1, 2]}}
    subject = [x | {"uri": "file:x", "digest": x["digest"] | {"md5": "0"}} for x in SUBJECTS]
    content = json.loads(payload(predicate=later, subject=subject, more=1))
    content["signatures"][0]["more"] = content["more"] = [1]
    found = checked(json.dumps(content).encode(), KEY.public_key())
    assert found.predicate["energy"] == {"joules": [1, 2]}


@pytest.mark.parametrize("name", ["v1-red", "v1-exact-pt"])
def test_the_model_in_production_is_the_certified_one_byte_for_byte(name, capsys):
    found = unsee.verify(GOLDEN / f"{name}.json", key=PUBLIC, model=GOLDEN / "model.safetensors")
    assert found.model == "bytes"


def test_the_certified_weights_are_recognised_in_another_file(tmp_path, capsys):
    tensors = load((GOLDEN / "model.safetensors").read_bytes())
    again = tmp_path / "served.safetensors"
    again.write_bytes(save(dict(reversed(tensors.items())), {"format": "pt", "by": "someone"}))
    assert again.read_bytes() != (GOLDEN / "model.safetensors").read_bytes()
    asked = ("verify", str(GOLDEN / "v1-red.json"), "--key", str(PUBLIC))
    assert call(*asked, "--model", str(again)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "every tensor is equal, the file around them is another" in told
    assert unsee.verify(GOLDEN / "v1-exact-pt.json", model=GOLDEN / "model.pt").model == "bytes"


def test_another_model_is_refused_and_the_one_before_is_named(tmp_path):
    near = {k: x.copy() for k, x in load((GOLDEN / "model.safetensors").read_bytes()).items()}
    near["fc.bias"].view("uint16")[0] ^= 1  # one bit of one weight
    (tmp_path / "near").write_bytes(save(near))
    moved = load(weights(0))
    (tmp_path / "moved").write_bytes(save(moved, {"by": "someone"}))
    for model, told in (
        (GOLDEN / "before.safetensors", "the model BEFORE unlearning"),
        (tmp_path / "moved", "the model BEFORE unlearning"),
        (tmp_path / "near", "whose bytes and weights are not"),
        (GOLDEN / "model.pt", "as it is no safetensors file"),
    ):
        with pytest.raises(CertificateError, match=told) as failed:
            unsee.verify(GOLDEN / "v1-red.json", key=PUBLIC, model=model)
        assert failed.value.check == "model"


def test_the_digest_of_weights_is_what_the_page_says():
    import hashlib

    lines = [
        json.dumps([name, {"f": "F32", "e": "F16"}[x.dtype.char], [*x.shape], digest])
        for name, x in sorted(load((GOLDEN / "model.safetensors").read_bytes()).items())
        if (digest := hashlib.sha256(x.tobytes()).hexdigest())
    ]
    total = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert SAID["predicate"]["after"]["weights"] == total
    assert total == digests(GOLDEN / "model.safetensors").weights


@pytest.mark.parametrize("place", ["nowhere", ".", "/dev/zero", "a\0b"])
def test_a_file_that_is_not_there_is_bad_input_and_not_a_failed_check(place):
    with pytest.raises(OptionError):
        unsee.verify(place)
    with pytest.raises(OptionError):
        unsee.verify(GOLDEN / "v1-red.json", model=place)


def test_verification_loads_no_torch_and_nothing_of_the_model(tmp_path):
    asked = ("verify", str(GOLDEN / "v1-exact-pt.json"), "--key", str(PUBLIC))
    asked += ("--model", str(GOLDEN / "model.pt"))
    code = (
        f"import sys; from unsee.cli import call; code = call(*{asked!r})\n"
        "print(code, {'torch', 'safetensors', 'unsee.models'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 set()", done.stdout + done.stderr


def page_commands():
    page = (ROOT / "docs" / "certificates.md").read_text()
    return page.partition("## Without unsee")[2].partition("```sh\n")[2].partition("```")[0]


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_openssl_verifies_what_the_page_makes_and_nothing_else(name, tmp_path):
    shutil.copy(GOLDEN / f"{name}.json", tmp_path / "certificate.json")
    shutil.copy(PUBLIC, tmp_path / "unsee-key.pub.pem")
    command = ["sh", "-euc", page_commands()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "Signature Verified Successfully" in done.stdout, done.stderr
    assert (tmp_path / "payload.json").read_bytes() == opened(
        (GOLDEN / f"{name}.json").read_bytes()
    ).payload
    record = json.loads((GOLDEN / f"{name}.json").read_text())
    record["payload"] = encoded(flipped(base64.b64decode(record["payload"])))
    (tmp_path / "certificate.json").write_text(json.dumps(record, indent=1))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "Verification Failure" in done.stdout + done.stderr


PLACES = some.lists(some.integers(0, 200), min_size=1, max_size=4)
ODD = some.sampled_from([None, True, -1, 0, 1.0, 1.5, "", "a" * 64, [], ["x"], {}, {"x": 1}])


def altered(value, places, new):
    """Replace what lies at some place of a nested value, or take it away."""
    if not isinstance(value, dict | list) or not value or not places:
        return new
    keys = sorted(value) if isinstance(value, dict) else range(len(value))
    key = keys[places[0] % len(value)]
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(places) == 1 and new is None and isinstance(copy, dict):
        del copy[key]
    else:
        copy[key] = altered(value[key], places[1:], new)
    return copy


@given(PLACES, ODD)
@settings(max_examples=300, deadline=None)
def test_a_field_is_refused_where_another_reader_of_the_schema_refuses_it(places, new):
    changed = altered(SAID["predicate"], places, new)
    theirs = jsonschema.Draft202012Validator(schema()).is_valid(changed)
    assert (fault(changed) is None) is theirs

"""Certificates: what a statement holds and leaves out, which runs and keys are refused."""

import base64
import dataclasses
import errno
import hashlib
import json
import os
import re
import stat
import subprocess
import sys

import jsonschema
import pytest
import runs
from finished import finished, weights

import unsee
from unsee.certificate import new_key
from unsee.certificate._schema import schema
from unsee.cli import call
from unsee.errors import CertificateError, RunError, SigningKeyError, StorageError, UnseeWarning
from unsee.folder import load_run


@pytest.fixture
def key(tmp_path):
    new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def predicate(path):
    return statement(path)["predicate"]


def statement(path):
    return json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))


def test_a_certificate_verifies_with_the_public_key_and_says_what_the_run_says(tmp_path, key):
    folder = finished(tmp_path / "run")
    made = unsee.certify(folder, key)
    assert made == folder / "certificate.json"
    checked = unsee.verify(made, key=tmp_path / "key.pub.pem", model=folder / "model.safetensors")
    assert checked.trusted and checked.model == "bytes"
    said, run = checked.predicate, load_run(folder)
    assert said["kind"] == "empirical only" and said["forget"]["count"] == run.forget["count"]
    for word in ("light", "kind", "sentence", "reasons", "audits"):
        assert said["verdict"][word] == run.verdict[word]
    assert said["method"]["options"] == run.options and said["versions"]["torch"] == "2.10.0"
    assert said["retrained"]["models"] == 8 and said["retrained"]["how"] == "by the run"
    assert said["not_tested"]["too_few_models"] == ["KLoM needs 16 models, got 8"]
    assert {"relearn_recall", "membership_auc"} <= {*said["tested"]}


def test_digests_are_those_that_sha256sum_gives(tmp_path, key):
    folder = finished(tmp_path / "run", pt=b"PK made elsewhere")
    said = statement(unsee.certify(folder, key))
    noted = {x["name"]: x["digest"]["sha256"] for x in said["subject"]}
    noted["original.safetensors"] = said["predicate"]["before"]["sha256"]
    noted["retrained.safetensors"] = said["predicate"]["retrained"]["sha256"]
    told = subprocess.run(
        ["sha256sum", *noted], cwd=folder, capture_output=True, text=True, check=True
    )
    assert {line.split()[1]: line.split()[0] for line in told.stdout.splitlines()} == noted
    assert {*noted} >= {"model.safetensors", "model.pt", "original.safetensors"}


def test_evidence_is_digested_without_what_a_guess_of_the_ids_could_be_tried_on(tmp_path, key):
    """Two runs that differ in which images went, and in nothing that stays, give one digest."""
    found = []
    for name, digest in (("one", "e7" * 32), ("two", "7e" * 32)):
        run = runs.example()
        run = dataclasses.replace(run, forget=run.forget | {"ids_digest": digest, "gone": []})
        folder = finished(tmp_path / name, run, forget=f"ids={name}.txt")
        config = json.loads((folder / "config.json").read_text())
        config["digests"]["forget"] = digest
        (folder / "config.json").write_text(json.dumps(config))
        found.append(predicate(unsee.certify(folder, key))["evidence"])
        left = json.loads((folder / "audit.json").read_text().replace(digest, "(destroyed)"))
        text = json.dumps(left, indent=1, sort_keys=True)
        assert found[-1]["audit.json"] == hashlib.sha256(text.encode()).hexdigest()
    assert found[0] == found[1]


def test_no_id_rule_class_name_or_path_is_in_a_certificate(tmp_path, key):
    run = runs.example(
        forget={"rule": "where=person:4711", "count": 3, "ids_digest": "d" * 64, "gone": ["cat"]},
        notes=("2 twins of train/forget-secret-1 stay",),
    )
    folder = finished(
        tmp_path / "run",
        run,
        earlier=("class=dog",),
        data="folder:/home/anna/pictures",
        classes="/home/anna/classes.txt",
        digests={"classes": "1" * 64, "forget": "2" * 64, "class=dog": "3" * 64},
    )
    text = json.dumps(statement(unsee.certify(folder, key)))
    secrets = ("4711", "person", "secret", "anna", "d" * 64, "2" * 64, "3" * 64, "pets")
    assert not [word for word in secrets if word in text]
    assert {*runs.CLASSES}.isdisjoint(re.findall(r"[a-z]+", text))
    assert predicate(folder / "certificate.json")["forget"] == {
        "rule": "where",
        "count": 3,
        "classes": 1,
        "earlier_requests": 1,
    }


def test_retraining_is_exact_unless_it_starts_from_weights_that_may_know_the_images(tmp_path, key):
    run = runs.example(method="retrain", options={"epochs": 8})
    plain, from_weights = (
        finished(tmp_path / "plain", run),
        finished(tmp_path / "init", run, init="base.safetensors", digests={"init": "a" * 64}),
    )
    assert predicate(unsee.certify(plain, key))["kind"] == "exact"
    said = predicate(unsee.certify(from_weights, key))
    assert said["kind"] == "empirical only" and said["method"]["inputs"] == {"init": "a" * 64}


def test_a_run_whose_verdict_is_red_or_missing_is_certified_as_such(tmp_path, key, capsys):
    verdict = runs.verdict(runs.example().measurements, light="red", kind="damaged")
    red = finished(tmp_path / "red", runs.example(verdict=verdict))
    none = finished(tmp_path / "none", runs.example(verdict={}))
    for folder in (red, none):
        assert call("certify", str(folder), "--key", str(key)) == 0
        assert call("verify", str(folder / "certificate.json")) == 0
    told = capsys.readouterr().out
    assert "verdict     RED, damaged." in told and "verdict     none: the run was not" in told


def test_what_a_run_without_a_retrained_model_rests_on_is_nothing(tmp_path, key):
    folder = finished(tmp_path / "run", runs.example(retrained=False))
    said = predicate(unsee.certify(folder, key))
    assert said["retrained"] == {"how": "none", "models": 0, "sha256": None}
    assert said["not_tested"]["no_band"] == sorted(said["verdict"]["audits"])


@pytest.mark.parametrize("stage", ["unlearn", "audit", "report"])
def test_an_unfinished_run_is_refused(tmp_path, key, stage):
    folder = finished(tmp_path / "run", skip=(stage,))
    with pytest.raises(RunError, match=f"a finished run .* without .*{stage}.*--resume"):
        unsee.certify(folder, key)
    assert not (folder / "certificate.json").exists()


@pytest.mark.parametrize(
    "file",
    ["model.safetensors", "model.pt", "original.safetensors", "retrained.safetensors"],
)
def test_a_model_that_is_not_the_one_the_run_wrote_is_refused(tmp_path, key, file):
    folder = finished(tmp_path / "run", pt=b"PK")
    (folder / file).write_bytes(weights(9))
    with pytest.raises(RunError, match=f"{file} as the run wrote it"):
        unsee.certify(folder, key)


def test_an_audit_or_a_config_that_is_not_the_runs_is_refused(tmp_path, key):
    folder = finished(tmp_path / "run")
    other = finished(tmp_path / "other", runs.example(seed=8))
    for file, reason in (("audit.json", "as the run wrote it"), ("config.json", "of one run")):
        good = (folder / file).read_bytes()
        (folder / file).write_bytes((other / file).read_bytes())
        with pytest.raises(RunError, match=reason):
            unsee.certify(folder, key)
        (folder / file).write_bytes(good)
    assert unsee.certify(folder, key).exists()


def test_models_that_remember_may_be_gone_and_a_report_may_be_new(tmp_path, key):
    folder = finished(tmp_path / "run")
    before = predicate(unsee.certify(folder, key))["before"]
    (folder / "original.safetensors").unlink()
    (folder / "retrained.safetensors").unlink()
    (folder / "report.html").write_text("redacted")
    again = predicate(unsee.certify(folder, key))["before"]
    assert again == before | {"weights": None} != before
    (folder / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors|finished run"):
        unsee.certify(folder, key)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"\xff", b'{"report": 1}'])
@pytest.mark.parametrize("file", ["stages.json", "config.json", "audit.json"])
def test_a_folder_that_no_run_left_is_refused(tmp_path, key, file, content):
    folder = finished(tmp_path / "run")
    (folder / file).write_bytes(content)
    with pytest.raises(RunError):
        unsee.certify(folder, key)
    with pytest.raises(RunError):
        unsee.certify(tmp_path / "nowhere", key)


def test_others_schema_reader_accepts_what_is_made(tmp_path, key):
    jsonschema.Draft202012Validator.check_schema(schema())
    for number, run in enumerate([runs.example(), runs.example(retrained=False, verdict={})]):
        made = unsee.certify(finished(tmp_path / str(number), run), key)
        jsonschema.validate(predicate(made), schema())


def test_a_private_key_is_its_owners_alone_and_never_written_over(tmp_path, capsys):
    old = os.umask(0)
    try:
        assert call("keys", "new", "--out", str(tmp_path / "key.pem")) == 0
    finally:
        os.umask(old)
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    told, before = capsys.readouterr().out, private.read_bytes()
    assert call("keys", "new", "--out", str(private)) == SigningKeyError.exit_code == 2
    private.unlink()
    assert call("keys", "new", "--out", str(private)) == 2  # the public one is there
    assert not private.exists()
    private.symlink_to(tmp_path / "elsewhere")
    assert call("keys", "new", "--out", str(private)) == 2
    assert not (tmp_path / "elsewhere").exists() and b"PRIVATE KEY" in before
    der = subprocess.run(
        f"openssl pkey -pubin -in {public} -outform DER | sha256sum",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert der.stdout.split()[0] in told


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_key_that_others_can_reach_is_refused(tmp_path, key, mode):
    folder = finished(tmp_path / "run")
    key.chmod(mode)
    with pytest.raises(SigningKeyError, match=f"permissions {mode:04o}: chmod 600"):
        unsee.certify(folder, key)
    key.chmod(0o400)
    assert unsee.certify(folder, key).exists()


def test_a_key_in_a_repository_is_warned_of(tmp_path):
    (tmp_path / ".git").mkdir()
    with pytest.warns(UnseeWarning, match="a private key that is committed is public"):
        new_key(tmp_path / "key.pem")


@pytest.mark.parametrize("whole", [0, 1])  # files that the disk still takes
def test_a_full_disk_leaves_no_half_a_key(tmp_path, monkeypatch, whole):
    calls = []

    def full(number):
        calls.append(number)
        if len(calls) > whole:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        new_key(tmp_path / "key.pem")
    assert not [*tmp_path.iterdir()] and len(calls) == whole + 1
    with pytest.raises(StorageError):
        new_key(tmp_path / "nowhere" / "key.pem")


def test_a_passphrase_may_come_from_a_pipe(tmp_path):
    script = "unsee keys new --out key.pem --passphrase-file <(echo horse) && {} -in key.pem {}"
    script = script.format("openssl pkey", "-passin pass:horse -noout")
    script = f'unsee() {{ {sys.executable} -m unsee "$@"; }}; {script}'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "key id" in done.stdout, done.stderr


def test_an_encrypted_key_needs_its_passphrase(tmp_path, capsys):
    words, key = tmp_path / "words", tmp_path / "key.pem"
    words.write_text("correct horse\n")
    folder, asked = str(finished(tmp_path / "run")), ("--passphrase-file", str(words))
    assert call("keys", "new", "--out", str(key), *asked) == 2  # others can read the passphrase
    words.chmod(0o600)
    assert call("keys", "new", "--out", str(key), *asked) == 0
    assert b"ENCRYPTED" in key.read_bytes()
    assert call("certify", folder, "--key", str(key)) == 2
    assert "--passphrase-file" in capsys.readouterr().err
    assert call("certify", folder, "--key", str(key), *asked) == 0
    words.write_text("wrong\n")
    assert call("certify", folder, "--key", str(key), *asked) == 2
    words.write_text("\nsecond line\n")
    assert call("certify", folder, "--key", str(key), *asked) == 2


def test_a_key_of_another_kind_or_none_is_refused(tmp_path, key):
    folder, public = finished(tmp_path / "run"), tmp_path / "key.pub.pem"
    made = unsee.certify(folder, key)
    rsa = tmp_path / "rsa.pem"
    command = ["openssl", "genpkey", "-algorithm", "RSA", "-out", str(rsa)]
    subprocess.run(command, check=True, capture_output=True)
    rsa.chmod(0o600)
    public_rsa = tmp_path / "rsa.pub.pem"
    command = ["openssl", "pkey", "-in", str(rsa), "-pubout", "-out", str(public_rsa)]
    subprocess.run(command, check=True, capture_output=True)
    for wrong in (rsa, public, made, tmp_path, tmp_path / "none", "a\0b", "/dev/zero"):
        with pytest.raises(SigningKeyError):
            unsee.certify(folder, wrong)
    for wrong in (public_rsa, key, made, tmp_path, tmp_path / "none", "a\0b", "/dev/zero"):
        with pytest.raises(SigningKeyError):
            unsee.verify(made, key=wrong)


def test_a_key_of_openssl_signs_and_verifies(tmp_path):
    key, public = tmp_path / "key.pem", tmp_path / "pub.pem"
    for command in (
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)],
        ["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(public)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    assert unsee.verify(unsee.certify(finished(tmp_path / "run"), key), key=public).trusted


def test_a_new_run_in_the_folder_takes_the_old_certificate_away(tmp_path, key):
    from unsee.folder import clear

    folder = finished(tmp_path / "run")
    unsee.certify(folder, key)
    clear(folder)
    assert not [*folder.iterdir()]


def test_without_the_package_cryptography_its_owner_is_told_what_to_install():
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from unsee.cli import call; sys.exit(call('verify', 'certificate.json'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and re.search(r"pip install 'unsee\[certificate\]'", done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_real_run_on_a_torch_file_is_certified_with_both_of_its_files(tmp_path, key, monkeypatch):
    import torch
    from safetensors.torch import load_file

    from unsee import pipeline

    monkeypatch.setattr(pipeline, "pictures_of", lambda run: None)  # drawing takes the longest
    monkeypatch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})
    first, second = tmp_path / "first", tmp_path / "second"
    asked = ("--arch", "tinynet:build", "--quiet", "--forget", "class=3")
    assert call("run", *asked, "--train-epochs", "2", "--method", "noop", "--out", str(first)) == 0
    before = tmp_path / "before.pt"
    torch.save(load_file(first / "original.safetensors"), before)
    ran = ("--model", str(before), "--method", "finetune", "--epochs", "1", "--out", str(second))
    assert call("run", *asked, *ran) == 0
    public, made = tmp_path / "key.pub.pem", unsee.certify(second, key)
    for file in ("model.safetensors", "model.pt"):
        assert unsee.verify(made, key=public, model=second / file).model == "bytes"
    for file in (before, first / "original.safetensors"):
        with pytest.raises(CertificateError, match="BEFORE" if file == before else "not those"):
            unsee.verify(made, key=public, model=file)
    unchanged = unsee.certify(first, key)  # noop: after is before, and the verdict says so
    assert predicate(unchanged)["before"]["weights"] == predicate(unchanged)["after"]["weights"]
    assert predicate(unchanged)["verdict"]["light"] == "red"
    assert predicate(made)["method"]["inputs"].keys() == {"model"}

"""The ``.pt`` container of ``torch.save``: a zip archive, looked through before torch sees it."""

import zipfile
from io import BytesIO
from typing import Any

import torch

from unsee.errors import ModelError
from unsee.models._pickled import REMEDY, Storage, storages
from unsee.models._words import told

MEMBERS = 100_100  # 100,000 tensors and what torch adds
_ENTRY = b"PK\x01\x02"  # before every entry of a zip archive's directory
_EXTRAS = ("version", "byteorder", ".format_version", ".storage_alignment")


def is_torch_file(content: bytes) -> bool:
    """Say whether this begins as what ``torch.save`` writes since torch 1.6."""
    return content.startswith(b"PK\x03\x04")


def refuse_older(content: bytes) -> None:
    """Raise ModelError for what torch wrote before 1.6: a tar archive, or a row of pickles."""
    if content[257:262] == b"ustar":
        raise ModelError(f"Expected a checkpoint, got a tar archive, as of torch 0.4: {REMEDY}")
    if content[:1] != b"\x80" or content[1:2] > b"\x05" or content[8:9] == b"{":
        return
    stream = BytesIO(content)
    for _ in range(4):  # number, version, system, weights; a pickle by itself is one
        if stream.tell() < len(content):
            storages(stream)
    raise ModelError(f"Expected a checkpoint, got a bare pickle, as of torch < 1.6: {REMEDY}")


def decode(content: bytes) -> Any:
    """Return what ``torch.save`` was given, with all tensors on the CPU.

    Raises:
        ModelError: if the archive is damaged, unpacks to more than it is, runs code, or holds
            storages of another size than it declares.

    """
    if content.count(_ENTRY) > MEMBERS:
        raise ModelError(f"Expected at most {MEMBERS:,} members of the zip archive, got more")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _refuse_bomb(content, archive)
            checked = _checked(archive)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"Expected a file of torch.save, got a damaged zip archive ({told(str(error))})"
        ) from error
    try:
        return torch.load(checked, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever the last reader of a strange file stumbles over
        raise ModelError(
            f"Expected a state dict that torch.load reads with weights_only=True, got "
            f"{type(error).__name__} ({told(str(error))}): {REMEDY}"
        ) from error


def encode(content: Any) -> bytes:
    """Return what ``torch.save`` writes: the same bytes for the same content."""
    file = BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _refuse_bomb(content: bytes, archive: zipfile.ZipFile) -> None:
    """Refuse, by its directory alone, an archive that torch.save did not write."""
    members = archive.infolist()
    packed = [m for m in members if m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1]
    total = sum(member.file_size for member in members)
    if packed or total > len(content):
        raise ModelError(
            f"Expected members stored as they are, as torch.save does, got {len(content):,} bytes "
            f"that unpack to {total:,}: nothing was unpacked; {REMEDY}"
        )
    if len({member.filename for member in members}) < len(members):
        raise ModelError(f"Expected one member of a name, got two in the archive: {REMEDY}")


def _checked(archive: zipfile.ZipFile) -> BytesIO:
    """Return a new archive of what was looked at, and of nothing else.

    Readers of zip archives differ in what they find in a crafted one; torch is given one that we
    wrote ourselves.
    """
    names = {*archive.namelist()}
    root = min(names, default="").partition("/")[0]
    if f"{root}/constants.pkl" in names:
        raise ModelError(f"Expected a state dict, got a TorchScript program: {REMEDY}")
    if f"{root}/data.pkl" not in names:
        raise ModelError(f"Expected a file of torch.save, got another zip archive: {REMEDY}")
    pickle = archive.read(f"{root}/data.pkl")
    declared = storages(BytesIO(pickle))
    for storage in declared.values():
        _same_size(storage, archive, f"{root}/data/{storage.key}")
    kept = [f"data/{key}" for key in declared]
    kept += [name for name in _EXTRAS if f"{root}/{name}" in names]
    new = BytesIO()
    with zipfile.ZipFile(new, "w") as copy:
        copy.writestr("archive/data.pkl", pickle)
        for name in kept:
            copy.writestr(f"archive/{name}", archive.read(f"{root}/{name}"))
    new.seek(0)
    return new


def _same_size(storage: Storage, archive: zipfile.ZipFile, name: str) -> None:
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        size = 0
    if size != storage.size:
        raise ModelError(
            f"Expected {storage.size:,} bytes in {told(name)}, as the pickle declares, got "
            f"{size:,}: the file is damaged or was made to mislead"
        )

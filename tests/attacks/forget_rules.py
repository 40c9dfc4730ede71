"""Lists of ids that are broken or hide something, each as (bytes, bytes without the attack, words).

They are about a data set with the ids ``train/00000`` to ``train/00031`` and 12 of ``test/``.
"""

GOOD = b"train/00003\ntrain/00004\n"
EVERYTHING = "\n".join(f"train/{n:05d}" for n in range(32)).encode()

REFUSED = {
    "unknown": (GOOD + b"train/99999", GOOD, r"1 unknown: \['train/99999'\]"),
    "of another case": (b"Train/00003", b"train/00003", "1 unknown"),
    "a path": (b"../../etc/passwd", b"train/00003", r"1 unknown: \['../../etc/passwd'\]"),
    "a path that is there": (b"/etc/passwd", b"train/00003", "1 unknown"),
    "a pattern": (b"train/*", b"train/00003", "1 unknown"),
    "a formula": (b"=cmd|' /C calc'!A0", b"train/00003", "1 unknown"),
    "empty": (b"", GOOD, "one a line, got none"),
    "blank lines": (b"\n \r\n\t\n", GOOD, "one a line, got none"),
    "everything": (EVERYTHING, EVERYTHING[: -5 * 12], "deletion of the model"),
    "of tests alone": (b"test/00000", b"train/00000\ntest/00000", "training images to forget"),
    "of zeros": (b"\0" * 100, GOOD, "1 unknown"),
    "no text": (b"train/00003\n\xff\xfe\xfd", GOOD, "a text file of ids"),
    "half of UTF-16": (b"\xff\xfet\0r", GOOD, "a text file of ids"),
    "UTF-16 without its mark": (GOOD.decode().encode("utf-16-le"), GOOD, "unknown"),
    "in one line": (b"train/00003,train/00004", GOOD, "1 unknown"),
    "hidden by an override": ("train/\u202e30000".encode(), b"train/00003", "1 unknown"),
}

ACCEPTED = {
    "with a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "of Windows": GOOD.replace(b"\n", b"\r\n"),
    "of old Macs": GOOD.replace(b"\n", b"\r"),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 of the other order": b"\xfe\xff" + GOOD.decode().encode("utf-16-be"),
    "with space around": b"  train/00003\t\n\n train/00004 \n\n",
    "without an end": GOOD.strip(),
}

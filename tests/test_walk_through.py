"""What docs/erasure-requests.md shows of one request is what the commands print."""

import re
import shlex
from pathlib import Path

from unsee.cli import call

PAGE = Path(__file__).parent.parent / "docs" / "erasure-requests.md"
CHANGING = re.compile(r"\b[0-9a-f]{12,64}\b|(?<=2026-12-20 )-?\d+")


def commands():
    """Yield each command of the page as words, with the lines that are shown below it."""
    for block in re.findall(r"^```\n(\$ unsee.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        for part in block.removeprefix("$ ").split("\n$ "):
            command, *shown = part.replace("\\\n", " ").splitlines()
            yield shlex.split(command)[1:], shown


def same_everywhere(text):
    """Return a text without digests, the days that are left and where lines end."""
    return CHANGING.sub("#", " ".join(text.replace(".../jobs", "jobs").split()))


def test_the_walk_through_prints_what_the_page_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNSEE_LEDGER", "erasure.sqlite")
    Path("case-4711.txt").write_text("".join(f"train/{k:05d}\n" for k in range(20, 30)))
    tried = [*commands()]
    assert len(tried) >= 9
    for words, shown in tried:
        capsys.readouterr()
        assert call(*words) == 0, words
        printed = same_everywhere(capsys.readouterr().out.replace(f"{tmp_path}/", ""))
        for piece in "\n".join(shown).split("\n...\n"):
            assert same_everywhere(piece.removesuffix("\n...")) in printed, words

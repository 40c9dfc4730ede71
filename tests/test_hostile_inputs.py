"""docs/hostile-inputs.md: every item has its line, and every test that it names exists."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "hostile-inputs.md").read_text()
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)


def test_every_item_has_a_line_with_a_test():
    lines = re.findall(r"^\| (\w+) \| .*\| (`test_.*) \|$", PAGE, re.MULTILINE)
    assert {number for number, _ in lines} == {*map(str, range(1, 37)), "CLI"}


def test_every_named_test_exists():
    assert len(NAMED) > 90
    files = {file: (HERE / file).read_text() for file, _ in NAMED}
    assert not [(file, name) for file, name in NAMED if f"def {name}(" not in files[file]]


def test_every_test_of_the_page_and_its_server_that_is_about_attacks_is_named():
    """What is added to the server's tests is added to the list."""
    own = re.findall(r"^def (test_\w+)", (HERE / "test_web_server.py").read_text(), re.MULTILINE)
    harmless = ("taken_is_said", "who_reads", "stops_waits", "preview", "stream_ends")
    missing = {*own} - {name for _, name in NAMED}
    assert not [name for name in missing if not any(word in name for word in harmless)]

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_model.py"


def test_the_example_with_an_own_network_and_an_own_dataset(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = {
        name: (float(before), float(after))
        for name, before, after in re.findall(r"(\w+) +([\d.]+) -> ([\d.]+)", done.stdout)
    }
    assert told["forget_accuracy"][0] > 0.9 > 0.1 > told["forget_accuracy"][1]
    assert told["test_accuracy"][1] > told["test_accuracy"][0] - 0.05 > 0.8
    assert told.keys() == {"forget_accuracy", "test_accuracy", "membership_auc", "few_shot_recall"}
    page = (tmp_path / "own_model_report.html").read_text()
    assert page.startswith("<!") and "class=3" in page
    assert [path.name for path in tmp_path.iterdir()] == ["own_model_report.html"]


def test_the_example_shows_the_five_lines_of_the_interface():
    text = EXAMPLE.read_text()
    for line in ("Data.from_dataset", "choose", "unlearn", "audit", "report"):
        assert f"unsee.{line}(" in text
    assert len(text.splitlines()) <= 60

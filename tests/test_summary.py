"""What a finished run prints: the verdict first, in few lines that fit a terminal."""

import dataclasses
from pathlib import Path

import pytest
from runs import example, verdict

from unsee.cli._summary import summary

LONG = "The model still remembers: it treats the forgotten images as the original does, " * 9


@pytest.mark.parametrize("light", ["green", "amber", "red", "grey"])
@pytest.mark.parametrize("sentence", ["Short.", LONG, "x" * 400, "two\nlines \x1b[31mred"])
def test_the_verdict_comes_first_wrapped_and_all_fits_18_lines_of_80_columns(light, sentence):
    run = example(arrays={})
    judged = verdict(run.measurements, 8, light, "damaged") | {"sentence": sentence}
    lines = summary(dataclasses.replace(run, verdict=judged), Path("runs/a")).splitlines()
    assert len(lines) <= 18 and max(map(len, lines)) <= 80
    assert lines[0].startswith(light.upper())
    assert "\x1b" not in "".join(lines)
    begun, expected = ("".join(x.split()) for x in ("".join(lines[:3]), sentence))
    assert begun.removeprefix(light.upper()).startswith(expected[:8])


@pytest.mark.parametrize(
    "kind, told",
    [
        ("damaged", "To keep more, lower lr or epochs (--set), search for them (--tune 8)"),
        ("nothing was forgotten", "To forget more, raise epochs or lr (--set), search for them"),
        ("still remembers", "To forget more, raise epochs or lr (--set), search for them"),
    ],
)
def test_what_went_wrong_is_followed_by_the_next_step(kind, told):
    run = example(arrays={})
    bad = dataclasses.replace(run, verdict=verdict(run.measurements, 8, "red", kind))
    lines = summary(bad, Path("runs/a")).splitlines()
    assert lines[1].startswith(told) and len(lines) <= 18
    tried = dataclasses.replace(bad, tuning={"trials": []})
    assert "--tune" not in summary(tried, Path("runs/a"))
    good = dataclasses.replace(run, verdict=verdict(run.measurements, 8, "green", "like retrained"))
    assert "--tune" not in summary(good, Path("runs/a"))


def test_a_run_that_was_not_judged_begins_with_what_was_asked():
    lines = summary(example(arrays={}, verdict={}), Path("runs/a")).splitlines()
    assert lines[0].startswith("snu_deep, asked to forget class=cat")
    assert lines[-2:] == [
        "report  runs/a/report.html",
        "next    unsee report runs/a --redact --out shared.html",
    ]

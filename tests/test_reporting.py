"""The page says what the run says, to anyone, and carries nothing that it should not."""

import base64
import dataclasses
import functools
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import bare, example, measured, with_classes

from unsee.reporting import figures, page, redacted, report
from unsee.reporting._maps import grids
from unsee.reporting._words import result

HOSTILE = (
    "<script>alert(1)</script>",
    "\u202etxt.exe",
    "🦊\u200d🔥 fox",
    '=cmd|"/C calc"!A0',
    "$x^2$ & 'q' \" «0»",
    "{{ 7 * 7 }}",
    "line\nbreak\x00",
    "\ud800",
    "]]><img src=x onerror=alert(1)>",
    "a/b",
)
VOID = {"meta", "link", "img", "br", "hr", "input"}
RUNS = {
    "retrained": example(),
    "no retrained": example(retrained=False),
    "single images": example(gone=False),
    "elsewhere": bare(),
    "redacted": redacted(example()),
    "no arrays": example(arrays={}),
    "hostile": with_classes(example(), HOSTILE, gone=HOSTILE[:2]),
    "not judged": example(verdict={}, references={}, fleet={}),
}
everywhere = pytest.mark.parametrize("name", RUNS)


@functools.cache
def shown(name):
    return page(RUNS[name])


class Reader(HTMLParser):
    """Collects tags with their attributes, and the words; knows which tags are left open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def pictures(text):
    """Return the pixels of every picture embedded in a page."""
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", text)
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found
    ]


def magenta(pixels):
    """Return whether anything in a picture has the colour of the forgotten images."""
    red, green, blue = np.moveaxis(pixels.astype(int), 2, 0)
    return bool(((red > 200) & (blue > 200) & (green < 50)).any())


def unjudged(**changes):
    """A run without a verdict, as older ones are: its label comes from its measurements."""
    return example(verdict={}, **changes)


def sentence(run):
    return result(run).sentence.replace("\u00a0", " ")


def label(run):
    return result(run).tone, result(run).label


def steps(run):
    return " ".join(result(run).steps)


def test_importing_the_report_imports_no_torch():
    code = (
        "import sys; from runs import example; import unsee.reporting as r; r.page(example());"
        "sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent).returncode == 0


@everywhere
def test_every_tag_is_closed_and_nothing_is_loaded_or_run(name):
    text = shown(name)
    reader = Reader(text)
    assert reader.open == [] and text.startswith("<!doctype html>")
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "form", "base", "img"}
    for tag, attributes in reader.tags:
        assert not [key for key in attributes if key.startswith("on")], tag
        for link in {"src", "href", "xlink:href", "action", "data", "poster"} & attributes.keys():
            assert re.match(r"data:image/png;base64,|#", attributes[link]), attributes[link]
    styles = "".join(re.findall(r"<style>(.*?)</style>|style=\"(.*?)\"", text)[0])
    assert "@import" not in text and "http" not in styles
    assert not re.search(r"url\((?!#)", text)
    policy = [a["content"] for _, a in reader.tags if "http-equiv" in a]
    assert len(policy) == 1 and policy[0].startswith("default-src 'none'; img-src data:;")


@everywhere
def test_every_picture_has_a_name_for_those_who_cannot_see_it(name):
    drawings = [attributes for tag, attributes in Reader(shown(name)).tags if tag == "svg"]
    assert all(a["role"] == "img" and len(a["aria-label"]) > 10 for a in drawings)
    assert len(drawings) >= 3


@everywhere
def test_ids_inside_the_drawings_are_unique_and_resolve(name):
    text = shown(name)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len({*ids})
    assert {*re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)} <= {
        pair for key in ids for pair in ((key, ""), ("", key))
    }


@everywhere
def test_words_that_promise_too_much_are_not_used(name):
    said = Reader(shown(name)).text.lower()
    for word in ("proof", "guarantee", "fully erased", "gdpr", "certif"):
        assert word not in said


@pytest.mark.parametrize("name", ["no retrained", "elsewhere"])
def test_the_same_run_gives_the_same_page(name):
    assert shown(name) == page(RUNS[name])


def test_names_from_the_data_are_shown_as_text_and_nothing_else():
    text = shown("hostile")
    words = Reader(text).text
    assert "<script>alert(1)</script>" in words and "<script" not in text
    assert "{{ 7 * 7 }}" in words and "$x^2$ & 'q' \" «0»" in words and '=cmd|"/C calc"!A0' in words
    assert "🦊\u200d🔥 fox" in words
    assert not {"\u202e", "\x00", "\ud800"} & {*text}
    svgs = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert any("&lt;script&gt;" in svg for svg in svgs)


def test_ids_notes_rule_and_options_from_the_data_are_escaped():
    run = example(notes=HOSTILE, method=HOSTILE[0], options={"x": HOSTILE[8]})
    run = dataclasses.replace(run, forget=run.forget | {"rule": "path=" + HOSTILE[0]})
    run.arrays["pictures/forget/ids"] = np.array([HOSTILE[0], "=1+1", HOSTILE[8]])
    text = page(run)
    assert Reader(text).open == []
    assert "<script" not in text and "<img" not in text and text.count("&lt;script&gt;") >= 4


@everywhere
def test_the_page_says_label_sentence_points_and_steps(name):
    text, said = Reader(shown(name)).text, result(RUNS[name])
    for words in (said.label, said.sentence, *said.points, *said.steps):
        assert " ".join(words.split()).replace("\u00a0", " ") in text


def test_the_sentence_names_request_method_result_and_cost():
    said = sentence(example())
    for part in ("“cat”", "pets", "200 training images", "snu_deep", "0.0 %", "95.0 %"):
        assert part in said
    assert "retrained without them" in said and "4.0 s" in said and "7.0 times" in said


def test_the_sentence_owns_up_to_what_is_missing():
    said = sentence(example(retrained=False))
    assert "no retrained model to compare with" in said and "not timed" in said
    said = sentence(bare())
    assert "elsewhere" in said and "not recorded" in said
    assert "not recorded" in Reader(shown("elsewhere")).text


def test_close_to_the_retrained_model_is_the_only_good_end():
    assert label(unjudged())[0] == "good"
    tone, words = label(unjudged(retrained=False))
    assert tone == "open" and "no retrained model" in words


def test_nothing_forgotten_is_said_with_the_next_step():
    run = unjudged()
    same = run.measurements | {"unlearned": run.measurements["original"]}
    run = dataclasses.replace(run, measurements=same)
    assert label(run) == ("bad", "Nothing was forgotten: the model answers as before")
    assert "raise epochs or lr" in steps(run)
    almost = unjudged(values={"forget_accuracy": 0.93})
    assert label(almost) == ("bad", "Nothing was forgotten")
    assert label(unjudged(values={"forget_accuracy": 0.4})) == ("bad", "Forgotten in part")
    assert "raise epochs or lr" not in steps(unjudged())


def test_damage_is_said_with_the_next_step():
    run = unjudged(values={"retain_accuracy": 0.7})
    tone, words = label(run)
    assert tone == "bad" and "the model is damaged" in words
    assert "−26.0 points" in " ".join(result(run).points)
    assert "lower lr or epochs" in steps(run) and "lower lr" not in steps(unjudged())


def test_answers_forgotten_by_unchanged_features_are_no_good_end():
    as_before = {"probe_recall": 0.9, "few_shot_recall": 0.9}
    tone, words = label(unjudged(values=as_before))
    assert tone == "open" and "probe recall, few-shot recall" in words
    tone, words = label(unjudged(values=as_before, retrained=False))
    assert tone == "open" and "features hold the class as before" in words


def test_membership_counts_on_both_sides_of_the_retrained_model():
    for auc in (0.3, 0.7):
        assert "membership AUC" in label(unjudged(values={"membership_auc": auc}))[1]


def test_single_images_are_held_against_unseen_ones_and_not_against_zero():
    run = unjudged(gone=False, retrained=False, values={"forget_accuracy": 0.89}, arrays={})
    text = Reader(page(run)).text
    assert "as on images never seen, and not 0 %" in text
    assert "as on unseen images of these classes: 89.5 %" in text
    assert "200 training images of pets" in sentence(run)
    assert label(run)[1].startswith("Forgotten in its answers")
    hard = unjudged(gone=False, retrained=False, values={"forget_accuracy": 0.2})
    assert "worse on these images than on unseen ones" in label(hard)[1]


def test_every_measurement_of_every_model_is_in_the_table():
    text = Reader(shown("retrained")).text
    for name in (n for n in example().measurements["unlearned"] if "/" not in n):
        assert name in text
    assert "61.0 %" in text and "57.0 to 65.0 %" in text and "n 200" in text
    for name in ("cat", "dog", "ship"):
        assert f"{name} 9" in text or f"{name} 8" in text


def test_a_measurement_that_the_report_does_not_know_is_shown_under_its_name():
    run = example(arrays={})
    run.measurements["unlearned"]["relearn_time"] = measured(0.123)
    text = Reader(page(run)).text
    assert "relearn time" in text and "0.123" in text


def test_all_that_the_audits_measure_is_explained():
    from unsee.audits import AUDITS
    from unsee.reporting._measures import MEASURES

    assert {name for audit in AUDITS.values() for name in audit.names} <= MEASURES.keys()


def test_a_thousand_classes_give_a_short_page_that_says_what_it_leaves_out():
    names = [f"class {n:04d}" for n in range(1000)]
    run = with_classes(example(), names, gone=["class 0700"])
    text = page(run)
    words = Reader(text).text
    assert "class 0700" in words and len(text) < 3e6
    assert "Of 1,000 classes" in words and "20 that changed most" in words
    assert len({*re.findall(r"class \d{4}", words)}) < 100 and "all other classes" in words


def test_the_classes_stand_in_one_order_forgotten_first():
    text, starts = shown("retrained"), "Test accuracy of|What the forgotten"
    orders = [
        [w for w in re.findall(r">(cat|dog|ship)</text>", drawn)]
        for drawn in re.findall(f"<svg[^>]*aria-label=.(?:{starts}).*?</svg>", text, re.DOTALL)
    ]
    assert orders == [["cat", "dog", "ship"]] * 2


def test_classes_of_few_images_are_marked():
    run = with_classes(example(), ("cat", "dog", "ship"), gone=["cat"])
    text = page(run)
    assert "n=20" in text and "fewer than 30" in text
    assert "fewer than 30" not in shown("retrained")


def test_maps_share_one_scale_whose_maximum_is_printed():
    run = example()
    run.arrays["retrained/retain/map"][1, 2, 3] = 7.25
    grids_after, grids_before = grids(run, "map"), grids(example(), "map")
    assert ["max 7.25" in grid.svg for grid in grids_after] == [True] * 4
    before, after = pictures(grids_before[0].svg), pictures(grids_after[0].svg)
    assert before[1].astype(int).sum() > after[1].astype(int).sum()  # other maps are darker for it


def test_a_map_without_evidence_looks_like_the_dimmed_picture():
    run = example()
    for name in ("unlearned/forget/map", "original/forget/map"):
        run.arrays[name][:] = 0
    image, original, unlearned, _, difference = pictures(grids(run, "map")[0].svg)[:5]
    assert (original == unlearned).all() and np.ptp(unlearned, axis=(0, 1)).max() == 0
    assert magenta(image) and not magenta(unlearned)
    assert np.abs(difference.astype(int) - 247).max() <= 3  # the middle of the diverging scale


def test_figures_are_svg_files_that_stand_alone():
    from xml.etree import ElementTree

    found = figures(example())
    assert {"verdict", "classes", "answers", "losses", "gradcam-forget"} <= found.keys()
    for text in found.values():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and "viewBox" in root.attrib
        assert list(root.iter("{http://www.w3.org/2000/svg}text")), "words have to be words"
    assert found == figures(example())
    assert figures(bare()).keys() == {"verdict"}
    for text in figures(RUNS["hostile"]).values():
        ElementTree.fromstring(text)


def test_a_redacted_page_shows_no_image_and_names_no_forgotten_one():
    run = example(notes=("2 exact twins stay, such as train/forget-secret-0: forget them too",))
    plain, shared = shown("retrained"), page(redacted(run))
    for part in ("forget", "forget-most", "forget-least", "forget-moved"):
        assert f"{part}-secret" in plain and f"{part}-secret" not in shared
    assert any(map(magenta, pictures(plain))) and not any(map(magenta, pictures(shared)))
    drawn = figures(redacted(run))
    assert {"roc", "flow-unlearned", "plane-unlearned", "plane-moved"} <= drawn.keys()
    assert not {"exposure", "losses", "gradcam-forget", "gradcam-forget-most"} & drawn.keys()
    for text in drawn.values():
        assert not re.search(r"forget[\w-]*-secret", text) and not any(map(magenta, pictures(text)))
    assert "retain-secret" in plain and "retain-secret" not in shared
    assert "gradcam-retain" in figures(run) and not any("gradcam" in name for name in drawn)
    assert "2 exact twins stay: forget them too" in Reader(shared).text
    assert "Redacted" in shared and "Redacted" not in plain and "may see the data" in plain


def test_redaction_leaves_only_sums_over_the_forgotten_images():
    run = example()
    run.arrays["unlearned/forget/lira"] = np.arange(200)
    left = redacted(run)
    assert {name for name in left.arrays if "forget" in name} == {
        f"{model}/forget/answers" for model in ("original", "unlearned", "retrained")
    }
    for kind in ("roc", "flow", "plane"):
        assert {n for n in left.arrays if kind in n} == {n for n in run.arrays if kind in n}
    assert left.measurements == run.measurements and left.forget == run.forget
    assert redacted(left) == left and run.notes == ()


def test_redaction_hides_a_pattern_that_may_spell_out_an_id():
    run = example()
    run = dataclasses.replace(run, forget=run.forget | {"rule": "path=train/anna.png"})
    run = dataclasses.replace(run, arrays={})
    assert "anna" in page(run) and "anna" not in page(redacted(run))
    file = dataclasses.replace(run, forget=run.forget | {"rule": "ids=requests.txt"})
    assert "ids=requests.txt" in page(redacted(file))


def test_redaction_hides_the_rule_and_files_in_notes_too():
    notes = (
        "the rule 'where=patient:Jane Doe' also fits 3 images that the model was not trained on",
        "the rule 'where=patient:Jane Doe' takes every training image of ['cat']: audited as",
        "2 of 90 images cannot be read and are left out: 'jane/1.png': truncated",
    )
    run = example(notes=notes)
    run = dataclasses.replace(
        run, forget=run.forget | {"rule": "where=patient:Jane Doe"}, arrays={}
    )
    text = page(redacted(run)) + redacted(run).to_json()
    assert "jane" not in text.lower() and "jane" in page(run).lower()
    assert "where=(left out)" in text and "2 of 90 images cannot be read" in text


def test_report_writes_the_page(tmp_path):
    assert report(bare(), tmp_path / "a.html").read_text() == shown("elsewhere")
    report(RUNS["retrained"], str(tmp_path / "b.html"), redact=True)
    assert (tmp_path / "b.html").read_text() == shown("redacted")
    assert {path.name for path in tmp_path.iterdir()} == {"a.html", "b.html"}


def test_a_run_read_back_from_its_folder_gives_the_same_page(tmp_path):
    from unsee.folder import load_run, pack_arrays

    run = example()
    (tmp_path / "audit.json").write_text(run.to_json())
    (tmp_path / "arrays.npz").write_bytes(pack_arrays(run.arrays))
    assert page(load_run(tmp_path)) == shown("retrained")


def test_the_ids_in_the_warning_about_twins_do_not_survive_redaction():
    import torch

    from unsee import events
    from unsee.data import choose
    from unsee.nouns import Data

    images = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    images[2:] += torch.arange(1, 5, dtype=torch.uint8)[:, None, None, None]  # rows 0 and 1 match
    ids = np.array([f"train/anna-{n}: so" for n in range(6)])
    parts = np.array(["train"] * 4 + ["test"] * 2)
    data = Data(images, torch.tensor([0, 0, 1, 1, 0, 1]), ids, parts, ("a", "b"))
    with events.noted() as notes:
        choose(data, "path=train/anna-0*")
    assert any("twin" in note and "anna-" in note for note in notes)
    kept = redacted(example(notes=tuple(notes))).notes
    assert not any("anna-" in note for note in kept if "twin" in note)

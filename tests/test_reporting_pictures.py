"""Every picture shows what was measured, says how it is read and how it misleads."""

import dataclasses
import functools
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from runs import example, large, with_classes
from scipy import stats

from unsee.nouns import Measurement, Run
from unsee.reporting import figures, page, pictures_of, redacted
from unsee.reporting._evidence import evidence
from unsee.reporting._exposure import exposure
from unsee.reporting._flow import flows
from unsee.reporting._losses import CONFIDENCE, LOSS, _curve, confidences, losses
from unsee.reporting._plane import moved, plane
from unsee.reporting._relearn import relearning
from unsee.reporting._roc import roc
from unsee.reporting._stages import by_stage
from unsee.reporting._style import stages
from unsee.reporting._svg import Sheet

NEEDED = {  # the picture, and the arrays without which there is none
    losses: "/loss",
    confidences: "/confidence",
    roc: "/roc/",
    relearning: "/relearn/",
    flows: "/flow",
    plane: "/plane/gone",
    moved: "plane/moved",
    exposure: "forget/z",
}


@functools.cache
def drawn():
    return pictures_of(example())


def everything(pictures):
    """All pictures but the panels, which share one caption and one table."""
    values = (getattr(pictures, f.name) for f in dataclasses.fields(pictures))
    single = [v for v in values if v is not None]
    flat = [p for v in single for p in (v if isinstance(v, list) else [v])]
    return {p.name: p for p in flat if not isinstance(p, tuple) and p.name != "verdict"}


def without(run, part):
    return dataclasses.replace(run, arrays={n: a for n, a in run.arrays.items() if part not in n})


def text_of(svg):
    return " ".join(e.text or "" for e in ElementTree.fromstring(svg).iter() if e.text)


def test_every_picture_has_an_alternative_a_reading_a_warning_and_its_numbers():
    found = everything(drawn())
    assert len(found) >= 20
    for name, picture in found.items():
        assert len(picture.alt) > 20 and picture.title, name
        assert picture.reading.endswith(".") and picture.warning.endswith("."), name
        assert picture.rows, name
        assert all(len(row) == len(picture.head) for row in picture.rows), name


@pytest.mark.parametrize("draw, part", NEEDED.items(), ids=[d.__name__ for d in NEEDED])
def test_a_picture_is_there_exactly_if_its_arrays_are(draw, part):
    run = example()
    assert draw(run)
    assert not draw(without(run, part))


def test_pictures_from_measurements_are_there_exactly_if_those_are():
    run = example(arrays={})
    assert evidence(run) and by_stage(run)
    few = {
        m: {"forget_accuracy": x["forget_accuracy"]}
        for m, x in run.measurements.items()
        if m != "control"
    }
    bare = dataclasses.replace(run, measurements=few)
    assert evidence(bare) is None and by_stage(bare) is None


def test_figures_and_page_take_what_was_drawn_once():
    run = example()
    assert page(run, drawn()) == page(run)
    names = {*figures(run, drawn())}
    assert names >= {
        *("verdict", "evidence", "stages", "roc", "relearning", "exposure", "confidences"),
        *("plane-original", "plane-unlearned", "plane-retrained", "plane-moved"),
        *("flow-unlearned", "flow-retrained", "gradcam-forget-most", "gradcam-forget-least"),
    }


def test_marks_say_what_they_are_when_pointed_at_and_names_in_them_are_escaped():
    run = with_classes(
        example(), ("<script>x</script>", "b\u202e", "c"), gone=["<script>x</script>"]
    )
    for picture in (flows(run)[0], evidence(run), by_stage(run), roc(run)):
        root = ElementTree.fromstring(picture.svg)
        assert list(root.iter("{http://www.w3.org/2000/svg}title")), picture.name
        assert "<script" not in picture.svg and "\u202e" not in picture.svg
    assert "&lt;script&gt;x&lt;/script&gt; → " in flows(run)[0].svg


def test_a_curve_is_the_empirical_distribution_function():
    rng = np.random.default_rng(0)
    values = rng.exponential(1, 97).round(1) + 0.1  # with ties
    x, share = _curve(values, 1e-6)
    expected = stats.ecdf(values).cdf
    upper = {value: s for value, s in zip(x, share, strict=True)}  # the last of each value
    assert upper == pytest.approx({v: float(expected.evaluate(v)) for v in upper})
    assert (np.diff(x) >= 0).all() and (np.diff(share) >= 0).all() and share[0] == 0


def test_losses_and_confidences_are_drawn_by_one_function_on_a_range_that_all_share():
    assert LOSS.log and not CONFIDENCE.log
    run = example()
    run.arrays["retrained/forget/loss"][0] = 5e5
    assert "1e6" in text_of(losses(run).svg)
    assert [row[:3] for row in confidences(run).rows] == [
        (m, what, n)
        for m in ("original", "unlearned", "retrained")
        for what, n in (("forgotten", "200"), ("never seen", "100"))
    ]


def test_values_that_are_not_finite_are_left_out_and_an_empty_part_gives_no_picture():
    run = example()
    run.arrays["original/forget/loss"][:3] = np.inf, np.nan, np.inf
    assert losses(run).rows[0][2] == "197"
    for model in ("original", "unlearned", "retrained"):
        run.arrays[f"{model}/unseen/loss"] = np.zeros(0, np.float32)
    assert losses(run) is None


def test_the_table_of_attacks_has_every_attack_of_every_model():
    rows = {row[:2]: row for row in roc(example()).rows}
    assert len(rows) == 6 * 3
    assert rows["loss", "original"][2:5] == (
        "0.620 (0.580 to 0.660)",
        "0.620 (0.580 to 0.660)",
        "4.0\u00a0% (0.0 to 8.0\u00a0%)",
    )
    assert rows["modified entropy", "unlearned"][2].startswith("0.480")


def test_the_flow_counts_every_image_once_in_one_order_of_classes():
    run = example()
    matrix = np.array([[5, 60, 135], [0, 0, 0], [0, 0, 0]])
    run.arrays["unlearned/flow"] = matrix
    first, second = flows(run)
    column = first.head.index("unlearned")
    counted = {row[:2]: int(row[column].replace(",", "")) for row in first.rows}
    names = ("cat", "dog", "ship")
    assert {k: n for k, n in counted.items() if n} == {
        (names[i], names[j]): matrix[i, j] for i, j in np.argwhere(matrix)
    }
    assert first.rows == second.rows
    ends = [re.findall(r">(cat|dog|ship) · [\d,]+</text>", p.svg)[1:] for p in (first, second)]
    assert ends == [["cat", "dog", "ship"]] * 2


def test_of_many_classes_the_flow_shows_the_largest_and_loses_no_image():
    run = with_classes(example(), [f"k{n}" for n in range(60)], gone=["k7"])
    matrix = np.zeros((60, 60), int)
    matrix[7] = np.arange(60)
    for model in ("unlearned", "retrained"):
        run.arrays[f"{model}/flow"] = matrix
    rows = flows(run)[0].rows
    assert len(rows) <= 25 and ("k7", "all other classes") in {row[:2] for row in rows}
    assert sum(int(row[2].replace(",", "")) for row in rows) == matrix.sum()


def uses(svg):
    """The places of the marks of a drawing."""
    return re.findall(r'<use [^>]*x="([\d.-]+)" y="([\d.-]+)"', svg)


def test_all_panels_of_the_feature_map_have_the_same_axes():
    run = example()
    for part in ("gone", "unseen", "retain"):
        for model in ("unlearned", "retrained"):
            run.arrays[f"{model}/plane/{part}"] = run.arrays[f"original/plane/{part}"]
    before, after, again = (uses(p.svg) for p in plane(run))
    assert len(before) > 250 and before == after == again
    run.arrays["retrained/plane/gone"] = run.arrays["original/plane/gone"] + 50
    assert uses(plane(run)[0].svg) != before  # one far point moves all panels


def test_the_feature_map_prints_what_lies_outside_and_whether_it_was_aligned():
    run = example()
    panels = plane(run)
    for panel, share in zip(panels, (50, 60, 70), strict=True):
        assert f"outside {share}\u00a0%" in text_of(panel.svg)
    assert "31\u00a0% and 17\u00a0% of the original's variance" in text_of(panels[0].svg)
    assert "Procrustes" in panels[0].warning
    run.arrays["plane/procrustes"] = np.array(False)
    assert "not aligned" in plane(run)[0].warning
    alone = example(retrained=False)
    assert "aligned" not in plane(alone)[0].warning and len(plane(alone)) == 2


def test_the_moved_images_are_numbered_alike_in_map_and_list():
    run = example()
    numbers = {f"{n + 1}" for n in range(24)}
    for panel in plane(run)[:2]:
        assert numbers <= {*text_of(panel.svg).split()}
    listed = moved(run)
    assert {row[0] for row in listed.rows} == numbers and "<image" in listed.svg
    assert listed.rows[0][3] == "train/forget-moved-secret-0"
    shared = moved(redacted(run))
    assert {row[0] for row in shared.rows} == numbers and "<image" not in shared.svg
    assert "secret" not in str(shared.rows)


def test_the_evidence_stands_beside_control_and_probes():
    rows = {row[:2]: row[2:] for row in evidence(example()).rows}
    assert evidence(example()).head[2:] == ("original", "unlearned", "retrained", "control")
    assert rows["Mass, true class", "layer1"][3].startswith("50.0")
    assert rows["Mass, answered class", "layer3"][1].startswith("60.0")
    assert rows["Not from maps: probes of the features", "probe recall"][0].startswith("90.0")
    assert {"layer1", "layer3"} == {stage for what, stage in rows if what.startswith("Displ")}
    masses = example().arrays["unlearned/forget/mass"]
    row = rows["mass of forgotten images, true class", "median (quartiles)"]
    assert row[1].startswith(f"{np.median(masses):.3g} (")


def test_evidence_beyond_the_axis_is_said_in_full_in_the_table():
    run = example()
    run.measurements["control"]["evidence_remaining/layer1"] = Measurement(7.5, 6.0, 9.0, 20)
    picture = evidence(run)
    assert "750.0\u00a0% (600.0 to 900.0\u00a0%)" in str(picture.rows).replace("\\xa0", "\u00a0")
    assert "750\u00a0% →" in text_of(picture.svg) and "250\u00a0%" not in text_of(picture.svg)


def test_stages_stand_from_input_to_output_also_in_a_run_that_was_read_back():
    names = ("stem", "features.2", "features.10", "features.10.conv", "penultimate")
    run = example(arrays={})
    for n, name in enumerate(reversed(names)):
        run.measurements["original"][f"probe_at/{name}"] = Measurement(0.1 * n, 0, 1, 9)
    assert stages(run, "probe_at") == [*names]
    kept = dataclasses.replace(run, arrays={"original/stages": np.array([*names[::-1]])})
    assert stages(kept, "probe_at") == [*names[::-1]]  # as the audit says
    back = Run.from_json(json.dumps(json.loads(run.to_json()), sort_keys=True))
    assert stages(back, "probe_at") == [*names]
    order = [row[1] for row in by_stage(run).rows if row[0] == "stage probe recall"]
    assert order == ["stem", "layer1", "layer3", "penultimate"]


def test_exposure_is_sorted_and_warns_of_what_chance_alone_gives():
    run = large(side=8)
    picture = exposure(run)
    z = run.arrays["unlearned/forget/z"]
    far = z[np.argsort(-abs(z))][:12]
    assert [row[1] for row in picture.rows] == [f"{x:.2f}".replace("-", "−") for x in far]
    many = exposure(dataclasses.replace(run, fleet=run.fleet | {"k": 32}))
    assert f"about {round(2 * 5000 * stats.t.sf(2, 31)):,} would" in many.warning


def test_an_image_stands_beside_its_own_score_whichever_sign_it_has():
    run = example()
    ids = [f"train/forget-secret-{n}" for n in range(200)]
    scores = dict(zip(ids, run.arrays["unlearned/forget/z"].tolist(), strict=True))
    rows = exposure(run).rows
    for _, z, said, name in rows:
        assert z == f"{scores[name]:.2f}".replace("-", "−")
        assert (said == "still remembered") == (scores[name] > 2)
    assert any(z.startswith("−") for _, z, _, _ in rows)


def test_the_worst_images_are_named_only_where_their_ids_are_there():
    run = example()
    assert exposure(run).rows[0][3].startswith("train/forget-secret-")
    assert exposure(without(run, "worst_ids")).rows == ()
    assert exposure(redacted(run)) is None


def test_relearning_shows_both_ways_for_every_model():
    rows = relearning(example()).rows
    assert {row[:2] for row in rows} == {
        (model, how)
        for model in ("original", "unlearned", "retrained")
        for how in ("as delivered", "with the original output layer put back")
    }
    assert [row[2] for row in rows[:6]] == ["0", "4", "8", "12", "16", "20"]


def test_the_page_of_a_large_run_with_pictures_of_noise_stays_below_six_megabytes():
    text = page(large(side=96))
    assert len(text.encode()) < 6e6 and text.count("<image") > 200


def test_a_name_that_looks_like_a_place_for_words_is_written_as_it_is():
    sheet = Sheet("odd", 100, 40)
    for text in ("«99»", "«0»", '<g id="hint-7">'):
        sheet.write(5, 10, text)
    drawn = sheet.svg("alt")
    assert drawn.count("«99»") == drawn.count("«0»") == 1
    assert "&lt;g id=" in drawn and "<title>" not in drawn

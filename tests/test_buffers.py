"""Buffers: picked when a model is trained, read with suspicion, used when the rest is gone."""

import io
import json
import pickle
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, rng, save_patterns, seeded

from unsee import buffers, erasure
from unsee.cli import call
from unsee.data import choose, joined, load
from unsee.data._store import Lazy
from unsee.errors import DataError, OptionError, SplitError
from unsee.events import noted
from unsee.folder import digest
from unsee.functional import herded
from unsee.models import Checkpoint, pack
from unsee.nouns import Config
from unsee.pipeline import run
from unsee.preparation import prepare
from unsee.training import predict

UNITS = {"mean": [0.0], "std": [1.0], "classes": ["a", "b", "c"]}
ARCH = "conftest:conv_net"


def pixels(data):
    return data.take(torch.arange(len(data)))


def gap(features, rows):
    """How far the mean of these rows is from the mean of all."""
    return float((features[torch.as_tensor(rows)].mean(0) - features.mean(0)).norm())


# --- which images


def naive_herding(features, k):
    """Algorithm 4 of iCaRL, word for word."""
    mean, chosen = features.mean(0), []
    for n in range(1, k + 1):
        rest = [row for row in range(len(features)) if row not in chosen]
        total = features[chosen].sum(0)
        distances = [float((mean - (features[row] + total) / n).norm()) for row in rest]
        chosen.append(rest[int(np.argmin(distances))])
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_herding_is_the_greedy_choice_of_the_paper(seed):
    features = torch.randn(12, 3, generator=rng(seed), dtype=torch.float64)
    assert herded(features, 12).tolist() == naive_herding(features, 12)
    assert herded(features, 0).tolist() == []
    assert herded(features, 5).tolist() == herded(features, 12).tolist()[:5]


@pytest.mark.parametrize("seed", range(5))
def test_herding_is_nearly_the_best_of_all_choices(seed):
    features = torch.randn(11, 3, generator=rng(seed), dtype=torch.float64)
    for k in (1, 3, 5):
        every = sorted(gap(features, rows) for rows in combinations(range(11), k))
        rank = np.searchsorted(every, gap(features, herded(features, k)) - 1e-9)
        assert rank == 0 if k == 1 else rank < len(every) / 4


def test_herding_keeps_the_mean_better_than_chance():
    features = torch.randn(400, 16, generator=rng()).exp()
    draws = [torch.randperm(400, generator=rng(n))[:20].tolist() for n in range(50)]
    assert gap(features, herded(features, 20)) < 0.5 * min(gap(features, rows) for rows in draws)


def test_quotas_add_up_and_are_in_proportion():
    for counts, share in (([7, 11, 0, 100], 0.13), ([5] * 9, 0.1), ([3, 3], 1.0), ([9, 9], 0.0)):
        found = buffers.quotas(counts, share)
        assert sum(found) == round(share * sum(counts))
        assert all(abs(n - share * of) < 1 and n <= of for n, of in zip(found, counts, strict=True))


# --- what is stored


@pytest.fixture
def data():
    return pattern_data()


@pytest.mark.parametrize("pick", buffers.PICKS)
def test_a_buffer_holds_its_share_of_each_class_and_no_other_image(trained, data, pick):
    made = buffers.make(trained, data, share=0.25, pick=pick, made_for="m")
    assert torch.bincount(made.data.labels).tolist() == [6, 6, 6] and made.counts == (24, 24, 24)
    train = data.part("train")
    place = {name: row for row, name in enumerate(train.ids.tolist())}
    rows = [place[name] for name in made.data.ids.tolist()]
    assert torch.equal(made.data.images, pixels(train)[rows])
    assert torch.equal(made.data.labels, train.labels[rows]) and rows == sorted(rows)
    with np.load(io.BytesIO(made.pack()), allow_pickle=False) as stored:
        sizes = {name: stored[name].size for name in stored.files}
    assert sizes["images"] == 18 * 64
    features, norms = 24, {"norm/0.1", "norm/1.1"}
    assert {n.rpartition(".")[0] for n in sizes if n.startswith("norm/")} == norms
    others = {name: n for name, n in sizes.items() if name != "images" and "norm/" not in name}
    assert others == {
        "labels": 18,
        "ids": 18,
        "parts": 18,
        "classes": 3,
        "counts": 3,
        "facts": 1,
        "means": 3 * features,
        "covariance": features**2,
    }


def test_picks_differ_by_seed_only_where_they_are_random(trained, data):
    def ids(pick, seed):
        return buffers.make(trained, data, pick=pick, seed=seed).data.ids.tolist()

    assert ids("random", 0) == ids("random", 0) != ids("random", 1)
    assert ids("coverage", 0) == ids("coverage", 1) != ids("random", 0)


def test_moments_are_those_of_all_training_images(trained, data):
    made = buffers.make(trained, data, share=0)
    assert len(made.data) == 0
    seen = predict(trained, data.part("train"))
    parts = [seen.features[seen.labels == c].double() for c in range(3)]
    means = torch.stack([part.mean(0) for part in parts])
    scatter = sum(torch.cov(part.T, correction=0) * len(part) for part in parts)
    torch.testing.assert_close(made.moments.means, means.float())
    torch.testing.assert_close(made.moments.covariance, (scatter / 72).float())
    state = trained.state_dict()
    assert made.norms.keys() == {name for name in state if "running_" in name}
    assert all(torch.equal(x, state[name]) for name, x in made.norms.items())


@pytest.mark.parametrize("share, pick", [(1.1, "random"), (-0.1, "random"), (0.1, "best")])
def test_an_unknown_share_or_pick_is_refused(trained, data, share, pick):
    with pytest.raises(OptionError, match=r"Expected --(retain-fraction|pick)"):
        buffers.make(trained, data, share=share, pick=pick)


# --- the file


def columned(data):
    return replace(data, columns={"source": np.array(["x", "yy"] * (len(data) // 2))})


def stored(tmp_path, trained, data, **more):
    path = tmp_path / "buffer.npz"
    path.write_bytes(buffers.make(trained, data, **more).pack())
    return path


def test_what_is_read_is_what_was_written(tmp_path, trained, data):
    path = stored(tmp_path, trained, columned(data), share=0.2, pick="coverage", made_for="m")
    again = buffers.read(path)
    assert again.pack() == path.read_bytes()
    assert (
        again.facts["pick"] == "coverage"
        and again.facts["fingerprint"] == columned(data).fingerprint
    )
    assert again.data.columns["source"].tolist()[:2] and again.data.classes == ("a", "b", "c")
    floats = replace(data, images=data.images.float() / 255)
    path = stored(tmp_path, trained, floats, share=0)
    assert buffers.read(path).data.images.dtype == torch.float32


def altered(path, change):
    with np.load(path, allow_pickle=False) as whole:
        arrays = dict(whole)
    change(arrays)
    np.savez(path, **arrays)


def with_fact(**facts):
    def change(arrays):
        arrays["facts"] = np.array(json.dumps(json.loads(str(arrays["facts"])) | facts))

    return change


def with_array(**new):
    return lambda arrays: arrays.update(new)


HOSTILE = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-200]), "npz file of plain arrays"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps({"images": 1})), "npz file of plain arrays"),
    "objects": (
        lambda p: altered(p, with_array(ids=np.array([{}] * 18, dtype=object))),
        "npz file of plain arrays",
    ),
    "an array more": (lambda p: altered(p, with_array(others=np.zeros(3))), "with the arrays"),
    "an array less": (lambda p: altered(p, lambda a: a.pop("counts")), "with the arrays"),
    "half the moments": (lambda p: altered(p, lambda a: a.pop("means")), "with the arrays"),
    "no JSON": (lambda p: altered(p, with_array(facts=np.array("{"))), "facts as JSON"),
    "deep JSON": (lambda p: altered(p, with_array(facts=np.array("[" * 10**5))), "facts as JSON"),
    "a list": (lambda p: altered(p, with_array(facts=np.array("[1]"))), "facts as JSON"),
    "another schema": (lambda p: altered(p, with_fact(schema=2)), "schema 1.*got 2"),
    "odd facts": (lambda p: altered(p, with_fact(model=1, share="x")), r"odd \['model', 'share'\]"),
    "no share": (lambda p: altered(p, with_fact(share=float("nan"))), r"odd \['share'\]"),
    "odd removals": (lambda p: altered(p, with_fact(removed=[-1, 0, 0])), r"odd \['removed'\]"),
    "floats for labels": (lambda p: altered(p, with_array(labels=np.zeros(18))), r"\['labels'\]"),
    "a label too high": (
        lambda p: altered(p, with_array(labels=np.full(18, 3))),
        r"odd \['labels', 'counts'\]",
    ),
    "a label below 0": (lambda p: altered(p, with_array(labels=np.full(18, -1))), r"\['labels'\]"),
    "fewer images": (
        lambda p: altered(p, with_array(images=np.zeros((2, 1, 8, 8), np.uint8))),
        r"odd \['images'\]",
    ),
    "flat images": (
        lambda p: altered(p, with_array(images=np.zeros((18, 64), np.uint8))),
        r"odd \['images'\]",
    ),
    "not a number": (
        lambda p: altered(p, with_array(images=np.full((18, 1, 8, 8), np.nan, np.float32))),
        r"odd \['pixels'\]",
    ),
    "endless moments": (
        lambda p: altered(p, with_array(means=np.full((3, 24), np.inf, np.float32))),
        r"odd \['moments'\]",
    ),
    "other moments": (
        lambda p: altered(p, with_array(means=np.zeros((3, 5), np.float32))),
        r"odd \['moments'\]",
    ),
    "no moments": (lambda p: altered(p, with_array(means=np.float32(0))), r"odd \['moments'\]"),
    "counts too low": (lambda p: altered(p, with_array(counts=np.array([1, 24, 24]))), "counts"),
    "test images": (lambda p: altered(p, with_array(parts=np.array(["test"] * 18))), "parts"),
    "an id twice": (lambda p: altered(p, with_array(ids=np.array(["x"] * 18))), "unique id"),
    "numbers for ids": (lambda p: altered(p, with_array(ids=np.arange(18))), r"odd \['texts'\]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_sound_buffer_is_refused(name, tmp_path, trained, data):
    path = stored(tmp_path, trained, data, share=0.25)
    assert len(buffers.read(path).data) == 18
    spoil, reason = HOSTILE[name]
    spoil(path)
    with pytest.raises(DataError, match=reason) as refusal:
        buffers.read(path)
    assert "\n" not in str(refusal.value)


def test_a_call_in_a_pickled_array_is_not_made(tmp_path, trained, data):
    class Calls:
        def __reduce__(self):
            return (tmp_path / "canary").mkdir, ()

    path = stored(tmp_path, trained, data, share=0.25)
    altered(path, with_array(columns=np.array([Calls()], dtype=object)))
    with pytest.raises(DataError, match="plain arrays"):
        buffers.read(path)
    assert not (tmp_path / "canary").exists()


def test_what_is_no_file_is_refused(tmp_path):
    for place, got in ((tmp_path, "a folder"), (tmp_path / "x", "no file there")):
        with pytest.raises(DataError, match=f"{got}: unsee buffer makes one"):
            buffers.read(place)


# --- beside data


def only(data, mask):
    """The test images, and those training images that ``mask`` takes."""
    test = data.parts == "test"
    kept = data[np.flatnonzero(mask | test)]
    return replace(kept, images=pixels(kept), rows=None)


def of_class(data, number):
    return (data.parts == "train") & (data.labels.numpy() == number)


def test_beside_all_of_the_data_nothing_is_added(trained, data):
    made = buffers.make(trained, data, share=0.25, made_for="m")
    beside, placed = buffers.placed(made, data, "m")
    assert beside.fingerprint == data.fingerprint and beside.images is data.images
    assert placed.ids.tolist() == made.data.ids.tolist() and placed.elsewhere == ()


@pytest.mark.parametrize("lazy", [False, True])
def test_images_that_lack_are_added_once(trained, data, lazy):
    made = buffers.make(trained, data, share=0.25)
    few = only(data, of_class(data, 2))
    if lazy:
        held = few.images
        few = replace(
            few, images=Lazy(tuple(held.shape), held.dtype, lambda n: (held[i] for i in n))
        )
    beside, ids = joined(few, made.data)
    assert len(beside) == len(few) + 12 and ids.tolist() == made.data.ids.tolist()
    whole = {name: image for name, image in zip(data.ids.tolist(), pixels(data), strict=True)}
    for name, image in zip(beside.ids.tolist(), pixels(beside), strict=True):
        assert torch.equal(image, whole[name])
    assert torch.equal(beside.labels, data.labels[[data.ids.tolist().index(x) for x in beside.ids]])
    again, _ = joined(beside, made.data)
    assert again is beside


def test_ids_of_other_images_are_told_apart_and_pixels_find_the_same_image(trained, data):
    made = buffers.make(trained, data, share=0.25)
    few = only(data, of_class(data, 2))
    n = int((few.parts == "train").sum())
    renamed = few.ids.astype(object)
    renamed[few.parts == "train"] = [f"train/{i:05d}" for i in range(n)]
    few = replace(few, ids=renamed.astype(str))
    with noted() as notes:
        beside, ids = joined(few, made.data)
    assert len(beside) == len(few) + 12 and "ids of the buffer" in notes[0]
    kept = beside[np.flatnonzero(np.isin(beside.ids, ids))]
    own = sorted(map(bytes, (x.numpy().tobytes() for x in made.data.images)))
    assert sorted(x.numpy().tobytes() for x in pixels(kept)) == own
    split = choose(beside, "class=c")
    assert len(split.forget) == 24 and len(split.retain) == 12


def test_an_image_with_another_label_is_another_image(trained, data):
    made = buffers.make(trained, data, share=0.25)
    few = only(data, of_class(data, 2))
    one = replace(few, labels=torch.where(few.labels == 2, 1, few.labels))
    with noted() as notes:
        assert len(joined(one, made.data)[0]) == len(one) + 18
    assert len(notes) == 1


def test_columns_stay_with_their_images(trained, data):
    made = buffers.make(trained, columned(data), share=0.25)
    few = only(columned(data), of_class(data, 2))
    beside, _ = joined(few, made.data)
    whole = dict(zip(data.ids.tolist(), columned(data).columns["source"].tolist(), strict=True))
    found = beside.columns["source"].tolist()
    assert found == [whole[name] for name in beside.ids.tolist()]
    bare, _ = joined(replace(few, columns={}), made.data)
    assert {*bare.columns["source"].tolist()} == {"", "x", "yy"}


@pytest.mark.parametrize("how", ["size", "kind"])
def test_images_of_another_shape_or_kind_are_refused(trained, data, how):
    made = buffers.make(trained, data, share=0.25)
    other = data.images.float() if how == "kind" else data.images[:, :, :4]
    with pytest.raises(DataError, match="--size"):
        buffers.placed(made, replace(data, images=other), "")


def test_more_images_than_were_counted_are_of_other_data(trained, data):
    made = buffers.make(trained, only(data, of_class(data, 2) | of_class(data, 0)), share=0.25)
    with pytest.raises(DataError, match="at most 0 training images of 'b'.*got 24"):
        buffers.placed(made, data, "")


def test_another_model_is_warned_about(trained, data):
    made = buffers.make(trained, data, made_for="m")
    for model, words in (("m", 0), ("other", 1)):
        with noted() as notes:
            buffers.placed(made, data, model)
        assert sum("predecessor" in note for note in notes) == words


# --- unlearning with it


@pytest.fixture
def files(tmp_path, trained, data):
    """All that a request needs: the model, its buffer, all of the data, and what is left of it."""
    (tmp_path / "model.safetensors").write_bytes(pack(Checkpoint(trained.state_dict(), UNITS)))
    made_for = digest(tmp_path / "model.safetensors")
    save_patterns(tmp_path / "all.npz", data)
    whole = load(f"npz:{tmp_path / 'all.npz'}")
    for share in (0, 5, 25):
        made = buffers.make(trained, whole, share=share / 100, made_for=made_for)
        (tmp_path / f"buffer{share}.npz").write_bytes(made.pack())
    few = of_class(whole, 2)
    single = few & (np.cumsum(few) <= 3)
    (tmp_path / "ids.txt").write_text("\n".join(whole.ids[single].tolist()))
    for name, mask in (("class", few), ("single", single), ("most", few & ~single)):
        some = only(whole, mask)
        arrays = {"classes": np.array(whole.classes)}
        for part in ("train", "test"):
            of = some.part(part)
            arrays |= {f"{part}_images": pixels(of).numpy()[:, 0], f"{part}_ids": of.ids}
            arrays[f"{part}_labels"] = of.labels.numpy()
        np.savez(tmp_path / f"{name}.npz", **arrays)
    return tmp_path


def asked(files, data="all", buffer=25, forget="class=c", **more):
    return Config(
        data=f"npz:{files / f'{data}.npz'}",
        model=str(files / "model.safetensors"),
        buffer=str(files / f"buffer{buffer}.npz"),
        forget=forget.replace("DIR", str(files)),
        arch=ARCH,
        **more,
    )


def weights(config):
    with noted():
        job = prepare(config)
        done = erasure.unlearned(job, job.load(job.given))
    return pack(Checkpoint(done.state_dict(), {}))


def test_the_method_is_shown_the_buffer_without_what_is_forgotten(files):
    job = prepare(asked(files))
    whole = buffers.read(files / "buffer25.npz").data
    stays = whole.ids[whole.labels.numpy() != 2].tolist()
    assert job.shown.ids.tolist() == stays and len(stays) == 12
    assert len(job.split.retain) == 48  # audits look at all of it
    assert prepare(replace(asked(files), buffer=None)).shown is None


def test_twins_that_are_forgotten_leave_the_buffer_too(files, trained):
    arrays = dict(np.load(files / "all.npz"))
    arrays["train_images"][4] = arrays["train_images"][2]  # a "b" with the pixels of a "c"
    np.savez(files / "all.npz", **arrays)
    whole = load(f"npz:{files / 'all.npz'}")
    made = buffers.make(trained, whole, share=1, made_for=digest(files / "model.safetensors"))
    (files / "buffer25.npz").write_bytes(made.pack())
    twin = whole.ids[4]
    with noted():
        assert twin in prepare(asked(files)).shown.ids
        assert twin not in prepare(asked(files, include_twins=True)).shown.ids


@pytest.mark.parametrize("left, forget", [("class", "class=c"), ("single", "ids=DIR/ids.txt")])
@pytest.mark.parametrize("buffer", [5, 25])
def test_without_the_training_set_the_result_is_the_same(files, left, forget, buffer):
    with noted():
        here, gone = (prepare(asked(files, x, buffer, forget, guard=1.0)) for x in ("all", left))
    assert here.split.gone == gone.split.gone == ((2,) if left == "class" else ())
    assert gone.shown.ids.tolist() == here.shown.ids.tolist() == gone.split.retain.ids.tolist()
    assert weights(here.config) == weights(gone.config)


def test_counts_tell_a_whole_class_from_all_that_is_there(files):
    ids = "ids=DIR/ids.txt"
    with noted() as notes:
        job = prepare(asked(files, "single", 5, ids))
    here = {*job.split.retain.labels.tolist()}
    assert job.split.elsewhere == (0, 1, 2) and job.split.gone == ()
    assert any("of 72 training images are here" in note for note in notes)
    with noted():  # the same three images, and no other image of their class anywhere
        arrays = dict(np.load(files / "buffer5.npz"))
        others = arrays["labels"] != 2
        for name in ("images", "labels", "ids", "parts"):
            arrays[name] = arrays[name][others]
        np.savez(files / "buffer1.npz", **arrays)
        assert prepare(asked(files, "single", 1, ids)).split.gone == ()
        arrays["counts"][2] = 3
        np.savez(files / "buffer1.npz", **arrays)
        assert prepare(asked(files, "single", 1, ids)).split.gone == (2,)
    assert here == {0, 1, 2}


def test_a_class_that_is_named_is_whole_even_if_some_of_it_is_lost(files):
    with noted() as notes:
        job = prepare(asked(files, "most"))
    assert job.split.gone == (2,) and job.split.elsewhere == (0, 1)
    assert any("not all training images of ['c'] are here" in note for note in notes)


def test_a_buffer_without_images_serves_beside_the_training_set_alone(files):
    with noted():
        job = prepare(asked(files, buffer=0))
        assert len(job.shown) == 0 and job.split.gone == (2,)
        assert weights(job.config) != weights(asked(files))
        with pytest.raises(SplitError, match="a buffer with images is needed"):
            prepare(asked(files, "class", 0))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"oracle": "retrain"}, "all 72 training images for --oracle retrain, got 36"),
        ({"method": "retrain"}, "all 72 training images for --method retrain, got 36"),
        ({"model": None}, "there is no --model"),
    ],
)
def test_what_is_left_is_not_trained_on_as_if_it_were_all(files, change, words):
    with noted():
        prepare(replace(asked(files), **change))
        with pytest.raises(OptionError, match=words):
            prepare(replace(asked(files, "class"), **change))


@pytest.mark.parametrize("classes", [("a", "b", "c", "d"), ("a", "x", "c"), ("0", "1", "2")])
def test_a_buffer_of_other_classes_is_refused_unless_the_data_has_numbers(files, classes):
    arrays = dict(np.load(files / "all.npz"))
    np.savez(files / "all.npz", **arrays | {"classes": np.array(classes)})
    with noted():
        if classes[0] == "0":
            assert prepare(asked(files)).split.classes == ("a", "b", "c")
        else:
            with pytest.raises(DataError, match=r"classes among those of the buffer.*--classes"):
                prepare(asked(files))


def test_labels_of_few_classes_are_read_by_their_names(files):
    with np.load(files / "class.npz") as whole:
        arrays = dict(whole)
    for part in ("train", "test"):
        rows = arrays[f"{part}_labels"] == 2
        for name in ("images", "labels", "ids"):
            arrays[f"{part}_{name}"] = arrays[f"{part}_{name}"][rows]
        arrays[f"{part}_labels"][:] = 0
    np.savez(files / "few.npz", **arrays | {"classes": np.array(["c"])})
    with noted():
        job = prepare(asked(files, "few"))
    assert job.split.gone == (2,) and job.split.classes == ("a", "b", "c")


def test_a_run_records_its_buffer_and_belongs_to_it(files, tmp_path):
    config = asked(files, "class", guard=1.0, method="noop")
    done = run(config, tmp_path / "run")
    assert done.buffer == {
        "images": 12,
        "training_images": 72,
        "here": 36,
        "pick": "random",
        "share": 0.25,
        "seed": 0,
    }
    assert (
        "12 of 72 training images, picked by random" in (tmp_path / "run/report.html").read_text()
    )
    words = json.loads((tmp_path / "run" / "config.json").read_text())
    assert words["digests"]["buffer"] == digest(files / "buffer25.npz")


# --- a request empties the buffer


def assert_moments(found, expected):
    torch.testing.assert_close(found.means, expected.means, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", ["class=c", "random=7", "class=a,c"])
def test_what_is_taken_out_leaves_nothing_behind(trained, data, rule):
    made = buffers.make(trained, data, share=0.25)
    beside, placed = buffers.placed(made, data, "")
    left = buffers.emptied(placed, beside, rule, model=trained)
    stays = choose(data, rule).retain
    gone = {*data.part("train").ids.tolist()} - {*stays.ids.tolist()}
    assert left.data.ids.tolist() == [x for x in made.data.ids.tolist() if x not in gone]
    kept = {name: image for name, image in zip(data.ids.tolist(), pixels(data), strict=True)}
    for name, image in zip(left.data.ids.tolist(), left.data.images, strict=True):
        assert torch.equal(image, kept[name])
    assert left.norms == {} and sum(left.facts["removed"]) == len(gone)
    again = buffers.make(trained, replace(stays, images=pixels(stays), rows=None), share=0)
    assert left.counts == again.counts
    assert_moments(left.moments, again.moments)


def test_what_is_left_beside_the_data_is_as_good_as_before(trained, data):
    made = buffers.make(trained, data, share=0.25)
    beside, placed = buffers.placed(made, data, "")
    first = buffers.emptied(placed, beside, "class=c", model=trained)
    beside, placed = buffers.placed(first, data, "")  # nobody has deleted the images yet
    assert placed.elsewhere == ()
    with pytest.raises(DataError, match="taken out before"):
        buffers.emptied(placed, beside, "class=c", model=trained)


@pytest.mark.parametrize("why", ["no model", "some are lost"])
def test_moments_go_where_their_part_cannot_be_taken_out(trained, data, why):
    made = buffers.make(trained, data, share=0.25)
    here = of_class(data, 2) & (np.arange(len(data)) > 9) if why == "some are lost" else None
    some = data if here is None else only(data, here)
    beside, placed = buffers.placed(made, some, "")
    with noted() as notes:
        left = buffers.emptied(
            placed, beside, "class=c", model=None if why == "no model" else trained
        )
    assert left.moments is None and "moments" in notes[0]
    assert sorted({*left.data.labels.tolist()}) == [0, 1]
    assert buffers.Buffer.pack(left)


def test_a_class_that_goes_is_gone_whether_all_of_it_is_here_or_not(trained, data):
    some = only(data, of_class(data, 2) & (np.arange(len(data)) > 9))
    beside, placed = buffers.placed(buffers.make(trained, data, share=0.25), some, "")
    with noted():
        left = buffers.emptied(placed, beside, "class=c", model=trained)
    assert left.counts == (24, 24, 0) and left.facts["removed"] == [0, 0, 24]


def test_the_same_images_are_not_taken_out_twice(trained, data, tmp_path):
    (tmp_path / "ids.txt").write_text("\n".join(data.part("train").ids[:3].tolist()))
    made = buffers.make(trained, data, share=0.25)
    beside, placed = buffers.placed(made, data, "")
    left = buffers.emptied(placed, beside, f"ids={tmp_path / 'ids.txt'}", model=trained)
    assert sum(left.counts) == sum(made.counts) - 3
    beside, placed = buffers.placed(left, data, "")
    with pytest.raises(DataError, match="taken out before"):
        buffers.emptied(placed, beside, f"ids={tmp_path / 'ids.txt'}", model=trained)


def test_an_emptied_buffer_is_read_again(tmp_path, trained, data):
    beside, placed = buffers.placed(buffers.make(trained, data, share=0.25), data, "")
    for model in (trained, None):
        with noted():
            left = buffers.emptied(placed, beside, "class=c", model=model)
        (tmp_path / "left.npz").write_bytes(left.pack())
        again = buffers.read(tmp_path / "left.npz")
        assert again.counts == (24, 24, 0) and again.pack() == left.pack()
        assert (again.moments is None) is (model is None)


# --- on the command line

QUIET = ("--arch", ARCH, "--quiet")


def test_the_verb_writes_what_unlearning_takes(files, capsys):
    model, out = str(files / "model.safetensors"), files / "made.npz"
    base = (*QUIET, "--data", f"npz:{files / 'all.npz'}", "--model", model)
    asked_for = ("--retain-fraction", "0.25", "--pick", "coverage", "--out", str(out))
    assert call("buffer", *base, *asked_for) == 0
    assert capsys.readouterr().out == f"{out}\n"
    first = out.read_bytes()
    assert call("buffer", *base, *asked_for, "--force") == 0 and out.read_bytes() == first
    made = buffers.read(out)
    assert made.facts["pick"] == "coverage" and made.facts["model"] == digest(files / model)
    after = []
    for name in ("all", "class"):
        file = files / f"after-{name}.safetensors"
        given = (*QUIET, "--data", f"npz:{files / name}.npz", "--model", model, "--guard", "1")
        rest = ("--forget", "class=c", "--buffer", str(out), "--out", str(file))
        assert call("unlearn", *given, *rest) == 0
        after.append(file.read_bytes())
    assert after[0] == after[1] != (files / "model.safetensors").read_bytes()
    few = (*QUIET, "--data", f"npz:{files / 'class.npz'}", "--model", model)
    empty = ("--buffer", str(out), "--without", "class=c", "--out", str(out), "--force")
    assert call("buffer", *few, *empty) == 0
    left = buffers.read(out)
    assert left.counts == (24, 24, 0) and left.moments is not None and len(left.data) == 12


def test_what_was_unseen_earlier_is_in_no_new_buffer(files, capsys):
    model, out = str(files / "model.safetensors"), files / "later.npz"
    base = (*QUIET, "--data", f"npz:{files / 'all.npz'}", "--model", model, "--out", str(out))
    assert call("buffer", *base, "--earlier", "class=c", "--retain-fraction", "1") == 0
    assert buffers.read(out).counts == (24, 24, 0)
    assert (
        call("buffer", *base, "--buffer", str(out), "--without", "class=a", "--earlier", "x") == 2
    )
    assert "no --earlier with --buffer" in capsys.readouterr().err


def test_a_buffer_and_a_share_to_draw_exclude_each_other(files, capsys):
    flags = ("--forget", "class=c", "--buffer", str(files / "buffer25.npz"))
    given = ("--data", f"npz:{files / 'all.npz'}", "--model", str(files / "model.safetensors"))
    out = str(files / "both.safetensors")
    asked_for = (*QUIET, *given, *flags, "--retain-fraction", "0.2", "--out", out)
    assert call("unlearn", *asked_for) == 2
    assert "--buffer or --retain-fraction" in capsys.readouterr().err


def test_an_audit_alone_takes_what_stays_from_the_buffer(files):
    model, out = str(files / "model.safetensors"), files / "audit"
    both = ("--original", model, "--unlearned", model, "--forget", "class=c", "--out", str(out))
    data = ("--data", f"npz:{files / 'class.npz'}", "--buffer", str(files / "buffer25.npz"))
    assert call("audit", *QUIET, *data, *both) == 0
    found = json.loads((out / "audit.json").read_text())
    assert found["data"]["counts"] == {"forget": 24, "retain": 12, "validation": 0, "test": 24}
    assert found["models"]["original"]["retain_accuracy"]["n"] == 12


def test_a_dry_run_counts_the_images_of_the_buffer(files, capsys):
    model = str(files / "model.safetensors")
    given = (*QUIET, "--data", f"npz:{files / 'class.npz'}", "--model", model)
    kept = ("--buffer", str(files / "buffer25.npz"))
    assert call("run", *given, *kept, "--forget", "class=c", "--dry-run") == 0
    assert "would show snu_deep 12 of 12 images to keep" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--out", "x.npz"), "Expected --model"),
        (("--model", "model.safetensors"), "Expected --out"),
        (("--model", "model.safetensors", "--out", "all.npz"), "which exists"),
        (("--model", "model.safetensors", "--out", "model.safetensors", "--force"), "the input"),
        (("--model", "model.safetensors", "--out", "x", "--pick", "best"), "--pick among"),
        (("--model", "model.safetensors", "--out", "x", "--retain-fraction", "2"), "in 0..1"),
        (("--model", "model.safetensors", "--out", "x", "--without", "class=c"), "got one"),
        (
            (
                *("--model", "model.safetensors", "--out", "x", "--without", "class=c"),
                *("--buffer", "buffer25.npz", "--pick", "random"),
            ),
            "Expected no --pick",
        ),
        (
            (
                *("--model", "model.safetensors", "--out", "x", "--without", "class=d"),
                *("--buffer", "buffer25.npz"),
            ),
            "Expected classes",
        ),
    ],
)
def test_what_the_verb_cannot_do_is_refused_and_nothing_is_written(
    files, arguments, words, monkeypatch, capsys
):
    monkeypatch.chdir(files)
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    assert call("buffer", *QUIET, "--data", "npz:all.npz", *arguments) == 2
    told = capsys.readouterr()
    assert words in told.err and told.err.count("\n") == 1 and told.out == ""
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_a_model_that_does_not_know_the_images_gets_no_buffer(files, capsys):
    stranger = Checkpoint(seeded(conv_net, 11).state_dict(), UNITS)
    (files / "model.safetensors").write_bytes(pack(stranger))
    base = ("--data", f"npz:{files / 'all.npz'}", "--model", str(files / "model.safetensors"))
    assert call("buffer", *QUIET, *base, "--out", str(files / "x.npz")) == 2
    assert "knows its training images" in capsys.readouterr().err
    assert not (files / "x.npz").exists()

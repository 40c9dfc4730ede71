"""Hand-written runs: what the pipeline would have recorded, without it and without torch."""

import dataclasses

import numpy as np

from unsee.nouns import Measurement, Run

CLASSES = ("cat", "dog", "ship")
VALUES = {  # of original, unlearned, retrained
    "forget_accuracy": (0.95, 0.0, 0.0),
    "retain_accuracy": (0.96, 0.955, 0.96),
    "test_accuracy": (0.9, 0.895, 0.9),
    "forgotten_test_accuracy": (0.9, 0.0, 0.0),
    "membership_auc": (0.62, 0.51, 0.5),
    "probe_recall": (0.9, 0.61, 0.6),
    "few_shot_recall": (0.9, 0.42, 0.4),
    "evidence_remaining": (1.0, 0.06, 0.05),
    "evidence_of_answer": (0.9, 0.6, 0.6),
    "displacement": (None, 0.9, 0.9),
    "empty_maps": (0.0, 0.3, 0.3),
    "agreement": (0.03, 0.8, None),
    "js_distance": (0.7, 0.2, None),
    "test_accuracy/cat": (0.9, 0.0, 0.0),
    "test_accuracy/dog": (0.92, 0.91, 0.92),
    "test_accuracy/ship": (0.88, 0.88, 0.88),
}
STAGES = ("stem", "layer1", "layer3", "penultimate")
ATTACKS = ("confidence", "entropy", "modified_entropy", "margin", "learned")
AUCS = (0.62, 0.51, 0.5)
MORE = {  # the same of all other audits; a name with a stage, an attack or a class comes last
    "membership_two_sided": AUCS,
    "membership_strongest": (0.66, 0.54, 0.53),
    "membership_tpr": (0.04, 0.012, 0.01),
    "membership_fpr": (0.01, 0.01, 0.01),
    "membership_tpr_strict": (0.01, 0.001, 0.001),
    "membership_fpr_strict": (0.01, 0.01, 0.01),
    "membership_epsilon": (0.4, 0.0, 0.0),
    "mia_efficacy_svc": (0.2, 0.8, 0.81),
    "l2_distance": (1.1, 0.2, None),
    "zrf": (0.5, 0.8, 0.81),
    "tug_of_war": (0.05, 0.97, None),
    "worst_class_change": (None, -0.01, None),
    "stage_probe_recall": (0.9, 0.62, 0.6),
    "cka_original": (1.0, 0.7, 0.6),
    "cka_original_retain": (1.0, 0.95, 0.9),
    "cka_retrained": (0.6, 0.65, 1.0),
    "cka_retrained_retain": (0.9, 0.9, 1.0),
    "knn_purity": (0.85, 0.3, 0.28),
    "weight_change": (0.0, 0.12, 0.9),
    "recovery_recall": (0.9, 0.2, 0.05),
    "information_difference": (1.0, 0.1, 0.0),
    "relearn_recall": (0.95, 0.4, 0.38),
    "relearn_recall_restored": (0.95, 0.5, 0.4),
    "relearn_steps": (0.0, 40.0, 44.0),
    "anamnesis_index": (None, 0.91, None),
    "ulira_auc": (None, 0.52, None),
    "rmia_auc": (None, 0.51, None),
    "klom": (2.4, 0.2, None),
    "klom_95": (6.1, 0.9, None),
    "evidence_remaining/layer1": (1.0, 0.6, 0.5),
    "evidence_remaining/layer3": (1.0, 0.06, 0.05),
    "displacement/layer1": (None, 0.4, 0.6),
    "displacement/layer3": (None, 0.9, 0.9),
    "membership_strongest/margin": (0.66, 0.54, 0.53),
    "worst_class_change/dog": (None, -0.01, None),
}
for attack in ATTACKS:
    MORE |= {
        f"membership_auc/{attack}": (0.6, 0.48, 0.5),
        f"membership_two_sided/{attack}": (0.6, 0.52, 0.5),
        f"membership_tpr/{attack}": (0.03, 0.01, 0.01),
        f"membership_tpr_strict/{attack}": (0.01, 0.0, 0.0),
        f"membership_epsilon/{attack}": (0.2, 0.0, 0.0),
    }
for k, stage in enumerate(STAGES):
    MORE |= {
        f"stage_probe_recall/{stage}": (0.5 + 0.13 * k, 0.5 + 0.04 * k, 0.5 + 0.03 * k),
        f"cka_original/{stage}": (1.0, 1 - 0.1 * k, 0.9 - 0.1 * k),
        f"cka_original_retain/{stage}": (1.0, 1 - 0.01 * k, 0.95 - 0.01 * k),
        f"cka_retrained/{stage}": (0.9 - 0.1 * k, 0.9 - 0.08 * k, 1.0),
        f"cka_retrained_retain/{stage}": (0.95 - 0.01 * k, 0.95 - 0.01 * k, 1.0),
        f"weight_change/{stage}": (0.0, 0.03 + 0.05 * k, 0.8),
    }
CONTROL = {  # the original's architecture with random weights
    "evidence_remaining": 0.4,
    "evidence_of_answer": 1.1,
    "displacement": 0.85,
    "empty_maps": 0.5,
    "evidence_remaining/layer1": 0.5,
    "evidence_remaining/layer3": 0.4,
    "displacement/layer1": 0.8,
    "displacement/layer3": 0.85,
}
SIGNED = ("worst_class_change", "cka_")
OF_CLASSES = {
    *("probe_recall", "few_shot_recall", "stage_probe_recall", "recovery_recall"),
    *("relearn_recall", "relearn_recall_restored", "relearn_steps", "anamnesis_index"),
    *("information_difference", "knn_purity"),
}
MODELS = ("original", "unlearned", "retrained")
MARGINS = {
    "forget_accuracy": 0.02,
    "forgotten_test_accuracy": 0.05,
    "retain_accuracy": 0.01,
    "test_accuracy": 0.015,
    "membership_auc": 0.03,
    "few_shot_recall": 0.05,
}


def measured(value, spread=0.04, n=200, floor=0.0):
    if value is None:
        return None
    return Measurement(value, max(floor, value - spread), value + spread, n)


def _measured_as(name, value):
    return measured(value, floor=-2.0 if name.startswith(SIGNED) else 0.0)


def drawn(part, n, colour, rng, found):
    """Add ``n`` plain pictures of one colour, with ids that must not leak."""
    plain = np.array(colour, np.uint8)[None, :, None, None]
    found[f"pictures/{part}/images"] = np.broadcast_to(plain, (n, 3, 8, 8)).copy()
    found[f"pictures/{part}/ids"] = np.array([f"train/{part}-secret-{i}" for i in range(n)])
    found[f"pictures/{part}/labels"] = np.arange(n) * 0 + (part == "retain")


def curve(auc, m=60, n=200):
    """Return a binormal ROC curve of about that area, with a band about it: [4, m]."""
    fpr = np.geomspace(1 / n, 1, m)
    tpr = fpr ** ((1 - auc) / auc)
    half = 1.96 * np.sqrt(tpr * (1 - tpr) / n) + 1 / n
    return np.stack([fpr, tpr, (tpr - half).clip(0, 1), (tpr + half).clip(0, 1)])


def arrays(models=MODELS, classes=3, seed=0, gone=True):
    """Return pictures, maps and scores; forgotten images are magenta, retained ones green."""
    rng = np.random.default_rng(seed)
    found = {}
    magenta, green = (255, 0, 255), (0, 255, 0)
    parts = {"forget": 3, "retain": 2, "forget-most": 2, "forget-least": 2}
    for part, n in parts.items():
        drawn(part, n, green if part == "retain" else magenta, rng, found)
        for model in models:
            place = f"{model}/{part}"
            found[f"{place}/answer"] = rng.integers(0, classes, n)
            found[f"{place}/answer_probability"] = rng.random(n, np.float32)
            found[f"{place}/probability"] = rng.random(n, np.float32)
            found[f"{place}/map"] = rng.random((n, 4, 4), np.float32)
            found[f"{place}/answer_map"] = rng.random((n, 4, 4), np.float32)
    moved = 24
    drawn("forget-moved", moved, magenta, rng, found)
    found["plane/moved"] = rng.choice(200, moved, replace=False)
    found["plane/retain_labels"] = np.arange(120) % classes
    found["plane/variance"] = np.array([0.31, 0.17])
    found["plane/procrustes"] = np.array(True)
    angles = 2 * np.pi * found["plane/retain_labels"] / classes
    centres = 4 * np.stack([np.cos(angles), np.sin(angles)], 1)
    for n, model in enumerate(models):
        auc, forgets = AUCS[n], model != "original"
        counts = rng.multinomial(200, [1 / classes] * classes)
        found[f"{model}/forget/answers"] = counts
        for part, size in (("forget", 200), ("unseen", 100)):
            raw = rng.exponential(1 + forgets, size).astype(np.float32)
            found[f"{model}/{part}/loss"] = raw
            found[f"{model}/{part}/confidence"] = np.exp(-raw / 4)
        for part, size in (("forget", 200), ("unseen", 100), ("retain", 400), ("test", 300)):
            gone_now = part in ("forget", "unseen") and forgets
            found[f"{model}/{part}/right"] = rng.random(size) < (0.02 if gone_now else 0.93)
        found[f"{model}/forget/js_distance"] = rng.random(200, np.float32)
        for attack in ("loss", *ATTACKS):
            found[f"{model}/roc/{attack}"] = curve(auc)
        steps = np.arange(0, 21, 4)
        found[f"{model}/relearn/steps"] = steps
        found[f"{model}/relearn/recall"] = 1 - np.exp(-steps / (3 + 20 * forgets))
        found[f"{model}/relearn/recall_restored"] = 1 - np.exp(-(steps + 2) / (3 + 20 * forgets))
        flow = np.zeros((classes, classes), int)
        flow[0] = counts
        found[f"{model}/flow"] = flow
        middle = np.array([4.0, 0.0]) * (1 - 0.8 * forgets)
        found[f"{model}/plane/retain"] = (centres + rng.normal(0, 0.5, (120, 2))).astype("f4")
        found[f"{model}/plane/gone"] = (middle + rng.normal(0, 0.6, (200, 2))).astype("f4")
        found[f"{model}/plane/unseen"] = (middle + rng.normal(0, 0.7, (100, 2))).astype("f4")
        found[f"{model}/plane/outside"] = np.array(0.5 + 0.1 * n)
        found[f"{model}/plane/overlap"] = rng.random(200, np.float32)
        for part in ("forget", "retain"):
            found[f"{model}/{part}/mass"] = rng.random(200, np.float32)
            found[f"{model}/{part}/answer_mass"] = rng.random(200, np.float32)
    return found | exposed(rng.normal(0.3, 1, 200))


def exposed(z):
    """Return what a fleet would say of each forgotten image."""
    found = {"z": z.astype(np.float32), "still": z > 2}
    worst = np.argsort(-abs(found["z"]))[:12]
    found |= {f"worst_{what}": x[worst] for what, x in found.items()}
    found["worst_ids"] = np.array([f"train/forget-secret-{i}" for i in worst])
    return {f"unlearned/forget/{what}": x for what, x in found.items()}


def verdict(measurements, k=8, light="green", kind="like retrained"):
    """Return what the verdict would have recorded of ``k`` retrained models."""
    audits = {}
    for name, margin in MARGINS.items():
        found = {model: names.get(name) for model, names in measurements.items()}
        if not found["unlearned"]:
            continue
        again, now = found.get("retrained"), found["unlearned"].value
        band = (again.value - 0.02 - margin, again.value + 0.02 + margin) if k > 1 else (None,) * 2
        before = found["original"].value
        side = "unknown"
        if k > 1:
            side = "below" if now < band[0] else "above" if now > band[1] else "inside"
        audits[name] = {
            "value": now,
            "reference": again and again.value,
            "low": band[0],
            "high": band[1],
            "original": before,
            "power": None if k < 2 else not band[0] <= before <= band[1],
            "state": side,
        }
    return {
        "light": light,
        "kind": kind,
        "sentence": f"{light.capitalize()}: {kind}, by {k} retrained models.",
        "reasons": ["every audit lies inside the band of the retrained models"],
        "policy": {"name": "default", "sha256": "a" * 64, "family_level": 0.05, "margins": MARGINS},
        "k": k,
        "audits": audits,
    }


def example(*, retrained=True, gone=True, values=None, **changes):
    """Return a finished run; ``values`` are those of the unlearned model that differ."""
    models = MODELS if retrained else MODELS[:2]
    every = VALUES | MORE
    table = {
        n: list(three) for n, three in every.items() if gone or n.split("/")[0] not in OF_CLASSES
    }
    if not gone:  # as accurate on unseen images of these classes as on all unseen ones
        table["forgotten_test_accuracy"] = table["test_accuracy"][:]
    for name, value in (values or {}).items():
        table[name][1] = value
    measurements = {
        model: {name: _measured_as(name, three[k]) for name, three in table.items()}
        for k, model in enumerate(models)
    }
    if retrained:
        spread = (-0.02, -0.012, -0.006, 0.0, 0.004, 0.01, 0.015, 0.02)
        again = {name: three[2] for name, three in table.items()}
        references = {n: [v and v + d for d in spread] for n, v in again.items() if v is not None}
        judged = verdict(measurements)
    else:
        references, judged = {}, verdict(measurements, 0, "grey", "no reference")
    measurements["control"] = {name: measured(value) for name, value in CONTROL.items()}
    stages = ("train", "unlearn", "retrain")[: len(models)]
    facts = {
        "data": {
            "name": "pets",
            "fingerprint": "f" * 64,
            "classes": [*CLASSES],
            "counts": {"forget": 200, "retain": 400, "test": 300, "validation": 0},
        },
        "forget": {
            "rule": "class=cat" if gone else "random=200",
            "count": 200,
            "ids_digest": "d" * 64,
            "gone": ["cat"] if gone else [],
            "staying": 0 if gone else 200,
        },
        "measurements": measurements,
        "environment": {"unsee": "0.1.0", "torch": "2.10.0"},
        "seed": 7,
        "method": "snu_deep",
        "options": {"epochs": 1, "lr": 0.02},
        "seconds": dict(zip(stages, (30.0, 4.0, 28.0), strict=False)),
        "images_per_second": dict(zip(stages, (200.0, 170.0, 210.0), strict=False)),
        "image_gradients": dict(zip(stages, (6000.0, 700.0, 5600.0), strict=False)),
        "peak_memory": 2**30,
        "output_layer": "fc",
        "explained_layer": "layer3",
        "references": references,
        "fleet": {"k": 8, "seeds": [*range(8)], "refused": ["KLoM needs 16 models, got 8"]}
        if retrained
        else {},
        "verdict": judged,
        "arrays": arrays(models, gone=gone),
    }
    return Run(**(facts | changes))


def bare():
    """Return all that an audit of models unlearned elsewhere must have."""
    names = ("forget_accuracy", "retain_accuracy", "test_accuracy")
    return Run(
        data={},
        forget={},
        measurements={
            model: {name: measured(VALUES[name][k]) for name in names}
            for k, model in enumerate(MODELS[:2])
        },
        environment={},
        seed=0,
    )


def with_classes(run, names, gone=()):
    """Return ``run`` with other classes, each with its own accuracy."""
    rng = np.random.default_rng(1)
    measurements = {}
    for model, found in run.measurements.items():
        kept = {name: m for name, m in found.items() if not name.startswith("test_accuracy/")}
        own = {f"test_accuracy/{name}": measured(rng.uniform(0.3, 0.9), n=20) for name in names}
        measurements[model] = kept | (own if model != "control" else {})
    changed = arrays(tuple(m for m in MODELS if m in run.measurements), classes=len(names))
    data, forget = run.data | {"classes": [*names]}, run.forget | {"gone": [*gone]}
    return dataclasses.replace(
        run, measurements=measurements, data=data, forget=forget, arrays=changed
    )


def large(side=64):
    """Return a run as large as real ones, with pictures of noise, which no format makes smaller."""
    rng = np.random.default_rng(3)
    names = [f"kind {n}" for n in range(10)]
    run = with_classes(example(), names, gone=["kind 0"])
    found = dict(run.arrays)
    parts = {"forget": 8, "retain": 6, "forget-most": 4, "forget-least": 4, "forget-moved": 24}
    for part, n in parts.items():
        found[f"pictures/{part}/images"] = rng.integers(0, 256, (n, 3, side, side), np.uint8)
        found[f"pictures/{part}/ids"] = np.array([f"train/{part}-secret-{k}" for k in range(n)])
        found[f"pictures/{part}/labels"] = rng.integers(0, 10, n)
        for model in MODELS if part != "forget-moved" else ():
            for kind in ("map", "answer_map"):
                found[f"{model}/{part}/{kind}"] = rng.random((n, 8, 8), np.float32)
            found[f"{model}/{part}/answer"] = rng.integers(0, 10, n)
            for kind in ("probability", "answer_probability"):
                found[f"{model}/{part}/{kind}"] = rng.random(n, np.float32)
    found["plane/moved"] = np.arange(24) * 100
    found["plane/retain_labels"] = rng.integers(0, 10, 2000)
    for model in MODELS:
        for part, n in (("retain", 2000), ("gone", 5000), ("unseen", 1000)):
            found[f"{model}/plane/{part}"] = rng.normal(0, 3, (n, 2)).astype(np.float32)
        found[f"{model}/plane/overlap"] = rng.random(5000, np.float32)
        found[f"{model}/forget/loss"] = rng.exponential(1, 5000).astype(np.float32)
        found[f"{model}/flow"] = rng.integers(0, 60, (10, 10))
        found[f"{model}/roc/loss"] = curve(0.6, m=200, n=1000)
    return dataclasses.replace(run, arrays=found | exposed(rng.normal(0, 1, 5000)))

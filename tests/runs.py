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
OF_CLASSES = {"forgotten_test_accuracy", "probe_recall", "few_shot_recall"}
MODELS = ("original", "unlearned", "retrained")


def measured(value, spread=0.04, n=200):
    if value is None:
        return None
    return Measurement(value, max(0.0, value - spread), value + spread, n)


def arrays(models=MODELS, classes=3, seed=0, gone=True):
    """Return pictures, maps and scores; forgotten images are magenta, retained ones green."""
    rng = np.random.default_rng(seed)
    found = {}
    for part, colour, n in (("forget", (255, 0, 255), 3), ("retain", (0, 255, 0), 2)):
        plain = np.array(colour, np.uint8)[None, :, None, None]
        found[f"pictures/{part}/images"] = np.broadcast_to(plain, (n, 3, 8, 8)).copy()
        found[f"pictures/{part}/ids"] = np.array([f"train/{part}-secret-{i}" for i in range(n)])
        found[f"pictures/{part}/labels"] = np.arange(n) * 0 + (part == "retain")
        for model in models:
            place = f"{model}/{part}"
            found[f"{place}/answer"] = rng.integers(0, classes, n)
            found[f"{place}/answer_probability"] = rng.random(n, np.float32)
            found[f"{place}/probability"] = rng.random(n, np.float32)
            found[f"{place}/map"] = rng.random((n, 4, 4), np.float32)
            found[f"{place}/answer_map"] = rng.random((n, 4, 4), np.float32)
    for model in models:
        found[f"{model}/forget/answers"] = rng.multinomial(200, [1 / classes] * classes)
        found[f"{model}/forget/loss"] = rng.exponential(1, 200).astype(np.float32)
        found[f"{model}/unseen/loss"] = rng.exponential(1, 100).astype(np.float32)
        found[f"{model}/forget/js_distance"] = rng.random(200, np.float32)
    return found


def example(*, retrained=True, gone=True, values=None, **changes):
    """Return a finished run; ``values`` are those of the unlearned model that differ."""
    models = MODELS if retrained else MODELS[:2]
    table = {name: list(three) for name, three in VALUES.items() if gone or name not in OF_CLASSES}
    for name, value in (values or {}).items():
        table[name][1] = value
    measurements = {
        model: {name: measured(three[k]) for name, three in table.items()}
        for k, model in enumerate(models)
    }
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
        "arrays": arrays(models),
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
        kept = {name: m for name, m in found.items() if "/" not in name}
        own = {f"test_accuracy/{name}": measured(rng.uniform(0.3, 0.9), n=20) for name in names}
        measurements[model] = kept | own
    changed = arrays(tuple(run.measurements), classes=len(names))
    data, forget = run.data | {"classes": [*names]}, run.forget | {"gone": [*gone]}
    return dataclasses.replace(
        run, measurements=measurements, data=data, forget=forget, arrays=changed
    )

"""What speaks against a forgetting and is not asked by a policy: told, and without a vote."""

from unsee.nouns import Run
from unsee.verdict._bands import judged, nearer_to_original

BESIDE = {
    "probe_recall": "recall of the class by a linear probe",
    "relearn_recall": "recall of the class after 20 steps of relearning",
    "relearn_recall_restored": "recall after relearning with the original's output layer put back",
}
MARGIN = 0.05  # where original and retrained models differ by less than twice this, nothing is told


def beside(run: Run) -> tuple[str, ...]:
    """Return a sentence for each deep audit in which a model is nearer to the original.

    These have no part in the light: from seed to seed retrained models differ in them by so much
    that no simulation stands behind a band.  Who reads the light should know of them all the same.
    """
    before, after = (run.measurements.get(m, {}) for m in ("original", "unlearned"))
    told = []
    for name, title in BESIDE.items():
        now, old = after.get(name), before.get(name)
        values = [x for x in run.references.get(name, []) if x is not None]
        if now is None or old is None or not values:
            continue
        audit = judged(name, now, old.value, values, 0.05, MARGIN)
        if nearer_to_original(audit):
            told.append(
                f"Beside the verdict, {title}: {audit.value:.3f}, nearer to the original's "
                f"{audit.original:.3f} than to the retrained {audit.reference:.3f}"
            )
    return tuple(told)

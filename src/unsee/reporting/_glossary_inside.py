"""What each measurement of features, weights and maps means, in words for a reader."""

from unsee.reporting._glossary import EVIDENCE, RELEARNING, REPRESENTATION, Measure

INSIDE = {
    "probe_recall": Measure(
        "Probe recall",
        "Recall of the forgotten class by a new linear output layer, fitted to the features of "
        "random training images.",
        "As before: only the output layer was changed. As retrained: the features too.",
        strip=True,
        group=REPRESENTATION,
    ),
    "few_shot_recall": Measure(
        "Few-shot recall",
        "Recall of the forgotten class from five of its images, by the direction of features.",
        "As before: the class would be known again at once. As retrained: as for a class never "
        "seen.",
        strip=True,
        group=REPRESENTATION,
    ),
    "stage_probe_recall": Measure(
        "Probe recall, last stage",
        "Recall of the forgotten class by a linear probe on the last stage; all stages stand in a "
        "picture above.",
        "As retrained: no more is linearly readable than in a model that never saw the class.",
        group=REPRESENTATION,
    ),
    "recovery_recall": Measure(
        "Recovery recall",
        "Recall after the features are mapped back linearly and the original output layer is put "
        "on; no training.",
        "As before: the class is only rotated away.",
        group=REPRESENTATION,
    ),
    "knn_purity": Measure(
        "Neighbourhood purity",
        "Share of the 5 nearest training images (cosine, full space) that carry the true class of "
        "a never-seen image of the forgotten kind.",
        "As retrained: such images no longer lie together.",
        group=REPRESENTATION,
    ),
    "information_difference": Measure(
        "Information difference (surrogate)",
        "A surrogate of IDI by probes: the original's lead over retraining that is left.",
        "0: as retrained. 1: as before.",
        kind="number",
        fixed=0.0,
        group=REPRESENTATION,
    ),
    "cka_original": Measure(
        "CKA to the original, forgotten kind",
        "Debiased linear CKA of penultimate features on never-seen images of the forgotten kind.",
        "1: the same geometry as before. A little below 0 is chance.",
        kind="number",
        group=REPRESENTATION,
    ),
    "cka_original_retain": Measure(
        "CKA to the original, kinds that stay",
        "The same on test images that stay.",
        "Low while accuracy holds: the features were rebuilt.",
        kind="number",
        group=REPRESENTATION,
    ),
    "cka_retrained": Measure(
        "CKA to the retrained, forgotten kind",
        "Debiased linear CKA to the retrained model on never-seen images of the forgotten kind.",
        "Two retrainings are not at 1 either: see their band.",
        kind="number",
        like="nothing",
        group=REPRESENTATION,
    ),
    "cka_retrained_retain": Measure(
        "CKA to the retrained, kinds that stay",
        "The same on test images that stay.",
        "Two retrainings are not at 1 either.",
        kind="number",
        like="nothing",
        group=REPRESENTATION,
    ),
    "weight_change": Measure(
        "Weight change",
        "Norm of the change of all weights over the norm of the original's.",
        "0: as before. A retrained model is far away: no aim, only an extent.",
        kind="number",
        like="nothing",
        group=REPRESENTATION,
    ),
    "relearn_recall": Measure(
        "Relearned recall",
        "Recall of the forgotten class after 20 steps of training on it, from the model as "
        "delivered.",
        "Above retrained: what was known comes back faster than it is learned.",
        strip=True,
        group=RELEARNING,
    ),
    "relearn_recall_restored": Measure(
        "Relearned recall, output layer restored",
        "The same with the original's output layer put back first.",
        "Above retrained: the features still serve the old output layer.",
        group=RELEARNING,
    ),
    "relearn_steps": Measure(
        "Steps to relearn",
        "Steps until 95 % of the original's recall; 200 stands for 200 or more.",
        "Fewer than retrained: it was hidden, not gone.",
        kind="count",
        group=RELEARNING,
    ),
    "anamnesis_index": Measure(
        "Anamnesis index",
        "Steps to relearn over the retrained model's.",
        "1: like learning anew. Towards 0: remembered at once.",
        kind="number",
        fixed=1.0,
        group=RELEARNING,
    ),
    "evidence_remaining": Measure(
        "Evidence remaining",
        "Grad-CAM mass for the true class on forgotten images over that on retained ones, "
        "relative to the original.",
        "100 %: as before. 0 %: none is left. It may exceed 100 %.",
        strip=True,
        group=EVIDENCE,
    ),
    "evidence_of_answer": Measure(
        "Evidence for the answer",
        "Grad-CAM mass for the answered class on forgotten images over that on retained ones.",
        "How firmly the model now sees something else in them.",
        group=EVIDENCE,
    ),
    "displacement": Measure(
        "Displacement",
        "1 − overlap (IoU) of the strongest fifth of the true class's map with the original's.",
        "0 %: it looks at the same place. 100 %: elsewhere.",
        group=EVIDENCE,
    ),
    "empty_maps": Measure(
        "Empty maps",
        "Share of forgotten images without any Grad-CAM evidence for their true class.",
        "Empty is not erased: it says that this layer holds no evidence for this output.",
        group=EVIDENCE,
    ),
}

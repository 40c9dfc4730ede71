"""What each measurement means, in words for a reader: one definition, one way to read it."""

from dataclasses import dataclass

from unsee.reporting._style import Kind


@dataclass(frozen=True)
class Measure:
    """One row of the report: what was measured, how to read it, what to hold it against."""

    title: str
    definition: str
    reading: str
    kind: Kind = "share"
    fixed: float | None = None  # the value to compare with, where it needs no other model
    like: str | None = None  # the model to compare with; None: retrained; "nothing": it needs none
    strip: bool = False  # whether it is among those shown at the top
    group: str = "Others"  # its heading in the table of all


ACCURACY = "Accuracy"
MEMBERSHIP = "Membership"
REPRESENTATION = "Representation"
RELEARNING = "Relearning"
EVIDENCE = "Evidence in the maps"
DISTANCE = "Distance to retraining"
SECURITY = "Poison"

ANSWERS = {
    "forget_accuracy": Measure(
        "Forget accuracy",
        "Share of the forgotten training images that are still given their own label.",
        "After a whole class has gone a retrained model has 0 %; after single images it is as "
        "accurate on them as on unseen ones.",
        strip=True,
        group=ACCURACY,
    ),
    "retain_accuracy": Measure(
        "Retain accuracy",
        "Share of the training images to keep that are given their own label.",
        "A fall is damage.",
        like="original",
        strip=True,
        group=ACCURACY,
    ),
    "test_accuracy": Measure(
        "Test accuracy",
        "Share of never-seen test images given their own label; after a class has gone, of the "
        "classes that stay.",
        "A fall is damage.",
        like="original",
        strip=True,
        group=ACCURACY,
    ),
    "forgotten_test_accuracy": Measure(
        "Forgotten test accuracy",
        "Share of never-seen test images, of the classes that forgotten images are of, given their "
        "label.",
        "Where a class goes: whether it has gone, and not only its training images. Where images "
        "go: how often the model would be right on them if it had never seen them.",
        strip=True,
        group=ACCURACY,
    ),
    "most_remembered_class": Measure(
        "Most remembered class",
        "Forget accuracy of the one forgotten class that has most of it.",
        "Where several classes go, a large one can hide that a small one is still known.",
        group=ACCURACY,
    ),
    "worst_class_change": Measure(
        "Worst class",
        "Test accuracy less the retrained model's (without one, the original's) of the class that "
        "stays and lost most.",
        "Near 0: no class pays for the others. It is the worst of many, so a little below 0 is "
        "chance.",
        fixed=0.0,
        group=ACCURACY,
    ),
    "trigger_success": Measure(
        "Trigger success",
        "Share of test images of other classes that are called the trigger's class once they carry "
        "the trigger.",
        "Like the retrained model's: the backdoor is closed. An image may look like that class "
        "with the trigger for honest reasons, so it is not 0.",
        strip=True,
        group=SECURITY,
    ),
    "corrected_accuracy": Measure(
        "Corrected-label accuracy",
        "Share of the forgotten images with a wrong label that are given their true label.",
        "Like the retrained model's, which never saw the wrong ones.",
        strip=True,
        group=SECURITY,
    ),
    "membership_auc": Measure(
        "Membership AUC",
        "Chance that a forgotten image has a lower loss than a never-seen one of the same kind.",
        "0.5: the loss cannot tell them apart. Above: still remembered. Below: they stand out. "
        "Both sides are a trace.",
        kind="number",
        fixed=0.5,
        strip=True,
        group=MEMBERSHIP,
    ),
    "membership_two_sided": Measure(
        "Membership AUC, two-sided",
        "The larger of the AUC and 1 − AUC of the attack by loss.",
        "0.5: no trace on either side. Chance alone puts it a little above.",
        kind="number",
        fixed=0.5,
        group=MEMBERSHIP,
    ),
    "membership_strongest": Measure(
        "Strongest attack",
        "Two-sided AUC of the strongest of all attacks, its interval corrected for the choice.",
        "An attacker picks the best attack; so does this number.",
        kind="number",
        fixed=0.5,
        group=MEMBERSHIP,
    ),
    "membership_tpr": Measure(
        "True positives at 1 % false ones",
        "Share of forgotten images that the attack by loss finds at a false positive rate of 1 %, "
        "or the least that the number of unseen images allows.",
        "As retrained: no image is singled out. An average over images: one may be exposed.",
        group=MEMBERSHIP,
    ),
    "membership_fpr": Measure(
        "False positive rate used there",
        "With few unseen images 1 % cannot be had.",
        "Read the row above at this rate.",
        like="nothing",
        group=MEMBERSHIP,
    ),
    "membership_tpr_strict": Measure(
        "True positives at 0.1 % false ones",
        "The same at 0.1 %, or the least that the number of unseen images allows.",
        "With less than 1,000 unseen images it is the rate below, and not 0.1 %.",
        group=MEMBERSHIP,
    ),
    "membership_fpr_strict": Measure(
        "False positive rate used there",
        "With less than 1,000 unseen images 0.1 % cannot be had.",
        "Read the row above at this rate.",
        like="nothing",
        group=MEMBERSHIP,
    ),
    "membership_epsilon": Measure(
        "Lower bound on epsilon",
        "What the attack by loss shows of differential privacy's epsilon, at 95 %, in nats.",
        "0: it shows none. It is a bound from below: the true one may be larger.",
        kind="number",
        fixed=0.0,
        group=MEMBERSHIP,
    ),
    "mia_efficacy_svc": Measure(
        "MIA-efficacy (SVC)",
        "Share of forgotten images that a support vector machine on confidences calls non-members; "
        "as published, for comparison with papers.",
        "Higher is not better: the aim is the retrained model's.",
        group=MEMBERSHIP,
    ),
    "ulira_auc": Measure(
        "U-LiRA AUC",
        "AUC of the likelihood ratio between models that unlearned an image and models that never "
        "saw it.",
        "0.5: a fleet of shadow models cannot tell them apart.",
        kind="number",
        fixed=0.5,
        group=MEMBERSHIP,
    ),
    "rmia_auc": Measure(
        "RMIA AUC",
        "AUC of the robust membership attack against retrained reference models.",
        "0.5: it cannot tell forgotten images from unseen ones.",
        kind="number",
        fixed=0.5,
        group=MEMBERSHIP,
    ),
}

DISTANCES = {
    "agreement": Measure(
        "Agreement",
        "Share of the forgotten images that are given the class which the retrained model gives.",
        "Two retrainings do not agree wholly either.",
        fixed=1.0,
        group=DISTANCE,
    ),
    "js_distance": Measure(
        "Jensen-Shannon distance",
        "Mean distance of the answers on forgotten images from the retrained model's, in roots of "
        "nats.",
        "0: the same answers. 0.833: none in common.",
        kind="number",
        fixed=0.0,
        group=DISTANCE,
    ),
    "l2_distance": Measure(
        "Activation distance (L2)",
        "Mean Euclidean distance of the softmax outputs on forgotten images from the retrained "
        "model's; at most 1.414.",
        "0: the same answers.",
        kind="number",
        fixed=0.0,
        group=DISTANCE,
    ),
    "zrf": Measure(
        "ZRF",
        "1 − mean Jensen-Shannon divergence (base 2) from a network with random weights, on "
        "forgotten images.",
        "1: it answers as one that knows nothing. The aim is the retrained model's, not 1.",
        kind="number",
        group=DISTANCE,
    ),
    "tug_of_war": Measure(
        "Tug of war",
        "Product of 1 − the distances to the retrained model in forget, retain and test accuracy.",
        "1: like retrained in all three.",
        kind="number",
        fixed=1.0,
        group=DISTANCE,
    ),
    "klom": Measure(
        "KLoM",
        "Mean divergence of margins on forgotten images between a fleet unlearned and a fleet "
        "retrained, in nats.",
        "0: nobody can tell the fleets apart. With few models its Gaussian form.",
        kind="number",
        fixed=0.0,
        group=DISTANCE,
    ),
    "klom_95": Measure(
        "KLoM, 95th percentile",
        "The same for the images that are worst off.",
        "Averages hide single images: this does not.",
        kind="number",
        fixed=0.0,
        group=DISTANCE,
    ),
}

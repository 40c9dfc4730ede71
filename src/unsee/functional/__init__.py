"""Pure statistics: tensors in, numbers out.  Nothing here knows about models."""

from unsee.functional._coverage import herded as herded
from unsee.functional._distances import (
    js_distance as js_distance,
    js_divergence as js_divergence,
    l2_distance as l2_distance,
    top_overlap as top_overlap,
    tug_of_war as tug_of_war,
)
from unsee.functional._intervals import (
    bootstrap as bootstrap,
    paired_change as paired_change,
    share as share,
)
from unsee.functional._learned import (
    FOLDS as FOLDS,
    called_members as called_members,
    learned_scores as learned_scores,
)
from unsee.functional._membership import (
    margin as margin,
    membership_scores as membership_scores,
)
from unsee.functional._probes import few_shot_recall as few_shot_recall, ridge_probe as ridge_probe
from unsee.functional._ranking import auc as auc
from unsee.functional._recovery import (
    balanced as balanced,
    information as information,
    recovered_labels as recovered_labels,
)
from unsee.functional._roc import (
    auc_interval as auc_interval,
    clopper_pearson as clopper_pearson,
    epsilon_bound as epsilon_bound,
    exact_share as exact_share,
    roc_curve as roc_curve,
    tpr_at_fpr as tpr_at_fpr,
    two_sided as two_sided,
)
from unsee.functional._shadow import (
    klom as klom,
    logit_scaled_confidence as logit_scaled_confidence,
    rmia_scores as rmia_scores,
    still_remembered as still_remembered,
    ulira_scores as ulira_scores,
)
from unsee.functional._similarity import (
    knn_purity as knn_purity,
    linear_cka as linear_cka,
    neighbour_overlap as neighbour_overlap,
)

"""Pure statistics: tensors in, numbers out.  Nothing here knows about models."""

from unsee.functional._distances import js_distance as js_distance, top_overlap as top_overlap
from unsee.functional._intervals import bootstrap as bootstrap, share as share
from unsee.functional._probes import few_shot_recall as few_shot_recall, ridge_probe as ridge_probe
from unsee.functional._ranking import auc as auc

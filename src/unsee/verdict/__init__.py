"""One sentence and a light from a run's audits, by a policy.  Needs no torch."""

from unsee.verdict._bands import Judged as Judged, prediction_band as prediction_band
from unsee.verdict._limit import detection_limit as detection_limit
from unsee.verdict._policy import (
    Policy as Policy,
    default_words as default_words,
    load_policy as load_policy,
)
from unsee.verdict._rules import decided as decided, verdict as verdict

import pytest

from unsee.audits import AUDITS
from unsee.errors import OptionError
from unsee.nouns import Measurement, Run
from unsee.requirements import parse

NAMES = {name for audit in AUDITS.values() for name in audit.names}
RUN = Run(
    data={},
    forget={},
    measurements={
        "original": {"forget_accuracy": Measurement(1.0, 1.0, 1.0, 10)},
        "unlearned": {
            "forget_accuracy": Measurement(0.01, 0.0, 0.02, 100),
            "test_accuracy/ice cream-cone": Measurement(0.5, 0.4, 0.6, 10),
            "probe_recall": None,
        },
    },
    environment={},
    seed=0,
)


@pytest.mark.parametrize(
    "text, met",
    [
        ("forget_accuracy<=0.01", True),
        ("forget_accuracy<0.01", False),
        ("forget_accuracy >= 1e-2", True),
        (" forget_accuracy > 0.01 ", False),
        ("forget_accuracy>-1", True),
        ("test_accuracy/ice cream-cone>=0.5", True),
        ("test_accuracy/ice cream-cone>0.5", False),
    ],
)
def test_a_requirement_compares_the_value_of_the_unlearned_model(text, met):
    assert (parse(text, NAMES).failure(RUN) is None) is met


def test_a_failure_says_what_was_required_and_what_was_measured():
    failure = parse("forget_accuracy<0.005", NAMES).failure(RUN)
    assert failure == "required forget_accuracy<0.005, measured 0.01"
    for name in ("probe_recall", "few_shot_recall"):  # null, and absent
        assert "was not measured" in parse(f"{name}<=1", NAMES).failure(RUN)


@pytest.mark.parametrize(
    "text", ["", "forget_accuracy", "forget_accuracy=0.1", "forget_accuracy<=", "<=1", "a<=b",
             "forget_accuracy<=nan", "forget_accuracy<=1e", "forget_accuracy==1"]
)  # fmt: skip
def test_what_is_no_requirement_is_refused_with_an_example(text):
    with pytest.raises(OptionError, match="such as 'forget_accuracy<=0.01'"):
        parse(text, NAMES)


def test_an_unknown_measurement_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"among \[.*'membership_auc'.*\], got 'auc'"):
        parse("auc<=0.5", NAMES)

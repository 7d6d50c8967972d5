"""Every name of the metrics table is a function, and gives the number of the table."""

import inspect

import jax
import numpy as np
import pytest

from jaxbench import metrics as m

# Those that are not functions of one setting less, or the function itself.
LONG_FORMS = {
    "top_5_accuracy": (m.top_k_accuracy, {"k"}),
    "ece_equal_mass": (m.expected_calibration_error, {"binning", "compat"}),
    "mce_equal_mass": (m.maximum_calibration_error, {"binning", "compat"}),
    "brier_reliability": (m.brier_decomposition, set()),
    "brier_resolution": (m.brier_decomposition, set()),
    "brier_uncertainty": (m.brier_decomposition, set()),
    "coverage_at_95_accuracy": (m.coverage_at_accuracy, {"accuracy", "compat"}),
    "coverage_at_99_accuracy": (m.coverage_at_accuracy, {"accuracy", "compat"}),
    "risk_at_80_coverage": (m.risk_at_coverage, {"coverage"}),
}


def arguments(case, scores):
    """Values by the name of an argument."""
    return {
        "logits": case.logits,
        "labels": case.labels,
        "num_classes": case.logits.shape[1],
        **{name: getattr(scores, name) for name in ("confidence", "correct")},
        "label_rank": scores.label_rank,
    }


@pytest.mark.parametrize("name", m.METRICS)
def test_every_metric_is_a_public_function(name):
    assert name in m.__all__
    assert name in dir(m)
    assert callable(getattr(m, name))


def test_values_are_those_of_the_table(cases):
    case = cases["random"]
    scores = m.score_examples(*case)
    given, expected = arguments(case, scores), m.summarize(scores)
    for name in m.SCORE_METRICS:
        function = getattr(m, name)
        needed = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.default is p.empty
        ]
        found = function(**{argument: given[argument] for argument in needed})
        np.testing.assert_allclose(found, expected[name], 3e-6, 3e-6, err_msg=name)


def test_out_of_distribution_metrics_take_two_sets_of_scores(cases, ood_logits):
    scores = m.score_examples(*cases["random"])
    ood = m.score_examples(ood_logits, np.full(len(ood_logits), -1))
    for name, value in m.summarize_ood(scores, ood).items():
        found = getattr(m, name)(id_scores=scores, ood_scores=ood)
        np.testing.assert_allclose(found, value, 1e-6, 1e-6, err_msg=name)


@pytest.mark.parametrize("name", LONG_FORMS)
def test_arguments_are_those_of_the_long_form(name):
    function, fixed = LONG_FORMS[name]
    left = dict(inspect.signature(function).parameters)
    for setting in fixed:
        del left[setting]
    assert list(inspect.signature(getattr(m, name)).parameters) == list(left)


def test_logits_and_labels_get_a_hint(cases, users_types):
    case = cases["random"]
    with pytest.raises(
        TypeError, match=r"score_examples\(logits, labels\)\.label_rank"
    ):
        m.top_5_accuracy(*case)
    with pytest.raises(ValueError, match=r"score_examples.* makes such columns"):
        m.ece_equal_mass(*case)
    with pytest.raises(ValueError, match="confidence is of type list"):
        m.ece([0.9, 0.8], np.array([True, False]))
    with pytest.raises(ValueError, match="wanted the ExampleScores"):
        m.ood_auroc_energy(*case)
    assert np.isnan(jax.jit(m.ece)(np.float32([2, 3]), np.array([True, False])))

"""The logistic regression is scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxbench.errors import UserError
from jaxbench.probing import fit_logistic_regression
from tests.probing import twins

TRAIN, VALIDATION = twins.blobs(0, 400), twins.blobs(1, 90)
PENALTIES = (1e-4, 1e-2, 1.0)


def test_the_optimum_of_every_penalty_is_scikit_learns():
    fit = fit_logistic_regression(
        TRAIN, VALIDATION, 3, penalties=PENALTIES, tolerance=1e-6
    )
    mean, std = TRAIN.values.mean(axis=0, dtype=np.float64), TRAIN.values.std(axis=0)
    x, new = (TRAIN.values - mean) / std, (VALIDATION.values - mean) / std
    rows = np.arange(len(new))
    for penalty, member in zip(PENALTIES, fit.members, strict=True):
        C = 1 / (len(x) * penalty)
        twin = LogisticRegression(C=C, tol=1e-10, max_iter=5000).fit(x, TRAIN.labels)
        p = twin.predict_proba(new)[rows, VALIDATION.labels]
        # A gradient of 1e-6 leaves the logits 1e-6 over the least curvature away.
        assert member.nll == pytest.approx(-np.log(p).mean(), abs=1e-4)
        assert (member.learning_rate, member.weight_decay) == (None, penalty)
        if member == fit.chosen:
            np.testing.assert_allclose(fit.head.kernel.T, twin.coef_, atol=1e-4)
            np.testing.assert_allclose(fit.head.bias, twin.intercept_, atol=1e-4)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="all above 0; a full batch"):
        fit_logistic_regression(
            TRAIN, VALIDATION, 3, penalties=(0.0,), feature_norm="batch_norm"
        )
    with pytest.raises(UserError, match="linear_probe"):
        fit_logistic_regression(TRAIN, VALIDATION, 3, max_device_bytes=100)

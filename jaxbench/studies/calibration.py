"""Is the confidence of a stored run what it says?"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxbench.data.modifiers import split_modifiers
from jaxbench.errors import UserError, unknown_name
from jaxbench.metrics import expected_calibration_error, paired_bootstrap
from jaxbench.results import ResultStore
from jaxbench.studies.curves import ReliabilityCurve, reliability_curve
from jaxbench.studies.entries import Row, corruption_of
from jaxbench.studies.models import Model, addresses
from jaxbench.studies.predictions import is_cue_conflict
from jaxbench.studies.resampling import Resampling
from jaxbench.studies.shape_bias import Share, share

NUM_BINS = 15
_error = jax.jit(expected_calibration_error)


class Calibration(NamedTuple):
    """One model on one dataset.

    Attributes:
        accuracy: Of all images, with its Wilson interval.
        confidence: Mean of the largest probability, of the images with finite logits.
        gap: Mean confidence less accuracy of these, with its bootstrap interval.
        ece: Expected calibration error over `NUM_BINS` bins of equal width.
        curve: The bins.
    """

    accuracy: Share
    confidence: float
    gap: Share
    ece: float
    curve: ReliabilityCurve


def measure_calibration(
    store: ResultStore, row: Row, resampling: Resampling
) -> Calibration:
    """Calibration of one evaluation.

    Args:
        store: Has the scores of single images.
        row: The evaluation.
        resampling: Of the images; the same for every model of a dataset.
    """
    columns = store.examples(row["run_id"], ("confidence", "correct", "finite"))
    # An image with logits that are not finite is wrong, and has no confidence.
    finite = columns["finite"]
    confidence = columns["confidence"][finite].astype(np.float32)
    correct = columns["correct"][finite]
    gap = paired_bootstrap(
        confidence,
        correct.astype(np.float32),
        key=resampling.key("gap", row["dataset"] or "(unnamed)"),
        num_resamples=resampling.num_resamples,
    )
    return Calibration(
        share(int(columns["correct"].sum()), len(finite)),
        float(columns["confidence"][finite].astype(np.float64).mean()),
        Share(float(gap.difference), float(gap.low), float(gap.high)),
        float(_error(confidence, correct)),
        reliability_curve(confidence, correct),
    )


def calibrated_datasets(
    models: Sequence[Model], reference: str, wanted: Sequence[str] = ()
) -> list[str]:
    """The datasets asked for; else all but corruptions, views and cue conflict.

    Raises:
        UserError: If one that is asked for was evaluated by no model.
    """
    known = addresses(models)
    if unknown := [address for address in wanted if address not in known]:
        raise UserError(
            "; ".join(unknown_name("dataset", address, known) for address in unknown)
        )
    if wanted:
        return list(dict.fromkeys((reference, *wanted)))
    plain = [
        address
        for address in known
        if not (
            corruption_of(address)
            or split_modifiers(address)[1]
            or is_cue_conflict(address)
        )
    ]
    return list(dict.fromkeys((reference, *plain)))

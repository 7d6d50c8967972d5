"""Are two models different? Paired tests on the images that both have seen."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.errors import UserError
from jaxbench.metrics import mcnemar, paired_bootstrap
from jaxbench.results import ResultStore

Columns = Mapping[str, np.ndarray]

# Metrics that are means of a per-example column.
_MEANS = {"accuracy": "correct", "nll": "nll", "brier": "brier"}
_CONFIDENCE = "log_one_minus_confidence"
# Resampled rows in flight together: bounds memory to some tens of MB.
_ROWS_IN_FLIGHT = 1 << 20
_SHOWN = 3


class Comparison(NamedTuple):
    """One metric of two models on the same images.

    Attributes:
        metric: Its name in `SCORE_METRICS`; with `_ts` after temperature scaling.
        a: Value of the first model.
        b: Value of the second.
        difference: a - b.
        low: Lower end of the difference's interval.
        high: Upper end.
        p_value: Two-sided, for a difference of zero: McNemar's exact test for
            accuracy, the paired bootstrap for all others.
        n: Images that both were evaluated on.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    n: int


def compare_runs(
    store: ResultStore,
    a: str,
    b: str,
    *,
    key: Key[Array, ""],
    num_resamples: int = 2000,
    level: float = 0.95,
) -> tuple[Comparison, ...]:
    """Compares two evaluations image by image.

    The difference of two models on the same images is known far better than either
    number, because hard images are hard for both. All metrics see resamples of the
    images, not of the models: the interval is about other images of this kind, not
    about other seeds.

    Args:
        store: Holds both runs.
        a: Run id, its beginning, or `model/dataset`; see `ResultStore.find`.
        b: The other.
        key: Chooses the resamples.
        num_resamples: Bootstrap resamples; no bootstrap p-value is below
            2 / (num_resamples + 1).
        level: Coverage of the intervals, in (0, 1).

    Returns:
        Rows for accuracy, NLL, Brier score and AURC; for the last three also after
        temperature scaling, where both runs have it. A metric is NaN if an image has
        non-finite logits, except accuracy, which counts it as wrong.

    Raises:
        UserError: If a run is unknown, or the two were not evaluated on the same
            images with the same labels.
        ValueError: If num_resamples or level is out of range.
    """
    runs = [_labelled(store, query) for query in (a, b)]
    columns_a, columns_b = _aligned(*runs)
    rows = []
    for suffix in ("", "_ts"):
        for metric, (x, y) in _mean_columns(columns_a, columns_b, suffix):
            paired = paired_bootstrap(
                x, y, key=key, num_resamples=num_resamples, level=level
            )
            difference, low, high, p_value = (float(value) for value in paired)
            if metric == "accuracy":
                p_value = float(mcnemar(columns_a["correct"], columns_b["correct"]))
            means = [float(np.mean(v, dtype=np.float64)) for v in (x, y)]
            rows.append(
                Comparison(
                    metric=metric + suffix,
                    a=means[0],
                    b=means[1],
                    difference=difference,
                    low=low,
                    high=high,
                    p_value=p_value,
                    n=len(x),
                )
            )
        if all(_CONFIDENCE + suffix in c for c in (columns_a, columns_b)):
            pair = (columns_a, columns_b)
            rows.append(_compare_aurc(pair, suffix, key, num_resamples, level))
    return tuple(rows)


def weighted_aurc(
    confidence: Float[np.ndarray, " n"],
    correct: Bool[np.ndarray, " n"],
    weights: Int[np.ndarray, "resamples n"],
) -> Float[np.ndarray, " resamples"]:
    """AURC of resamples in which example i occurs weights[r, i] times.

    The mean over i of (errors among the i most confident) / i, where a tied block of m
    rows with e errors after N rows with E errors meets its errors at the steady rate
    e / m: its risks sum to e + (E - N e / m) (H(N + m) - H(N)), H the harmonic
    numbers. The same number as `jaxbench.metrics.area_under_risk_coverage`, in float64
    and without sorting each resample.

    Args:
        confidence: Higher is more confident, on any monotone scale.
        correct: Whether each example is right.
        weights: Whole numbers, at least 0, with one sum for all resamples.

    Returns:
        One value per resample; NaN if a confidence is NaN.
    """
    if np.isnan(confidence).any():
        return np.full(len(weights), np.nan)
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    rows = np.add.reduceat(weights[:, order], starts, axis=1)
    wrong = np.add.reduceat(weights[:, order] * ~correct[order], starts, axis=1)
    rows_before = np.cumsum(rows, axis=1) - rows
    wrong_before = np.cumsum(wrong, axis=1) - wrong
    total = int(weights[0].sum())
    harmonic = np.r_[0.0, np.cumsum(1.0 / np.arange(1, total + 1))]
    # An empty block has no errors either: any divisor will do.
    rate = wrong / np.maximum(rows, 1)
    spread = harmonic[rows_before + rows] - harmonic[rows_before]
    risks = wrong + (wrong_before - rows_before * rate) * spread
    return risks.sum(axis=1) / total


def _compare_aurc(
    pair: tuple[Columns, Columns],
    suffix: str,
    key: Key[Array, ""],
    num_resamples: int,
    level: float,
) -> Comparison:
    """The row of AURC, by the paired bootstrap."""
    confidence = _CONFIDENCE + suffix
    inputs = [(-columns[confidence], columns["correct"]) for columns in pair]
    n = len(pair[0]["correct"])
    once = np.ones((1, n), np.int64)
    values = [float(weighted_aurc(*x, once)[0]) for x in inputs]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    differences = []
    step = max(1, _ROWS_IN_FLIGHT // n)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size)
        one, two = (weighted_aurc(*x, weights) for x in inputs)
        differences.append(one - two)
    drawn = np.concatenate(differences)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    # As in `paired_bootstrap`: ties count on both sides, and p is never 0.
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = min(1.0, 2 * (smaller + 1) / (num_resamples + 1))
    difference = values[0] - values[1]
    if np.isnan(difference):
        p_value = float("nan")
    return Comparison(
        metric=f"aurc{suffix}",
        a=values[0],
        b=values[1],
        difference=difference,
        low=float(low),
        high=float(high),
        p_value=float(p_value),
        n=n,
    )


def _mean_columns(
    a: Columns, b: Columns, suffix: str
) -> Iterator[tuple[str, list[np.ndarray]]]:
    for metric, column in _MEANS.items():
        name = column + suffix
        if name in a and name in b:
            yield metric, [columns[name].astype(np.float32) for columns in (a, b)]


def _labelled(store: ResultStore, query: str) -> tuple[str, Columns]:
    """The columns of a run whose images all have labels, and how to call it."""
    run_id = store.find(query)
    columns = store.examples(run_id)
    name = query if query == run_id else f"{query} ({run_id[:12]})"
    needed = {"id", "label", "correct", "nll", "brier", _CONFIDENCE}
    if missing := sorted(needed - columns.keys()):
        raise UserError(
            f"{name} has no per-example columns {', '.join(missing)}; compare two "
            "evaluations of labelled datasets"
        )
    ids, counts = np.unique(columns["id"], return_counts=True)
    if (counts > 1).any():
        twice = str(ids[counts > 1][0])
        raise UserError(
            f"{name} has the id {twice!r} more than once; images can only be paired by "
            "unique ids"
        )
    if not len(ids) or (columns["label"] < 0).any():
        raise UserError(
            f"{name} has images without a label, such as an out-of-distribution set; "
            "compare two evaluations of labelled datasets"
        )
    return name, columns


def _aligned(a: tuple[str, Columns], b: tuple[str, Columns]) -> tuple[Columns, Columns]:
    """The rows of both in the order of the ids.

    Raises:
        UserError: If ids or labels differ.
    """
    (name_a, columns_a), (name_b, columns_b) = a, b
    orders = [np.argsort(columns["id"]) for columns in (columns_a, columns_b)]
    ids_a, ids_b = columns_a["id"][orders[0]], columns_b["id"][orders[1]]
    only_a, only_b = np.setdiff1d(ids_a, ids_b), np.setdiff1d(ids_b, ids_a)
    if len(only_a) or len(only_b):
        raise UserError(
            f"{name_a} and {name_b} were not evaluated on the same images: "
            f"{len(ids_a) - len(only_a)} are common, {len(only_a)} are only in the "
            f"first{_some(only_a)}, {len(only_b)} only in the second{_some(only_b)}; "
            "evaluate both on the same dataset and split, and see their num_skipped"
        )
    first = {name: values[orders[0]] for name, values in columns_a.items()}
    second = {name: values[orders[1]] for name, values in columns_b.items()}
    differ = first["label"] != second["label"]
    if differ.any():
        raise UserError(
            f"{name_a} and {name_b} have different labels on {differ.sum()} of "
            f"{len(differ)} images{_some(first['id'][differ])}; map both to the same "
            "class names and evaluate again"
        )
    return first, second


def _some(ids: np.ndarray) -> str:
    if not len(ids):
        return ""
    more = ", ..." if len(ids) > _SHOWN else ""
    return f" ({', '.join(map(str, ids[:_SHOWN]))}{more})"

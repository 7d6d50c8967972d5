"""The lottery where it is known which images each model is right on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, kendalltau

from jaxbench import studies
from jaxbench.errors import UserError
from jaxbench.metrics import mcnemar
from jaxbench.results import ResultStore
from jaxbench.studies import VariantTable
from jaxbench.studies.lottery_survival import resampled_counts
from jaxbench.studies.variant_table import Examples
from tests.results.sample_runs import evaluation

MODELS = {"weak": 2.5, "strong": 4.5, "twin": 2.5, "middle": 3.5, "late": 3.0}
N = 150


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ResultStore(tmp_path_factory.mktemp("s"), create=True)
    for model, skill in MODELS.items():
        for dataset, role in (("digits@test", "clean"), ("digits-c/blur_3", "shifted")):
            if (model, role) == ("late", "shifted"):
                continue
            run = evaluation({"model": model}, dataset, role, skill=skill, n=N)
            # Both have the same images.
            ids = np.array([f"image-{i:03d}" for i in range(N)])
            store.write(replace(run, examples=run.examples | {"id": ids}))
    return store


def runs_of(store, models=tuple(MODELS)):
    found = {model: {} for model in models}
    for row in store.summary("evaluation").to_pylist():
        if row["model"] in found:
            found[row["model"]][row["dataset"]] = row["run_id"]
    return found


@pytest.fixture(scope="module")
def table(store):
    return studies.table_of_runs(store, runs_of(store), reference="digits@test")


def correct_of(store, model, dataset):
    return store.examples(store.find(f"{model}/{dataset}"))["correct"]


def test_the_table_holds_what_was_stored(store, table):
    assert table.models == tuple(MODELS)
    assert table.variants == ("digits@test", "digits-c/blur_3")
    assert table.num_images == (N, N)
    assert table.paired
    for row, model in enumerate(table.models):
        for column, dataset in enumerate(table.variants):
            if (model, column) == ("late", 1):
                assert np.isnan(table.accuracy[row, column])
                assert not table.examples[dataset].correct[row].any()
                continue
            correct = correct_of(store, model, dataset)
            np.testing.assert_array_equal(table.examples[dataset].correct[row], correct)
            assert table.accuracy[row, column] == pytest.approx(correct.mean())


def test_all_pairs_against_the_package_s_test_and_scipy(store, table):
    found = studies.improvements(table, pairs="all")
    assert found.test == "mcnemar"
    for pair, (ahead, behind) in enumerate(zip(found.ahead, found.behind, strict=True)):
        a, b = (
            correct_of(store, table.models[i], "digits@test") for i in (ahead, behind)
        )
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        assert found.only_ahead[pair] == pytest.approx(only_a / N)
        assert found.only_behind[pair] == pytest.approx(only_b / N)
        assert found.difference[pair] == pytest.approx((only_a - only_b) / N)
        exact = binomtest(only_a, only_a + only_b, 0.5).pvalue
        assert found.p_value[pair] == pytest.approx(exact, rel=1e-3)
        if pair == 0:
            assert found.p_value[pair] == pytest.approx(float(mcnemar(a, b)), rel=1e-6)


def test_adjacent_pairs_are_among_all(table):
    adjacent = studies.improvements(table)
    every = studies.improvements(table, pairs="all")
    p_values = {
        (a, b): p
        for a, b, p in zip(every.ahead, every.behind, every.p_value, strict=True)
    }
    for a, b, p in zip(adjacent.ahead, adjacent.behind, adjacent.p_value, strict=True):
        assert p == pytest.approx(p_values[a, b], rel=1e-6)
    ahead, behind = (table.accuracy[i, 0] for i in (adjacent.ahead, adjacent.behind))
    assert (ahead > behind).all()


def test_datasets_of_the_same_images_share_their_draws(key):
    correct = np.random.default_rng(0).random((3, 40)) < 0.6
    ids = np.arange(40).astype(str)
    examples = {
        "a": Examples(ids, correct),
        "b": Examples(ids.astype("<U9"), correct),
        "c": Examples(np.char.add("x", ids), correct),
    }
    accuracy = np.repeat(correct.mean(axis=1)[:, None], 3, axis=1)
    table = VariantTable(
        ("x", "y", "z"), ("a", "b", "c"), accuracy, (40,) * 3, examples
    )
    drawn = resampled_counts(table, key=key, num_resamples=500)
    np.testing.assert_array_equal(drawn["a"], drawn["b"])
    assert abs(np.corrcoef(drawn["a"][:, 0], drawn["c"][:, 0])[0, 1]) < 0.2
    # Means and spreads of the sum of 40 draws, and what two models have in common.
    error = np.sqrt(40 * accuracy[:, 0] * (1 - accuracy[:, 0]))
    assert np.abs(drawn["a"].mean(axis=0) - 40 * accuracy[:, 0]).max() < error.max() / 4
    wanted = 40 * np.cov(correct.astype(float), bias=True)
    np.testing.assert_allclose(
        np.cov(drawn["a"].T), wanted, atol=0.25 * error.max() ** 2
    )


def test_survival_against_loops(table, key):
    drawn = resampled_counts(table, key=key, num_resamples=60)
    rows = studies.ranking_survival(table, key=key, num_resamples=60, top=(1, 2, 9))
    for row in rows:
        counts = drawn[row.variant]
        at_hand = {i: table.column(row.variant)[i] for i in row.order}
        assert not any(np.isnan(value) for value in at_hand.values())
        assert list(at_hand.values()) == sorted(at_hand.values(), reverse=True)
        assert set(row.top) == {1, 2}
        points = {1: 0.0, 2: 0.0}
        ahead, whole = np.zeros(len(row.order) - 1), 0
        for one in counts:
            for k in points:
                last = min(one[i] for i in row.order[:k])
                best = max(one[i] for i in row.order[k:])
                points[k] += (last > best) + (last == best) / 2
            holds = True
            for place, (a, b) in enumerate(zip(row.order, row.order[1:], strict=False)):
                ahead[place] += (one[a] > one[b]) + (one[a] == one[b]) / 2
            for a in row.order:
                for b in row.order:
                    holds &= at_hand[a] <= at_hand[b] or one[a] > one[b]
            whole += holds
        level = [
            at_hand[a] == at_hand[b]
            for a, b in zip(row.order, row.order[1:], strict=False)
        ]
        np.testing.assert_allclose(row.adjacent, np.where(level, np.nan, ahead / 60))
        assert row.whole == pytest.approx(whole / 60)
        for k, share in row.top.items():
            wanted = np.nan if level[k - 1] else points[k] / 60
            assert share == pytest.approx(wanted, nan_ok=True)
        assert row.over == "images"


def test_tau_over_images_against_scipy(table, key):
    (row,) = studies.rank_agreement(table, key=key, num_resamples=50, level=0.8)
    both = table.present(*table.variants)
    pairs = [table.accuracy[both, i] for i in (0, 1)]
    assert row.tau == pytest.approx(kendalltau(*pairs).statistic, abs=1e-6)
    drawn = resampled_counts(table, key=key, num_resamples=50)
    x, y = (drawn[variant][:, both] for variant in table.variants)
    taus = [kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)]
    ends = np.nanquantile(taus, [0.1, 0.9])
    assert (row.low, row.high) == (
        pytest.approx(ends[0], abs=1e-5),
        pytest.approx(ends[1], abs=1e-5),
    )
    assert (row.over, row.num_models) == ("images", 4)


def test_own_images(table):
    own = studies.own_images(table, "digits-c/blur_3", alpha=0.1, power=0.9)
    assert own.num_images == N
    assert own.num_pairs == 4 * 3 // 2
    p10, p01 = own.found.only_ahead, own.found.only_behind
    needed = studies.mcnemar_images_needed(p10, p01, alpha=0.1, power=0.9)
    np.testing.assert_array_equal(own.needed, needed)
    assert (own.needed_corrected > own.needed).all()
    # More than a pair can show: that difference would have been found with N images.
    visible = own.found.difference > own.detectable
    np.testing.assert_array_equal(
        visible[own.needed != N], (own.needed < N)[own.needed != N]
    )


def test_own_images_need_rows_and_a_known_name(table):
    with pytest.raises(UserError, match="unknown dataset 'digits'"):
        studies.own_images(table, "digits")
    plain = VariantTable(table.models, table.variants, table.accuracy, table.num_images)
    with pytest.raises(UserError, match="not known from a table"):
        studies.own_images(plain)


def changed(store, tmp_path, change):
    """Three clean runs, that of the strong model changed."""
    other = ResultStore(tmp_path, create=True)
    for model in ("weak", "strong", "twin"):
        run = store.read(store.find(f"{model}/digits@test"))
        other.write(change(run) if model == "strong" else run)
    models = ("weak", "strong", "twin")
    return lambda: studies.table_of_runs(
        other, runs_of(other, models), reference="digits@test"
    )


def with_rows(run, rows):
    examples = {name: values[rows] for name, values in run.examples.items()}
    return replace(run, examples=examples)


def test_only_common_images_count_and_a_note_says_so(store, tmp_path):
    build = changed(store, tmp_path, lambda run: with_rows(run, np.arange(20, N)[::-1]))
    table = build()
    assert table.num_images == (N - 20,)
    assert table.notes == ("digits@test: 20 images were not seen by all its models",)
    for row, model in enumerate(table.models):
        wanted = correct_of(store, model, "digits@test")[20:]
        np.testing.assert_array_equal(
            table.examples["digits@test"].correct[row], wanted
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: with_rows(run, np.r_[0, 0:N]), "'image-000' more than once"),
        (
            lambda run: replace(
                run,
                examples=run.examples | {"id": np.char.add("x", run.examples["id"])},
            ),
            "digits@test: its 3 models have no image in common",
        ),
        (
            lambda run: replace(run, examples={"id": run.examples["id"]}),
            "unknown column 'correct'",
        ),
        (
            lambda run: replace(
                run, provenance=run.provenance | {"dataset_fingerprint": "other"}
            ),
            r"same names but different content \(2 fingerprints\)",
        ),
    ],
)
def test_runs_that_cannot_be_compared(store, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        changed(store, tmp_path, change)()


def test_models_without_the_reference_are_left_out(store):
    table = studies.table_of_runs(store, runs_of(store), reference="digits-c/blur_3")
    assert "late" not in table.models
    assert table.notes == (
        "1 model without a result on digits-c/blur_3 left out: late",
    )
    with pytest.raises(UserError, match="no model was evaluated on 'digits'"):
        studies.table_of_runs(store, runs_of(store), reference="digits")
    with pytest.raises(UserError, match=r"1 model .* needs two or more"):
        studies.table_of_runs(store, runs_of(store, ("weak",)), reference="digits@test")

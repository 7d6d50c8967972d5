"""The page of every study, of small stores: what its builder makes, not a sample."""

from jaxbench.reports.studies import STUDIES
from jaxbench.results import ResultStore
from tests.reports import coupling_runs
from tests.reports.studies import beyond_runs
from tests.reports.studies import test_curation_page as curation_runs
from tests.reports.studies import test_lottery_page as lottery_runs
from tests.reports.studies import test_selective_page as selective_runs
from tests.results.sample_runs import evaluation


def _coupling(store):
    for run in coupling_runs.coupling_runs():
        store.write(run)
    return {}


def _selective(store):
    for name, skill in selective_runs.MODELS.items():
        settings = {"model": name, "weights": "pretrained"}
        store.write(evaluation(settings, "digits@test", "clean", skill=skill, n=200))
        store.write(selective_runs.outside(settings, skill))
    for teacher, skill in ((None, 2.5), ("resnet_micro best-trial", 3.0)):
        for run in selective_runs.student(0, teacher, skill):
            store.write(run)
    # Resampling is most of the time of this page, and draws nothing else.
    return selective_runs.OPTIONS | {"num_resamples": 0}


def _beyond(store):
    beyond_runs.fill(store)
    return {"num_resamples": 50}


def _lottery(store):
    for model in [*lottery_runs.MODELS, *(f"mixer_{i}" for i in range(6))]:
        for role in ("clean", "shifted"):
            lottery_runs.write(store, model, role)
    return {"num_resamples": 50}


def _curation(store):
    plain = {"curation": "none", "curation_measured": False}
    for seed in (0, 1):
        curation_runs.write(store, "plain", seed, 0.5, **plain)
        for share in range(1, 10):
            rule = {"curation": "quantile", "curation_quantile": share / 10}
            rule |= {"curation_on_reject": "skip"}
            accuracy = 0.5 + 0.01 * share + 0.02 * seed
            curation_runs.write(store, f"skip{share}", seed, accuracy, **rule)
    return {}


STORES = {
    "selective": _selective,
    "beyond": _beyond,
    "coupling": _coupling,
    "lottery": _lottery,
    "curation": _curation,
}


def study_page(name, folder):
    """The page of a study, of a store that is made in a folder."""
    store = ResultStore(folder, create=True)
    return STUDIES[name].build(store, STORES[name](store))

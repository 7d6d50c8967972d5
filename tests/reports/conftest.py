import pytest

from jaxbench.results import ResultStore
from tests.results.sample_runs import failed, sweep


@pytest.fixture(scope="session")
def sweep_store(tmp_path_factory):
    """12 trials on 17 datasets, and two failures."""
    store = ResultStore(tmp_path_factory.mktemp("sweep"), create=True)
    for run in sweep(n=120, decays=(0.0,)):
        store.write(run)
    lost = {"experiment": "quickstart", "optimizer": "sgd", "learning_rate": 1.0}
    store.write(failed(lost | {"model": "resnet8"}, "digits@test"))
    store.write(
        failed(lost | {"model": "mixer"}, message="bad <script>x</script> & 'q'")
    )
    return store

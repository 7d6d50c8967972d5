"""A wide terminal, and compiled programs kept out of the user's cache."""

import os

# Before the command's console is made.
os.environ["COLUMNS"] = "200"

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp() / "xla"
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
        yield

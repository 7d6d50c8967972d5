"""The weights of a grid of optimizers and backbones, measured layer by layer."""

import re
from typing import NamedTuple

from jaxbench.engine.trial_weights import read_weights, weights_path
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.studies.grids import Sweep
from jaxbench.studies.weight_statistics import LayerStatistics, weight_statistics

# Principal components of `pca_energy`.
TOP_K = 8
# Modules of the zoo's networks that come before and after all others.
_FIRST = re.compile(r"(conv1|conv_stem|patch_embed\w*|stem\w*)\b")
_LAST = re.compile(r"(fc|classifier|head\w*)\b")


class GridWeights(NamedTuple):
    """What was measured of a grid.

    Attributes:
        layers: (optimizer, backbone) to layer to its statistics, pairs in the
            grid's order, layers from the input on.
        missing: Pairs without a file of weights.
        unreadable: Pair to why its file cannot be measured.
    """

    layers: dict[tuple[str, str], dict[str, LayerStatistics]]
    missing: tuple[tuple[str, str], ...]
    unreadable: dict[tuple[str, str], str]


def measure_grid_weights(store: ResultStore, sweep: Sweep) -> GridWeights:
    """Measures the weights of the best trial of every pair.

    Of several seeds of the best grid point, the first one's. A pair that has no best
    trial, since all diverged, is left out.

    Args:
        store: Has the weights in its folder `weights`, as sweeps write them.
        sweep: The grid.
    """
    layers, missing, unreadable = {}, [], {}
    for pair in sweep.ordered:
        chosen = sweep.chosen(sweep.best[pair])
        if not chosen:
            continue
        trial_id, digest = chosen[0]["run_id"], chosen[0].get("weights_digest")
        if not weights_path(store.path, trial_id).is_file():
            missing.append(pair)
            continue
        try:
            variables = read_weights(store.path, trial_id, digest)
            found = weight_statistics(variables, top_k=TOP_K)
        except (UserError, ValueError) as error:
            unreadable[pair] = str(error)
            continue
        # Files have layers by name, the classifier's among the first.
        layers[pair] = dict(sorted(found.items(), key=lambda item: _place(item[0])))
    return GridWeights(layers, tuple(missing), unreadable)


def _place(name: str) -> tuple[int, list[tuple[int, str]]]:
    """Sorts from the input to the output, numbers by their value."""
    end = -1 if _FIRST.match(name) else 1 if _LAST.match(name) else 0
    parts = re.findall(r"(\d*)(\D*)", name)
    return end, [(int(number or 0), text) for number, text in parts]

"""The libraries that jaxbench's metrics are compared with, and how to import them.

They are not dependencies of the project and none of their code is in it. They need an
environment of their own:

    python3.11 -m venv peers && . peers/bin/activate
    pip install torch torchmetrics scikit-learn scipy relplot netcal seaborn loguru
    pip install --no-deps torch-uncertainty

Two peers are read from clones, whose paths the scripts take as --fd-shifts and --galil:

    git clone https://github.com/IML-DKFZ/fd-shifts
    git clone https://github.com/IdoGalil/benchmarking-uncertainty-estimation-performance

Run by itself, this script says which peers it finds.

    peers/bin/python scripts/peers/environment.py --fd-shifts fd-shifts
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import logging
import platform
import sys
import types
from pathlib import Path

import numpy as np

# What the stored references were made with: the clones carry no version in their files.
# Another commit may give other numbers; then its name belongs here.
FD_SHIFTS_SOURCE = (
    "IML-DKFZ/fd-shifts, fd_shifts/analysis: rc_stats.py at 56276af, "
    "metrics.py at 29d7d9b"
)
GALIL_SOURCE = (
    "IdoGalil/benchmarking-uncertainty-estimation-performance, "
    "utils/uncertainty_metrics.py at 94b910f"
)
PACKAGES = (
    "torch",
    "torchmetrics",
    "torch-uncertainty",
    "scikit-learn",
    "relplot",
    "netcal",
)


def add_arguments(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """The paths of the two peers that are not packages."""
    for name, what in (
        ("--fd-shifts", "clone of IML-DKFZ/fd-shifts"),
        ("--galil", "clone of the code of arXiv 2302.11874"),
    ):
        parser.add_argument(name, type=Path, required=required, help=what)


def import_torch_uncertainty() -> types.ModuleType:
    """torch_uncertainty.metrics.classification, without Lightning.

    The package's own __init__ imports trainers, data sets and torchvision.
    """
    name = "torch_uncertainty.metrics.classification"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec("torch_uncertainty")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("torch-uncertainty is not installed here")
    root = Path(spec.submodule_search_locations[0])
    _hollow_package("torch_uncertainty", root)
    _hollow_package("torch_uncertainty.metrics", root / "metrics")
    return importlib.import_module(name)


def import_fd_shifts(clone: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """fd_shifts.analysis.rc_stats and .metrics, without faiss and hydra."""
    root = _existing(clone / "fd_shifts")
    _hollow_package("fd_shifts", root)
    analysis = _hollow_package("fd_shifts.analysis", root / "analysis")
    vars(analysis)["logger"] = importlib.import_module("loguru").logger
    # NumPy 2 renamed the function; the arithmetic is the same.
    np.__dict__.setdefault("trapz", np.trapezoid)
    return (
        importlib.import_module("fd_shifts.analysis.rc_stats"),
        importlib.import_module("fd_shifts.analysis.metrics"),
    )


def import_galil(clone: Path) -> types.ModuleType:
    """utils/uncertainty_metrics.py of the code published with arXiv 2302.11874."""
    path = _existing(clone / "utils" / "uncertainty_metrics.py")
    spec = importlib.util.spec_from_file_location("galil_uncertainty_metrics", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def versions() -> dict[str, str]:
    """Versions of Python, NumPy and the peers that are packages."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            logging.getLogger(__name__).warning("%s is not installed", name)
    return found


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; see --help for the clones")
    return path


def _hollow_package(name: str, path: Path) -> types.ModuleType:
    """Registers a package whose __init__ is not run."""
    module = types.ModuleType(name)
    module.__path__ = [str(path)]
    sys.modules[name] = module
    return module


def main() -> None:
    """Prints what is found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    arguments = parser.parse_args()
    for name, version in versions().items():
        print(f"{name:20}{version}")
    import_torch_uncertainty()
    if arguments.fd_shifts:
        import_fd_shifts(arguments.fd_shifts)
        print(f"{'fd-shifts':20}{arguments.fd_shifts}")
    if arguments.galil:
        import_galil(arguments.galil)
        print(f"{'galil':20}{arguments.galil}")


if __name__ == "__main__":
    main()

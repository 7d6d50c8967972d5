"""Makes the trajectories that optimizers are compared with: 20 steps of others' code.

    python scripts/make_trajectories.py sgd adamw      # all without arguments

Run where torch, timm and pytorch_optimizer are installed; nothing else of the project
is needed. Follows the problem of `tests/training/trajectories/problem.py` in float64
with the implementation that has the convention of our table, and writes one .npz file
an optimizer: parameters after some steps, the rates, the weight decay, options that are
not our defaults, and where it all comes from.
"""

# torch, timm and pytorch_optimizer are not dependencies of the project.
# pyright: reportMissingImports=false

import argparse
import dataclasses
import functools
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "tests" / "training" / "trajectories"
sys.path.insert(0, str(FOLDER))
problem = importlib.import_module("problem")

Tensors = dict[str, Any]
Build = Callable[[Tensors, float, float], list[Any]]


@dataclass(frozen=True)
class Case:
    """One trajectory.

    Attributes:
        source: Name of the implementation, as "package.Class".
        build: From tensors, rate and decay to the optimizers that share the tensors.
        learning_rate: The first, from which it falls to zero in equal steps.
        weight_decay: Of the kernels.
        options: Of our table, where they differ from its defaults.
        constant: Whether the rate stays.
        clip: Global norm to clip the gradients to.
        note: What else to know.
    """

    source: str
    build: Build
    learning_rate: float = 0.05
    weight_decay: float = 0.1
    options: Mapping[str, float] = field(default_factory=dict)
    constant: bool = False
    clip: float | None = None
    note: str = ""


def plain(path: str, **arguments) -> Build:
    """One optimizer for all, with decay for kernels only."""

    def build(tensors: Tensors, rate: float, decay: float) -> list[Any]:
        return [named(path)(grouped(tensors, decay), lr=rate, **arguments)]

    return build


def named(path: str) -> Any:
    """A class or function by its dotted name."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def grouped(tensors: Tensors, decay: float) -> list[dict[str, Any]]:
    """Parameter groups: those that decay, and the others."""
    return [
        {"params": [tensors[n] for n in tensors if n in kernels], "weight_decay": own}
        for kernels, own in (
            ({n for n in tensors if problem.DECAY[n]}, decay),
            ({n for n in tensors if not problem.DECAY[n]}, 0.0),
        )
        if kernels
    ]


def hidden(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Kernels outside the output layer, and the rest."""
    chosen = {n for n in tensors if problem.DECAY[n] and not problem.OUTPUT[n]}
    rest = {n: tensor for n, tensor in tensors.items() if n not in chosen}
    return {n: tensors[n] for n in tensors if n in chosen}, rest


def muon(tensors: Tensors, rate: float, decay: float) -> list[Any]:
    """Muon of timm in float64 instead of bfloat16, torch's AdamW for the rest."""
    import torch

    module: Any = importlib.import_module("timm.optim.muon")
    iterate = module.zeropower_via_newtonschulz
    module.zeropower_via_newtonschulz = functools.partial(iterate, dtype=torch.float64)
    kernels, rest = hidden(tensors)
    first = module.Muon(
        list(kernels.values()),
        lr=rate,
        weight_decay=decay,
        momentum=0.95,
        adjust_lr_fn="match_rms_adamw",
        conv_mode="flatten",
        ns_coefficients="original",
        nesterov=True,
    )
    return [first, *plain("torch.optim.AdamW")(rest, rate, decay)]


def soap(tensors: Tensors, rate: float, decay: float) -> list[Any]:
    """SOAP for the hidden kernels as matrices, torch's AdamW for the rest."""
    kernels, rest = hidden(tensors)
    first = OnMatrices("pytorch_optimizer.SOAP", kernels, rate, decay, eps=EPSILON)
    adamw = plain("torch.optim.AdamW", betas=(0.95, 0.95), eps=EPSILON)
    return [first, *adamw(rest, rate, decay)]


class OnMatrices:
    """An optimizer that is shown every kernel as [out, in * h * w]."""

    def __init__(
        self, path: str, kernels: Tensors, rate: float, decay: float, **arguments
    ):
        import torch

        self.kernels = list(kernels.values())
        self.matrices = [
            # A view: a step on it is a step of the kernel.
            torch.nn.Parameter(kernel.detach().view(len(kernel), -1))
            for kernel in self.kernels
        ]
        self.inner = named(path)(
            self.matrices, lr=rate, weight_decay=decay, **arguments
        )
        self.param_groups = self.inner.param_groups

    def step(self) -> None:
        """One step of all kernels, from their gradients."""
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = kernel.grad.view(matrix.shape)
        self.inner.step()


def sophia(tensors: Tensors, rate: float, decay: float) -> list[Any]:
    """SophiaH given a curvature; its clip(m / h, rho) is rho clip(m / (rho h), 1)."""
    rho = 0.04
    arguments = {"betas": (0.965, 0.99), "p": rho, "eps": 1e-15, "update_period": 10}
    return plain("pytorch_optimizer.SophiaH", **arguments)(
        tensors, rate / rho, decay * rho
    )


# Where an epsilon stands does not show while it is as small as the defaults are.
EPSILON = 0.01


def case(path: str, *, eps: bool = True, **others) -> Case:
    """One optimizer for all; arguments that are not fields of `Case` are its own."""
    fields = {key: others.pop(key) for key in list(others) if key in FIELDS}
    options = dict(fields.pop("options", {}))
    if eps:
        options["epsilon"] = others["eps"] = EPSILON
    return Case(path, plain(path, **others), options=options, **fields)


FIELDS = {field.name for field in dataclasses.fields(Case)}

CASES = {
    "sgd": case("torch.optim.SGD", momentum=0.9, eps=False),
    "sgdp": case(
        "timm.optim.SGDP",
        learning_rate=0.02,
        momentum=0.9,
        delta=2.0,
        options={"delta": 2.0},
        note="delta near the cosines",
    ),
    "lion": case("timm.optim.Lion", eps=False),
    "adam": case("torch.optim.Adam"),
    "adamax": case("torch.optim.Adamax"),
    "nadam": case("torch.optim.NAdam"),
    "adamw": case("torch.optim.AdamW"),
    "lamb": case("timm.optim.Lamb"),
    "radam": case("torch.optim.RAdam", decoupled_weight_decay=True),
    "adamp": case("timm.optim.AdamP"),
    "adan": case(
        "timm.optim.Adan", clip=5.0, note="gradients clipped to a norm of 5 before"
    ),
    "adabound": case(
        "pytorch_optimizer.AdaBound",
        final_lr=0.15,
        gamma=0.3,
        options={"final_learning_rate": 0.15, "gamma": 0.3},
        note="bounds that act on some elements",
    ),
    "lars": case(
        "timm.optim.Lars",
        learning_rate=5.0,
        momentum=0.9,
        constant=True,
        eps=False,
        note="constant rate: timm has it outside the momentum",
    ),
    "adafactor": case("timm.optim.Adafactor"),
    "adabelief": case("timm.optim.AdaBelief"),
    "novograd": case("timm.optim.NvNovoGrad"),
    "sophia": Case(
        "pytorch_optimizer.SophiaH",
        sophia,
        note="curvature given; rate and decay rewritten for its clipping",
    ),
    "adagrad": case("torch.optim.Adagrad"),
    "adadelta": case("torch.optim.Adadelta", learning_rate=2.0),
    "rmsprop": case("torch.optim.RMSprop"),
    "muon": Case("timm.optim.Muon", muon, note="in float64, AdamW for the rest"),
    "soap": Case(
        "pytorch_optimizer.SOAP",
        soap,
        0.02,
        weight_decay=1e-3,
        options={"epsilon": EPSILON},
        note="AdamW for the rest; decays the parameters after the step, not before",
    ),
    "schedule_free_adamw": case("pytorch_optimizer.ScheduleFreeAdamW"),
    "prodigy": case(
        "pytorch_optimizer.Prodigy", learning_rate=1.0, d0=1e-3, options={"d0": 1e-3}
    ),
    "adopt": case(
        "timm.optim.Adopt", decoupled=True, clip_exp=0.25, note="clip_exp=0.25"
    ),
    "mars": case("timm.optim.Mars", betas=(0.95, 0.99)),
}


def make(name: str, case: Case) -> None:
    """Follows one case and writes its file."""
    factors = np.ones(problem.STEPS)
    if not case.constant:
        factors -= np.arange(problem.STEPS) / problem.STEPS
    package = case.source.partition(".")[0]
    version = importlib.import_module("importlib.metadata").version(package)
    note = f" ({case.note})" if case.note else ""
    arrays = {
        "source": np.asarray(f"{case.source}, version {version}{note}"),
        "rates": case.learning_rate * factors,
        "weight_decay": np.asarray(case.weight_decay),
        "options": np.asarray(json.dumps(dict(case.options))),
        **follow(case, factors),
    }
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
    print(f"{name}: {arrays['source']}, {path.stat().st_size / 1024:.0f} KiB")


def follow(case: Case, factors: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters after the steps to store, as "STEP/NAME", and those to evaluate."""
    import torch

    tensors = {
        name: torch.nn.Parameter(torch.tensor(to_torch(value)))
        for name, value in problem.START.items()
    }
    optimizers = case.build(tensors, case.learning_rate, case.weight_decay)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    peaks = [group["lr"] for group in groups]
    found = {}
    for step, factor in enumerate(factors):
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * float(factor)
        set_gradients(tensors, step, case.clip)
        for optimizer in optimizers:
            if case.source.endswith("SophiaH") and step % 10 == 0:
                optimizer.step(hessian=curvatures(optimizer, tensors, step))
            else:
                optimizer.step()
        if step + 1 in problem.STORED:
            found |= arrays(f"{step + 1}", tensors)
    if "ScheduleFree" in case.source:
        for optimizer in optimizers:
            optimizer.eval()
        found |= arrays("evaluated", tensors)
    return found


def set_gradients(tensors: Tensors, step: int, clip: float | None) -> None:
    """Gives every tensor the gradient of this step."""
    import torch

    parameters = {
        name: from_torch(tensor.detach().numpy()) for name, tensor in tensors.items()
    }
    slopes = problem.gradient(parameters, problem.NOISE[step])
    if clip is not None:
        norm = np.sqrt(sum((slope**2).sum() for slope in slopes.values()))
        slopes = {name: slope / max(1, norm / clip) for name, slope in slopes.items()}
    for name, tensor in tensors.items():
        tensor.grad = torch.as_tensor(to_torch(slopes[name]))


def curvatures(optimizer: Any, tensors: Tensors, step: int) -> list[Any]:
    """This step's curvature in the order of the optimizer's parameters."""
    import torch

    found = problem.curvature(problem.NOISE[step])
    of_tensor = {id(tensor): to_torch(found[name]) for name, tensor in tensors.items()}
    return [
        torch.as_tensor(of_tensor[id(tensor)])
        for group in optimizer.param_groups
        for tensor in group["params"]
    ]


def arrays(prefix: str, tensors: Tensors) -> dict[str, np.ndarray]:
    """The tensors in our layout, in float32 to keep the files small."""
    return {
        f"{prefix}/{name}": from_torch(tensor.detach().numpy()).astype(np.float32)
        for name, tensor in tensors.items()
    }


def to_torch(value: np.ndarray) -> np.ndarray:
    """HWIO to OIHW, [in, out] to [out, in]."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,))
    return np.ascontiguousarray(value.transpose(axes))


def from_torch(value: np.ndarray) -> np.ndarray:
    """OIHW to HWIO, [out, in] to [in, out]."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim, (0,))
    return np.ascontiguousarray(value.transpose(axes))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="default: all", metavar="optimizer")
    names = parser.parse_args().names or list(CASES)
    if unknown := set(names) - set(CASES):
        parser.error(f"no case for {sorted(unknown)}; there are {', '.join(CASES)}")
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("timm")
        importlib.import_module("pytorch_optimizer")
    except ModuleNotFoundError as error:
        parser.error(
            f"{error.name} is missing: run this where torch, timm and "
            "pytorch_optimizer are installed"
        )
    torch.set_default_dtype(torch.float64)
    for name in names:
        make(name, CASES[name])


if __name__ == "__main__":
    main()

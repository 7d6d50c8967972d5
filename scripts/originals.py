"""timm's models as the originals of this zoo: built, described, given random weights.

What `build_registry.py`, `make_goldens.py` and `check_parity.py` share. They run where
torch and timm are installed beside the project; nothing else here needs either.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import contextlib
import dataclasses
import functools
import importlib
import types
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import timm
import torch
from timm.models import _builder, _registry

# What a caller of this zoo says through create_model, not through an architecture.
CALLERS = ("num_classes", "in_chans", "img_size")
RATES = ("drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate")
# timm's files whose models are read by the rules of one family here.
FAMILIES = {
    "convnext": "convnext",
    "deit": "vit",
    "densenet": "densenet",
    "efficientnet": "efficientnet",
    "hardcorenas": "efficientnet",
    "metaformer": "metaformer",
    "mlp_mixer": "mixer",
    "mobilenetv3": "efficientnet",
    "byobnet": "repvgg",
    "regnet": "regnet",
    "resnet": "resnet",
    "swin_transformer": "swin",
    "vgg": "vgg",
    "vision_transformer": "vit",
    "xcit": "xcit",
}


@dataclasses.dataclass
class Original:
    """A model of timm with what it was built from.

    Attributes:
        model: The torch module, in evaluation mode.
        variant: Name that timm built it by.
        keywords: The model class's keyword arguments as plain values, without those
            that a caller chooses (classes, image size, dropout rates).
    """

    model: torch.nn.Module
    variant: str
    keywords: dict[str, Any]


def plain(value: Any) -> Any:
    """A value as JSON has it: classes and functions by name, dataclasses as dicts."""
    if isinstance(value, functools.partial):
        keywords = {k: plain(v) for k, v in value.keywords.items()}
        arguments = {"arguments": plain(value.args)} if value.args else {}
        return {"partial": value.func.__name__, **arguments, **keywords}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: plain(getattr(value, f.name)) for f in fields}
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return value.__name__
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)


def build(call: Callable[..., torch.nn.Module] | str, changes=None, **arguments):
    """Builds a model and records what its class got.

    Args:
        call: A name for `timm.create_model`, "module:function", or a function.
        changes: Merged into the class's keywords; dotted keys reach into dicts and
            dataclasses.
        **arguments: For the call.
    """
    if isinstance(call, str):
        module, colon, name = call.rpartition(":")
        if colon:
            function = getattr(importlib.import_module(module), name)
        else:
            function = functools.partial(timm.create_model, call)
    else:
        function = call
    with _recording(changes or {}) as record:
        model = function(**arguments).eval()
    keywords = record.get("keywords", {**arguments, **(changes or {})})
    described = {
        k: v
        for k, v in plain(keywords).items()
        if k not in CALLERS and k not in RATES and not k.startswith("pretrained")
    }
    if described.get("pruned"):
        # timm cuts channels by a list of its own; what was left is what counts.
        described["pruned"] = {
            name: module.out_channels
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Conv2d)
        }
    return Original(model, record.get("variant", ""), described)


@contextlib.contextmanager
def _recording(changes: dict[str, Any]) -> Iterator[dict]:
    """Wraps timm's one builder in all of its modules."""
    record: dict[str, Any] = {}
    real = _builder.build_model_with_cfg

    def recorder(model_cls, variant, pretrained, **keywords):
        keywords = {**keywords, **{k: v for k, v in changes.items() if "." not in k}}
        for path, value in changes.items():
            if "." in path:
                first, *rest = path.split(".")
                keywords[first] = _replaced(keywords[first], rest, value)
        ignored = ("feature_cfg", "kwargs_filter", "cache_dir")
        given = {k: v for k, v in keywords.items() if k not in ignored}
        record["variant"] = variant
        # Made plain now: some models write into the lists they are given.
        record["keywords"] = plain({**given, "model_class": model_cls})
        return real(model_cls, variant, pretrained, **keywords)

    modules = [
        m
        for m in map(importlib.import_module, _registry_modules())
        if getattr(m, "build_model_with_cfg", None) is real
    ]
    for module in modules:
        vars(module)["build_model_with_cfg"] = recorder
    try:
        yield record
    finally:
        for module in modules:
            vars(module)["build_model_with_cfg"] = real


@functools.cache
def _registry_modules() -> tuple[str, ...]:
    return tuple(f"timm.models.{name}" for name in sorted(_registry._module_to_models))


def _replaced(owner: Any, path: list[str], value: Any) -> Any:
    step, *rest = path
    if isinstance(owner, list | tuple):
        items = list(owner)
        items[int(step)] = _replaced(items[int(step)], rest, value) if rest else value
        return type(owner)(items)
    if isinstance(owner, dict):
        return {**owner, step: _replaced(owner[step], rest, value) if rest else value}
    inner = _replaced(getattr(owner, step), rest, value) if rest else value
    return dataclasses.replace(owner, **{step: inner})


def names(family: str | None = None) -> list[str]:
    """Names of timm's architectures that a family here answers for."""
    listed = (name for name in timm.list_models() if _module(name) in FAMILIES)
    return sorted(n for n in listed if family in (None, family_of(n)))


def family_of(name: str) -> str:
    """The family here that answers for an architecture of timm."""
    return FAMILIES[_module(name)]


def _module(name: str) -> str:
    return _registry._model_to_module[name]


def randomise(model: torch.nn.Module, seed: int = 0, *, half: bool = False) -> None:
    """Gives every parameter and statistic a random value of a useful size.

    Matrices keep timm's initial values where these vary; what starts at a constant
    (norms, biases, scales of branches, position tables) would hide mistakes.

    Args:
        model: Changed in place.
        seed: Of NumPy's generator.
        half: Whether to round all to float16, so that a file may hold them exactly.
    """
    parameters = dict(model.named_parameters())
    for name, tensor in [*parameters.items(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        last = name.rpartition(".")[2]
        shape = tuple(tensor.shape)
        if last == "running_var":
            new = generator.uniform(0.5, 1.5, shape)
        elif last == "running_mean":
            new = generator.normal(0, 0.1, shape)
        elif name not in parameters:
            continue
        elif last == "weight" and tensor.ndim == 1:
            # Below one, as a trained branch is beside its shortcut: else every block
            # amplifies rounding, and deep networks compare it with itself.
            new = generator.uniform(0.2, 0.7, shape)
        elif (
            tensor.numel() > 1 and float(tensor.float().std()) > 1e-3 and last != "bias"
        ):
            new = tensor.detach().numpy()
        else:
            new = generator.uniform(0.1, 0.4, shape) * generator.choice([-1, 1], shape)
        with torch.no_grad():
            tensor.copy_(torch.as_tensor(np.asarray(new, np.float32)))
            if half:
                tensor.copy_(tensor.half().float())


def settle(model: torch.nn.Module, size: tuple[int, int], seed: int = 0) -> None:
    """Brings running statistics near what the network's maps have, then shakes them.

    Statistics that have nothing to do with the maps let a deep network grow or shrink
    by orders of magnitude, and rounding grows with it; in trained networks they fit.
    """
    norms = [
        m
        for m in model.modules()
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ]
    if not norms:
        return
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(2, 3, *size)).astype(np.float32)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, and there is one
        norm.train()
    with torch.no_grad():
        model(torch.as_tensor(images))
        for norm in norms:
            norm.eval()
            count = norm.num_features
            spread = norm.running_var.sqrt()
            shift = torch.as_tensor(generator.normal(0, 0.1, count), dtype=spread.dtype)
            factor = torch.as_tensor(generator.uniform(0.7, 1.4, count))
            norm.running_mean += shift * spread
            norm.running_var *= factor.to(spread.dtype)
            norm.running_var += 1e-3

"""How EfficientNet and its kin are read: timm's files, and torchvision's."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

from model_zoo.backbones.efficientnet import EfficientNetArchitecture
from model_zoo.backbones.efficientnet_blocks import round_width
from model_zoo.classifier import NetworkClassifier
from model_zoo.weights.rules import Rules, Tensors, Unsupported

_ACTIVATIONS = {
    "GELU": "gelu",
    "Hardswish": "hard_swish",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SiLU": "silu",
}
_LETTERS = {"Hardswish": "hs", "ReLU": "re", "ReLU6": "r6", "SiLU": "sw"}
_ANTI_ALIAS = {None: "none", "avg": "average", "blurpc": "blur"}
_ROUNDING = "round_channels"
# Modules of the blocks that torchvision has, in the order of use.
_ORDER = {
    "cn": ("conv", "bn1"),
    "ds": ("conv_dw", "bn1", "se", "conv_pw", "bn2"),
    "ir": ("conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"),
}

Rounding = Callable[[float], int]


def _legacy(tensors: Tensors, classifier: NetworkClassifier) -> Tensors:
    """Gives torchvision's modules timm's names, and the flat kernels of experts axes.

    Experts' axes become out, in, expert, height, width.
    """
    shapes = {RULES.source_name(k): v.shape for k, v in classifier.shapes.items()}
    found = _timm_names(
        tensors, cast(EfficientNetArchitecture, classifier.architecture)
    )
    for name, shape in shapes.items():
        if len(shape) == 5 and name in found and found[name].ndim == 2:
            experts, height, width, num_in, num_out = shape
            kernels = found[name].reshape(experts, num_out, num_in, height, width)
            found[name] = kernels.transpose(1, 2, 0, 3, 4)
    return found


def _timm_names(tensors: Tensors, config: EfficientNetArchitecture) -> Tensors:
    """Renames the modules of torchvision, which are numbered in the order of use."""
    theirs = {name.rpartition(".")[0] for name in tensors}
    if not theirs & {"features.0.0", "layers.0"}:
        return dict(tensors)
    ours = ["conv_stem", "bn1"]
    for i, stage in enumerate(config.blocks):
        for j, block in enumerate(stage):
            gate = ("se.conv_reduce", "se.conv_expand") if block.num_squeezed else ()
            for part in _ORDER.get(block.kind, ()):
                parts = gate if part == "se" else (part,)
                ours += [f"blocks.{i}.{j}.{name}" for name in parts]
    ours += ["conv_head", *(["bn2"] if config.head == "conv_norm_pool" else [])]
    order = sorted(theirs, key=_numbered)
    names = dict(zip(order, [*ours, "classifier"], strict=False))
    renamed = {}
    for name, array in tensors.items():
        module, dot, leaf = name.rpartition(".")
        renamed[names.get(module, module) + dot + leaf] = array
    return renamed


def _numbered(module: str) -> tuple[bool, list[int], str]:
    """Sorts by the numbers in a name, and the classifier last."""
    numbers = [int(number) for number in re.findall(r"(?<=\.)\d+", module)]
    return module.startswith("classifier"), numbers, module


RULES = Rules(
    renames=(
        (r"\.se\.fc1\.", ".se.conv_reduce."),
        (r"\.se\.fc2\.", ".se.conv_expand."),
    ),
    legacy=_legacy,
)


def arguments_from_timm(variant: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """The architecture's arguments from those of timm's classes.

    timm's multipliers, roundings and squeeze ratios are done here: the strings that
    come out hold the widths. Where a network was pruned, the keyword "pruned" gives the
    channels of every convolution by its name.

    Raises:
        Unsupported: If an option has no counterpart here.
    """
    given = dict(keywords)
    pruned = given.pop("pruned", False) or {}
    if pruned is True:
        raise Unsupported(f"{variant}: pruned to widths that its arguments do not say")
    late = given.pop("model_class", "EfficientNet") == "MobileNetV3"
    for key, only in (("features_only", False), ("global_pool", "avg")):
        if given.pop(key, only) != only:
            raise Unsupported(f"{variant}: {key} is not {only}")
    round_out = _rounding(variant, given.pop("round_chs_fn", _ROUNDING))
    stem_width = given.pop("stem_size", 16 if late else 32)
    if not given.pop("fix_stem", False):
        stem_width = round_out(stem_width)
    found: dict[str, Any] = {
        "stem_width": pruned.get("conv_stem", stem_width),
        "stem_kernel_size": given.pop("stem_kernel_size", 3),
        "head_width": given.pop("num_features", 1280),
        "head": _head(given) if late else "conv_norm_pool",
        "activation": _activation(variant, given.pop("act_layer", None) or "ReLU"),
        "padding": {"": "symmetric", "same": "SAME"}[given.pop("pad_type", "")],
        "anti_alias": _ANTI_ALIAS[given.pop("aa_layer", None)],
        "layer_scale": given.pop("layer_scale_init_value", None),
        **_norm(variant, given.pop("norm_layer", None)),
        **({"norm_epsilon": given.pop("bn_eps")} if "bn_eps" in given else {}),
    }
    found["head_width"] = pruned.get("conv_head", found["head_width"])
    gate, round_squeezed = _gate(variant, given.pop("se_layer", None))
    found |= gate
    of_expanded = given.pop("se_from_exp", late)
    stages = given.pop("block_args")
    if given:
        raise Unsupported(f"{variant}: {', '.join(given)}")
    writer = _Writer(
        variant,
        found["activation"],
        pruned.get("conv_stem", stem_width),
        stem_width,
        round_out,
        round_squeezed,
        of_expanded,
        pruned,
    )
    defaults = {f.name: f.default for f in fields(EfficientNetArchitecture)}
    return {
        "stages": [writer.stage(f"blocks.{i}", s) for i, s in enumerate(stages)],
        **{k: v for k, v in found.items() if v != defaults[k]},
    }


def _activation(variant: str, name: str) -> str:
    if name in _ACTIVATIONS.values():
        return name
    if name not in _ACTIVATIONS:
        raise Unsupported(f"{variant}: activation {name}")
    return _ACTIVATIONS[name]


def _head(given: dict[str, Any]) -> str:
    """How the head of timm's `MobileNetV3` is called here."""
    has_norm, has_bias = given.pop("head_norm", False), given.pop("head_bias", True)
    if has_norm:
        return "pool_conv_norm"
    return "pool_conv_bias" if has_bias else "pool_conv"


def _norm(variant: str, norm: str | dict[str, Any] | None) -> dict[str, Any]:
    options = {"partial": norm or "BatchNorm2d"} if not isinstance(norm, dict) else norm
    options = dict(options)
    name = options.pop("partial")
    norms = {
        "BatchNorm2d": "batch",
        "GroupNormAct": "group",
        "LayerNormAct2d": "layer",
    }
    found = {"norm_epsilon": options.pop("eps", 1e-5)}
    if name == "GroupNormAct":
        found["norm_group_size"] = options.pop("group_size")
    if name not in norms or options:
        raise Unsupported(f"{variant}: norm {name} {options or ''}".rstrip())
    return {"norm": norms[name], **found}


def _gate(
    variant: str, gate: str | dict[str, Any] | None
) -> tuple[dict[str, Any], Rounding]:
    """The options of gates, and how their squeezed channels are rounded."""
    if gate == "gc":
        return {"gate": "context"}, lambda width: max(1, int(width + 0.5))
    options = (
        {"partial": gate or "SqueezeExcite"} if not isinstance(gate, dict) else gate
    )
    options = dict(options)
    found, round_squeezed = {}, round
    if options.pop("partial") != "SqueezeExcite":
        raise Unsupported(f"{variant}: gate {gate}")
    if "gate_layer" in options:
        found["gate_activation"] = options.pop("gate_layer")
    if "force_act_layer" in options:
        found["squeeze_activation"] = _activation(
            variant, options.pop("force_act_layer")
        )
    if "rd_round_fn" in options:
        round_squeezed = _rounding(variant, options.pop("rd_round_fn"))
    if options:
        raise Unsupported(f"{variant}: gate {options}")
    return found, round_squeezed


def _rounding(variant: str, function: str | dict[str, Any]) -> Rounding:
    """A rounding of channels as a function."""
    options: dict[str, Any] = {"partial": function}
    if isinstance(function, dict):
        options = dict(function)
    name = options.pop("partial")
    multiplier = options.pop("multiplier", 1.0)
    divisor, least = options.pop("divisor", 8), options.pop("round_limit", 0.9)
    if name != _ROUNDING or options:
        raise Unsupported(f"{variant}: rounding {function}")
    return lambda width: round_width(width * multiplier, divisor, least)


@dataclass
class _Writer:
    """Writes timm's decoded blocks as strings again, one after the other."""

    variant: str
    activation: str
    num_in: int
    # The same before pruning.
    usual_in: int
    round_out: Rounding
    round_squeezed: Rounding
    of_expanded: bool
    # Channels of convolutions where pruning changed them.
    pruned: dict[str, int]
    # Factor of the channels between a space-to-depth and the stride it replaces.
    widened: int = 1

    def stage(self, path: str, blocks: list[dict[str, Any]]) -> list[str]:
        """Strings of a stage, neighbours that are alike joined."""
        runs: list[tuple[list[str], int, int]] = []
        for i, block in enumerate(blocks):
            # Only a stage's first block may have a stride.
            given = {**block, **({"stride": 1} if i else {})}
            tokens, stride = self._block(f"{path}.{i}", given)
            if runs and stride == 1 and runs[-1][0] == tokens:
                runs[-1] = (tokens, runs[-1][1], runs[-1][2] + 1)
            else:
                runs.append((tokens, stride, 1))
        return [_joined(*run) for run in runs]

    def _block(self, path: str, given: dict[str, Any]) -> tuple[list[str], int]:
        """A block's tokens without repetition and stride, and its stride."""
        kind, stride = given.pop("block_type"), given.pop("stride")
        if kind not in ("cn", "ds", "dsa", "er", "ir", "mqa", "uir"):
            raise Unsupported(f"{self.variant}: block type {kind}")
        ratio = given.pop("exp_ratio", 1.0)
        starts = bool(given.pop("s2d", False)) and self.widened == 1
        if self.widened > 1 and stride == 2:
            self.widened, stride, ratio = 1, 1, ratio / 4
        if starts:
            if kind != "ds":
                raise Unsupported(f"{self.variant}: space to depth in {kind}")
            self.widened = 4
        usual_out = self.round_out(given.pop("out_chs")) * self.widened
        last = "conv_pw" if kind == "ds" else "conv_pwl"
        num_out = self.pruned.get(f"{path}.{last}", usual_out)
        tokens = [kind, *_kernels(kind, given)]
        expanded = self.num_in * (4 if starts else 1)
        if kind in ("er", "ir", "uir"):
            forced = given.pop("force_in_chs", 0)
            base = self.round_out(forced) if forced else self.usual_in
            expanded = self.pruned.get(f"{path}.conv_dw", round_width(base * ratio))
            exact = round_width(self.num_in * float(f"{ratio:g}")) == expanded
            tokens.append(f"e{ratio:g}" if exact else f"m{expanded}")
        tokens.append(f"c{num_out}")
        if squeeze := given.pop("se_ratio", 0.0):
            share = squeeze if self.of_expanded else squeeze / ratio
            squeezed = self.round_squeezed(expanded * share / (4 if starts else 1))
            squeezed = self.pruned.get(f"{path}.se.conv_reduce", squeezed)
            tokens.append(self._squeeze(squeeze, squeezed))
        same = stride == 1 and usual_out == self.usual_in
        tokens += self._options(kind, given, same)
        if starts:
            tokens.append("d1")
        elif stride == 1 and num_out == self.num_in and not same:
            tokens.append("noskip")  # only pruning made the widths equal
        if given:
            raise Unsupported(f"{self.variant}: {', '.join(given)} of {kind}")
        self.num_in, self.usual_in = num_out, usual_out
        return tokens, stride

    def _squeeze(self, squeeze: float, squeezed: int) -> str:
        """The squeezed channels, as a fraction of the input where that is exact."""
        text = f"{squeeze:g}"
        plain = not self.of_expanded and self.round_squeezed is round
        if plain and "." in text and round(self.num_in * squeeze) == squeezed:
            return f"se{text}"
        return f"se{squeezed}"

    def _options(self, kind: str, given: dict[str, Any], same: bool) -> list[str]:
        """Activation, groups, experts and shortcut, where they are not the usual."""
        tokens = []
        if activation := given.pop("act_layer"):
            if activation not in _LETTERS:
                raise Unsupported(f"{self.variant}: activation {activation}")
            if _ACTIVATIONS[activation] != self.activation:
                tokens.append(f"n{_LETTERS[activation]}")
        usual = 0 if kind in ("er", "cn") else 1
        group_size = given.pop("group_size", usual) if kind != "mqa" else usual
        if group_size != usual:
            tokens.append(f"gs{group_size}")
        if experts := given.pop("num_experts", 0):
            tokens.append(f"cc{experts}")
        given.pop("pw_act", None)
        wants_none, wants_one = given.pop("noskip", False), given.pop("skip", False)
        if same and wants_none and kind not in ("cn", "dsa"):
            tokens.append("noskip")
        if same and wants_one:
            tokens.append("skip")
        return tokens


def _kernels(kind: str, given: dict[str, Any]) -> list[str]:
    """Tokens of kernels and of attention."""
    names = {
        "cn": ("kernel_size",),
        "er": ("exp_kernel_size", "pw_kernel_size"),
        "uir": ("dw_kernel_size_mid", "dw_kernel_size_end", "dw_kernel_size_start"),
    }.get(kind, ("dw_kernel_size", "pw_kernel_size", "exp_kernel_size"))
    usual = 0 if kind == "uir" else 1
    sizes = dict(zip("kpa", (given.pop(name, usual) for name in names), strict=False))
    tokens = [
        f"{key}{'.'.join(map(str, size)) if isinstance(size, list) else size}"
        for key, size in sorted(sizes.items())
        if size != usual or (key == "k" and kind != "uir")
    ]
    if kind == "mqa":
        heads, width = given.pop("num_heads"), given.pop("key_dim")
        if given.pop("value_dim") != width:
            raise Unsupported("keys and values of different widths")
        tokens += [f"h{heads}", f"d{width}"]
        if (stride := given.pop("kv_stride")) > 1:
            tokens.append(f"v{stride}")
    return tokens


def _joined(tokens: list[str], stride: int, count: int) -> str:
    """A block string: type, repetitions, kernels, stride, and the rest."""
    kind, *rest = tokens
    at = next(i for i, token in enumerate(rest) if token[0] in "emc")
    repeats = [f"r{count}"] if count > 1 else []
    strides = [f"s{stride}"] if stride > 1 else []
    return "_".join([kind, *repeats, *rest[:at], *strides, *rest[at:]])

"""The block strings that mobile networks are written in, and what they mean.

MnasNet, MobileNet, EfficientNet and their kin are lists of a few block types, and their
authors' code writes them as strings: "ir_r4_k3_s2_e6_c40_se0.25" is four inverted
residuals of kernel 3, the first of stride 2, six times expanded, 40 channels out, with
squeeze-and-excitation of a quarter of the block's input. `decode` makes `Block`s of
them, every width a number.

The first part is the block's type, the others come in any order:

- `ds` depthwise separable, `dsa` the same with an activation at its end and no
  shortcut (MobileNetV1), `ir` inverted residual, `er` the same with the expansion and
  the depthwise convolution fused into one, `cn` one convolution, `uir` universal
  inverted bottleneck, `mqa` multi-query attention;
- `r` repetitions (1), `k` kernel size (several as "3.5.7" split the channels among
  them), `s` stride of the first repetition (1), `c` channels out;
- `e` expansion of the block's input, rounded to a multiple of 8, or `m` the expanded
  channels themselves;
- `se` squeezed channels: a fraction ("0.25") of the block's input or a number ("8");
- `a` and `p`: kernel sizes of the convolutions that expand and project (1), in `uir` of
  depthwise convolutions before and after (0, which is none; so may `k` be);
- `gs` channels of a group, where convolutions are depthwise or dense otherwise;
- `n` activation: re, r6, hs, sw; the network's where it is not given;
- `cc` experts of conditional convolutions (`ir`), `d1` a strided 2x2 convolution that
  multiplies the channels by four in front (`ds`);
- `h` heads, `d` channels of a head, `v` stride of keys and values (`mqa`);
- `noskip` leaves a shortcut out, `skip` gives `cn` one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

Kind = Literal["ds", "dsa", "ir", "er", "cn", "uir", "mqa"]

_COMMON = frozenset(("r", "k", "s", "c", "n"))
_KEYS: dict[str, frozenset[str]] = {
    "ds": _COMMON | {"e", "se", "p", "gs", "d", "noskip"},
    "dsa": _COMMON | {"e", "se", "p", "gs"},
    "ir": _COMMON | {"e", "m", "se", "a", "p", "gs", "cc", "noskip"},
    "er": _COMMON | {"e", "m", "se", "p", "gs", "noskip"},
    "cn": _COMMON | {"e", "gs", "skip"},
    "uir": _COMMON | {"e", "m", "se", "a", "p", "gs", "noskip"},
    "mqa": _COMMON | {"h", "d", "v", "noskip"},
}
_NEEDED = {"mqa": ("k", "c", "h", "d"), "uir": ("c",)}
_EXPANDING = ("ir", "er", "uir")
_ACTIVATIONS = {"re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "silu"}


@dataclass(frozen=True)
class Block:
    """One block with all its widths.

    Attributes:
        kind: Its type, the first part of its string.
        num_in: Channels in.
        num_out: Channels out.
        num_expanded: Channels of the depthwise convolution; in `er` of the expansion.
        num_squeezed: Channels between the layers of the gate; 0 for none.
        kernel_size: Sides of the kernels that share the channels.
        expand_kernel: The same of the convolution that expands, in `uir` of the
            depthwise one before.
        project_kernel: The same of the convolution that projects, in `uir` of the
            depthwise one after.
        stride: Step in pixels.
        group_size: Channels of a group; 0 is a dense convolution.
        activation: Name of the activation.
        skip: Whether the input is added to the output.
        num_experts: Kernels that each image mixes; 0 is an ordinary convolution.
        space_to_depth: Whether a strided 2x2 convolution comes first.
        num_heads: Heads of attention.
        head_width: Channels of a head.
        key_stride: Step of keys and values in pixels.
    """

    kind: Kind
    num_in: int
    num_out: int
    num_expanded: int
    num_squeezed: int
    kernel_size: tuple[int, ...]
    expand_kernel: tuple[int, ...]
    project_kernel: tuple[int, ...]
    stride: int
    group_size: int
    activation: str
    skip: bool
    num_experts: int
    space_to_depth: bool
    num_heads: int
    head_width: int
    key_stride: int


def decode(
    stages: Sequence[Sequence[str]], num_in: int, activation: str
) -> tuple[tuple[Block, ...], ...]:
    """Reads the strings of a network.

    Args:
        stages: Strings of each stage.
        num_in: Channels of the stem.
        activation: Name of the activation where a string names none.

    Raises:
        ValueError: If a string cannot be read; it says what was wanted.
    """
    decoded = []
    for stage in stages:
        blocks: list[Block] = []
        for text in stage:
            options = _parse(text)
            for repetition in range(int(options.get("r", "1"))):
                block = _resolve(text, options, num_in, activation, repetition == 0)
                num_in = block.num_out
                blocks.append(block)
        decoded.append(tuple(blocks))
    return tuple(decoded)


def round_width(width: float | int, divisor: int = 8, least: float = 0.9) -> int:
    """The multiple of `divisor` nearest to a width, but not below `least` times it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < least * width else rounded


def _parse(text: str) -> dict[str, str]:
    """Splits a string into options by key; the type's key is "kind"."""
    kind, *parts = text.split("_")
    if kind not in _KEYS:
        raise ValueError(f"block {text!r} has type {kind!r}, wanted one of {[*_KEYS]}")
    options = {"kind": kind}
    for part in parts:
        match = re.fullmatch(r"(noskip|skip|n)(\w*)|([a-z]+)([\d.]+)", part)
        key, value = (match[1] or match[3], match[2] or match[4]) if match else ("", "")
        if key not in _KEYS[kind] or key in options:
            raise ValueError(
                f"block {text!r}: cannot read {part!r}; {kind} takes each of "
                f"{sorted(_KEYS[kind])} once at most"
            )
        options[key] = value or ""
    missing = [k for k in _NEEDED.get(kind, ("k", "c")) if k not in options]
    if missing:
        raise ValueError(f"block {text!r} lacks {', '.join(missing)}")
    if kind not in _EXPANDING and float(options.get("e", "1")) != 1:
        raise ValueError(f"block {text!r}: {kind} does not expand, wanted no e")
    if options.get("n", "re") not in _ACTIVATIONS:
        raise ValueError(
            f"block {text!r}: activation {options['n']!r}, wanted {[*_ACTIVATIONS]}"
        )
    return options


def _resolve(
    text: str, options: dict[str, str], num_in: int, activation: str, first: bool
) -> Block:
    """One repetition, whose input is known by now."""

    def sizes(key: str, default: str) -> tuple[int, ...]:
        return tuple(int(size) for size in options.get(key, default).split("."))

    kind = cast(Kind, options["kind"])
    num_out, stride = int(options["c"]), int(options.get("s", "1")) if first else 1
    space_to_depth = first and options["kind"] == "ds" and options.get("d") == "1"
    expanded = num_in * (4 if space_to_depth else 1)
    if kind in _EXPANDING:
        ratio = float(options.get("e", "1"))
        expanded = int(options.get("m", round_width(num_in * ratio)))
    squeeze = options.get("se", "0")
    squeezed = round(num_in * float(squeeze)) if "." in squeeze else int(squeeze)
    same = stride == 1 and num_in == num_out and not space_to_depth
    wants_skip = "skip" in options if kind == "cn" else "noskip" not in options
    group_size = int(options.get("gs", "0" if kind in ("er", "cn") else "1"))
    if group_size and (num_in if kind == "cn" else expanded) % group_size:
        raise ValueError(
            f"block {text!r}: {expanded} channels in groups of {group_size}; wanted a "
            "group size that divides them"
        )
    depthwise = kind == "uir"
    return Block(
        kind=kind,
        num_in=num_in,
        num_out=num_out,
        num_expanded=expanded,
        num_squeezed=squeezed,
        kernel_size=sizes("k", "0"),
        expand_kernel=sizes("a", "0" if depthwise else "1"),
        project_kernel=sizes("p", "0" if depthwise else "1"),
        stride=stride,
        group_size=group_size,
        activation=_ACTIVATIONS[options["n"]] if "n" in options else activation,
        skip=same and wants_skip and kind != "dsa",
        num_experts=int(options.get("cc", "0")),
        space_to_depth=space_to_depth,
        num_heads=int(options.get("h", "0")),
        head_width=int(options.get("d", "0")) if kind == "mqa" else 0,
        key_stride=int(options.get("v", "1")),
    )

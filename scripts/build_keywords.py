"""Writes what timm builds each listed architecture with: `registry/keywords.json`.

    python scripts/build_keywords.py

Run where torch and timm are installed beside the project, after `build_registry.py`. A
config.json may override these keywords (`model_args`); what they mean together is read
by the same `arguments_from_timm` that wrote the registry's arguments.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import inspect
import json
from pathlib import Path

import originals
import timm
import torch

from model_zoo import registry

HOME = Path(__file__).parent.parent / "model_zoo" / "registry"
# Widths of every block, which no keyword of a config.json can reach.
_BUILT = {"efficientnet": ("block_args", "pruned")}


def class_defaults(kind: type) -> dict:
    """Defaults of a model class's keywords that JSON can hold, its bases' included."""
    found = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("timm.") or "__init__" not in vars(base):
            continue
        for name, parameter in inspect.signature(base.__init__).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                found[name] = originals.plain(parameter.default)
    unseen = (*originals.CALLERS, *originals.RATES, "device", "dtype")
    return {k: v for k, v in found.items() if k not in unseen and v is not None}


def main() -> None:
    """Builds every architecture without memory and writes the file."""
    variants, classes = {}, {}
    for name in originals.names():
        entry = registry.architectures().get(name)
        if entry is None:
            continue
        with torch.device("meta"):
            original = originals.build(name)
        keywords = dict(original.keywords)
        for key in _BUILT.get(entry.family, ()):
            keywords.pop(key, None)
        variants[name] = keywords
        kind = keywords["model_class"]
        classes.setdefault(kind, class_defaults(type(original.model)))
    lines = []
    for title, rows in (("classes", classes), ("variants", variants)):
        listed = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(rows.items()))
        lines.append(f"{json.dumps(title)}: {{\n" + ",\n".join(listed) + "\n}")
    note = json.dumps(f"generated from timm {timm.__version__}; do not edit")
    text = f'{{"note": {note},\n' + ",\n".join(lines) + "}\n"
    (HOME / "keywords.json").write_text(text)
    print(f"{len(variants)} architectures of {len(classes)} classes")


if __name__ == "__main__":
    main()

"""Makes the goldens that tests compare the zoo's families with: tiny random originals.

    python scripts/make_goldens.py resnet vit      # all families without arguments

Run where torch and timm are installed beside the project. Reads the cases of
`tests/model_zoo/goldens/FAMILY.toml` and writes one safetensors file a case: the
original's tensors (values that float16 holds, under "weights/"), images, logits and
features, and for a case with `train = true` one training step's gradients and running
statistics. Its metadata holds the architecture's arguments as the family reads them.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import argparse
import importlib
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import originals
import torch
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent.parent / "tests" / "model_zoo" / "goldens"
_COUNT = 2


def make(family: str, case: str, row: dict[str, Any]) -> None:
    """Builds one original and writes its golden."""
    size, num_classes = tuple(row["size"]), row.get("num_classes", 5)
    torch.manual_seed(0)
    original = originals.build(
        row.get("timm") or row["call"],
        row.get("changes"),
        num_classes=num_classes,
        **row.get("arguments", {}),
    )
    model = original.model
    originals.randomise(model, half=True)
    rules = importlib.import_module(f"model_zoo.weights.{family}")
    arguments = row.get("architecture") or rules.arguments_from_timm(
        original.variant, dict(original.keywords)
    )
    generator = np.random.default_rng(1)
    images = generator.normal(size=(_COUNT, *size, 3)).astype(np.float32)
    tensors = {
        f"weights/{name}": tensor.half().numpy()
        if tensor.is_floating_point()
        else tensor.numpy()
        for name, tensor in model.state_dict().items()
    }
    batch = torch.as_tensor(images).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        logits = model(batch)
    tensors |= {"images": images, "logits": logits.numpy()}
    if row.get("train"):
        tensors |= training_step(model, batch)
    path = FOLDER / family / f"{case}.safetensors"
    path.parent.mkdir(exist_ok=True)
    metadata = {
        "architecture": json.dumps(arguments),
        "num_classes": str(num_classes),
        "size": json.dumps(size),
    }
    arrays = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    save_file(arrays, path, metadata=metadata)
    spread = float(logits.std())
    print(f"{family} {case}: {path.stat().st_size / 1024:.0f} KiB, logits {spread:.3g}")
    if not 1e-2 < spread < 1e4:
        print(f"  the logits of {case} vary by {spread:.3g}: little to compare")


def training_step(model: torch.nn.Module, batch: torch.Tensor) -> dict[str, Any]:
    """Gradients of the mean squared logit in training mode, and what moved."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    before = {name: b.clone() for name, b in model.named_buffers()}
    outputs = model(batch)
    if isinstance(outputs, tuple):  # two heads in training: their mean is compared
        outputs = torch.stack(outputs).mean(0)
    loss = outputs.square().mean()
    loss.backward()
    found: dict[str, Any] = {"loss": loss.detach().numpy()}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            raise ValueError(f"{name} has no gradient")
        found[f"gradients/{name}"] = parameter.grad.numpy()
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and not torch.equal(buffer, before[name]):
            found[f"statistics/{name}"] = buffer.numpy()
    return found


def main() -> None:
    """Reads the arguments and makes the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("families", nargs="*", help="all of them if none is named")
    parser.add_argument("--case", action="append", help="only these cases")
    parser.add_argument(
        "--path", action="append", default=[], help="folder of originals outside timm"
    )
    options = parser.parse_args()
    sys.path[:0] = options.path
    families = options.families or sorted(p.stem for p in FOLDER.glob("*.toml"))
    for family in families:
        cases = tomllib.loads((FOLDER / f"{family}.toml").read_text())
        for case, row in cases.items():
            if not options.case or case in options.case:
                make(family, case, row)


if __name__ == "__main__":
    main()

"""Makes the golden of `model_args`: logits of networks that timm built from a file.

    python scripts/make_goldens_configs.py

Run where torch and timm are installed beside the project. Each case below becomes a
folder with a config.json and weights; timm reads it (`local-dir:`) and classifies two
images. Weights follow from their names alone (`tests/model_zoo/originals.py`), so
`tests/model_zoo/goldens/configs.json` keeps configurations and logits.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.model_zoo.originals import seeded_images, seeded_tensor  # noqa: E402

GOLDEN = ROOT / "tests" / "model_zoo" / "goldens" / "configs.json"
_VIT = {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8, "img_size": 32}
_DIMS = {"dims": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
# Architecture, size of the input, model_args.
CASES: dict[str, tuple[str, int, dict]] = {
    "average of tokens that are normalised before": (
        "vit_tiny_patch16_224",
        32,
        _VIT | {"global_pool": "avg", "fc_norm": False},
    ),
    "average without a norm of its own": (
        "vit_small_patch16_224",
        32,
        _VIT | {"global_pool": "avg"},
    ),
    "class token normalised after pooling": (
        "vit_tiny_patch16_224",
        32,
        _VIT | {"fc_norm": True, "drop_path_rate": 0.1, "num_classes": 5},
    ),
    "average with the tokens before the patches": (
        "vit_tiny_patch16_224",
        32,
        _VIT | {"global_pool": "avg", "pool_include_prefix": True, "reg_tokens": 2},
    ),
    "no class token": (
        "vit_tiny_patch16_224",
        32,
        _VIT | {"class_token": False, "global_pool": "avg", "act_layer": "quick_gelu"},
    ),
    "map pooling": ("vit_tiny_patch16_224", 32, _VIT | {"global_pool": "map"}),
    "no last norm": (
        "vit_tiny_patch16_224",
        32,
        _VIT | {"final_norm": False, "init_values": 1e-5, "in_chans": 3},
    ),
    "activations and norms": (
        "vit_tiny_patch16_224",
        32,
        _VIT | {"act_layer": "swish", "norm_layer": "rmsnorm", "qk_norm": True},
    ),
    "OpenAI's norm by timm's name": (
        "vit_base_patch16_clip_224",
        32,
        _VIT | {"norm_layer": "layernorm", "act_layer": "gelu_tanh"},
    ),
    "an image smaller than the input says": ("vit_tiny_patch16_224", 48, _VIT),
    "a dynamic image": (
        "vit_tiny_patch16_224",
        48,
        _VIT | {"img_size": 48, "dynamic_img_size": True},
    ),
    "windows": (
        "swin_tiny_patch4_window7_224",
        64,
        {"embed_dim": 12, "depths": [1, 1, 1, 1], "window_size": 4, "img_size": 64},
    ),
    "convnext": (
        "convnext_atto",
        64,
        _DIMS | {"act_layer": "gelu_tanh", "norm_eps": 1e-2, "ls_init_value": 1.0},
    ),
    "convnext with the norm before pooling": (
        "convnext_atto",
        64,
        _DIMS | {"head_norm_first": True, "act_layer": "relu", "global_pool": "avg"},
    ),
    "efficientnet": ("test_efficientnet", 64, {"act_layer": "relu", "bn_eps": 1e-2}),
    "mobilenet": ("mobilenetv3_small_050", 64, {"act_layer": "silu"}),
    "padding as in tensorflow": ("lcnet_035", 65, {"pad_type": "same"}),
    "resnet": (
        "resnet10t",
        64,
        {"avg_down": False, "replace_stem_pool": True, "act_layer": "relu"},
    ),
    "regnet": ("regnetx_002", 64, {"act_layer": "silu", "drop_rate": 0.2}),
    "xcit": (
        "xcit_nano_12_p16_224",
        32,
        {"depth": 2, "embed_dim": 32, "num_heads": 2, "tokens_norm": True},
    ),
}


def make(architecture: str, side: int, model_args: dict) -> dict:
    """One case: writes a folder, lets timm read it, gives what it saw."""
    size = model_args.get("img_size", side)
    config = {
        "architecture": architecture,
        "num_classes": 5,
        "model_args": model_args,
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": "img_size" in model_args,
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 5,
        },
    }
    rest = {k: v for k, v in model_args.items() if k not in ("num_classes", "in_chans")}
    bare = timm.create_model(architecture, num_classes=5, **rest)
    tensors = {
        name: torch.as_tensor(seeded_tensor(name, tuple(tensor.shape)))
        for name, tensor in bare.state_dict().items()
        if tensor.is_floating_point()
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        kept = {k: v for k, v in bare.state_dict().items() if k not in tensors}
        save_file(tensors | kept, Path(folder) / "model.safetensors")
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    batch = torch.as_tensor(seeded_images(size)).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        logits = model(batch).numpy()
    rounded = [[float(f"{x:.8g}") for x in row] for row in logits.astype(np.float64)]
    print(architecture, f"logits {logits.std():.3g}")
    return {"config": config, "size": size, "logits": rounded}


def main() -> None:
    """Makes every case and writes the golden."""
    timm.layers.set_fused_attn(False)
    made = {name: make(*case) for name, case in CASES.items()}
    rows = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in made.items())
    GOLDEN.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()

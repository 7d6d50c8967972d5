"""Makes the goldens of CLIP: tiny random models of OpenCLIP with both of their towers.

    python scripts/make_goldens_clip.py

Run where torch, timm and open_clip_torch are installed. Writes one file a case to
`tests/model_zoo/goldens/clip/`: the model's tensors (values that float16 holds, under
"weights/"), images, tokens, the features of both, and the zero-shot logits that
OpenCLIP's own `build_zero_shot_classifier` leads to, at a factor of 100.
"""

# torch, timm and open_clip are not dependencies of the project.
# pyright: reportMissingImports=false

from pathlib import Path

import numpy as np
import open_clip
import originals
import timm.models.convnext as convnext
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from timm.models import register_model

FOLDER = Path(__file__).parent.parent / "tests" / "model_zoo" / "goldens" / "clip"
EMBEDDING, VOCABULARY, CONTEXT = 24, 64, 10
CLASSES, TEMPLATES = 5, 3
TEXT = {
    "context_length": CONTEXT,
    "vocab_size": VOCABULARY,
    "width": 32,
    "heads": 2,
    "layers": 2,
}
VIT = {"layers": 2, "width": 48, "head_width": 16, "patch_size": 4}
# Odd sides that differ: what is flattened or padded wrongly shows.
CASES = {
    "openai": (CLIP, {**VIT, "image_size": (12, 20)}, True),
    "openclip": (CLIP, {**VIT, "image_size": (12, 20)}, False),
    "custom_text": (CustomTextCLIP, {**VIT, "image_size": (12, 20)}, True),
    "convnext": (
        CustomTextCLIP,
        {"timm_model_name": "convnext_golden", "timm_pool": "", "image_size": (37, 44)},
        False,
    ),
    "convnext_mlp": (
        CustomTextCLIP,
        {
            "timm_model_name": "convnext_golden",
            "timm_pool": "",
            "timm_proj": "mlp",
            "image_size": (37, 44),
        },
        False,
    ),
}


@register_model
def convnext_golden(pretrained: bool = False, **keywords) -> torch.nn.Module:
    """A ConvNeXt whose weights fit a test."""
    small = {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 20)}
    return convnext._create_convnext(
        "convnext_atto", pretrained=pretrained, **(small | keywords)
    )


def tokens(generator: np.random.Generator) -> np.ndarray:
    """Texts of random words: start, words, end, zeros; one of each fills its row."""
    rows = np.zeros((CLASSES * TEMPLATES, CONTEXT), np.int64)
    for index, row in enumerate(rows):
        count = 1 + index % (CONTEXT - 2)
        row[0] = VOCABULARY - 2
        row[1 : 1 + count] = generator.integers(1, VOCABULARY - 2, count)
        row[1 + count] = VOCABULARY - 1
    return rows


def make(case: str) -> None:
    """Builds one model and writes its golden."""
    kind, vision, quick_gelu = CASES[case]
    torch.manual_seed(0)
    model = kind(
        EMBEDDING,
        CLIPVisionCfg(**vision),
        CLIPTextCfg(**TEXT),
        quick_gelu=quick_gelu,
    ).eval()
    originals.randomise(model, half=True)
    generator = np.random.default_rng(1)
    images = generator.normal(size=(3, *vision["image_size"], 3)).astype(np.float32)
    texts = tokens(generator)
    with torch.inference_mode():
        batch = torch.as_tensor(images).permute(0, 3, 1, 2).contiguous()
        embedded = model.encode_image(batch)
        encoded = model.encode_text(torch.as_tensor(texts))
        classes = open_clip.build_zero_shot_classifier(
            model,
            lambda names: torch.as_tensor(texts[[int(name) for name in names]]),
            [str(TEMPLATES * index) for index in range(CLASSES)],
            [lambda c, t=t: str(int(c) + t) for t in range(TEMPLATES)],
        )
        logits = 100 * model.encode_image(batch, normalize=True) @ classes
    arrays = {f"weights/{k}": v.half().numpy() for k, v in model.state_dict().items()}
    if case == "openai":
        # What OpenAI's own files hold beside the weights.
        sizes = {"input_resolution": 20, "context_length": CONTEXT}
        sizes["vocab_size"] = VOCABULARY
        arrays |= {f"weights/{k}": np.asarray(v) for k, v in sizes.items()}
    arrays |= {
        "images": images,
        "tokens": texts.astype(np.int32),
        "image_features": embedded.numpy(),
        "text_features": encoded.numpy(),
        "logits": logits.numpy(),
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{case}.npz"
    np.savez_compressed(path, **arrays)
    spread = [float(a.std()) for a in (embedded, encoded, logits)]
    print(f"{case}: {path.stat().st_size / 1024:.0f} KiB, spreads {spread}")


if __name__ == "__main__":
    for name in CASES:
        make(name)

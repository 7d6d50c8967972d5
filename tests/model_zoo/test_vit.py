"""What goldens cannot see of Vision Transformers: beginnings, resizing, other files."""

import jax
import numpy as np
import pytest

from model_zoo.backbones.vit import ViTArchitecture
from model_zoo.weights.rules import Unsupported, convert
from model_zoo.weights.vit import RULES, arguments_from_timm, resize_positions
from tests.model_zoo import twins


def start(**options):
    return twins.tiny(ViTArchitecture(48, 2, 4, patch_size=4, **options)).init(
        jax.random.key(0)
    )


def test_beginnings():
    variables = start(layer_scale=0.3, distilled=True, register_tokens=20)
    assert np.all(variables["blocks.1.ls2.gamma"] == np.float32(0.3))
    assert variables["dist_token"].std() == pytest.approx(0.02, rel=0.3)
    assert 0 < np.abs(variables["reg_token"]).max() < 1e-5


def test_a_post_norm_block_starts_its_norms_at_the_layer_scale():
    variables = start(block="post_norm", layer_scale=0.3)
    assert np.all(variables["blocks.0.norm2.scale"] == np.float32(0.3))
    assert np.all(variables["norm.scale"] == 1)


def test_gates_start_open():
    variables = start(mlp="glu")
    assert np.abs(variables["blocks.0.mlp.fc1_g.kernel"]).max() < 1e-5
    assert np.all(variables["blocks.0.mlp.fc1_g.bias"] == 1)
    assert variables["blocks.0.mlp.fc1_x.kernel"].std() == pytest.approx(0.02, rel=0.1)
    variables = start(mlp="glu_packed")
    plain, gate = np.split(variables["blocks.0.mlp.fc1.kernel"], 2, axis=1)
    assert plain.std() == pytest.approx(0.02, rel=0.1)
    assert np.abs(gate).max() < 1e-5
    plain, gate = np.split(variables["blocks.0.mlp.fc1.bias"], 2)
    assert np.all(plain == 0)
    assert np.all(gate == 1)


def test_the_query_of_an_attention_pool_is_cut_at_two_deviations():
    latent = start(pool="map")["attn_pool.latent"]
    assert latent.std() == pytest.approx(0.88 * 48**-0.5, rel=0.2)
    assert np.abs(latent).max() <= 2 * 48**-0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, "width is not a multiple of num_heads"),
        ({"class_token": False}, "pool 'token' needs class_token"),
        ({"distilled": True, "pool": "average"}, "distilled needs pool 'token'"),
        ({"block": "parallel", "mlp": "glu"}, "a parallel block has a plain MLP"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ViTArchitecture(
            **{"width": 8, "depth": 1, "num_heads": 2, **options}, patch_size=4
        )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"unheard_of": 1}, "unheard_of"),
        ({"act_layer": "Mish"}, "Mish is none of"),
        ({"norm_layer": {"partial": "LayerNorm", "affine": False}}, "affine"),
        ({"embed_norm_layer": "RmsNorm"}, "patches normalised by RmsNorm"),
        ({"scale_attn_norm": True}, "a norm inside attention or MLP alone"),
        ({"global_pool": "prr"}, "prr is none of"),
        ({"class_token": False}, "pool 'token' needs class_token"),
    ],
)
def test_unknown_options_of_timm_are_refused(keywords, message):
    with pytest.raises(Unsupported, match=message):
        arguments_from_timm("vit", keywords)


# torch.nn.functional.interpolate of the squares of 0 to 8 to 2x5: bicubic with
# antialias, bilinear without, and bilinear with align_corners.
RESIZED = {
    "cubic": [
        [1.8501, 2.8509, 4.9246, 8.2071, 10.15],
        [26.0725, 30.2327, 38.0546, 47.0854, 52.1876],
    ],
    "linear": [[2.25, 3.25, 4.75, 7.45, 9.25], [29.25, 33.85, 40.75, 48.85, 54.25]],
    "linear_corners": [[0, 0.5, 1, 2.5, 4], [36, 42.5, 49, 56.5, 64]],
}


@pytest.mark.parametrize("position_resize", RESIZED)
def test_position_embeddings_are_resized_as_in_torch(position_resize):
    architecture = ViTArchitecture(
        1, 1, 1, patch_size=2, register_tokens=1, position_resize=position_resize
    )
    classifier = twins.tiny(architecture, (4, 10))
    prefix = np.array([-7.0, 70.0], np.float32)
    positions = np.concatenate([prefix, np.arange(9, dtype=np.float32) ** 2])
    resized = resize_positions(positions.reshape(1, -1, 1), (1, 12, 1), classifier)
    assert np.all(resized[0, :2, 0] == prefix)
    np.testing.assert_allclose(
        resized[0, 2:, 0].reshape(2, 5), RESIZED[position_resize], atol=1e-4
    )


def test_positions_that_are_not_square_stay_to_be_refused():
    classifier = twins.tiny(ViTArchitecture(1, 1, 1, patch_size=2), (4, 4))
    positions = np.zeros((1, 9, 1), np.float32)
    assert resize_positions(positions, (1, 5, 1), classifier) is positions


def stored(**options):
    """A classifier, random variables, and the same by timm's names and layouts."""
    classifier = twins.tiny(ViTArchitecture(8, 1, 2, patch_size=2, **options), (4, 4))
    variables = twins.random_variables(classifier)
    variables["head.bias"][:] = 0
    tensors = {}
    for leaf, array in variables.items():
        if leaf.endswith(".kernel"):
            array = np.moveaxis(array, (-1, -2), (0, 1))
        tensors[RULES.source_name(leaf)] = array
    return classifier, variables, tensors


def assert_read(classifier, variables, tensors):
    got = convert(tensors, classifier, RULES)
    assert got.keys() == variables.keys()
    for name, leaf in got.items():
        np.testing.assert_allclose(leaf, variables[name], rtol=1e-6, err_msg=name)


CLIP = {
    "patch_embed.proj": "conv1",
    "norm_pre": "ln_pre",
    "blocks.0.norm1": "transformer.resblocks.0.ln_1",
    "blocks.0.attn.qkv.": "transformer.resblocks.0.attn.in_proj_",
    "blocks.0.attn.proj": "transformer.resblocks.0.attn.out_proj",
    "blocks.0.norm2": "transformer.resblocks.0.ln_2",
    "blocks.0.mlp.fc1": "transformer.resblocks.0.mlp.c_fc",
    "blocks.0.mlp.fc2": "transformer.resblocks.0.mlp.c_proj",
    "norm.": "ln_post.",
}
AIM = {
    "patch_embed": "preprocessor.patchifier",
    "pos_embed": "preprocessor.pos_embed",
    "blocks.0.norm1": "trunk.blocks.0.norm_1",
    "blocks.0.norm2": "trunk.blocks.0.norm_2",
    "blocks.0.mlp.fc1_g": "trunk.blocks.0.mlp.fc1",
    "blocks.0.mlp.fc1_x": "trunk.blocks.0.mlp.fc3",
    "blocks": "trunk.blocks",
    "norm": "trunk.post_trunk_norm",
}


def renamed(tensors, table, prefix=""):
    """Every name with the start that the table gives, which must be there."""
    starts = {
        name: next((start for start in table if name.startswith(start)), None)
        for name in tensors
    }
    assert set(starts.values()) - {None} == set(table)
    return {
        prefix + (name if start is None else table[start] + name[len(start) :]): array
        for name, array in tensors.items()
        for start in [starts[name]]
    }


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_clip_is_read(wrapper):
    classifier, variables, tensors = stored(pre_norm=True)
    head, _ = tensors.pop("head.weight"), tensors.pop("head.bias")
    cls_token, positions = tensors.pop("cls_token"), tensors.pop("pos_embed")
    clip = renamed(tensors, CLIP, f"{wrapper}visual.") | {
        f"{wrapper}visual.class_embedding": cls_token[0, 0],
        f"{wrapper}visual.positional_embedding": positions[0],
        f"{wrapper}visual.proj": head.T,
        f"{wrapper}token_embedding.weight": np.zeros((3, 2), np.float32),
    }
    assert_read(classifier, variables, clip)
    # At another size its positions are resized like those of any other file.
    larger = twins.tiny(classifier.architecture, (8, 8))
    whole = tensors | {"cls_token": cls_token, "pos_embed": positions}
    whole |= {"head.weight": head, "head.bias": np.zeros(len(head), head.dtype)}
    resized = convert(whole, larger, RULES)
    assert resized["pos_embed"].shape[1] > positions.shape[1]
    assert_read(larger, resized, clip)


def test_a_tower_of_openclip_is_read():
    classifier, variables, tensors = stored(class_token=False, pool="map")
    head, _ = tensors.pop("head.weight"), tensors.pop("head.bias")
    tower = {f"visual.trunk.{name}": array for name, array in tensors.items()}
    tower["visual.head.proj.weight"] = head
    tower["text.positional_embedding"] = np.zeros((3, 2), np.float32)
    assert_read(classifier, variables, tower)


def test_dinov2_is_read():
    classifier, variables, tensors = stored(
        register_tokens=2, embed_prefix=False, mlp="glu_packed"
    )
    table = {
        "blocks.0.mlp.fc1": "blocks.0.mlp.w12",
        "blocks.0.mlp.fc2": "blocks.0.mlp.w3",
    }
    dino = renamed(tensors, table)
    first = np.full((1, 1, 8), 0.25, np.float32)
    dino["mask_token"] = first
    dino["register_tokens"] = dino.pop("reg_token")
    dino["cls_token"] = dino["cls_token"] - first
    dino["pos_embed"] = np.concatenate([first, dino["pos_embed"]], axis=1)
    assert_read(classifier, variables, dino)


def test_aimv2_is_read():
    classifier, variables, tensors = stored(
        class_token=False, pool="average", mlp="glu", norm="rms", patch_norm=True
    )
    assert_read(classifier, variables, renamed(tensors, AIM))


def test_older_layouts_of_deit_are_read():
    classifier, variables, tensors = stored(layer_scale=0.1)
    table = {
        "blocks.0.ls1.gamma": "blocks.0.gamma_1",
        "blocks.0.ls2.gamma": "blocks.0.gamma_2",
    }
    deit = renamed(tensors, table, "model.")
    patches = deit["model.patch_embed.proj.weight"]
    deit["model.patch_embed.proj.weight"] = patches.reshape(len(patches), -1)
    assert_read(classifier, variables, deit)

"""Self-supervised checkpoints: the backbone is found, the rest is known or refused.

The files are synthetic, with the tensors that each method's own code saves.
"""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from model_zoo import create_model, load_pretrained
from model_zoo.weights.ssl_layouts import LAYOUTS, find_layout, take_backbone
from model_zoo.weights.torch_files import network_tensors
from tests.model_zoo import twins
from tests.model_zoo.originals import to_original

CHILDREN = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


class Tensor:
    """What torch.load gives, as far as it is looked at."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.fixture(scope="module")
def backbones():
    found = {}
    for name in ("resnet_micro", "vit_micro"):
        classifier = create_model(name, num_classes=0)
        variables = twins.random_variables(classifier)
        tensors = to_original(classifier, variables)
        named = {k: v for k, v in tensors.items() if v.size}
        found[name] = (variables, named)
    return found


def inside(prefix, tensors):
    return {prefix + name: array for name, array in tensors.items()}


def beside(*names):
    return {name: np.ones((2, 3), np.float32) for name in names}


def children(tensors):
    """Names as `Sequential(*net.children())` gives them."""
    return {
        re.sub(r"^[^.]+", lambda m: str(CHILDREN[m.group()]), name): array
        for name, array in tensors.items()
    }


def obow(tensors):
    found = {}
    for name, array in tensors.items():
        name = name.replace("conv1.", "0.Conv.", 1) if name[:6] == "conv1." else name
        name = re.sub(r"^bn1\.", "0.bn.", re.sub(r"^layer(\d)", r"\1", name))
        found[name] = array
    return found


def moco(t):
    query = inside("module.encoder_q.", t | beside("fc.0.weight", "fc.2.bias"))
    key = inside("module.encoder_k.", t | beside("fc.0.weight"))
    return {"state_dict": query | key | beside("module.queue", "module.queue_ptr")}


def moco_v3(t, head="fc"):
    names = [f"{head}.0.weight", f"{head}.1.running_mean", f"{head}.3.weight"]
    base = inside("module.base_encoder.", t | beside(*names))
    momentum = inside("module.momentum_encoder.", t | beside(*names))
    return {"state_dict": base | momentum | beside("module.predictor.0.weight")}


def byol(t):
    online = inside("online_network.encoder.", children(t))
    target = inside("target_network.encoder.", children(t))
    heads = beside(
        "online_network.projetion.l1.weight",
        "target_network.projetion.l1.weight",
        "predictor.predictor.l2.bias",
    )
    return {"model": inside("module.", online | target | heads), "epoch": 3}


def byol_online(t):
    online = inside("encoder.", children(t)) | beside("projetion.net.0.weight")
    return {"online_network_state_dict": online, "optimizer_state_dict": {"state": {}}}


def simsiam(t):
    encoder = inside("module.encoder.", t | beside("fc.0.weight", "fc.6.bias"))
    return {"state_dict": encoder | beside("module.predictor.0.weight")}


def simclr(t):
    return inside("encoder.", t) | beside("projector.0.weight", "projector.2.weight")


def simclr_backbone(t):
    named = t | beside("fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias")
    return {"state_dict": inside("backbone.", named)}


def pirl(t):
    named = t | beside("fc.weight", "fc.bias")
    heads = beside("module.head.0.weight", "module.head_jig.fc1.weight")
    return {"model": inside("module.encoder.", named) | heads, "opt": None}


def barlow(t):
    heads = beside("module.projector.0.weight", "module.bn.running_mean")
    return {"model": inside("module.backbone.", t) | heads, "optimizer": {"state": {}}}


def dino(t):
    heads = ("mlp.0.weight", "mlp.4.bias", "last_layer.weight_g", "last_layer.weight_v")
    named = inside("backbone.", t) | inside("head.", beside(*heads))
    other = {name: array + 1 for name, array in named.items()}
    return {"student": inside("module.", other), "teacher": named, "epoch": 1}


def mmpretrain(t):
    rest = beside("data_preprocessor.mean", "neck.fc0.weight", "head.predictor.weight")
    return {"state_dict": inside("backbone.", t) | rest, "meta": {}}


def swav(t):
    heads = ("projection_head.0.weight", "projection_head.1.running_var")
    return inside("module.", t | beside(*heads, "prototypes.weight"))


def deepcluster(t):
    heads = ("projection_head.3.bias", "prototypes.prototypes0.weight")
    return {"state_dict": inside("module.", t | beside(*heads)), "amp": None}


def obow_network(t):
    return {"network": inside("_feature_blocks.", obow(t))}


def vissl(t):
    trunk = inside("_feature_blocks.", t)
    model = {"trunk": trunk, "heads": beside("0.clf.0.weight")}
    return {"classy_state_dict": {"base_model": {"model": model, "meta": {}}}}


def vissl_swav(t):
    """The trunk and heads of one file, side by side."""
    heads = beside("projection_head.0.weight", "prototypes.weight")
    return inside("_feature_blocks.", t) | heads


def mae(t):
    rest = beside("mask_token", "decoder_pos_embed", "decoder_embed.weight")
    return {
        "model": t | rest | beside("decoder_blocks.0.norm1.bias", "decoder_norm.bias")
    }


CASES = {
    "moco": (moco, "resnet_micro"),
    "moco_v3": (moco_v3, "resnet_micro"),
    "moco_v3_vit": (lambda t: moco_v3(t, "head"), "vit_micro"),
    "byol": (byol, "resnet_micro"),
    "byol_online": (byol_online, "resnet_micro"),
    "simsiam": (simsiam, "resnet_micro"),
    "simclr": (simclr, "resnet_micro"),
    "simclr_backbone": (simclr_backbone, "resnet_micro"),
    "pirl": (pirl, "resnet_micro"),
    "barlow": (barlow, "resnet_micro"),
    "dino_resnet": (dino, "resnet_micro"),
    "dino_vit": (dino, "vit_micro"),
    "mmpretrain": (mmpretrain, "resnet_micro"),
    "swav": (swav, "resnet_micro"),
    "deepcluster": (deepcluster, "resnet_micro"),
    "obow": (obow_network, "resnet_micro"),
    "vissl": (vissl, "resnet_micro"),
    "vissl_swav": (vissl_swav, "resnet_micro"),
    "mae": (mae, "vit_micro"),
}


def as_torch(stored):
    if isinstance(stored, dict):
        return {name: as_torch(value) for name, value in stored.items()}
    return Tensor(stored) if isinstance(stored, np.ndarray) else stored


def innermost(stored):
    """The one state dict that a checkpoint's backbone is in."""
    while not any(isinstance(value, np.ndarray) for value in stored.values()):
        known = ("teacher", "trunk", "state_dict", "model", "network", "base_model")
        known += ("classy_state_dict", "online_network_state_dict")
        stored = next(stored[key] for key in known if key in stored)
    return stored


@pytest.mark.parametrize("case", CASES)
def test_a_torch_checkpoint_gives_its_backbone(case, backbones):
    make, name = CASES[case]
    _, tensors = backbones[name]
    found = network_tensors(as_torch(make(tensors))).tensors
    assert found.keys() == tensors.keys()
    for key, array in tensors.items():
        np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize("case", CASES)
def test_the_same_tensors_as_safetensors_load(case, backbones, tmp_path):
    make, name = CASES[case]
    variables, tensors = backbones[name]
    path = tmp_path / "checkpoint.safetensors"
    stored = innermost(make(tensors))
    save_file({k: np.ascontiguousarray(v) for k, v in stored.items()}, path)
    classifier, loaded = load_pretrained(name, source=path, num_classes=0)
    assert classifier.num_classes == 0
    assert loaded.keys() == variables.keys()
    for leaf, array in variables.items():
        np.testing.assert_array_equal(loaded[leaf], array)


def test_every_layout_has_a_case(backbones):
    found = [
        find_layout(innermost(make(backbones[name][1])))
        for make, name in CASES.values()
    ]
    assert None not in found
    assert {layout.methods for layout in found} == {one.methods for one in LAYOUTS}
    for layout in LAYOUTS:
        assert layout.source.startswith("https://"), layout.methods


@pytest.mark.parametrize("case", CASES)
def test_unknown_tensors_are_named(case, backbones):
    make, name = CASES[case]
    stored = innermost(make(backbones[name][1])) | beside("module.mystery.weight")
    if any(not key.startswith("module.") for key in stored):
        stored["mystery.weight"] = stored.pop("module.mystery.weight")
    layout = find_layout(stored)
    if layout.prefix:
        with pytest.raises(ValueError, match=r"holds others too: mystery\.weight"):
            take_backbone(stored)
    else:
        # The rules of the model's family see all that is left, and refuse it.
        assert "mystery.weight" in take_backbone(stored)


def test_other_files_are_left_alone(backbones):
    for _, tensors in backbones.values():
        assert take_backbone(tensors) is None
    clip = {"visual.conv1.weight": np.ones(1), "text_projection": np.ones(1)}
    assert take_backbone(clip) is None
    timm = {"encoder.module.blocks.0.norm1.weight": np.ones(1)}
    assert take_backbone(timm) is None

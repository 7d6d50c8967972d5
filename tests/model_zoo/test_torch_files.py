"""Checkpoints of torch, read by a stand-in for it that is as strict about classes."""

import argparse
import collections
import contextlib
import datetime
import enum
import json
import pathlib
import pickle
import sys
import types
import uuid
from decimal import Decimal
from typing import ClassVar

import numpy as np
import pytest
from safetensors.numpy import save_file

from model_zoo import create_model, load_pretrained
from model_zoo.weights.prefixes import find_network, has_network
from model_zoo.weights.pretrained import original_names
from model_zoo.weights.torch_files import network_tensors, read_checkpoint
from tests.model_zoo import twins
from tests.model_zoo.originals import to_original

TORCHS_OWN = ("collections.OrderedDict", "collections.Counter", "_codecs.encode")


class Unpickler(pickle.Unpickler):
    """As strict about names as torch's with `weights_only=True`."""

    names: ClassVar[dict] = {}

    def find_class(self, module, name):
        path = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if path in self.names:
            return self.names[path]
        if path in TORCHS_OWN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(
            "Weights only load failed. This file can still be loaded, \x1b[1monly if "
            "you trust it\x1b[0m: set weights_only=False.\n\tWeightsUnpickler error: "
            f"Unsupported global: GLOBAL {path} was not an allowed global by default."
        )


@pytest.fixture
def torch(monkeypatch):
    """A stand-in for torch that reads bare pickles."""

    @contextlib.contextmanager
    def safe_globals(allowed):
        Unpickler.names = {name: made for made, name in allowed}
        yield
        Unpickler.names = {}

    def load(path, *, map_location, weights_only):
        assert weights_only is True
        with path.open("rb") as file:
            return Unpickler(file).load()

    module = types.ModuleType("torch")
    module.load = load
    module.serialization = types.SimpleNamespace(safe_globals=safe_globals)
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.fixture(scope="module")
def trained():
    classifier = create_model("resnet_micro", num_classes=5)
    variables = twins.random_variables(classifier)
    return classifier, variables, to_original(classifier, variables)


def write(path, stored):
    path.write_bytes(pickle.dumps(stored, protocol=2))
    return path


class Phase(enum.Enum):
    TRAIN = 1


def test_case_22_what_training_code_leaves_beside_the_tensors_is_passed_over(
    tmp_path, torch, trained
):
    tensors = trained[2]
    averaged = {name: array + 1 for name, array in tensors.items()}
    stored = {
        "args": argparse.Namespace(lr=0.1, inner=argparse.Namespace(out=[1])),
        "path": pathlib.PurePosixPath("/a"),
        "metric": np.float64(76.1),
        "best": np.float32(3),
        "step": np.int64(3),
        "flag": np.bool_(True),
        "when": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "took": datetime.timedelta(3),
        "queue": collections.deque([1, 2], 3),
        "lists": collections.defaultdict(list, {"a": [1]}),
        "count": collections.Counter("aab"),
        "names": {"a", "b"},
        "more": (uuid.UUID(int=1), Decimal("1.5"), 1j, types.SimpleNamespace(a=1)),
        "state_dict": collections.OrderedDict(tensors),
        "state_dict_ema": averaged,
    }
    path = write(tmp_path / "last.pth.tar", stored)
    found = read_checkpoint(path)
    assert found.tensors.keys() == tensors.keys()
    np.testing.assert_array_equal(
        found.tensors["conv1.weight"], averaged["conv1.weight"]
    )
    plain = read_checkpoint(path, averaged=False)
    np.testing.assert_array_equal(
        plain.tensors["conv1.weight"], tensors["conv1.weight"]
    )


@pytest.mark.parametrize("held", [Phase.TRAIN, pickle.loads, print])
def test_case_22_what_is_not_harmless_is_named_without_torchs_advice(
    tmp_path, torch, trained, held
):
    path = write(tmp_path / "last.pth", {"model": trained[2], "held": held})
    with pytest.raises(ValueError, match="which is neither a tensor nor") as raised:
        read_checkpoint(path)
    text = str(raised.value)
    assert "it holds " in text
    assert "state_dict()" in text
    assert "\x1b" not in text
    assert "weights_only" not in text


def test_case_22_an_older_torch_reads_plain_files(tmp_path, torch, trained):
    del torch.serialization
    path = write(tmp_path / "last.pth", {"model": {"conv1.weight": [1.0]}})
    with pytest.raises(ValueError, match="no tensors in this checkpoint"):
        read_checkpoint(path)


PREFIXES = (
    "module.",
    "model.",
    "_orig_mod.",
    "_forward_module.",
    "net.",
    "timm_model.",
    "_forward_module.model._orig_mod.",
    "learner.backbone.",
)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_case_23_prefixes_are_stripped_where_a_network_lies_under_them(
    trained, prefix, known
):
    classifier, _, tensors = trained
    stored = {prefix + name: array for name, array in tensors.items()}
    stored["criterion.weight"] = np.ones(5, np.float32)
    names = original_names(classifier) if known else ()
    found = network_tensors({"state_dict": stored}, names)
    assert found.tensors.keys() == tensors.keys()
    assert (found.prefix, found.beside) == (prefix, ("criterion.weight",))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("plain", "average"),
    [
        ("model.", "ema_model.module."),
        ("online_model.", "ema_model."),
        ("model.", "model_ema.module."),
        ("student.", "teacher."),
    ],
)
def test_case_23_the_averaged_of_two_networks_is_taken(trained, plain, average, known):
    classifier, _, tensors = trained
    stored = {plain + name: array for name, array in tensors.items()}
    stored |= {average + name: array + 1 for name, array in tensors.items()}
    names = original_names(classifier) if known else ()
    for averaged, offset in ((True, 1), (False, 0)):
        found = network_tensors(stored, names, averaged=averaged)
        assert found.tensors.keys() == tensors.keys()
        np.testing.assert_array_equal(
            found.tensors["conv1.weight"], tensors["conv1.weight"] + offset
        )
        assert len(found.beside) == len(tensors)


@pytest.mark.parametrize("empty", [{}, {"decay": 0.999}, None])
def test_case_23_an_empty_average_does_not_hide_the_weights(trained, empty):
    tensors = trained[2]
    found = network_tensors({"state_dict_ema": empty, "state_dict": tensors})
    assert found.tensors.keys() == tensors.keys()


def test_case_23_torchs_averaged_model_is_read_as_the_model(tmp_path, trained):
    _, variables, tensors = trained
    stored = {f"module.{name}": array for name, array in tensors.items()}
    path = tmp_path / "averaged.safetensors"
    save_file(stored | {"n_averaged": np.ones((), np.int64)}, path)
    _, loaded = load_pretrained("resnet_micro", source=path, num_classes=5)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(loaded[leaf], array)


def test_case_23_names_without_a_network_are_left_alone():
    tensors = {"a.weight": 1, "b.weight": 2}
    found = find_network(tensors)
    assert (found.tensors, found.prefix, found.beside) == (tensors, "", ())
    assert not has_network(found.tensors)


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "convnext_atto", "densenet121", "mixer_s32_224", "moganet_xtiny"),
        *("poolformer_s12", "regnetx_002", "repvgg_a0", "resnet18d", "vgg11"),
        *("swin_tiny_patch4_window7_224", "test_efficientnet", "transnext_micro"),
        *("unireplknet_a", "vit_tiny_patch16_224", "xcit_nano_12_p8_224"),
    ],
)
def test_case_23_every_familys_first_layer_is_known(name):
    names = original_names(create_model(name))
    stored = {f"net.{own}": 0 for own in names}
    assert find_network(stored).prefix == "net."
    assert find_network(dict.fromkeys(names, 0)).prefix == ""
    assert has_network(names)


def test_case_24_torch_files_in_parts(tmp_path, torch, trained):
    tensors = trained[2]
    weight_map = {n: f"part-{i % 2}.bin" for i, n in enumerate(tensors)}
    for part in ("part-0.bin", "part-1.bin"):
        held = {n: tensors[n] for n, file in weight_map.items() if file == part}
        write(tmp_path / part, held)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert read_checkpoint(index).tensors.keys() == tensors.keys()


def test_case_24_safetensors_lose_what_lies_beside_without_torch(tmp_path, trained):
    tensors = trained[2]
    stored = {f"model.{name}": array for name, array in tensors.items()}
    path = tmp_path / "lightning.pth"  # the suffix decides nothing
    save_file(stored | {"criterion.weight": np.ones(5, np.float32)}, path)
    found = read_checkpoint(path)
    assert found.tensors.keys() == tensors.keys()
    assert found.beside == ("criterion.weight",)


def test_case_24_a_file_that_is_none_of_these(tmp_path, torch):
    path = tmp_path / "notes.pth"
    path.write_bytes(b"hello world")
    with pytest.raises(ValueError, match="neither torch's, safetensors nor"):
        read_checkpoint(path)

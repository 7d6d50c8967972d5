"""Commands about models, and pretrained weights from files to a table of results."""

import sys
import types
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxbench.results import ResultStore
from model_zoo import create_model, load_pretrained
from model_zoo.weights.torch_files import network_tensors
from tests.cli.test_cli import call, write_photographs
from tests.model_zoo import twins
from tests.model_zoo.originals import to_original, write_repository


def make(name, size=32, num_classes=3):
    """A classifier under a name with an own tag, made for small images."""
    made = create_model(
        name.partition(".")[0], num_classes=num_classes, image_size=size
    )
    return replace(made, name=name)


def test_pretrained_weights_from_a_folder_to_a_table(tmp_path):
    for name in ("resnet18.first", "resnet18.second", "vit_tiny_patch16_224.mine"):
        classifier = make(name)
        seed = len(name)
        write_repository(
            tmp_path / "weights" / name,
            classifier,
            classifier.init(jax.random.key(seed)),
        )
    images = write_photographs(tmp_path / "images")
    arguments = (
        *["evaluate", "--models", "resnet18.*,vit_tiny*"],
        *["--weights-dir", tmp_path / "weights", "--data", f"folder:{images}"],
        *["--results", tmp_path / "out", "--resamples", 0, "--batch-size", 12],
    )
    assert "3 evaluations" in call(*arguments, "--dry-run")
    call(*arguments)
    rows = ResultStore(tmp_path / "out").summary().to_pylist()
    assert {row["model"] for row in rows} == {
        "resnet18.first",
        "resnet18.second",
        "vit_tiny_patch16_224.mine",
    }
    assert all(row["status"] == "ok" and row["num_examples"] == 12 for row in rows)
    first, second = (r for r in rows if r["model"].startswith("resnet18"))
    assert first["nll"] != second["nll"]
    # Again: nothing is left to do.
    assert "0 runs" in call(*arguments) or "nothing" in call(*arguments).lower()


def test_weights_of_other_classes_are_refused_before_anything_runs(tmp_path):
    classifier = make("resnet_micro.mine", size=8, num_classes=5)
    folder = tmp_path / "weights" / "resnet_micro.mine"
    write_repository(folder, classifier, classifier.init(jax.random.key(0)))
    images = write_photographs(tmp_path / "images")
    arguments = (
        *["evaluate", "--data", f"folder:{images}", "--results", tmp_path / "out"],
        *["--weights-dir", tmp_path / "weights"],
    )
    text = call(*arguments, "resnet_micro.mine", status=2).replace("\n", " ")
    assert "num_classes=5" in text
    assert "has 3 classes" in text
    text = call(*arguments, "resnet_micro.yours", status=2).replace("\n", " ")
    assert "did you mean 'resnet_micro.mine'" in text
    text = call(*arguments, status=2)
    assert "no model is named" in text


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["resnet50"], ["resnet50", "25.56", "4.09", "1 architecture listed"]),
        (["resnet_micro"], ["resnet_micro", "0.05"]),
        (
            ["resnet50.a1*", "--pretrained"],
            ["resnet50.a1_in1k", "81.2", "apache-2.0", "checkpoints listed"],
        ),
        (["--coverage"], ["of 523", "resnet", "architectures,"]),
    ],
)
def test_models(arguments, parts):
    text = call("models", *arguments)
    for part in parts:
        assert part in text


def test_coverage_is_of_the_whole_zoo():
    assert "give it alone" in call("models", "resnet50", "--coverage", status=2)


class Tensor:
    """As much of a torch tensor as reading one takes."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    detach = float = cpu = lambda self: self

    def is_floating_point(self):
        return self.array.dtype.kind == "f"

    def numpy(self):
        return self.array


@pytest.fixture
def torch_file(tmp_path, monkeypatch):
    """A file that a stand-in for torch reads; what it holds is set by the test."""
    held = {}

    def load(path, *, map_location, weights_only):
        assert weights_only is True
        assert map_location == "cpu"
        if "error" in held:
            raise held["error"]
        return held["stored"]

    module = types.ModuleType("torch")
    module.load = load
    monkeypatch.setitem(sys.modules, "torch", module)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"\x80\x02.")
    return path, held


@pytest.fixture(scope="module")
def trained():
    classifier = create_model("resnet_micro", num_classes=5)
    variables = twins.random_variables(classifier)
    return classifier, variables, to_original(classifier, variables)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.backbone."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_convert_unwraps_what_training_code_wraps(
    torch_file, tmp_path, trained, prefix, wrapper
):
    path, held = torch_file
    _, variables, tensors = trained
    stored = {prefix + name: Tensor(array) for name, array in tensors.items()}
    held["stored"] = {wrapper: stored, "epoch": 3} if wrapper else stored
    output = tmp_path / "out.safetensors"
    text = call("convert", path, output, "--model", "resnet_micro", "--num-classes", 5)
    assert "weights of resnet_micro with 5 classes" in text.replace("\n", " ")
    _, loaded = load_pretrained("resnet_micro", source=output, num_classes=5)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(loaded[leaf], array)


def test_case_23_convert_lists_what_it_leaves_out(torch_file, tmp_path, trained):
    path, held = torch_file
    tensors = trained[2]
    held["stored"] = {f"net.{n}": Tensor(a) for n, a in tensors.items()}
    held["stored"] |= {n: Tensor(np.ones(1)) for n in ("loss.w", "n_averaged")}
    output = tmp_path / "out.safetensors"
    for arguments in ((), ("--model", "resnet_micro", "--num-classes", 5)):
        text = " ".join(call("convert", path, output, *arguments).split())
        assert "lost the prefix net." in text
        assert "Left out, 1 beside them: loss.w" in text
        assert load_file(output).keys() == tensors.keys()


def test_case_23_convert_without_a_network_writes_nothing(torch_file, tmp_path):
    path, held = torch_file
    held["stored"] = {name: Tensor(np.ones(1)) for name in ("a.w", "n_averaged")}
    output = tmp_path / "out.safetensors"
    text = " ".join(call("convert", path, output, status=2).split())
    assert "nothing was written" in text
    assert "say with --model whose weights they are" in text
    assert not output.exists()


def test_convert_takes_the_query_encoder_and_leaves_the_rest(trained):
    tensors = trained[2]
    stored = {f"module.encoder_q.{k}": v for k, v in tensors.items()}
    stored |= {f"module.encoder_k.{k}": v + 1 for k, v in tensors.items()}
    stored["module.queue"] = np.zeros((4, 4), np.float32)
    found = network_tensors({"state_dict": stored}).tensors
    # In the place of the head stands the projection that contrasts.
    assert found.keys() == {name for name in tensors if not name.startswith("fc.")}
    np.testing.assert_array_equal(found["conv1.weight"], tensors["conv1.weight"])


def test_convert_prefers_averaged_weights_by_default(torch_file, tmp_path):
    path, held = torch_file
    held["stored"] = {
        "state_dict": {"conv1.weight": Tensor(np.zeros(2, np.float32))},
        "state_dict_ema": {"conv1.weight": Tensor(np.ones(2, np.float32))},
    }
    output = tmp_path / "out.safetensors"
    call("convert", path, output)
    assert load_file(output)["conv1.weight"].tolist() == [1, 1]
    call("convert", path, output, "--no-averaged")
    assert load_file(output)["conv1.weight"].tolist() == [0, 0]


def test_convert_leaves_clips_towers_as_they_are(torch_file, tmp_path):
    path, held = torch_file
    names = ["visual.trunk.blocks.0.norm1.weight", "visual.head.proj.weight", "text.a"]
    held["stored"] = {name: Tensor(np.ones((2, 2), np.float32)) for name in names}
    call("convert", path, tmp_path / "clip.safetensors")
    assert set(load_file(tmp_path / "clip.safetensors")) == set(names)


def test_convert_looks_before_it_reads(torch_file, tmp_path):
    path, held = torch_file
    held["error"] = AssertionError("it was read")
    output = tmp_path / "out.safetensors"
    for arguments, said in (
        ((output, "--model", "resnet81"), "unknown model 'resnet81'"),
        ((output, "--num-classes", 3), "checked with --model"),
    ):
        assert said in " ".join(call("convert", path, *arguments, status=2).split())
    assert not output.exists()


def test_convert_says_what_it_cannot_do(torch_file, tmp_path, monkeypatch):
    path, held = torch_file
    output = tmp_path / "out.safetensors"
    held["stored"] = {"epoch": 3}
    assert "it holds ['epoch']" in call("convert", path, output, status=2)
    held["error"] = RuntimeError("Unsupported global")
    text = call("convert", path, output, status=2).replace("\n", " ")
    assert "cannot be read: Unsupported global" in text
    assert "must end in .safetensors" in call("convert", path, path, status=2)
    assert "no folder" in call(
        "convert", path, tmp_path / "no" / "x.safetensors", status=2
    )
    assert "no file at" in call("convert", tmp_path / "a.pth", output, status=2)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "needs torch" in call("convert", path, output, status=2)
    assert not output.exists()


def test_a_registered_model_is_known_to_commands(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from flax import nnx\n"
        "from model_zoo import InputSpec, register_model\n"
        "class Net(nnx.Module):\n"
        "    def __init__(self, classes, rngs):\n"
        "        self.head = nnx.Linear(3, classes, rngs=rngs)\n"
        "    def __call__(self, images, rngs=None):\n"
        "        return self.head(images.mean((1, 2)))\n"
        "register_model('net_of_mine', lambda s, rngs: Net(s.num_classes, rngs),\n"
        "               input_spec=InputSpec(size=(8, 8)))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("model_zoo.registry._registered", {})
    images = write_photographs(tmp_path / "images")
    call(
        *["evaluate", "net_of_mine", "--import", "my_nets", "--weights", "random:0"],
        *["--data", f"folder:{images}", "--results", tmp_path / "out"],
        *["--resamples", 0],
    )
    row = ResultStore(tmp_path / "out").summary().to_pylist()[0]
    assert (row["model"], row["num_examples"]) == ("net_of_mine", 12)
    text = call(
        *["evaluate", "x", "--import", "no_such_module", "--data", "digits"],
        status=2,
    )
    assert "cannot import 'no_such_module'" in text.replace("\n", " ")

"""Which class an output means, and which images a model sees: what says it, and how."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from jaxbench import evaluate
from jaxbench.config import parse_config
from jaxbench.data import open_dataset
from jaxbench.data.known.imagenet_classes import wordnet_ids
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.sweeps import make_plan, sweep
from jaxbench.sweeps.outputs import Outputs
from model_zoo import create_model, registry, save_variables
from model_zoo.input_spec import InputSpec
from tests.model_zoo import twins
from tests.model_zoo.originals import write_repository
from tests.sweeps.experiment import subjects

NUMBERS = tuple(map(str, range(1, 13)))
# Five of ImageNet's classes, whose labels are 0, 1, 4, 10 and 999.
IDS = ("n01440764", "n01443537", "n01494475", "n01530575", "n15075141")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of images: `numbers/1 .. 12`, `imagenet/n01440764 ..`, `words/..`."""
    root = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    words = ("tench", "goldfish", "hammerhead", "brambling", "toilet_tissue")
    for name, classes in (("numbers", NUMBERS), ("imagenet", IDS), ("words", words)):
        for folder in classes:
            (root / name / folder).mkdir(parents=True)
            pixels = draw.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / folder / "x.png")
    return root


def experiment(results, data, *models, **options):
    table = {
        "name": "outputs",
        "results": str(results),
        "evaluate": {
            "clean": [f"folder:{data}"],
            "models": list(models),
            "num_resamples": 0,
            "metrics": ["accuracy"],
            "batch_size": 16,
        }
        | options,
    }
    return parse_config(table, origin="test")


@pytest.fixture
def planned(tmp_path, folders):
    """Plans the evaluation of models on one of the folders."""

    def plan(data, *models, **options):
        return make_plan(experiment(tmp_path, folders / data, *models, **options))

    return plan


def outputs_of(plan) -> Outputs:
    outputs = subjects(plan)[0].outputs
    assert outputs is not None
    return outputs


def labels(plan) -> dict[str, int]:
    """Class to the label that the plan's model sees."""
    source = plan.seen_by(subjects(plan)[0], plan.targets[0]).source
    folders = [id.partition("/")[0] for id in source.ids]
    return dict(zip(folders, source.labels.tolist(), strict=True))


@pytest.fixture
def weights(tmp_path):
    """Makes weights in timm's layout; keywords go into their config.json."""

    def write(num_classes, **config):
        classifier = create_model("resnet_micro", num_classes=num_classes)
        classifier = dataclasses.replace(classifier, name="resnet_micro.mine")
        variables = twins.random_variables(classifier)
        write_repository(
            tmp_path / "zoo" / "resnet_micro.mine", classifier, variables, **config
        )
        return {"name": "resnet_micro.mine", "weights": str(tmp_path / "zoo")}

    return write


def test_case_08_an_order_that_nothing_says_is_refused(planned, tmp_path, weights):
    model = weights(12)
    with pytest.raises(UserError, match="label 1 is '10' to torchvision and '2' to"):
        planned("numbers", model)
    for order, label in (("torchvision", 1), ("timm", 9)):
        entry = model | {"class_order": order}
        plan = planned("numbers", entry)
        assert labels(plan)["10"] == label
    # A list says it too.
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(NUMBERS))
    entry = model | {"classes": str(listed)}
    plan = planned("numbers", entry)
    assert labels(plan) == {name: label for label, name in enumerate(NUMBERS)}
    entry |= {"class_order": "timm"}
    with pytest.raises(UserError, match="classes and class_order both say"):
        planned("numbers", entry)


@pytest.mark.parametrize("numbered", [False, True])
def test_case_08_label_names_decide(planned, weights, numbered):
    names = list(NUMBERS)
    named = {str(i): name for i, name in enumerate(names)} if numbered else names
    plan = planned("numbers", weights(12, label_names=named))
    assert labels(plan) == {name: label for label, name in enumerate(NUMBERS)}
    assert outputs_of(plan).said_by == "label_names"


def test_case_08_label_descriptions_are_matched_too(planned, weights):
    names = [f"m.{number}" for number in NUMBERS]
    described = dict(zip(names, NUMBERS, strict=True))
    model = weights(12, label_names=names, label_descriptions=described)
    plan = planned("numbers", model)
    assert labels(plan) == {name: label for label, name in enumerate(NUMBERS)}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"label_names": [f"c{n}" for n in NUMBERS]}, "12 of the dataset's 12 classes"),
        ({"label_names": [*NUMBERS, "13"]}, "13 label_names and 12 classes"),
        ({"label_names": ["1"] * 12}, "label_names that name no classes"),
        ({"label_names": 12}, "label_names that name no classes"),
    ],
)
def test_case_08_label_names_that_do_not_fit_are_refused(
    planned, weights, config, said
):
    with pytest.raises(UserError, match=said):
        planned("numbers", weights(12, **config))


def test_case_08_weights_of_this_package_have_its_order(planned, tmp_path, weights):
    classifier = create_model("resnet_micro", num_classes=12)
    path = tmp_path / "trial.safetensors"
    variables = twins.random_variables(classifier)
    model = {"name": "resnet_micro", "weights": str(path)}
    save_variables(path, variables)
    with pytest.raises(UserError, match="nothing says in which order"):
        planned("numbers", model)
    save_variables(path, variables, {"trial_id": "abc"})
    plan = planned("numbers", model)
    assert outputs_of(plan).class_names is None


def test_case_08_a_teacher_in_another_order_is_refused(tmp_path, folders, weights):
    address = f"folder:{folders / 'numbers'}"
    teacher = weights(12, label_names=list(NUMBERS))
    table = {
        "name": "taught",
        "results": str(tmp_path),
        "train": {
            "models": ["mixer_micro"],
            "dataset": address,
            "validation": address,
            "epochs": 1,
            "batch_size": 4,
            "grid": {"sgd": {"learning_rate": [0.1]}},
            "teacher": teacher,
        },
        "evaluate": {"clean": [address]},
    }
    with pytest.raises(UserError, match="its outputs are other classes, or in another"):
        make_plan(parse_config(table, origin="test"))
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(NUMBERS))
    make_plan(parse_config(table | {"classes": str(listed)}, origin="test"))


def test_case_37_folders_of_imagenets_classes_need_no_option(
    planned, tmp_path, folders, weights
):
    model = weights(1000)
    wanted = {name: wordnet_ids().index(name) for name in IDS}
    plan = planned("imagenet", model)
    assert labels(plan) == wanted
    outputs = outputs_of(plan)
    assert (outputs.count, outputs.said_by) == (1000, "imagenet")
    # By its words as well; and said aloud it is the same run.
    by_words = planned("words", model)
    assert sorted(labels(by_words).values()) == sorted(wanted.values())
    aloud = experiment(tmp_path, folders / "imagenet", model | {"classes": "imagenet"})
    assert set(make_plan(aloud).run_ids()) == set(plan.run_ids())


@pytest.mark.parametrize("first", ["imagenet", "words"])
def test_case_37_every_dataset_of_a_plan_is_matched(tmp_path, folders, weights, first):
    """Folders with other classes, and other names for the same, beside each other."""
    both = ["imagenet", "words"]
    other = next(name for name in both if name != first)
    address = f"folder:{folders / other}"
    model = weights(1000)
    config = experiment(tmp_path, folders / first, model, shifted=[address])
    plan = make_plan(config)
    seen = [plan.seen_by(subjects(plan)[0], target).source for target in plan.targets]
    numbers = [sorted(source.labels.tolist()) for source in seen]
    assert numbers == [[0, 1, 4, 10, 999]] * 2
    assert [source.class_names for source in seen] == [wordnet_ids()] * 2


def test_case_37_a_model_of_these_classes_alone_keeps_their_order(
    planned, tmp_path, weights
):
    plan = planned("imagenet", weights(5))
    assert outputs_of(plan).class_names is None
    entry = {"name": "resnet_micro.mine", "weights": str(tmp_path / "zoo")}
    entry |= {"classes": "imagenet"}
    with pytest.raises(UserError, match="num_classes=5, and imagenet names 1000"):
        planned("imagenet", entry)


@pytest.mark.parametrize("count", [21841, 21843, 11821])
def test_case_37_larger_imagenets_are_refused_by_name(planned, weights, count):
    for asked in ({}, {"classes": "imagenet"}):
        with pytest.raises(UserError, match=f"has {count} outputs: those of a larger"):
            planned("imagenet", weights_of(count) | asked)


def weights_of(count: int) -> dict:
    """A checkpoint of the registry with so many classes."""
    name = next(n for n, c in registry.checkpoints().items() if c.num_classes == count)
    return {"name": name}


def test_case_37_a_dataset_that_a_list_lacks_is_refused_before_anything_runs(
    planned, folders, weights
):
    shifted = [f"folder:{folders / 'numbers'}"]
    with pytest.raises(UserError, match=r"resnet_micro\.mine: .*12 of 12 classes are"):
        planned("imagenet", weights(1000), shifted=shifted)


def test_case_08_orders_are_rows_of_their_own_on_every_page(tmp_path, folders, weights):
    """One network, two orders: two runs, two labels, and the labels of each order."""
    model = weights(12)
    entries = [model | {"class_order": order} for order in ("torchvision", "timm")]
    runs = list(sweep(experiment(tmp_path, folders / "numbers", *entries)))
    assert [run.error for run in runs] == [None, None]
    plain, timms = (run.examples for run in runs)
    assert plain["id"].tolist() == timms["id"].tolist()
    assert plain["prediction"].tolist() == timms["prediction"].tolist()
    held = [NUMBERS[label] for label in timms["label"]]
    assert held == [id.partition("/")[0] for id in timms["id"].tolist()]
    assert [run.settings["class_order"] for run in runs] == ["dataset", "timm"]
    found = load_results(ResultStore(tmp_path))
    assert sorted(entry.label for entry in found.entries) == [
        "resnet_micro.mine classes=dataset",
        "resnet_micro.mine classes=timm",
    ]


def test_case_18_crops_and_filters_are_rows_of_their_own(planned, tmp_path, folders):
    model = {"name": "resnet_micro", "weights": "random:0", "num_classes": 5}
    changes = ({}, {"crop_fraction": 0.5}, {"interpolation": "nearest"})
    entries = [model | change for change in changes]
    runs = list(sweep(experiment(tmp_path, folders / "imagenet", *entries)))
    seen = [(r.settings["crop_fraction"], r.settings["interpolation"]) for r in runs]
    assert seen == [(1.0, "bilinear"), (0.5, "bilinear"), (1.0, "nearest")]
    assert len({run.run_id for run in runs}) == 3
    assert len({run.examples["nll"].tobytes() for run in runs}) == 3
    labels = {entry.label for entry in load_results(ResultStore(tmp_path)).entries}
    assert labels == {
        "resnet_micro crop=1 resize=bilinear",
        "resnet_micro crop=0.5 resize=bilinear",
        "resnet_micro crop=1 resize=nearest",
    }
    # What is asked for and what is so anyway are one run.
    spelled = model | {"crop_fraction": 1.0, "interpolation": "bilinear"}
    again = planned("imagenet", spelled | {"image_size": 8})
    assert set(again.run_ids()) == {runs[0].run_id}


def test_case_18_the_crop_of_an_entry_is_that_of_its_images(planned, tmp_path, folders):
    """The numbers of a run with another crop are those of images that are cut so."""
    model = {"name": "resnet_micro", "weights": "random:0", "crop_fraction": 0.5}
    (run,) = sweep(experiment(tmp_path, folders / "imagenet", model))
    classifier = create_model("resnet_micro", num_classes=5)
    spec = InputSpec((8, 8), 0.5, interpolation="bilinear")
    classifier = dataclasses.replace(classifier, input_spec=spec)
    (subject,) = subjects(planned("imagenet", model))
    found = evaluate(
        classifier,
        subject.variables(classifier),
        open_dataset(f"folder:{folders / 'imagenet'}"),
        num_resamples=0,
    )
    np.testing.assert_allclose(run.examples["nll"], found.columns["nll"], rtol=1e-6)


def test_case_07_a_config_says_the_size_of_published_results(
    planned, tmp_path, weights
):
    model = weights(5) | {"image_size": "test"}
    path = tmp_path / "zoo" / "resnet_micro.mine" / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"] |= {"test_input_size": [3, 12, 12], "test_crop_pct": 1.0}
    path.write_text(json.dumps(config))
    plan = planned("imagenet", model)
    (subject,) = subjects(plan)
    spec = subject.classifier().input_spec
    assert (spec.size, spec.crop_fraction) == ((12, 12), 1.0)
    assert subject.found.spec == spec
    plain = planned("imagenet", model | {"image_size": None})
    assert set(plain.run_ids()).isdisjoint(plan.run_ids())
    untrained = {"name": "resnet_micro", "weights": "random:0", "image_size": "test"}
    with pytest.raises(UserError, match="random ones have none; give a number"):
        planned("imagenet", untrained)


def test_case_37_python_refuses_labels_that_are_not_the_models(folders):
    """250 of ImageNet's classes under their own numbers would be scored in silence."""
    model = create_model("resnet_micro", num_classes=1000)
    address = f"folder:{folders / 'imagenet'}"
    variables = twins.random_variables(model)
    with pytest.raises(UserError, match=r'5 class folders.*class_names="imagenet"'):
        evaluate(model, variables, open_dataset(address), num_resamples=0)
    found = open_dataset(address, class_names="imagenet")
    labels = evaluate(model, variables, found, num_resamples=0).columns["label"]
    assert sorted(labels.tolist()) == [0, 1, 4, 10, 999]

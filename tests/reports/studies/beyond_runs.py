"""A results folder with everything that the study beyond accuracy reads."""

import json

import numpy as np

from jaxbench.data.known.imagenet_classes import shape_categories
from jaxbench.data.known.imagenet_validation import image_label
from jaxbench.data.known.imagenet_x import FACTORS
from jaxbench.results import Run, run_digest
from tests.results.sample_runs import PROVENANCE, metric_values, score_columns
from tests.studies.cue_conflict_files import answers, shape_of

SUPERVISED = "convnext_base.fb_in22k_ft_in1k"
CLIP = "vit_base_patch16_clip_224.laion400m_e31"
SKILLS = {SUPERVISED: 3.0, CLIP: 2.0}
NUM_IMAGES = 80


def image_ids(dataset, n=NUM_IMAGES):
    """Ids as they are stored: of variants of ImageNet's images, those of the images."""
    if dataset.startswith(("imagenet-r", "imagenet-v2")):
        return [f"{dataset}/{i}.jpg" for i in range(n)]
    return [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, n + 1)]


def evaluation(model, dataset, skill, *, size=224, probe=None, **others):
    """An evaluation on NUM_IMAGES images of 10 classes; `others` are settings."""
    rng = np.random.default_rng(abs(hash_of(model, dataset, size)))
    labels = np.arange(NUM_IMAGES) % 10
    logits = rng.normal(0, 1, (NUM_IMAGES, 10))
    logits[np.arange(NUM_IMAGES), labels] += skill
    columns = score_columns(2.0 * logits, labels)
    settings = {"model": model, "weights": "pretrained", "dataset": dataset}
    settings["role"] = "clean" if dataset == "imagenet" else "shifted"
    settings |= probe or {}
    settings |= {"image_size": size, "num_examples": NUM_IMAGES, "dtype": "float32"}
    settings |= others
    return Run(
        run_id=run_digest(settings),
        kind="evaluation",
        status="ok",
        settings=settings,
        metrics={name: float(v) for name, v in metric_values(columns).items()},
        timing={"seconds": 1.0},
        provenance=PROVENANCE,
        examples={"id": np.array(image_ids(dataset)), **columns},
    )


def probed(model, dataset, skill, *, protocol="linear_probe", **others):
    """A probe's result, as an experiment file of its own leaves it."""
    settings = {
        "protocol": protocol,
        "role": "clean",
        "probe_train": f"{dataset}@train",
    }
    settings |= {"experiment": dataset, "probe_validation_accuracy": 0.5} | others
    settings["probe_id"] = run_digest(settings | {"model": model})
    return evaluation(model, dataset, skill, size=None, **settings)


def hash_of(*values):
    return int(run_digest({"values": [str(v) for v in values]})[:8], 16)


def cue_conflict(model, network):
    """An evaluation on cue-conflict with the published answers of a network."""
    number = {category: i for i, category in enumerate(shape_categories())}
    given = answers()[network]
    images = sorted(given)
    labels = np.array([number[shape_of(image)] for image in images], np.int32)
    found = np.array([number[given[image]] for image in images], np.int32)
    logits = np.eye(16)[found]
    columns = score_columns(logits, labels)
    settings = {"model": model, "weights": "pretrained", "dataset": "cue-conflict"}
    settings |= {"role": "shifted", "image_size": 224, "num_examples": len(images)}
    settings |= {"dtype": "float32"}
    return Run(
        run_id=run_digest(settings),
        kind="evaluation",
        status="ok",
        settings=settings,
        metrics={"accuracy": float(columns["correct"].mean())},
        timing={},
        provenance=PROVENANCE,
        examples={
            "id": np.array([f"{shape_of(image)}/{image}" for image in images]),
            **columns,
        },
    )


def fill(store):
    """Two of the study's models on everything."""
    losses = {
        **{"imagenet": 0, "imagenet-r": 1, "imagenet-v2/matched-frequency": 0.5},
        **{"imagenet-c/fog_1": 0.3, "imagenet-c/fog_3": 0.9},
        **{"imagenet+scale_1.5": 0.4, "imagenet+scale_3": 1.5},
        **{"imagenet+shift_0": 0, "imagenet+shift_30": 0.2},
    }
    for model, skill in SKILLS.items():
        for dataset, loss in losses.items():
            store.write(evaluation(model, dataset, skill - loss))
        for size in (112, 336):
            store.write(evaluation(model, "imagenet", skill - 0.5, size=size))
    store.write(cue_conflict(SUPERVISED, "tv_resnet50"))
    store.write(cue_conflict(CLIP, "vit_clip"))
    for dataset, skill in (("flowers102@test", 3), ("dtd@test", 2)):
        probe = {"protocol": "linear_probe", "probe_id": "p", "role": "clean"}
        store.write(evaluation(CLIP, dataset, skill, probe=probe))


def write_annotations(path, names):
    """An ImageNet-X file with one factor an image, in turn."""
    lines = []
    for i, name in enumerate(names):
        row = {"file_name": name, "class": image_label(name)}
        row |= {factor: int(j == i % 4) for j, factor in enumerate(FACTORS)}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path

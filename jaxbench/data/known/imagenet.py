"""The rows of ImageNet-1k and the datasets around it."""

from functools import partial

from jaxbench.data.known.base import KnownDataset
from jaxbench.data.known.imagenet_classes import (
    masked,
    shape_categories,
    shape_groups,
    wordnet_ids,
)
from jaxbench.data.known.imagenet_validation import (
    CORRUPTION_ARCHIVES,
    read_annotators,
    read_corrupted,
    read_real,
    read_validation,
)
from jaxbench.data.known.imagenet_variants import (
    V2_NAMES,
    read_a,
    read_classes,
    read_cue_conflict,
    read_hard,
    read_o,
    read_objectnet,
    read_r,
    read_v2,
)

_TERMS = "ImageNet's terms of access: research and education, not commercial"
_VALIDATION_LAYOUT = (
    "ILSVRC2012_img_val.tar or a folder with it, or its images in one folder or in "
    "one folder a class (n01440764, ...), under their official names"
)
_CLASSES = {
    "classes/imagenet.txt": "the 1,000 WordNet ids in the order of sorted ids, as all "
    "published classifiers have them, and WordNet 3.0's words for them",
}
_TRUTH = _CLASSES | {
    "classes/imagenet_validation.npz": "the validation ground truth of the ILSVRC2012 "
    "development kit, as listed in TFDS's imagenet2012 "
    "(https://github.com/tensorflow/datasets)",
}
_MASK_A = {
    "classes/imagenet_a.txt": "eval.py of "
    "https://github.com/hendrycks/natural-adv-examples (thousand_k_to_200)",
}
_MASK_O = {
    "classes/imagenet_o.txt": "the folders of imagenet-o.tar, as listed in "
    "https://github.com/LAION-AI/CLIP_benchmark (datasets/builder.py)",
}
_MASK_R = {
    "classes/imagenet_r.txt": "eval.py of https://github.com/hendrycks/imagenet-r "
    "(imagenet_r_wnids)",
}
_SHAPES = {
    "classes/cue_conflict.txt": "code/helper/human_categories.py of "
    "https://github.com/rgeirhos/texture-vs-shape (..._indices: 207 classes)",
}

_OF_VALIDATION: dict[str, KnownDataset] = {
    "imagenet": KnownDataset(
        "ImageNet-1k (ILSVRC2012), validation: 50,000 photographs of 1,000 classes.",
        licence=_TERMS,
        obtain="ILSVRC2012_img_val.tar from https://image-net.org (registration)",
        reference="https://arxiv.org/abs/1409.0575",
        layout=f"{_VALIDATION_LAYOUT}.",
        num_examples={"validation": 50_000},
        class_names=wordnet_ids,
        read=read_validation,
        default_split="validation",
        sources=_TRUTH,
    ),
    "imagenet-real": KnownDataset(
        "ImageNet's validation images under reassessed labels, of which each has one "
        "or more: 46,837 (the 3,163 without any are left out).",
        licence=f"labels Apache 2.0; images {_TERMS}",
        obtain="real.json from https://github.com/google-research/reassessed-imagenet, "
        "the images as for imagenet",
        reference="https://arxiv.org/abs/2006.07159",
        layout=f"a folder with real.json and {_VALIDATION_LAYOUT}.",
        num_examples={"validation": 46_837},
        class_names=wordnet_ids,
        read=read_real,
        default_split="validation",
        role="shifted",
        label_sets=True,
        sources=_TRUTH,
    ),
    "imagenet-pi": KnownDataset(
        "ImageNet's 50,000 validation images relabelled by 16 networks; PI stands for "
        "privileged information. Any label that one of the 16 gave counts as right "
        "here.",
        licence=f"labels unknown; images {_TERMS}",
        obtain="labels/validation.csv of the folder low_noise or high_noise (51.9 or "
        "16.2 % of labels are ImageNet's) from "
        "https://github.com/google-research-datasets/imagenet_pi, the images as for "
        "imagenet",
        reference="https://arxiv.org/abs/2303.01806",
        layout="a folder with labels/validation.csv (a file's name and 16 labels a "
        f"line) and {_VALIDATION_LAYOUT}.",
        num_examples={"validation": 50_000},
        class_names=wordnet_ids,
        read=read_annotators,
        default_split="validation",
        role="shifted",
        label_sets=True,
        sources=_TRUTH,
    ),
    "imagenet-c": KnownDataset(
        "ImageNet's 50,000 validation images, 224x224, under 15 corruptions and 4 "
        "extra ones at severity 1 to 5.",
        licence=f"unknown; images {_TERMS}",
        obtain="noise.tar, blur.tar, weather.tar, digital.tar and extra.tar from "
        "https://zenodo.org/record/2235448, or TFDS's imagenet2012_corrupted "
        "(https://www.tensorflow.org/datasets), whose images differ",
        reference="https://arxiv.org/abs/1903.12261",
        layout="a folder with these tars, one of them, or what they hold: "
        "CORRUPTION/SEVERITY/CLASS/ILSVRC2012_val_*.JPEG; or the folder "
        "imagenet2012_corrupted that TFDS prepared with --file_format=array_record.",
        num_examples={"test": 50_000},
        class_names=wordnet_ids,
        read=read_corrupted,
        configs=tuple(f"{c}_{s}" for c in CORRUPTION_ARCHIVES for s in range(1, 6)),
        role="shifted",
        cropped=True,
        sources=_TRUTH,
    ),
    "stylized-imagenet": KnownDataset(
        "ImageNet's 50,000 validation images, 224x224, in the styles of paintings.",
        licence=f"made by the user; images {_TERMS}",
        obtain="made with https://github.com/rgeirhos/Stylized-ImageNet from "
        "ImageNet's images and paintings; it is not distributed",
        reference="https://arxiv.org/abs/1811.12231",
        layout="the folder val (or the one above) that the program writes: one folder "
        "a class (n01440764, ...) with ILSVRC2012_val_*.png.",
        num_examples={"validation": 50_000},
        class_names=wordnet_ids,
        read=read_validation,
        default_split="validation",
        role="shifted",
        cropped=True,
        sources=_TRUTH,
    ),
}

_OF_THEIR_OWN: dict[str, KnownDataset] = {
    "imagenet-v2": KnownDataset(
        "New photographs for ImageNet's 1,000 classes, collected as the validation set "
        "was: 10,000 in each of three sets.",
        licence="of each photograph on Flickr; to be used as ImageNet is",
        obtain="imagenetv2-matched-frequency.tar.gz, imagenetv2-threshold0.7.tar.gz "
        "and imagenetv2-top-images.tar.gz, see "
        "https://github.com/modestyachts/ImageNetV2",
        reference="https://arxiv.org/abs/1902.10811",
        layout="a folder with these tars or what they hold, or one of them: one folder "
        "a class, named by its label (0, ..., 999).",
        num_examples={"test": 10_000},
        class_names=wordnet_ids,
        read=read_v2,
        configs=tuple(V2_NAMES),
        role="shifted",
        sources=_CLASSES,
    ),
    "imagenet-a": KnownDataset(
        "7,500 natural photographs of 200 ImageNet classes that a ResNet-50 gets "
        "wrong.",
        licence="unknown (code: MIT)",
        obtain="imagenet-a.tar, see https://github.com/hendrycks/natural-adv-examples",
        reference="https://arxiv.org/abs/1907.07174",
        layout="imagenet-a.tar or its folder: one folder a class (n01498041, ...).",
        num_examples={"test": 7_500},
        class_names=wordnet_ids,
        read=read_a,
        role="shifted",
        scoring=partial(masked, "imagenet_a"),
        sources=_CLASSES | _MASK_A,
    ),
    "imagenet-o": KnownDataset(
        "2,000 photographs of none of ImageNet's 1,000 classes, which a ResNet-50 "
        "takes for 200 of them.",
        licence="unknown (code: MIT)",
        obtain="imagenet-o.tar, see https://github.com/hendrycks/natural-adv-examples",
        reference="https://arxiv.org/abs/1907.07174",
        layout="imagenet-o.tar or its folder: one folder a class that the images are "
        "taken for (n01443537, ...).",
        num_examples={"test": 2_000},
        class_names=wordnet_ids,
        read=read_o,
        role="ood",
        scoring=partial(masked, "imagenet_o"),
        sources=_CLASSES | _MASK_O,
    ),
    "imagenet-r": KnownDataset(
        "30,000 renditions (art, cartoons, toys, ...) of 200 ImageNet classes.",
        licence="unknown (code: MIT)",
        obtain="imagenet-r.tar, see https://github.com/hendrycks/imagenet-r",
        reference="https://arxiv.org/abs/2006.16241",
        layout="imagenet-r.tar or its folder: one folder a class (n01443537, ...).",
        num_examples={"test": 30_000},
        class_names=wordnet_ids,
        read=read_r,
        role="shifted",
        scoring=partial(masked, "imagenet_r"),
        sources=_CLASSES | _MASK_R,
    ),
    "imagenet-sketch": KnownDataset(
        "50,889 sketches, black and white, of ImageNet's 1,000 classes.",
        licence="unknown (code: MIT)",
        obtain="ImageNet-Sketch.zip (to be unpacked), see "
        "https://github.com/HaohanWang/ImageNet-Sketch",
        reference="https://arxiv.org/abs/1905.13549",
        layout="the folder sketch, or a tar of it: one folder a class (n01440764, "
        "...).",
        num_examples={"test": 50_889},
        class_names=wordnet_ids,
        read=read_classes,
        role="shifted",
        sources=_CLASSES,
    ),
    "imagenet-hard": KnownDataset(
        "10,980 images from ImageNet's variants that stay hard under any crop; each "
        "has one or more right labels.",
        licence="MIT, as its card states; images as their datasets",
        obtain="data/validation-*.parquet of taesiri/imagenet-hard on the Hugging Face "
        "hub (https://huggingface.co/datasets/taesiri/imagenet-hard)",
        reference="https://arxiv.org/abs/2304.05538",
        layout="the folder data with validation-*.parquet, or the one above, or one "
        "such file.",
        num_examples={"validation": 10_980},
        class_names=wordnet_ids,
        read=read_hard,
        default_split="validation",
        role="shifted",
        label_sets=True,
        sources=_CLASSES,
    ),
    "cue-conflict": KnownDataset(
        "1,280 images, 224x224, with the shape of one of 16 categories and the texture "
        "of another (80 have both of one); labelled by shape.",
        licence="unknown",
        obtain="stimuli/style-transfer-preprocessed-512 of "
        "https://github.com/rgeirhos/texture-vs-shape",
        reference="https://arxiv.org/abs/1811.12231",
        layout="style-transfer-preprocessed-512 or a tar of it: one folder a shape "
        "(airplane, ..., truck) with SHAPE1-TEXTURE2.png.",
        num_examples={"test": 1_280},
        class_names=shape_categories,
        read=read_cue_conflict,
        role="shifted",
        scoring=shape_groups,
        cropped=True,
        sources=_CLASSES | _SHAPES,
    ),
    "objectnet": KnownDataset(
        "18,574 photographs of household objects at odd angles and places, of the 113 "
        "ObjectNet classes (of 313) that ImageNet has too; each has one or more right "
        "labels.",
        licence="CC BY 4.0 with two clauses: never to tune a model, never to be shown "
        "without the red frame",
        obtain="objectnet-1.0.zip (to be unpacked), see https://objectnet.dev",
        reference="https://objectnet.dev",
        layout="objectnet-1.0 with its folders images and mappings.",
        num_examples={"test": 18_574},
        class_names=wordnet_ids,
        read=read_objectnet,
        role="shifted",
        label_sets=True,
        sources=_CLASSES
        | {"mappings/*.json": "in the distribution: its classes to ImageNet's"},
    ),
}

ROWS: dict[str, KnownDataset] = _OF_VALIDATION | _OF_THEIR_OWN

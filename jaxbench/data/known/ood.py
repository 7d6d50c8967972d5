"""Sets of images that belong to none of ImageNet's 1,000 classes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from jaxbench.data.known.base import KnownDataset
from jaxbench.data.known.class_lists import class_list
from jaxbench.data.known.files import (
    Files,
    all_there,
    find_root,
    found_names,
    open_files,
    prefixes,
    root_of,
)
from jaxbench.data.known.reading import ListedImage, Listing, folders, join, named
from jaxbench.errors import UserError

# Where the listed paths may begin: at the list, or in a folder beside it.
_BASES = ("", "images", "test", "val_256")


def unlabelled() -> tuple[str, ...]:
    """The one name of sets without classes; their labels are -1."""
    return ("unlabelled",)


def _read_listed(
    called: tuple[str, ...], file: str, path: Path, config: str, split: str
) -> Listing:
    """The images that a list names, or without one all those of the folder `images`.

    A list has a path a line, and a label behind it that does not count here.

    Args:
        called: Names of the folder that holds `images`.
        file: Name of the list.
        path: What was downloaded.
        config: Not used.
        split: Not used.
    """
    tree = open_files(path)
    root = find_root(tree, [file])
    if root is None:
        root = root_of(tree, folders=["images"], called=called)
        start = len(root) + 1 if root else 0
        found = _images(tree, join(root, "images"))
        return Listing(tree, [ListedImage(p[start:], p, -1) for p in found])
    text = tree.read(join(root, file)).decode("utf-8", "replace")
    paths = [_path_of(line) for line in text.splitlines() if line.strip()]
    base = _base_of(tree, root, file, paths)
    listed = [ListedImage(path, join(base, path), -1) for path in paths]
    return all_there(tree, listed)


def _path_of(line: str) -> str:
    """The path of a line `PATH` or `PATH LABEL`; it may have spaces."""
    path, _, label = line.strip().rpartition(" ")
    return path.strip() if path and label.lstrip("-").isdecimal() else line.strip()


def _base_of(tree: Files, root: str, file: str, paths: list[str]) -> str:
    if not paths:
        raise UserError(f"{file} is empty")
    for folder in _BASES:
        base = join(root, folder) if folder else root
        if tree.has_file(join(base, paths[0])):
            return base
    raise UserError(
        f"{file} names {paths[0]}, which is neither beside it nor in "
        f"{', '.join(f'{b}/' for b in _BASES if b)}; found {found_names(tree, root)}"
    )


def _read_classes(
    name: str,
    called: tuple[str, ...],
    others: bool,
    path: Path,
    config: str,
    split: str,
) -> Listing:
    """Images in one folder a class.

    Args:
        name: Of the list of classes.
        called: Names of the folder that holds the class folders.
        others: Whether folders of other classes may lie beside them, to be left out.
        path: What was downloaded.
        config: Not used.
        split: Not used.
    """
    tree = open_files(path)
    labels = {_plain(c): label for label, c in enumerate(class_list(name))}
    root = _class_root(tree, labels, called)
    found = folders(tree, root)
    strangers = [folder for folder in found if _plain(folder) not in labels]
    if strangers and not others:
        raise UserError(f"beside its classes lies {named('folder', strangers)}")
    start = len(root) + 1 if root else 0
    listed = [
        ListedImage(place[start:], place, labels[_plain(folder)])
        for folder in found
        if _plain(folder) in labels
        for place in _images(tree, join(root, folder))
    ]
    return Listing(tree, listed)


def _images(tree: Files, folder: str) -> list[str]:
    try:
        return tree.images(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{error}; repair or remove it") from error


def _class_root(tree: Files, labels: Mapping[str, int], called: tuple[str, ...]) -> str:
    """The folder whose folders are classes; one with the right name comes first."""
    order = sorted(prefixes(tree), key=lambda p: p.rpartition("/")[2] not in called)
    for prefix in order:
        if any(_plain(folder) in labels for folder in folders(tree, prefix)):
            return prefix
    raise UserError(
        f"expected a folder of each of its {len(labels)} classes "
        f"({next(iter(labels))}, ...), and found {found_names(tree)}"
    )


def _plain(folder: str) -> str:
    """A folder's name as programs may have changed it: cases and spaces are alike."""
    return folder.lower().replace(" ", "_")


_MOS = "https://arxiv.org/abs/2105.01879"
_MOS_CODE = "https://github.com/deeplearning-wisc/large_scale_ood"

ROWS: dict[str, KnownDataset] = {
    "textures": KnownDataset(
        "Describable Textures as images of no ImageNet class: all 5,640 of 47 kinds. "
        "(ViM leaves out four kinds that ImageNet has, arXiv 2203.10807.)",
        licence="for research purposes",
        obtain="dtd-r1.0.1.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/dtd",
        reference="https://arxiv.org/abs/1311.3618",
        layout="dtd-r1.0.1.tar.gz, or its folder: images/CLASS/*.jpg.",
        num_examples={"test": 5_640},
        class_names=partial(class_list, "dtd"),
        read=partial(_read_classes, "dtd", ("images",), False),
        role="ood",
        sources={"dtd.txt": "the folders of images/, sorted"},
    ),
    "inaturalist-ood": KnownDataset(
        "Plants of iNaturalist of 110 kinds that are not in ImageNet: 10,000 images.",
        licence="unknown",
        obtain=f"iNaturalist.tar.gz, linked from {_MOS_CODE}",
        reference=_MOS,
        layout="iNaturalist.tar.gz, or its folder: images/*.jpg. Or iNaturalist's own "
        "files, with inaturalist_selected_list.txt beside the paths it names.",
        num_examples={"test": 10_000},
        class_names=unlabelled,
        read=partial(_read_listed, ("iNaturalist",), "inaturalist_selected_list.txt"),
        role="ood",
    ),
    "sun-ood": KnownDataset(
        "Scenes of SUN of 50 kinds that are not in ImageNet: 10,000 images.",
        licence="unknown",
        obtain=f"SUN.tar.gz, linked from {_MOS_CODE}",
        reference=_MOS,
        layout="SUN.tar.gz, or its folder: images/*.jpg. Or SUN's own files, with "
        "sun_selected_list.txt beside the paths it names.",
        num_examples={"test": 10_000},
        class_names=unlabelled,
        read=partial(_read_listed, ("SUN",), "sun_selected_list.txt"),
        role="ood",
    ),
    "places-ood": KnownDataset(
        "Scenes of Places365 of 50 kinds that are not in ImageNet: 10,000 images.",
        licence="unknown",
        obtain=f"Places.tar.gz, linked from {_MOS_CODE}",
        reference=_MOS,
        layout="Places.tar.gz, or its folder: images/*.jpg. Or Places365's own files, "
        "with places_selected_list.txt beside the paths it names (train/..., val/...).",
        num_examples={"test": 10_000},
        class_names=unlabelled,
        read=partial(_read_listed, ("Places",), "places_selected_list.txt"),
        role="ood",
    ),
    "ninco": KnownDataset(
        "Images looked through one by one, of 64 classes that are not in ImageNet: "
        "5,879.",
        licence="CC BY 4.0",
        obtain="NINCO_all.tar.gz from https://zenodo.org/records/8013288",
        reference="https://arxiv.org/abs/2306.00826",
        layout="NINCO_all.tar.gz, or its folder: NINCO_OOD_classes/CLASS/*.",
        num_examples={"test": 5_879},
        class_names=partial(class_list, "ninco"),
        read=partial(_read_classes, "ninco", ("NINCO_OOD_classes", "ninco"), False),
        role="ood",
        sources={
            "ninco.txt": "data/NINCO_class_names.csv of https://github.com/j-cb/NINCO, "
            "its column filename, sorted"
        },
    ),
    "ssb-hard": KnownDataset(
        "ImageNet-21k's 980 classes that come closest to ImageNet-1k's: 50 validation "
        "images each, 49,000.",
        licence="ImageNet's terms: non-commercial research and education",
        obtain="ssb_hard.zip, by the download script of "
        "https://github.com/Jingkang50/OpenOOD, or the folder imagenet21k_val that "
        "https://github.com/sgvaze/SSB makes of ImageNet-21k",
        reference="https://arxiv.org/abs/2110.06207",
        layout="the folder ssb_hard/ or imagenet21k_val/ with one folder a WordNet id; "
        "others than the 980 are left out.",
        num_examples={"test": 49_000},
        class_names=partial(class_list, "ssb_hard"),
        read=partial(_read_classes, "ssb_hard", ("ssb_hard", "imagenet21k_val"), True),
        role="ood",
        sources={
            "ssb_hard.txt": "unknown_classes, Hard, of SSB/splits/"
            "imagenet_ssb_splits.json in https://github.com/sgvaze/SSB, sorted"
        },
    ),
    "openimage-o": KnownDataset(
        "Images of Open Images' test set that show no ImageNet class: 17,632.",
        licence="of each image; Open Images lists them as CC BY 2.0",
        obtain="openimage_o.zip, by the download script of "
        "https://github.com/Jingkang50/OpenOOD; or Open Images' test set and "
        "datalists/openimage_o.txt of https://github.com/haoqiwang/vim",
        reference="https://arxiv.org/abs/2203.10807",
        layout="the folder openimage_o/ with images/*.jpg; or a folder with "
        "openimage_o.txt, a file's name a line, and the images beside it or in images/ "
        "or test/.",
        num_examples={"test": 17_632},
        class_names=unlabelled,
        read=partial(_read_listed, ("openimage_o", "OpenImage-O"), "openimage_o.txt"),
        role="ood",
    ),
}

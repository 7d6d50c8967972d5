"""What the networks of the shipped studies see, as their files say."""

import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from jaxbench import studies
from jaxbench.config import load_config
from jaxbench.data import ArraySource, load_images
from jaxbench.data.transformations import TransformedSource
from jaxbench.sweeps.subjects import find_weights
from model_zoo import registry

STUDIES = Path(__file__).parents[2] / "configs" / "studies"
# Every row of timm's tables: ImageNet and its variants by model and size.
TABLE = Path(__file__).parent / "lottery_tables" / "all_models.csv.gz"
FILES = {
    "imagenet": "imagenet",
    "imagenet-v2/matched-frequency": "imagenetv2-matched-frequency",
    "imagenet-real": "imagenet-real",
    "imagenet-r": "imagenet-r",
    "imagenet-sketch": "sketch",
}


def inputs(name: str) -> dict:
    """Model and size to the input of every network with a head of its own."""
    models = load_config(STUDIES / name).evaluate.models
    return {
        (entry.name, entry.image_size): find_weights(entry, entry.name).spec
        for entry in models
        if entry.zero_shot is None
    }


def test_case_17_the_lottery_s_networks_see_224_pixels():
    found = inputs("lottery-imagenet.toml")
    assert len(found) == 12
    for (name, _), spec in found.items():
        checkpoint = registry.checkpoints()[name]
        assert spec.size == (224, 224), name
        # The crop that timm publishes results at 224 with.
        own = (checkpoint.input_spec, checkpoint.test_spec)
        published = next(s for s in own if s.size == (224, 224))
        assert spec == published, name


def test_case_17_the_expected_counts_follow_from_timms_tables(tmp_path):
    models = {name for name, _ in inputs("lottery-imagenet.toml")}
    with gzip.open(TABLE, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] in models]
    rows = [row for row in rows if row["img_size"] == "224"]
    assert len(rows) == 12
    paths = []
    for dataset, stem in FILES.items():
        lines = [f"{row['model']},224,{row[dataset]}" for row in rows]
        paths.append(tmp_path / f"results-{stem}.csv")
        paths[-1].write_text("model,img_size,top1\n" + "\n".join(lines) + "\n")
    table = studies.read_result_tables(paths)
    found = studies.improvements(table)
    leads = np.ones(len(found.ahead), bool)
    kept = {row.variant: row.kept for row in studies.kept_signs(table, found, leads)}
    header = (STUDIES / "lottery-imagenet.toml").read_text().replace("\n# ", " ")
    said = re.search(
        r"(\d+) of the (\d+) leads .* there are (\d+) on V2, (\d+) with the ReaL\s+"
        r"labels, (\d+) on R and (\d+) on Sketch",
        re.sub(r"\s+", " ", header),
    )
    assert said is not None
    counts = [int(found.significant("holm").sum()), len(found.ahead)]
    counts += [kept[name] for name in list(FILES)[1:]]
    assert [int(count) for count in said.groups()] == counts


@pytest.mark.parametrize(
    ("name", "count"),
    [("beyond-imagenet.toml", 2), ("beyond-imagenet-resolution.toml", 8)],
)
def test_case_18_supervised_networks_see_the_same_part_of_an_image(name, count):
    found = inputs(name)
    assert len(found) == count
    for (_, size), spec in found.items():
        side = size or 224
        assert (spec.size, spec.crop_fraction) == ((side, side), 0.875)
        assert (spec.interpolation, spec.crop_mode) == ("bilinear", "center")


def test_case_18_the_field_of_view_is_that_of_the_paper():
    """Resized to 256 s pixels and cut to 224: .875, .583, .438 and .292 of a side."""
    ramp = np.broadcast_to(np.linspace(0, 255, 512)[None, :, None], (512, 512, 3))
    source = ArraySource("ramp", ramp.astype(np.uint8)[None], np.zeros(1, np.int32))
    for (name, _), spec in inputs("beyond-imagenet.toml").items():
        for scale, wanted in ((1.0, 0.875), (1.5, 0.583), (2.0, 0.438), (3.0, 0.292)):
            seen = load_images(TransformedSource(source, "scale", scale), spec).images
            # A level is 1/255 of the side.
            view = (int(seen.max()) - int(seen.min())) / 255
            assert view == pytest.approx(wanted, abs=0.012), (name, scale)

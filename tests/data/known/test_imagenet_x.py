import json

import pytest

from jaxbench.data.known.imagenet_validation import image_label, image_name
from jaxbench.data.known.imagenet_x import FACTORS, read_imagenet_x
from jaxbench.errors import UserError

# Names and classes as in the published files.
SEA_BASS = "ILSVRC2012_val_00000001.JPEG"
TENCH = "ILSVRC2012_val_00000293.JPEG"
GOLDFISH = "ILSVRC2012_val_00000236.JPEG"


def line(name, label, *factors, **changes):
    row = {"file_name": name, "class": label, **dict.fromkeys(FACTORS, 0)}
    row |= dict.fromkeys(factors, 1) | {"justification": "because", "one_word": "it"}
    return json.dumps(row | changes)


def written(tmp_path, *lines):
    path = tmp_path / "imagenet_x_val_multi_factor.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


def test_factors_of_images(tmp_path):
    path = written(
        tmp_path,
        line(SEA_BASS, 65, "texture", "pose"),
        line(TENCH, 0, "larger"),
        line(GOLDFISH, 1),
    )
    whole = {SEA_BASS: ("pose", "texture"), TENCH: ("larger",), GOLDFISH: ()}
    found = read_imagenet_x(path, allow_partial=True)
    assert found == whole
    assert found.partial == (50_000, 3)
    found = read_imagenet_x(path, ids=list(whole))
    assert found == whole
    assert found.partial is None
    prototypes = tmp_path / "prototypical_paths.csv"
    # Prototypes need no annotation.
    prototypes.write_text(f"file_name\n{GOLDFISH}\nILSVRC2012_val_00007197.JPEG\n")
    without = {SEA_BASS: whole[SEA_BASS], TENCH: whole[TENCH]}
    # They are counted all the same.
    found = read_imagenet_x(path, prototypes=prototypes, ids=list(whole))
    assert found == without
    assert found.partial is None
    assert len(FACTORS) == len(set(FACTORS)) == 16


BAD_LINES = {
    "the malformed line '1'": ["no JSON"],
    "the malformed line '2'": [line(TENCH, 0), line(GOLDFISH, 1, pose=2)],
    "the malformed line '3'": [line(TENCH, 0), line(GOLDFISH, 1), "[]"],
    "the unknown image 'n03633091_15528.JPEG'": [line("n03633091_15528.JPEG", 618)],
    "the unknown image 'ILSVRC2012_val_00050001": [
        line("ILSVRC2012_val_00050001.JPEG", 0)
    ],
    "the image of another class 'ILSVRC2012_val_00000293": [line(TENCH, 1)],
    "the image that comes twice": [line(TENCH, 0), line(TENCH, 0)],
    "the malformed line '1'; the unknown image 'x'": ["{}", line("x", 0)],
    "no annotation": [],
}


@pytest.mark.parametrize("message", BAD_LINES)
def test_wrong_annotations_are_named(message, tmp_path):
    path = written(tmp_path, *BAD_LINES[message])
    with pytest.raises(UserError, match=f"{message}.*wanted a JSON object a line"):
        read_imagenet_x(path, allow_partial=True)


def test_images_that_are_not_at_hand(tmp_path):
    path = written(tmp_path, line(TENCH, 0), line(GOLDFISH, 1))
    with pytest.raises(UserError, match=r"not at hand 'ILSVRC2012_val_00000236"):
        read_imagenet_x(path, ids=[TENCH])


def test_annotations_of_too_few_images(tmp_path):
    path = written(tmp_path, line(TENCH, 0), line(GOLDFISH, 1))
    few = "2 annotated images, expected 50000; wanted.*allow_partial"
    with pytest.raises(UserError, match=few):
        read_imagenet_x(path)
    with pytest.raises(UserError, match="2 annotated images, expected 3"):
        read_imagenet_x(path, ids=[TENCH, GOLDFISH, SEA_BASS])
    cut = written(tmp_path, line(TENCH, 0), line(GOLDFISH, 1)[:-9])
    # A file that was cut off says both.
    both = "the malformed line '2'; 1 annotated images, expected 50000"
    with pytest.raises(UserError, match=both):
        read_imagenet_x(cut)


def test_all_images_are_annotated(tmp_path):
    names = [image_name(i) for i in range(1, 50_001)]
    path = written(tmp_path, *(line(n, image_label(n), "pose") for n in names))
    found = read_imagenet_x(path)
    assert found.partial is None
    assert len(found) == 50_000
    assert found[TENCH] == ("pose",)


def test_words_of_annotators_end_no_line(tmp_path):
    row = json.loads(line(TENCH, 0, "pose")) | {"one_word": "a\u2028fish\x85"}
    path = written(tmp_path, json.dumps(row, ensure_ascii=False) + "\r")
    assert read_imagenet_x(path, ids=[TENCH]) == {TENCH: ("pose",)}


def test_wrong_files(tmp_path):
    path = written(tmp_path, line(TENCH, 0))
    with pytest.raises(UserError, match="cannot be read"):
        read_imagenet_x(tmp_path / "nothing.jsonl")
    with pytest.raises(UserError, match="wanted the one column file_name"):
        read_imagenet_x(path, prototypes=path)
    prototypes = tmp_path / "prototypical_paths.csv"
    prototypes.write_text("file_name\ntench.jpg\n")
    with pytest.raises(UserError, match=r"the unknown prototype 'tench\.jpg'"):
        read_imagenet_x(path, prototypes=prototypes)

import json

import pytest

from jaxbench.data.known.imagenet_validation import image_label, image_name
from jaxbench.data.known.imagenet_x import (
    FACTORS,
    NUM_ANNOTATED,
    is_imagenet_x,
    read_imagenet_x,
)
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
    assert found.partial == (48_868, 3)
    prototypes = tmp_path / "prototypical_paths.csv"
    # Prototypes need no annotation.
    prototypes.write_text(f"file_name\n{GOLDFISH}\nILSVRC2012_val_00007197.JPEG\n")
    without = {SEA_BASS: whole[SEA_BASS], TENCH: whole[TENCH]}
    # They are counted all the same.
    found = read_imagenet_x(path, prototypes=prototypes, allow_partial=True)
    assert found == without
    assert found.partial == (48_868, 3)
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


def test_annotations_of_too_few_images(tmp_path):
    path = written(tmp_path, line(TENCH, 0), line(GOLDFISH, 1))
    few = "2 annotated images, the published file has 48868; wanted.*allow_partial"
    with pytest.raises(UserError, match=few):
        read_imagenet_x(path)
    cut = written(tmp_path, line(TENCH, 0), line(GOLDFISH, 1)[:-9])
    # A file that was cut off says both.
    both = "the malformed line '2'; 1 annotated images, the published file has 48868"
    with pytest.raises(UserError, match=both):
        read_imagenet_x(cut)


def test_case_21_a_file_of_the_published_length_is_whole(tmp_path):
    """The layout and the counts of imagenet-x 0.0.7; its own lines are CC BY-NC."""
    names = [image_name(i) for i in range(1, 50_001)]
    annotated = names[: -50_000 + 48_868]
    path = written(tmp_path, *(line(n, image_label(n), "pose") for n in annotated))
    found = read_imagenet_x(path)
    assert found.partial is None
    assert len(found) == NUM_ANNOTATED == 48_868
    assert found[TENCH] == ("pose",)
    # 2,758 of the 3,000 prototypes are annotated.
    left_out = [*annotated[:2_758], *names[-242:]]
    prototypes = tmp_path / "prototypical_paths.csv"
    prototypes.write_text("\n".join(["file_name", *left_out, ""]))
    found = read_imagenet_x(path, prototypes=prototypes)
    assert found.partial is None
    assert len(found) == 46_110
    every = written(tmp_path, *(line(n, image_label(n)) for n in names))
    with pytest.raises(UserError, match="50000 annotated images, the published"):
        read_imagenet_x(every)


def test_case_40_its_fields_say_what_a_file_is(tmp_path):
    assert is_imagenet_x(written(tmp_path, line(TENCH, 0), "no JSON"))
    assert not is_imagenet_x(written(tmp_path, json.dumps({"id": "a", "dark": 1})))
    assert not is_imagenet_x(written(tmp_path, "id,dark"))
    assert not is_imagenet_x(written(tmp_path))


def test_words_of_annotators_end_no_line(tmp_path):
    row = json.loads(line(TENCH, 0, "pose")) | {"one_word": "a\u2028fish\x85"}
    path = written(tmp_path, json.dumps(row, ensure_ascii=False) + "\r")
    assert read_imagenet_x(path, allow_partial=True) == {TENCH: ("pose",)}


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

"""Result tables as files: what is read, and what is refused."""

import math

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.studies import read_result_tables

ROWS = "a,224,80.5\nb,224,79.5\nc,224,10\n"
HEADER = "model,img_size,top1\n"


@pytest.fixture
def write(tmp_path):
    def write(name, text=HEADER + ROWS):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_known_files_have_their_images(write):
    names = (
        *("timm-results-imagenet-real.csv", "results-imagenet.csv", "imagenet-a.csv"),
        *("results-imagenetv2-matched-frequency.csv", "results-imagenet-r.csv"),
        "results-sketch.csv",
    )
    table = read_result_tables([write(name) for name in names])
    assert dict(zip(table.variants, table.num_images, strict=True)) == {
        "imagenet": 50000,
        "imagenet-real": 46837,
        "imagenet-a": 7500,
        "imagenet-v2/matched-frequency": 10000,
        "imagenet-r": 30000,
        "imagenet-sketch": 50889,
    }
    assert table.reference == "imagenet"
    assert table.models == ("a", "b", "c")
    assert table.column("imagenet").tolist() == [0.805, 0.795, 0.1]


def test_views_can_be_recognised(write):
    paths = [write("imagenet.csv"), write("mine.csv")]
    table = read_result_tables(paths, images={"mine": 200, "imagenet": 49_000})
    assert table.num_images == (49_000, 200)
    table = read_result_tables(paths, images={"mine": 200}, reference="mine")
    assert table.variants == ("mine", "imagenet")
    assert read_result_tables(paths[1:], images={"mine": 200}).reference == "mine"


def test_numbers_as_people_write_them(write):
    text = 'model,top1,params\na,"8,0.5",1\n'
    with pytest.raises(UserError, match=r"line 2: '8,0.5'"):
        read_result_tables([write("imagenet.csv", text)])
    text = 'model,score,params\na,"1,013.5","1,013.01"\nb,5e-1,\nc,+.25,3\nd,,4\n'
    path = write("mine.csv", text.replace('"1,013.5"', "1"))
    table = read_result_tables(
        [path], images={"mine": 8}, score_column="score", percent=False
    )
    assert table.models == ("a", "b", "c")  # d has no score
    assert table.column("mine").tolist() == [1, 0.5, 0.25]
    assert table.notes[0] == "mine: 1 model with an empty cell left out: d"


def test_a_byte_order_mark_and_windows_lines(write):
    text = "\ufeff" + (HEADER + ROWS).replace("\n", "\r\n")
    table = read_result_tables([write("imagenet.csv", text)])
    assert table.models == ("a", "b", "c")


def test_models_by_name_and_size(write):
    sized = HEADER + "a,224,80\na,288,81\nb,224,79\n"
    table = read_result_tables([write("imagenet.csv", sized)])
    assert table.models == ("a at 224", "a at 288", "b")
    with pytest.raises(UserError, match=r"has 1 model twice: a \(line 3\)"):
        read_result_tables([write("imagenet.csv", sized)], model_column="model")
    # A file without sizes: names alone are what both have.
    paths = [write("imagenet.csv"), write("imagenet-r.csv", "model,top1\na,50\nc,4\n")]
    table = read_result_tables(paths)
    assert math.isnan(table.column("imagenet-r")[1])
    assert table.notes == (
        "imagenet-r: 1 of 3 models are missing and in none of its pairs",
    )


def test_accuracies_that_no_count_of_images_gives_are_noted(write):
    text = HEADER + "".join(f"m{i},224,{100 * i / 300:.3f}\n" for i in range(60, 90))
    table = read_result_tables([write("mine.csv", text)], images={"mine": 300})
    assert table.notes == ()
    table = read_result_tables([write("mine.csv", text)], images={"mine": 299})
    assert table.notes == (
        "mine: 30 of 30 accuracies are not shares of 299 images; check the number of "
        "images",
    )
    # With one decimal, any number of images is possible.
    text = HEADER + "a,224,80.5\nb,224,79.3\n"
    assert not read_result_tables([write("m.csv", text)], images={"m": 5000}).notes


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "has no rows"),
        (HEADER, {}, "has no rows"),
        (b"\xff\xfe\x00", {}, "cannot be read as a CSV file"),
        (
            "name,acc\na,1\n",
            {},
            r"no column 'model', 'top1'; its columns are name, acc",
        ),
        (HEADER + "a,224\n", {}, "line 2 has another number of cells"),
        (HEADER + "a,224,80,9\n", {}, "line 2 has another number of cells"),
        (HEADER + "a,224,80\na,224,81\n", {}, r"1 model twice: a at 224 .line 3"),
        (
            HEADER + "a,224,good\nb,224,-\n",
            {},
            "not a number in line 2: 'good', line 3",
        ),
        (
            HEADER + "a,224,120\nb,224,80\n",
            {},
            "1 of top1, read as percent, are outside",
        ),
        (
            HEADER + "a,224,-2\nb,224,80\n",
            {},
            "1 of top1, read as percent, are outside",
        ),
        (
            HEADER + "a,224,0.8\nb,224,0.7\n",
            {},
            "all of top1 are at most 1.*--fraction",
        ),
        (HEADER + ROWS, {"percent": False}, "if these are percent, say --percent"),
        (HEADER + ROWS, {"score_column": "top5"}, r"percent or fractions\? say so"),
        (
            HEADER + ROWS,
            {"score_column": "top5", "percent": True},
            "no column 'top5'; its columns are model, img_size, top1; choose others "
            "with --model-column and --score-column",
        ),
        (HEADER + ROWS, {"images": {"imagenet": 0}}, "--images imagenet=N"),
        (HEADER + ROWS, {"images": {"imagnet": 5}}, "dataset 'imagnet'; did you mean"),
        (HEADER + ROWS, {"reference": "imagenet-r"}, "--reference: unknown dataset"),
        (HEADER + "a,224,80\n", {}, r"1 model .* two or more"),
        (HEADER + "a,224,\nb,224,nan\n", {}, r"0 models .* two or more"),
    ],
)
def test_files_that_are_refused(write, text, options, message):
    with pytest.raises(UserError, match=message):
        read_result_tables([write("imagenet.csv", text)], **options)


def test_more_mistakes(write, tmp_path):
    with pytest.raises(UserError, match="no result table"):
        read_result_tables([])
    with pytest.raises(UserError, match="No such file"):
        read_result_tables([tmp_path / "none.csv"])
    twice = [write("imagenet.csv"), write("results-imagenet.csv")]
    with pytest.raises(UserError, match="more than one file is about imagenet"):
        read_result_tables(twice)
    with pytest.raises(UserError, match=r"how many images has 'mine'.*--images mine=N"):
        read_result_tables([write("mine.csv")])


def test_a_file_without_a_model_of_the_reference(write):
    paths = [
        write("imagenet.csv"),
        write("imagenet-r.csv", HEADER + "x,224,5\n"),
        write("imagenet-a.csv", HEADER + "a,224,\nb,288,5\n"),
        write("sketch.csv", HEADER + "c,224,5\n"),
    ]
    with pytest.raises(UserError) as caught:
        read_result_tables(paths)
    message = str(caught.value)
    assert "imagenet-r.csv has no model of" in message
    assert "it has x at 224, the reference a at 224, b at 224, c at 224" in message
    assert "imagenet-a.csv has no model of" in message
    assert "sketch.csv" not in message


def test_all_mistakes_are_reported_at_once(write):
    paths = [
        write("imagenet.csv", HEADER + "a,224,bad\n"),
        write("mine.csv", HEADER + "a,224,80\na,224,80\n"),
    ]
    with pytest.raises(UserError) as caught:
        read_result_tables(paths)
    message = str(caught.value)
    for part in ("not a number", "twice", "how many images has 'mine'"):
        assert part in message


def test_accuracies_are_float64(write):
    table = read_result_tables([write("imagenet.csv")])
    assert table.accuracy.dtype == np.float64

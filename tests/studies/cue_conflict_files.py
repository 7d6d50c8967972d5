"""The published answers to cue-conflict images, also in their published layout."""

import csv
from pathlib import Path

PATH = Path(__file__).parent / "cue_conflict" / "responses.csv"
HEADER = [
    *("subj", "session", "trial", "rt", "object_response", "category"),
    *("condition", "imagename"),
]


def answers():
    """Name of an image to the answer, by network."""
    with PATH.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "imagename"]
    return {name: {row["imagename"]: row[name] for row in rows} for name in names}


def shape_of(image):
    return image.partition("-")[0].rstrip("0123456789")


def texture_of(image):
    return image.partition("-")[2].split(".")[0].rstrip("0123456789")


def write(path, observer, given, header=HEADER, prefix=""):
    """Writes a file as modelvshuman does."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i, (image, answer) in enumerate(given.items(), start=1):
            shape = shape_of(image)
            writer.writerow(
                [observer, 1, i, "NaN", answer, shape, "NaN", prefix + image]
            )
    return path

"""Images as the `imagecorruptions` package corrupts them: tests/data/corruptions.npz.

    python scripts/make_goldens_corruptions.py

Needs imagecorruptions 1.1.2 with scikit-image 0.21, SciPy 1.10 and NumPy 1, which it is
made for; not this project. The file holds the image, and NAME_SEVERITY for every
corruption that draws from NumPy's global stream, seeded with the severity.
"""

# pyright: reportMissingImports=false

from pathlib import Path

import numpy as np

SIDE = (32, 40)
SEVERITIES = (1, 3, 5)
# The others draw from another stream, or are another algorithm.
LEFT_OUT = {"impulse_noise", "glass_blur", "frost"}
TARGET = Path(__file__).parents[1] / "tests" / "data" / "corruptions.npz"


def picture() -> np.ndarray:
    """A smooth image with edges, colours, grays, black and white."""
    rows, columns = np.indices(SIDE)
    channels = [
        127 + 120 * np.sin(rows / 5 + columns / 9),
        127 + 120 * np.cos(rows / 7 - columns / 4),
        (rows * 5 + columns * 2) % 256,
    ]
    image = np.stack(channels, axis=-1).astype(np.uint8)
    image[4:10, 6:20] = (230, 40, 60)
    image[20:26, 24:36] = 128
    image[12:16, 30:38], image[27:31, 3:12] = 255, 0
    return image


def main() -> None:
    """Writes the file."""
    from imagecorruptions import corruptions, get_corruption_names

    smooth = corruptions.gaussian

    def gaussian(image, *arguments, multichannel=False, **options):
        # scikit-image has renamed the argument since.
        axis = -1 if multichannel else None
        return smooth(image, *arguments, channel_axis=axis, **options)

    corruptions.gaussian = gaussian
    from imagecorruptions import corrupt

    image = picture()
    arrays = {"image": image}
    for name in get_corruption_names("all"):
        for severity in SEVERITIES:
            if name in LEFT_OUT or (name == "spatter" and severity <= 3):
                continue
            np.random.seed(severity)  # noqa: NPY002
            arrays[f"{name}_{severity}"] = corrupt(image, severity, name)
    np.savez_compressed(TARGET, allow_pickle=False, **arrays)
    print(f"{len(arrays) - 1} images, {TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

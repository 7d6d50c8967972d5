import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxbench.data.preprocess import (
    FILTERS,
    crop_offset,
    decode,
    normalize,
    preprocess,
    resized_size,
)
from model_zoo.input_spec import InputSpec

# --- an independent twin: Pillow's resampling as two integer matrix products


def cubic(x, a=-0.5):
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def sinc(x):
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


KERNELS = {
    "bilinear": (1, lambda x: max(0.0, 1 - abs(x))),
    "bicubic": (2, cubic),
    "lanczos": (3, lambda x: sinc(x) * sinc(x / 3) if -3 <= x < 3 else 0.0),
}
BITS = 22  # of Pillow's fixed-point weights


def resampling_matrix(length, new_length, filter):
    """Weights of every output pixel over the input pixels, in 2^-22 [new, old]."""
    reach, kernel = KERNELS[filter]
    scale = length / new_length
    stretch = max(scale, 1.0)
    matrix = np.zeros((new_length, length), np.int64)
    for row in range(new_length):
        centre = (row + 0.5) * scale
        first = max(int(centre - reach * stretch + 0.5), 0)
        last = min(int(centre + reach * stretch + 0.5), length)
        weights = [kernel((i - centre + 0.5) / stretch) for i in range(first, last)]
        for i, weight in enumerate(weights):
            fixed = weight / sum(weights) * 2**BITS
            matrix[row, first + i] = int(fixed + math.copysign(0.5, fixed))
    return matrix


def twin_resize(pixels, height, width, filter):
    if filter == "nearest":
        # Pillow adds up the step, so ties fall as the rounding of the sum has it.
        rows, columns = (
            np.cumsum([old / new / 2] + [old / new] * (new - 1)).astype(int)
            for old, new in zip(pixels.shape, (height, width), strict=False)
        )
        return pixels[rows][:, columns]
    result = pixels.astype(np.int64)
    for axis, new_length in ((1, width), (0, height)):
        matrix = resampling_matrix(pixels.shape[axis], new_length, filter)
        if pixels.shape[axis] != new_length:
            moved = np.tensordot(matrix, result, (1, axis)) + (1 << (BITS - 1))
            result = np.moveaxis(np.clip(moved >> BITS, 0, 255), 0, axis)
    return result.astype(np.uint8)


def random_pixels(height, width, seed=0):
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(37, 50, 16), (50, 37, 16), (9, 7, 21), (64, 64, 16), (33, 80, 30)],
)
def test_center_is_the_twins_resize_and_crop(filter, height, width, size):
    pixels = random_pixels(height, width)
    spec = InputSpec((size, size), crop_fraction=0.8, interpolation=filter)
    short = int(size / 0.8)
    if height <= width:
        new = (short, int(short * width / height))
    else:
        new = (int(short * height / width), short)
    resized = twin_resize(pixels, *new, filter)
    top, left = round((new[0] - size) / 2), round((new[1] - size) / 2)
    wanted = resized[top : top + size, left : left + size]
    # No tolerance: the twin's arithmetic is Pillow's own, in whole numbers, width first
    # whatever the release of Pillow.
    np.testing.assert_array_equal(preprocess(pixels, spec), wanted)


@pytest.mark.parametrize("filter", FILTERS)
def test_squash_is_the_twins_resize_and_crop(filter):
    pixels = random_pixels(40, 23)
    spec = InputSpec(
        (18, 15), crop_fraction=0.9, crop_mode="squash", interpolation=filter
    )
    wanted = twin_resize(pixels, 20, 16, filter)[1:19, 0:15]
    np.testing.assert_array_equal(preprocess(pixels, spec), wanted)


def test_tall_images_are_squashed_width_first():
    """Where Pillow 13 alone would begin with the height."""
    pixels = random_pixels(90, 30)
    spec = InputSpec((16, 16), 1.0, "squash", "bicubic")
    wanted = twin_resize(pixels, 16, 16, "bicubic")
    np.testing.assert_array_equal(preprocess(pixels, spec), wanted)


# Height, width of the image -> of the resized image, by torchvision's Resize(256) of
# well-known photographs, and by timm for other crop fractions and shapes.
KNOWN_SIZES = [
    ((375, 500), InputSpec(crop_fraction=0.875), (256, 341)),
    ((500, 333), InputSpec(crop_fraction=0.875), (384, 256)),
    ((400, 400), InputSpec(crop_fraction=0.875), (256, 256)),
    ((375, 500), InputSpec(crop_fraction=0.9), (248, 330)),
    ((375, 500), InputSpec(crop_fraction=0.95), (235, 313)),
    ((375, 500), InputSpec((224, 288), crop_fraction=1.0), (224, 299)),
    ((500, 375), InputSpec((224, 288), crop_fraction=1.0), (384, 288)),
    ((375, 500), InputSpec((224, 288), 0.875, "squash"), (256, 329)),
    ((8, 8), InputSpec((8, 8), crop_fraction=1.0), (8, 8)),
]


@pytest.mark.parametrize(("image", "spec", "wanted"), KNOWN_SIZES)
def test_known_sizes(image, spec, wanted):
    assert resized_size(*image, spec) == wanted


def test_crop_offsets_round_halves_to_even():
    assert [crop_offset(length, 224) for length in (256, 341, 343, 224)] == [
        16,
        58,
        60,
        0,
    ]


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_an_image_that_fits_stays_as_it_is(filter, crop_mode):
    spec = InputSpec((8, 8), 1.0, crop_mode, filter)
    pixels = random_pixels(8, 8)
    np.testing.assert_array_equal(preprocess(pixels, spec), pixels)
    np.testing.assert_array_equal(preprocess(as_file(pixels), spec), pixels)


# --- decoding


def as_file(image, format="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def with_alpha():
    alpha = np.random.default_rng(1).integers(0, 256, (6, 5, 1)).astype(np.uint8)
    return Image.fromarray(np.concatenate([random_pixels(6, 5), alpha], axis=2))


def palette():
    return Image.fromarray(random_pixels(6, 5)).quantize(16)


MODES = {
    "gray": lambda: as_file(random_pixels(6, 5)[..., 0]),
    "gray and alpha": lambda: as_file(with_alpha().convert("LA")),
    "black and white": lambda: as_file(with_alpha().convert("1")),
    "alpha": lambda: as_file(with_alpha()),
    "palette": lambda: as_file(palette()),
    "palette with one clear colour": lambda: as_file(palette(), transparency=3),
    "palette with alphas": lambda: as_file(
        palette(), transparency=bytes(range(0, 160, 10))
    ),
    "CMYK": lambda: as_file(with_alpha().convert("CMYK"), "JPEG"),
    "animation": lambda: as_file(
        palette(), "GIF", save_all=True, append_images=[palette().rotate(180)]
    ),
}


@pytest.mark.parametrize("kind", MODES)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of the twin
def test_modes_convert_as_pillow_converts(kind):
    content = MODES[kind]()
    wanted = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert wanted.shape == (6, 5, 3)
    np.testing.assert_array_equal(np.asarray(decode(content)), wanted)


def test_palettes_with_alphas_decode_without_a_warning():
    decode(MODES["palette with alphas"]())


def test_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    pixels = random_pixels(6, 5)
    decoded = decode(as_file(pixels, exif=exif))
    np.testing.assert_array_equal(np.asarray(decoded), pixels)


TOO_DEEP = {
    "I;16": as_file(np.full((4, 4), 4000, np.uint16)),
    "I": as_file(np.full((4, 4), 70_000, np.int32), "TIFF"),
    "F": as_file(np.full((4, 4), 0.5, np.float32), "TIFF"),
}


@pytest.mark.parametrize("mode", TOO_DEEP)
def test_deep_images_are_refused(mode):
    with pytest.raises(ValueError, match=f"mode is '{mode}'.*scale it to 8 bits"):
        decode(TOO_DEEP[mode])


BROKEN = {
    "is empty": b"",
    "cannot identify image file": b"this is not an image" * 9,
    "truncated": as_file(random_pixels(60, 50), "JPEG")[:2000],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_broken_files(reason):
    with pytest.raises(ValueError, match=reason) as caught:
        decode(BROKEN[reason])
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "message"),
    [(10, "decompression bomb"), (20, "the image has 5x6 pixels, more than the 20 ")],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_case_36_a_decompression_bomb_is_refused(monkeypatch, limit, message):
    """Where Pillow raises, from twice its limit on, and where it only warns."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=message):
        decode(as_file(random_pixels(6, 5)))


def test_case_36_thin_images_do_not_grow_into_bombs():
    """A line of 50,000 pixels, resized to 256 rows, would have 12,800,000 columns."""
    line = as_file(np.zeros((1, 50_000), np.uint8))
    with pytest.raises(ValueError, match=r"be resized to 12800000x256 pixels, more th"):
        preprocess(line, InputSpec((224, 224), 0.875))
    assert preprocess(line, InputSpec((8, 8), 1.0, "squash")).shape == (8, 8, 3)


def test_case_36_every_error_has_a_reason(monkeypatch):
    def no_memory(file):
        raise MemoryError

    content = as_file(random_pixels(6, 5))
    monkeypatch.setattr(Image, "open", no_memory)
    with pytest.raises(ValueError, match="bytes, MemoryError"):
        decode(content)


# --- normalising


def test_normalize_is_the_float64_formula():
    images = random_pixels(7, 6)[None]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    wanted = (images.astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    result = jax.jit(normalize, static_argnums=(1, 2))(jnp.asarray(images), mean, std)
    assert result.dtype == jnp.float32
    # float32 has 2^-24 relative; the values reach 2.6 after division by 0.22.
    np.testing.assert_allclose(result, wanted, atol=2e-6)
    half = normalize(jnp.asarray(images), mean, std, jnp.bfloat16)
    np.testing.assert_array_equal(half, result.astype(jnp.bfloat16))
    one = normalize(jnp.asarray(images[0]), mean, std)
    np.testing.assert_allclose(one, wanted[0], atol=2e-6)

"""What goldens cannot see of Swin: initial values, resized tables, layouts."""

import re

import jax
import numpy as np
import pytest
from flax import nnx

from model_zoo.architecture import Settings
from model_zoo.backbones.swin import SwinArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.input_spec import InputSpec
from model_zoo.layers.stochastic import DropPath
from model_zoo.weights.relative_positions import resize_bias_table
from model_zoo.weights.rules import Unsupported, convert
from model_zoo.weights.swin import RULES, arguments_from_timm

TINY = SwinArchitecture(4, (1, 2), (1, 2), window_size=4)


def classifier(size):
    settings = Settings(5, size, np.dtype("float32"))
    return NetworkClassifier("tiny", 5, InputSpec(size=size), TINY, settings)


def originals(variables):
    """A classifier's variables as a file of timm's."""
    return {
        RULES.source_name(leaf): np.moveaxis(array, (-1, -2), (0, 1))
        if leaf.endswith("kernel")
        else array
        for leaf, array in variables.items()
    }


def test_tables_start_as_in_timm():
    variables = classifier((40, 40)).init(jax.random.key(0))
    table = variables["layers.1.blocks.1.attn.relative_position_bias_table"]
    assert np.std(table) == pytest.approx(0.02, rel=0.3)
    patches = np.abs(variables["patch_embed.proj.bias"]).max()
    assert 0 < patches <= 48**-0.5
    assert np.all(variables["patch_embed.norm.scale"] == 1)


def test_stochastic_depth_grows_from_block_to_block():
    settings = Settings(5, (40, 40), np.dtype("float32"), drop_path_rate=0.2)
    modules = nnx.iter_modules(TINY.build(settings))
    rates = sorted(m.rate for _, m in modules if isinstance(m, DropPath))
    assert rates == pytest.approx([0.0, 0.1, 0.2])


def test_heads_or_windows_of_other_stages_are_refused():
    with pytest.raises(ValueError, match="num_heads has 2 entries for 3 stages"):
        SwinArchitecture(4, (1, 1, 1), (1, 2))
    with pytest.raises(ValueError, match="window_size has 2"):
        SwinArchitecture(4, (1, 1, 1), (1, 2, 4), window_size=(7, 7))


def test_unknown_options_are_refused():
    with pytest.raises(Unsupported, match="always_partition"):
        arguments_from_timm("swin", {"always_partition": True})


def test_the_authors_files_are_read():
    mine = classifier((40, 40))
    variables = mine.init(jax.random.key(1))
    authors = {"layers.1.blocks.1.attn_mask": np.zeros((4, 16, 16), np.float32)}
    for name, array in originals(variables).items():
        name = re.sub(r"^layers\.1\.downsample", "layers.0.downsample", name)
        authors[name.replace("head.fc.", "head.")] = array
    read = convert(authors, mine, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(read[leaf], array)


def test_tables_follow_windows_that_shrink_with_the_image():
    large, small = classifier((32, 32)), classifier((32, 20))
    variables = large.init(jax.random.key(1))
    read = convert(originals(variables), small, RULES)
    leaf = "layers.1.blocks.0.attn.relative_position_bias_table"
    assert variables[leaf].shape == (49, 2)
    assert read[leaf].shape == (35, 2)
    # Steps of at least 1.01 leave the middle rows near where they were.
    before = variables[leaf].reshape(7, 7, 2)
    after = read[leaf].reshape(7, 5, 2)
    np.testing.assert_array_equal(after[3, 2], before[3, 3])


def test_resized_tables_equal_timms():
    rows, columns = np.indices((5, 5))
    table = (rows**2 + columns).reshape(-1, 1).astype(np.float32)
    # timm 1.0.31 makes 7x3 offsets of this table so: finer towards the middle.
    by_row = np.array([1, 4 / 3, 2, 5, 10, 44 / 3, 17])
    wanted = by_row[:, None] + np.arange(3)
    resized = resize_bias_table(table, (7, 3)).reshape(7, 3)
    # The progression is found to 1e-6.
    np.testing.assert_allclose(resized, wanted, atol=1e-5)


def test_a_table_of_no_square_window_is_refused():
    with pytest.raises(ValueError, match="not square"):
        resize_bias_table(np.zeros((35, 2), np.float32), (7, 7))

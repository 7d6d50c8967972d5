"""What is refused when a part is registered, and what its digest depends on."""

import functools
import linecache
import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbench
from jaxbench.data import CORRUPTIONS, DATASETS, open_dataset
from jaxbench.errors import UserError
from jaxbench.metrics import (
    METRICS,
    SCORE_METRICS,
    bootstrap_intervals,
    register_metric,
    score_examples,
    summarize,
)
from jaxbench.own import import_own, source_digest
from jaxbench.training import OPTIMIZERS, register_optimizer

LOGITS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
LABELS = np.arange(40) % 3


@pytest.fixture(autouse=True)
def own_tables(monkeypatch):
    """Tables whose new rows are gone after the test."""
    for table in (OPTIMIZERS, SCORE_METRICS, CORRUPTIONS, DATASETS):
        for rows in ("_rows", "_own"):
            monkeypatch.setattr(table, rows, dict(getattr(table, rows)))


def shrinking(learning_rate, weight_decay):
    """Its state has an element less after each step."""
    return optax.GradientTransformation(
        lambda params: jnp.zeros(5),
        lambda updates, state, params=None: (updates, state[1:]),
    )


def looking(learning_rate, weight_decay):
    return optax.sgd(1.0 if learning_rate > 0.1 else 0.5)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda lr, wd: None, "gives a NoneType, wanted an optax.GradientTransf"),
        (shrinking, r"its state change in structure, shape or dtype .*\[5\].*\[4\]"),
        (looking, "fails under jit and vmap, .*TracerBoolConversionError"),
        (lambda lr: optax.sgd(lr), "takes lr, wanted a function of learning_rate and"),
        (3, "is a int, wanted a function of learning_rate and weight_decay"),
    ],
)
def test_optimizers_that_cannot_be_trained_with(factory, message):
    with pytest.raises(UserError, match=message):
        register_optimizer("bad", factory)
    assert "bad" not in OPTIMIZERS


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda s: s.scores.nll, r"gives float32\[8\], wanted a real scalar"),
        (
            lambda s: jax.lax.complex(s.mean(s.scores.nll), jnp.float32(0)),
            r"gives complex64\[\], wanted a real",
        ),
        (lambda s: "high", "gives str|raises TypeError"),
        (lambda s: s.nothing, "raises AttributeError when traced"),
    ],
)
def test_metrics_that_give_no_number(kernel, message):
    with pytest.raises(UserError, match=message):
        register_metric("bad", kernel)
    assert "bad" not in METRICS


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image, severity, rng: image[::2], r"turns uint8 \(224, 224, 3\) into"),
        (lambda image, severity, rng: image / 255, "into float64"),
        (lambda image: image, "raises TypeError on an image of 224x224 pixels"),
    ],
)
def test_corruptions_that_change_the_type_of_an_image(function, message):
    with pytest.raises(UserError, match=message):
        jaxbench.register_corruption("bad", function)
    assert "bad" not in CORRUPTIONS


def test_datasets_that_are_none():
    with pytest.raises(
        UserError, match="default_split is 'valid', wanted one of train"
    ):
        jaxbench.register_dataset("bad", len, splits=["train"], default_split="valid")
    jaxbench.register_dataset("own-numbers", lambda split: np.zeros(3))
    with pytest.raises(UserError, match="opens as a ndarray without name, labels"):
        open_dataset("own-numbers")


@pytest.mark.parametrize("table", [OPTIMIZERS, SCORE_METRICS, CORRUPTIONS, DATASETS])
def test_tables_are_closed_but_for_registering(table):
    name = next(iter(table))
    with pytest.raises(TypeError):
        table[name] = None
    with pytest.raises(UserError, match=rf"{table.kind} '{name}' exists; choose anoth"):
        table.add(name, None, test_datasets_that_are_none)
    with pytest.raises(UserError, match="wanted letters"):
        table.add("a/b@c", None, test_datasets_that_are_none)


def test_a_name_is_registered_once():
    def first(sample):
        return sample.mean(sample.scores.nll)

    def second(sample):
        return 2 * sample.mean(sample.scores.nll)

    register_metric("own_nll", first)
    register_metric("own_nll", first)  # the same once more, as after a reload
    with pytest.raises(UserError, match="'own_nll' was registered with other code"):
        register_metric("own_nll", second)
    scores = score_examples(LOGITS, LABELS)
    found = summarize(scores, ["own_nll", "nll"])
    assert found["own_nll"] == found["nll"]
    key = jax.random.key(0)
    ends = bootstrap_intervals(scores, ["own_nll", "nll"], key=key, num_resamples=50)
    np.testing.assert_array_equal(ends["own_nll"], ends["nll"])


def test_numbers_of_another_type_and_nan():
    register_metric("own_count", lambda sample: sample.counts.total)
    register_metric("own_nan", lambda sample: math.nan * sample.mean(sample.scores.nll))
    found = summarize(score_examples(LOGITS, LABELS), ["own_count", "own_nan"])
    assert found["own_count"] == 40
    assert found["own_count"].dtype == jnp.float32
    assert np.isnan(found["own_nan"])


def test_an_optax_optimizer_is_a_factory():
    with jax.numpy_dtype_promotion("standard"):  # as it is unless asked for
        register_optimizer("own_adamw", optax.adamw, learning_rate=2e-3)
    row = OPTIMIZERS["own_adamw"]
    assert row.options["b1"] == 0.9
    assert row.defaults["learning_rate"] == 2e-3
    assert row.title == "own_adamw"


def module(name, source):
    made = types.ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), made.__dict__)
    sys.modules[name] = made
    return made


SOURCE = """
FACTOR = 2
def helper(x):
    return x + FACTOR
def part(x):
    return helper(x)
def other(x):
    return x
"""


def test_a_digest_follows_what_a_part_uses(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = {}
    for number, (old, new) in enumerate(
        [
            ("", ""),
            ("FACTOR = 2", "FACTOR = 3"),
            ("x + FACTOR", "x - FACTOR"),
            ("return x\n", "return -x\n"),
            ("FACTOR = 2", "__version__ = '2'\nFACTOR = 2"),
        ]
    ):
        name = f"digested_{number}"
        (tmp_path / f"{name}.py").write_text(
            SOURCE.replace(old, new) if old else SOURCE
        )
        digests[new] = source_digest(import_own(name).part)
    plain = digests.pop("")
    assert digests.pop("return -x\n") == plain  # of a function that it does not use
    assert plain not in digests.values()
    assert len(set(digests.values())) == 3


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("helpers.py", "return x", "return 2 * x"),
        ("helpers.py", "LEVEL = 1", "LEVEL = 2"),
        ("more.py", "OFFSET = 1", "OFFSET = 2"),
        ("digested.py", "DEEP = 1", "DEEP = 2"),
        ("digested.py", "'rate': 1", "'rate': 2"),
        ("digested.py", "{'a', 'b'}", "{'a', 'c'}"),
        ("digested.py", "arange(2000)", "arange(2000) % 1500"),
    ],
)
def test_a_digest_follows_helpers_and_values(tmp_path, monkeypatch, file, old, new):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sources = {
        "helpers.py": "LEVEL = 1\ndef level(x):\n    return x + LEVEL\n"
        "def plain(x):\n    return x\n",
        "more.py": "OFFSET = 1\n",
        "digested.py": "import numpy as np\nimport more\n"
        "from helpers import level, plain\n"
        "DEEP = 1\nTABLE = {'rate': 1}\nKINDS = {'a', 'b'}\n"
        "WIDE = np.arange(2000)\n"
        "def part(x):\n"
        "    inner = lambda: (lambda: DEEP)()\n"
        "    found = level(plain(x)) * more.OFFSET * inner() * TABLE['rate']\n"
        "    return found * len(KINDS) * WIDE\n",
    }

    def digest() -> str:
        for name, source in sources.items():
            (tmp_path / name).write_text(source)
            monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
        linecache.clearcache()
        return source_digest(import_own("digested").part)

    before = digest()
    assert digest() == before
    assert old in sources[file]
    sources[file] = sources[file].replace(old, new)
    assert digest() != before
    for name in sources:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"))


def test_digests_of_code_without_a_file():
    one = module("typed_1", "def f(x):\n    return x + 1\n")
    same = module("typed_2", "def f(x):\n    return x + 1\n")
    other = module("typed_3", "def f(x):\n    return x + 2\n")
    assert source_digest(one.f) == source_digest(same.f) != source_digest(other.f)
    half, whole = (functools.partial(one.f, x=x) for x in (0.5, 1.0))
    assert source_digest(half) != source_digest(whole) != source_digest(one.f)


def test_modules_that_cannot_be_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raising.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match="importing 'raising' raises ZeroDivisionError"):
        import_own("raising")
    with pytest.raises(UserError, match="cannot import 'nowhere_at_all'"):
        import_own("nowhere_at_all")
    (tmp_path / "plain.py").write_text("factory = 3\n")
    with pytest.raises(
        UserError, match="optimizer 'plain:factor': unknown name 'facto"
    ):
        OPTIMIZERS.find("plain:factor", register_optimizer)
    with pytest.raises(UserError, match="optimizer 'plain:factory' is a int"):
        OPTIMIZERS.find("plain:factory", register_optimizer)
    with pytest.raises(UserError, match="unknown kind of dataset 'foldr'"):
        open_dataset("foldr:/data")
    with pytest.raises(UserError, match="dataset 'plain:faces': unknown name 'faces'"):
        open_dataset("plain:faces@test")

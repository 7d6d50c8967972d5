"""What the first page shows works as it stands there."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_two_lines_stand_at_the_top():
    top = "\n".join(README.splitlines()[:12])
    assert "pip install uv && uv run jaxbench run configs/quickstart.toml" in top
    assert "pip install uv && uv run pytest" in top


def test_evaluation_example(capsys):
    exec(BLOCKS[0], {})
    accuracy = float(capsys.readouterr().out.split()[0])
    assert 0 <= accuracy <= 1


def test_metrics_example(capsys):
    draw = np.random.default_rng(0)
    given = {
        "logits": jnp.asarray(draw.normal(size=(50, 7)), jnp.float32),
        "labels": jnp.asarray(draw.integers(0, 7, 50), jnp.int32),
    }
    exec(BLOCKS[1], given)
    assert "aurc" in capsys.readouterr().out


def test_own_model_example():
    import jaxbench
    from jaxbench.data import ArraySource

    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 32, 32, 3), np.uint8)
    given = {
        "jaxbench": jaxbench,
        "my_apply": lambda variables, images: images.mean((1, 2)) @ variables["w"],
        "my_variables": {"w": draw.normal(size=(3, 10)).astype(np.float32)},
        "dataset": ArraySource("mine", images, np.arange(20) % 10),
    }
    exec(BLOCKS[2], given)
    assert given["found"].num_examples == 20


@pytest.mark.parametrize(
    "name", sorted({c.name or c.callback.__name__ for c in app.registered_commands})
)
def test_every_command_is_listed(name):
    assert re.search(rf"^    jaxbench {name}\b", README, re.MULTILINE)

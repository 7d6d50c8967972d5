"""Contrastive training: draws that are rejected, budgets, keys, going on."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.training import HyperParameters, TrainingImages, get_optimizer
from jaxbench.training.contrastive import (
    ContrastiveRecipe,
    Curation,
    CurationState,
    Encoder,
    Views,
    train_contrastive,
    two_views,
    unit_length,
)
from jaxbench.training.contrastive.step import (
    ContrastiveState,
    Scalars,
    draw_step,
)
from jaxbench.training.contrastive.train import draw_spec
from jaxbench.training.inputs import Batches
from jaxbench.training.members import epoch_order, member_scalars
from jaxbench.training.recipes import Recipe
from jaxbench.training.specs import Horizon
from jaxbench.training.steps import start
from model_zoo import Classifier
from model_zoo.architecture import Outputs, Settings
from model_zoo.input_spec import InputSpec
from tests.reference.frechet import frechet_distance

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3)).astype(np.uint8)
DATA = TrainingImages(IMAGES, np.zeros(40, np.int32))


SPEC = InputSpec((4, 4), mean=(0.5,) * 3, std=(0.3,) * 3)


@dataclasses.dataclass(frozen=True)
class Tiny(Classifier):
    """One layer on the pixels, over a running mean, without a head."""

    name: str = "tiny"
    num_classes: int = 0
    input_spec: InputSpec = SPEC

    num_features = 6
    parameter_names = frozenset({"layer.kernel"})
    state_names = frozenset({"layer.mean"})

    @property
    def shapes(self):
        sizes = {"layer.kernel": (48, 6), "layer.mean": (6,)}
        return {n: jax.ShapeDtypeStruct(s, np.float32) for n, s in sizes.items()}

    def init(self, key):
        drawn = jax.random.normal(key, (48, 6)) / 7
        return {"layer.kernel": drawn, "layer.mean": jnp.zeros(6)}

    def apply(self, variables, images):
        features = images.reshape(len(images), -1) @ variables["layer.kernel"]
        features = jnp.tanh(features - variables["layer.mean"][None, :])
        return Outputs(jnp.zeros((len(images), 0)), features)

    def apply_train(self, variables, images, key):
        outputs = self.apply(variables, images)
        mean = 0.9 * variables["layer.mean"] + 0.1 * outputs.features.mean(axis=0)
        return outputs, {"layer.mean": mean}


ENCODER = Encoder(Tiny(), hidden=7, width=5)
# Mirrored and gray or not: cheap to compile.
VIEWS = Views((1.0, 1.0), jitter=0.0, grayscale=0.5, blur=0.0)
BASE = ContrastiveRecipe(
    epochs=3,
    batch_size=8,
    warmup_epochs=1.0,
    hidden=7,
    width=5,
    views=VIEWS,
    huber_weight=0.2,
)
MEMBER = HyperParameters(0.01, 1e-4, 3)
SLOW = HyperParameters(1e-3, 1e-4, 3)


def train(curation=None, seed=3, member=MEMBER, **changes):
    recipe = dataclasses.replace(BASE, curation=curation or Curation(), **changes)
    member = dataclasses.replace(member, seed=seed)
    return train_contrastive(ENCODER, "adamw", member, DATA, recipe)


@pytest.fixture(scope="module")
def plain():
    return train()


def step_of(curation, branches):
    """A draw, compiled, and the state and arguments of the first one."""
    optimizer = get_optimizer("adamw")
    recipe = dataclasses.replace(BASE, curation=curation)
    spec = dataclasses.replace(draw_spec(ENCODER, optimizer, recipe), branches=branches)
    variables = ENCODER.init(jax.random.key(3))
    state = ContrastiveState(
        start(spec.step, jax.tree.map(jnp.asarray, variables)),
        CurationState.empty(curation.window),
    )
    rows = np.arange(40, dtype=np.int32).reshape(5, 8)
    scalars = Scalars(
        member_scalars(MEMBER, optimizer, Recipe()),
        *map(np.float32, (0.5, 0.2, 1.0)),
        curation.limits(),
    )
    arguments = (
        Batches(*DATA, rows, np.int32(0)),
        scalars,
        Horizon(*map(np.int32, (0, 15, 0))),
    )
    arguments = jax.tree.map(jnp.asarray, arguments)
    return (
        jax.jit(partial(draw_step, spec)),
        jax.tree.map(jnp.asarray, state),
        arguments,
    )


def leaves(member):
    return jax.tree.leaves(member._replace(step=jnp.zeros((), jnp.int32)))


def test_a_rejected_draw_leaves_everything_as_it_was_with_and_without_a_branch():
    # Draws 0 and 1 pass, whatever they are; none of those after them does.
    curation = Curation("value", max_distance=1e-9, warmup=2)
    ends = []
    for branches in (False, True):
        step, state, arguments = step_of(curation, branches)
        for number in range(4):
            before = leaves(state.member)
            state, draw = step(state, *arguments)
            pairs = zip(before, leaves(state.member), strict=True)
            same = [np.array_equal(a, b) for a, b in pairs]
            assert bool(draw.used) == (number < 2)
            # Parameters and statistics, which come first, all move or all stay.
            assert all(same) if number >= 2 else not any(same[:6])
            assert int(state.member.step) == number + 1
        ends.append(state)
    for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
        # Two programs: XLA may fuse them in other ways.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_distance_is_that_of_the_two_views_projections(plain):
    rows = epoch_order(3, 0, num_images=40, batch_size=8)[0]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 0)
    view_key, network_key = jax.random.split(key)

    @jax.jit
    def project(variables, images):
        views = two_views(images, view_key, VIEWS, SPEC)
        return unit_length(ENCODER.apply_train(variables, views, network_key)[0])

    found = project(ENCODER.init(jax.random.key(3)), IMAGES[rows])
    first, second = np.split(np.asarray(found), 2)
    distances = plain.curves["distance"]
    # float32 features of unit length: 4e-6 of their variance.
    assert distances[0] == pytest.approx(frechet_distance(first, second), abs=1e-5)
    assert np.isfinite(distances).all()
    assert (distances > 0).all()


def test_a_plain_run_counts_and_learns(plain):
    assert plain.counts == {
        "draws": 15,
        "updates": 15,
        "rejected": 0,
        "batches": 15,
        "images_seen": 120,
        "views_seen": 240,
        "backward_passes": 15,
    }
    losses = plain.curves["loss"]
    # An untrained network finds one view among 15 by chance, and by what they share.
    assert 1.0 < losses[:5].mean() < np.log(15) + 0.5
    np.testing.assert_allclose(
        losses, plain.curves["nt_xent"] + 0.2 * plain.curves["huber"], rtol=1e-6
    )
    assert plain.diverged_step is None
    assert sorted(plain.variables) == ["layer.kernel", "layer.mean"]
    assert sorted(plain.projection) == [
        f"projection.{i}.{leaf}" for i in (0, 1) for leaf in ("bias", "kernel")
    ]


def test_the_key_decides_the_numbers(plain):
    again, other = train(), train(seed=4)
    for name, curve in plain.curves.items():
        np.testing.assert_array_equal(curve, again.curves[name])
    assert not np.array_equal(plain.curves["loss"], other.curves["loss"])


def test_the_loss_falls():
    # The same program for more epochs: lengths and rates are arguments.
    losses = train(epochs=40, warmup_epochs=4.0, member=SLOW).curves["loss"]
    assert losses[-50:].mean() < losses[:50].mean() - 0.1


RULE = {"quantile": 0.6, "window": 10, "warmup": 3}


def test_budgets_and_what_becomes_of_rejected_draws(plain):
    skip = train(Curation("quantile", **RULE))
    redraw = train(Curation("quantile", **RULE, on_reject="redraw", max_redraws=1))
    middle = float(np.median(plain.curves["distance"]))
    more = train(Curation("value", max_distance=2 * middle), budget="updates")
    for result in (skip, redraw, more):
        counts, curves = result.counts, result.curves
        assert counts["rejected"] == counts["draws"] - counts["updates"]
        assert counts["updates"] == curves["used"].sum()
        assert counts["draws"] == len(curves["loss"])
        above = curves["distance"] > curves["threshold"]
        np.testing.assert_array_equal(above, curves["used"] == 0)
        # The same weights, images and views until something is rejected.
        np.testing.assert_allclose(
            curves["loss"][:3], plain.curves["loss"][:3], rtol=1e-5
        )
    assert skip.counts["draws"] == redraw.counts["draws"] == 15
    assert more.counts["updates"] == 15
    assert skip.counts["rejected"] > 0
    assert redraw.counts["rejected"] > 0
    assert skip.curves["batch"].tolist() == list(range(15))
    assert redraw.counts["batches"] < 15
    steps = list(
        zip(
            redraw.curves["batch"],
            redraw.curves["attempt"],
            redraw.curves["used"],
            strict=True,
        )
    )
    for (batch, attempt, used), following in itertools.pairwise(steps):
        again = not used and attempt < 1
        assert following[:2] == ((batch, attempt + 1) if again else (batch + 1, 0))


def test_a_run_that_was_cut_off_goes_on_bit_for_bit(plain, tmp_path):
    class CutOff(Exception):
        pass

    def cut(spent, total):
        if spent >= 10:
            raise CutOff

    arguments = (ENCODER, "adamw", MEMBER, DATA, BASE)
    folder = {"checkpoint_dir": tmp_path, "checkpoint_seconds": 0.0}
    with pytest.raises(CutOff):
        train_contrastive(*arguments, **folder, on_chunk=cut)
    begun = []
    result = train_contrastive(
        *arguments, **folder, on_chunk=lambda spent, _: begun.append(spent)
    )
    # The first epoch was kept, the second lost before it was written.
    assert begun == [10, 15]
    for name, value in plain.variables.items():
        np.testing.assert_array_equal(value, result.variables[name])
    for name, curve in plain.curves.items():
        np.testing.assert_array_equal(curve, result.curves[name])
    with pytest.raises(UserError, match="another population"):
        train_contrastive(
            ENCODER,
            "adamw",
            MEMBER,
            DATA,
            dataclasses.replace(BASE, temperature=0.1),
            **folder,
        )


def test_a_run_that_diverges_says_when_and_one_may_not_measure():
    member = HyperParameters(1e30, 0.0, 0)
    recipe = dataclasses.replace(BASE, curation=Curation(measure=False))
    result = train_contrastive(ENCODER, "sgd", member, DATA, recipe)
    assert np.isnan(result.curves["distance"]).all()
    assert np.isfinite(result.curves["loss"][0])
    assert result.diverged_step is not None
    assert all(np.isfinite(value).all() for value in result.variables.values())
    assert np.isnan(result.final_loss())


@dataclasses.dataclass(frozen=True)
class Typed(Tiny):
    """One that is made with settings, as those of the zoo are."""

    settings: Settings | None = None


def test_a_run_is_continued_with_the_same_network_alone(tmp_path):
    def start_over(dtype):
        settings = Settings(0, (4, 4), np.dtype(dtype))
        encoder = Encoder(Typed(settings=settings), hidden=7, width=5)
        arguments = (encoder, "adamw", MEMBER, DATA, BASE)
        train_contrastive(*arguments, checkpoint_dir=tmp_path)

    start_over("float32")
    with pytest.raises(UserError, match=r"another population: network is .*float3"):
        start_over("float16")


def test_a_budget_of_draws_is_met_however_few_pass():
    result = train(Curation("value", max_distance=1e-9, warmup=1))
    assert (result.counts["draws"], result.counts["updates"]) == (15, 1)


def test_refusals():
    strict = Curation("value", max_distance=1e-9, warmup=0)
    for budget in ("draws", "updates"):
        with pytest.raises(UserError, match=r"used 0 of \d+ draws.*raise max_dist"):
            train(strict, budget=budget)
    with pytest.raises(UserError, match=r"used 1 of 15 draws, fewer than one in 10"):
        train(dataclasses.replace(strict, warmup=1), budget="updates")
    with pytest.raises(UserError, match=r"head has \(hidden.*\(7, 5\).*\(6, 9\)"):
        train(hidden=None, width=9)
    sophia = partial(train_contrastive, ENCODER, "sophia", MEMBER, DATA)
    with pytest.raises(UserError, match=r"sophia needs the.*batch_size is 64"):
        sophia(dataclasses.replace(BASE, batch_size=64))
    with pytest.raises(UserError, match="schedule_free_adamw is evaluated at other"):
        train_contrastive(ENCODER, "schedule_free_adamw", MEMBER, DATA, BASE)
    large = dataclasses.replace(Tiny(), input_spec=InputSpec((8, 8)))
    with pytest.raises(UserError, match=r"images are \(4, 4\).*wants \(8, 8\)"):
        train_contrastive(Encoder(large, 7, 5), "adamw", MEMBER, DATA, BASE)
    with pytest.raises(UserError, match="a head of 3 classes"):
        Encoder(dataclasses.replace(Tiny(), num_classes=3))

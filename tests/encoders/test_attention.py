"""``AttentionEncoder``: what it finds, that it can be repeated, interrupted and stored, and what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone

from neuro.data import Responses, Voxels
from neuro.encoders import RidgeCV
from neuro.encoders import _training as training
from neuro.encoders._ensemble import ensemble_weights
from neuro.encoders._queries import resolve_queries
from neuro.encoders._tokens import as_layers
from neuro.encoders.attention import AttentionEncoder
from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch, StaleStore


@pytest.fixture(scope="module")
def scenes():
    """An object at a random place of a 5 x 5 grid, whose identity drives 10 voxels; 10 others see one fixed place."""
    rng = np.random.default_rng(0)
    n, side = 600, 5
    X = 0.3 * rng.standard_normal((n, 8, side, side))
    rows, columns = rng.integers(0, side, (2, n))
    identity = rng.standard_normal((n, 3))
    X[np.arange(n), 0, rows, columns] += 3
    X[np.arange(n)[:, None], np.arange(1, 4), rows[:, None], columns[:, None]] += identity
    moving = identity @ rng.standard_normal((3, 10))
    fixed = X[:, 5:8, 1, 1] @ rng.standard_normal((3, 10))
    Y = np.concatenate([moving / moving.std(0), fixed / fixed.std(0)], 1) + 0.5 * rng.standard_normal((n, 20))
    return X.astype(np.float32), Y.astype(np.float32), (rows, columns)


QUERIES = {"moving": np.arange(10), "fixed": np.arange(10, 20)}


def small(**changes):
    """An encoder that trains in a blink."""
    given = {"queries": QUERIES, "n_heads": 2, "n_hidden": 8, "epochs": 2, "learning_rate": 5e-3, "dropout": 0.1}
    return AttentionEncoder(**(given | changes))


def test_areas_follow_the_object_that_drives_them_and_beat_fixed_windows_where_it_moves(scenes):
    X, Y, (rows, columns) = scenes
    train, test = slice(0, 480), slice(480, None)
    encoder = small(
        n_dims=32,
        n_heads=4,
        n_hidden=32,
        epochs=40,
        patience=25,
        decay_every=15,
        clip=1.0,
        baselines=("ridge", "factorised"),
    )
    scores = encoder.fit(X[train], Y[train]).compare(X[test], Y[test])
    moving, fixed = ({name: r[voxels].mean() for name, r in scores.items()} for voxels in QUERIES.values())
    maps = encoder.routing_maps(X[test])
    on_object, on_place = maps[np.arange(120), 0, rows[test], columns[test]].mean(), maps[:, 1, 1, 1].mean()
    print(f"moving {moving}, fixed {fixed}; on the object {on_object:.2f}, on the place {on_place:.2f}, chance 0.04")
    assert min(on_object, on_place) > 0.3
    assert moving["attention"] > 0.8  # the best possible is 0.89
    assert moving["attention"] > moving["factorised"] + 0.3 > moving["ridge"] + 0.3
    assert min(fixed.values()) > 0.75  # where nothing moves, fixed windows do as well
    np.testing.assert_allclose(maps.sum((2, 3)), 1, rtol=1e-5)
    assert encoder.baselines_["factorised"].windows()[1, 1, 1] > 0.4


@pytest.mark.parametrize("variant", ["transformer", "raw_values"])
def test_one_seed_gives_one_encoder_and_leaves_the_global_one_alone(scenes, variant):
    X, Y = (a[:80] for a in scenes[:2])
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    a = small(variant=variant, random_state=1).fit(X, Y)
    torch.testing.assert_close(torch.rand(2), expected)
    b = small(variant=variant, random_state=1).fit(X.copy(), Y.copy())
    c = small(variant=variant, random_state=2).fit(X, Y)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    assert np.abs(a.predict(X) - c.predict(X)).max() > 1e-3
    assert not np.array_equal(a.splits_[0][1], c.splits_[0][1])


def test_tensors_tokens_and_maps_are_the_same_thing(scenes):
    X, Y = scenes[0][:60], scenes[1][:60]
    tokens = np.ascontiguousarray(X.reshape(60, 8, 25).swapaxes(1, 2))
    a, b = small().fit(X, Y), small(grid=(5, 5)).fit(torch.from_numpy(tokens), torch.from_numpy(Y))
    predicted = b.predict(torch.from_numpy(tokens))
    assert isinstance(predicted, torch.Tensor)
    np.testing.assert_allclose(predicted, a.predict(X), atol=1e-5)
    assert isinstance(b.routing_maps(torch.from_numpy(tokens)), torch.Tensor)
    np.testing.assert_allclose(a.predict(X[:7]), a.predict(X)[:7], atol=1e-5)  # whatever the batch


def test_memory_maps_are_read_in_place(scenes, tmp_path):
    X, Y = scenes[0][:60], scenes[1][:60]
    np.save(tmp_path / "x.npy", X.astype(np.float16))
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    a, b = small(epochs=1).fit(stored, Y), small(epochs=1).fit(X.astype(np.float16).astype(np.float32), Y)
    np.testing.assert_allclose(a.predict(stored), b.predict(np.asarray(stored)), atol=1e-5)


def test_ensemble_is_the_weighted_mean_of_its_members_and_weights_sum_to_one(scenes):
    X, Y = scenes[0][:80], scenes[1][:80]
    layers = {"a": X, "b": np.ascontiguousarray(X[:, :4, :4, :4])}
    encoder = small(n_runs=2).fit(layers, Y)
    assert encoder.weights_.shape == (2, 2, 20)
    np.testing.assert_allclose(encoder.weights_.sum((0, 1)), 1, rtol=1e-6)
    np.testing.assert_allclose(encoder.weights_, ensemble_weights(encoder.validation_r_, 40.0))
    total = 0
    with torch.no_grad():
        for i, member in enumerate(encoder.members_):
            run, name = divmod(i, 2)
            tokens = torch.from_numpy(layers["ab"[name]]).flatten(2).transpose(1, 2)
            total = total + encoder.weights_[run, name] * member(tokens).numpy()
    np.testing.assert_allclose(encoder.predict(layers), total, atol=1e-5)
    np.testing.assert_allclose(encoder.query_shares().sum((0, 1)), 1, rtol=1e-6)
    with pytest.raises(ShapeMismatch, match="different grids"):
        encoder.routing_maps(layers)
    assert encoder.routing_maps(layers, layer="b").shape == (80, 2, 4, 4)
    with pytest.raises(ValueError, match="heads of different networks"):
        encoder.routing_maps(layers, layer="b", by_head=True)
    with pytest.raises(ValueError, match="layer must be 'a' or 'b'"):
        encoder.routing_maps(layers, layer="c")
    with pytest.raises(ShapeMismatch, match="must have the layers"):
        encoder.predict({"a": X})


def test_heads_average_to_the_map(scenes):
    X, Y = scenes[0][:40], scenes[1][:40]
    encoder = small(epochs=1).fit(X, Y)
    heads = encoder.routing_maps(X, by_head=True)
    assert heads.shape == (40, 2, 2, 5, 5)
    np.testing.assert_allclose(heads.mean(2), encoder.routing_maps(X), atol=1e-6)


@given(arrays(np.float64, (3, 4, 5), elements=st.floats(-1, 1)), st.floats(0, 1e4))
def test_weights_sum_to_one_whatever_the_correlations(r, sharpness):
    weights = ensemble_weights(r, sharpness)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum((0, 1)), 1, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(1), 1 / 3, rtol=1e-5)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 9))))
def test_every_voxel_listens_to_its_own_queries_in_equal_shares(masks):
    assume(masks.any(1).all())
    queries = resolve_queries(masks, None, masks.shape[1])
    shares = queries.patterns[queries.member].numpy()
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    expected = masks if masks.any(0).all() else np.concatenate([masks, ~masks.any(0)[None]])
    np.testing.assert_allclose(shares, (expected / expected.sum(0)).T, rtol=1e-6)


def test_moments_of_channels_keep_their_digits_and_read_only_the_rows_asked_for(rng):
    X = 1e4 + rng.standard_normal((50, 3, 4, 4)) * [[[1.0]], [[1e-2]], [[0.0]]]
    X[40:] = np.nan
    mean, scale = as_layers(X)["tokens"].moments(np.arange(40)[::-1])
    np.testing.assert_allclose(mean, X[:40].mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(scale, [X[:40, 0].std(), X[:40, 1].std(), 1], rtol=1e-6)


def test_rows_come_in_the_order_asked_for(rng):
    X = rng.standard_normal((9, 4, 2, 3))
    rows = np.array([5, 0, 8, 3])
    expected = X[rows].reshape(4, 4, 6).swapaxes(1, 2)
    for data in (X, torch.from_numpy(X)):
        np.testing.assert_array_equal(as_layers(data)["tokens"].read(rows), expected)


def test_equal_correlations_share_and_a_better_layer_wins():
    r = np.array([[[0.1, 0.5], [0.1, 0.0]], [[0.1, 0.5], [0.1, 0.0]]])
    np.testing.assert_allclose(ensemble_weights(r, 40.0)[:, 0], [[0.25, 0.5], [0.25, 0.5]], atol=1e-6)


def test_best_epoch_is_kept_and_training_stops_when_it_gets_no_better(scenes):
    X, Y = scenes[0][:100], scenes[1][:100]
    encoder = small(epochs=60, patience=3, learning_rate=0.05, validation=0.3).fit(X, Y)
    progress = encoder.progress_[0]
    assert progress.epoch == progress.best_epoch + 3 < 60
    assert progress.best_score == max(progress.history) == progress.history[progress.best_epoch - 1]
    _, val = encoder.splits_[0]
    assert len(val) == 30
    r = encoder.score_by_voxel(X[val], Y[val])
    np.testing.assert_allclose(encoder.validation_r_[0, 0], r, atol=1e-5)
    assert r.mean() == pytest.approx(progress.best_score, abs=1e-5)


def test_interrupted_training_ends_where_uninterrupted_training_does(scenes, tmp_path, monkeypatch):
    X, Y = scenes[0][:80], scenes[1][:80]
    whole = small(epochs=4, n_runs=2).fit(X, Y)
    calls, write = [], training._write

    def failing(*args):
        write(*args)
        calls.append(1)
        if len(calls) == 6:  # in the second run
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_write", failing)
    encoder = small(epochs=4, n_runs=2, checkpoint=tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        encoder.fit(X, Y)
    resumed = encoder.fit(X, Y)
    assert len(calls) == 8  # no epoch twice
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["run0-layer0.safetensors", "run1-layer0.safetensors"]


def test_more_epochs_go_on_from_the_checkpoint(scenes, tmp_path):
    X, Y = scenes[0][:80], scenes[1][:80]
    small(epochs=2, checkpoint=tmp_path).fit(X, Y)
    longer = small(epochs=5, checkpoint=tmp_path).fit(X, Y)
    np.testing.assert_array_equal(longer.predict(X), small(epochs=5).fit(X, Y).predict(X))


def test_checkpoints_of_other_data_or_settings_and_torn_ones_are_refused(scenes, tmp_path):
    X, Y = scenes[0][:80], scenes[1][:80]
    small(checkpoint=tmp_path).fit(X, Y)
    for encoder, y in ((small(checkpoint=tmp_path, dropout=0.2), Y), (small(checkpoint=tmp_path), Y + 1)):
        with pytest.raises(StaleStore, match="other data or other settings"):
            encoder.fit(X, y)
    file = tmp_path / "run0-layer0.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CorruptFile, match="Remove it"):
        small(checkpoint=tmp_path).fit(X, Y)


@pytest.mark.parametrize("queries", ["one", "voxels", QUERIES, np.eye(20, dtype=bool)[:3]])
def test_saved_encoders_come_back(scenes, tmp_path, queries):
    X, Y = scenes[0][:60], scenes[1][:60]
    layers = {"a": X, "b": X[:, :4]}
    encoder = small(queries=queries, n_runs=2, epochs=1).fit(layers, Y * 3 + 2)
    encoder.save(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]
    loaded = AttentionEncoder.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(layers), encoder.predict(layers))
    np.testing.assert_array_equal(loaded.routing_maps(layers), encoder.routing_maps(layers))
    assert loaded.queries_.names == encoder.queries_.names
    assert loaded.get_params()["n_runs"] == 2
    assert list(loaded.compare(layers, Y)) == ["attention"]
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.predict(layers), encoder.predict(layers))
    assert clone(loaded).fit(layers, Y).predict(layers).shape == (60, 20)


def test_torn_and_foreign_files_are_refused(scenes, tmp_path):
    from safetensors.torch import load_file, save_file

    from neuro.encoders.factorised import FactorisedEncoder

    small(epochs=1).fit(scenes[0][:40], scenes[1][:40]).save(tmp_path / "m")
    with pytest.raises(CorruptFile, match="holds a AttentionEncoder"):
        FactorisedEncoder.load(tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors["members.0.network.queries"] = torch.zeros(3, 8)
    save_file(tensors, tmp_path / "m" / "model.safetensors")
    with pytest.raises(CorruptFile, match="size mismatch"):
        AttentionEncoder.load(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CorruptFile, match="does not hold a whole"):
        AttentionEncoder.load(tmp_path / "m")


def test_predictions_carry_gradients_to_the_tokens(scenes):
    X, Y = torch.from_numpy(scenes[0][:40]), torch.from_numpy(scenes[1][:40])
    encoder = small(epochs=1).fit(X, Y)
    x = X[:3].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(encoder.predict(x)[:, 4].sum(), x)
    step = 1e-3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    change = (encoder.predict(X[:3] + step) - encoder.predict(X[:3] - step))[:, 4].sum() / 2
    assert float((gradient * step).sum()) == pytest.approx(float(change), rel=0.02)
    assert not encoder.predict(X).requires_grad


def test_units_of_tokens_and_responses_do_not_matter(scenes):
    X, Y = scenes[0][:60], scenes[1][:60]
    a = small().fit(X, Y).predict(X)
    b = small().fit(X * 100 + 5, Y * 1e-3 - 4).predict(X * 100 + 5)
    np.testing.assert_allclose((b + 4) * 1e3, a, atol=0.05)
    raw = small(standardize=False, epochs=1).fit(X, Y)
    np.testing.assert_array_equal(raw.members_[0].x_scale, 1)


def test_projection_serves_channels_that_no_head_count_divides(scenes):
    X, Y = scenes[0][:40, :7], scenes[1][:40]
    with pytest.raises(ValueError, match="even number of channels, got 7"):
        small(epochs=1).fit(X, Y)
    assert small(epochs=1, n_dims=6).fit(X, Y).predict(X).shape == (40, 20)


def responses(Y, hemi=True, atlases=True):
    table = pd.DataFrame({"hemi": ["L", "R"] * 10}) if hemi else 20
    labels = {"streams": np.array(["V1"] * 8 + [""] * 12), "faces": np.array([""] * 6 + ["FFA"] * 6 + [""] * 8)}
    trials = pd.DataFrame({"stimulus": np.repeat(np.arange(len(Y) // 2), 2)})
    return Responses(Y, trials=trials, voxels=Voxels(table, atlases=labels if atlases else None))


def test_regions_and_hemispheres_come_from_the_responses(scenes):
    X, Y = scenes[0][:60], scenes[1][:60]
    encoder = small(queries="rois", epochs=1).fit(X, responses(Y))
    assert encoder.queries_.names == (
        "L streams:V1",
        "L faces:FFA",
        "L unlabelled",
        "R streams:V1",
        "R faces:FFA",
        "R unlabelled",
    )
    np.testing.assert_array_equal(np.flatnonzero(encoder.queries_.voxels(1)), [6, 8, 10])
    readout = encoder.members_[0].network.readout
    shares = readout.patterns[encoder.queries_.member]
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_allclose(shares[6], [0.5, 0.5, 0, 0, 0, 0])  # of both regions: their mean, its intercept once
    train, val = encoder.splits_[0]
    assert not set(train // 2) & set(val // 2)  # repeats stay together
    assert small(queries="hemispheres", epochs=1).fit(X, responses(Y)).queries_.names == ("L", "R")
    assert encoder.score(X, responses(Y)) == pytest.approx(encoder.score(X, Y))
    with pytest.raises(ValueError, match="at least one atlas"):
        small(queries="rois").fit(X, responses(Y, atlases=False))
    with pytest.raises(ValueError, match="column 'hemi'"):
        small(queries="hemispheres").fit(X, responses(Y, hemi=False))


def test_voxels_of_no_query_share_one(scenes):
    encoder = small(queries={"few": [0, 1]}, epochs=1).fit(scenes[0][:40], scenes[1][:40])
    assert encoder.queries_.names == ("few", "unlabelled")
    assert encoder.queries_.voxels(1).sum() == 18


def test_flat_responses_give_flat_predictions(scenes):
    X, y = scenes[0][:40], scenes[1][:40, 0]
    encoder = small(queries="one", epochs=1, baselines=("ridge",)).fit(X, y)
    assert encoder.predict(X).shape == (40,)
    assert encoder.compare(X, y)["ridge"].shape == (1,)


def test_constant_voxels_and_channels_are_no_accident(scenes):
    X, Y = scenes[0][:60].copy(), scenes[1][:60].copy()
    X[:, 2], Y[:, 3] = 1e4, -7.0
    encoder = small(baselines=("ridge",)).fit(X, Y)
    assert np.isfinite(encoder.predict(X)).all()
    assert (encoder.validation_r_[..., 3] == 0).all()
    assert np.isnan(encoder.score_by_voxel(X, Y)[3])
    assert np.isfinite(encoder.score(X, Y))


@pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
def test_ridge_baseline_is_ridge_on_scaled_flat_tokens(scenes):
    X, Y = scenes[0][:80], scenes[1][:80]
    encoder = small(epochs=1, baselines=("ridge",)).fit(X, Y)
    flat = (X / X.astype(np.float64).std((0, 2, 3))[:, None, None]).reshape(80, 8, 25).swapaxes(1, 2).reshape(80, -1)
    ridge = RidgeCV(scoring="r2", extend_grid=True).fit(flat.astype(np.float32), Y)
    np.testing.assert_allclose(encoder.baselines_["ridge"].predict(X), ridge.predict(flat), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"queries": "areas"}, ValueError, "queries must be 'rois'"),
        ({"queries": "rois"}, TypeError, "reads regions from Responses"),
        ({"queries": {}}, EmptySelection, "at least one group"),
        ({"queries": {"a": []}}, ValueError, "indices"),
        ({"queries": {"a": np.zeros(20, bool)}}, EmptySelection, "'a' has no voxel"),
        ({"queries": {"a": [20]}}, ValueError, r"within 0\.\.19"),
        ({"queries": {"a": np.ones(19, bool)}}, ShapeMismatch, r"\(19,\)"),
        ({"queries": np.ones((2, 19), bool)}, ShapeMismatch, "masks of 19 voxels, y has 20"),
        ({"queries": np.ones((2, 20))}, ValueError, "boolean array"),
        ({"variant": "custom"}, ValueError, "variant must be"),
        ({"n_heads": 3}, ValueError, "8 channels and 3 heads"),
        ({"n_hidden": 0}, ValueError, "n_hidden must be"),
        ({"dropout": 1.0}, ValueError, "dropout must lie"),
        ({"epochs": 0}, ValueError, "epochs must be"),
        ({"n_runs": 1.5}, ValueError, "n_runs must be"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0"),
        ({"validation": 1.0}, ValueError, "validation must be a share"),
        ({"validation": 0.01}, ValueError, "change validation="),
        ({"baselines": "ridge"}, ValueError, "tuple of names"),
        ({"baselines": ("lasso",)}, ValueError, "baselines must be 'ridge' or 'factorised'"),
        ({"grid": (4, 5)}, ShapeMismatch, r"maps of 5 x 5, but grid=\(4, 5\)"),
        ({"device": "cuda:99"}, ValueError, "device must name"),
    ],
)
def test_impossible_settings_are_refused(scenes, arguments, error, words):
    with pytest.raises(error, match=words):
        small(**arguments).fit(scenes[0][:40], scenes[1][:40])


def test_impossible_data_is_refused(scenes):
    X, Y = scenes[0][:40], scenes[1][:40]
    bad_X, bad_Y = X.copy(), Y.copy()
    bad_X[:, 0, 0, 0], bad_Y[2, 1] = np.nan, np.inf
    tokens = X.reshape(40, 8, 25).swapaxes(1, 2)
    with_class = np.concatenate([tokens[:, :1], tokens], 1)
    for x, y, error, words in (
        (X[:, 0, 0], Y, ShapeMismatch, "must be maps"),
        (X[:30], Y, ShapeMismatch, "30 rows, y has 40"),
        (bad_X, Y, ValueError, "X contains NaN"),
        (X, bad_Y, ValueError, "1 of 20 voxels"),
        (torch.from_numpy(X), Y, TypeError, "both be tensors"),
        ({}, Y, EmptySelection, "empty dict"),
        ({"a": X, "b": X[:30]}, Y, ShapeMismatch, "same stimuli"),
        (with_class, Y, ShapeMismatch, "26 tokens, which is no square.*leave out the class token"),
        (X, Y[:, :0], ShapeMismatch, "y must be"),
    ):
        with pytest.raises(error, match=words):
            small().fit(x, y)
    encoder = small(epochs=1).fit(X, Y)
    for x in (X[:, :, :4, :4], X[:, :4], tokens[:, :16]):
        with pytest.raises(ShapeMismatch, match="5 x 5 and 8 channels, as in fit"):
            encoder.predict(x)
        with pytest.raises(ShapeMismatch, match="5 x 5 and 8 channels, as in fit"):
            encoder.routing_maps(x)
    with pytest.raises(ValueError, match="X contains NaN"):
        encoder.predict(bad_X)

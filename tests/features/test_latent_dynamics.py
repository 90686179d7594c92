"""Latent dynamics on a planted rotation: who learns it, what surprises, rollouts, files."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from neuro.errors import CorruptFile, DataNotDownloaded, ShapeMismatch
from neuro.features import LatentDynamics, fit_to_frames
from neuro.features._motion_dynamics import CTRNN, KINDS, LSTM, MLP

ANGLE, WIDTH = 0.4, 6
RECIPE = {"n_hidden": 24, "epochs": 40, "lr": 5e-3}


def rotation(n, seed, noise=0.02):
    """Latents of a plane that turns inside a space of six."""
    rng = np.random.default_rng(seed)
    c, s = np.cos(ANGLE), np.sin(ANGLE)
    z, out = rng.standard_normal(2), []
    plane = np.linalg.qr(np.random.default_rng(9).standard_normal((WIDTH, WIDTH)))[0][:, :2]
    for _ in range(n):
        z = np.array([[c, -s], [s, c]]) @ z + noise * rng.standard_normal(2)
        out.append(plane @ z)
    return np.array(out, dtype=np.float32)


@pytest.fixture(scope="module")
def movies():
    return [rotation(50, seed) for seed in range(6)]


@pytest.fixture(scope="module")
def new():
    return [rotation(50, seed) for seed in range(100, 103)]


@pytest.fixture(scope="module")
def fitted(movies):
    return {kind: LatentDynamics(kind, **RECIPE).fit(movies) for kind in KINDS}


@pytest.mark.parametrize("kind", ["lstm", "ctrnn", "mlp"])
def test_dynamics_are_learned(fitted, new, kind):
    assert fitted["identity"].score(new) < 0.9  # 1 - 2 (1 - cos 0.4) = 0.84 for a pure rotation
    assert fitted[kind].score(new) > 0.99
    assert fitted[kind].losses_[-1] < 0.1 * fitted[kind].losses_[0]


@pytest.mark.parametrize("kind", ["lstm", "ctrnn", "mlp"])
def test_rollouts_go_on_turning(fitted, new, kind):
    context, future = new[0][:10], new[0][10:16]
    found = fitted[kind].rollout(context, 6)
    assert found.shape == (6, WIDTH)
    assert np.square(found - future).mean() < 0.1 * np.square(fitted["identity"].rollout(context, 6) - future).mean()


def test_identity_scores_what_a_rotation_leaves(fitted):
    clean = rotation(400, 0, noise=0)
    assert fitted["identity"].score(clean) == pytest.approx(1 - 2 * (1 - np.cos(ANGLE)), abs=5e-3)
    np.testing.assert_array_equal(fitted["identity"].rollout(clean[:7], 3), clean[[6, 6, 6]])


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_rollout_feeds_on_its_own_predictions(fitted, new, kind):
    dynamics, past = fitted[kind], new[0][:9]
    for state in dynamics.rollout(past, 4):
        np.testing.assert_allclose(dynamics.predict_next(past), state, atol=1e-6)
        past = np.concatenate([past, state[None]])
    np.testing.assert_array_equal(dynamics.rollout(past[-7:], 2), dynamics.rollout(past, 2))


def test_surprise_rises_where_something_happens(fitted, new):
    movie = new[1].copy()
    movie[30:] *= -1  # the state jumps to the other side, and turns on as before
    found = fitted["lstm"].features(movie)
    surprise = found["surprise"]
    assert surprise[30] > 10 * np.nanmedian(surprise)
    assert np.nanargmax(surprise) in range(30, 37)
    assert surprise[38:].max() < 0.5 * surprise[30]


def test_features_are_predictions_from_the_frames_before(fitted, new):
    movie, dynamics = new[2], fitted["ctrnn"]
    found = dynamics.features(movie)
    assert found["valid"].tolist() == [False] * 7 + [True] * 43
    assert np.isnan(found["predicted"][:7]).all()
    for t in (7, 20, 49):
        np.testing.assert_allclose(found["predicted"][t], dynamics.predict_next(movie[t - 7 : t]), atol=1e-6)
    np.testing.assert_allclose(found["error"][7:], (movie - found["predicted"])[7:])
    np.testing.assert_allclose(found["surprise"][7:], np.linalg.norm(found["error"][7:], axis=1), rtol=1e-5)
    later = movie.copy()
    later[30:] = 0
    np.testing.assert_array_equal(dynamics.features(later)["predicted"][7:30], found["predicted"][7:30])
    short = dynamics.features(movie[:5])
    assert not short["valid"].any()


def test_stride_predicts_further(new):
    movies = [rotation(80, seed) for seed in range(4)]
    dynamics = LatentDynamics("mlp", n_past=3, stride=4, **RECIPE).fit(movies)
    found = dynamics.features(new[0])
    assert found["valid"].sum() == 50 - 12
    np.testing.assert_allclose(found["predicted"][20], dynamics.predict_next(new[0][[8, 12, 16]]), atol=1e-6)
    assert dynamics.score(new) > 0.95
    assert LatentDynamics("identity", n_past=3, stride=4).fit(movies).score(new) < 0.2


def test_standardising_makes_units_irrelevant(movies, new):
    scale = np.array([1e-3, 1, 1e3, 1, 1, 10], dtype=np.float32)
    options = {**RECIPE, "epochs": 15, "standardise": True}
    plain = LatentDynamics("mlp", **options).fit(movies)
    scaled = LatentDynamics("mlp", **options).fit([m * scale + 5 for m in movies])
    np.testing.assert_allclose(
        scaled.predict_next(new[0] * scale + 5), plain.predict_next(new[0]) * scale + 5, rtol=2e-2, atol=2e-2
    )


def test_a_constant_feature_stays_constant():
    movie = np.concatenate([rotation(40, 0), np.full((40, 1), 3.0)], 1)
    dynamics = LatentDynamics("mlp", standardise=True, **RECIPE).fit(movie)
    assert dynamics.predict_next(movie[:7])[-1] == pytest.approx(3, abs=0.2)


def test_seeds_make_the_numbers(movies):
    options = {**RECIPE, "epochs": 2}
    before = torch.random.get_rng_state()
    a, b, c = (LatentDynamics("lstm", **options, seed=s).fit(movies) for s in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(a.predict_next(movies[0]), b.predict_next(movies[0]))
    assert not np.array_equal(a.predict_next(movies[0]), c.predict_next(movies[0]))
    np.testing.assert_array_equal(clone(a).fit(movies).losses_, a.losses_)


def test_movies_are_never_joined():
    """Between two movies that stand still at different places nothing ever moves."""
    still = [np.full((20, 2), v, np.float32) for v in (-1.0, 1.0)]
    assert LatentDynamics("identity").fit(still).losses_[0] == 0
    assert LatentDynamics("identity").fit(np.stack(still)).losses_[0] == 0
    assert LatentDynamics("identity").fit(np.concatenate(still)).losses_[0] > 0


def test_kinds_of_input_agree(fitted, new):
    dynamics = fitted["lstm"]
    stacked = np.stack(new)
    found = dynamics.predict_next(stacked)
    assert found.shape == (3, WIDTH)
    np.testing.assert_allclose(found[1], dynamics.predict_next(new[1]), atol=1e-6)
    tensor = dynamics.predict_next(torch.from_numpy(new[1]))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor, dynamics.predict_next(new[1]))
    assert dynamics.rollout(stacked, 2).shape == (3, 2, WIDTH)
    assert isinstance(dynamics.features(torch.from_numpy(new[0]))["surprise"], torch.Tensor)


def test_the_ctrnn_is_the_published_equation(rng):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CTRNN(3, 7, 10)
    past = rng.standard_normal((2, 7, 3)).astype(np.float32)
    W, inward = network.recurrent.detach().numpy(), network.inward
    a = np.zeros((2, 10))
    for t in range(7):
        h = np.maximum(np.tanh(a), 0)
        a = a + 1 / 10 * (-a + h @ W.T + past[:, t] @ inward.weight.detach().numpy().T + inward.bias.detach().numpy())
    with torch.no_grad():
        h = torch.from_numpy(np.maximum(np.tanh(a), 0).astype(np.float32))
        np.testing.assert_allclose(network(torch.from_numpy(past)), network.out(network.outward(h)), atol=1e-5)


def test_networks_have_the_published_sizes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ctrnn = CTRNN(384, 7, 1024)
        assert ctrnn.recurrent.std().item() == pytest.approx(1.5 / 32, rel=0.01)
        assert ctrnn.outward.weight.shape == (1024, 1024)
        assert LSTM(384, 7, 1024).core.weight_hh_l0.shape == (4096, 1024)
        assert MLP(384, 7, 1024).layers[1].weight.shape == (1024, 7 * 384)
    assert LatentDynamics().get_params() == {
        **{"kind": "lstm", "n_past": 7, "n_hidden": 1024, "stride": 1, "epochs": 100, "batch_size": 32},
        **{"lr": 1e-4, "standardise": False, "seed": 0, "device": None},
    }


def test_stretching_in_time_is_linear():
    latents = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 2.0]])
    np.testing.assert_allclose(fit_to_frames(latents, 5)[:, 0], [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(fit_to_frames(latents, 5)[:, 1], [1, 2, 3, 2.5, 2])
    np.testing.assert_allclose(fit_to_frames(latents, 3), latents)
    np.testing.assert_allclose(fit_to_frames(latents[:1], 4), np.repeat(latents[:1], 4, 0))


@pytest.mark.parametrize("kind", list(KINDS))
def test_saved_dynamics_are_the_same(fitted, new, kind, tmp_path):
    back = LatentDynamics.load(fitted[kind].save(tmp_path / "dynamics.safetensors"))
    np.testing.assert_array_equal(back.rollout(new[0], 5), fitted[kind].rollout(new[0], 5))
    np.testing.assert_array_equal(back.losses_, fitted[kind].losses_)
    assert back.get_params() == fitted[kind].get_params()


def test_files_that_are_none_are_refused(fitted, tmp_path):
    with pytest.raises(DataNotDownloaded, match="no file"):
        LatentDynamics.load(tmp_path / "nothing")
    (tmp_path / "junk").write_bytes(b"\x08\0\0\0\0\0\0\0junkjunk")
    with pytest.raises(CorruptFile, match="not a whole safetensors"):
        LatentDynamics.load(tmp_path / "junk")
    path = fitted["mlp"].save(tmp_path / "mlp.safetensors")
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    tensors.pop("mean")
    save_file(tensors, path, metadata={"format": "neuro latent dynamics 1", "settings": "{}"})
    with pytest.raises(CorruptFile, match="does not hold the weights"):
        LatentDynamics.load(path)


# What is refused


@pytest.mark.parametrize(
    ("latents", "error", "message"),
    [
        (np.zeros((7, 3)), ShapeMismatch, "n_past=7 latents and the next, 1 frames apart, are 8 frames; .* has 7"),
        (np.zeros((20, 3, 4, 4)), ShapeMismatch, "4 axes: flatten or pool"),
        ([np.zeros((20, 3)), np.zeros((20, 4))], ShapeMismatch, r"same features, got \[3, 4\]"),
        ([np.zeros((20, 3)), np.zeros(20)], ShapeMismatch, r"\(n_frames, n_features\), got \(20,\)"),
        ([], ShapeMismatch, "at least one movie"),
        ([np.zeros((20, 3)), np.full((20, 3), np.nan)], ValueError, "movie 1 holds NaN"),
    ],
)
def test_bad_latents_are_refused(latents, error, message):
    with pytest.raises(error, match=message):
        LatentDynamics("identity").fit(latents)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gru"}, "kind must be 'lstm', 'ctrnn', 'mlp' or 'identity'"),
        ({"n_past": 0}, "n_past must be"),
        ({"stride": 1.5}, "stride must be"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LatentDynamics(**options).fit(np.zeros((20, 3)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="sees no GPU"):
        LatentDynamics("identity", device="cuda").fit(np.zeros((20, 3)))


def test_bad_contexts_are_refused(fitted, new):
    with pytest.raises(ShapeMismatch, match="at least n_past=7 latents, got 6"):
        fitted["mlp"].predict_next(new[0][:6])
    with pytest.raises(ShapeMismatch, match="6 features, as in fit, got 5"):
        fitted["mlp"].features(new[0][:, :5])
    with pytest.raises(ValueError, match="n must be"):
        fitted["mlp"].rollout(new[0], 0)
    with pytest.raises(ShapeMismatch, match="a score needs two"):
        fitted["mlp"].score(new[0][:8])
    with pytest.raises(NotFittedError):
        LatentDynamics().predict_next(new[0])

"""DemoVAE: its losses in closed form, and what was planted comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.decoders.demovae import (
    WEIGHTS,
    DemoVAE,
    DemoVAENetwork,
    decorrelation_loss,
    demovae_terms,
    mean_loss,
    rmse,
    whiteness_loss,
)
from neuro.errors import ShapeMismatch, TrainingDiverged


@pytest.fixture
def white(rng):
    """Z with mean exactly 0 and covariance exactly I, and demographics exactly uncorrelated with it."""
    A = rng.standard_normal((200, 8))
    A -= A.mean(0)
    U = np.linalg.svd(A, full_matrices=False)[0] * np.sqrt(200)
    return torch.from_numpy(U[:, :6]), torch.from_numpy(U[:, 6:] + 3.0)


def test_latent_losses_are_zero_for_white_z(white):
    z, d = white
    for loss in (whiteness_loss(z), mean_loss(z), decorrelation_loss(z, d)):
        assert loss.item() == pytest.approx(0, abs=1e-12)


def test_whiteness_in_closed_form(white):
    z, _ = white
    assert whiteness_loss(2 * z).item() == pytest.approx(3 / np.sqrt(6))  # diagonal 4 instead of 1
    assert whiteness_loss(z + 5).item() == pytest.approx(0, abs=1e-12)  # a shift is the mean's business
    assert mean_loss(z + 5).item() == pytest.approx(5)
    doubled = torch.cat([z, z])
    assert whiteness_loss(2 * doubled).item() == pytest.approx(whiteness_loss(2 * z).item())  # of any batch size


def test_each_column_of_demographics_counts_once(white):
    z, d = white
    mixed = d + z[:, :2] * torch.tensor([0.7, 2.0])
    single = [decorrelation_loss(z, mixed[:, [i]]).item() for i in range(2)]
    assert decorrelation_loss(z, mixed).item() == pytest.approx(sum(single))
    three = torch.cat([mixed, mixed[:, :1]], 1)
    assert decorrelation_loss(z, three).item() == pytest.approx(2 * single[0] + single[1])


def test_decorrelation_is_that_of_numpy(rng):
    z, d = rng.standard_normal((50, 4)), rng.standard_normal((50, 2))
    r = np.corrcoef(z.T, d.T)[:4, 4:]
    assert decorrelation_loss(torch.from_numpy(z), torch.from_numpy(d)).item() == pytest.approx(
        np.sqrt((r**2).mean(0)).sum()
    )


def test_losses_have_finite_gradients_where_they_are_zero():
    z = torch.zeros(5, 3, requires_grad=True)
    terms = demovae_terms(z, z.detach(), z, torch.ones(5, 2))
    torch.stack(list(terms.values())).sum().backward()
    assert torch.isfinite(z.grad).all()
    assert rmse(torch.tensor([3.0, 4.0])).item() == pytest.approx(np.sqrt(12.5))


def test_sizes_as_published():
    with torch.device("meta"):
        network = DemoVAENetwork(34716, 4)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert count["encoder"] == 34716 * 1000 + 1000 + 1000 * 60 + 60
    assert count["decoder"] == 64 * 1000 + 1000 + 1000 * 34716 + 34716
    assert DemoVAE().get_params()["n_latent"] == 60
    assert WEIGHTS["whiteness"] == DemoVAE().batch_size


N = 400


@pytest.fixture(scope="module")
def people():
    """X = age pattern + sex pattern + three hidden traits + noise; age and sex explain much."""
    rng = np.random.default_rng(3)
    age, sex = rng.uniform(20, 60, N), rng.choice(["f", "m"], N)
    traits = rng.standard_normal((N, 3))
    patterns = np.linalg.qr(rng.standard_normal((20, 5)))[0].T * 3
    x = ((age - 40) / 11.5)[:, None] * patterns[0] + np.where(sex == "f", 1.0, -1.0)[:, None] * patterns[1]
    x = x + traits @ patterns[2:] + 0.3 * rng.standard_normal((N, 20))
    return x, {"age": age, "sex": sex}, traits, patterns


@pytest.fixture(scope="module")
def fitted(people):
    x, demographics, _, _ = people
    # Few steps: the published weight of whiteness needs many to let the other terms through.
    settings = dict(n_epochs=400, batch_size=400, learning_rate=3e-3, n_generated=50, weights={"whiteness": 30.0})
    return DemoVAE(n_latent=3, width=64, **settings).fit(x, demographics)


def test_planted_effect_of_demographics_is_read_from_generated_samples_by_the_frozen_models(fitted):
    wanted = {"age": np.repeat([25.0, 40.0, 55.0], 100), "sex": np.tile(["f", "m"], 150)}
    read = fitted.guidance_.read(fitted.sample(wanted))
    assert np.corrcoef(read["age"], wanted["age"])[0, 1] > 0.9
    assert [read["age"][wanted["age"] == a].mean() for a in (25, 40, 55)] == pytest.approx([25, 40, 55], abs=5)
    assert (read["sex"].to_numpy() == wanted["sex"]).mean() > 0.95


def test_samples_move_along_the_planted_pattern(fitted, people):
    _, _, _, patterns = people
    old, young = (fitted.sample({"age": a, "sex": "f"}, 200).mean(0) for a in (55.0, 25.0))
    shift = old - young
    assert shift @ patterns[0] / np.linalg.norm(shift) / np.linalg.norm(patterns[0]) > 0.95
    assert np.linalg.norm(shift) == pytest.approx(30 / 11.5 * 3, rel=0.2)


def test_latent_is_free_of_demographics_and_keeps_the_traits(fitted, people):
    x, demographics, traits, _ = people
    z = fitted.latent(x)
    centred = np.column_stack([np.ones(N), z])
    for d in (demographics["age"], demographics["sex"] == "f"):
        assert max(abs(np.corrcoef(z.T, d)[-1, :-1])) < 0.15
    for trait in traits.T:
        residual = trait - centred @ np.linalg.lstsq(centred, trait, rcond=None)[0]
        assert residual.var() < 0.15 * trait.var()


def test_without_the_decorrelation_term_the_latent_knows_the_demographics(people):
    x, demographics, _, _ = people
    settings = dict(n_latent=5, width=64, n_epochs=150, batch_size=400, learning_rate=3e-3, n_generated=20)
    r = []
    for weight in (10.0, 0.0):
        weights = {"whiteness": 30.0, "guidance": 0.0, "decorrelation": weight}
        z = DemoVAE(**settings, weights=weights).fit(x, demographics).latent(x)
        r.append([abs(np.corrcoef(z.T, d)[-1, :-1]).max() for d in (demographics["age"], demographics["sex"] == "f")])
    assert max(r[0]) < 0.1 < 0.3 < max(r[1])


def test_removing_confounds_removes_them_and_keeps_the_traits(fitted, people):
    x, demographics, traits, _ = people
    clean = fitted.remove_confounds(x)
    assert fitted.demographics_.reference["age"] == pytest.approx(demographics["age"].mean())

    def explained(data, d):
        A = np.column_stack([np.ones(N), data])
        return 1 - np.var(d - A @ np.linalg.lstsq(A, d, rcond=None)[0]) / np.var(d)

    assert explained(x, demographics["age"]) > 0.9
    assert explained(clean, demographics["age"]) < 0.2
    assert explained(clean, traits[:, 0]) > 0.85
    np.testing.assert_allclose(clean, fitted.reconstruct(x, fitted.demographics_.reference))


def test_same_seed_same_model_and_samples_and_the_global_generator_is_left_alone(people):
    x, demographics, _, _ = people
    state = torch.get_rng_state()
    models = [DemoVAE(n_latent=2, width=16, n_epochs=3).fit(x, demographics) for _ in range(2)]
    a, b = (m.sample({"age": 30.0, "sex": "m"}, 3) for m in models)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, models[0].sample({"age": 30.0, "sex": "m"}, 3, random_state=1))
    assert torch.equal(state, torch.get_rng_state())


def test_batches_are_of_equal_size(people, monkeypatch):
    x, demographics, _, _ = people
    seen = []
    original = DemoVAENetwork.decode

    def spy(self, z, d):
        seen.append(len(z))
        return original(self, z, d)

    monkeypatch.setattr(DemoVAENetwork, "decode", spy)
    DemoVAE(n_latent=2, width=8, n_epochs=1, batch_size=150, n_generated=7).fit(x, demographics)
    assert seen == [134, 7, 133, 7, 133, 7]


def test_numbers_can_be_declared_categories(people):
    x, demographics, _, _ = people
    site = np.where(demographics["sex"] == "f", 3, 1)
    model = DemoVAE(n_latent=2, width=8, n_epochs=1, categorical=["site"]).fit(x, {"site": site})
    assert model.demographics_.categories == {"site": [1, 3]}
    assert model.sample({"site": [1, 3, 3]}, 2).shape == (6, 20)


def test_bad_input_is_refused(people, fitted):
    x, demographics, _, _ = people
    with pytest.raises(ShapeMismatch, match="describe 400 people, the data 10"):
        DemoVAE().fit(x[:10], demographics)
    with pytest.raises(ValueError, match="'age' has one value only"):
        DemoVAE().fit(x, {"age": np.ones(N)})
    with pytest.raises(ValueError, match="missing for some people"):
        DemoVAE().fit(x, {"age": np.where(np.arange(N) == 3, np.nan, demographics["age"])})
    with pytest.raises(ValueError, match=r"sex 'x' was not among.*\['f', 'm'\]"):
        fitted.sample({"age": 3.0, "sex": "x"})
    with pytest.raises(ValueError, match="lack sex"):
        fitted.sample({"age": 3.0})
    with pytest.raises(ShapeMismatch, match="fitted to 20 features, got 5"):
        fitted.latent(x[:, :5])
    with pytest.raises(ValueError, match="weights must be"):
        DemoVAE(weights={"kl": 1.0}).fit(x, demographics)
    with pytest.raises(TrainingDiverged, match="epoch"):
        DemoVAE(n_latent=2, width=8, n_epochs=20, learning_rate=1e20).fit(x, demographics)

"""The network for M/EEG: attention over places, dilated convolutions, and a planted signal learned by the loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neuro.datasets.phantom.sensors import sensor_positions, simulate_sensors
from neuro.decoders.meg import (
    DilatedBlock,
    SpatialAttention,
    SubjectSensors,
    TimeAffine,
    candidate_info_nce,
    fourier_basis,
    scaled_positions,
    sensor_loss,
)
from neuro.decoders.neural import NeuralDecoder
from neuro.decoders.recipes.meg import meg_network, meg_recipe
from neuro.decoders.training import TrainingSettings, train
from neuro.errors import EmptySelection, ShapeMismatch, UnknownSubject

POSITIONS = sensor_positions(20)


def small(**sizes):
    defaults = dict(n_times=30, n_outputs=10, n_harmonics=4, width=12, embedding=16, dim=6)
    return meg_network({1: 20}, "phantom", positions=POSITIONS, **{**defaults, **sizes})


def test_attention_weights_of_each_channel_sum_to_one():
    attention = SpatialAttention(n_outputs=30, n_harmonics=8)
    basis = fourier_basis(POSITIONS, 8)
    weights = attention.weights(basis)
    assert weights.shape == (30, 20)
    torch.testing.assert_close(weights.sum(1), torch.ones(30))
    dropped = torch.arange(20) < 15
    weights = attention.weights(basis, dropped)
    torch.testing.assert_close(weights.sum(1), torch.ones(30))
    assert (weights[:, dropped] == 0).all()


def test_scores_are_the_fourier_series_of_the_paper(rng):
    K = 3
    attention = SpatialAttention(n_outputs=2, n_harmonics=K)
    z = attention.coefficients.detach().numpy().reshape(2, 2, K, K)
    x, y = scaled_positions(POSITIONS).T
    want = np.zeros((2, 20))
    for o in range(2):
        for k in range(K):
            for l in range(K):
                angle = 2 * np.pi * (k * x + l * y)
                want[o] += z[o, 0, k, l] * np.cos(angle) + z[o, 1, k, l] * np.sin(angle)
    want = np.exp(want) / np.exp(want).sum(1, keepdims=True)
    got = attention.weights(fourier_basis(POSITIONS, K)).detach().numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_uniform_attention_is_the_mean_of_the_sensors():
    attention = SpatialAttention(3, 4, dropout=0)
    torch.nn.init.zeros_(attention.coefficients)
    x = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(0))
    out = attention(x, fourier_basis(POSITIONS, 4), torch.tensor(POSITIONS))
    torch.testing.assert_close(out, x.mean(1, keepdim=True).expand(2, 3, 5))


def test_sensors_without_a_place_are_not_used():
    positions = POSITIONS.copy()
    positions[4] = np.nan
    own = SubjectSensors(20, positions, 5, 4)
    attention = SpatialAttention(5, 4)
    x = torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, 4] = 1e6
    torch.testing.assert_close(own.eval()(x, attention.eval()), own(changed, attention))
    with pytest.raises(EmptySelection, match="no sensor has a position"):
        fourier_basis(np.full((3, 2), np.nan))


def test_dropout_leaves_out_the_sensors_near_one_of_them():
    attention = SpatialAttention(5, 4, dropout=0.2)
    places = torch.from_numpy(scaled_positions(POSITIONS))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [attention.draw_dropped(places) for _ in range(40)]
    distance = torch.cdist(places, places)
    for dropped in drawn:
        assert 0 < dropped.sum() < 20
        assert any(torch.equal(dropped, near) for near in distance <= 0.2)
    assert len({tuple(d.tolist()) for d in drawn}) > 5
    everything = SpatialAttention(5, 4, dropout=5.0).draw_dropped(places)
    assert not everything.any()


def test_order_of_sensors_does_not_matter_only_their_places(rng):
    x = torch.from_numpy(rng.standard_normal((3, 20, 30))).float()
    order = rng.permutation(20)
    outputs = []
    for positions, data in ((POSITIONS, x), (POSITIONS[order], x[:, order])):
        network = meg_network({1: 20}, "phantom", positions=positions, n_times=30, dim=6).eval()
        outputs.append(network(data, 1)["contrastive_embedding"])
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


def test_dilations_are_the_published_ones_and_blocks_keep_the_length():
    assert [DilatedBlock(4, 4, k).dilations for k in range(5)] == [(1, 2), (4, 8), (16, 1), (2, 4), (8, 16)]
    for k in range(3):
        assert DilatedBlock(6, 8, k).eval()(torch.zeros(2, 6, 40)).shape == (2, 8, 40)


def test_a_block_sees_as_far_as_its_dilations_say():
    block = DilatedBlock(1, 4, 1).eval()  # dilations 4, 8, then 2 at the gate
    x = torch.zeros(1, 1, 101, requires_grad=True)
    block(x)[0, :, 50].sum().backward()
    reach = x.grad[0, 0].nonzero()[:, 0] - 50
    assert (reach.min().item(), reach.max().item()) == (-14, 14)


def test_affine_over_time_starts_as_the_mean():
    x = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(TimeAffine(9)(x), x.mean(-1))


def test_contrast_in_closed_form():
    eye = torch.eye(6)
    assert candidate_info_nce(eye, 7 * eye).item() == pytest.approx(math.log(1 + 5 / math.e), abs=1e-6)
    assert candidate_info_nce(3 * eye, eye).item() == pytest.approx(math.log(1 + 5 * math.exp(-3)), abs=1e-6)
    assert candidate_info_nce(torch.zeros(6, 6), eye).item() == pytest.approx(math.log(6), abs=1e-6)


def test_repeats_of_an_image_are_one_candidate():
    pred, target = torch.eye(4)[[0, 1, 0, 2]], torch.eye(4)[[0, 1, 0, 2]]
    assert candidate_info_nce(pred, target).item() == pytest.approx(math.log(1 + 2 / math.e), abs=1e-6)


def test_loss_balances_contrast_and_regression(rng):
    said, wanted = (torch.from_numpy(rng.standard_normal((5, 3))).float() for _ in range(2))
    outputs = {"contrastive_embedding": said, "regressed_embedding": 2 * said}
    assert sensor_loss(outputs, wanted, 1.0) == candidate_info_nce(said, wanted)
    assert sensor_loss(outputs, wanted, 0.0) == F.mse_loss(2 * said, wanted)
    mixed = 0.75 * candidate_info_nce(said, wanted) + 0.25 * F.mse_loss(2 * said, wanted)
    torch.testing.assert_close(sensor_loss(outputs, wanted), mixed)


def test_published_sizes():
    with torch.device("meta"):
        network = meg_network({1: 272, 2: 272}, "nsd", positions=sensor_positions(272))
    count = sum(p.numel() for p in network.parameters())
    conv = [(270, 320), (320, 320), (320, 320), (320, 320)]
    want = 270 * 2 * 32**2 + 2 * 270**2
    want += sum(3 * a * b + b + 2 * b for a, b in conv) + 2 * (3 * 320 * 640 + 640)
    want += 320 * 2048 + 2048 + 121 + 2 * (2 * 2048 + 2048 * 1536 + 1536)
    assert count == want


def test_a_new_subject_leaves_what_others_say_as_it_was(rng):
    network = small().eval()
    x = torch.from_numpy(rng.standard_normal((2, 20, 30))).float()
    before = network(x, 1)["regressed_embedding"]
    network.add_subject(2, 13, positions=sensor_positions(13))
    assert torch.equal(network(x, 1)["regressed_embedding"], before)
    assert network(torch.zeros(1, 13, 30), 2)["regressed_embedding"].shape == (1, 6)
    assert network.n_voxels == {"1": 20, "2": 13}


def test_layouts_differ_in_the_order_of_axes_only(rng):
    x = torch.from_numpy(rng.standard_normal((2, 20, 30))).float()
    a = small().eval()(x, 1)["regressed_embedding"]
    other = meg_network(
        {1: 20}, "phantom", positions=POSITIONS, layout="times_sensors",
        n_times=30, n_outputs=10, n_harmonics=4, width=12, embedding=16, dim=6,
    ).eval()  # fmt: skip
    torch.testing.assert_close(other(x.transpose(1, 2), 1)["regressed_embedding"], a)


class Task:
    """Single trials of all subjects, an equal share of each per batch."""

    n_batches = 8
    identity = {"task": "planted"}  # noqa: RUF012

    def __init__(self, recipe, X, target, stimulus):
        self.recipe, self.X, self.target, self.stimulus = recipe, X, target, stimulus

    def losses(self, network, place):
        inputs, outputs, targets = {}, {}, {}
        for i, (s, x) in enumerate(self.X.items()):
            rows = place.rng(i).permutation(len(x))[:48]
            inputs[s] = x[rows]
            outputs[s] = network(inputs[s], s)
            targets[s] = {"image_embedding": self.target[self.stimulus[s][rows]]}
        own = network.own_losses(inputs, outputs, targets, torch.Generator())
        said = torch.cat([o["regressed_embedding"] for o in outputs.values()])
        wanted = torch.cat([t["image_embedding"] for t in targets.values()])
        contrast, regression = self.recipe.losses
        mse = F.mse_loss(said, wanted)
        return {"contrast": contrast.weight * own["contrast"], "regression": regression.weight * mse}

    def validate(self, network):
        return None


def test_loop_learns_a_planted_signal_of_two_people_and_finds_new_images():
    images = np.random.default_rng(0).standard_normal((150, 6)).astype(np.float32)
    meg = simulate_sensors(images, n_subjects=2, n_sensors=20, n_repeats=4, snr=2.0, seed=2, times=np.arange(30) / 50)
    sizes = dict(n_times=30, n_outputs=16, n_harmonics=5, width=16, embedding=32, dim=6, sensor_dropout=0.0)
    recipe = meg_recipe("phantom", positions=meg.positions, **sizes)
    network = recipe.network({1: 20, 2: 20}, torch.Generator().manual_seed(0))
    X, stimulus, held = {}, {}, {}
    for s, r in meg.responses.items():
        x = torch.from_numpy(r.to_numpy())
        train_rows = r.stimulus < 110
        X[s], stimulus[s] = x[train_rows], r.stimulus[train_rows]
        held[s] = x[~train_rows], r.stimulus[~train_rows]
    settings = TrainingSettings(epochs=12, learning_rate=4e-3, weight_decay=1e-2, seed=1)
    result = train(network, Task(recipe, X, torch.from_numpy(images), stimulus), settings)
    assert result.history[-1]["regression"] < 0.9 * result.history[0]["regression"]
    for s, (x, ids) in held.items():
        with torch.no_grad():
            out = network(x, s)
        for name in ("contrastive_embedding", "regressed_embedding"):
            said = np.stack([out[name].numpy()[ids == i].mean(0) for i in range(110, 150)])
            r = np.corrcoef(said, images[110:])[:40, 40:]
            two_way = (r < np.diag(r)[:, None]).sum(1).mean() / 39
            assert two_way > 0.75, (s, name, two_way)


def test_recipe_runs_through_the_neural_decoder_and_takes_in_a_new_person(rng):
    images = rng.standard_normal((40, 6)).astype(np.float32)
    meg = simulate_sensors(images, n_subjects=2, n_sensors=20, times=np.arange(30) / 50)
    sizes = dict(n_times=30, n_outputs=10, n_harmonics=4, width=12, embedding=16, dim=6)
    recipe = meg_recipe("phantom", positions=meg.positions, layout="times_sensors", **sizes).with_settings(epochs=2)
    X = {s: r.to_numpy().transpose(0, 2, 1) for s, r in meg.responses.items()}
    ids = {s: r.stimulus for s, r in meg.responses.items()}
    known = {s: ids[s] < 30 for s in X}
    decoder = NeuralDecoder(recipe).fit({1: X[1][known[1]]}, {"image_embedding": images}, {1: ids[1][known[1]]})
    decoder.reset_tune(2, X[2][known[2]], {"image_embedding": images}, ids[2][known[2]], epochs=1)
    decoded = decoder.predict(X[2][~known[2]], ids[2][~known[2]], 2)
    assert decoded["image_embedding"].shape == decoded["contrastive_embedding"].shape == (10, 6)


def test_bad_input_is_refused():
    network = small()
    with pytest.raises(ShapeMismatch, match="20 sensors and windows of 30 samples"):
        network(torch.zeros(2, 20, 31), 1)
    with pytest.raises(UnknownSubject, match="no adapter for subject 9"):
        network(torch.zeros(2, 20, 30), 9)
    with pytest.raises(ShapeMismatch, match="one place per sensor"):
        meg_network({1: 5}, "phantom", positions=POSITIONS)
    with pytest.raises(ShapeMismatch, match="no sensor positions for subject 2"):
        meg_network({2: 20}, "phantom", positions={1: POSITIONS})
    with pytest.raises(ShapeMismatch, match="in a plane"):
        fourier_basis(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="balance must lie between 0 and 1"):
        meg_recipe("phantom", positions=POSITIONS, balance=2)
    with pytest.raises(ValueError, match="no size 'widht'; did you mean"):
        meg_recipe("phantom", positions=POSITIONS, widht=3)

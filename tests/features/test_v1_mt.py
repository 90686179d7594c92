"""The V1-MT model: its parametrisation against the formulas, tuning to gratings and plaids, training, files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from neuro.data.clips import Clips
from neuro.errors import CorruptFile, DataNotDownloaded, ShapeMismatch, StaleStore
from neuro.features import (
    V1MT,
    direction_tuning,
    drifting_grating,
    end_point_error,
    opponent_pooling,
    plaid_tuning,
    speed_tuning,
    train_flow,
)
from neuro.features._motion_tuning import partial_correlations
from neuro.features._v1_mt_energy import SCALE
from neuro.features._v1_mt_integration import ConvGRU, FlowDecoder, Integration, positions, upsample
from neuro.features._v1_mt_training import one_cycle, sequence_loss

SIDE = 64
SMALL = {"n_scales": 2, "n_units": 16, "n_iterations": 2}


@pytest.fixture(scope="module")
def model():
    return V1MT(n_scales=3, n_iterations=2).eval()


def energies(model, clips):
    """Stage 1 before normalisation, averaged over the places that no border touches."""
    with torch.no_grad():
        return model.v1.energy(torch.as_tensor(clips))[..., 3:-3, 3:-3].mean((2, 3)).numpy()


def grating_for(unit, direction=None, contrast=1.0):
    return drifting_grating(
        unit.direction if direction is None else direction,
        unit.spatial_frequency * SIDE,
        unit.temporal_frequency,
        size=(SIDE, SIDE),
        n_frames=11,
        fps=1,
        contrast=contrast,
    )


MOVIE = {"size": (SIDE, SIDE), "n_frames": 11, "fps": 1}


# Stage 1


def test_sizes_are_the_published_ones():
    model = V1MT()
    assert model.width == 256
    assert model.stages == ("V1", "MT1", "MT2", "MT3", "MT4", "MT5", "MT6")
    assert pytest.approx(0.673, abs=5e-4) == SCALE
    with torch.no_grad():
        found = model.respond(torch.rand(1, 11, 32, 48))
    assert {tuple(x.shape) for x in found.values()} == {(1, 256, 4, 6)}
    table = model.units
    assert len(table) == 256
    finest = table[table.scale == 1]
    assert sorted(finest.direction.round().unique()) == [0, 45, 90, 135, 180, 225, 270, 315]
    assert finest.temporal_frequency.nunique() == 4
    ratio = table.spatial_frequency.to_numpy()[32:] / table.spatial_frequency.to_numpy()[:-32]
    np.testing.assert_allclose(ratio, SCALE, rtol=1e-5)


def test_parameters_stay_in_their_bounds():
    table = V1MT(init="random", seed=3).units
    pixels = SCALE ** table.scale.to_numpy()
    assert (table.spatial_frequency / pixels).between(0, 0.25).all()
    assert table.temporal_frequency.between(0, 0.25).all()
    assert (table["size"] * pixels).between(0, np.sqrt(18 / np.log(2))).all()
    assert table.direction.nunique() == 256


def test_filters_are_the_formulas():
    model = V1MT(init="random", seed=1)
    v1 = model.v1
    with torch.no_grad():
        v1.aspect += 0.5 * torch.rand_like(v1.aspect)
        even, odd = v1.spatial(2).numpy().reshape(2, 32, 15, 15)
        wave = v1.temporal(2).numpy()[10:12, :, ::-1, 0, 0]  # of unit 5; the present first

    def sig(p):
        return 1 / (1 + np.exp(-p[2, 5].item()))

    y, x = np.mgrid[7:-8:-1, -7:8]
    a, s, f = 2 * np.pi * sig(v1.direction), 5.0960 * sig(v1.size), 0.25 * sig(v1.frequency)
    u, v = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
    gauss = np.exp(-(u**2 + v1.aspect[2, 5].item() ** 2 * v**2) / (2 * s**2))
    carrier = np.cos(2 * np.pi * f * u) * gauss
    np.testing.assert_allclose(even[5], carrier - gauss * carrier.sum() / gauss.sum(), atol=1e-4)
    np.testing.assert_allclose(odd[5], np.sin(2 * np.pi * f * u) * gauss, atol=1e-4)
    np.testing.assert_allclose(np.array([even.sum((1, 2)), odd.sum((1, 2))]), 0, atol=1e-3)
    t = np.arange(6)
    decay, rate = -6 / np.log(0.2) * sig(v1.decay), 0.25 * sig(v1.temporal_frequency)
    cos, sin = (np.exp(-t / decay) * f(2 * np.pi * rate * t) for f in (np.cos, np.sin))
    np.testing.assert_allclose(wave, [[cos, -sin], [sin, cos]], atol=1e-5)


def test_energy_is_the_quadrature_sum_over_the_last_six_frames(rng):
    model = V1MT(n_scales=1, n_units=8, n_frames=8, init="random", seed=2)
    v1, frames = model.v1, torch.from_numpy(rng.random((1, 8, 24, 24), dtype=np.float32))
    with torch.no_grad():
        v1.time_weight += torch.rand_like(v1.time_weight)
        found = v1.energy(frames)[0, 3].numpy()
        small = torch.nn.functional.interpolate(frames, (16, 16), mode="bilinear", antialias=True)[0].numpy()
        even, odd = v1.spatial(0).numpy()[[3, 11], 0]
        (cos, _), (sin, _) = v1.temporal(0).numpy()[6:8, :, ::-1, 0, 0]
        weight = v1.time_weight[0, 3].numpy()
    padded = np.pad(small, ((0, 0), (7, 7), (7, 7)), mode="edge")
    total = np.zeros((16, 16))
    for p in range(3):
        S, C = np.zeros((16, 16)), np.zeros((16, 16))
        for j in range(6):
            patches = np.lib.stride_tricks.sliding_window_view(padded[p + 5 - j], (15, 15))
            e, o = (patches * even).sum((2, 3)), (patches * odd).sum((2, 3))
            S += o * cos[j] + e * sin[j]
            C += e * cos[j] - o * sin[j]
        total += weight[p] * (S**2 + C**2 + 0.09) / 3
    cells = torch.nn.functional.interpolate(
        torch.tensor(np.abs(total))[None, None], (3, 3), mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(found, cells[0, 0].numpy(), rtol=1e-3)


def test_normalisation_is_by_the_mean_over_units(model):
    frames = torch.from_numpy(grating_for(model.units.iloc[40]))[None]
    with torch.no_grad():
        energy, found = model.v1.energy(frames), model.v1(frames)
    np.testing.assert_allclose(found, 4 * energy / (energy.mean(1, keepdim=True) + 0.04), rtol=1e-5)


@pytest.mark.parametrize("level", [0, 0.4, 1])
def test_a_blank_movie_gives_one_constant(model, level):
    found = model.features(np.full((1, 11, SIDE, SIDE), level, np.float32), ["V1"], per_location=True)["V1"]
    np.testing.assert_allclose(found, 4 * 0.09 / (0.09 + 0.04), rtol=2e-3)


@pytest.mark.parametrize("unit", [3, 10, 28, 36, 48, 61, 81])
def test_a_grating_drives_its_own_unit_most(model, unit):
    own = model.units.iloc[unit]
    found = energies(model, grating_for(own)[None])[0]
    assert found.argmax() == unit
    opposite = energies(model, grating_for(own, own.direction + 180)[None])[0]
    assert found[unit] > 3 * opposite[unit]


def test_direction_is_that_of_a_thing_that_moves(model):
    """A bar that moves rightwards drives rightward units, and upward ones once the picture is turned."""
    frames = np.zeros((11, SIDE, SIDE), np.float32)
    for t in range(11):
        frames[t, :, 20 + 2 * t : 24 + 2 * t] = 1
    table = model.units
    for clip, truth in ((frames, 0), (frames[:, :, ::-1], 180), (frames.transpose(0, 2, 1)[:, ::-1], 90)):
        found = opponent_pooling(energies(model, clip[None].copy()), table.direction, at=(0, 90, 180, 270))[0]
        assert found.argmax() * 90 == truth
        np.testing.assert_allclose(found[:2], -found[2:], atol=1e-9)


def test_responses_hardly_depend_on_contrast_and_energies_do(model):
    unit = model.units.iloc[44]
    low, high = (grating_for(unit, contrast=c)[None] for c in (0.3, 0.9))
    assert energies(model, high)[0, 44] / energies(model, low)[0, 44] == pytest.approx(9, rel=0.05)
    responses = [model.features(clip, ["V1"], border=3)["V1"][0, 44] for clip in (low, high)]
    assert responses[1] / responses[0] == pytest.approx(1, abs=0.1)


# Tuning


def test_v1_is_tuned_to_direction_and_to_temporal_over_spatial_frequency(model):
    table = model.units
    unit = 32 + 10  # upwards
    own = table.iloc[unit]
    sf = own.spatial_frequency * SIDE
    tuning = direction_tuning(lambda c: energies(model, c), 8, sf, own.temporal_frequency, **MOVIE)
    same = table.eval(f"scale == {own.scale} and abs(temporal_frequency - {own.temporal_frequency}) < 1e-6")
    np.testing.assert_allclose(tuning.preferred[same], table.direction[same].round())
    assert tuning.direction_selectivity[same].min() > 0.7
    best = own.temporal_frequency / sf
    ratios = np.array([0.4, 0.6, 0.8, 1, 1.25, 1.6, 2])
    speeds = speed_tuning(lambda c: energies(model, c), best * ratios, sf, 90, **MOVIE)
    assert speeds.preferred[unit] == pytest.approx(best)


def test_v1_answers_the_components_of_plaids(model):
    own = model.units.iloc[32 + 10]
    found = plaid_tuning(
        lambda c: model.features(c, ["V1"], border=3)["V1"],
        12,
        own.spatial_frequency * SIDE,
        own.temporal_frequency,
        **MOVIE,
    )
    tuned = model.units.eval(f"scale == 2 and abs(temporal_frequency - {own.temporal_frequency}) < 1e-6")
    assert (found.kind[tuned] == "component").all()
    assert found.pattern_index[tuned].max() < -5
    assert found.component_r[tuned].min() > 0.95


def test_ideal_units_are_told_apart(rng):
    directions = np.arange(16) * 22.5
    curve = np.exp(3 * (np.cos(np.deg2rad(directions - 90)) - 1))
    humps = np.roll(curve, 3) + np.roll(curve, -3)
    noise = rng.standard_normal((16, 2)) * 0.02
    gratings, plaids = np.stack([curve, curve], 1), np.stack([curve, humps], 1) + noise
    component, pattern = partial_correlations(gratings, plaids, directions, angle=135)
    assert pattern[0] > 0.98 > 0.3 > component[0]
    assert component[1] > 0.98 > 0.3 > pattern[1]

    def model(clips):  # a unit that moves with the plaid as a whole: it is shown two of its own
        return np.zeros((1, 1))

    flat = plaid_tuning(model, 12, 4, 0.1, size=(16, 16), n_frames=1, fps=1)
    assert flat.kind.tolist() == ["unclassed"]
    with pytest.raises(ValueError, match="steps that divide angle / 2"):
        plaid_tuning(model, 10, 4, 0.1, size=(16, 16), n_frames=1, fps=1)


# Stage 2


def test_equal_places_exchange_equally():
    stage = Integration(16, 1)
    with torch.no_grad():
        found = stage.affinity(torch.ones(1, 16, 3, 4))
    np.testing.assert_allclose(found, 1 / 12, rtol=1e-5)


def test_affinity_is_the_formula(rng):
    stage = Integration(16, 1)
    a = torch.from_numpy(rng.standard_normal((1, 16, 2, 3)).astype(np.float32))
    with torch.no_grad():
        found = stage.affinity(a)[0].numpy()
        s = 3 * np.pi / (1 + np.exp(-stage.sharpness(a.flatten(2).transpose(1, 2)).mean().item())) + 1
    rows = a[0].flatten(1).T.numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    A = np.exp(s * (rows @ rows.T))
    A /= A.max()
    D = np.diag(A.sum(1) ** -0.5)
    np.testing.assert_allclose(found, D @ A @ D, rtol=1e-4)


def test_gates_keep_and_reset(rng):
    """An open keep gate leaves the state; a closed one takes the candidate, which a closed reset makes forget it."""
    unit = ConvGRU(4)
    state, message = (torch.from_numpy(rng.standard_normal((1, 4, 3, 3)).astype(np.float32)) for _ in range(2))
    with torch.no_grad():
        unit.gates.bias[:4] = 50
        np.testing.assert_allclose(unit(state, message), state, atol=1e-6)
        unit.gates.bias[:] = -50
        forgot = unit.candidate(torch.cat([0 * state, message], 1)).tanh()
        np.testing.assert_allclose(unit(state, message), forgot, atol=1e-6)
        unit.gates.bias[4:] = 50
        knew = unit.candidate(torch.cat([state, message], 1)).tanh()
        np.testing.assert_allclose(unit(state, message), knew, atol=1e-6)


def test_places_are_coded_apart():
    codes = positions(48, 6, 7).flatten(1).T
    assert len(torch.unique(codes, dim=0)) == 42
    assert codes.shape == (42, 48)


def test_mt_responses_are_positive_with_mean_one(model, rng):
    with torch.no_grad():
        found = model.respond(torch.from_numpy(rng.random((2, 11, 32, 32), dtype=np.float32)))
    assert found["MT2"].min() >= 0
    np.testing.assert_allclose(found["MT2"].mean((1, 2, 3)), 1, rtol=1e-3)
    assert not torch.allclose(found["MT1"], found["MT2"])


def test_the_flow_decoder_is_linear(rng):
    decoder = FlowDecoder(16)
    a, b, zero = (torch.from_numpy(rng.random((1, 16, 2, 2), dtype=np.float32)) for _ in range(3))
    zero = zero * 0
    with torch.no_grad():
        left = decoder(2 * a - 3 * b) - decoder(zero)
        right = 2 * (decoder(a) - decoder(zero)) - 3 * (decoder(b) - decoder(zero))
    np.testing.assert_allclose(left, right, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_upsampling_is_convex(seed):
    generator = torch.Generator().manual_seed(seed)
    flow, mask = torch.randn(1, 2, 3, 4, generator=generator), 3 * torch.randn(1, 576, 3, 4, generator=generator)
    found = upsample(flow, mask)
    assert found.shape == (1, 2, 24, 32)
    assert found.amax() <= flow.amax() + 1e-5
    assert found.amin() >= flow.amin() - 1e-5


def test_upsampling_by_the_centre_repeats_cells():
    flow, mask = torch.arange(12.0).reshape(1, 2, 2, 3), torch.full((1, 9, 64, 2, 3), -50.0)
    mask[:, 4] = 50
    truth = flow.repeat_interleave(8, 2).repeat_interleave(8, 3)
    np.testing.assert_allclose(upsample(flow, mask.reshape(1, 576, 2, 3)), truth, atol=1e-6)


def test_gradients_reach_all_parameters_and_the_movie(rng):
    model = V1MT(**SMALL)
    frames = torch.from_numpy(rng.random((1, 11, 32, 32), dtype=np.float32)).requires_grad_()
    model(frames)[-1].square().sum().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert idle == set()
    assert frames.grad.abs().max() > 0


# Features


def test_features_are_means_inside_the_border(model, rng):
    clips = rng.random((2, 11, SIDE, SIDE), dtype=np.float32)
    maps = model.features(clips, per_location=True)
    found = model.features(clips, border=2, batch_size=1)
    assert list(found) == ["V1", "MT1", "MT2"]
    for name in found:
        assert maps[name].shape == (2, 96, 8, 8)
        np.testing.assert_allclose(found[name], maps[name][:, :, 2:-2, 2:-2].mean((2, 3)), rtol=1e-4)
    assert list(model.features(clips, ["MT2"], border=2)) == ["MT2"]


def test_longer_clips_are_means_over_windows(model, rng):
    clip = rng.random((25, SIDE, SIDE), dtype=np.float32)
    windows = [clip[i : i + 11] for i in (0, 7, 14)]
    found = model.features([clip], ["V1"], border=2, stride=7)["V1"]
    apart = model.features(windows, ["V1"], border=2)["V1"]
    np.testing.assert_allclose(found[0], apart.mean(0), rtol=1e-4)
    kept = model.features([clip], ["V1"], border=2, stride=7, pool=None, batch_size=2)["V1"]
    np.testing.assert_allclose(kept[0], apart, rtol=1e-4)
    with pytest.raises(ShapeMismatch, match=r"one length .* \[1, 2\] windows"):
        model.features([clip, clip[:11]], ["V1"], border=2, pool=None)


def test_kinds_of_clips_agree(model, rng):
    grey = rng.integers(0, 256, (2, 11, SIDE, SIDE), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, -1)
    found = model.features(grey, ["V1"], border=2)["V1"]
    assert found.dtype == np.float32
    for same in (colour, grey.astype(np.float64) / 255, Clips.from_array(colour, fps=10), torch.from_numpy(grey)):
        given_tensor = model.features(same, ["V1"], border=2)["V1"]
        assert isinstance(given_tensor, type(same)) or not isinstance(same, torch.Tensor)
        np.testing.assert_allclose(given_tensor, found, rtol=2e-3)


def test_seeds_make_models():
    before = torch.random.get_rng_state()
    a, b, c = V1MT(**SMALL), V1MT(**SMALL), V1MT(**SMALL, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.mt.to_value.weight, c.mt.to_value.weight)


# Training


def moving_textures(n, side, n_frames, seed):
    """Textures that move at up to 1.5 px per frame; the flow of each is known."""
    rng, clips = np.random.default_rng(seed), []
    y, x = np.mgrid[:side, :side]
    speeds = rng.uniform(-1.5, 1.5, (n, 2))
    for v in speeds:
        texture = gaussian_filter(rng.standard_normal((64, 64)), 1.5, mode="wrap")
        texture = (texture - texture.min()) / np.ptp(texture)
        at = [[y - v[1] * t, x - v[0] * t] for t in range(n_frames)]
        clips.append([map_coordinates(texture, a, order=1, mode="grid-wrap") for a in at])
    flows = np.broadcast_to(speeds[:, None, None], (n, side, side, 2))
    return np.array(clips, np.float32).clip(0, 1), flows.astype(np.float32)


def test_training_beats_zero_flow_on_new_textures():
    model = V1MT(**SMALL, n_frames=7)
    run = train_flow(model, *moving_textures(48, 16, 7, seed=0), n_steps=40, batch_size=8, lr=8e-3)
    assert run.finished
    assert len(run.losses) == 40
    clips, flows = moving_textures(16, 16, 7, seed=1)
    with torch.no_grad():
        found = [f.permute(0, 2, 3, 1).numpy() for f in model(torch.from_numpy(clips))]
    zero = end_point_error(np.zeros_like(flows), flows).mean()
    assert end_point_error(found[-1], flows).mean() < 0.6 * zero
    x = np.corrcoef(found[-1][..., 0].mean((1, 2)), flows[:, 0, 0, 0])[0, 1]
    y = np.corrcoef(found[-1][..., 1].mean((1, 2)), flows[:, 0, 0, 1])[0, 1]
    assert min(x, y) > 0.8


def test_interrupted_training_ends_with_the_same_numbers(tmp_path):
    data = moving_textures(6, 16, 6, seed=0)
    options = {"n_steps": 6, "batch_size": 2, "lr": 1e-3}
    make = {"n_scales": 1, "n_units": 8, "n_frames": 6, "n_iterations": 1}
    whole, parts, other = V1MT(**make), V1MT(**make), V1MT(**make)
    run = train_flow(whole, *data, **options)
    first = train_flow(parts, *data, **options, path=tmp_path / "run.safetensors", minutes=1e-9)
    assert (len(first.losses), first.finished) == (1, False)
    lines = []
    again = V1MT(**make)
    second = train_flow(again, *data, **options, path=tmp_path / "run.safetensors", save_every=2, progress=lines.append)
    np.testing.assert_array_equal(second.losses, run.losses)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert [line[:11] for line in lines] == ["step 2 of 6", "step 4 of 6", "step 6 of 6"]
    with pytest.raises(StaleStore, match="other settings"):
        train_flow(other, *data, **{**options, "lr": 2e-3}, path=tmp_path / "run.safetensors")
    over = train_flow(other, *data, **{**options, "lr": 2e-3}, path=tmp_path / "run.safetensors", resume=False)
    assert over.finished
    assert not np.array_equal(train_flow(V1MT(**make), *data, **options, seed=1).losses, run.losses)


@pytest.mark.parametrize("n", [10, 33, 100])
def test_the_rate_is_torchs_one_cycle(n):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-5, total_steps=n, cycle_momentum=False)
    for step in range(n):
        assert one_cycle(step, n, 8e-5) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < n - 1:
            schedule.step()


def test_later_rounds_weigh_more():
    flows = [torch.full((1, 2, 8, 8), v) for v in (1.0, 2.0, 4.0)]
    loss = sequence_loss(flows, torch.zeros(1, 2, 8, 8))
    assert loss.item() == pytest.approx(0.85**2 * 1 + 0.85 * 2 + 4)


# Files


def test_a_saved_model_is_the_same_model(tmp_path, rng):
    model = V1MT(**SMALL, init="random", seed=4)
    with torch.no_grad():
        model.v1.gain += 1
    frames = torch.from_numpy(rng.random((1, 11, 32, 32), dtype=np.float32))
    back = V1MT.load(model.save(tmp_path / "model.safetensors"))
    assert back.settings == model.settings
    with torch.no_grad():
        assert torch.equal(back(frames)[-1], model(frames)[-1])


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataNotDownloaded, match="no file"):
        V1MT.load(tmp_path / "nothing.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(CorruptFile, match="not a whole safetensors"):
        V1MT.load(tmp_path / "junk.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CorruptFile, match="must be a file of format"):
        V1MT.load(tmp_path / "other.safetensors")
    model = V1MT(**SMALL)
    model.settings["n_units"] = 8
    with pytest.raises(CorruptFile, match="does not hold the weights"):
        V1MT.load(model.save(tmp_path / "wrong.safetensors"))


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_scales": 0}, "n_scales must be"),
        ({"n_units": 1}, "n_units must be"),
        ({"n_units": 6, "n_scales": 2}, "multiple of 8"),
        ({"n_frames": 5}, "n_frames must be an integer of at least 6"),
        ({"init": "learned"}, "init must be"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        V1MT(**options)


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        (np.zeros((2, 10, 64, 64)), {}, "at least 11 frames"),
        (np.zeros((2, 11, 60, 64)), {"border": 1}, "multiples of 8"),
        (np.zeros((2, 11, 64, 64)), {}, "nothing is left .* inside a border of 7 cells .* above 112"),
        (np.zeros((2, 11, 3, 64, 64)), {}, "colours come last"),
        (np.full((2, 11, 64, 64), np.nan), {}, "must be finite"),
        (np.zeros((2, 11, 64, 64)), {"stages": ["MT9"]}, "stage must be 'V1'"),
        (np.zeros((2, 11, 64, 64)), {"stride": 0}, "stride must be"),
    ],
)
def test_bad_clips_are_refused(model, clips, options, message):
    options = {"per_location": "stages" in options, **options}
    with pytest.raises(ValueError, match=message):
        model.features(clips, **options)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(1, 10, 64, 64), r"must be \(B, 11, H, W\)"),
        (torch.zeros(1, 11, 64, 60), "multiples of 8"),
        (torch.zeros(1, 11, 8, 64), "multiples of 8 pixels, from 16"),
        (torch.zeros(1, 11, 64, 64, dtype=torch.uint8), "floating point"),
    ],
)
def test_bad_frames_are_refused(model, frames, message):
    with pytest.raises(ValueError, match=message):
        model(frames)


def test_bad_training_data_are_refused():
    model, clips = V1MT(n_scales=1, n_units=8, n_frames=6, n_iterations=1), np.zeros((2, 6, 16, 16))
    flows = np.zeros((2, 16, 16, 2))
    with pytest.raises(ShapeMismatch, match="must have the 6 frames"):
        train_flow(model, np.zeros((2, 7, 16, 16)), flows)
    with pytest.raises(ShapeMismatch, match=r"flows must be .* \(2, 16, 16, 2\), got \(2, 2, 16, 16\)"):
        train_flow(model, clips, flows.transpose(0, 3, 1, 2))
    bad = flows.copy()
    bad[0, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="flows must be finite: 1 "):
        train_flow(model, clips, bad)
    with pytest.raises(ValueError, match="gamma must lie"):
        train_flow(model, clips, flows, gamma=0)

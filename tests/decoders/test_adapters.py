"""Subject adapters: what permutations and pooling do to them, and that one person's adapter is nobody else's."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool1d

from neuro.decoders._blocks import built, count_parameters, draw_weights
from neuro.decoders.adapters import (
    FlatMap,
    LinearAdapter,
    LinearNorm,
    LinearResidual,
    PerTimeLinear,
    PooledBottleneck,
    SubjectAdapters,
    TimeAggregation,
    VoxelPool,
    VoxelTokenizer,
    add_subject,
    subject_parameters,
)
from neuro.decoders.aggregation import aggregate_subjects, average_embeddings, average_outputs
from neuro.decoders.decoded import Decoded
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch, UnknownROI, UnknownSubject

V, C = 37, 8


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def x(draw):
    return torch.randn(5, V, generator=draw)


def copied(module):
    return {name: weight.clone() for name, weight in module.state_dict().items()}


# one adapter


@pytest.mark.parametrize(
    "make",
    [
        partial(LinearAdapter, width=C),
        partial(LinearNorm, width=C),
        partial(LinearResidual, width=C),
        partial(PooledBottleneck, width=C, n_pooled=12, bottleneck=3),
    ],
)
def test_every_adapter_maps_voxels_to_the_shared_width(make, x, draw):
    assert built(lambda: make(V), draw)(x).shape == (5, C)


def test_linear_adapter_follows_its_equation(x, draw):
    adapter = built(lambda: LinearAdapter(V, C), draw)
    torch.testing.assert_close(adapter(x), x @ adapter.weight.T + adapter.bias)


def test_linear_norm_output_before_gelu_has_mean_zero_and_variance_one(x, draw):
    adapter = built(lambda: LinearNorm(V, 64), draw)
    normed = adapter[1](adapter[0](x))
    torch.testing.assert_close(normed.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.var(1, correction=0), torch.ones(5), atol=1e-3, rtol=0)


def test_scaled_normal_start_keeps_the_variance_of_standardised_voxels(draw):
    adapter = built(lambda: LinearAdapter(2000, 500, bias=False, scaled_normal=True), draw)
    y = adapter(torch.randn(200, 2000, generator=draw))
    assert float(y.detach().var()) == pytest.approx(1, abs=0.05)


def test_permuting_voxels_and_weight_columns_together_changes_nothing(x, draw):
    adapter = built(lambda: LinearNorm(V, C), draw).eval()
    other = built(lambda: LinearNorm(V, C), draw).eval()
    other.load_state_dict(adapter.state_dict())
    order = torch.randperm(V, generator=draw)
    with torch.no_grad():
        other[0].weight.copy_(adapter[0].weight[:, order])
    torch.testing.assert_close(other(x[:, order]), adapter(x))


def test_bottleneck_is_the_identity_at_the_start(x, draw):
    adapter = built(lambda: PooledBottleneck(V, C, n_pooled=12, bottleneck=3), draw)
    pooled = adapter.pool(x)
    assert torch.equal(adapter.bottleneck(pooled), pooled)


@pytest.mark.parametrize("pooling", ["max", "avg", "linear"])
def test_pooling_a_constant_gives_the_constant(pooling):
    torch.testing.assert_close(VoxelPool(V, 12, pooling)(torch.full((2, V), 0.7)), torch.full((2, 12), 0.7))


@pytest.mark.parametrize("pooling", ["max", "avg", "linear"])
def test_permuting_voxels_changes_what_is_pooled_in_stored_order(pooling, x, draw):
    pool, order = VoxelPool(V, 12, pooling), torch.randperm(V, generator=draw)
    assert not torch.allclose(pool(x), pool(x[:, order]))


def test_average_pooling_over_bins_of_equal_size_is_the_mean_of_each():
    x = torch.arange(12.0)[None]
    torch.testing.assert_close(VoxelPool(12, 4, "avg")(x), torch.tensor([[1.0, 4.0, 7.0, 10.0]]))
    torch.testing.assert_close(VoxelPool(12, 4, "max")(x), torch.tensor([[2.0, 5.0, 8.0, 11.0]]))


def test_pooling_by_region_does_not_depend_on_where_regions_lie_in_the_file(x, draw):
    regions = np.array(["V1"] * 20 + ["V2"] * 12 + ["FFA"] * 5)
    order = torch.cat([torch.arange(32, 37), torch.arange(20, 32), torch.arange(20)])  # regions moved, voxels in order
    bins = {"V1": 6, "V2": 3, "FFA": 1}
    first = VoxelPool(V, bins, "avg", regions)
    second = VoxelPool(V, bins, "avg", regions[order.numpy()])
    assert torch.equal(first(x), second(x[:, order]))
    torch.testing.assert_close(first(x)[:, 9], x[:, 32:].mean(1))
    assert torch.equal(first(x)[:, :6], adaptive_avg_pool1d(x[:, None, :20], 6)[:, 0])


def test_one_bin_per_region_is_blind_to_the_order_inside_it(x, draw):
    regions = np.repeat([1, 2], [20, 17])
    pool = VoxelPool(V, {1: 1, 2: 1}, "max", regions)
    order = torch.cat([torch.randperm(20, generator=draw), 20 + torch.randperm(17, generator=draw)])
    assert torch.equal(pool(x), pool(x[:, order]))


def test_regions_share_bins_in_proportion_to_their_size():
    pool = VoxelPool(V, 12, "avg", np.repeat(["a", "b"], [30, 7]))
    assert [n for _, n in pool._parts] == [9, 3]


def test_unpooling_gives_each_voxel_the_mean_of_the_bins_that_cover_it(draw):
    V, P = 10, 4  # bins overlap: voxels 2 and 7 lie in two of them
    values = torch.randn(3, P, generator=draw)
    covers = np.array([[(k * V) // P <= v < -(-(k + 1) * V // P) for k in range(P)] for v in range(V)], float)
    expected = values.double() @ torch.from_numpy(covers / covers.sum(1, keepdims=True)).T
    torch.testing.assert_close(VoxelPool(V, P, "avg").unpool(values).double(), expected, atol=1e-6, rtol=0)


def test_unpooling_undoes_pooling_where_every_bin_is_constant():
    x = torch.repeat_interleave(torch.tensor([[3.0, -1.0, 2.0]]), 4, dim=1)
    torch.testing.assert_close(VoxelPool(12, 3, "avg").unpool(VoxelPool(12, 3, "avg")(x)), x)


def test_unpooling_returns_regions_to_their_voxels():
    regions = np.array([1, 2, 1, 2, 2])
    pool = VoxelPool(5, {1: 1, 2: 1}, "avg", regions)
    torch.testing.assert_close(pool.unpool(torch.tensor([[10.0, 20.0]])), torch.tensor([[10.0, 20, 10, 20, 20]]))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"n_pooled": 12, "regions": ["V1"] * 3}, ShapeMismatch, "each of 37 voxels"),
        ({"n_pooled": {"V1": 3, "V9": 1}, "regions": ["V1"] * V}, UnknownROI, "V9"),
        ({"n_pooled": {"V1": 3}}, ValueError, "regions"),
        ({"n_pooled": 1, "regions": ["a"] * 20 + ["b"] * 17}, ShapeMismatch, "2 regions"),
        ({"n_pooled": 12, "pooling": "median"}, ValueError, "'max', 'avg' or 'linear'"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_with_its_reason(arguments, error, words):
    with pytest.raises(error, match=words):
        VoxelPool(V, **arguments)


# time


def test_per_time_weights_touch_their_own_time_point_only(draw):
    adapter = built(lambda: PerTimeLinear(V, C, n_times=3), draw)
    x = torch.randn(4, 3, V, generator=draw)
    y, changed = adapter(x), x.clone()
    changed[:, 1] += 1
    moved = (adapter(changed) - y).abs().amax((0, 2))
    assert moved[1] > 0
    assert torch.equal(moved[[0, 2]], torch.zeros(2))
    torch.testing.assert_close(y[:, 2], x[:, 2] @ adapter.weight[2].T + adapter.bias[2])


def test_learned_time_aggregation_starts_as_the_mean(draw):
    x = torch.randn(4, 6, C, generator=draw)
    torch.testing.assert_close(TimeAggregation(6)(x), TimeAggregation(6, "mean")(x))
    with pytest.raises(ShapeMismatch, match="6 time points"):
        TimeAggregation(6)(x[:, :5])


def test_a_shared_scalar_lift_collapses_tokens_to_rank_three_and_ours_does_not(draw):
    """Voxels by one Linear(1, N), then one Linear(V, C) for all tokens: what the published tokenizer computes."""
    x = torch.randn(1, V, generator=draw, dtype=torch.float64)
    lift, read = torch.nn.Linear(1, 16).double(), torch.nn.Linear(V, 24).double()
    published = read(lift(x[..., None]).mT)[0]  # (16 tokens, 24)
    ours = built(lambda: VoxelTokenizer(V, n_tokens=16, width=24, hidden=32), draw).double()(x)[0]
    assert torch.linalg.matrix_rank(published, rtol=1e-9) <= 3
    assert torch.linalg.matrix_rank(ours, rtol=1e-9) == 16


# flat maps


def test_flat_map_shows_each_voxel_where_its_pixels_are_and_reads_it_back(x):
    pixels = np.full((8, 8), -1)
    pixels[1, 1:4], pixels[5, 6] = [4, 4, 9], 0
    maps = FlatMap(V, 8, pixels)
    picture = maps(x)
    assert torch.equal(picture[:, 1, 2], x[:, 4])
    assert torch.equal(picture[:, 5, 6], x[:, 0])
    assert int((picture != 0).sum()) == 5 * 4
    assert torch.equal(maps.read(picture)[:, [4, 9, 0]], x[:, [4, 9, 0]])


def test_voxels_without_a_layout_fill_a_square_and_come_back(x):
    maps = FlatMap(V, 16)
    torch.testing.assert_close(maps.read(maps(x)), x)
    with pytest.raises(ShapeMismatch, match="do not fit"):
        FlatMap(300, 16)
    with pytest.raises(ShapeMismatch, match=r"-1 \.\.\. 36"):
        FlatMap(V, 4, np.full((4, 4), V))


# subjects


@pytest.fixture
def people(draw):
    return SubjectAdapters(partial(LinearNorm, width=C), {1: V, "kid-07": 21}, draw)


def test_subjects_are_kept_by_name_whatever_their_type(people, x):
    assert people.subjects == ["1", "kid-07"]
    assert people.n_voxels == {"1": V, "kid-07": 21}
    people.eval()
    assert torch.equal(people(x, 1), people(x, "1"))
    assert torch.equal(people(x, np.int64(1)), people.of(1)(x))


def test_adding_a_subject_leaves_all_other_weights_and_outputs_bit_equal(people, x):
    people.eval()
    before, y = copied(people), people(x, 1)
    people.add(5, 50)
    after = people.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(people(x, 1), y)
    assert not people.of(5).training
    assert people(torch.zeros(2, 50), 5).shape == (2, C)


def test_weights_depend_on_the_given_generator_alone():
    state = torch.get_rng_state()
    first = SubjectAdapters(partial(LinearNorm, width=C), {1: V}, torch.Generator().manual_seed(3))
    torch.rand(7)
    second = SubjectAdapters(partial(LinearNorm, width=C), {1: V}, torch.Generator().manual_seed(3))
    third = SubjectAdapters(partial(LinearNorm, width=C), {1: V}, torch.Generator().manual_seed(4))
    assert torch.equal(first.of(1)[0].weight, second.of(1)[0].weight)
    assert not torch.equal(first.of(1)[0].weight, third.of(1)[0].weight)
    torch.set_rng_state(state)
    SubjectAdapters(partial(PooledBottleneck, width=C, n_pooled=9), {1: V}).add(2, 40)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_generator_a_subject_starts_the_same_whoever_else_is_there():
    alone = SubjectAdapters(partial(LinearNorm, width=C), {2: V})
    among = SubjectAdapters(partial(LinearNorm, width=C), {1: V, 2: V})
    assert torch.equal(alone.of(2)[0].weight, among.of(2)[0].weight)
    assert not torch.equal(among.of(1)[0].weight, among.of(2)[0].weight)


def test_unknown_subject_names_the_known_ones(people, x):
    with pytest.raises(UnknownSubject, match=r"subject 8.*knows 1, kid-07"):
        people(x, 8)


def test_wrong_voxel_count_names_subject_expected_and_got(people, x):
    with pytest.raises(ShapeMismatch, match=r"subject kid-07 expects 21 voxels, got 37"):
        people(x, "kid-07")


def test_a_subject_is_added_once_and_has_a_usable_name(people):
    with pytest.raises(DuplicateIds, match="already"):
        people.add("1", V)
    for name in ("sub.01", "", "add"):
        with pytest.raises(ValueError, match="cannot be called"):
            people.add(name, V)
    with pytest.raises(ValueError, match="n_voxels must be an integer"):
        people.add(9, 0)


def test_subject_parameters_are_those_of_all_its_modules_and_no_others():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = SubjectAdapters(partial(LinearAdapter, width=3), {1: 5, 2: 6})
            self.b = SubjectAdapters(partial(LinearAdapter, width=4), {1: 5, 2: 6})
            self.shared = torch.nn.Linear(3, 3)

    net = Two()
    mine = subject_parameters(net, 1)
    assert {id(p) for p in mine} == {id(p) for part in (net.a.of(1), net.b.of(1)) for p in part.parameters()}
    add_subject(net, 3, 7)
    assert net.a.n_voxels["3"] == net.b.n_voxels["3"] == 7


@pytest.mark.parametrize(("width", "count"), [(4096, 64_409_600), (1024, 16_102_400)])
def test_mindeye2_adapter_of_subject_1_has_the_published_number_of_weights(width, count):
    with torch.device("meta"):
        assert count_parameters(LinearAdapter(15_724, width)) == count


def test_mindbridge_adapter_has_the_published_number_of_weights():
    with torch.device("meta"):
        assert count_parameters(PooledBottleneck(15_724)) == 18_888_832


def test_a_module_that_does_not_say_how_its_weights_start_is_refused(draw):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(3))

    with pytest.raises(TypeError, match="Odd"):
        draw_weights(Odd(), draw)


def test_drawn_linear_weights_fill_the_interval_of_torch(draw):
    weight = built(lambda: torch.nn.Linear(400, 300), draw).weight
    bound = 400**-0.5
    assert weight.abs().max() <= bound
    assert float(weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)


# aggregation


def test_average_of_embeddings_is_the_weighted_mean_in_numpy_and_torch(rng):
    a, b = rng.normal(size=(2, 4, 3))
    np.testing.assert_allclose(average_embeddings([a, b]), (a + b) / 2)
    np.testing.assert_allclose(average_embeddings([a, b], [3, 1]), 0.75 * a + 0.25 * b)
    both = average_embeddings([torch.from_numpy(a), torch.from_numpy(b)], [3, 1])
    np.testing.assert_allclose(both.numpy(), 0.75 * a + 0.25 * b)
    with pytest.raises(ShapeMismatch, match="one shape"):
        average_embeddings([a, b[:2]])
    with pytest.raises(ShapeMismatch, match="2 numbers"):
        average_embeddings([a, b], [1.0])


def test_outputs_are_averaged_over_the_trials_there_really_are():
    tokens = np.array([[1.0], [10.0], [3.0], [20.0], [30.0]])
    decoded = average_outputs({"image_embedding": tokens}, stimulus=[7, 4, 7, 4, 4], subject=2)
    assert decoded.ids.tolist() == [7, 4]
    np.testing.assert_allclose(decoded["image_embedding"], [[2.0], [20.0]])
    assert decoded.provenance["repeats"] == [2, 3]
    with pytest.raises(ShapeMismatch, match="5 trials"):
        average_outputs({"image_embedding": tokens[:4]}, stimulus=[7, 4, 7, 4, 4])


def test_averaging_subjects_halves_the_error_of_four_independent_ones(rng):
    truth = rng.normal(size=(300, 10))
    people = [
        Decoded({"image_embedding": truth + rng.normal(size=truth.shape)}, range(300), subject=s) for s in range(4)
    ]
    error = np.std(aggregate_subjects(people)["image_embedding"] - truth)
    assert error == pytest.approx(0.5, abs=0.03)


def test_subjects_are_aligned_by_stimulus_before_averaging():
    a = Decoded({"e": np.array([[1.0], [2.0], [3.0]]), "only_a": np.zeros((3, 1))}, [5, 6, 7], subject="a")
    b = Decoded({"e": np.array([[30.0], [10.0]])}, [7, 5], subject="b")
    both = aggregate_subjects([a, b])
    assert both.ids.tolist() == [5, 7]
    assert list(both) == ["e"]
    np.testing.assert_allclose(both["e"], [[5.5], [16.5]])
    assert both.subject == ("a", "b")
    with pytest.raises(EmptySelection, match="0 stimuli"):
        aggregate_subjects([a, Decoded({"e": np.zeros((1, 1))}, [9])])

"""Pooling equals the plain definition for every layout."""

import numpy as np
import pytest
import torch

from neuro.errors import ShapeMismatch
from neuro.features.layers import LayerInfo
from neuro.features.pooling import apply_pool, check_pool, pooled_shape

N, C, H, W = 3, 5, 6, 4


def info(layout, shape, grid=(H, W), special=()):
    return LayerInfo("layer", shape, layout, grid, special, "layer", 0, None, 0, 1, True, 0)


def example(layout, rng, special=()):
    maps = rng.normal(size=(N, C, H, W)).astype(np.float32)
    extra = rng.normal(size=(N, len(special), C)).astype(np.float32)
    tokens = np.concatenate([extra, maps.reshape(N, C, -1).transpose(0, 2, 1)], 1)
    x = {
        "channels_first": maps,
        "channels_last": maps.transpose(0, 2, 3, 1),
        "tokens": tokens,
        "tokens_last": tokens.transpose(0, 2, 1),
    }[layout]
    return maps, tokens, torch.from_numpy(np.ascontiguousarray(x)), info(layout, x.shape[1:], special=special)


LAYOUTS = ["channels_first", "channels_last", "tokens", "tokens_last"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mean_is_the_mean_over_space(layout, dtype, rng):
    maps, _, x, layer = example(layout, rng)
    found = apply_pool(x.to(dtype), layer, "mean").float()
    expected = (
        maps.mean((2, 3)) if dtype == torch.float32 else torch.tensor(maps).to(dtype).float().mean((2, 3)).numpy()
    )
    np.testing.assert_allclose(found, expected, atol=1e-6 if dtype == torch.float32 else 2e-3)
    assert pooled_shape(layer, "mean") == (C,)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_spatial_averages_blocks(layout, rng):
    maps, _, x, layer = example(layout, rng)
    expected = maps.reshape(N, C, 2, 3, 2, 2).mean((3, 5))
    np.testing.assert_allclose(apply_pool(x, layer, "spatial:2"), expected, atol=1e-6)
    assert pooled_shape(layer, "spatial:2") == (C, 2, 2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_grid_finer_than_the_layer_is_the_layer(layout, rng):
    maps, _, x, layer = example(layout, rng)
    np.testing.assert_array_equal(apply_pool(x, layer, "spatial:50"), maps)
    assert pooled_shape(layer, "spatial:50") == (C, H, W)


@pytest.mark.parametrize("layout", ["tokens", "tokens_last"])
def test_class_tokens_are_read_by_cls_and_left_out_of_means(layout, rng):
    maps, tokens, x, layer = example(layout, rng, special=(0, 1))
    np.testing.assert_array_equal(apply_pool(x, layer, "cls"), tokens[:, 0])
    np.testing.assert_allclose(apply_pool(x, layer, "mean"), maps.mean((2, 3)), atol=1e-6)
    np.testing.assert_array_equal(apply_pool(x, layer, "tokens"), tokens)
    assert pooled_shape(layer, "tokens") == (2 + H * W, C)


def test_class_tokens_may_stand_anywhere(rng):
    tokens = torch.from_numpy(rng.normal(size=(N, 7, C)).astype(np.float32))
    layer = info("tokens", (7, C), grid=(3, 2), special=(3,))
    rest = np.delete(tokens.numpy(), 3, axis=1)
    np.testing.assert_allclose(apply_pool(tokens, layer, "mean"), rest.mean(1), atol=1e-6)
    np.testing.assert_array_equal(apply_pool(tokens, layer, "cls"), tokens[:, 3])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_none_leaves_the_output_as_it_is(layout, rng):
    _, _, x, layer = example(layout, rng)
    assert torch.equal(apply_pool(x, layer, None), x)
    assert pooled_shape(layer, None) == tuple(x.shape[1:])


@pytest.mark.parametrize("pool", ["mean", "cls", "tokens", "spatial:2", None])
def test_vectors_pass_every_pooling(pool):
    layer = info("vector", (C,), grid=None)
    x = torch.randn(N, C)
    assert torch.equal(apply_pool(x, layer, pool), x)
    assert pooled_shape(layer, pool) == (C,)


def test_impossible_poolings_say_why():
    with pytest.raises(ShapeMismatch, match="no class token"):
        pooled_shape(info("channels_first", (C, H, W)), "cls")
    with pytest.raises(ShapeMismatch, match="do not tile the image"):
        pooled_shape(info("tokens", (7, C), grid=None), "spatial:2")
    with pytest.raises(ShapeMismatch, match="pool=None"):
        pooled_shape(info("other", (4, 9, C)), "mean")


@pytest.mark.parametrize("pool", ["max", "spatial", "spatial:0", "spatial:x", 3])
def test_unknown_poolings_are_refused(pool):
    with pytest.raises(ValueError, match="pool must be 'mean'"):
        check_pool(pool)

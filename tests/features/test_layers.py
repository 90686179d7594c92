"""What a network offers is found by running it: batch axis, layout, class tokens, repeated and folded outputs."""

import pytest
import torch

from neuro.errors import UnknownLayer
from neuro.features.layers import probe, probe_inputs

SIZE = (24, 24)


class Zoo(torch.nn.Module):
    """One module for every layout, 6 x 6 patches of 4 pixels."""

    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 20, 4, 4)
        self.last = torch.nn.Identity()
        self.tokens = torch.nn.LayerNorm(20)
        self.with_class = torch.nn.Identity()
        self.attention = torch.nn.MultiheadAttention(20, 2, batch_first=True)
        self.sequence_first = torch.nn.Identity()
        self.transposed = torch.nn.Identity()
        self.windows = torch.nn.Identity()
        self.windows_inside = torch.nn.Identity()
        self.bias = torch.nn.Identity()
        self.several = torch.nn.Identity()
        self.named = torch.nn.Identity()
        self.twice = torch.nn.Identity()
        self.unused = torch.nn.Identity()
        self.head = torch.nn.Linear(20, 7)
        self.cls = torch.nn.Parameter(torch.randn(1, 2, 20))

    def forward(self, x):
        maps = self.patches(x)
        n = len(x)
        self.last(maps.permute(0, 2, 3, 1))
        tokens = self.tokens(maps.flatten(2).transpose(1, 2))  # (n, 36, 20)
        tokens = self.with_class(torch.cat([self.cls.expand(n, -1, -1), tokens], 1))  # (n, 38, 20)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        self.sequence_first(tokens.transpose(0, 1))  # (38, n, 20)
        self.transposed(tokens.transpose(1, 2))
        parts = maps.unflatten(2, (2, 3)).unflatten(4, (2, 3))  # (n, 20, 2, 3, 2, 3)
        windows = parts.permute(0, 2, 4, 3, 5, 1).reshape(n, 4, 9, 20)
        self.windows(windows.flatten(0, 1))
        self.windows_inside(windows.transpose(0, 1).flatten(0, 1))
        self.bias(torch.zeros(5, 5))
        self.several((tokens.mean(1), maps))
        self.named({"a": tokens.mean(1)})
        self.twice(tokens[:, 0])
        self.twice(tokens)
        return self.head(tokens[:, 0])


@pytest.fixture(scope="module")
def zoo():
    torch.manual_seed(0)
    module = Zoo().eval()
    return module, probe(module, probe_inputs(SIZE), "zoo")


@pytest.mark.parametrize(
    ("name", "shape", "layout", "grid", "special"),
    [
        ("patches", (20, 6, 6), "channels_first", (6, 6), ()),
        ("last", (6, 6, 20), "channels_last", (6, 6), ()),
        ("tokens", (36, 20), "tokens", (6, 6), ()),
        ("with_class", (38, 20), "tokens", (6, 6), (0, 1)),
        ("sequence_first", (38, 20), "tokens", (6, 6), (0, 1)),
        ("transposed", (20, 38), "tokens_last", (6, 6), (0, 1)),
        ("windows", (4, 9, 20), "other", None, ()),
        ("windows_inside", (4, 9, 20), "other", None, ()),
        ("several[0]", (20,), "vector", None, ()),
        ("several[1]", (20, 6, 6), "channels_first", (6, 6), ()),
        ("named", (20,), "vector", None, ()),
        ("twice@0", (20,), "vector", None, ()),
        ("twice@1", (38, 20), "tokens", (6, 6), (0, 1)),
        ("output", (7,), "vector", None, ()),
    ],
)
def test_every_layout_is_recognised(zoo, name, shape, layout, grid, special):
    info = zoo[1].info(name)
    assert zoo[1][name] == shape
    assert (info.layout, info.grid, info.special) == (layout, grid, special)


def test_what_does_not_follow_the_number_of_images_is_no_layer(zoo):
    assert "bias" not in zoo[1]
    assert "unused" not in zoo[1]


def test_the_batch_axis_is_where_the_images_are(zoo):
    assert zoo[1].info("sequence_first").batch_axis == 1
    assert zoo[1].info("windows").outer is True
    assert zoo[1].info("windows_inside").outer is False


@pytest.mark.parametrize("name", ["patches", "sequence_first", "windows", "windows_inside", "twice@1"])
def test_an_images_features_do_not_depend_on_its_batch(zoo, name):
    from neuro.features.reader import Reading, read_layers

    module, layers = zoo
    x = torch.randn(5, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    reading = {name: Reading(layers.info(name), lambda t: t)}
    together = read_layers(module, x, reading)[name]
    alone = torch.cat([read_layers(module, x[i : i + 1], reading)[name] for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_layers_come_in_order_of_depth(zoo):
    names = list(zoo[1])
    assert names.index("patches") < names.index("with_class") < names.index("output") == len(names) - 1


def test_unknown_layers_name_the_nearest(zoo):
    with pytest.raises(UnknownLayer, match="did you mean 'patches'"):
        zoo[1]["patchs"]
    with pytest.raises(UnknownLayer, match="twice@0, twice@1"):
        zoo[1]["twice"]


def test_probing_leaves_no_hook_behind(zoo):
    assert not any(m._forward_hooks for m in zoo[0].modules())


def test_ambiguous_cubes_are_told_by_where_changes_show():
    class Cube(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, 3)
            self.last = torch.nn.Identity()

        def forward(self, x):
            return self.last(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2))

    torch.manual_seed(0)
    layers = probe(Cube().eval(), probe_inputs(SIZE))
    assert layers["conv"] == layers["last"] == (8, 8, 8)
    assert layers.info("conv").layout == "channels_first"
    assert layers.info("last").layout == "channels_last"


def test_token_networks_are_told_by_the_length_of_the_sequence():
    class Text(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(11, 6)
            self.norm = torch.nn.LayerNorm(6)

        def forward(self, tokens):
            return self.norm(self.embed(tokens)).transpose(1, 2)

    layers = probe(Text().eval(), torch.randint(0, 11, (3, 9)), sequence=9)
    assert layers.info("norm").layout == "tokens"
    assert layers.info("output").layout == "tokens_last"

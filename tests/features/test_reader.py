"""One pass reads all layers, stops after the last, and what it returns is the caller's own."""

import pytest
import torch

from neuro.features.layers import probe, probe_inputs
from neuro.features.pooling import apply_pool
from neuro.features.reader import Reading, read_layers

SIZE = (16, 16)


@pytest.fixture
def read(toy):
    layers = probe(toy, probe_inputs(SIZE))

    def read(x, names, reduce=lambda t: t, **options):
        return read_layers(toy, x, {n: Reading(layers.info(n), reduce) for n in names}, **options)

    return read


@pytest.fixture
def x():
    return torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def test_an_in_place_relu_does_not_overwrite_what_was_read(toy, read, x):
    expected = torch.nn.functional.conv2d(x, toy.conv1.weight, toy.conv1.bias, 2, 1)
    found = read(x, ["conv1", "relu1", "output"])
    assert (expected < 0).any()
    torch.testing.assert_close(found["conv1"], expected)
    torch.testing.assert_close(found["relu1"], expected.relu())


@pytest.mark.parametrize("reduce", [lambda t: t, lambda t: t.flatten(1), lambda t: t[:, :2].float().cpu().detach()])
def test_results_never_share_memory_with_the_network(read, x, reduce):
    kept = []
    found = read(x, ["conv1"], lambda t: kept.append(t) or reduce(t))
    assert found["conv1"].untyped_storage().data_ptr() != kept[0].untyped_storage().data_ptr()


def test_a_module_called_twice_gives_both_calls(toy, read, x):
    found = read(x, ["body", "mix", "relu@0", "relu@1"])
    torch.testing.assert_close(found["relu@0"], found["body"].relu())
    torch.testing.assert_close(found["relu@1"], found["mix"].relu())
    assert not torch.equal(found["relu@0"], found["relu@1"])


def test_the_pass_stops_after_the_last_layer(toy, read, x):
    ran = []
    handles = [m.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, m in toy.named_modules() if n]
    read(x, ["conv1", "body.0"])
    for handle in handles:
        handle.remove()
    assert "body.0" in ran
    assert not {"body.1", "mix", "head"} & set(ran)


def test_many_layers_at_once_are_each_layer_alone(toy, read, x):
    names = ["conv1", "relu1", "body.0", "body", "relu@1", "head", "output"]
    together = read(x, names)
    for name in names:
        torch.testing.assert_close(together[name], read(x, [name])[name], rtol=0, atol=0)


def test_hooks_are_gone_afterwards_even_when_the_network_fails(toy, read, x):
    read(x, ["conv1"])
    with pytest.raises(RuntimeError, match="channels"):
        read(x[:, :2], ["head"])
    assert not any(m._forward_hooks for m in toy.modules())


def test_gradients_reach_the_images_when_asked(toy, read, x):
    x.requires_grad_(True)
    read(x, ["mix"], grad=True)["mix"].square().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0
    assert not read(x, ["mix"])["mix"].requires_grad


def test_pooling_inside_the_hook_is_pooling_afterwards(toy, x):
    info = probe(toy, probe_inputs(SIZE)).info("body")
    whole = read_layers(toy, x, {"body": Reading(info, lambda t: t)})["body"]
    pooled = read_layers(toy, x, {"body": Reading(info, lambda t: apply_pool(t, info, "mean"))})["body"]
    torch.testing.assert_close(pooled, whole.mean((2, 3)))

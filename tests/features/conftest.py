"""Small networks and stimuli for the tests of features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.data import Stimuli


class Toy(torch.nn.Module):
    """A convolutional network with every trap: in-place ReLUs, a module used twice, an unused and a constant one."""

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv1 = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.relu1 = torch.nn.ReLU(inplace=True)
        self.body = torch.nn.Sequential(torch.nn.Conv2d(8, 12, 3, 2, 1), torch.nn.BatchNorm2d(12))
        self.relu = torch.nn.ReLU(inplace=True)
        self.mix = torch.nn.Conv2d(12, 12, 1)
        self.unused = torch.nn.Linear(3, 3)
        self.head = torch.nn.Linear(12, 5)

    def forward(self, x):
        x = self.relu1(self.conv1(x))
        x = self.relu(self.body(x))
        x = self.relu(self.mix(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks are slower on many threads, and much slower on threads that other tests keep busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def toy():
    with torch.random.fork_rng(devices=[]):
        return Toy().eval()


@pytest.fixture
def make_toy():
    def make(seed=0):
        with torch.random.fork_rng(devices=[]):
            return Toy(seed).eval()

    return make


@pytest.fixture(scope="session")
def pictures():
    """Smooth colour pictures (12, 40, 48, 3) uint8."""
    rng = np.random.default_rng(1)
    coarse = torch.from_numpy(rng.random((12, 3, 6, 7), dtype=np.float32))
    fine = torch.nn.functional.interpolate(coarse, (40, 48), mode="bicubic").clamp(0, 1)
    return np.ascontiguousarray((fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


@pytest.fixture
def stimuli(pictures):
    return Stimuli.from_array(pictures, ids=[f"im{i:02d}" for i in range(12)])

"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real data sets, or a skip that says where it was looked for."""
    candidates = [os.environ.get("NEURO_REAL_DATA"), Path(__file__).parents[1].parent / "shared" / "real"]
    for path in candidates:
        if path and (Path(path) / "README.md").is_file():
            return Path(path)
    pytest.skip(
        "real data not found: set NEURO_REAL_DATA to the folder that holds cowley_v4, mobilenetv2_imagenet, ..."
    )

"""A small run of the calibration benchmark: no test is liberal, ceilings bracket the true model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rsa_calibration.py"


@pytest.fixture(scope="module")
def calibration():
    spec = importlib.util.spec_from_file_location("rsa_calibration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_error_rates_coverage_and_ceilings(calibration, tmp_path):
    frame, means = calibration.run(n_simulations=60, n_boot=80, n_subjects=8, n_stimuli=15, seed=3)
    # 60 simulations tell a doubled rate from a kept one, no more; the benchmark itself runs 1000.
    counted = frame["test"].str.startswith("zero: counted") | frame["test"].str.startswith("pair: counted")
    assert (frame.loc[~counted, "rate"] <= 0.15).all(), frame[["test", "rate"]]
    assert means["lower"] < means["expected"] < means["upper"]
    assert means["score"] == pytest.approx(means["expected"], abs=0.02)
    calibration.figure(frame, means, tmp_path / "calibration.png")
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


def test_every_kind_of_test_is_simulated(calibration):
    frame, _ = calibration.run(n_simulations=2, n_boot=20, n_subjects=6, n_stimuli=10, seed=0)
    names = " ".join(frame["test"])
    for word in (
        "bootstrap of subjects",
        "bootstrap of stimuli",
        "dual",
        "permutation",
        "sign flip",
        "pair",
        "ceiling",
    ):
        assert word in names
    assert np.isfinite(frame["rate"]).all()

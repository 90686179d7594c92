"""The step cache: same dependencies, no work; a failed step leaves nothing."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.study.cache import StepCache


def test_a_step_runs_once_per_set_of_dependencies(tmp_path):
    runs = []

    def work(folder):
        runs.append(folder)
        (folder / "x.txt").write_text("x")

    cache = StepCache(tmp_path, say=lambda line: None)
    first, key = cache.run("s", "label", {"a": 1, "m": np.arange(3)}, work)
    again, same = StepCache(tmp_path, say=lambda line: None).run("s", "label", {"m": np.arange(3), "a": 1}, work)
    other, _ = cache.run("s", "label", {"a": 2, "m": np.arange(3)}, work)
    assert (first, key) == (again, same)
    assert other != first
    assert len(runs) == 2
    assert (first / "x.txt").read_text() == "x"


def test_an_interrupted_step_leaves_no_folder_and_runs_again(tmp_path):
    cache = StepCache(tmp_path, say=lambda line: None)

    def broken(folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.run("s", "label", 1, broken)
    assert not list((tmp_path / "s").iterdir())
    folder, _ = cache.run("s", "label", 1, lambda f: (f / "whole").write_text("w"))
    assert (folder / "whole").is_file()
    assert cache.computed == ["label"]

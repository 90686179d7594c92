"""Every decoding system runs as its example shows it, at the small size it has without arguments."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="needs diffusers: pip install 'neuro[decode]'")
pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples" / "decoders"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_example_runs(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()

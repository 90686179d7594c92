"""``import neuro`` is light: it is quick and loads no heavy package.

If this fails, a module that ``neuro/__init__`` or a light subpackage imports has gained a top-level import:
move it into the function that needs it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["torch", "nilearn", "sklearn", "open_clip", "timm", "matplotlib", "scipy", "pandas"]


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import neuro", HEAVY),
        ("import neuro.data", ["torch", "nilearn", "sklearn", "open_clip", "timm", "matplotlib", "nibabel", "h5py"]),
        ("import neuro.stats", ["torch", "nilearn", "sklearn", "open_clip", "matplotlib"]),
        ("import neuro.rsa", ["torch", "nilearn", "sklearn", "open_clip", "timm", "matplotlib", "ripser"]),
        ("import neuro.cli", ["torch", "nilearn", "sklearn", "open_clip", "matplotlib"]),
    ],
)
def test_importing_loads_no_heavy_package(statement, heavy):
    code = f"{statement}; import sys; print(sorted({set(heavy)!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_import_neuro_takes_less_than_300_ms():
    code = "import time; t = time.process_time(); import neuro; print(time.process_time() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.3


def test_unknown_names_raise_attribute_error():
    import neuro

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = neuro.nothing
    assert "data" in dir(neuro)
    assert neuro.data.Stimuli.__name__ == "Stimuli"

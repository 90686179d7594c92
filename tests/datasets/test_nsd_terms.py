"""NSD may not be passed on: nothing of it stands in the repository, and nothing that reads pickles does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMATS = (".hdf5", ".h5", ".mgh", ".mgz", ".nii", ".nii.gz", ".mat", ".ctab", ".pkl", ".pickle")
FOLDERS = ("neuro", "tests", "examples", "benchmarks", "docs", "scripts")


def files(suffixes):
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.name.endswith(suffixes) and "__pycache__" not in path.parts:
                yield path


def test_no_data_file_of_nsds_formats_is_in_the_repository():
    assert [str(p.relative_to(ROOT)) for p in files(FORMATS)] == []


def _forbidden(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield "allow_pickle"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.endswith((".load", ".loads")) and name.split(".")[0] in (
                "pickle",
                "cPickle",
                "dill",
                "cloudpickle",
            ):
                yield name
            if name in ("pd.read_pickle", "pandas.read_pickle", "joblib.load"):
                yield name
            if name in ("np.load", "numpy.load") and not any(k.arg == "allow_pickle" for k in node.keywords):
                yield "np.load without allow_pickle=False"
            if name == "torch.load" and not any(
                k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
            ):
                yield "torch.load without weights_only=True"


@pytest.mark.parametrize("package", sorted(p.name for p in (ROOT / "neuro").iterdir() if p.is_dir()))
def test_nothing_reads_a_pickle(package):
    found = {
        f"{path.relative_to(ROOT)}: {what}"
        for path in (ROOT / "neuro" / package).rglob("*.py")
        for what in _forbidden(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()

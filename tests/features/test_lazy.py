"""Importing the package loads nothing heavy, and everything it names is there."""

import subprocess
import sys

import pytest

import neuro.features


def test_importing_features_loads_no_torch():
    code = (
        "import neuro.features, sys; sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'open_clip', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_name_in_the_table_of_contents_exists():
    for name in neuro.features.__all__:
        assert getattr(neuro.features, name) is not None
    assert dir(neuro.features) == neuro.features.__all__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Extracter'"):
        _ = neuro.features.Extracter

"""The README's Python runs as printed, and its files and verbs exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


def test_python_blocks_run_and_print_what_they_say(capsys):
    code = blocks("python")
    assert code
    for block in code:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
        printed = capsys.readouterr().out.strip()
        promised = re.findall(r"print\(.*?\)\s+# (.*)", block)
        assert printed.splitlines() == promised


def test_blocks_that_need_nsd_run_on_a_phantom(tmp_path):
    from neuro.datasets.phantom import write_phantom

    write_phantom(tmp_path / "nsd", 1, 2, 40, 32, trials_per_session=60, grid="small", n_jobs=1)
    (block,) = blocks("python notest")
    scope: dict = {}
    exec(compile(block.replace("/data/nsd", str(tmp_path / "nsd")), "README.md", "exec"), scope)
    assert scope["nifti"].shape == scope["test"].voxels.geometry.shape
    assert len(scope["captions"]) == len(scope["images"]) == 3


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"`?neuro (\w+)", README.read_text(encoding="utf-8")))))
def test_verbs_exist(verb, capsys):
    from neuro.cli import main

    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "example:" in capsys.readouterr().out

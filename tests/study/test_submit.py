"""Steps of a study as jobs: the same results as one process, dependencies between stages, failures that are told."""

from __future__ import annotations

import math
import os
import stat

import pandas as pd
import pytest

from neuro.cli import main
from neuro.datasets.phantom import write_phantom
from neuro.errors import StudyError
from neuro.study import load_study, run_study, submit_study

pytest.importorskip("submitit", reason="needs submitit: pip install 'neuro[cluster]'")

STUDY = """
[study]
name = "small"
output = "results"

[dataset]
kind = "nsd"
root = "phantom"
rois = ["V1", "FFA-1"]

[[models]]
name = "Gabor"
model = "gabor"
layers = ["energy"]
options = { size = 64, orientations = 2, scales = [4, 8], grid = 4, degrees = 8.4 }

[[models]]
name = "color"
model = "color"

[evaluation]
split = "shared1000"
n_bootstraps = 20
n_permutations = 19
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("submitted")
    write_phantom(root / "phantom", 2, 2, 80, 32, trials_per_session=120, grid="small", snr=1.5, n_jobs=1)
    (root / "study.toml").write_text(STUDY, encoding="utf-8")
    return root


@pytest.mark.slow
def test_local_jobs_do_the_whole_study(folder, capsys):
    """Two features, two subjects and the report are five jobs; afterwards nothing is left to compute."""
    assert main(["run", str(folder / "study.toml"), "--submit", "local", "--job", "timeout_min=5"]) == 0
    said = capsys.readouterr().out
    assert [said.count(f"submitted {stage}") for stage in ("features", "encoding", "report")] == [1, 1, 1]
    assert (folder / "results" / "report.html").is_file()
    submitted = pd.read_csv(folder / "results" / "results.tsv", sep="\t")
    again = run_study(folder / "study.toml", say=lambda line: None)
    assert again.computed == ()
    fresh = run_study(folder / "study.toml", folder / "one_process", say=lambda line: None)
    pd.testing.assert_frame_equal(
        submitted, pd.read_csv(folder / "one_process" / "results.tsv", sep="\t"), check_exact=False, rtol=1e-6
    )
    assert fresh.cached == ()


def test_a_failed_job_is_told_with_its_error(folder, monkeypatch):
    import neuro.study.submit as submit

    monkeypatch.setattr(submit, "fill_features", math.hypot)  # knows nothing of paths
    with pytest.raises(StudyError, match=r"2 of 2 jobs of stage 'features' failed.*TypeError: must be real number"):
        submit_study(folder / "study.toml", folder / "failing", cluster="local", say=lambda line: None)


def test_slurm_gets_stages_that_wait_for_each_other(folder, tmp_path, monkeypatch):
    """A stand-in for sbatch keeps what it was handed."""
    tools = tmp_path / "bin"
    tools.mkdir()
    sbatch = tools / "sbatch"
    sbatch.write_text(
        f'#!/bin/sh\nn=$(ls {tmp_path} | wc -l)\ncp "$1" {tmp_path}/job$n.sh\necho Submitted batch job $n\n'
    )
    (tools / "srun").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    jobs = submit_study(
        folder / "study.toml",
        folder / "queued",
        parameters={"timeout_min": 90, "slurm_partition": "long", "mem_gb": 8},
        say=lambda line: None,
    )
    scripts = [(tmp_path / f"job{k}.sh").read_text() for k in jobs]
    assert len(jobs) == 5
    assert all("--partition=long" in s and "--time=90" in s and "--mem=8GB" in s for s in scripts)
    assert not any("dependency" in s for s in scripts[:2])
    assert all(f"--dependency=afterok:{jobs[0]}:{jobs[1]}" in s for s in scripts[2:4])
    assert f"--dependency=afterok:{jobs[2]}:{jobs[3]}" in scripts[4]


def test_studies_that_cannot_be_submitted(folder, tmp_path):
    with pytest.raises(StudyError, match="cluster must be one of slurm, local"):
        submit_study(folder / "study.toml", cluster="pbs")
    (tmp_path / "rdms.toml").write_text(
        '[dataset]\nkind = "rdms"\n[[dataset.rdms]]\nname = "a"\nfile = "a.npy"\n', encoding="utf-8"
    )
    assert load_study(tmp_path / "rdms.toml").dataset.kind == "rdms"
    with pytest.raises(StudyError, match="is one step"):
        submit_study(tmp_path / "rdms.toml")

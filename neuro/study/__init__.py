"""Studies: one TOML file says what was measured, which networks and which encoder; running it gives a report.

:func:`run_study` runs or resumes one; :func:`load_study` reads and checks the file; :func:`rebuild_report` writes the
page again from saved results; :func:`submit_study` hands the steps to SLURM.
"""

from neuro.study.config import StudyConfig, load_study, parse_study
from neuro.study.run import StudyRun, rebuild_report, run_study
from neuro.study.submit import submit_study

__all__ = ["StudyConfig", "StudyRun", "load_study", "parse_study", "rebuild_report", "run_study", "submit_study"]

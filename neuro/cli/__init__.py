"""The ``neuro`` command: each verb is a few lines over the Python API.

Exit codes: 0 done, 1 something is missing or failed (``doctor``), 2 bad input (one clear line), 130 interrupted.
"""

from neuro.cli.main import main

__all__ = ["main"]

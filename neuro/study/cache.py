"""Steps whose results are kept under a fingerprint of all they depend on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuro._files import atomic_path, fingerprint, read_json, write_json


@dataclass
class StepCache:
    """Folders ``<root>/<step>/<key>/``, each whole or absent.

    Parameters
    ----------
    root : path
    say : function taking one line of text
        Where progress goes.
    """

    root: Path
    say: Callable[[str], None] = print
    computed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def key(self, step: str, depends: Any) -> str:
        """Return the fingerprint of a step's name and of all it depends on."""
        return fingerprint({"step": step, "depends": depends})

    def run(self, step: str, label: str, depends: Any, work: Callable[[Path], None]) -> tuple[Path, str]:
        """Run ``work(folder)`` unless a result with the same dependencies stands; return (folder, key)."""
        key = self.key(step, depends)
        folder = self.root / step / key
        if (folder / "step.json").is_file():
            self.cached.append(label)
            self.seconds[label] = read_json(folder / "step.json")["seconds"]
            self.say(f"cached    {label}")
            return folder, key
        start = time.perf_counter()
        with atomic_path(folder, directory=True) as temporary:
            work(temporary)
            elapsed = time.perf_counter() - start
            write_json(temporary / "step.json", {"label": label, "key": key, "seconds": elapsed, "depends": depends})
        self.computed.append(label)
        self.seconds[label] = elapsed
        self.say(f"computed  {label}  ({elapsed:.1f} s)")
        return folder, key

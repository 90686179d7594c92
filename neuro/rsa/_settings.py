"""Settings of estimators read and changed as in scikit-learn, without importing it."""

from __future__ import annotations

import inspect
from typing import Any

from neuro._check import check_option


class HasSettings:
    """``get_params`` and ``set_params`` over the arguments of the constructor, each stored under its own name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Any:
        """Change settings; returns itself."""
        for name, value in params.items():
            check_option("parameter", name, self.get_params())
            setattr(self, name, value)
        return self

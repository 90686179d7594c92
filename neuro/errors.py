"""Named errors: each says what was expected, what came, and what to do.

Every class also derives from the built-in a caller would expect (``ValueError``, ``FileNotFoundError``, ...),
so scripts may catch either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NeuroError(Exception):
    """Root of all errors raised on purpose by neuro."""


class NeuroDataError(NeuroError):
    """Something about data: files, shapes, ids, splits."""


class DataNotDownloaded(NeuroDataError, FileNotFoundError):
    """A file that this call needs is not on disk."""


class TermsNotAccepted(NeuroDataError, PermissionError):
    """A download was asked for before the data set's terms were accepted."""


class DownloadError(NeuroDataError, OSError):
    """A download failed for good."""


class UnknownROI(NeuroDataError, ValueError):
    """No region of that name."""


class UnknownPrep(NeuroDataError, ValueError):
    """No such preparation of betas."""


class UnknownStimulus(NeuroDataError, ValueError):
    """An id that is not in the collection."""


class SpaceMismatch(NeuroDataError, ValueError):
    """Data of one space used with geometry of another."""


class ShapeMismatch(NeuroDataError, ValueError):
    """Sizes that must agree do not."""


class CorruptFile(NeuroDataError, ValueError):
    """A file that cannot be what its name says."""


class SplitLeakage(NeuroDataError, ValueError):
    """One stimulus would stand on both sides of a split."""


class NoRepeats(NeuroDataError, ValueError):
    """A quantity defined by repeats was asked of data without any."""


class EmptySelection(NeuroDataError, ValueError):
    """A selection left nothing."""


class DuplicateIds(NeuroDataError, ValueError):
    """Ids that must be unique are not."""


class MixedProtocols(NeuroDataError, ValueError):
    """Numbers of different evaluation protocols were put into one table."""


class UnknownSubject(NeuroDataError, ValueError):
    """A decoder has no adapter for this subject."""


class TrainingDiverged(NeuroError, ArithmeticError):
    """Loss or gradients became NaN or infinite."""


class MissingWeights(NeuroError, FileNotFoundError):
    """Weights of a network are not there; the message names what to download and where to put it."""


class UnknownModel(NeuroError, ValueError):
    """No network of that name."""


class UnknownLayer(NeuroError, ValueError):
    """No layer of that name in a network."""


class StoreError(NeuroError, OSError):
    """A feature store or cache could not be written or read."""


class StoreLocked(StoreError):
    """Another process is writing the same store."""


class StaleStore(StoreError):
    """A store was made from something else than what is asked of it now."""


class StudyError(NeuroError, ValueError):
    """A study file that cannot be run as written."""


def nearest(name: str, options: Iterable[str], n: int = 3) -> str:
    """Return a ``"; did you mean ...?"`` clause, or an empty string where nothing is close.

    >>> nearest("FFA1", ["FFA-1", "EBA"])
    "; did you mean 'FFA-1'?"
    """
    options = [str(o) for o in options]
    close = difflib.get_close_matches(str(name), options, n=n, cutoff=0.5)
    if not close:
        lower = {o.lower(): o for o in options}
        close = [lower[c] for c in difflib.get_close_matches(str(name).lower(), lower, n=n, cutoff=0.5)]
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""

"""Whether items of the test set meet one another, or the training set, before they are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro._files import hash_bytes
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage


def leak_test(predict: Callable[[Any], Any], X_test: Any, extra_row: Any, *, tolerance: float = 1e-5) -> float:
    """Check that a decoder answers every test item by itself.

    The items are predicted together, together with one more, and one by one: no answer may change.

    Parameters
    ----------
    predict : callable
        Responses (n, ...) -> array, tensor, or mapping of names to them, one row per item. Seeded, if it draws.
    X_test : array or tensor (n, ...)
        At least one item.
    extra_row : array or tensor (...) or (1, ...)
        A further item; the less it resembles the others, the sharper the test.
    tolerance : float
        Largest change allowed, in standard deviations of the predictions: matrix products round differently in
        batches of different size.

    Returns
    -------
    The largest change found, in standard deviations of the predictions.

    Raises
    ------
    SplitLeakage
        If a prediction depends on which other items are tested.

    Examples
    --------
    >>> X = np.arange(6.0).reshape(3, 2)
    >>> leak_test(lambda X: 2 * X, X, np.array([9.0, -9.0]))
    0.0
    >>> leak_test(lambda X: X - X.mean(0), X, np.array([9.0, -9.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    neuro.errors.SplitLeakage: predictions of 3 test items change by up to 1.84 standard deviations when another item...
    """
    if len(X_test) < 1:
        raise EmptySelection("leak_test needs at least one test item.")
    extra = extra_row if tuple(extra_row.shape) == (1, *X_test.shape[1:]) else extra_row[None]
    if tuple(extra.shape[1:]) != tuple(X_test.shape[1:]):
        raise ShapeMismatch(f"extra_row must be {tuple(X_test.shape[1:])}, got {tuple(extra_row.shape)}.")
    n = len(X_test)
    whole = _named(predict(X_test), n)
    if is_tensor(X_test):
        import torch

        more = torch.cat([X_test, extra])
    else:
        more = np.concatenate([X_test, extra])
    change = _change(whole, {k: v[:n] for k, v in _named(predict(more), n + 1).items()})
    _refuse(change, tolerance, n, "when another item is tested with them")
    for i in range(n):
        try:
            alone = predict(X_test[i : i + 1])
        except Exception as error:
            raise SplitLeakage(
                "one test item cannot be predicted alone, so its prediction needs the others."
            ) from error
        single = _change({k: v[i : i + 1] for k, v in whole.items()}, _named(alone, 1), whole)
        _refuse(single, tolerance, n, "when an item is tested alone")
        change = max(change, single)
    return change


def require_no_duplicates(train: Sequence[Any], test: Sequence[Any], *, train_ids: Any = None, test_ids: Any = None):
    """Raise if a test item is, byte for byte, a training item.

    Ids cannot tell: some collections show one picture under two names.

    Parameters
    ----------
    train, test : arrays (n, ...) or sequences of arrays or of str
        Pictures, features or captions.
    train_ids, test_ids : sequences, optional
        Names for the message; row numbers by default.

    Raises
    ------
    SplitLeakage
        Naming the first pair.

    Examples
    --------
    >>> require_no_duplicates(np.eye(3), np.ones((2, 3)))
    >>> require_no_duplicates(["a dog", "a cat"], ["a bus", "a cat"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    neuro.errors.SplitLeakage: 1 of 2 test items is also a training item, byte for byte: test 1 is train 1. Split by...
    """
    where: dict[str, int] = {}
    for row, item in enumerate(train):
        where.setdefault(_digest(item), row)
    pairs = [(row, where[h]) for row, h in enumerate(map(_digest, test)) if h in where]
    if pairs:
        row, source = pairs[0]
        test_name = row if test_ids is None else np.asarray(test_ids).tolist()[row]
        train_name = source if train_ids is None else np.asarray(train_ids).tolist()[source]
        verb = "is also a training item" if len(pairs) == 1 else "are also training items"
        raise SplitLeakage(
            f"{len(pairs):,} of {len(test):,} test items {verb}, byte for byte: test {test_name!r} is train "
            f"{train_name!r}. Split by content, or drop them from the training set."
        )


def _digest(item: Any) -> str:
    if isinstance(item, str):
        return hash_bytes(item.encode())
    array = np.ascontiguousarray(item.detach().cpu().numpy() if is_tensor(item) else item)
    return f"{array.dtype}{array.shape}{hash_bytes(array)}"


def _named(predicted: Any, n: int) -> dict[str, np.ndarray]:
    parts = dict(predicted) if isinstance(predicted, Mapping) else {"prediction": predicted}
    arrays = {
        k: np.asarray(v.detach().cpu().numpy() if is_tensor(v) else v, dtype=np.float64) for k, v in parts.items()
    }
    for name, array in arrays.items():
        if array.ndim < 1 or len(array) != n:
            raise ShapeMismatch(f"{name} must have one row for each of {n} items, got {array.shape}.")
    return arrays


def _change(a: dict[str, np.ndarray], b: dict[str, np.ndarray], whole: dict[str, np.ndarray] | None = None) -> float:
    """Return the largest difference in units of each array's standard deviation; infinite where NaNs do not agree."""
    if a.keys() != b.keys():
        raise ShapeMismatch(f"predict returned {sorted(a)} once and {sorted(b)} another time.")
    largest = 0.0
    for name, x in a.items():
        y = b[name]
        if x.shape != y.shape:
            raise ShapeMismatch(f"{name} of the same items is {x.shape} once and {y.shape} another time.")
        if (np.isnan(x) != np.isnan(y)).any():
            return float("inf")
        if not x.size:
            continue
        spread = float(np.nanstd((whole or a)[name])) or 1.0
        largest = max(largest, float(np.nanmax(np.abs(x - y), initial=0.0)) / spread)
    return largest


def _refuse(change: float, tolerance: float, n: int, when: str) -> None:
    if change > tolerance:
        raise SplitLeakage(
            f"predictions of {n} test items change by up to {change:.3g} standard deviations {when}: each must depend "
            "on its own responses alone. Standardise by training statistics, and keep the network in eval mode."
        )

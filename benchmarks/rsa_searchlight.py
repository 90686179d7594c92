"""Searchlight RSA beside rsatoolbox's: neighbourhoods, RDMs, and model maps end to end, in one process.

Both see the same mask (a ball away from the edges of the volume), whole spheres only, and must return the same spheres
and the same scores.

    python benchmarks/rsa_searchlight.py                 # 92 conditions, 5 models; --threads 1 2 for both
    python benchmarks/rsa_searchlight.py --quick
    python benchmarks/rsa_searchlight.py --write-results

Targets: neighbourhoods at least 20 times, end to end at least 8 times as fast.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
from _timing import arguments, limit_threads, machine, ratio, table, write_section

from neuro.rsa._neighbours import sphere_neighbours
from neuro.rsa.searchlight import Searchlight

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from rsatoolbox.inference import eval_fixed
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.util import searchlight as peer

RADIUS = 3


def ball(side: int, radius: float) -> np.ndarray:
    """Return a ball of voxels, away from the edges by more than a searchlight."""
    grid = np.indices((side,) * 3) - (side - 1) / 2
    return (grid**2).sum(0) < min(radius, side / 2 - RADIUS - 1) ** 2


def quietly(run: Any) -> Any:
    """Run without rsatoolbox's progress bars and prints."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        return run()


def neighbours(side: int, radius: float, repeats: int) -> dict[str, Any]:
    """Time the search for spheres."""
    mask = ball(side, radius)
    flat = np.flatnonzero(mask)

    def ours() -> np.ndarray:
        found = sphere_neighbours(mask, RADIUS, threshold=1.0)
        return np.concatenate([flat[found.centres], flat[found.indices]])

    def theirs() -> np.ndarray:
        centres, spheres = quietly(lambda: peer.get_volume_searchlight(mask, RADIUS, 1.0))
        return np.concatenate([centres, *(np.sort(s) for s in spheres)])

    return ratio(f"spheres, {mask.sum():,} voxels", ours, theirs, repeats, atol=0)


def maps(side: int, radius: float, n: int, metric: str, repeats: int) -> list[dict[str, Any]]:
    """Time model maps with the spheres at hand, then everything."""
    rng = np.random.default_rng(0)
    mask = ball(side, radius)
    data = rng.standard_normal((n, mask.sum()))
    volume = np.zeros((n, mask.size))
    volume[:, np.flatnonzero(mask)] = data
    models = rng.random((5, n * (n - 1) // 2))
    fixed = [ModelFixed(str(k), m) for k, m in enumerate(models)]
    events = np.arange(n)
    spheres = sphere_neighbours(mask, RADIUS, threshold=1.0)
    ready = quietly(lambda: peer.get_volume_searchlight(mask, RADIUS, 1.0))
    theirs_name = {"correlation": "correlation", "sqeuclidean": "euclidean"}[metric]

    def ours(where: Any) -> np.ndarray:
        return Searchlight(models, RADIUS, metric, "corr", threshold=1.0).fit(data, where).scores_

    def theirs(found: Any) -> np.ndarray:
        centres, around = peer.get_volume_searchlight(mask, RADIUS, 1.0) if found is None else found
        rdms = peer.get_searchlight_RDMs(volume, centres, around, events, theirs_name)
        results = peer.evaluate_models_searchlight(rdms, fixed, eval_fixed, method="corr")
        return np.stack([r.evaluations[0, :, 0] for r in results], 1)

    name = f"{metric}, {n} conditions, {len(spheres):,} centres of {spheres.sizes[0]}"
    return [
        ratio(f"{name}: maps", lambda: ours(spheres), lambda: quietly(lambda: theirs(ready)), repeats, atol=1e-9),
        ratio(f"{name}: all", lambda: ours(mask), lambda: quietly(lambda: theirs(None)), repeats, atol=1e-9),
    ]


def linear(side: int, radius: float, n: int, repeats: int) -> dict[str, Any]:
    """Time our maps of inner products without RDMs; nothing to compare with."""
    mask = ball(side, radius)
    rng = np.random.default_rng(0)
    data = rng.standard_normal((n, mask.sum()))
    models = rng.random((5, n * (n - 1) // 2))
    light = Searchlight(models, RADIUS, "sqeuclidean", "regression")
    name = f"regression coefficients without RDMs, {n} conditions, {mask.sum():,} centres"
    return ratio(name, lambda: light.fit(data, mask).scores_, None, repeats)


def main() -> None:
    """Run."""
    options = arguments(__doc__).parse_args()
    side, large, n = (16, 5, 20) if options.quick else (28, 18, 92)
    rows = []
    for threads in options.threads:
        with limit_threads(threads):
            here = [neighbours(2 * side, large, options.repeats)]
            for metric in ("correlation", "sqeuclidean"):
                here += maps(side, 8.5, n, metric, options.repeats)
            here.append(linear(2 * side, large, n, options.repeats))
        rows += [{**row, "threads": threads} for row in here]
    text = f"## Searchlight\n\n{machine()}\n\n{table(rows, {'threads': 'threads'})}\n"
    print(text)
    if options.write_results:
        write_section("rsa_searchlight", text, options.write_results)


if __name__ == "__main__":
    main()

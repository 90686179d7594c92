"""How much memory and time does loading nsdgeneral of one NSD subject take?

    python benchmarks/nsd_memory.py --sessions 2 --total 40

Writes session files of full size (subject 1: grid 81 x 104 x 83, 750 trials, one uncompressed chunk per voxel, random
betas; 1.1 GB each) into a temporary folder, builds the cache of 15,724 voxels in a fresh process with the files out of
the page cache, and reports peak resident memory and seconds per session. A second process loads ``--total`` sessions,
which are hard links to those files, so that the memory of a 40-session load is measured without 44 GB of disk. Prints
one Markdown row each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

GRID = (81, 104, 83)
N_TRIALS, N_VOXELS, N_PLANNED = 750, 15724, 40

LOAD = """
import json, resource, sys, time
from neuro.datasets import NSD

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30

root, cache = sys.argv[1:]
out = {"import": peak()}
r = NSD(root, cache=cache).responses(1, roi="nsdgeneral")
out["open"] = peak()
start = time.perf_counter()
r._source.build(progress=lambda items, **_: items)
out["build_seconds"] = time.perf_counter() - start
out["build"] = peak()
start = time.perf_counter()
mean = r.zscore(by="session").average_repeats()
array = mean.to_numpy()
out["average_seconds"] = time.perf_counter() - start
out["average"] = peak()
out["shape"] = array.shape
print(json.dumps(out))
"""


def write_tree(root: Path, n_sessions: int) -> list[Path]:
    """Write the smallest tree that loads: design, brain mask, one region, session files."""
    import h5py
    import nibabel as nib
    import scipy.io
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    folder = root / "nsddata/experiments/nsd"
    folder.mkdir(parents=True)
    pattern = np.zeros((N_PLANNED, 12, 75), np.uint8)
    for run in range(12):
        pattern[:, run, : 63 - run % 2] = 1
    order = rng.permutation(np.repeat(np.arange(10000), 3)) + 1
    scipy.io.savemat(
        folder / "nsd_expdesign.mat",
        {
            "masterordering": order[None].astype(np.uint16),
            "subjectim": np.arange(1, 10001, dtype=np.int32)[None],
            "sharedix": np.arange(1, 1001, dtype=np.int32)[None],
            "stimpattern": pattern,
        },
    )
    # A cortex-like set of voxels: clusters in the back half of the grid.
    smooth = gaussian_filter(rng.standard_normal(GRID), 2)
    smooth[:, GRID[1] // 2 :] = -np.inf
    region = smooth >= np.partition(smooth.ravel(), -N_VOXELS)[-N_VOXELS]
    base = root / "nsddata/ppdata/subj01/func1pt8mm"
    (base / "roi").mkdir(parents=True)
    affine = np.diag([1.8, 1.8, 1.8, 1])
    brain = smooth > -0.2
    nib.save(nib.Nifti1Image((brain | region).astype(np.uint8), affine), base / "brainmask.nii.gz")
    nib.save(nib.Nifti1Image(region.astype(np.int16), affine), base / "roi/nsdgeneral.nii.gz")
    betas = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    betas.mkdir(parents=True)
    files = [betas / f"betas_session{s:02d}.hdf5" for s in range(1, n_sessions + 1)]
    for path in files:
        with h5py.File(path, "w") as file:
            x, y, z = GRID
            data = file.create_dataset("betas", (N_TRIALS, z, y, x), np.int16, chunks=(N_TRIALS, 1, 1, 1))
            for k in range(z):
                data[:, k] = rng.integers(-900, 900, (N_TRIALS, y, x), dtype=np.int16)
    for s in range(1, n_sessions + 1):
        nib.save(nib.Nifti1Image(np.ones(GRID, np.uint8), affine), base / f"valid_session{s:02d}.nii.gz")
    return files


def link_tree(source: Path, target: Path, total: int) -> None:
    """Make a tree of ``total`` sessions whose beta files are hard links to those of ``source``."""
    files = sorted(source.rglob("betas_session*.hdf5"))
    for path in source.rglob("*"):
        if path.is_file() and not path.name.startswith(("betas_session", "valid_session")):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)
    folder = target / files[0].parent.relative_to(source)
    folder.mkdir(parents=True)
    valid = next(source.rglob("valid_session01.nii.gz"))
    for s in range(total):
        os.link(files[s % len(files)], folder / f"betas_session{s + 1:02d}.hdf5")
        os.link(valid, (target / valid.relative_to(source)).with_name(f"valid_session{s + 1:02d}.nii.gz"))


def drop_from_page_cache(files: list[Path]) -> None:
    """Make the next read come from the disk."""
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load(root: Path, cache: Path) -> dict:
    """Load in a fresh process and return what it measured."""
    done = subprocess.run([sys.executable, "-c", LOAD, str(root), str(cache)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def row(label: str, n: int, out: dict) -> str:
    """One Markdown row."""
    return (
        f"| {label} | {n} | {out['build_seconds']:.1f} ({out['build_seconds'] / n:.2f} a session) | "
        f"{out['average_seconds']:.1f} | {out['open']:.2f} | {out['build']:.2f} | {out['average']:.2f} |"
    )


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2, help="session files to write, 1.1 GB each")
    parser.add_argument("--total", type=int, default=40, help="sessions of the second load, hard links to those files")
    parser.add_argument("--folder", help="where to write (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nsd_memory_", dir=options.folder) as folder:
        start = time.perf_counter()
        few, many = Path(folder) / "few", Path(folder) / "many"
        files = write_tree(few, options.sessions)
        print(f"wrote {options.sessions} sessions in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        link_tree(few, many, options.total)
        drop_from_page_cache(files)
        cold = load(few, Path(folder) / "cache_few")
        warm = load(many, Path(folder) / "cache_many")
    print(
        f"nsdgeneral of one subject, {N_VOXELS:,} voxels x {N_TRIALS} trials a session; peak resident memory in GiB\n"
    )
    print("| files | sessions | build, s | z-score and average, s | peak, opened | peak, built | peak, averaged |")
    print("|---|---|---|---|---|---|---|")
    print(row("from disk", options.sessions, cold))
    print(row("hard links, page cache", options.total, warm))
    seconds = cold["build_seconds"] / options.sessions * N_PLANNED
    grown = (warm["build"] - cold["build"]) / max(1, options.total - options.sessions) * 1024
    print(
        f"\nProjected build of {N_PLANNED} sessions from this disk: {seconds:.0f} s. Build memory grows by "
        f"{grown:.1f} MiB a session. A 40-session average of 10,000 images is {10000 * N_VOXELS * 4 / 2**30:.2f} GiB."
    )


if __name__ == "__main__":
    main()

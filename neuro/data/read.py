"""Responses from plain things people have: arrays on disk, NIfTI with a mask and events, surfaces."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro.data.voxels import Surface, Voxels, _load_image
from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch, SpaceMismatch

if TYPE_CHECKING:
    from neuro.data.responses import Responses


def responses_from_file(
    cls: type[Responses], path: str | Path, key: str | None = None, transpose: bool = False, **kwargs: Any
) -> Responses:
    """Read responses from ``.npy``, ``.npz``, ``.h5``/``.hdf5`` or ``.mat``.

    Parameters
    ----------
    path : file
    key : str, optional
        The variable to read; may be left out where the file holds one numeric array of two or three axes.
    transpose : bool
        The file holds (n_voxels, n_trials).
    **kwargs
        ``trials``, ``voxels``, ``units``, ``times``, ``subject`` as in :class:`Responses`.

    Raises
    ------
    CorruptFile
        If the file is truncated, or holds a pickle where an array should be.
    """
    array = read_array(path, key)
    if transpose:
        array = array.T if array.ndim == 2 else np.swapaxes(array, 0, 1)
    step = {"step": "read", "file": Path(path).name, **({"key": key} if key else {})}
    return cls(array, provenance=(step,), **kwargs)


def read_array(path: str | Path, key: str | None = None) -> np.ndarray:
    """Read one numeric array from ``.npy`` (memory-mapped), ``.npz``, ``.h5``/``.hdf5`` or ``.mat``; never a pickle."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return archive[_choose(path, {k: archive[k] for k in archive.files}, key)]
        if suffix in (".h5", ".hdf5", ".hdf"):
            return _from_hdf5(path, key)
        if suffix == ".mat":
            return _from_mat(path, key)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, (CorruptFile, ShapeMismatch)):
            raise
        raise CorruptFile(
            f"{path} cannot be read as {suffix[1:]}: it is truncated, or holds Python objects (a pickle), which neuro "
            f"never loads. Save a plain numeric array. ({error})"
        ) from error
    raise ShapeMismatch(f"{path} must end in .npy, .npz, .h5, .hdf5 or .mat, got {path.suffix!r}.")


def _choose(path: Path, arrays: dict[str, Any], key: str | None) -> str:
    if key is not None:
        if key not in arrays:
            raise ShapeMismatch(f"{path.name} has no variable {key!r}; it holds {sorted(arrays)}.")
        return key
    usable = [k for k, a in arrays.items() if np.ndim(a) in (2, 3) and np.asarray(a).dtype.kind in "fiu"]
    if len(usable) != 1:
        shapes = {k: tuple(np.shape(a)) for k, a in arrays.items()}
        raise ShapeMismatch(f"say which variable of {path.name} holds the responses with key=...; it has {shapes}.")
    return usable[0]


def _from_hdf5(path: Path, key: str | None) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        if key is None:
            found: dict[str, Any] = {}
            file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            usable = {k: d.shape for k, d in found.items() if d.ndim in (2, 3) and d.dtype.kind in "fiu"}
            if len(usable) != 1:
                raise ShapeMismatch(f"say which data set of {path.name} to read with key=...; it has {usable}.")
            key = next(iter(usable))
        if key not in file:
            raise ShapeMismatch(f"{path.name} has no data set {key!r}; it holds {list(file)}.")
        return np.asarray(file[key][()])


def _from_mat(path: Path, key: str | None) -> np.ndarray:
    import scipy.io

    try:
        content = scipy.io.loadmat(path)
    except NotImplementedError:  # version 7.3 is HDF5, with axes reversed
        return np.asarray(_from_hdf5(path, key)).T
    arrays = {k: v for k, v in content.items() if not k.startswith("__")}
    return np.asarray(arrays[_choose(path, arrays, key)])


def responses_from_nifti(
    cls: type[Responses],
    image: Any,
    mask: Any,
    events: Any = None,
    *,
    tr: float | None = None,
    window: tuple[float, float] | None = None,
    atlases: Any = None,
    **kwargs: Any,
) -> Responses:
    """Read responses from a 4-D NIfTI (or several, one a run) inside a mask.

    Parameters
    ----------
    image : NIfTI image or path, or a list of them
        One volume per trial (betas), or a BOLD series when ``window`` is given.
    mask : NIfTI image or path
        Voxels above 0, on the same grid.
    events : DataFrame or tsv path, or a list of them
        BIDS events: ``onset`` and ``duration`` in seconds, ``trial_type`` (becomes ``stimulus`` if there is no such
        column). One row per volume unless ``window`` is given.
    tr : float, optional
        Seconds per volume; by default the image's fourth zoom.
    window : (start, stop) in seconds after onset, optional
        Average the volumes acquired in this window into one response per event. This is no GLM: overlapping
        responses are not separated (use nilearn.glm for that and hand its betas in).
    **kwargs
        ``units``, ``subject`` as in :class:`Responses`.
    """
    voxels = Voxels.from_mask(mask, atlases)
    images = image if isinstance(image, (list, tuple)) else [image]
    tables = events if isinstance(events, (list, tuple)) else [events] * (1 if events is None else len(images))
    if events is not None and len(tables) != len(images):
        raise ShapeMismatch(f"{len(images)} images but {len(tables)} events tables.")
    blocks, trials = [], []
    for run, item in enumerate(images, 1):
        loaded = _load_image(item)
        if len(loaded.shape) != 4:
            raise ShapeMismatch(f"expected a 4-D image (x, y, z, volumes), got shape {loaded.shape}.")
        series = voxels.from_nifti(loaded)
        frame = None if events is None else _read_events(tables[run - 1])
        if window is not None:
            if frame is None:
                raise ShapeMismatch("averaging in a window needs events with onsets.")
            seconds = float(loaded.header.get_zooms()[3]) if tr is None else float(tr)
            series, frame = _average_window(series, frame, seconds, window)
        elif frame is not None and len(frame) != len(series):
            raise ShapeMismatch(
                f"{len(frame)} events for {len(series)} volumes: give one beta image per event, or "
                "window=(start, stop) in seconds to average a BOLD series after each onset."
            )
        frame = pd.DataFrame(index=range(len(series))) if frame is None else frame
        blocks.append(series)
        trials.append(frame.assign(run=run))
    step = {"step": "read NIfTI", "window": window, "n_runs": len(images)}
    return cls(np.concatenate(blocks), pd.concat(trials, ignore_index=True), voxels, provenance=(step,), **kwargs)


def _read_events(events: Any) -> pd.DataFrame:
    if isinstance(events, (str, Path)):
        events = pd.read_csv(events, sep="\t", keep_default_na=False, na_values=["n/a"])
    frame = pd.DataFrame(events).reset_index(drop=True)
    if "stimulus" not in frame and "trial_type" in frame:
        frame = frame.assign(stimulus=frame["trial_type"])
    return frame


def _average_window(
    series: np.ndarray, events: pd.DataFrame, tr: float, window: tuple[float, float]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Mean of the volumes whose onset lies in [onset + start, onset + stop); events without a volume are an error."""
    if "onset" not in events:
        raise ShapeMismatch(f"events need a column 'onset' (seconds); they have {list(events)}.")
    if not tr > 0:
        raise ShapeMismatch(f"the repetition time must be positive seconds, got {tr}; pass tr=...")
    times = np.arange(len(series)) * tr
    onsets = events["onset"].to_numpy(float)
    inside = (times >= onsets[:, None] + window[0]) & (times < onsets[:, None] + window[1])
    counts = inside.sum(1)
    if (counts == 0).any():
        raise EmptySelection(
            f"{int((counts == 0).sum())} of {len(events)} events have no volume in the window {window} s "
            f"(series of {len(series)} volumes at {tr} s)."
        )
    return (inside @ series.astype(np.float64)) / counts[:, None], events


def responses_from_surface(
    cls: type[Responses], left: Any, right: Any, mesh: str = "fsaverage", vertices: Any = None, **kwargs: Any
) -> Responses:
    """Read responses from two hemispheres: arrays (n_trials, n_vertices), or GIFTI / MGH paths.

    Parameters
    ----------
    left, right : arrays or paths
        ``.gii`` functional files (one array per trial) or ``.mgh``/``.mgz`` (vertices, 1, 1, trials).
    mesh : str
        Name of the mesh.
    vertices : (left mask, right mask), optional
        Boolean masks of the vertices to keep; by default all that are finite in every trial.
    **kwargs
        ``trials``, ``units``, ``subject`` as in :class:`Responses`.
    """
    sides = [_read_surface(left), _read_surface(right)]
    if len(sides[0]) != len(sides[1]):
        raise ShapeMismatch(f"left has {len(sides[0])} trials, right {len(sides[1])}.")
    masks = [np.isfinite(s).all(0) for s in sides] if vertices is None else [np.asarray(m, bool) for m in vertices]
    for side, mask, name in zip(sides, masks, ("left", "right"), strict=True):
        if mask.shape != (side.shape[1],):
            raise SpaceMismatch(f"the {name} mask covers {mask.shape} vertices, the data {side.shape[1]:,}.")
    vertex = [np.flatnonzero(m) for m in masks]
    hemi = np.repeat(["L", "R"], [len(v) for v in vertex])
    if not len(hemi):
        raise EmptySelection("no vertex is finite in every trial (or the masks are empty).")
    geometry = Surface(mesh, (sides[0].shape[1], sides[1].shape[1]), hemi, np.concatenate(vertex))
    data = np.concatenate([s[:, v] for s, v in zip(sides, vertex, strict=True)], axis=1)
    step = {"step": "read surface", "mesh": mesh}
    return cls(data, voxels=Voxels(len(hemi), geometry), provenance=(step,), **kwargs)


def _read_surface(side: Any) -> np.ndarray:
    if isinstance(side, (str, Path)):
        import nibabel as nib

        image: Any = nib.load(side)
        if hasattr(image, "darrays"):
            side = np.stack([a.data for a in image.darrays])
        else:
            data = np.asarray(image.dataobj)
            side = np.moveaxis(data.reshape(data.shape[0], -1), 0, -1)
            side = side.astype(side.dtype.newbyteorder("="))
    side = np.asarray(side)
    if side.ndim == 1:
        side = side[None]
    if side.ndim != 2:
        raise ShapeMismatch(f"a hemisphere is (n_trials, n_vertices), got shape {side.shape}.")
    return side

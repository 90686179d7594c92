"""Fetch parts of the Natural Scenes Dataset from its public bucket: first a plan, then the download.

>>> from neuro.datasets.nsd.download import plan, download              # doctest: +SKIP
>>> p = plan("/data/nsd", subjects=[1], sessions=range(1, 11))          # doctest: +SKIP
>>> print(p)                                                            # doctest: +SKIP
>>> download(p, accept_terms=True)                                      # doctest: +SKIP

A plan asks the bucket for names and sizes and writes nothing. A download needs the user's word that the NSD Data Access
Agreement was accepted. Files are written under a ``.part`` name, resumed where they were cut, checked by size (and MD5
where the bucket gives one) and then renamed. Nothing is ever deleted; a finished file of the right size is left alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from neuro._check import check_option, check_positive_int
from neuro.datasets.nsd.layout import BUCKET, SURFACES, check_space, prep_name, subject_name
from neuro.errors import DownloadError, TermsNotAccepted

ENDPOINT = f"https://{BUCKET}.s3.amazonaws.com"
PARTS = ("design", "behaviour", "regions", "betas", "pictures", "shared_pictures")
TERMS = (
    "The Natural Scenes Dataset may be used under the NSD Data Access Agreement (see http://naturalscenesdataset.org): "
    "research and education only; no passing on of the data or any part of it, pictures, design, labels and noise "
    "ceilings included; no attempt to identify the participants; cite Allen et al. (2022), Nature Neuroscience 25, "
    "116-126. It binds everybody who works with your copy."
)
CHUNK = 2**20
ATTEMPTS = 5
TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class RemoteFile:
    """One object of the bucket."""

    key: str
    size: int
    etag: str = ""

    @property
    def md5(self) -> str | None:
        """MD5 of the content; the bucket knows none of files that were uploaded in pieces."""
        return self.etag if re.fullmatch(r"[0-9a-f]{32}", self.etag) else None


@dataclass(frozen=True)
class DownloadPlan:
    """What a download would fetch and where to.

    Parameters
    ----------
    root : path
    files : tuple of RemoteFile
    endpoint : str
    """

    root: Path
    files: tuple[RemoteFile, ...]
    endpoint: str = ENDPOINT

    def path(self, file: RemoteFile) -> Path:
        """Where a file goes."""
        return self.root / PurePosixPath(file.key)

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """Files that are not on disk with the right size."""
        return tuple(f for f in self.files if not _has_size(self.path(f), f.size))

    @property
    def conflicts(self) -> tuple[RemoteFile, ...]:
        """Files on disk under their final name with another size."""
        return tuple(f for f in self.missing if self.path(f).is_file())

    @property
    def n_bytes(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    @property
    def n_bytes_missing(self) -> int:
        """Bytes still to fetch, parts of interrupted downloads not counted."""
        return sum(f.size - _size(_part(self.path(f), f)) for f in self.missing)

    def __str__(self) -> str:
        folders: dict[str, list[int]] = {}
        for f in self.files:
            folders.setdefault(str(PurePosixPath(f.key).parent), []).append(f.size)
        lines = [f"{sum(s) / 1e9:10.3f} GB  {len(s):5d} files  {name}" for name, s in folders.items()]
        lines.append(f"{self.n_bytes / 1e9:10.3f} GB  {len(self.files):5d} files  in all")
        lines.append(f"{self.n_bytes_missing / 1e9:10.3f} GB  {len(self.missing):5d} files  to fetch into {self.root}")
        return "\n".join(lines)


def plan(
    root: str | Path,
    subjects: Iterable[Any] = (1,),
    *,
    space: str = "func1pt8mm",
    betas: str = "fithrf_GLMdenoise_RR",
    sessions: Iterable[int] | None = None,
    parts: Iterable[str] = ("design", "behaviour", "regions", "betas"),
    endpoint: str = ENDPOINT,
) -> DownloadPlan:
    """List what there is to fetch, with sizes; nothing is written.

    Parameters
    ----------
    root : folder
        Where the tree goes; it need not exist.
    subjects : ints or names
    space : str
    betas : str
        One preparation. Volumes come as HDF5, never as the NIfTI copies of the same numbers.
    sessions : ints, optional
        By default all that were published.
    parts : "design", "behaviour", "regions", "betas", "pictures" (39 GB), "shared_pictures" (1,000 PNG)
    endpoint : str
        Address of the bucket.

    Raises
    ------
    DownloadError
        If the bucket cannot be listed or lacks what is asked for.
    """
    space, prep = check_space(space), prep_name(betas)
    parts = [check_option("parts", p, PARTS) for p in parts]
    wanted = None if sessions is None else sorted({check_positive_int("session", s) for s in sessions})
    found: dict[str, RemoteFile] = {}
    for prefix, pattern in _patterns([subject_name(s) for s in subjects], space, prep, wanted, parts):
        files = [f for f in _list(endpoint, prefix) if re.fullmatch(pattern, f.key[len(prefix) :])]
        if not files:
            raise DownloadError(f"the bucket has nothing like {prefix}{pattern}. A wrong name also reads as absent.")
        if wanted is not None and "betas_session" in pattern:
            have = {int(m[1]) for f in files if (m := re.search(r"session(\d\d)", f.key))}
            if not have.issuperset(wanted):
                raise DownloadError(f"{prefix} has no sessions {sorted(set(wanted) - have)}; it has {sorted(have)}.")
        found.update((f.key, f) for f in files)
    return DownloadPlan(Path(root).expanduser().absolute(), tuple(found.values()), endpoint)


def _patterns(
    subjects: list[str], space: str, prep: str, sessions: list[int] | None, parts: list[str]
) -> Iterator[tuple[str, str]]:
    """Prefixes to list, and what the rest of a key must match."""
    number = r"\d\d" if sessions is None else "(?:" + "|".join(f"{s:02d}" for s in sessions) + ")"
    surface = space in SURFACES
    if "design" in parts:
        yield "nsddata/experiments/nsd/", r"nsd_expdesign\.mat|nsd_stim_info_merged\.csv"  # never the pickled twin
    if "pictures" in parts:
        yield "nsddata_stimuli/stimuli/nsd/nsd_stimuli", r"\.hdf5"
    if "shared_pictures" in parts:
        yield "nsddata_stimuli/stimuli/nsd/shared1000/", r"shared\d{4}_nsd\d{5}\.png"
    for subject in subjects:
        if "behaviour" in parts:
            yield f"nsddata/ppdata/{subject}/behav/", r"responses\.tsv"
        if "regions" in parts:
            person = "fsaverage" if space == "fsaverage" else subject
            atlas = r"[lr]h\.(?:nsdgeneral|prf-\w+|floc-\w+|streams|Kastner2015|HCP_MMP1|corticalsulc)\.mgz|"
            yield f"nsddata/freesurfer/{person}/label/", (atlas if surface else "") + r".*\.mgz\.ctab"
            if not surface:
                maps = rf"roi/.*|brainmask\.nii\.gz|valid_session{number}\.nii\.gz|prf_\w+\.nii\.gz|floc_\w+\.nii\.gz"
                yield f"nsddata/ppdata/{subject}/{space}/", maps
        if "betas" in parts:
            side, suffix = (r"[lr]h\.", "mgh") if surface else ("", "hdf5")
            ncsnr = r"[lr]h\.ncsnr(?:_split[12])?\.mgh" if surface else r"ncsnr(?:_split[12])?\.nii\.gz"
            if space == "nativesurface":
                suffix = "hdf5"
            prefix = f"nsddata_betas/ppdata/{subject}/{space}/betas_{prep}/"
            yield prefix, rf"{side}betas_session{number}\.{suffix}|{ncsnr}"


def download(
    plan: DownloadPlan,
    accept_terms: bool = False,
    *,
    n_jobs: int = 4,
    replace: bool = False,
    backoff: float = 1.0,
    progress: Callable[..., Any] | None = None,
) -> list[Path]:
    """Fetch what is missing of a plan.

    Parameters
    ----------
    plan : DownloadPlan
    accept_terms : bool
        That you, and everybody who will use this copy, accepted the NSD Data Access Agreement.
    n_jobs : int
        Files at a time.
    replace : bool
        Replace files that stand on disk with another size than the bucket's; otherwise they are an error.
    backoff : float
        Seconds before the first retry; doubled each time.
    progress : function (total=, unit=, ...) -> bar with ``update(n)`` and ``close()``, optional
        By default tqdm.

    Returns
    -------
    list of Path
        All files of the plan.

    Raises
    ------
    TermsNotAccepted
        Before anything is fetched.
    DownloadError
        If the disk is too small, or a file failed for good; finished files and parts are kept, so run it again.
    """
    if accept_terms is not True:
        raise TermsNotAccepted(f"{TERMS} If you accepted it, call download(plan, accept_terms=True).")
    _check_online()
    check_positive_int("n_jobs", n_jobs)
    if plan.conflicts and not replace:
        names = [f"{plan.path(f)} ({_size(plan.path(f)):,} bytes, expected {f.size:,})" for f in plan.conflicts[:5]]
        raise DownloadError(
            f"{len(plan.conflicts)} files have another size than the bucket's: {'; '.join(names)}. "
            "download(..., replace=True) fetches them again."
        )
    plan.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(plan.root).free
    if free < plan.n_bytes_missing:
        raise DownloadError(
            f"{plan.n_bytes_missing / 1e9:.2f} GB are to be fetched, {free / 1e9:.2f} GB are free at {plan.root}."
        )
    todo = plan.missing
    if progress is None:
        from tqdm.auto import tqdm

        progress = tqdm
    bar = progress(total=plan.n_bytes_missing, unit="B", unit_scale=True, desc="NSD", disable=None)
    lock, stop = threading.Lock(), threading.Event()

    def tell(n: int) -> None:
        with lock:
            bar.update(n)

    failed: list[str] = []
    try:
        with ThreadPoolExecutor(n_jobs) as pool:
            jobs = {pool.submit(_fetch, plan, f, backoff, tell, stop): f for f in todo}
            try:
                for job in as_completed(jobs):
                    error = job.exception()
                    if isinstance(error, (DownloadError, OSError)):
                        failed.append(f"{jobs[job].key}: {error}")
                    elif error is not None:
                        raise error
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        bar.close()
    if failed:
        raise DownloadError(
            f"{len(failed)} of {len(todo)} files failed, first {failed[0]}. What was fetched is kept; run it again."
        )
    return [plan.path(f) for f in plan.files]


def _fetch(
    plan: DownloadPlan, file: RemoteFile, backoff: float, tell: Callable[[int], None], stop: threading.Event
) -> None:
    """Fetch one file into its part, check it and rename it."""
    path = plan.path(file)
    part = _part(path, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    for attempt in range(ATTEMPTS):
        if stop.is_set():
            return
        if attempt:
            time.sleep(backoff * 2 ** (attempt - 1))
        try:
            if _size(part) < file.size or not part.is_file():
                _receive(f"{plan.endpoint}/{urllib.parse.quote(file.key)}", part, file.size, tell, stop)
            if stop.is_set():
                return
            problem = _wrong(part, file)
            if not problem:
                os.replace(part, path)
                return
            if _size(part) >= file.size:  # whole but wrong: start afresh
                os.truncate(part, 0)
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code} {error.reason}"
            error.close()
            if error.code in (403, 404):
                hint = " (a wrong key also reads as forbidden)" if error.code == 403 else ""
                raise DownloadError(f"{problem}{hint}") from error
            if error.code == 416:
                os.truncate(part, 0)
        except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
            problem = f"{error}" or type(error).__name__
    raise DownloadError(f"{problem}; gave up after {ATTEMPTS} attempts")


def _receive(url: str, part: Path, size: int, tell: Callable[[int], None], stop: threading.Event) -> None:
    """Append to a part what the server still has; may end early."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if have and response.status != 206:  # the server sends it from the start
            tell(-have)
            have = 0
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if have and (start is None or int(start[1]) != have):
            raise ConnectionError(f"asked for bytes from {have}, got {response.headers.get('Content-Range')!r}")
        with open(part, "r+b" if have else "wb") as out:
            out.seek(have)
            while not stop.is_set() and (data := response.read(CHUNK)):
                out.write(data)
                tell(len(data))
                have += len(data)
                if have > size:
                    break
            out.flush()
            os.fsync(out.fileno())


def _wrong(part: Path, file: RemoteFile) -> str:
    """What is wrong with a received file, or an empty string."""
    if _size(part) != file.size:
        return f"got {_size(part):,} bytes, expected {file.size:,}"
    if file.md5:
        digest = hashlib.md5(usedforsecurity=False)
        with open(part, "rb") as data:
            while block := data.read(CHUNK):
                digest.update(block)
        if digest.hexdigest() != file.md5:
            return "the content differs from the bucket's MD5"
    return ""


def _list(endpoint: str, prefix: str) -> Iterator[RemoteFile]:
    """All objects under a prefix; the bucket answers a thousand at a time."""
    _check_online()
    token = None
    while True:
        query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
        url = f"{endpoint}/?{urllib.parse.urlencode(query)}"
        tree = _listing(url)
        for item in tree.iter():
            if item.tag == "Contents":
                key, size = item.findtext("Key", ""), int(item.findtext("Size", "-1"))
                if key.endswith("/"):
                    continue
                _check_key(key)
                yield RemoteFile(key, size, item.findtext("ETag", "").strip('"'))
        token = tree.findtext("NextContinuationToken")
        if tree.findtext("IsTruncated") != "true" or not token:
            return


def _listing(url: str) -> ElementTree.Element:
    problem: Exception | None = None
    for attempt in range(3):
        time.sleep(attempt)
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                tree = ElementTree.fromstring(response.read())
            for item in tree.iter():  # without the namespace
                item.tag = item.tag.rsplit("}", 1)[-1]
            return tree
        except urllib.error.HTTPError as error:
            problem = error
            error.close()
            if error.code < 500:
                break
        except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException, ElementTree.ParseError) as error:
            problem = error
    raise DownloadError(f"the bucket cannot be listed at {url}: {problem}") from problem


def _check_key(key: str) -> None:
    """Keys become paths, so they may not lead out of the root."""
    parts = key.split("/")
    if not key or key.startswith("/") or any(p in ("", ".", "..") for p in parts) or re.search(r"[\\:\x00-\x1f]", key):
        raise DownloadError(f"the bucket names a file {key!r}, which is no plain path.")


def _check_online() -> None:
    for name in ("NEURO_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(name, "").lower() in ("1", "true", "yes", "on"):
            raise DownloadError(f"{name} is set: no network access. Unset it to download.")


def _part(path: Path, file: RemoteFile) -> Path:
    """The part's name carries the version, so that no part is continued with another version's bytes."""
    version = re.sub(r"\W", "", file.etag)[:8] or str(file.size)
    return path.with_name(f"{path.name}.{version}.part")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and _size(path) == size

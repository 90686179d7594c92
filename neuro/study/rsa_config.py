"""How a study compares representations: what its section ``[rsa]`` may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuro.errors import StudyError


@dataclass(frozen=True)
class RdmFile:
    """Measured or model RDMs in a file.

    Parameters
    ----------
    name : str
        Region (of measured RDMs) or model.
    file : path
        What :func:`neuro.rsa.load_rdms` reads.
    key : str
        Variable inside the file, where it holds several.
    axes : list of str
        What the axes of a stack are, such as ["subject", "session"].
    average : list of str
        Axes that are averaged over, such as ["session"].
    pick : str
        Take only the RDM of this name (column "name").
    """

    name: str
    file: str
    key: str | None = None
    axes: tuple[str, ...] = ()
    average: tuple[str, ...] = ()
    pick: str | None = None


@dataclass(frozen=True)
class RsaConfig:
    """How representations are compared.

    Parameters
    ----------
    metric : str
        Dissimilarity of responses and of layers; "crossnobis" takes sessions as folds (responses only; layers then
        take "sqeuclidean").
    method : str
        Comparer, see :func:`neuro.rsa.compare`.
    transforms : list of str
        Of "raw", "rank", "geo-topological": what the layer curves show.
    l, u : float
        Quantiles of the geo-topological transform.
    models : list of RdmFile
        Model RDMs.
    layers : bool
        Compare the layers of the study's networks.
    n_conditions : int
        At most so many images, chosen with the study's seed among those that all subjects saw.
    n_bootstraps : int
    identify : bool
        Identify regions across subjects by their geometry and topology (needs two subjects and two regions).
    groups : {file, key}
        Category of each image: a variable of an npz file, or a column of a table, in the order of the images.
    """

    metric: str = "correlation"
    method: str = "corr"
    transforms: tuple[str, ...] = ("raw", "rank", "geo-topological")
    l: float = 0.2
    u: float = 0.8
    models: tuple[RdmFile, ...] = ()
    layers: bool = True
    n_conditions: int = 200
    n_bootstraps: int = 1000
    identify: bool = True
    groups: Mapping[str, str] | None = None


def check_rsa(rsa: RsaConfig, kind: str, has_rdms: bool, lacks_images: bool) -> None:
    """Refuse settings that cannot be run, for a data set of this kind."""
    if kind == "rdms" and not has_rdms:
        raise StudyError("dataset.kind = 'rdms' needs at least one [[dataset.rdms]].")
    if kind == "rdms" and lacks_images:
        raise StudyError("layers of networks need dataset.images, the pictures of the conditions.")
    unknown = set(rsa.transforms) - {"raw", "rank", "geo-topological"}
    if unknown or not rsa.transforms:
        raise StudyError(f"rsa.transforms must be of 'raw', 'rank', 'geo-topological', got {list(rsa.transforms)}.")
    if not 0 <= rsa.l < rsa.u <= 1:
        raise StudyError(f"rsa needs 0 <= l < u <= 1, got l = {rsa.l}, u = {rsa.u}.")
    if rsa.groups is not None and not {"file"} <= set(rsa.groups) <= {"file", "key"}:
        raise StudyError(f"rsa.groups takes file and key, got {sorted(rsa.groups)}.")
    if rsa.n_conditions < 4 or rsa.n_bootstraps < 100:
        raise StudyError("rsa needs n_conditions of at least 4 and n_bootstraps of at least 100.")

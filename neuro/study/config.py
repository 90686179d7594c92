"""The study file: what TOML may say, checked before anything runs."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuro.errors import StudyError, nearest
from neuro.study.decode_config import DecodeConfig, check_decode
from neuro.study.encode_config import EncodeConfig, check_encoders
from neuro.study.rsa_config import RdmFile, RsaConfig, check_rsa


@dataclass(frozen=True)
class Recording:
    """One subject or session given as plain files: images and a matrix of responses.

    Parameters
    ----------
    name : str
        Subject or session, as it shall stand in the results.
    images : path
        Folder, zip, or HDF5 file of images, ordered by name (rows for HDF5).
    responses : path
        Matrix (n_images, n_channels) as .npy, .npz, .h5 or .mat, in the order of the images.
    transpose : bool
        The matrix is (n_channels, n_images).
    key : str
        Variable inside the file, where it holds several.
    repeats : path
        Single repeats (n_images, n_channels, n_repeats), NaN where missing, for the noise ceiling; transposed alike.
    voxels : path
        Table (tsv) with one row per channel; text columns become atlases.
    mask : path
        NIfTI mask whose voxels are the channels in canonical order.
    """

    name: str
    images: str
    responses: str
    transpose: bool = False
    key: str | None = None
    repeats: str | None = None
    voxels: str | None = None
    mask: str | None = None


@dataclass(frozen=True)
class DatasetConfig:
    """What was measured.

    ``kind`` is "nsd" (a tree of the Natural Scenes Dataset or a phantom), "recordings" (files of images and responses),
    or "rdms" (files of dissimilarities, for RSA alone; ``images`` is the folder, zip or HDF5 file of the conditions).
    """

    kind: str
    root: str = "."
    subjects: tuple[Any, ...] = ()
    space: str = "func1pt8mm"
    betas: str = "fithrf_GLMdenoise_RR"
    voxels: str | None = "nsdgeneral"
    rois: tuple[Any, ...] = ()
    zscore: str | None = "session"
    sessions: tuple[int, ...] | None = None
    recordings: tuple[Recording, ...] = ()
    rdms: tuple[RdmFile, ...] = ()
    images: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    """A network (or a classical control) and how its layers become features.

    ``model`` is what :func:`neuro.features.open_extractor` takes; ``pretrained`` a tag, a path, or false for the
    untrained twin; ``layers`` names or "all"; ``pool`` and ``project`` as in :class:`neuro.features.Extractor`.
    ``layerwise = false`` keeps the layers out of the study's ridge, layer by layer: only ``[[encode]]`` reads them.
    """

    name: str
    model: str
    pretrained: Any = None
    layers: Any = "all"
    pool: Any = None
    project: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    control: bool = False
    layerwise: bool = True


@dataclass(frozen=True)
class EncoderConfig:
    """Ridge settings: ``alphas`` "auto", or {start, stop, n} in powers of ten, or a list; ``cv`` inner folds."""

    kind: str = "ridge"
    alphas: Any = "auto"
    cv: int = 5


@dataclass(frozen=True)
class EvaluationConfig:
    """How scores are made: a named ``split``, or ``folds`` of images (pictures that are identical stay together)."""

    split: str | None = None
    folds: int | None = None
    test: float | None = None
    n_bootstraps: int = 1000
    n_permutations: int = 1000
    ceiling_floor: float = 0.1
    shuffled_control: bool = False


@dataclass(frozen=True)
class StudyConfig:
    """A whole study, as read from TOML; paths are relative to the file."""

    name: str
    dataset: DatasetConfig
    models: tuple[ModelConfig, ...]
    encoder: EncoderConfig = EncoderConfig()
    encode: tuple[EncodeConfig, ...] = ()
    evaluation: EvaluationConfig = EvaluationConfig()
    rsa: RsaConfig | None = None
    decode: DecodeConfig | None = None
    title: str = ""
    seed: int = 0
    output: str = "results"
    maps: bool = True
    folder: str = "."

    def path(self, name: str | Path) -> Path:
        """Return a path of the study file as an absolute path."""
        return (Path(self.folder) / Path(name).expanduser()).resolve()

    def to_dict(self) -> dict[str, Any]:
        """Return all resolved fields, defaults included, without the folder the file stands in."""
        out = dataclasses.asdict(self)
        out.pop("folder")
        return out


def load_study(path: str | Path) -> StudyConfig:
    """Read and check a study file.

    Raises
    ------
    StudyError
        Naming the entry that is unknown, missing or of the wrong kind.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(f"no study file {path}.")
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not valid TOML: {error}.") from error
    return parse_study(content, path.parent)


def parse_study(content: Mapping[str, Any], folder: str | Path = ".") -> StudyConfig:
    """Check the content of a study file, given as nested dicts."""
    sections = ("study", "dataset", "models", "encoder", "encode", "evaluation", "rsa", "decode")
    for name in content:
        if name not in sections:
            raise StudyError(f"unknown section [{name}]{nearest(name, sections)} Sections: {', '.join(sections)}.")
    if "dataset" not in content:
        raise StudyError("the study needs a section [dataset].")
    dataset = dict(content["dataset"])
    only_rdms = dataset.get("kind") == "rdms"
    if "models" not in content and not only_rdms:
        raise StudyError("the study needs a section [models].")
    dataset["rdms"] = _rdm_files(dataset.get("rdms", []), "dataset.rdms")
    dataset["recordings"] = tuple(
        _build(Recording, r, f"dataset.recordings[{i}]") for i, r in enumerate(dataset.get("recordings", []))
    )
    models = tuple(_build(ModelConfig, m, f"models[{i}]") for i, m in enumerate(content.get("models", [])))
    encode = content.get("encode", [])
    if not isinstance(encode, list):
        raise StudyError("encoders stand in [[encode]], with two brackets, one entry each.")
    rsa = dict(content.get("rsa", {}))
    rsa["models"] = _rdm_files(rsa.get("models", []), "rsa.models")
    study = _build(
        StudyConfig,
        {
            "name": "study",
            **content.get("study", {}),
            "dataset": _build(DatasetConfig, dataset, "dataset"),
            "models": models,
            "encoder": _build(EncoderConfig, content.get("encoder", {}), "encoder"),
            "encode": tuple(_build(EncodeConfig, e, f"encode[{i}]") for i, e in enumerate(encode)),
            "evaluation": _build(EvaluationConfig, content.get("evaluation", {}), "evaluation"),
            "rsa": _build(RsaConfig, rsa, "rsa") if only_rdms or "rsa" in content else None,
            "decode": _build(DecodeConfig, content["decode"], "decode") if "decode" in content else None,
            "folder": str(Path(folder).resolve()),
        },
        "study",
    )
    _check(study)
    return study


def _rdm_files(entries: Any, where: str) -> tuple[RdmFile, ...]:
    return tuple(_build(RdmFile, entry, f"{where}[{i}]") for i, entry in enumerate(entries))


def _build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in known:
            raise StudyError(f"unknown entry {name!r} in {where}{nearest(name, known)} Entries: {', '.join(known)}.")
    for name, f in known.items():
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and name not in values:
            raise StudyError(f"{where} needs an entry {name!r}.")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check(study: StudyConfig) -> None:
    data, evaluation = study.dataset, study.evaluation
    if data.kind not in ("nsd", "recordings", "rdms"):
        raise StudyError(f"dataset.kind must be 'nsd', 'recordings' or 'rdms', got {data.kind!r}.")
    if study.decode is not None:
        check_decode(study.decode, data.kind)
    if study.rsa is not None:
        check_rsa(study.rsa, data.kind, bool(data.rdms), bool(study.models) and data.images is None)
    if data.kind == "rdms":
        if study.encode:
            raise StudyError("[[encode]] needs responses, but dataset.kind is 'rdms'.")
        return
    if data.kind == "recordings" and not data.recordings:
        raise StudyError("dataset.kind = 'recordings' needs at least one [[dataset.recordings]].")
    names = [m.name for m in study.models]
    if not names or len(set(names)) != len(names):
        raise StudyError(f"the study needs [[models]] with distinct names, got {names}.")
    ways = [evaluation.split is not None, evaluation.folds is not None, evaluation.test is not None]
    if sum(ways) != 1:
        raise StudyError("evaluation needs exactly one of split = 'name', folds = 5 or test = 0.2.")
    if evaluation.folds is not None and (not isinstance(evaluation.folds, int) or evaluation.folds < 2):
        raise StudyError(f"evaluation.folds must be an integer of at least 2, got {evaluation.folds!r}.")
    if evaluation.test is not None and not 0 < evaluation.test < 1:
        raise StudyError(f"evaluation.test must be a share between 0 and 1, got {evaluation.test!r}.")
    if study.encoder.kind != "ridge":
        raise StudyError(f"encoder.kind must be 'ridge', got {study.encoder.kind!r}.")
    alpha_grid(study.encoder.alphas)
    if not any(m.layerwise for m in study.models):
        raise StudyError("at least one of [[models]] must be encoded layer by layer: all have layerwise = false.")
    check_encoders(study.encode, {m.name: None if isinstance(m.layers, str) else m.layers for m in study.models})


def alpha_grid(alphas: Any) -> Any:
    """Return "auto" or the array of penalties that the study file means."""
    import numpy as np

    if isinstance(alphas, str):
        if alphas != "auto":
            raise StudyError(f"encoder.alphas must be 'auto', a list, or {{start, stop, n}}, got {alphas!r}.")
        return alphas
    if isinstance(alphas, Mapping):
        if set(alphas) != {"start", "stop", "n"}:
            raise StudyError(f"encoder.alphas as a grid needs start, stop (powers of ten) and n, got {sorted(alphas)}.")
        return np.logspace(alphas["start"], alphas["stop"], alphas["n"])
    grid = np.asarray(alphas, dtype=float).reshape(-1)
    if not grid.size or not (grid > 0).all():
        raise StudyError(f"encoder.alphas must be positive, got {list(alphas)}.")
    return grid

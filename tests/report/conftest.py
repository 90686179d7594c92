"""Synthetic study results: early areas described best by early layers and Gabor energies, late areas by late layers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuro.data import Voxels
from neuro.data.voxels import Volume
from neuro.report import StudyResults, SubjectResults

ROIS = ("V1", "V2", "V3", "hV4", "OPA", "PPA", "EBA", "FFA-1")
LAYERS = (
    "visual.stem",
    *(f"visual.stages.{i}.blocks.{j}" for i in (0, 1) for j in (0, 1)),
    "visual.stages.2.blocks.0",
    "visual.head.norm",
    "visual.proj",
)
MODELS = (
    {"name": "phantom-clip", "kind": "pretrained", "layers": list(LAYERS), "fingerprint": "3f1c9b20aa"},
    {"name": "untrained twin", "kind": "untrained", "layers": list(LAYERS), "fingerprint": "77e0d4c1b5"},
    {"name": "Gabor energies", "kind": "control", "layers": ["energy"], "fingerprint": "0c5d3e11f2"},
)


def cortex_voxels(size=6.0, front=-48.0):
    """Voxels of ``size`` mm along the middle of fsaverage5's posterior cortex, regions from back to front."""
    from neuro.plotting import load_fsaverage5

    middle = np.vstack([h.at_depth(0.5) for h in load_fsaverage5()])
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = -78.0, -114.0, -60.0
    ijk = np.unique(np.rint((middle[middle[:, 1] < front] - affine[:3, 3]) / size).astype(int), axis=0)
    geometry = Volume(tuple(ijk.max(axis=0) + 2), affine, ijk)
    xyz = geometry.xyz
    rank = np.argsort(np.argsort(xyz[:, 1] + 0.35 * np.abs(xyz[:, 0]))) / len(xyz)
    labels = np.array([ROIS[min(int(r * len(ROIS)), len(ROIS) - 1)] for r in rank])
    table = pd.DataFrame({"hemi": np.where(xyz[:, 0] < 0, "L", "R")})
    return Voxels(table, geometry, {"areas": labels})


def bare_voxels(n=60):
    """Neurons: no geometry."""
    return Voxels(
        pd.DataFrame({"electrode": np.arange(n)}), None, {"areas": np.where(np.arange(n) < n // 2, "V4 deep", "V4")}
    )


def one_subject(name, voxels, rng, n_test=120):
    areas = voxels.atlas("areas")
    rois = {r: areas == r for r in dict.fromkeys([*ROIS, *np.unique(areas)]) if (areas == r).any()}
    position = np.linspace(0.05, 0.95, len(rois))
    level = np.zeros(len(voxels))
    for p, mask in zip(position, rois.values(), strict=True):
        level[mask] = p
    ceiling = np.clip(rng.beta(3, 3, len(voxels)) * 0.9, 0, 1)
    noise = lambda: rng.standard_normal(len(voxels)) / np.sqrt(n_test)  # noqa: E731
    scores = {}
    for model in MODELS:
        for k, layer in enumerate(model["layers"]):
            depth = k / (len(LAYERS) - 1)
            if model["kind"] == "pretrained":
                fit = 0.9 * np.exp(-(((depth - level) / 0.55) ** 2))
            elif model["kind"] == "untrained":
                fit = 0.45 * np.exp(-((level / 0.8) ** 2)) * (1 - 0.5 * depth) + 0.05
            else:
                fit = 0.92 * np.exp(-((level / 0.35) ** 2)) + 0.06
            scores[model["name"], layer] = (fit * np.sqrt(ceiling) + noise()).astype(np.float32)
    angle, ecc = rng.uniform(-np.pi, np.pi, 90), rng.uniform(0.2, 3.8, 90)
    x, y, size = ecc * np.cos(angle), ecc * np.sin(angle), 0.3 + 0.2 * ecc
    prf = {
        "x": x + rng.normal(0, 0.25, 90), "y": y + rng.normal(0, 0.25, 90), "size": size * rng.lognormal(0, 0.15, 90),
        "x_true": x, "y_true": y, "size_true": size, "voxel": np.arange(90),
    }  # fmt: skip
    counts = {
        "n_train_images": 880, "n_test_images": n_test, "n_trials": 3000, "n_sessions": 4, "repeats": 3, "n_invalid": 2,
    }  # fmt: skip
    alphas = {k: 10.0 ** rng.integers(-1, 5, len(voxels)) for k in scores}
    return SubjectResults(
        name, voxels, rois, scores, ceiling, alphas=alphas, counts=counts, prf=prf, truth={"snr": ceiling}
    )


def tidy_table(subjects, rng):
    rows = []
    for s in subjects:
        for (model, layer), r in s.scores.items():
            for roi, mask in s.rois.items():
                score = float(r[mask].mean())
                half = 0.02 + 0.01 * rng.random()
                shared = {"subject": s.subject, "roi": roi, "model": model, "layer": layer, "split": "shared1000"}
                shared |= {"n_voxels": int(mask.sum()), "n_train": 880, "n_test": 120}
                shared |= {"ceiling": float(s.ceiling[mask].mean()), "median": float(np.median(r[mask]))}
                for metric, value in (("r", score), ("r2/NC", max(score, 0) ** 2 / shared["ceiling"])):
                    found = {"metric": metric, "score": value, "ci_low": value - half, "ci_high": value + half}
                    rows.append(
                        {**shared, **found, "p": 1e-3 if score > 0.05 else 0.4, "q": 2e-3 if score > 0.05 else 0.5}
                    )
    return pd.DataFrame(rows)


def make_study(n_subjects=2, geometry=True, phantom=True, size=6.0, seed=0):
    """Results of a made-up study; without ``geometry`` its channels are neurons of sessions."""
    rng = np.random.default_rng(seed)
    voxels = cortex_voxels(size) if geometry else bare_voxels()
    names = [f"subj{k + 1:02d}" if geometry else f"session {k + 1}" for k in range(n_subjects)]
    subjects = {n: one_subject(n, voxels, rng) for n in names}
    if not geometry:
        import dataclasses

        subjects = {n: dataclasses.replace(s, prf=None, truth=None) for n, s in subjects.items()}
    grid = np.linspace(0, 1, 48)
    examples = []
    for k, caption in enumerate(
        ["a face in front of a wall", "a dog <b>and</b> a tree", "a house", "", "two people", "soup"]
    ):
        wave = np.sin(6 * (k + 1) * grid[:, None] + rng.uniform(0, 6)) * np.cos(5 * grid[None, :] * (k + 1))
        rgb = np.stack([wave * rng.uniform(0.3, 1) for _ in range(3)], axis=-1)
        examples.append((k * 7, (127 + 120 * rgb).astype(np.uint8), caption))
    claims = [
        ("early_layers", "V1 is best described by one of the first three layers", 1, "<= 3"),
        ("gabor", "Gabor energies beat the untrained network in V1", 0.21, "> 0"),
        ("prf", "pRF centres lie within half a degree of the truth (median)", 0.29, "< 0.5"),
    ]
    checks = [dict(zip(("name", "claim", "value", "expected"), c, strict=True), passed=True) for c in claims]
    kind = {
        "kind": "nsd",
        "root": "phantom",
        "space": "func1pt8mm",
        "betas": "fithrf_GLMdenoise_RR",
        "voxels": "nsdgeneral",
        "rois": list(ROIS),
        "zscore": "session",
        "recordings": [],
    }
    if not geometry:
        kind = {"kind": "recordings", "root": ".", "recordings": [{"name": n} for n in names]}
    config = {
        "name": "demo", "title": "", "seed": 0, "dataset": kind,
        "models": [{"name": m["name"], "model": m["name"], "pool": "mean"} for m in MODELS],
        "encoder": {"kind": "ridge", "alphas": {"start": -1, "stop": 5, "n": 13}, "cv": 5},
        "evaluation": {"split": "shared1000" if geometry else None, "folds": None if geometry else 5, "test": None,
                       "n_bootstraps": 1000, "n_permutations": 1000, "ceiling_floor": 0.1, "shuffled_control": False},
    }  # fmt: skip
    provenance = {
        "versions": {"neuro": "0.1.0", "numpy": "2.3.4", "torch": "2.9.0"},
        "seeds": {"study": 0},
        "created": "2031-05-01T12:00:00",
        "fingerprints": {"subj01": "ab12cd34"},
        "timings": {"features": 31.2, "encode": 12.5, "report": 8.0},
        "command": "neuro demo",
    }
    return StudyResults(
        name="demo",
        title="Encoding of phantom scenes" if phantom else "Encoding in macaque V4",
        table=tidy_table(list(subjects.values()), rng),
        subjects=subjects,
        models=MODELS,
        examples=examples,
        config=config,
        provenance=provenance,
        is_phantom=phantom,
        checks=checks if phantom else [],
    )


@pytest.fixture(scope="session")
def study_factory():
    return make_study


@pytest.fixture(scope="session")
def study():
    """Two phantom subjects with volumes."""
    return make_study()


@pytest.fixture(scope="session")
def neurons():
    """Two sessions of neurons, no geometry, real."""
    return make_study(geometry=False, phantom=False)

"""The in-context network that ships, on a phantom subject of another seed than it was trained with."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from neuro.datasets import NSD
from neuro.datasets.phantom import load_truth, write_phantom
from neuro.encoders import AlphaAtBoundaryWarning, InContextEncoder, RidgeCV, published_ridge_baseline
from neuro.encoders.in_context import PHANTOM, phantom_network
from neuro.encoders.selectivity import text_selectivity
from neuro.features import Extractor, TextExtractor
from neuro.features.phantom_clip import PROMPTS
from neuro.stats import explained_variance

SEED = 501


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Unit embeddings of 240 pictures, z-scored responses, planted preferences ("": none) and noiseless responses."""
    root = tmp_path_factory.mktemp("phantom")
    nsd = NSD(write_phantom(root, 1, 1, 240, 64, SEED, grid="small", snr=1.5, n_jobs=1))
    responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
    features = Extractor("phantom-clip", device="cpu").extract(
        nsd.stimuli.select(responses.stimulus), layers=["output"], progress=False
    )
    X = features.rows("output", responses.stimulus)
    truth = load_truth(root, 1)
    at = {int(k): i for i, k in enumerate(truth["stimulus"])}
    signal = truth["signal"][[at[int(k)] for k in responses.stimulus]].astype(np.float32)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return X, responses.to_numpy(), truth["preference"][truth["general"]], signal


@pytest.fixture(scope="module")
def sides(person):
    X, Y, *_ = person
    return X[:100], Y[:100], X[100:], Y[100:]


def ev(Y, Y_hat):
    return float(explained_variance(Y, Y_hat).mean())


def test_it_loads_by_name_and_says_how_it_was_trained():
    encoder = phantom_network(voxel_batch=7)
    assert encoder.voxel_batch == 7
    assert encoder._network() is encoder._network()  # read once
    assert encoder._network().config.n_features == 128
    assert (PHANTOM / "network.safetensors").stat().st_size < 3e6
    metrics = json.loads((PHANTOM / "metrics.json").read_text())
    assert metrics["finished"]
    assert metrics["minutes"] < 20
    assert metrics["settings"]["seed"] != SEED
    for size, scores in metrics["explained_variance"].items():
        if int(size) <= 300:
            assert scores["in_context"] > max(scores["ridge"], scores["published_ridge"])


@pytest.mark.parametrize(("size", "margin"), [(30, 0.12), (100, 0.07)])
def test_it_beats_ridge_on_a_new_person(sides, size, margin):
    X, Y, X_new, Y_new = sides
    scores = {"in context": ev(Y_new, InContextEncoder("phantom").fit(X[:size], Y[:size]).predict(X_new))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
        scores["ridge"] = ev(Y_new, RidgeCV().fit(X[:size], Y[:size]).predict(X_new))
    coef, intercept = published_ridge_baseline(X[:size], Y[:size])
    scores["published"] = ev(Y_new, X_new @ coef.T + intercept)
    assert scores["in context"] > max(scores["ridge"], scores["published"]) + margin, scores
    assert scores["in context"] > 0.18


def test_shuffled_contexts_lose_the_advantage(sides):
    """What is left is what voxels share; ridge with the true context is better than that."""
    X, Y, X_new, Y_new = sides
    rng = np.random.default_rng(0)
    shuffled = np.column_stack([y[rng.permutation(len(y))] for y in Y.T])
    encoder = InContextEncoder("phantom")
    true, chance = (ev(Y_new, encoder.fit(X, y).predict(X_new)) for y in (Y, shuffled))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
        ridge = ev(Y_new, RidgeCV().fit(X, Y).predict(X_new))
    assert chance < ridge - 0.02
    assert true > chance + 0.1


def test_larger_contexts_help(sides):
    X, Y, X_new, Y_new = sides
    encoder = InContextEncoder("phantom")
    scores = [ev(Y_new, encoder.fit(X[:n], Y[:n]).predict(X_new)) for n in (20, 50, 100)]
    assert scores[0] + 0.01 < scores[1] < scores[2] - 0.005


def test_words_find_the_planted_regions(person, sides):
    """Of voxels with a preference, those for the category asked for have the highest z: AUC above .88 on average."""
    encoder = InContextEncoder("phantom").fit(*sides[:2])
    planted = person[2]
    text = TextExtractor("phantom-clip", device="cpu")
    found = text_selectivity(encoder, PROMPTS, text_extractor=text)
    ridge = text_selectivity(RidgeCV().fit(*sides[:2]), PROMPTS, text_extractor=text, images=sides[0])
    names = [n for n in found.names if (planted == n).sum() >= 5]
    assert len(names) >= 4
    for result, least in ((found, 0.88), (ridge, 0.88)):
        areas = [
            roc_auc_score(planted[planted != ""] == n, result.z[planted != "", found.names.index(n)]) for n in names
        ]
        assert np.mean(areas) > least, areas
    only = text_selectivity(encoder, ["a portrait of a woman"], text_extractor=text, neutral=["a picture", "a view"])
    assert roc_auc_score(planted[planted != ""] == "face", only.z[planted != "", 0]) > 0.8


def test_attended_pictures_are_the_informative_ones(person, sides):
    """Voxels lose more without the forty pictures that they attended to most than without those attended to least."""
    X, Y, X_new, Y_new = sides
    voxels = np.flatnonzero(person[2] != "")
    encoder = InContextEncoder("phantom").fit(X, Y)
    attention = encoder.context_attention(voxels=voxels)
    assert attention.shape == (len(voxels), 100)
    order = np.argsort(-attention, axis=1)
    network = encoder._network()
    left = {}
    for name, kept in (("without most", order[:, 40:]), ("without least", order[:, :-40])):
        context = torch.from_numpy(X[kept]).float(), torch.from_numpy(Y[kept, voxels[:, None]]).float()
        with torch.no_grad():
            weights = network(*context).numpy()
        left[name] = ev(Y_new[:, voxels], X_new @ weights[:, :-1].T + weights[:, -1])
    assert left["without least"] > left["without most"] + 0.04, left


def test_a_block_attends_to_what_a_voxel_likes(person, sides):
    """Attention follows the planted, noiseless response in category regions, and other voxels' responses less.

    Which block does is an accident of training.
    """
    planted, signal = person[2], person[3][:100]
    voxels = np.flatnonzero(np.isin(planted, ["face", "place", "word", "food"]))
    encoder = InContextEncoder("phantom").fit(*sides[:2])
    same = planted[voxels][:, None] == planted[voxels]
    own, others = [], []
    for block in range(encoder._network().config.n_layers):
        attention = encoder.context_attention(block, voxels=voxels)
        r = np.corrcoef(attention, signal[:, voxels].T)[: len(voxels), len(voxels) :]  # attention of i, signal of j
        own.append(np.median(np.diag(r)))
        others.append(np.median(r[same]) - np.median(r[~same]))
    best = int(np.argmax(np.abs(own)))
    assert abs(own[best]) > 0.5, own
    assert np.sign(own[best]) * others[best] > 0.15, others

"""Published decoder output: captions of 982 pictures by three systems, scored as their leaderboard did."""

import json
import shutil

import numpy as np
import pytest

from neuro.decoders.metrics._java import meteor_scores
from neuro.decoders.metrics._ngrams import bleu, bleu_statistics, cider, rouge_l
from neuro.decoders.metrics.caption_search import caption_identification
from neuro.decoders.metrics.captions import align_captions, caption_scores
from neuro.decoders.metrics.result import results_table
from neuro.decoders.metrics.tokenise import split_captions

pytestmark = pytest.mark.real

# Percent: BLEU-1 to BLEU-4, METEOR, ROUGE-L, CIDEr. The first, third and fourth rows are the leaderboard's.
TABLE = {
    "umbrae_v1_4": (59.44, 40.48, 27.66, 19.03, 19.45, 43.71, 61.06),
    "umbrae_v1": (57.84, 38.43, 25.41, 17.17, 18.70, 42.14, 53.87),
    "braincap": (55.96, 36.21, 22.70, 14.51, 16.68, 40.69, 41.30),
    "sdrecon": (36.21, 17.11, 7.72, 3.43, 10.03, 25.13, 13.83),
}
# Two-way, top-1 and top-10 of 982, top-1 of 300, correlation of similarity matrices.
IDENTIFICATION = {
    "umbrae_v1_4": (0.8881, 0.069, 0.354, 0.165, 0.399),
    "umbrae_v1": (0.8793, 0.058, 0.332, 0.137, 0.366),
    "braincap": (0.8485, 0.043, 0.226, 0.095, 0.295),
    "sdrecon": (0.7512, 0.028, 0.134, 0.059, 0.187),
}
COLUMNS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")


@pytest.fixture(scope="module")
def references(real_data):
    return json.loads((real_data / "brainhub_s1" / "coco_references.json").read_text())


@pytest.fixture(scope="module")
def decoded(real_data):
    folder = real_data / "brainhub_s1" / "captions"
    return {system: json.loads((folder / f"{system}.json").read_text()) for system in TABLE}


@pytest.fixture(scope="module")
def scores(references, decoded):
    return {system: caption_scores(captions, references, n_shuffles=1) for system, captions in decoded.items()}


@pytest.fixture(scope="module")
def identification(references, decoded):
    return {system: caption_identification(captions, references) for system, captions in decoded.items()}


@pytest.mark.parametrize("system", TABLE)
def test_caption_scores_are_the_published_ones(scores, system):
    got = [100 * scores[system][name].value for name in COLUMNS]
    expected = [v for i, v in enumerate(TABLE[system]) if i != 4]
    np.testing.assert_allclose(got, expected, atol=0.00501)


def test_every_system_beats_captions_of_other_pictures_and_intervals_hold_the_value(scores):
    for results in scores.values():
        for r in results.values():
            assert r.n == 982
            assert r.chance < r.ci[0] < r.value < r.ci[1]


def test_one_table_holds_the_systems(scores):
    table = results_table(scores)
    assert len(table) == 4 * len(scores["braincap"])
    assert table["protocol"].str.contains("5 to 6 references per item").all()


@needs_java
def test_pure_python_words_are_stanfords_on_every_caption(references, decoded):
    pytest.importorskip("pycocoevalcap", reason="needs neuro[captions]")
    texts = [t for refs in references.values() for t in refs] + [t for d in decoded.values() for t in d.values()]
    assert len(texts) == 4913 + 4 * 982
    differing = [
        (a, b) for a, b in zip(split_captions(texts, "ptb"), split_captions(texts, "ptb_java"), strict=True) if a != b
    ]
    assert differing == []


def test_every_picture_scores_what_pycocoevalcap_gives_it(references, decoded):
    pytest.importorskip("pycocoevalcap", reason="needs neuro[captions]")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    keys, texts, refs = align_captions(decoded["umbrae_v1_4"], references)
    words, reference_words = split_captions(texts), [split_captions(r) for r in refs]
    truth = {k: [" ".join(w) for w in r] for k, r in zip(keys, reference_words, strict=True)}
    found = {k: [" ".join(w)] for k, w in zip(keys, words, strict=True)}
    np.testing.assert_allclose(
        bleu(bleu_statistics(words, reference_words)).T, Bleu(4).compute_score(truth, found, verbose=0)[1], atol=1e-6
    )
    np.testing.assert_allclose(rouge_l(words, reference_words), Rouge().compute_score(truth, found)[1], atol=1e-6)
    np.testing.assert_allclose(cider(words, reference_words), Cider().compute_score(truth, found)[1], atol=1e-6)


@pytest.mark.slow
@needs_java
def test_meteor_is_the_published_one(references, decoded):
    pytest.importorskip("pycocoevalcap", reason="needs neuro[captions]")
    collections, refs = [], []
    for captions in decoded.values():
        _, texts, refs = align_captions(captions, references)
        collections.append([" ".join(w) for w in split_captions(texts)])
    found = meteor_scores(collections, [[" ".join(w) for w in split_captions(r)] for r in refs])
    np.testing.assert_allclose([100 * total for total, _ in found], [row[4] for row in TABLE.values()], atol=0.00501)


@pytest.mark.slow
@needs_java
def test_meteor_of_the_collection_is_not_the_mean_of_its_sentences(references, decoded):
    pytest.importorskip("pycocoevalcap", reason="needs neuro[captions]")
    some = [str(i) for i in range(60)]
    captions, refs = ({k: d[k] for k in some} for d in (decoded["umbrae_v1_4"], references))
    r = caption_scores(captions, refs, "meteor", n_shuffles=1)
    assert r["meteor"].value > r["meteor"].chance + 0.05
    assert r["sentence_meteor"].per_item.shape == (60,)
    assert r["sentence_meteor"].value != pytest.approx(r["meteor"].value, abs=1e-3)


@pytest.mark.parametrize("system", IDENTIFICATION)
def test_pictures_are_identified_from_captions_as_often_as_published(identification, system):
    two_way, top1, top10, pool, rdm = IDENTIFICATION[system]
    got = {name: r.value for name, r in identification[system].items()}
    assert got["caption_two_way"] == pytest.approx(two_way, abs=0.0001)
    assert got["caption_top1"] == pytest.approx(top1, abs=0.001)
    assert got["caption_top10"] == pytest.approx(top10, abs=0.001)
    assert got["retrieve_image_given_caption"] == pytest.approx(pool, abs=0.01)
    assert got["caption_rdm_correlation"] == pytest.approx(rdm, abs=0.001)
    assert identification[system]["caption_two_way"].details["vocabulary"] == 3037


def test_captions_of_other_pictures_identify_at_chance(references, decoded):
    captions = decoded["umbrae_v1_4"]
    order = np.random.default_rng(0).permutation(982)
    shuffled = {str(i): captions[str(j)] for i, j in enumerate(order)}
    found = caption_identification(shuffled, references)
    for name in ("caption_two_way", "caption_top1", "caption_top10"):
        low, high = found[name].ci
        assert low <= found[name].chance <= high
    assert abs(found["caption_rdm_correlation"].value) < 0.02


def test_systems_come_in_one_order_by_every_metric(scores, identification):
    for results in (scores, identification):
        for name in next(iter(results.values())):
            values = [results[system][name].value for system in TABLE]
            assert values == sorted(values, reverse=True), name

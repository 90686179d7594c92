"""Caption scores against closed forms and the COCO evaluation package; words against Stanford's program."""

import shutil

import numpy as np
import pytest

from neuro.decoders.metrics._ngrams import bleu, bleu_statistics, cider, rouge_l
from neuro.decoders.metrics.caption_search import caption_identification, rdm_correlation, tfidf_vectors
from neuro.decoders.metrics.captions import CAPTION_METRICS, align_captions, caption_scores
from neuro.decoders.metrics.tokenise import TOKENISERS, plain_words, ptb_words, split_captions
from neuro.errors import EmptySelection, ShapeMismatch, UnknownStimulus

NOUNS = ["dog", "cat", "bus", "train", "man", "woman", "horse", "zebra", "boat", "plate", "pizza", "kite", "bench"]
VERBS = ["holds", "watches", "rides", "eats", "near", "behind", "above", "the", "a"]
NO_JAVA = shutil.which("java") is None


@pytest.fixture
def collection():
    """Captions of 40 imagined pictures: decoded ones that keep some of the words, and 2 to 5 references each."""
    rng = np.random.default_rng(3)

    def sentence(length):
        return " ".join(rng.choice(NOUNS if i % 2 else VERBS) for i in range(length))

    references = [[sentence(rng.integers(5, 14)) for _ in range(rng.integers(2, 6))] for _ in range(40)]
    candidates = []
    for refs in references:
        words = refs[0].split()
        keep = rng.random(len(words)) < 0.7
        candidates.append(" ".join(w if k else str(rng.choice(NOUNS)) for w, k in zip(words, keep, strict=True)))
    return candidates, references


def words_of(candidates, references):
    return [c.split() for c in candidates], [[r.split() for r in refs] for refs in references]


def coco_format(candidates, references):
    return {i: refs for i, refs in enumerate(references)}, {i: [c] for i, c in enumerate(candidates)}


def test_bleu_is_that_of_pycocoevalcap_for_every_item_and_the_collection(collection, capsys):
    scorer = pytest.importorskip("pycocoevalcap.bleu.bleu", reason="needs neuro[captions]").Bleu(4)
    whole, items = scorer.compute_score(*coco_format(*collection), verbose=0)
    statistics = bleu_statistics(*words_of(*collection))
    np.testing.assert_allclose(bleu(statistics.sum(0)), whole, atol=1e-6)
    np.testing.assert_allclose(bleu(statistics).T, items, atol=1e-6)
    results = caption_scores(*collection, "bleu", "words")
    np.testing.assert_allclose([results[f"bleu{k}"].value for k in (1, 2, 3, 4)], whole, atol=1e-6)
    np.testing.assert_allclose(results["sentence_bleu4"].per_item, items[3], atol=1e-6)


def test_rouge_l_is_that_of_pycocoevalcap_for_every_item(collection):
    scorer = pytest.importorskip("pycocoevalcap.rouge.rouge", reason="needs neuro[captions]").Rouge()
    mean, items = scorer.compute_score(*coco_format(*collection))
    np.testing.assert_allclose(rouge_l(*words_of(*collection)), items, atol=1e-6)
    assert caption_scores(*collection, "rouge_l")["rouge_l"].value == pytest.approx(mean, abs=1e-6)


def test_cider_is_that_of_pycocoevalcap_for_every_item(collection):
    scorer = pytest.importorskip("pycocoevalcap.cider.cider", reason="needs neuro[captions]").Cider()
    mean, items = scorer.compute_score(*coco_format(*collection))
    np.testing.assert_allclose(cider(*words_of(*collection)), items, atol=1e-6)
    assert caption_scores(*collection, "cider")["cider"].value == pytest.approx(mean, abs=1e-6)


def test_equal_text_scores_one_and_disjoint_text_zero():
    texts = ["a dog runs on grass", "two cats sit near bowls"]
    equal = caption_scores(texts, [[t] for t in texts])
    disjoint = caption_scores(texts, [["one red bus passes by", "some buses"], ["this big plane flies high"]])
    for name in ("bleu1", "bleu4", "sentence_bleu4", "rouge_l"):
        assert equal[name].value == pytest.approx(1, abs=1e-6)
        assert disjoint[name].value == pytest.approx(0, abs=1e-6)
    assert disjoint["cider"].value == 0
    assert equal["cider"].value == pytest.approx(10)


def test_the_order_of_references_does_not_matter(collection):
    candidates, references = collection
    a = caption_scores(candidates, references)
    b = caption_scores(candidates, [refs[::-1] for refs in references])
    for name in a:
        assert a[name].value == pytest.approx(b[name].value, abs=1e-12)


def test_a_short_candidate_pays_the_brevity_penalty():
    words, refs = [["a", "b", "c"]], [[["a", "b", "c", "d", "e"]]]
    assert bleu(bleu_statistics(words, refs))[0, 0] == pytest.approx(np.exp(1 - 5 / 3), abs=1e-6)
    assert bleu(bleu_statistics([["a"] * 5], [[["a"] * 5, ["a"] * 9]]))[0, 0] == pytest.approx(1, abs=1e-6)


def test_of_two_references_equally_far_the_shorter_sets_the_length():
    refs = [[["a"] * 4, ["a"] * 2]]
    assert bleu_statistics([["a"] * 3], refs)[0, -1] == 2


def test_a_repeated_word_counts_no_more_often_than_in_a_reference():
    matched = bleu_statistics([["the"] * 7], [[["the", "cat", "the"], ["the"]]])[0]
    assert (matched[0], matched[4]) == (2, 7)


def test_rouge_l_takes_the_best_precision_and_the_best_recall():
    # Longest common subsequence 2 of both; precision 2/3, recall 2/2 from the shorter reference.
    value = rouge_l([["a", "x", "b"]], [[["a", "b"], ["a", "y", "b", "z"]]])[0]
    p, r = 2 / 3, 1.0
    assert value == pytest.approx((1 + 1.44) * p * r / (r + 1.44 * p))


def test_an_empty_candidate_scores_zero_everywhere():
    scores = caption_scores(["", "a dog"], [["a cat"], ["a dog"]])
    assert scores["sentence_bleu1"].per_item[0] == pytest.approx(0, abs=1e-6)
    assert scores["rouge_l"].per_item[0] == 0
    assert scores["cider"].per_item[0] == 0


def test_corpus_bleu_is_not_the_mean_of_sentences(collection):
    scores = caption_scores(*collection, "bleu")
    assert scores["bleu4"].value != pytest.approx(scores["sentence_bleu4"].value, abs=0.01)
    assert scores["bleu4"].per_item is None
    assert scores["sentence_bleu4"].per_item.shape == (40,)
    low, high = scores["bleu4"].ci
    assert low < scores["bleu4"].value < high


def test_chance_is_the_score_of_captions_of_other_items(collection):
    candidates, references = collection
    scores = caption_scores(candidates, references, n_shuffles=5)
    shifted = caption_scores(candidates[1:] + candidates[:1], references, n_shuffles=0)
    for name in ("bleu1", "sentence_bleu2", "rouge_l", "cider"):
        assert scores[name].chance < scores[name].ci[0]
        assert shifted[name].chance is None
        low, high = shifted[name].ci
        assert low - 0.05 < scores[name].chance < high + 0.05


def test_cider_weighs_by_the_documents_it_is_given(collection):
    candidates, references = collection
    own = caption_scores(candidates, references, "cider")["cider"]
    same = caption_scores(candidates, references, "cider", documents=references)["cider"]
    np.testing.assert_allclose(own.per_item, same.per_item)
    assert "these references" in own.protocol
    assert "40 given documents" in same.protocol
    one = caption_scores(candidates[:1], references[:1], "cider", documents=dict(enumerate(references)))["cider"]
    assert one.value == pytest.approx(own.per_item[0])
    with pytest.raises(EmptySelection, match="Pass documents="):
        caption_scores(candidates[:1], references[:1], "cider")


def test_dicts_are_matched_by_key_and_ordered_as_numbers(collection):
    candidates, references = collection
    by_key = {str(i): refs for i, refs in reversed(list(enumerate(references)))}
    scores = caption_scores({str(i): [c] for i, c in enumerate(candidates)}, by_key, "rouge_l")
    np.testing.assert_array_equal(
        scores["rouge_l"].per_item, caption_scores(candidates, references, "rouge_l")["rouge_l"].per_item
    )
    assert align_captions({"b": "x", "a": "y"}, {"a": "1", "b": "2"}) == (["a", "b"], ["y", "x"], [["1"], ["2"]])


def test_inputs_are_left_as_they_were(collection):
    candidates, references = collection
    before = [list(candidates), [list(r) for r in references]]
    caption_scores(candidates, references)
    assert [candidates, references] == before


@pytest.mark.parametrize(
    ("candidates", "references", "error", "match"),
    [
        (["a"], ["a", "b"], ShapeMismatch, "1 candidates, but references of 2"),
        ({"1": "a"}, {"2": "a"}, UnknownStimulus, "1 ids have no references, first"),
        ({"1": "a"}, {"1": "a", "2": "b"}, UnknownStimulus, "1 ids have no candidates, first"),
        ({"1": "a"}, ["a"], TypeError, "both be dicts or both be sequences"),
        ("a dog", ["a dog"], TypeError, "not one str"),
        ([], [], EmptySelection, "no captions"),
        (["a"], [[]], EmptySelection, "item 0 has no reference"),
        ([["a", "b"]], [["a"]], ShapeMismatch, "one decoded caption"),
        (["a", "b"], [["a"], [3]], TypeError, "caption 3 is int"),
    ],
)
def test_captions_that_do_not_belong_together_are_refused(candidates, references, error, match):
    with pytest.raises(error, match=match):
        caption_scores(candidates, references, "rouge_l")


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="metrics must be 'bleu', 'rouge_l'"):
        caption_scores(["a"], ["a"], "spice")
    with pytest.raises(ValueError, match="tokeniser must be 'ptb'"):
        caption_scores(["a"], ["a"], "bleu", "nltk")
    with pytest.raises(ValueError, match="n_shuffles"):
        caption_scores(["a"], ["a"], "bleu", n_shuffles=-1)


def test_results_say_which_words_and_how_many_references(collection):
    for tokeniser in ("ptb", "words"):
        for r in caption_scores(*collection, tokeniser=tokeniser).values():
            assert TOKENISERS[tokeniser][1] in r.protocol
            assert "2 to 5 references per item" in r.protocol
    assert "1 reference per item" in caption_scores(["a", "b"], ["a", "b"], "bleu")["bleu1"].protocol


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man can't ride; the dog's gone.", "a man ca n't ride the dog 's gone"),
        ("They've said: 'I'm here!'", "they 've said i 'm here"),
        ("black-and-white t-shirt, and/or AT&T", "black-and-white t-shirt and/or at&t"),
        ("Mr. Smith, at 5:30 p.m. near Mt. Fuji.", "mr. smith at 5:30 p.m. near mt. fuji"),
        ("it cost $5.00 -- 1,000 times 50% (half)...", "it cost $ 5.00 1,000 times 50 % -lrb- half -rrb-"),
        ('the sign says "Stop".', "the sign says stop"),
        ("He cannot; gonna eat at five o'clock", "he can not gon na eat at five o'clock"),
        ("dogs' tails, 90's cars, the '80s", "dogs tails 90 's cars the '80s"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_treebank_words_follow_the_rules(text, words):
    assert ptb_words(text) == words.split()


@pytest.mark.skipif(NO_JAVA, reason="needs Java")
def test_treebank_words_are_those_of_stanfords_program():
    pytest.importorskip("pycocoevalcap", reason="needs neuro[captions]")
    texts = [
        "I can't, don't, won't, isn't it? They're we've I'll he'd I'm John's dogs' tails",
        "cannot gonna gotta wanna lemme gimme 'tis 'twas",
        "a black-and-white t-shirt re-entry 1980s '90s 90's 2nd 10am 4x4 7-up",
        "and/or 1/2 3/4 cup black/white a/c 50/50 w/o a/b/c foo_bar",
        "at 5:30 p.m. in the U.S. by Mr. Smith and Dr. Jones on Main St. near Mt. Fuji.",
        "it cost $5.00, 1,000 dollars, 50% off #1 item & more AT&T R&B, Ben & Jerry's",
        "(hello) [world] {foo} \"quoted\" 'single' ``tick''",
        "wait... what?! no!! -- really - yes -- ok; a:b",
        "café naïve “curly” ‘single’ it’s — dash – en … £5 €3",
        "number #12 and route 66. no. 9 no. Fig. 2 St. Bernard, e.g. this, etc. vs. that",
        "a man,who 3,dogs 3, 4,5 half-eaten, two-story; three-way! AC/DC R2-D2",
        "",
        "  spaced   out  . . .",
    ]
    assert split_captions(texts, "ptb") == split_captions(texts, "ptb_java")


def test_plain_words_are_runs_of_letters():
    assert plain_words("A man's 2 T-shirts!") == ["a", "man", "s", "t", "shirts"]


@pytest.mark.parametrize(("metric", "tokeniser"), [("bleu", "ptb_java"), ("meteor", "ptb")])
def test_without_java_the_message_says_what_to_do(monkeypatch, metric, tokeniser):
    pytest.importorskip("pycocoevalcap", reason="needs neuro[captions]")
    monkeypatch.setattr("neuro.decoders.metrics._java.shutil.which", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="no 'java' on the path"):
        caption_scores(["a", "b"], ["a", "b"], metric, tokeniser)


def test_without_the_package_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocoevalcap", None)
    with pytest.raises(ModuleNotFoundError, match=r"METEOR needs pycocoevalcap.*neuro\[captions\]"):
        caption_scores(["a", "b"], ["a", "b"], "meteor")


def test_missing_java_is_noticed_before_anything_is_computed(monkeypatch):
    pytest.importorskip("pycocoevalcap", reason="needs neuro[captions]")
    monkeypatch.setattr("neuro.decoders.metrics._java.shutil.which", lambda name: None)

    def never(*args):
        pytest.fail("BLEU was computed first")

    monkeypatch.setitem(CAPTION_METRICS, "bleu", never)
    with pytest.raises(ModuleNotFoundError, match="Java runtime"):
        caption_scores(["a", "b"], ["a", "b"], ("bleu", "meteor"))


def test_embedding_similarity_is_the_mean_cosine_with_the_references():
    vectors = {"a": [1.0, 0.0], "b": [0.0, 2.0], "c": [3.0, 4.0]}

    def encoder(texts):
        return np.array([vectors[t] for t in texts])

    r = caption_scores(["a", "b"], [["a", "c"], ["c"]], "embedding", encoder=encoder)["embedding_similarity"]
    np.testing.assert_allclose(r.per_item, [(1 + 0.6) / 2, 0.8])
    np.testing.assert_allclose(r.chance, ((0.6) + (0 + 0.8) / 2) / 2)
    assert "encoder" in r.protocol
    with pytest.raises(ShapeMismatch, match="one vector for each of 4"):
        caption_scores(["a", "b"], ["a", "c"], "embedding", encoder=lambda texts: np.ones((3, 2)))


def test_phantom_clip_finds_the_right_caption_closer_than_a_wrong_one():
    references = [["a brown dog"], ["a red house"], ["a person with food"]]
    candidates = ["a dog", "a house", "food"]
    r = caption_scores(candidates, references, "embedding")["embedding_similarity"]
    assert "phantom-clip" in r.protocol
    assert r.value > r.chance + 0.1


def test_tfidf_vectors_follow_their_definition():
    captions, references = ["Dog dog cat unicorn"], [["a dog", "the dog"], ["a cat"], ["a bus"]]
    vectors, documents, words = tfidf_vectors(captions, references)
    assert words == ["a", "bus", "cat", "dog", "the"]
    first = np.array([0, 0, 0, 2 * np.log(3), np.log(3)])
    np.testing.assert_allclose(documents[0], first / np.linalg.norm(first))
    np.testing.assert_allclose(vectors[0], np.array([0, 0, 1, 2, 0]) / np.sqrt(5))
    assert tfidf_vectors(["unicorn"], references)[0].tolist() == [[0] * 5]


def test_captions_that_name_their_picture_identify_it_and_wordless_ones_tie():
    references = [[f"the {noun}", colour] for noun, colour in zip(NOUNS, ["red", "blue"] * 7, strict=False)]
    exact = caption_identification([f"one {' '.join(refs)}" for refs in references], references, pool=5, top=(1, 3))
    for name in ("caption_two_way", "retrieve_image_given_caption", "caption_top1", "caption_top3"):
        assert exact[name].value == 1
    assert exact["caption_rdm_correlation"].value == pytest.approx(1)
    empty = caption_identification(["unicorn"] * 13, references, pool=5, top=(1,))
    assert empty["caption_two_way"].value == 0.5
    assert empty["caption_top1"].value == pytest.approx(1 / 13)
    assert empty["retrieve_image_given_caption"].value == pytest.approx(1 / 5)
    assert np.isnan(empty["caption_rdm_correlation"].value)
    assert empty["caption_two_way"].details["captions_without_known_word"] == 13


def test_identification_refuses_pools_larger_than_the_collection():
    with pytest.raises(ValueError, match="pool of 300 pictures needs as many items, got 2"):
        caption_identification(["a", "b"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="top must be below the number of items, 2"):
        caption_identification(["a", "b"], [["a"], ["b"]], pool=2)


def test_similarity_structure_is_blind_to_rotations_and_sees_shuffles(rng):
    x = rng.standard_normal((30, 8))
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert rdm_correlation(3 * x @ rotation, x).value == pytest.approx(1)
    assert abs(rdm_correlation(rng.permutation(x), x).value) < 0.2
    with pytest.raises(ShapeMismatch, match="same n >= 3"):
        rdm_correlation(x, x[:5])

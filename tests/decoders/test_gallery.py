import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.decoders.metrics.ceiling import equivalent_d_prime, planted_ceiling, posterior
from neuro.decoders.metrics.gallery import Gallery, expected_retrieval, expected_two_way, retrieval
from neuro.decoders.metrics.identify import two_way_identification
from neuro.errors import DuplicateIds, ShapeMismatch

DIRECTIONS = ["brain_to_image", "image_to_brain"]


def test_directions_are_right_where_one_image_attracts_all_brains():
    e = np.eye(6)
    r = retrieval(e + 2 * e[0], e, pool=6)
    assert r.brain_to_image.value == pytest.approx(1 / 6)
    assert r.image_to_brain.value == pytest.approx(1.0)
    assert r.brain_to_image is r.retrieve_image_given_brain
    assert r.image_to_brain is r.retrieve_brain_given_image
    assert (r.brain_to_image.metric, r.image_to_brain.metric) == (
        "retrieve_image_given_brain",
        "retrieve_brain_given_image",
    )
    assert r.brain_to_image.chance == pytest.approx(1 / 6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), repeats=st.sampled_from([None, 5]))
def test_retrieval_ignores_rotation_positive_scaling_and_with_all_pools_the_order(seed, repeats):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((14, 6))
    brain = image + rng.standard_normal((14, 6))
    before = retrieval(brain, image, 5, repeats, n_bootstraps=0)
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    gains = rng.uniform(0.1, 10, (2, 14, 1))
    after = retrieval(gains[0] * brain @ rotation, gains[1] * image @ rotation, 5, repeats, n_bootstraps=0)
    order = rng.permutation(14)
    shuffled = retrieval(brain[order], image[order], 5, None, n_bootstraps=0)
    for d in DIRECTIONS:
        assert getattr(after, d).value == pytest.approx(getattr(before, d).value)
        assert getattr(shuffled, d).value == pytest.approx(getattr(before, d).details["all_pools"])


def test_all_pools_is_the_mean_over_every_pool(rng):
    image = rng.standard_normal((7, 4))
    brain = image + rng.standard_normal((7, 4))
    exact = retrieval(brain, image, 3, None)
    for d in DIRECTIONS:
        pools = [
            getattr(retrieval(brain[list(p)], image[list(p)], 3, n_bootstraps=0), d).value
            for p in itertools.combinations(range(7), 3)
        ]
        assert getattr(exact, d).value == pytest.approx(np.mean(pools))
        drawn = getattr(retrieval(brain, image, 3, 3000, n_bootstraps=0), d)
        assert drawn.value == pytest.approx(np.mean(pools), abs=4 * np.std(pools) / np.sqrt(3000))
        assert drawn.details["all_pools"] == pytest.approx(np.mean(pools))


def test_equal_embeddings_share_the_place_and_are_reported():
    constant = np.ones((8, 5))
    image = np.random.default_rng(0).standard_normal((8, 5))
    r = retrieval(constant, image, 8)
    assert r.image_to_brain.value == pytest.approx(1 / 8)
    assert r.brain_to_image.value == pytest.approx(1 / 8)
    assert r.image_to_brain.details["tied_items"] == 8
    assert r.image_to_brain.details["repeated_rows"] == {"brains": 7, "images": 0}
    twice = np.concatenate([image, image])
    doubled = retrieval(twice, twice, 16)
    assert doubled.brain_to_image.value == pytest.approx(0.5)
    assert doubled.brain_to_image.details["repeated_rows"] == {"brains": 8, "images": 8}


def test_the_interval_is_over_images(rng):
    image = rng.standard_normal((400, 20))
    brain = image + 3 * rng.standard_normal((400, 20))
    r = retrieval(brain, image, 50, 30)
    low, high = r.brain_to_image.ci
    items = r.brain_to_image.per_item
    assert low < r.brain_to_image.value < high
    assert (high - low) / (2 * 1.96) == pytest.approx(np.nanstd(items) / np.sqrt(400), rel=0.25)
    few = retrieval(brain[:100], image[:100], 50, 30).brain_to_image.ci
    assert few[1] - few[0] > 1.5 * (high - low)


def test_rank_distribution(rng):
    image = rng.standard_normal((60, 20))
    brain = image + 2 * rng.standard_normal((60, 20))
    r = retrieval(brain, image, 60)
    for d in DIRECTIONS:
        curve = r.rank_curve(d)
        assert curve[0] == pytest.approx(getattr(r, d).value)
        assert curve[-1] == 1
        assert (np.diff(curve) >= 0).all()
    two_way = two_way_identification(brain, image, "recon", metric="cosine").value
    assert 1 - r.ranks["brain_to_image"].mean() / 59 == pytest.approx(two_way)
    other = two_way_identification(brain, image, "true", metric="cosine").value
    assert 1 - r.ranks["image_to_brain"].mean() / 59 == pytest.approx(other)


def test_top_k_counts_more_and_shuffled_brains_are_at_chance(rng):
    image = rng.standard_normal((300, 10))
    brain = image + rng.standard_normal((300, 10))
    top = [retrieval(brain, image, 100, None, k=k, n_bootstraps=0).brain_to_image for k in (1, 5)]
    assert top[0].value < top[1].value
    assert top[1].chance == 0.05
    shuffled = retrieval(np.roll(brain, 1, axis=0), image, 100, None)
    for d in DIRECTIONS:
        low, high = getattr(shuffled, d).ci
        assert low - 0.005 < 0.01 < high + 0.005


def test_tokens_are_flattened_and_tensors_accepted(rng):
    image = rng.standard_normal((20, 5, 8)).astype(np.float32)
    brain = image + rng.standard_normal(image.shape).astype(np.float32)
    a = retrieval(torch.tensor(brain), torch.tensor(image), 10)
    b = retrieval(brain.reshape(20, -1), image.reshape(20, -1), 10)
    assert a.brain_to_image.value == b.brain_to_image.value


def test_bad_input_is_refused_in_words(rng):
    x = rng.standard_normal((20, 4))
    with pytest.raises(ValueError, match="pool of 300 needs at least as many test items, got 20"):
        retrieval(x, x)
    zero = x.copy()
    zero[3] = 0
    with pytest.raises(ValueError, match=r"brain_embeddings has 1 rows without length \(first: 3\)"):
        retrieval(zero, x, 10)
    zero[3] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        retrieval(x, zero, 10)
    with pytest.raises(ShapeMismatch, match="same space"):
        retrieval(x[:, :3], x, 10)
    with pytest.raises(ValueError, match="k must be below the pool"):
        retrieval(x, x, 10, k=10)


def test_closed_forms_of_equal_variance_gaussian_scores():
    assert [round(expected_two_way(d), 4) for d in (1, 2, 3)] == [0.7602, 0.9214, 0.9831]
    assert [round(expected_retrieval(d, 300), 4) for d in (1, 2, 3)] == [0.0390, 0.2070, 0.5480]
    assert [round(expected_retrieval(d, 1000), 4) for d in (1, 2, 3)] == [0.0166, 0.1203, 0.4116]
    assert expected_retrieval(0, 300) == pytest.approx(1 / 300, rel=1e-6)
    assert expected_retrieval(0, 300, k=7) == pytest.approx(7 / 300, rel=1e-6)
    for d in (0.3, 1.7):
        assert expected_retrieval(d, 2) == pytest.approx(expected_two_way(d))
        assert equivalent_d_prime(expected_retrieval(d, 300), 300) == pytest.approx(d, abs=1e-4)
    assert equivalent_d_prime(1.0, 300) == np.inf


def test_closed_forms_agree_with_simulated_scores(rng):
    wrong = rng.standard_normal((20000, 49))
    right = rng.standard_normal((20000, 1)) + 1.5
    better = (wrong > right).sum(1)
    for k in (1, 3):
        expected = expected_retrieval(1.5, 50, k)
        assert (better < k).mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20000))


@pytest.fixture
def crowd(rng):
    gallery = rng.standard_normal((500, 4, 6)).astype(np.float32)
    gallery[100] = gallery[7]
    gallery[300] = 2 * gallery[7]
    return gallery, gallery[:40] + 0.3 * rng.standard_normal((40, 4, 6)).astype(np.float32)


def test_gallery_search_is_the_sorted_cosine(crowd):
    gallery, query = crowd
    flat, q = (x.reshape(len(x), -1).astype(float) for x in crowd)
    cosine = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (flat / np.linalg.norm(flat, axis=1, keepdims=True)).T
    found = Gallery(gallery).search(query, 5)
    np.testing.assert_array_equal(found.rows, np.argsort(-cosine.round(9), axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(found.scores, np.take_along_axis(cosine, found.rows, 1), atol=1e-6)
    assert found.rows[7, :3].tolist() == [7, 100, 300]


@pytest.mark.parametrize("k", [1, 5, 500])
def test_blocks_and_memory_maps_change_nothing(crowd, tmp_path, k):
    gallery, query = crowd
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    whole, blocks = (Gallery(g, block_bytes=b).search(query, k) for g, b in ((gallery, 1 << 27), (mapped, 700)))
    for a, b in zip(whole, blocks, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_faiss_and_the_plain_search_agree(crowd):
    pytest.importorskip("faiss", reason="needs faiss: pip install 'neuro[retrieval]'")
    gallery, query = crowd
    ids = [f"image {i}" for i in range(500)]
    plain, fast = (Gallery(gallery, ids, backend=b).search(query, 6) for b in ("numpy", "faiss"))
    for a, b in zip(plain, fast, strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_stages_rank_the_shortlist_by_tokens(crowd, rng):
    gallery, query = crowd
    coarse = rng.standard_normal((500, 3))
    everything = Gallery(gallery, coarse=coarse, shortlist=500)
    np.testing.assert_array_equal(
        everything.search(query, 4, coarse_query=coarse[:40]).rows, everything.search(query, 4).rows
    )
    short = Gallery(gallery, coarse=coarse, shortlist=9)
    found = short.search(query, 4, coarse_query=coarse[:40]).rows
    near = Gallery(coarse).search(coarse[:40], 9).rows
    assert all(set(f) <= set(n) for f, n in zip(found, near, strict=True))
    with pytest.raises(ValueError, match="at most 9, the size of the shortlist"):
        short.search(query, 10, coarse_query=coarse[:40])
    with pytest.raises(ValueError, match="no coarse="):
        Gallery(gallery).search(query, 4, coarse_query=coarse[:40])


def test_gallery_refuses_what_does_not_fit(rng):
    x = rng.standard_normal((5, 3))
    with pytest.raises(DuplicateIds, match="'a' stands for 2 rows"):
        Gallery(x, ["a", "a", "b", "c", "d"])
    with pytest.raises(ShapeMismatch, match="each of 5 rows"):
        Gallery(x, ["a"])
    with pytest.raises(ShapeMismatch, match="as the gallery"):
        Gallery(x).search(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="at most 5, the size of the gallery"):
        Gallery(x).search(x, 6)


@pytest.fixture
def planted(rng):
    """Embeddings of 12 dimensions with a decaying covariance, 40 voxels of unequal noise."""
    mix = rng.standard_normal((12, 12)) / np.sqrt(np.arange(1, 13))
    prior = mix @ mix.T
    W = rng.standard_normal((12, 40))
    noise = rng.uniform(40, 400, 40)
    return W, noise, prior


def simulate(W, noise, prior, n, rng):
    e = rng.multivariate_normal(np.zeros(len(prior)), prior, n)
    return e, e @ W + np.sqrt(noise) * rng.standard_normal((n, W.shape[1]))


def test_posterior_is_the_textbook_conditional_gaussian(planted):
    W, noise, prior = planted
    decoder, covariance, information = posterior(W, noise, prior)
    gain = np.linalg.solve(W.T @ prior @ W + np.diag(noise), W.T @ prior)
    np.testing.assert_allclose(decoder, gain, atol=1e-9)
    np.testing.assert_allclose(covariance, prior - prior @ W @ gain, atol=1e-9)
    np.testing.assert_allclose(information, W @ np.diag(1 / noise) @ W.T, atol=1e-9)
    for same in (np.diag(noise),):
        np.testing.assert_allclose(posterior(W, same, prior)[0], decoder, atol=1e-9)
    flat = np.zeros((12, 12))
    flat[0, 0] = 2.0
    assert posterior(W, 3.0, flat)[1][1:].max() == pytest.approx(0)


@pytest.mark.parametrize("score", ["cosine", "dot", "likelihood"])
def test_ceiling_agrees_with_simulated_brains(planted, rng, score):
    W, noise, prior = planted
    ceiling = planted_ceiling(W, noise, prior, pool=50, score=score, n_samples=2000)
    decoder, _, _ = posterior(W, noise, prior)
    e, x = simulate(W, noise, prior, 2000, rng)
    m = x @ decoder
    assert ceiling.r2 == pytest.approx(1 - ((m - e) ** 2).sum() / (e**2).sum(), abs=0.03)
    if score == "cosine":
        top = retrieval(m, e, 50, None).brain_to_image
        assert ceiling.retrieval == pytest.approx(
            top.value, abs=4 * np.hypot(0.5 / 45, ceiling.standard_errors["retrieval"])
        )
        two_way = two_way_identification(m, e, metric="cosine").value
    else:
        s = m @ e.T if score == "dot" else (x / noise) @ W.T @ e.T - 0.5 * ((e @ W) ** 2 / noise).sum(1)
        two_way = 1 - (s > np.diagonal(s)[:, None]).sum(1).mean() / 1999
        from neuro.decoders.metrics.identify import expected_top_k

        better = (s > np.diagonal(s)[:, None]).sum(1)
        value = expected_top_k(better, np.zeros(2000, int), 2000, 50).mean()
        assert ceiling.retrieval == pytest.approx(value, abs=0.03)
    assert ceiling.two_way == pytest.approx(two_way, abs=0.015)
    assert 0.05 < ceiling.retrieval < 0.95


def test_no_rule_beats_the_likelihood_and_repeats_help(planted):
    W, noise, prior = planted
    settings = {"pool": 50, "n_samples": 3000}
    best, cosine, dot = (planted_ceiling(W, noise, prior, score=s, **settings) for s in ("likelihood", "cosine", "dot"))
    margin = 3 * best.standard_errors["retrieval"]
    assert best.retrieval > max(cosine.retrieval, dot.retrieval) - margin
    averaged = planted_ceiling(W, noise / 3, prior, score="cosine", **settings)
    assert averaged.retrieval > cosine.retrieval + margin
    assert averaged.r2 > cosine.r2
    silence = planted_ceiling(W * 1e-4, noise, prior, **settings)
    assert silence.retrieval == pytest.approx(1 / 50, abs=0.01)
    assert silence.two_way == pytest.approx(0.5, abs=0.02)


def test_ceiling_of_given_test_images(planted, rng):
    W, noise, prior = planted
    e, _ = simulate(W, noise, prior, 150, rng)
    given_images = planted_ceiling(W, noise, prior, pool=50, embeddings=e, n_samples=6000)
    drawn = planted_ceiling(W, noise, prior, pool=50, n_samples=3000)
    assert given_images.retrieval == pytest.approx(drawn.retrieval, abs=0.12)
    decoder, _, _ = posterior(W, noise, prior)
    one = [
        retrieval((e @ W + np.sqrt(noise) * rng.standard_normal((150, 40))) @ decoder, e, 50, None, n_bootstraps=0)
        for _ in range(20)
    ]
    assert given_images.retrieval == pytest.approx(np.mean([r.brain_to_image.value for r in one]), abs=0.03)


def test_ceiling_refuses_what_is_no_model(planted):
    W, noise, prior = planted
    with pytest.raises(ValueError, match="positive"):
        planted_ceiling(W, 0.0, prior)
    with pytest.raises(ShapeMismatch, match="one per voxel"):
        planted_ceiling(W, noise[:3], prior)
    with pytest.raises(ValueError, match="negative eigenvalue"):
        planted_ceiling(W, noise, -prior)
    with pytest.raises(ValueError, match="pool of 300"):
        planted_ceiling(W, noise, prior, embeddings=np.ones((5, 12)))

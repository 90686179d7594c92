import dataclasses

from neuro.report import methods, summarise


def text_of(results):
    return " ".join(methods(results, summarise(results)))


def test_what_the_configuration_says_is_said(study):
    text = text_of(study)
    for phrase in (
        "simulated with known properties (a phantom)",
        "fithrf_GLMdenoise_RR",
        "space func1pt8mm",
        "standardised within each session",
        "13 values from 10⁻¹ to 10⁵ by 5-fold cross-validation",
        "split “shared1000”",
        "880 images for training, 120 for testing",
        "1,000 resamples",
        "random seed 0",
        "numpy 2.3.4",
    ):
        assert phrase in text, phrase


def test_real_recordings_are_not_called_a_phantom(neurons):
    text = text_of(neurons)
    assert "phantom)" not in text
    assert "simulated" not in text
    assert "2 recordings" in text
    assert "5-fold cross-validation over images" in text


def test_nothing_is_claimed_without_a_configuration(study):
    bare = dataclasses.replace(study, config={}, provenance={}, is_phantom=False)
    text = text_of(bare)
    for word in ("Natural Scenes", "None", "shared1000", "resamples", "seed", "fold cross"):
        assert word not in text, word


def test_single_penalties_and_lists_are_described(study):
    def with_alphas(alphas):
        return text_of(dataclasses.replace(study, config={"encoder": {"alphas": alphas}}))

    assert "among 1 value from 10² to 10² " in with_alphas([100.0])
    assert "among 3 values from 0.5 to 10³ " in with_alphas([0.5, 10, 1000])
    assert "among a grid of values" in with_alphas("auto")


def test_encoders_side_by_side_are_described(study):
    encode = [
        {"name": "banded", "kind": "banded", "bands": {"a": ["m", "k"], "b": ["m", "j"]}, "curve": [30]},
        {"name": "looks", "kind": "attention", "model": "maps"},
    ]
    models = [{"name": "maps", "model": "phantom-clip", "pool": "spatial:8", "layerwise": False}]
    config = {**study.config, "encode": encode}
    text = text_of(dataclasses.replace(study, config={**config, "models": [*study.config["models"], *models]}))
    assert "2 encoders (banded, looks) were fitted to the same images in the same folds" in text
    assert "1,000 times each" in text
    assert "unique variance" in text
    assert "data-efficiency" in text
    assert "maps (read by encoders only, phantom-clip, pooling: spatial:8)" in text
    assert "unique variance" not in text_of(dataclasses.replace(study, config={**config, "encode": encode[1:]}))
    assert "encoders (" not in text_of(study)

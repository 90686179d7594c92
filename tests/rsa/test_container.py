"""RDMs: what goes in comes out, by name."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import squareform

from neuro.errors import CorruptFile, DuplicateIds, EmptySelection, ShapeMismatch, UnknownStimulus
from neuro.rsa.container import RDMs, matched


@pytest.fixture
def rdms(rng):
    table = {"subject": ["01", "02", "01", "02"], "roi": ["V1", "V1", "NA", "NA"]}
    return RDMs(rng.random((4, 10)), list("abcde"), table, "correlation", {"nan": "raise"})


def test_condensed_and_square_are_the_same(rng):
    d = rng.random((3, 15))
    square = np.stack([squareform(row) for row in d])
    np.testing.assert_array_equal(RDMs(square).dissimilarities, d)
    np.testing.assert_array_equal(RDMs(d).matrices, square)
    np.testing.assert_array_equal(RDMs(square[0]).dissimilarities, d[:1])
    np.testing.assert_array_equal(RDMs(d[0]).dissimilarities, d[:1])
    stack = rng.random((3, 3))  # three RDMs of three conditions, not one matrix
    assert RDMs(stack).n_rdms == 3


def test_torch_stays_torch(rng):
    torch = pytest.importorskip("torch")
    d = torch.tensor(rng.random((2, 6)), requires_grad=True)
    rdms = RDMs(d, list("abcd"))
    picked = rdms.select([1], ["d", "a", "b"])
    assert isinstance(picked.dissimilarities, torch.Tensor)
    picked.matrices.sum().backward()
    assert float(d.grad[0].abs().sum()) == 0
    assert float(d.grad[1].sum()) == 6
    np.testing.assert_array_equal(picked.numpy().dissimilarities, picked.dissimilarities.detach().numpy())


@given(st.permutations(range(6)), st.integers(2, 6))
def test_selecting_conditions_is_indexing_the_matrix(order, k):
    d = np.random.default_rng(0).random((2, 15))
    rdms, chosen = RDMs(d), order[:k]
    np.testing.assert_array_equal(rdms.select(conditions=chosen).matrices, rdms.matrices[:, chosen][:, :, chosen])


def test_selecting_rdms_by_table_index_and_mask(rdms):
    np.testing.assert_array_equal(
        rdms.select({"roi": "NA", "subject": ["02"]}).dissimilarities, rdms.dissimilarities[[3]]
    )
    np.testing.assert_array_equal(rdms[1:3].dissimilarities, rdms.dissimilarities[1:3])
    np.testing.assert_array_equal(rdms[[3, 0]].dissimilarities, rdms.dissimilarities[[3, 0]])
    assert rdms[np.array([True, False, False, True])].table["subject"].tolist() == ["01", "02"]
    assert rdms[-1].n_rdms == 1
    mask = np.array([True, False, True, True, False])
    assert rdms.select(conditions=mask).conditions.tolist() == ["a", "c", "d"]


def test_nothing_of_the_caller_is_touched_or_handed_out(rdms, rng):
    d = rng.random((1, 3))
    r = RDMs(d)
    d[:] = -1
    assert (r.dissimilarities >= 0).all()
    with pytest.raises(ValueError, match="read-only"):
        r.dissimilarities[0, 0] = 3
    table = rdms.table
    table["roi"] = "x"
    with pytest.raises(ValueError, match="read-only"):
        rdms.conditions[0] = "z"
    rdms.settings["nan"] = "drop"
    assert rdms.table["roi"].tolist() == ["V1", "V1", "NA", "NA"]
    assert rdms.conditions[0] == "a"
    assert rdms.settings == {"nan": "raise"}


def test_mean_by_column_with_weights_and_unknown_pairs(rdms):
    d = rdms.dissimilarities
    by_roi = rdms.mean("roi")
    np.testing.assert_allclose(by_roi.dissimilarities, [d[:2].mean(0), d[2:].mean(0)])
    assert by_roi.table["n_rdms"].tolist() == [2, 2]
    np.testing.assert_allclose(rdms.mean(weights=[1, 0, 3, 0]).dissimilarities[0], (d[0] + 3 * d[2]) / 4)
    holes = d.copy()
    holes[0, 0] = holes[:, 1] = np.nan
    mean = rdms.with_dissimilarities(holes).mean().dissimilarities[0]
    assert mean[0] == pytest.approx(d[1:, 0].mean())
    assert np.isnan(mean[1])
    with pytest.raises(ShapeMismatch, match="weights"):
        rdms.mean(weights=[1, 2])


def test_stacks_are_joined_by_name(rdms):
    shuffled = rdms.select(conditions=list("cbead"))
    both = rdms.concat(shuffled)
    np.testing.assert_array_equal(both.dissimilarities[4:], rdms.dissimilarities)
    _, b = matched(rdms, shuffled)
    np.testing.assert_array_equal(b.dissimilarities, rdms.dissimilarities)
    with pytest.raises(ShapeMismatch, match="1 of 5 names are missing"):
        rdms.concat(rdms.with_conditions(list("abcdz")))
    with pytest.raises(ShapeMismatch, match="5 and of 4"):
        matched(rdms, np.ones((1, 6)))


def test_saved_and_loaded_is_equal(rdms, tmp_path):
    rdms.save(tmp_path / "r")
    back = RDMs.load(tmp_path / "r")
    np.testing.assert_array_equal(back.dissimilarities, rdms.dissimilarities)
    pd.testing.assert_frame_equal(back.table, rdms.table)
    pd.testing.assert_frame_equal(back.condition_table, rdms.condition_table)
    assert (back.metric, back.settings) == (rdms.metric, rdms.settings)
    numbers = RDMs(rdms.dissimilarities, [7, 3, 1, 0, 2])
    numbers.save(tmp_path / "n")
    assert RDMs.load(tmp_path / "n").conditions.tolist() == [7, 3, 1, 0, 2]
    digits = RDMs(rdms.dissimilarities, ["07", "3", "1", "0", "2"])
    digits.save(tmp_path / "d")
    assert RDMs.load(tmp_path / "d").conditions.tolist() == ["07", "3", "1", "0", "2"]


def test_files_that_are_not_ours_are_refused(rdms, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"rdms\.npz"):
        RDMs.load(tmp_path)
    rdms.save(tmp_path / "r")
    whole = (tmp_path / "r" / "rdms.npz").read_bytes()
    (tmp_path / "r" / "rdms.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile):
        RDMs.load(tmp_path / "r")
    np.savez(tmp_path / "r" / "rdms.npz", dissimilarities=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorruptFile):
        RDMs.load(tmp_path / "r")


def test_the_folder_is_plain(rdms, tmp_path):
    rdms.save(tmp_path / "r")
    assert json.loads((tmp_path / "r" / "rdms.json").read_text())["metric"] == "correlation"
    assert (tmp_path / "r" / "rdms.tsv").read_text().startswith("subject\troi\trdm")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0, 1, 2], [1, 0, 3], [2, 4, 0]], "symmetric"),
        ([[0, 1, 2], [1, 0, 3], [2, np.nan, 0]], "symmetric"),
        ([[1, 0.5, 0.2], [0.5, 1, 0.3], [0.2, 0.3, 1]], "diagonal"),
    ],
)
def test_matrices_that_are_no_rdms(matrix, message):
    with pytest.raises(ValueError, match=message):
        RDMs(np.array([matrix], float))


def test_other_bad_input(rdms):
    with pytest.raises(ShapeMismatch, match="7 is no number of pairs"):
        RDMs(np.ones((2, 7)))
    with pytest.raises(DuplicateIds, match="'a' stands more than once"):
        rdms.with_conditions(list("aabcd"))
    with pytest.raises(ShapeMismatch, match="5 conditions were given 3 names"):
        rdms.with_conditions(list("abc"))
    with pytest.raises(ShapeMismatch, match="one row for each of 4"):
        rdms.with_table({"roi": ["V1"]})
    with pytest.raises(UnknownStimulus, match="no condition 'q'"):
        rdms.select(conditions=["a", "q"])
    with pytest.raises(DuplicateIds, match="asked for twice"):
        rdms.select(conditions=["a", "a"])
    with pytest.raises(EmptySelection, match="at least two"):
        rdms.select(conditions=["a"])
    with pytest.raises(EmptySelection, match="no RDM of 4"):
        rdms.select({"roi": "V9"})
    with pytest.raises(ValueError, match=r"no column 'rio'.*did you mean 'roi'"):
        rdms.select({"rio": "V1"})
    with pytest.raises(ValueError, match="must be numbers"):
        RDMs(np.array([["a", "b", "c"]]))
    with pytest.raises(ShapeMismatch):
        RDMs(np.ones((2, 3, 4)))


def test_tidy_frame(rdms):
    frame = rdms.to_frame()
    assert len(frame) == 40
    row = frame[(frame.subject == "02") & (frame.roi == "NA") & (frame.condition_a == "b") & (frame.condition_b == "d")]
    assert row["dissimilarity"].item() == rdms.matrices[3, 1, 3]


def test_rsatoolbox_and_back(rdms):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("rsatoolbox")
    back = RDMs.from_rsatoolbox(rdms.to_rsatoolbox())
    np.testing.assert_array_equal(back.dissimilarities, rdms.dissimilarities)
    assert back.conditions.tolist() == list("abcde")
    pd.testing.assert_frame_equal(back.table, rdms.table)

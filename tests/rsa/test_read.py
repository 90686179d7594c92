"""RDMs from the files people have."""

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat
from scipy.spatial.distance import squareform

from neuro.errors import CorruptFile, ShapeMismatch
from neuro.rsa.container import RDMs
from neuro.rsa.read import load_rdms


@pytest.fixture
def d(rng):
    return rng.random((6, 10))


@pytest.fixture
def squares(d):
    return np.stack([squareform(row) for row in d])


def test_arrays(d, squares, tmp_path):
    np.save(tmp_path / "a.npy", d)
    np.testing.assert_array_equal(load_rdms(tmp_path / "a.npy").dissimilarities, d)
    np.savez(tmp_path / "a.npz", human=squares[0], monkey=squares[1:])
    both = load_rdms(tmp_path / "a.npz", "monkey", conditions=list("vwxyz"), metric="correlation")
    np.testing.assert_array_equal(both.dissimilarities, d[1:])
    assert both.conditions.tolist() == list("vwxyz")
    np.save(tmp_path / "b.npy", squares.reshape(3, 2, 5, 5))
    axes = load_rdms(tmp_path / "b.npy", axes=["subject", "session"])
    np.testing.assert_array_equal(axes.dissimilarities, d)
    assert axes.table["subject"].tolist() == [1, 1, 2, 2, 3, 3]
    assert axes.table["session"].tolist() == [1, 2, 1, 2, 1, 2]


def test_struct_arrays_of_the_matlab_toolbox(squares, tmp_path):
    cells = np.zeros((1, 3, 2), dtype=[("RDM", object), ("name", object), ("color", object)])
    for k, index in enumerate(np.ndindex(1, 3, 2)):
        cells[index] = (squares[k], f"subject {index[1]} session {index[2]}", np.ones(3))
    savemat(tmp_path / "brain.mat", {"RDMs": cells})
    rdms = load_rdms(tmp_path / "brain.mat", axes=["subject", "session"])
    np.testing.assert_array_equal(rdms.matrices, squares)
    assert rdms.names[3] == "subject 1 session 1"
    assert rdms.table["session"].tolist() == [1, 2, 1, 2, 1, 2]
    assert load_rdms(tmp_path / "brain.mat").table.columns.tolist() == ["name"]
    with pytest.raises(ShapeMismatch, match="2 longer than 1"):
        load_rdms(tmp_path / "brain.mat", axes=["subject"])


def test_tables_and_saved_rdms(d, squares, tmp_path):
    names = ["face", "NA", "house", "cat", "01"]
    pd.DataFrame(squares[0], index=names, columns=names).to_csv(tmp_path / "a.csv")
    assert load_rdms(tmp_path / "a.csv").conditions.tolist() == names
    np.testing.assert_allclose(load_rdms(tmp_path / "a.csv").dissimilarities, d[:1])
    pd.DataFrame(squares[0], index=names[::-1], columns=names).to_csv(tmp_path / "b.tsv", sep="\t")
    with pytest.raises(ShapeMismatch, match="in one order"):
        load_rdms(tmp_path / "b.tsv")
    RDMs(d, names, {"roi": list("abcdef")}).save(tmp_path / "saved")
    assert load_rdms(tmp_path / "saved").table["roi"].tolist() == list("abcdef")


def test_bad_files(d, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_rdms(tmp_path / "none.npy")
    (tmp_path / "a.pkl").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"read from \.npy"):
        load_rdms(tmp_path / "a.pkl")
    np.savez(tmp_path / "two.npz", human=d, monkey=d)
    with pytest.raises(ValueError, match=r"several|key"):
        load_rdms(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="humn"):
        load_rdms(tmp_path / "two.npz", "humn")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorruptFile, match="never loads"):
        load_rdms(tmp_path / "objects.npy")
    for name in ("cut.npz", "cut.mat"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not a file")
        with pytest.raises((CorruptFile, ValueError)):
            load_rdms(tmp_path / name)
    savemat(tmp_path / "other.mat", {"s": {"weights": np.ones(3)}})
    with pytest.raises(CorruptFile, match="expected RDM and name"):
        load_rdms(tmp_path / "other.mat")

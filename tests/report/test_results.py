import dataclasses
import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from neuro.data import Voxels
from neuro.errors import CorruptFile, DuplicateIds, ShapeMismatch
from neuro.report import TABLE_COLUMNS, StudyResults, SubjectResults


def same(a, b):
    """Equality of nested dicts, lists and arrays."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def small(n=4, **changes):
    given = {
        "subject": "s1",
        "voxels": Voxels(n),
        "rois": {"V1": np.arange(n) < 2},
        "scores": {("net", "a"): np.linspace(0, 1, n)},
    }
    return SubjectResults(**{**given, **changes})


def small_study(**changes):
    table = pd.DataFrame([dict(subject="s1", roi="V1", model="net", layer="a", metric="pearson_r", score=0.5)])
    given = {
        "name": "x",
        "title": "X",
        "table": table,
        "subjects": {"s1": small()},
        "models": [{"name": "net", "kind": "pretrained", "layers": ["a"]}],
    }
    return StudyResults(**{**given, **changes})


def test_a_study_comes_back_from_disk_as_it_was(study, tmp_path):
    back = StudyResults.load(study.save(tmp_path / "out"))
    pd.testing.assert_frame_equal(back.table, study.table)
    for name in ("name", "title", "models", "config", "provenance", "is_phantom", "checks", "examples"):
        assert same(getattr(study, name), getattr(back, name)), name
    assert list(back.subjects) == list(study.subjects)
    for a, b in zip(study.subjects.values(), back.subjects.values(), strict=True):
        for name in ("subject", "rois", "scores", "ceiling", "best_layer", "alphas", "counts", "prf", "truth"):
            assert same(getattr(a, name), getattr(b, name)), name
        assert b.voxels.labels() == a.voxels.labels()
        np.testing.assert_array_equal(b.voxels.geometry.ijk, a.voxels.geometry.ijk)


def test_what_may_be_missing_comes_back_missing(tmp_path):
    subject = SubjectResults.load(save(small(), tmp_path))
    assert subject.ceiling is None
    assert subject.prf is None
    assert subject.truth is None
    assert subject.best_layer is None
    assert subject.alphas == {}


def save(subject, folder):
    subject.save(folder / "s")
    return folder / "s"


def test_chosen_layers_and_truth_survive_the_disk(tmp_path):
    chosen = {("net", "V1"): "a"}
    truth = {"snr": np.arange(3.0), "labels": np.array(["x", "y"]), "seed": 3, "nested": {"a": [1, 2]}}
    back = SubjectResults.load(save(small(best_layer=chosen, truth=truth), tmp_path))
    assert back.best_layer == chosen
    assert set(back.truth) == set(truth)
    assert all(same(truth[k], back.truth[k]) for k in truth)


def test_files_are_plain(study, tmp_path):
    study.save(tmp_path / "out")
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".json", ".tsv", ".npy"}
    for p in files:
        if p.suffix == ".npy":
            np.load(p, allow_pickle=False)
        elif p.suffix == ".json":
            json.loads(p.read_text())


def test_an_interrupted_save_leaves_the_old_results(tmp_path, monkeypatch):
    first = small_study()
    first.save(tmp_path / "out")
    monkeypatch.setattr(SubjectResults, "save", lambda self, folder: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        small_study(title="Y").save(tmp_path / "out")
    monkeypatch.undo()
    assert StudyResults.load(tmp_path / "out").title == "X"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_subject_01_and_region_NA_stay_text(tmp_path):
    table = pd.DataFrame([dict(subject="01", roi="NA", model="net", layer="1", metric="pearson_r", score=0.5)])
    study = small_study(table=table, subjects={"01": small(subject="01")})
    row = StudyResults.load(study.save(tmp_path / "out")).table.iloc[0]
    assert (row["subject"], row["roi"], row["layer"]) == ("01", "NA", "1")


def test_the_table_gets_all_columns_in_order():
    assert tuple(small_study().table.columns) == TABLE_COLUMNS


def test_inputs_are_neither_changed_nor_shared():
    scores = np.linspace(0, 1, 4)
    table = pd.DataFrame([dict(subject="s1", roi="V1", model="net", layer="a", metric="pearson_r", score=0.5)])
    before = table.copy()
    subject = small(scores={("net", "a"): scores})
    study = small_study(table=table, subjects={"s1": subject})
    scores[0] = 9
    assert subject.scores["net", "a"][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        subject.scores["net", "a"][0] = 1
    study.table.loc[0, "score"] = 0.0
    pd.testing.assert_frame_equal(table, before)


def test_settings_become_plain_values():
    config = {"path": pathlib.Path("a/b"), "grid": np.arange(2), "pair": (1, 2), "n": np.int64(3)}
    assert small_study(config=config).config == {"path": "a/b", "grid": [0, 1], "pair": [1, 2], "n": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": {("net", "a"): np.zeros(3)}}, r"scores of net a must be \(4,\).*\(3,\)"),
        ({"rois": {"V1": np.zeros(5, bool)}}, r"region 'V1'"),
        ({"ceiling": np.zeros((4, 2))}, "ceiling"),
        ({"prf": {"x": np.zeros(3), "y": np.zeros(2)}}, "equally long"),
        ({"scores": {("net", "a"): np.array([None] * 4, object)}}, "Python objects"),
    ],
)
def test_sizes_that_disagree_are_refused(changes, message):
    with pytest.raises(ShapeMismatch, match=message):
        small(**changes)


def test_a_table_without_scores_is_refused():
    with pytest.raises(ShapeMismatch, match="lacks metric, score"):
        small_study(table=pd.DataFrame(columns=["subject", "roi", "model", "layer"]))


def test_models_must_be_listed_once_and_be_of_a_known_kind():
    with pytest.raises(ValueError, match="not listed: net"):
        small_study(models=[{"name": "other", "kind": "control"}])
    with pytest.raises(DuplicateIds, match="net, net"):
        small_study(models=[{"name": "net", "kind": "control"}] * 2)
    with pytest.raises(ValueError, match="'pretrained', 'untrained' or 'control', got 'trained'"):
        small_study(models=[{"name": "net", "kind": "trained"}])


def test_subjects_are_filed_under_their_own_name():
    with pytest.raises(ValueError, match=r"'s2'.*'s1'"):
        small_study(subjects={"s2": small()})


def test_another_format_is_refused(tmp_path):
    folder = small_study().save(tmp_path / "out")
    meta = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(CorruptFile, match="format 99"):
        StudyResults.load(folder)


def test_results_can_be_replaced_field_by_field(study):
    assert dataclasses.replace(study, title="other").title == "other"

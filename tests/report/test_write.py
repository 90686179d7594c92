import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from neuro.data import Voxels
from neuro.errors import EmptySelection
from neuro.report import StudyResults, SubjectResults, write_report
from neuro.report.figures import png

VOID = {"meta", "img", "source", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags with attributes, text, and whether every tag was closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open, self.faults = [], [], [], []
        self.feed(html)
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag):
        return [a for t, a in self.tags if t == tag]


@pytest.fixture(scope="session")
def html(study, tmp_path_factory):
    return write_report(study, tmp_path_factory.mktemp("report") / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def page(html):
    return Page(html)


@pytest.fixture(scope="session")
def bare_html(neurons, tmp_path_factory):
    return write_report(neurons, tmp_path_factory.mktemp("report") / "report.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_html(page, bare_html):
    assert page.faults == []
    assert page.open == []
    assert Page(bare_html).faults == []


def test_nothing_is_loaded_from_elsewhere_and_no_script_runs(html, page):
    assert not re.search(r"https?://|//cdn|@import|url\(", html)
    assert not page.all("script") + page.all("link") + page.all("iframe")
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "poster", "data"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:image/")), (tag, name, value[:60])
        assert not any(name.startswith("on") for name in attributes)


def test_the_answer_comes_before_everything_else(page):
    words = page.words
    assert words.index("phantom-clip predicts responses") < words.index("Table 1.") < words.index("Figure 1.")


def test_every_figure_is_there_once_in_both_widths(page, study):
    names = [a["id"].removeprefix("figure-") for a in page.all("figure") if "id" in a]
    wanted = ["best-layer", "layer-profiles", "heat-map", "models", "voxel-scores", "noise-ceiling"]
    for subject in study.subjects:
        wanted += [f"surface-{subject}", f"depth-{subject}", f"volume-{subject}"]
    assert names == wanted + [f"prf-{s}" for s in study.subjects]
    assert len(page.all("source")) == len(names)
    assert re.findall(r"Figure (\d+)\.", page.words) == [str(k + 1) for k in range(len(names))]


def test_pictures_are_pngs_of_the_stated_proportions(page):
    from PIL import Image

    shown = [a for a in page.all("img") if a["src"].startswith("data:image/png")]
    for a in shown:
        image = Image.open(io.BytesIO(base64.b64decode(a["src"].split(",")[1])))
        assert image.width / image.height == pytest.approx(int(a["width"]) / int(a["height"]), rel=0.01)
        assert image.width >= int(a["width"])


def test_every_image_says_what_it_shows(page):
    for a in page.all("img"):
        assert a["alt"].strip()
    alts = [a["alt"] for a in page.all("img") if a["src"].startswith("data:image/png")]
    assert len(set(alts)) == len(alts)
    assert all(len(a) > 30 for a in alts)


def test_tables_have_heads_with_scope_and_a_name(page):
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert page.all("table")
    assert all(a["aria-labelledby"] in ids for a in page.all("table"))


def test_the_table_of_contents_leads_to_every_section(page):
    headings = [a["id"] for a in page.all("h2")]
    links = [a["href"][1:] for a in page.all("a") if a["href"] != "#content"]
    assert links == headings
    assert len(set(headings)) == len(headings)


def test_ids_are_unique(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_tables_show_the_numbers_of_the_study(page, study):
    s1 = study.subjects["subj01"]
    v1 = study.table.query("roi == 'V1' and model == 'Gabor energies' and metric == 'r'")["score"].mean()
    assert f"{v1:.2f}" in page.words
    assert f"{len(s1.voxels):,}" in page.words
    assert str(int(s1.rois["V1"].sum())) in page.words


def test_captions_and_names_are_escaped(study, html, page):
    assert "<b>and</b>" not in html
    assert "a dog <b>and</b> a tree" in page.words
    evil = "<script>alert('x')</script>\"&"
    table = study.table.replace({"roi": {"V1": evil}})
    subjects = {
        k: dataclasses.replace(s, voxels=Voxels(len(s.voxels)), rois={evil: s.rois["V1"]}, prf=None)
        for k, s in study.subjects.items()
    }
    results = dataclasses.replace(
        study,
        title=evil,
        name=evil,
        table=table[table["roi"] == evil],
        subjects=subjects,
        examples=[(evil, study.examples[0][1], evil)],
        config={"seed": evil, "dataset": {"kind": "nsd", "betas": evil}},
        provenance={"command": evil, "versions": {evil: evil}, "note": {evil: evil}},
        checks=[dict(name="x", claim=evil, value=evil, expected=evil, passed=True)],
    )
    from neuro.report.write import render

    text = render(results)
    assert "<script" not in text
    assert Page(text).faults == []
    assert Page(text).words.count("<script>alert('x')</script>\"&") > 8


def test_a_phantom_is_called_one_and_real_data_are_not(html, bare_html):
    assert 'class="phantom"' in html
    assert "(phantom)</title>" in html
    assert "not measurements of any brain" in html
    for mark in ('class="phantom"', "(phantom)", "PHANTOM", "simulated"):
        assert mark not in bare_html


def test_neurons_without_a_position_get_an_explanation_instead_of_maps(bare_html):
    page = Page(bare_html)
    assert "session 1, session 2: these channels carry no position in a brain" in page.words
    assert not any(a.get("id", "").startswith(("figure-surface", "figure-volume")) for a in page.all("figure"))
    assert "voxels" not in page.words.lower()


def test_a_volume_of_its_own_space_is_mapped_in_slices_only(study):
    from neuro.data import Volume
    from neuro.report.figures import Picture, cortical_maps
    from neuro.report.summary import summarise

    s = study.subjects["subj01"]
    g = s.voxels.geometry
    affine = g.affine.copy()
    affine[:3, 3] += [0, 40.0, 25.0]
    own = dataclasses.replace(s, voxels=Voxels(len(s.voxels), Volume(g.shape, affine, g.ijk)))
    results = dataclasses.replace(study, subjects={"subj01": own})
    found = list(cortical_maps(results, summarise(results), 4))
    assert [x.name for x in found if isinstance(x, Picture)] == ["volume-subj01"]
    assert [x for x in found if isinstance(x, str) and "own space" in x]


def test_maps_stop_at_the_number_asked_for_and_say_so(study):
    from neuro.report.figures import cortical_maps
    from neuro.report.summary import summarise

    found = list(cortical_maps(study, summarise(study), 0))
    assert found == []
    bare = {k: dataclasses.replace(s, voxels=Voxels(len(s.voxels))) for k, s in study.subjects.items()}
    one = dataclasses.replace(study, subjects={**bare, "subj01": study.subjects["subj01"]})
    notes = [x for x in cortical_maps(one, summarise(one), 1) if isinstance(x, str)]
    assert notes == ["Maps of the first 1 of 2 subjects are shown."]


def test_the_file_is_small_enough_to_mail(html, bare_html):
    assert len(html) < 6e6
    assert len(bare_html) < 1e6


def test_the_least_a_study_can_be_makes_a_report(tmp_path):
    """One subject, one region, one model with one layer; no ceiling, intervals, examples, settings or counts."""
    table = pd.DataFrame([dict(subject="s", roi="IT", model="m", layer="l", metric="pearson_r", score=0.25)])
    subject = SubjectResults("s", Voxels(3), {"IT": np.ones(3, bool)}, {("m", "l"): [0.2, 0.3, np.nan]})
    results = StudyResults("x", "", table, {"s": subject}, [{"name": "m", "kind": "control"}])
    page = Page(write_report(results, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "mean Pearson r = 0.25" in page.words
    assert "No noise ceiling is shown" in page.words
    assert "nan" not in page.words.lower().split()


def test_regions_that_only_some_subjects_have_are_reported(study, tmp_path):
    s1, s2 = study.subjects.values()
    only = {k: v for k, v in s2.rois.items() if k != "FFA-1"}
    bare = {s.subject: dataclasses.replace(s, voxels=Voxels(len(s.voxels)), prf=None) for s in (s1, s2)}
    bare["subj02"] = dataclasses.replace(bare["subj02"], rois=only, ceiling=None)
    table = study.table[(study.table["subject"] == "subj01") | (study.table["roi"] != "FFA-1")]
    page = Page(
        write_report(dataclasses.replace(study, subjects=bare, table=table), tmp_path / "r.html").read_text("utf-8")
    )
    assert "FFA-1" in page.words


def test_a_study_without_scores_leaves_no_file(neurons, tmp_path):
    empty = dataclasses.replace(neurons, table=neurons.table.assign(score=np.nan))
    with pytest.raises(EmptySelection):
        write_report(empty, tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_the_same_results_give_the_same_page(neurons, bare_html):
    from neuro.report.write import render

    assert render(neurons) == bare_html


def test_maps_keep_white_white_and_their_colours(tmp_path):
    from matplotlib import colormaps
    from PIL import Image

    from neuro.plotting import new_figure

    figure = new_figure(2, 1)
    ax, empty = figure.subplots(1, 2)
    for each in (ax, empty):
        each.set_axis_off()
    ax.imshow(np.linspace(0, 1, 64)[:, None], aspect="auto", cmap="viridis")
    uri, size = png(figure, "viridis", dpi=64)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))
    assert size == (192, 96)
    assert (image[:, -10:] == 255).all()
    column = image[:, 30].astype(float)
    wanted = 255 * colormaps["viridis"](np.linspace(0, 1, 256))[:, :3]
    coloured = column[column.min(axis=1) < 250]
    assert len(coloured) > 50
    assert np.abs(coloured[:, None] - wanted).max(axis=2).min(axis=1).max() < 12

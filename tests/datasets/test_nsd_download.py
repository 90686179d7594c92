"""The downloader against a small server that pages, cuts, fails and lies."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse
from xml.sax.saxutils import escape

import numpy as np
import pytest

from neuro.datasets.nsd import download as module
from neuro.datasets.nsd.download import DownloadPlan, RemoteFile, download, plan
from neuro.errors import DownloadError, TermsNotAccepted, UnknownPrep

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR/"


class Bucket:
    """Objects by key, and what shall go wrong."""

    def __init__(self):
        rng = np.random.default_rng(0)
        names = ["nsddata/experiments/nsd/nsd_expdesign.mat", "nsddata/experiments/nsd/nsd_stim_info_merged.csv"]
        names += ["nsddata/experiments/nsd/nsd_stim_info_merged.pkl", "nsddata/ppdata/subj01/behav/responses.tsv"]
        names += [f"nsddata/ppdata/subj01/func1pt8mm/roi/{n}.nii.gz" for n in ("nsdgeneral", "lh.nsdgeneral")]
        names += [f"nsddata/ppdata/subj01/func1pt8mm/{n}.nii.gz" for n in ("brainmask", "T1_to_func1pt8mm", "prf_R2")]
        names += [f"nsddata/ppdata/subj01/func1pt8mm/valid_session{s:02d}.nii.gz" for s in range(1, 5)]
        names += ["nsddata/freesurfer/subj01/label/nsdgeneral.mgz.ctab", "nsddata/freesurfer/subj01/label/lh.white"]
        names += [f"{BETAS}betas_session{s:02d}.{x}" for s in range(1, 5) for x in ("hdf5", "nii.gz")]
        names += [f"{BETAS}ncsnr.nii.gz", f"{BETAS}R2.nii.gz"]
        self.objects = {n: rng.bytes(int(rng.integers(2000, 9000))) for n in names}
        self.requests = Counter()
        self.cut = Counter()  # key -> answers still to be cut in the middle
        self.fail = {}  # key -> [status, times]
        self.no_range = False
        self.corrupt = Counter()
        self.multipart = set()

    def etag(self, key):
        digest = hashlib.md5(self.objects[key]).hexdigest()
        return f"{digest}-2" if key in self.multipart else digest


class Handler(BaseHTTPRequestHandler):
    bucket: Bucket

    def log_message(self, *args):
        pass

    def do_GET(self):
        url = urlparse(self.path)
        if url.path == "/":
            return self.listing({k: v[0] for k, v in parse_qs(url.query).items()})
        key, bucket = unquote(url.path[1:]), self.bucket
        bucket.requests[key] += 1
        status = bucket.fail.get(key)
        if status and status[1] > 0:
            status[1] -= 1
            return self.send_error(status[0])
        if key not in bucket.objects:
            return self.send_error(403)
        data = bucket.objects[key]
        if bucket.corrupt[key] > 0:
            bucket.corrupt[key] -= 1
            data = bytes(len(data))
        start = 0
        asked = self.headers.get("Range")
        if asked and not bucket.no_range:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if bucket.cut[key] > 0:
            bucket.cut[key] -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    def listing(self, query):
        keys = sorted(k for k in self.bucket.objects if k.startswith(query["prefix"]))
        start = int(query.get("continuation-token", 0))
        page = keys[start : start + 3]
        more = start + 3 < len(keys)
        items = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(self.bucket.objects[k])}</Size>"
            f"<ETag>&quot;{self.bucket.etag(k)}&quot;</ETag></Contents>"
            for k in page
        )
        token = f"<NextContinuationToken>{start + 3}</NextContinuationToken>" if more else ""
        text = (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{items}{token}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def bucket(monkeypatch):
    for name in ("NEURO_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    bucket = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"bucket": bucket}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    bucket.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield bucket
    server.shutdown()
    server.server_close()
    thread.join()


class Bar:
    """A progress bar that counts."""

    def __init__(self, total=0, **_):
        self.total, self.n = total, 0
        Bar.last = self

    def update(self, n):
        self.n += n

    def close(self):
        pass


def fetch(p, **options):
    return download(p, accept_terms=True, backoff=0.01, progress=Bar, **options)


@pytest.fixture
def whole(bucket, tmp_path):
    return plan(tmp_path / "nsd", [1], endpoint=bucket.endpoint)


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_plan_lists_over_all_pages_and_writes_nothing(whole, bucket, tmp_path):
    assert {f.key for f in whole.files if f.key.startswith(BETAS)} == {
        f"{BETAS}{n}" for n in ("ncsnr.nii.gz", *(f"betas_session{s:02d}.hdf5" for s in range(1, 5)))
    }
    names = {f.key.rsplit("/", 1)[-1] for f in whole.files}
    assert {"nsd_expdesign.mat", "responses.tsv", "lh.nsdgeneral.nii.gz", "brainmask.nii.gz"} <= names
    assert not {"nsd_stim_info_merged.pkl", "R2.nii.gz", "T1_to_func1pt8mm.nii.gz", "lh.white"} & names
    assert whole.n_bytes == whole.n_bytes_missing == sum(len(bucket.objects[f.key]) for f in whole.files)
    assert "to fetch into" in str(whole)
    assert not (tmp_path / "nsd").exists()
    assert not bucket.requests


def test_sessions_and_parts_narrow_a_plan(bucket, tmp_path):
    p = plan(tmp_path, ["subj01"], sessions=[2, 3], parts=["betas"], endpoint=bucket.endpoint)
    assert [f.key[len(BETAS) :] for f in p.files] == ["betas_session02.hdf5", "betas_session03.hdf5", "ncsnr.nii.gz"]
    with pytest.raises(DownloadError, match=r"no sessions \[9\]; it has \[1, 2, 3, 4\]|no sessions \[9\]"):
        plan(tmp_path, [1], sessions=[1, 9], parts=["betas"], endpoint=bucket.endpoint)
    with pytest.raises(DownloadError, match="nothing like"):
        plan(tmp_path, [5], parts=["betas"], endpoint=bucket.endpoint)
    with pytest.raises(ValueError, match="parts must be"):
        plan(tmp_path, [1], parts=["all"], endpoint=bucket.endpoint)
    with pytest.raises(UnknownPrep):
        plan(tmp_path, [1], betas="b9", endpoint=bucket.endpoint)


@pytest.mark.parametrize("answer", [False, None, "yes", 1])
def test_terms_refused_fetches_nothing(whole, bucket, tmp_path, answer):
    with pytest.raises(TermsNotAccepted, match="Data Access Agreement"):
        download(whole, accept_terms=answer)
    assert not bucket.requests
    assert not (tmp_path / "nsd").exists()


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_a_download_is_the_bucket_and_parallel_equals_serial(whole, bucket, n_jobs):
    paths = fetch(whole, n_jobs=n_jobs)
    assert [p.read_bytes() for p in paths] == [bucket.objects[f.key] for f in whole.files]
    assert contents(whole.root) == {f.key: bucket.objects[f.key] for f in whole.files}
    assert Bar.last.n == Bar.last.total == whole.n_bytes
    assert not whole.missing


def test_a_second_download_fetches_nothing(whole, bucket):
    fetch(whole)
    bucket.requests.clear()
    fetch(whole)
    assert not bucket.requests


def test_a_cut_file_is_resumed_where_it_stopped(whole, bucket):
    key = f"{BETAS}betas_session01.hdf5"
    bucket.cut[key] = 2
    fetch(whole)
    assert bucket.requests[key] == 3
    assert whole.path(RemoteFile(key, 0)).read_bytes() == bucket.objects[key]
    assert Bar.last.n == Bar.last.total


def test_an_interrupted_download_goes_on_in_the_next_call(whole, bucket, monkeypatch):
    key = f"{BETAS}betas_session01.hdf5"
    bucket.cut[key] = 99
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    with pytest.raises(DownloadError, match=r"1 of .* files failed, first .*betas_session01.*expected"):
        fetch(whole)
    assert not (whole.root / key).exists()
    kept = [p for p in contents(whole.root) if p.endswith(".part")]
    assert len(kept) == 1
    assert len(whole.missing) == 1
    left = whole.n_bytes_missing
    assert 0 < left < len(bucket.objects[key]) / 2
    bucket.cut.clear()
    fetch(whole)
    assert Bar.last.total == left
    assert contents(whole.root) == {f.key: bucket.objects[f.key] for f in whole.files}


def test_a_server_without_ranges_is_read_from_the_start(whole, bucket):
    key = f"{BETAS}betas_session01.hdf5"
    bucket.cut[key], bucket.no_range = 1, True
    fetch(whole)
    assert (whole.root / key).read_bytes() == bucket.objects[key]
    assert Bar.last.n == Bar.last.total


def test_a_passing_failure_is_retried_and_a_refusal_is_not(whole, bucket):
    first, second = f"{BETAS}betas_session01.hdf5", f"{BETAS}betas_session02.hdf5"
    bucket.fail[first], bucket.fail[second] = [503, 2], [403, 99]
    with pytest.raises(DownloadError, match="wrong key also reads as forbidden"):
        fetch(whole)
    assert (whole.root / first).read_bytes() == bucket.objects[first]
    assert bucket.requests[first] == 3
    assert bucket.requests[second] == 1


def test_wrong_content_is_noticed_and_fetched_again(whole, bucket):
    key = f"{BETAS}betas_session03.hdf5"
    bucket.corrupt[key] = 1
    fetch(whole)
    assert (whole.root / key).read_bytes() == bucket.objects[key]
    assert bucket.requests[key] == 2


def test_files_uploaded_in_pieces_are_checked_by_size(bucket, tmp_path):
    bucket.multipart = set(bucket.objects)
    p = plan(tmp_path / "nsd", [1], endpoint=bucket.endpoint)
    assert all(f.md5 is None for f in p.files)
    fetch(p)
    assert not p.missing
    changed = DownloadPlan(p.root, tuple(RemoteFile(f.key, f.size + 1, f.etag) for f in p.files[:1]), p.endpoint)
    (p.root / p.files[0].key).unlink()
    with pytest.raises(DownloadError, match="expected"):
        fetch(changed)
    assert not (p.root / p.files[0].key).exists()


def test_a_file_of_another_size_is_never_overwritten_unasked(whole, bucket):
    path = whole.path(whole.files[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"4 bytes, expected .*replace=True"):
        fetch(whole)
    assert path.read_bytes() == b"mine"
    assert not bucket.requests
    fetch(whole, replace=True)
    assert path.read_bytes() == bucket.objects[whole.files[0].key]


def test_a_new_version_does_not_continue_an_old_part(bucket, tmp_path, monkeypatch):
    key = f"{BETAS}betas_session01.hdf5"
    bucket.multipart = {key}
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    bucket.cut[key] = 1
    options = {"parts": ["betas"], "endpoint": bucket.endpoint}
    with pytest.raises(DownloadError):
        fetch(plan(tmp_path, [1], **options))
    bucket.objects[key] = bytes(reversed(bucket.objects[key]))
    fetch(plan(tmp_path, [1], **options))
    assert (tmp_path / key).read_bytes() == bucket.objects[key]


def test_a_full_disk_is_said_before_anything_is_fetched(whole, bucket, monkeypatch):
    import shutil

    monkeypatch.setattr(module.shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(DownloadError, match="are free"):
        fetch(whole)
    assert not bucket.requests


@pytest.mark.parametrize("key", ["/etc/passwd", "../x", "a/../../x", "a//b", "a\\..\\b", "C:/x", "a/\x07"])
def test_names_that_lead_out_of_the_folder_are_refused(key):
    with pytest.raises(DownloadError, match="no plain path"):
        module._check_key(key)


def test_a_listing_with_such_a_name_is_refused(bucket, tmp_path):
    bucket.objects[f"{BETAS}../../../../../../betas_session01.hdf5"] = b"x"
    with pytest.raises(DownloadError, match="no plain path"):
        plan(tmp_path, [1], parts=["betas"], endpoint=bucket.endpoint)


def test_offline_mode_is_honoured(whole, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("NEURO_OFFLINE", "1")
    with pytest.raises(DownloadError, match="NEURO_OFFLINE"):
        fetch(whole)
    with pytest.raises(DownloadError, match="NEURO_OFFLINE"):
        plan(tmp_path, [1], endpoint=bucket.endpoint)


def test_an_absent_bucket_is_named(tmp_path, monkeypatch, bucket):
    monkeypatch.setattr(module.time, "sleep", lambda s: None)
    with pytest.raises(DownloadError, match="cannot be listed"):
        plan(tmp_path, [1], endpoint="http://127.0.0.1:9")


def test_the_command_line_plans_and_fetches_only_with_the_terms_accepted(bucket, tmp_path, capsys):
    from neuro.cli import main

    words = ["fetch", "nsd", str(tmp_path / "nsd"), "--sessions", "2-3", "--parts", "betas", "--endpoint"]
    words.append(bucket.endpoint)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "nothing was fetched" in said
    assert "Data Access Agreement" in said
    assert not (tmp_path / "nsd").exists()
    assert main([*words, "--accept-terms"]) == 0
    assert "fetched 3 files" in capsys.readouterr().out
    names = {p.name for p in (tmp_path / "nsd").rglob("*") if p.is_file()}
    assert names == {"betas_session02.hdf5", "betas_session03.hdf5", "ncsnr.nii.gz"}
    assert main([*words, "--accept-terms"]) == 0
    assert "fetched 0 files" in capsys.readouterr().out
    assert main(["fetch", "nsd", str(tmp_path), "--sessions", "3-1"]) == 2
    assert "expected numbers and ranges" in capsys.readouterr().err

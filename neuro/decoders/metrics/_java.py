"""The two programs in Java that published caption scores rest on, as the pycocoevalcap package carries them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from neuro._check import require
from neuro.errors import CorruptFile

TIMEOUT = 1800  # seconds


def stanford_ptb(texts: Sequence[str]) -> list[list[str]]:
    """Split sentences by Stanford's PTBTokenizer 3.4.1 in lower case, punctuation included.

    Raises
    ------
    ModuleNotFoundError
        Without Java or pycocoevalcap.
    RuntimeError
        If the program fails.
    """
    if not len(texts):
        return []
    jar = _jar("tokenizer/stanford-corenlp-3.4.1.jar", "tokeniser 'ptb_java'")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "captions.txt"
        file.write_text("".join(" ".join(t.split()) + "\n" for t in texts), encoding="utf-8")
        options = ["-preserveLines", "-lowerCase", "-options", "untokenizable=noneKeep", str(file)]
        printed = _run(["-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", *options])
    lines = printed.split("\n")[: len(texts)]
    if len(lines) != len(texts):
        raise RuntimeError(f"Stanford's tokeniser returned {len(lines)} lines for {len(texts)} captions.")
    return [line.split() for line in lines]


def require_meteor() -> Path:
    """Return where the program lies, or raise ModuleNotFoundError with what to install."""
    return _jar("meteor/meteor-1.5.jar", "METEOR")


def meteor_scores(
    pairings: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> list[tuple[float, list[float]]]:
    """Return METEOR 1.5 by the program of its authors (English, normalised).

    Parameters
    ----------
    pairings : sequence of sequences (n,) of str
        Collections of candidates, as of several systems; the program starts once for all.
    references : sequence (n,) of lists of str

    Returns
    -------
    list of (score of the collection, list of the n items' scores)
        The first comes from summed statistics: it is not the mean over items.
    """
    jar = require_meteor()
    command = ["java", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    plain = [[_plain(r) for r in refs] for refs in references]
    out = []
    with subprocess.Popen(command, encoding="utf-8", **pipes) as program:
        to, back = cast("IO[str]", program.stdin), cast("IO[str]", program.stdout)
        try:
            for candidates in pairings:
                asked = [" ||| ".join(["SCORE", *r, _plain(c)]) for c, r in zip(candidates, plain, strict=True)]
                statistics = [_answer(to, back, line) for line in asked]
                first = _answer(to, back, " ||| ".join(["EVAL", *statistics]))
                scores = [float(s) for s in (first, *(back.readline() for _ in asked))]
                out.append((scores[-1], scores[:-1]))
        finally:
            program.kill()
    return out


def _answer(to: IO[str], back: IO[str], line: str) -> str:
    """Send one line, read one line: neither side ever waits for a full pipe."""
    try:
        to.write(line + "\n")
        to.flush()
        answer = back.readline()
    except BrokenPipeError:
        answer = ""
    if not answer.strip():
        raise RuntimeError(f"METEOR gave no answer to {line[:80]!r}; it needs 2 GB of memory for its paraphrase table.")
    return answer.strip()


def _plain(text: str) -> str:
    """Remove what METEOR's protocol reads as a border between fields."""
    return " ".join(text.replace("|||", " ").split())


def _jar(name: str, purpose: str) -> Path:
    package = require("pycocoevalcap", purpose, "captions")
    if shutil.which("java") is None:
        raise ModuleNotFoundError(
            f"{purpose} runs a Java program, and there is no 'java' on the path. Install a Java runtime (8 or later), "
            "or leave it out: BLEU, ROUGE-L and CIDEr need none."
        )
    jar = Path(next(iter(package.__path__))) / name
    if not jar.is_file():
        raise CorruptFile(f"pycocoevalcap lacks {name}; reinstall it with: pip install --force-reinstall pycocoevalcap")
    return jar


def _run(arguments: list[str], text: str | None = None) -> str:
    done = subprocess.run(
        ["java", *arguments],
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"java {' '.join(arguments[:4])} failed with code {done.returncode}: {done.stderr[-500:]}")
    return done.stdout

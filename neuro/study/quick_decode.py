"""Decoding step by step, from folder to folder: what the verbs of ``neuro decode`` do.

``train`` writes a decoder with its targets, ``predict`` what it says of the test images of one subject, and the others
read that: images, captions, retrieval, scores.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, read_json, write_json
from neuro.data import Responses, Stimuli
from neuro.datasets import NSD
from neuro.decoders import Decoded, NeuralDecoder, RidgeDecoder, image_targets, load_captioner, load_generator
from neuro.decoders.metrics import Gallery, results_table
from neuro.errors import CorruptFile, DataNotDownloaded, ShapeMismatch, SplitLeakage, StudyError, UnknownSubject
from neuro.features.models import DEFAULT
from neuro.study.decode import Pictures, Tools, caption_results, image_scores
from neuro.study.decode_config import LINEAR, DecodeConfig, check_decode
from neuro.study.decode_fit import fit_decoder, recipe_of, score, search_pair

Say = Callable[[str], None]
CARD = "decode.json"


def train(
    data: str | Path,
    output: str | Path,
    *,
    subjects: Sequence[int] = (1,),
    roi: str = "nsdgeneral",
    split: str = "shared1000",
    sessions: Sequence[int] | None = None,
    config: DecodeConfig | None = None,
    seed: int = 0,
    say: Say = print,
) -> dict[str, Any]:
    """Fit a decoder to the training images of an NSD tree and write it into ``output``.

    Parameters
    ----------
    data : folder
        An NSD tree or a phantom.
    output : folder
        Gets ``decode.json``, ``targets`` (of all images that the subjects saw) and ``decoder``.
    subjects : list of int
        Networks learn several together; ridge has one model each.
    roi, split
        As in :meth:`neuro.datasets.NSD.responses` and :meth:`neuro.data.Responses.split`.
    sessions : list of int, optional
    config : DecodeConfig, optional
        The first of its ``decoders`` is fitted.
    seed : int
    say : function of one line

    Returns
    -------
    dict with ``output``, ``decoder``, ``subjects``, ``n_train``
    """
    config = config or DecodeConfig()
    check_decode(config, "nsd")
    output, tools = Path(output), Tools(config)
    nsd = NSD(data)
    known = set(nsd.subjects)
    missing = [s for s in subjects if s not in known]
    if missing:
        raise UnknownSubject(f"{data} has no subject {missing[0]}; it has {sorted(known)}.")
    X, ids, seen = {}, {}, []
    for subject in subjects:
        fitted, _ = halves(nsd, subject, roi, split, sessions)
        X[str(subject)], ids[str(subject)] = fitted.to_numpy(), fitted.stimulus
        seen.append(fitted.stimulus)
        say(f"subject {subject}: {len(fitted)} training images, {fitted.n_voxels:,} voxels")
    wanted = np.unique(np.concatenate(seen))
    output.mkdir(parents=True, exist_ok=True)
    if not _stands(output / "targets", wanted, config):
        say(f"targets of {len(wanted):,} images: {config.target}")
        targets_of_images(nsd.stimuli.select(wanted), config, tools, output / "targets")
    targets = Decoded.load(output / "targets")
    fitted = fit_decoder(config, config.decoders[0], X, ids, targets, seed)
    fitted.save(output / "decoder")
    card = {
        "data": str(Path(data).resolve()),
        "subjects": list(subjects),
        "roi": roi,
        "split": split,
        "sessions": None if sessions is None else list(sessions),
        "seed": seed,
        "config": dataclasses.asdict(config),
    }
    write_json(output / CARD, card)
    say(f"{config.decoders[0]} of {len(X)} subjects -> {output}")
    n_train = {s: len(v) for s, v in ids.items()}
    return {"output": str(output), "decoder": config.decoders[0], "subjects": list(subjects), "n_train": n_train}


def halves(nsd: NSD, subject: int, roi: str, split: str, sessions: Any) -> tuple[Responses, Responses]:
    """Return the trial-averaged responses to training and to test images, of voxels that have data."""
    responses = nsd.responses(subject=subject, roi=roi, sessions=sessions).zscore(by="session").average_repeats()
    fitted, test = responses.split(split)
    valid = np.isfinite(fitted.to_numpy()).all(0) & np.isfinite(test.to_numpy()).all(0)
    return fitted.select(voxels=valid), test.select(voxels=valid)


def targets_of_images(stimuli: Stimuli, config: DecodeConfig, tools: Tools, folder: Path) -> Decoded:
    """Compute the targets of images into a folder."""
    return image_targets(
        stimuli,
        config.target,
        pretrained=DEFAULT if config.pretrained is None else config.pretrained,
        normalise=config.normalise,
        readers=tools.low_level_reader(),
        size=tools.generator.size[0] if config.low_level else None,
        folder=folder,
    )


def _stands(folder: Path, ids: np.ndarray, config: DecodeConfig) -> bool:
    """Whether the targets of these images were computed before with these settings."""
    if not (folder / "decoded.json").is_file():
        return False
    found = Decoded.load(folder)
    same = (found.provenance.get("network"), found.provenance.get("normalise")) == (config.target, config.normalise)
    return same and ("low_level" in found) == config.low_level and np.array_equal(found.ids, ids)


def open_card(folder: str | Path) -> tuple[dict[str, Any], DecodeConfig]:
    """Return what a folder of ``train`` or ``predict`` was made with."""
    path = Path(folder) / CARD
    if not path.is_file():
        raise DataNotDownloaded(f"{folder} holds no {CARD}: give a folder that `neuro decode` wrote.")
    card = read_json(path)
    try:
        config = DecodeConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in card["config"].items()})
    except (KeyError, TypeError) as error:
        raise CorruptFile(f"{path} is not of this version ({error}).") from error
    return card, config


def load_decoder(folder: str | Path, config: DecodeConfig) -> Any:
    """Return the fitted decoder of a folder."""
    if config.decoders[0] == LINEAR:
        return RidgeDecoder.load(Path(folder) / "decoder")
    return NeuralDecoder.load(Path(folder) / "decoder", recipe_of(config, config.decoders[0]))


def predict(
    decoder: str | Path, output: str | Path, *, subject: int, data: str | Path | None = None, say: Say = print
) -> dict[str, Any]:
    """Decode the test images of one subject and write what was decoded into ``output``.

    Raises
    ------
    UnknownSubject, ShapeMismatch, SplitLeakage
        If the decoder does not know the subject, was fitted to other voxels, or to a test image.
    """
    card, config = open_card(decoder)
    if subject not in card["subjects"]:
        raise UnknownSubject(f"{decoder} was fitted to subjects {card['subjects']}, not to {subject}.")
    nsd = NSD(data or card["data"])
    _, test = halves(nsd, subject, card["roi"], card["split"], card["sessions"])
    fitted = load_decoder(decoder, config)
    decoded = fitted.predict(test.to_numpy(), ids=test.stimulus, subject=str(subject))
    output = Path(output)
    decoded.save(output)
    write_json(output / CARD, {**card, "subject": subject, "data": str(nsd.root)})
    say(f"{len(decoded.ids)} test images of subject {subject}: {', '.join(decoded)} -> {output}")
    return {"output": str(output), "n": len(decoded.ids), "arrays": {k: list(v.shape) for k, v in decoded.items()}}


def reconstruct(
    decoded: str | Path,
    output: str | Path,
    *,
    n: int = 0,
    candidates: int = 1,
    changes: Mapping[str, Any] | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Make images of what was decoded: one PNG per test image (and candidate), and ``images.npy``.

    Parameters
    ----------
    decoded : folder of ``predict``
    output : folder, replaced as a whole
    n : int
        Only the first n test images; 0 for all.
    candidates : int
        Images per stimulus, with different noise.
    changes : dict, optional
        Other ``generator``, ``generator_weights``, ``steps``, ``guidance``, ``strength``.
    """
    from PIL import Image

    card, config = open_card(decoded)
    config = dataclasses.replace(config, **dict(changes or {}))
    if not config.generator:
        raise StudyError("say which generator makes the images: --generator phantom.")
    found = Decoded.load(decoded)
    some = found.select(found.ids[: n or len(found.ids)])
    generator = load_generator(config.generator, config.generator_weights)
    start = "low_level" in some
    images = generator.generate(
        some,
        strength=config.strength if start else 1.0,
        steps=config.steps,
        guidance=config.guidance,
        n=candidates,
        seed=card["seed"],
    )
    pixels = np.rint(255 * images).astype(np.uint8)
    with atomic_path(Path(output), directory=True) as folder:
        for i, stimulus in enumerate(some.ids.tolist()):
            for k in range(candidates):
                name = f"{stimulus}.png" if candidates == 1 else f"{stimulus}_{k}.png"
                Image.fromarray(pixels[i, k].transpose(1, 2, 0)).save(folder / name)
        np.save(folder / "images.npy", pixels, allow_pickle=False)
        write_json(folder / CARD, {**card, "ids": some.ids.tolist(), "config": dataclasses.asdict(config)})
    say(f"{len(some.ids)} x {candidates} images -> {output}")
    return {"output": str(output), "n": len(some.ids), "candidates": candidates}


def caption(
    decoded: str | Path, output: str | Path, *, captioner: str | None = None, say: Say = print
) -> dict[str, Any]:
    """Write a sentence for every test image, ``{stimulus: caption}`` as JSON."""
    card, config = open_card(decoded)
    name = captioner or config.captioner
    if not name:
        raise StudyError("say which captioner: --captioner phantom.")
    found = Decoded.load(decoded)
    sentences = load_captioner(name).caption(found, seed=card["seed"])
    write_json(Path(output), dict(zip(map(str, found.ids.tolist()), sentences, strict=True)))
    say(f"{len(sentences)} captions -> {output}")
    return {
        "output": str(output),
        "n": len(sentences),
        "captions": dict(zip(found.ids.tolist(), sentences, strict=True)),
    }


def retrieve(
    decoded: str | Path,
    output: str | Path,
    *,
    gallery: str | Path | None = None,
    top: int = 5,
    say: Say = print,
) -> dict[str, Any]:
    """Find the most similar images of a gallery for every test image and write them as a table.

    Parameters
    ----------
    gallery : folder, zip or HDF5 file of images, optional
        By default the test images themselves.
    top : int
        Images per test image.
    """
    card, config = open_card(decoded)
    found = Decoded.load(decoded)
    stimuli = NSD(card["data"]).stimuli.select(found.ids) if gallery is None else Stimuli.open(Path(gallery))
    if top > len(stimuli):
        raise ShapeMismatch(f"the gallery has {len(stimuli)} images, fewer than the {top} asked for.")
    plain = dataclasses.replace(config, low_level=False)
    with tempfile.TemporaryDirectory() as work:
        true = targets_of_images(stimuli, plain, Tools(plain), Path(work) / "targets")
        asked, shown = search_pair(found, true)
        nearest = Gallery(shown, ids=true.ids).search(asked, k=top)
    rows = [
        {"stimulus": s, "place": k + 1, "found": nearest.ids[i, k], "similarity": nearest.scores[i, k]}
        for i, s in enumerate(found.ids.tolist())
        for k in range(top)
    ]
    table = pd.DataFrame(rows)
    with atomic_path(Path(output)) as path:
        table.to_csv(path, sep="\t", index=False, float_format="%.6g")
    first = table[table["place"] == 1]
    hits = float((first["found"].astype(str) == first["stimulus"].astype(str)).mean()) if gallery is None else None
    say(f"{top} of {len(stimuli):,} images for each of {len(found.ids)} test images -> {output}")
    return {"output": str(output), "n": len(found.ids), "gallery": len(stimuli), "top1": hits}


def evaluate(
    decoded: str | Path,
    output: str | Path,
    *,
    images: str | Path | None = None,
    captions: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Score what was decoded against the truth, under named protocols, and write the table.

    Parameters
    ----------
    decoded : folder of ``predict``
    output : tsv file
    images : folder of ``reconstruct``, optional
    captions : JSON file of ``caption``, optional
    changes : dict, optional
        Other ``protocol``, ``pool``, ``repeats``.

    Raises
    ------
    SplitLeakage
        If a decoded image was a training image of this decoder.
    """
    card, config = open_card(decoded)
    config = dataclasses.replace(config, **dict(changes or {}))
    check_decode(config, "nsd")
    found, nsd = Decoded.load(decoded), NSD(card["data"])
    fitted, test = halves(nsd, card["subject"], card["roi"], card["split"], card["sessions"])
    both = np.intersect1d(fitted.stimulus, found.ids)
    if len(both):
        raise SplitLeakage(f"{len(both)} decoded images were training images, first {both[:3].tolist()}.")
    tools = Tools(config if "low_level" in found else dataclasses.replace(config, low_level=False))
    stimuli = stimuli_of(nsd, test.stimulus)
    with tempfile.TemporaryDirectory() as work:
        true = targets_of_images(stimuli, tools.config, tools, Path(work) / "targets")
        results, _ = score(config, found, true, card["seed"])
    if images is not None:
        made = read_json(Path(images) / CARD)
        pixels = np.load(Path(images) / "images.npy", allow_pickle=False)
        pictures = Pictures(np.array(made["ids"]), {"reconstruction": pixels[:, 0]})
        results |= image_scores(config, pictures, stimuli, card["seed"])
    if captions is not None:
        said = read_json(Path(captions))
        missing = [i for i in found.ids.tolist() if str(i) not in said]
        if missing:
            raise ShapeMismatch(f"{captions} has no caption of test image {missing[0]} ({len(missing)} are missing).")
        scores, _ = caption_results([said[str(i)] for i in found.ids.tolist()], found.ids, stimuli, card["seed"])
        results |= scores
    for result in results.values():
        say(str(result))
    name = f"subject {card['subject']}, {config.decoders[0]}"
    with atomic_path(Path(output)) as path:
        results_table({name: results}).to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    return {"output": str(output), "scores": {k: r.to_dict() for k, r in results.items()}}


def stimuli_of(nsd: NSD, ids: np.ndarray) -> Stimuli:
    """Return images with their captions where these are there."""
    try:
        return nsd.captioned_stimuli(ids)
    except DataNotDownloaded:
        return nsd.stimuli.select(ids)

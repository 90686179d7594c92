"""``neuro decode train|predict|reconstruct|caption|retrieve|evaluate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Say = Callable[[str], None]
STEPS = ("train", "predict", "reconstruct", "caption", "retrieve", "evaluate")
EXAMPLE = """\
neuro decode train --data /data/nsd --subjects 1 --decoder ridge --output decoder/
  neuro decode predict decoder/ --subject 1 --output decoded/
  neuro decode reconstruct decoded/ --output images/
  neuro decode caption decoded/ --output captions.json
  neuro decode retrieve decoded/ --output retrieved.tsv
  neuro decode evaluate decoded/ --images images/ --captions captions.json --output scores.tsv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a parser for every step of decoding."""
    steps = parser.add_subparsers(metavar="step", dest="step", required=True)

    def step(name: str, summary: str, reads: str | None = None) -> argparse.ArgumentParser:
        sub = steps.add_parser(name, help=summary, description=summary)
        if reads:
            sub.add_argument(
                reads, help=f"folder that `neuro decode {'train' if reads == 'decoder' else 'predict'}` wrote"
            )
        sub.add_argument("--output", required=True)
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the result as JSON")
        return sub

    train = step("train", "Fit a decoder to the training images of an NSD tree (or of a phantom).")
    train.add_argument("--data", required=True, help="folder of the data set")
    train.add_argument("--subjects", type=int, nargs="+", default=[1])
    train.add_argument("--sessions", help="such as 1-10 (default: all)")
    train.add_argument("--roi", default="nsdgeneral")
    train.add_argument("--split", default="shared1000")
    train.add_argument("--decoder", default="ridge", help="ridge, or a recipe: contrastive, mindeye, mindbridge, ...")
    train.add_argument("--target", default="phantom-clip", help="the CLIP whose tokens are decoded: open_clip:ViT-L-14")
    train.add_argument("--pretrained", help="weights of the target: a tag or a file")
    train.add_argument("--normalise", default="none", choices=["none", "cls_norm"])
    train.add_argument("--no-low-level", action="store_true", help="do not decode latents of the generator's VAE")
    _generator(train)
    train.add_argument("--option", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="of the decoder")
    train.add_argument("--seed", type=int, default=0)

    predict = step("predict", "Decode the test images of one subject.", "decoder")
    predict.add_argument("--subject", type=int, required=True)
    predict.add_argument("--data", help="folder of the data set, if it moved")

    reconstruct = step("reconstruct", "Make an image of what was decoded of every test image.", "decoded")
    reconstruct.add_argument("--images", type=int, default=0, metavar="N", help="only the first N (default: all)")
    reconstruct.add_argument("--candidates", type=int, default=1, help="images per stimulus")
    reconstruct.add_argument("--steps", type=int)
    reconstruct.add_argument("--guidance", type=float)
    reconstruct.add_argument("--strength", type=float, help="0 keeps the decoded low-level image, 1 ignores it")
    _generator(reconstruct)

    caption = step("caption", "Say in a sentence what was decoded of every test image.", "decoded")
    caption.add_argument("--captioner", help="phantom, a folder, or a hub name")

    retrieve = step("retrieve", "Find the images of a gallery that are most similar to what was decoded.", "decoded")
    retrieve.add_argument("--gallery", help="folder, zip or HDF5 file of images (default: the test images)")
    retrieve.add_argument("--top", type=int, default=5)

    evaluate = step("evaluate", "Score what was decoded, under named protocols.", "decoded")
    evaluate.add_argument("--images", help="folder that `neuro decode reconstruct` wrote")
    evaluate.add_argument("--captions", help="file that `neuro decode caption` wrote")
    evaluate.add_argument("--protocol", help="of the image metrics")
    evaluate.add_argument("--pool", type=int, help="images to choose from in retrieval")


def _generator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generator", help="phantom, stable-diffusion, versatile, unclip, ...")
    parser.add_argument("--generator-weights", help="folder or hub name of the pipeline")


def run(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Do one step."""
    from neuro.study import quick_decode as steps

    if args.step == "train":
        return _train(args, say)
    if args.step == "predict":
        return steps.predict(args.decoder, args.output, subject=args.subject, data=args.data, say=say)
    if args.step == "reconstruct":
        changes = _given(args, "generator", "generator_weights", "steps", "guidance", "strength")
        return steps.reconstruct(
            args.decoded, args.output, n=args.images, candidates=args.candidates, changes=changes, say=say
        )
    if args.step == "caption":
        return steps.caption(args.decoded, args.output, captioner=args.captioner, say=say)
    if args.step == "retrieve":
        return steps.retrieve(args.decoded, args.output, gallery=args.gallery, top=args.top, say=say)
    changes = _given(args, "protocol", "pool")
    return steps.evaluate(
        args.decoded, args.output, images=args.images, captions=args.captions, changes=changes, say=say
    )


def _train(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    from neuro.cli.verbs import parse_numbers, parse_options
    from neuro.study import quick_decode
    from neuro.study.decode_config import DecodeConfig

    config = DecodeConfig(
        decoders=(args.decoder,),
        target=args.target,
        pretrained=args.pretrained,
        normalise=args.normalise,
        low_level=not args.no_low_level,
        options=parse_options(args.option),
        **_given(args, "generator", "generator_weights"),
    )
    return quick_decode.train(
        args.data,
        args.output,
        subjects=args.subjects,
        roi=args.roi,
        split=args.split,
        sessions=None if args.sessions is None else parse_numbers(args.sessions),
        config=config,
        seed=args.seed,
        say=say,
    )


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}

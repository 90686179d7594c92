"""Arguments and dispatch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import neuro
from neuro.cli import decode as decode_step
from neuro.cli import verbs
from neuro.errors import NeuroError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "run"):
        parser.print_help()
        return 0
    # With --json, standard output carries the result alone; progress goes to standard error.
    stream = sys.stderr if args.json else sys.stdout

    def say(line: str) -> None:
        print(line, file=stream, flush=True)

    try:
        result: dict[str, Any] = args.run(args, say)
    except (NeuroError, ValueError, OSError, ModuleNotFoundError) as error:
        print(f"neuro {args.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"neuro {args.verb}: interrupted; run the same command again to go on from here.", file=sys.stderr)
        return 130
    if args.json:
        print(json.dumps(result, indent=2, default=str))
    return int(result.get("exit_code", 0))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(prog="neuro", description="Relate vision networks to brains, in both directions.")
    parser.add_argument("--version", action="version", version=f"neuro {neuro.__version__}")
    subparsers = parser.add_subparsers(metavar="verb", dest="verb")

    def verb(name: str, run: Callable[..., dict[str, Any]], summary: str, example: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        sub.set_defaults(run=run)
        return sub

    demo = verb(
        "demo", verbs.demo, "Write a phantom, run a whole encoding study on it, and make its report.", "neuro demo"
    )
    demo.add_argument("--output", default="demo", help="folder for phantom, results and report (default: demo)")
    demo.add_argument("--small", action="store_true", help="one subject and few images: a check, not a study")

    verb("doctor", verbs.doctor, "Say what is installed, what is missing, and what to do about it.", "neuro doctor")

    phantom = verb(
        "phantom",
        verbs.phantom,
        "Write a simulated data set with the files and formats of the Natural Scenes Dataset, and its truth.",
        "neuro phantom my_phantom --subjects 4 --sessions 4 --images 1000 --size 96 --seed 0",
    )
    phantom.add_argument("folder")
    phantom.add_argument("--subjects", type=int, default=4)
    phantom.add_argument("--sessions", type=int, default=4)
    phantom.add_argument("--images", type=int, default=1000, help="images per subject, one tenth of them shared")
    phantom.add_argument("--size", type=int, default=96, help="pixels on a side")
    phantom.add_argument("--seed", type=int, default=0)
    phantom.add_argument("--grid", default="standard", choices=["standard", "small"], help="how many voxels")

    fetch = verb(
        "fetch",
        verbs.fetch,
        "List what of a public data set there is to fetch, with sizes; fetch it with --accept-terms (resumable).",
        "neuro fetch nsd /data/nsd --subjects 1 2 --sessions 1-10 --accept-terms",
    )
    fetch.add_argument("dataset", choices=["nsd"])
    fetch.add_argument("folder")
    fetch.add_argument("--subjects", type=int, nargs="+", default=[1], help="1 to 8 (default: 1)")
    fetch.add_argument("--sessions", help="such as 1-10 or 1,2,5 (default: all that were published)")
    fetch.add_argument("--space", default="func1pt8mm", help="func1pt8mm, func1mm, fsaverage, nativesurface")
    fetch.add_argument("--betas", default="fithrf_GLMdenoise_RR", help="preparation of the betas")
    fetch.add_argument("--parts", nargs="+", help="design, behaviour, regions, betas, pictures, shared_pictures")
    fetch.add_argument("--accept-terms", action="store_true", help="you accepted the data set's terms: fetch")
    fetch.add_argument("--jobs", type=int, default=4, help="files at a time")
    fetch.add_argument("--endpoint", help="address of the bucket, for a mirror")

    features = verb(
        "features",
        verbs.features,
        "Read layers of a vision network for a folder, zip or HDF5 file of images into a store (resumable).",
        "neuro features --model timm:resnet50 --images photos/ --layers layer3 layer4 --pool mean --store features/",
    )
    features.add_argument("--model", required=True, help="open_clip:NAME, timm:NAME, phantom-clip, gabor, ...")
    features.add_argument("--pretrained", help="weights tag or file; leave out for the model's default")
    features.add_argument("--untrained", action="store_true", help="random weights, on purpose (a control)")
    features.add_argument("--images", help="folder, zip or HDF5 file")
    features.add_argument("--layers", nargs="+", help="layer names (default: all); --list prints them")
    features.add_argument("--list", action="store_true", help="print the layers with their shapes and stop")
    features.add_argument("--pool", help="cls, mean, spatial:K, tokens")
    features.add_argument("--project", type=int, help="dimensions of a sparse random projection")
    features.add_argument("--store", help="folder of the store")
    features.add_argument("--batch-size", type=int, default=32)
    features.add_argument("--device", help="cpu, cuda, ... (default: cpu)")
    features.add_argument("--seed", type=int, default=0)

    encode = verb(
        "encode",
        verbs.encode,
        "Fit an encoder from layers of a feature store to a matrix of responses and score it on held-out images.",
        "neuro encode --features features/ --layer layer4 --responses betas.npy --output encoded/\n"
        "  neuro encode --encoder banded --layer layer1 layer4 --features features/ --responses betas.npy --output b/",
    )
    encode.add_argument("--features", required=True, help="folder of a feature store")
    encode.add_argument(
        "--encoder", default="ridge", metavar="KIND",
        help="ridge (default), kernel, banded, multiple-kernel, stacked, receptive-field, factorised, attention, "
        "in-context",
    )  # fmt: skip
    encode.add_argument(
        "--layer", required=True, nargs="+", help="one or several; for banded, multiple-kernel and stacked: the bands"
    )
    encode.add_argument("--network", help="in-context: folder of a trained network, or phantom")
    encode.add_argument(
        "--option",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="of the encoder, such as n_iter=20 extent=8.4",
    )
    encode.add_argument("--responses", required=True, help=".npy, .npz, .h5 or .mat, one row per image of the store")
    encode.add_argument("--key", help="variable inside the file")
    encode.add_argument("--transpose", action="store_true", help="the file holds (n_voxels, n_images)")
    encode.add_argument("--folds", type=int, default=5)
    encode.add_argument("--seed", type=int, default=0)
    encode.add_argument("--output", required=True)

    decode = verb(
        "decode",
        decode_step.run,
        "Decode images from responses, step by step: train, predict, reconstruct, caption, retrieve, evaluate.",
        decode_step.EXAMPLE,
    )
    decode_step.add_arguments(decode)

    rsa = verb(
        "rsa",
        verbs.rsa,
        "Compare model RDMs, or the layers of a feature store, with measured RDMs or responses, with noise ceilings.",
        "neuro rsa --data brain_rdms.mat --axes subject session --average session --models models.mat --output rsa/",
    )
    rsa.add_argument("--data", required=True, help="RDMs (npy, npz, h5, mat, tsv, a saved folder), or see --responses")
    rsa.add_argument("--responses", action="store_true", help="--data holds responses, one row per image")
    rsa.add_argument("--transpose", action="store_true", help="the responses are (n_voxels, n_images)")
    rsa.add_argument("--key", help="variable inside the file")
    rsa.add_argument("--axes", nargs="+", default=[], help="what the axes of a stack are: subject session ...")
    rsa.add_argument("--average", nargs="+", default=[], help="axes to average over")
    rsa.add_argument("--models", nargs="+", default=[], help="files of model RDMs")
    rsa.add_argument("--features", help="folder of a feature store: its layers become models")
    rsa.add_argument("--layers", nargs="+", help="of the store (default: all)")
    rsa.add_argument("--metric", default="correlation", help="dissimilarity of responses and features")
    rsa.add_argument("--method", default="corr", help="comparer: corr, cosine, spearman, rho-a, tau-a, corr_cov, ...")
    rsa.add_argument("--resample", choices=["subject", "stimulus", "both", "dual"], help="default: by what there is")
    rsa.add_argument("--bootstraps", type=int, default=1000)
    rsa.add_argument("--seed", type=int, default=0)
    rsa.add_argument("--output", required=True)

    run = verb("run", verbs.run, "Run a study file, or go on where it stopped.", "neuro run study.toml")
    run.add_argument("study")
    run.add_argument("--output", help="folder for the results (default: what the study file says)")
    run.add_argument("--submit", choices=["slurm", "local"], help="hand the steps to SLURM, or to processes here")
    run.add_argument(
        "--job", nargs="+", default=[], metavar="NAME=VALUE", help="for the jobs: timeout_min=240 slurm_partition=gpu"
    )

    report = verb("report", verbs.report, "Write report.html again from saved results.", "neuro report results/")
    report.add_argument("folder")
    return parser

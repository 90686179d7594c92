"""Pictures per second of the phantom's diffusion model, and what our interface adds to a bare loop over diffusers.

    python benchmarks/decoder_generation.py
    python benchmarks/decoder_generation.py --batch 1 16 --steps 20 --write-results

Each size is timed three ways in turn, on the same tokens and the same noise: ``Generator.generate``; a loop over the
scheduler, the UNet and the VAE written out by hand; and diffusers' own StableDiffusionPipeline. Processor time of this
process counts, since other work on the machine disturbs it less than wall time; medians of ratios taken run by run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _timing import RESULTS, limit_threads, machine, write_section

from neuro.decoders.generators.base import item_generators
from neuro.decoders.generators.phantom import FOLDER, PhantomDiffusion, load_phantom_pipeline


def bare_loop(
    pipeline: PhantomDiffusion, states: torch.Tensor, steps: int, guidance: float, generators: list[torch.Generator]
) -> np.ndarray:
    """Return pictures of a loop without any of our interface: what anybody would write with diffusers alone."""
    scheduler, unet, vae = pipeline.scheduler, pipeline.unet, pipeline.vae
    scheduler.set_timesteps(steps)
    x = torch.stack([torch.randn(8, 16, 16, generator=g) for g in generators])
    both = torch.cat([torch.zeros_like(states), states]) if guidance != 1 else states
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = unet(torch.cat([x, x]) if guidance != 1 else x, t, encoder_hidden_states=both, return_dict=False)[0]
            if guidance != 1:
                without, given = out.chunk(2)
                out = without + guidance * (given - without)
            x = scheduler.step(out, t, x, return_dict=False)[0]
        return (vae.decode(x / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1).numpy()


def diffusers_pipeline() -> Callable[..., np.ndarray]:
    """Return diffusers' own pipeline over the same folder as a function of states and noise."""
    from diffusers import StableDiffusionPipeline

    absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder"))
    pipe = StableDiffusionPipeline.from_pretrained(FOLDER, local_files_only=True, **absent)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.float()
    pipe.vae.float()

    def run(states, steps, guidance, generators):
        found = pipe(
            prompt_embeds=states,
            negative_prompt_embeds=torch.zeros_like(states),
            latents=torch.stack([torch.randn(8, 16, 16, generator=g) for g in generators]),
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="np",
        )
        return found.images.transpose(0, 3, 1, 2)

    return run


def measure(batch: int, steps: int, guidance: float, repeats: int) -> dict[str, float]:
    """Return medians: seconds of ours, what they are over those of the others, and the largest difference."""
    pipeline = load_phantom_pipeline()
    rng = np.random.default_rng(0)
    condition = {"image_tokens": rng.standard_normal((batch, 5, 128)).astype(np.float32)}
    states = pipeline.conditioning.assemble(condition)
    theirs = diffusers_pipeline()
    ways: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: pipeline.generate(condition, steps=steps, guidance=guidance, batch_size=batch)[:, 0],
        "bare": lambda: bare_loop(pipeline, states, steps, guidance, item_generators(0, range(batch), 0)),
        "pipeline": lambda: theirs(states, steps, guidance, item_generators(0, range(batch), 0)),
    }
    results = {name: run() for name, run in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    wall = []
    for k in range(repeats):
        order = list(ways) if k % 2 == 0 else list(ways)[::-1]
        for name in order:
            begin, begin_wall = time.process_time(), time.perf_counter()
            ways[name]()
            times[name].append(time.process_time() - begin)
            if name == "ours":
                wall.append(time.perf_counter() - begin_wall)
    over = {
        name: statistics.median(a / b for a, b in zip(times["ours"], times[name], strict=True)) - 1
        for name in ("bare", "pipeline")
    }
    return {
        "batch": batch,
        "seconds": statistics.median(times["ours"]),
        "wall": statistics.median(wall),
        "over_bare": over["bare"],
        "over_pipeline": over["pipeline"],
        "apart": max(float(np.abs(results["ours"] - results[name]).max()) for name in ("bare", "pipeline")),
    }


def report(rows: list[dict[str, float]], steps: int, guidance: float) -> str:
    """Return the section for RESULTS.md."""
    passes = "two passes a step" if guidance != 1 else "one pass a step"
    lines = [
        "## Pictures from decoded tokens",
        "",
        f"{machine()} torch {torch.__version__}, {torch.get_num_threads()} thread(s). The phantom's diffusion model, "
        f"64 pixels, DDIM {steps} steps, guidance {guidance:g} ({passes}). Processor time; medians. "
        "Re-run: `python benchmarks/decoder_generation.py --write-results`.",
        "",
        "| pictures at a time | pictures/s of processor time | pictures/s | ours over a bare loop | ours over "
        "diffusers' pipeline | largest difference of a pixel |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        lines.append(
            f"| {r['batch']} | {r['batch'] / r['seconds']:.2f} | {r['batch'] / r['wall']:.2f} | "
            f"{r['over_bare']:+.1%} | {r['over_pipeline']:+.1%} | {r['apart']:.0e} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write-results", type=Path, nargs="?", const=RESULTS)
    args = parser.parse_args()
    with limit_threads(args.threads):
        rows = [measure(batch, args.steps, args.guidance, args.repeats) for batch in args.batch]
        text = report(rows, args.steps, args.guidance)
    print(text)
    if args.write_results:
        write_section("decoder generation", text, args.write_results)


if __name__ == "__main__":
    main()

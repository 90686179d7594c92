"""Train phantom-captioner from scratch on rendered scenes and their captions, and say how well it does.

    python scripts/train_phantom_captioner.py --out neuro/decoders/phantom_captioner

A small GPT-2 reads phantom-clip's image tokens through a linear prefix and predicts the words of one of ten captions.
Tokens that a decoder reads out of a brain are shrunk and noisy, so the tokens of four scenes in five are made so: in
the training tokens' principal axes (variances v_k), as the best linear decoder of a brain with noise of variance s_k
would give them,

    y_hat_k = g_k y_k + sqrt(g_k (1 - g_k) v_k) e_k,    g_k = v_k / (v_k + s_k),

with s_k drawn anew for every scene, and with the further noise sqrt(c (1 - g_k) v_k) of a decoder that shrinks too
little what it cannot read; some scenes lose whole tokens as well. AdamW, cosine schedule over whichever of --steps,
--minutes (of processor time) and --wall-minutes ends first; sentences of a batch are of similar length. The folder is
written every few minutes, so it can be looked at while training goes on, and ``--resume`` goes on from it (with further
scenes: ``--first``); metrics.json adds up what all runs took. ``--cache`` keeps the rendered scenes' tokens.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from neuro._files import atomic_path, read_json, write_json
from neuro.datasets.phantom.captions import describe
from neuro.datasets.phantom.scenes import render, sample_scene
from neuro.decoders._captioner_prefix import PrefixCaptioner, TokenPrefix, sentence_log_likelihood
from neuro.decoders.naming import content_naming, scene_content
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.phantom_clip.tokenizer import PAD, START, WordTokenizer, split_words
from neuro.features.tokens import image_tokens

RENDERED, CONTEXT, CAPTIONS = 96, 32, 10
LAYERS, WIDTH, HEADS, POSITIONS = 4, 128, 4, 40
NOISES = (0.0, 0.03, 0.3)


def cpu_minutes() -> float:
    """Processor minutes of this process and its children so far."""
    times = os.times()
    return (times.user + times.system + times.children_user + times.children_system) / 60


def scene_tokens(n: int, seed: int, first: int, cache: Path | None, log) -> np.ndarray:
    """Render ``n`` scenes from index ``first`` on and return phantom-clip's image tokens, float16 (n, 5, 128)."""
    path = cache / f"tokens_{seed}_{first}_{n}.npy" if cache else None
    if path is not None and path.is_file():
        return np.load(path, allow_pickle=False)
    from PIL import Image

    model, preprocess, _ = load_phantom_clip()
    out = []
    for begin in range(0, n, 100):
        scenes = [sample_scene(seed, first + i) for i in range(begin, min(begin + 100, n))]
        pixels = torch.stack([preprocess(Image.fromarray(render(scene, RENDERED))) for scene in scenes])
        with torch.no_grad():
            out.append(np.asarray(image_tokens(model, pixels), dtype=np.float16))
        if begin % 3000 == 0:
            log(f"rendered {begin:,}/{n:,} scenes")
    tokens = np.concatenate(out)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, tokens, allow_pickle=False)
    return tokens


class LinearDecoding:
    """Make tokens look as if a linear decoder had read them out of a noisy brain.

    Parameters
    ----------
    tokens : array (n, n_tokens, dim)
        Of training scenes; their principal axes are kept.
    """

    def __init__(self, tokens: np.ndarray):
        flat = tokens.reshape(len(tokens), -1).astype(np.float64)
        self.shape = tokens.shape[1:]
        self.mean = torch.from_numpy(flat.mean(0)).float()
        variances, axes = np.linalg.eigh(np.cov(flat.T))
        self.variances = torch.from_numpy(np.maximum(variances, 1e-12)).float()
        self.axes = torch.from_numpy(axes).float()

    def __call__(
        self, tokens: torch.Tensor, noise: torch.Tensor, rng: torch.Generator, excess: torch.Tensor | float = 0.0
    ) -> torch.Tensor:
        """Return tokens decoded with noise variance ``noise``, (n, 1) or (n, n_axes), over that of the first axis."""
        scores = (tokens.flatten(1) - self.mean) @ self.axes
        gain = self.variances / (self.variances + noise * self.variances[-1])
        spread = ((1 - gain) * (gain + excess) * self.variances).sqrt()
        decoded = gain * scores + spread * torch.randn(scores.shape, generator=rng)
        return (self.mean + decoded @ self.axes.T).unflatten(1, self.shape)

    def augment(self, tokens: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Return tokens (n, n_tokens, dim): a fifth as they are, the others decoded; some without some tokens."""
        n, n_axes = len(tokens), len(self.variances)
        level = 10 ** (-2.5 + 3 * torch.rand(n, 1, generator=rng))
        noise = level * torch.exp(1.2 * torch.randn(n, n_axes, generator=rng))
        noise[torch.rand(n, generator=rng) < 0.2] = 0
        out = self(tokens, noise, rng, 0.3 * torch.rand(n, 1, generator=rng))
        lost = (torch.rand(n, 1, generator=rng) < 0.1) & (torch.rand(n, tokens.shape[1], generator=rng) < 0.4)
        return torch.where(lost[..., None], self.mean.view(self.shape), out)


def batches(lengths: torch.Tensor, size: int, rng: torch.Generator) -> list[torch.Tensor]:
    """Return rows in batches of similar length, in random order."""
    rows = torch.randperm(len(lengths), generator=rng)
    out = []
    for pool in rows.split(16 * size):
        out += [b for b in pool[lengths[pool].argsort()].split(size) if len(b) == size]
    return [out[i] for i in torch.randperm(len(out), generator=rng).tolist()]


def new_captioner(tokens: np.ndarray, words: list[str], seed: int) -> PrefixCaptioner:
    """Return an untrained captioner for these tokens and words."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = WordTokenizer(words, CONTEXT, unknown="error")
    config = GPT2Config(
        vocab_size=tokenizer.vocab_size,
        n_positions=POSITIONS,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=START,
        eos_token_id=tokenizer.end,
        pad_token_id=PAD,
    )
    torch.manual_seed(seed)
    scale = tokens.std(0, dtype=np.float64) + 1e-6
    return PrefixCaptioner(
        GPT2LMHeadModel(config), TokenPrefix(tokens.mean(0, dtype=np.float64), scale, WIDTH), tokenizer
    )


def evaluate(
    captioner: PrefixCaptioner,
    train: tuple[int, int, np.ndarray],
    test_seed: int,
    n: int,
    cache: Path | None,
    log,
) -> dict:
    """Score captions of fresh scenes, clean and noisy, beside two comparisons.

    ``another caption``: what a second person says of the same picture. ``nearest training caption``: a caption of the
    training scene whose image embedding (token 0) is most alike.
    """
    seed, first, stored = train
    tokens = torch.from_numpy(scene_tokens(n, test_seed, 0, cache, log).astype(np.float32))
    scenes = [sample_scene(test_seed, i) for i in range(n)]
    truth, references = scene_content(scenes), [describe(scene) for scene in scenes]
    decoding = LinearDecoding(stored)
    rng = torch.Generator().manual_seed(test_seed)
    gallery = nn.functional.normalize(torch.from_numpy(stored[:, 0].astype(np.float32)), dim=1)
    ids = captioner.tokenizer([group[0] for group in references])
    words = (ids[:, 1:] != PAD).sum(1).numpy()
    out: dict = {"seed": test_seed, "n": n, "chance": "captions shuffled over scenes", "systems": {}}
    systems: dict[str, list[str]] = {"another caption": [group[1] for group in references]}
    for noise in NOISES:
        seen = decoding(tokens, torch.full((n, 1), noise), rng) if noise else tokens
        name = f"noise {noise:g}"
        systems[f"captioner, {name}"] = captioner.caption(seen)
        nearest = (nn.functional.normalize(seen[:, 0], dim=1) @ gallery.T).argmax(1).tolist()
        systems[f"nearest training caption, {name}"] = [describe(sample_scene(seed, first + k))[0] for k in nearest]
        out[f"nats per word, {name}"] = float(-captioner.log_likelihood(seen, ids).sum() / words.sum())
    for system, captions in systems.items():
        results = content_naming(captions, truth)
        out["systems"][system] = {k: {"value": float(r), "ci": r.ci, "chance": r.chance} for k, r in results.items()}
        log(system + ": " + ", ".join(f"{k} {float(r):.3f} ({r.chance:.3f})" for k, r in results.items()))
    return out


def main(argv: list[str] | None = None) -> dict:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=16000)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--minutes", type=float, default=20.0, help="cap on the optimisation's processor time")
    parser.add_argument("--wall-minutes", type=float, default=120.0, help="cap on the optimisation's duration")
    parser.add_argument("--seed", type=int, default=41, help="of the training scenes and of the initial weights")
    parser.add_argument("--test-seed", type=int, default=42, help="of the fresh scenes that are scored at the end")
    parser.add_argument("--test-scenes", type=int, default=600)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the weights in --out")
    parser.add_argument("--evaluate", action="store_true", help="only score the weights in --out again")
    parser.add_argument("--first", type=int, default=0, help="index of the first training scene")
    parser.add_argument("--cache", type=Path, help="folder for the tokens of rendered scenes")
    parser.add_argument("--out", type=Path, default=Path("neuro/decoders/phantom_captioner"))
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    def log(text: str) -> None:
        print(f"[{cpu_minutes():6.1f} cpu min] {text}", flush=True)

    tokens = scene_tokens(args.scenes, args.seed, args.first, args.cache, log)
    train = (args.seed, args.first, tokens)
    if args.evaluate:
        captioner = PrefixCaptioner.from_pretrained(args.out)
        metrics = read_json(args.out / "metrics.json")
        metrics["evaluation"] = evaluate(captioner, train, args.test_seed, args.test_scenes, args.cache, log)
        write_json(args.out / "metrics.json", metrics)
        return metrics
    before = read_json(args.out / "metrics.json")["runs"] if args.resume else []
    texts = [describe(sample_scene(args.seed, args.first + i), CAPTIONS) for i in range(args.scenes)]
    if args.resume:
        captioner = PrefixCaptioner.from_pretrained(args.out)
    else:
        known = set(load_phantom_clip()[2].words) | {w for group in texts for t in group for w in split_words(t)}
        captioner = new_captioner(tokens, sorted(known), args.seed)
    ids = torch.stack([captioner.tokenizer(group) for group in texts])
    lengths = (ids != PAD).sum(2)
    parameters = [*captioner.model.parameters(), *captioner.prefix.parameters()]
    n_parameters = sum(p.numel() for p in parameters)
    log(f"{n_parameters / 1e6:.2f} M parameters, {len(captioner.tokenizer.words)} words, longest {int(lengths.max())}")
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=args.lr,
        betas=(0.9, 0.98),
    )
    decoding, seen_tokens = LinearDecoding(tokens), torch.from_numpy(tokens.astype(np.float32))
    rng = torch.Generator().manual_seed(1000 * args.seed + len(before))
    step, epoch, seen, begin, start, saved = 0, 0, 0.0, time.time(), cpu_minutes(), cpu_minutes()
    done = False

    def record(finished: bool) -> dict:
        run = {
            "finished": finished,
            "seed": args.seed,
            "scenes": [args.first, args.first + args.scenes],
            "steps": step,
            "epochs": epoch,
            "batch": args.batch,
            "lr": args.lr,
            "nats_per_word": round(seen, 4),
            "cpu_minutes": round(cpu_minutes(), 1),
            "cpu_minutes_optimising": round(cpu_minutes() - start, 1),
            "wall_minutes_optimising": round((time.time() - begin) / 60, 1),
            "threads": args.threads,
        }
        runs = [*before, run]
        metrics = {
            "what": "a GPT-2 that puts phantom-clip's image tokens into words; for checking and learning",
            "parameters": n_parameters,
            "vocabulary": len(captioner.tokenizer.words),
            "precision": "bfloat16 autocast on CPU; matrices stored as float16",
            "torch": torch.__version__,
            "cpu_minutes": round(sum(r["cpu_minutes"] for r in runs), 1),
            "captions_seen": sum(r["steps"] * r["batch"] for r in runs),
            "runs": runs,
        }
        captioner.save(args.out)
        write_json(args.out / "metrics.json", metrics)
        return metrics

    while not done:
        captioner.model.train()
        which = torch.randint(0, CAPTIONS, (args.scenes,), generator=rng)
        chosen = torch.arange(args.scenes)
        for rows in batches(lengths[chosen, which], args.batch, rng):
            spent, passed = cpu_minutes() - start, (time.time() - begin) / 60
            progress = max(step / args.steps, spent / args.minutes, passed / args.wall_minutes)
            if progress >= 1:
                done = True
                break
            for group in optimiser.param_groups:
                warm = min(1.0, (step + 1) / 100)
                group["lr"] = args.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
            words = ids[rows, which[rows]]
            words = words[:, : int(lengths[rows, which[rows]].max())]
            batch = decoding.augment(seen_tokens[rows], rng)
            # for sentences this short, attention spelled out is faster than the fused kernel
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel([SDPBackend.MATH]):
                nats = -sentence_log_likelihood(captioner, batch, words, PAD)
            loss = nats.sum() / (words[:, 1:] != PAD).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            step += 1
            seen = loss.item() if step == 1 else 0.98 * seen + 0.02 * loss.item()
            if step % 25 == 0:
                log(
                    f"step {step}/{args.steps} epoch {epoch + 1} nats per word {seen:.3f} "
                    f"lr {optimiser.param_groups[0]['lr']:.2e} wall {(time.time() - begin) / 60:.1f} min"
                )
            if cpu_minutes() - saved > 3:
                saved = cpu_minutes()
                record(False)
        epoch += 1
    captioner.model.eval()
    metrics = record(True)
    captioner = PrefixCaptioner.from_pretrained(args.out)
    metrics["evaluation"] = evaluate(captioner, train, args.test_seed, args.test_scenes, args.cache, log)
    write_json(args.out / "metrics.json", metrics)
    return metrics


if __name__ == "__main__":
    main()

"""Train phantom-clip from scratch on rendered scenes and their captions, and say how well it does.

    OMP_WAIT_POLICY=PASSIVE python scripts/train_phantom_clip.py --minutes 30 --out neuro/features/phantom_clip

Symmetric InfoNCE between pictures and one of their five captions, AdamW, cosine schedule over whichever of --epochs and
--minutes ends first. Scenes come from a training seed, the evaluation from other seeds. The folder is rewritten
(atomically) after every epoch, so it can be looked at while training goes on, and ``--resume`` goes on from it with
further scenes (``--first``); metrics.json adds up what all runs took.
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
from neuro.datasets.phantom import backgrounds, buildings, captions, distractors, food, people, signs
from neuro.datasets.phantom.palette import HAIR, NAMED
from neuro.datasets.phantom.scenes import render, render_scenes, sample_scene
from neuro.features.phantom_clip.tokenizer import WordTokenizer, split_words
from neuro.features.phantom_clip.zero_shot import PROMPTS, class_scores

SIZE, RENDERED, CONTEXT = 64, 96, 32
EMBED = 128
VISION = {"image_size": SIZE, "layers": [2, 2, 2, 2], "width": 24}
TEXT = {"context_length": CONTEXT, "width": 128, "heads": 4, "layers": 3}
PREPROCESS = {
    "size": SIZE,
    "mode": "RGB",
    "mean": [0.45, 0.45, 0.43],
    "std": [0.24, 0.23, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def cpu_minutes() -> float:
    """Processor minutes of this process and its children so far."""
    times = os.times()
    return (times.user + times.system + times.children_user + times.children_system) / 60


def shrink(image: np.ndarray) -> np.ndarray:
    """Resize one rendered picture as the preprocessing will."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def training_pictures(n: int, seed: int, first: int, log) -> tuple[np.ndarray, list[list[str]]]:
    """Render ``n`` scenes from index ``first`` on: uint8 (n, 64, 64, 3) and their captions."""
    images, texts, begin = np.empty((n, SIZE, SIZE, 3), np.uint8), [], time.time()
    for i in range(n):
        scene = sample_scene(seed, first + i)
        images[i] = shrink(render(scene, RENDERED))
        texts.append(captions.describe(scene))
        if (i + 1) % 5000 == 0:
            log(f"rendered {i + 1:,}/{n:,} scenes, {(time.time() - begin) / (i + 1) * 1e3:.1f} ms each")
    return images, texts


def vocabulary(texts: list[list[str]]) -> list[str]:
    """Every word of the training captions and of the scenes' lexicons, sorted."""
    words = {w for group in texts for text in group for w in split_words(text)}
    lexicons = [
        *signs.WORDS,
        *signs.SIGNS,
        *food.FOODS,
        *buildings.BUILDINGS,
        *distractors.DISTRACTORS,
        *backgrounds.PLACENESS,
        *NAMED,
        *HAIR,
        *people.WHO,
        *people.POSES,
        *(w for group in captions.CATEGORY_WORDS.values() for w in group),
        *(p for group in PROMPTS.values() for p in group),
    ]
    return sorted(words | {w for entry in lexicons for w in split_words(entry)})


class Normalise(nn.Module):
    """Bytes (n, size, size, 3) -> what the network wants."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(PREPROCESS["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(PREPROCESS["std"]).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise."""
        return (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std


def augment(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Shift each normalised picture (n, 3, s, s) by up to 4 pixels, edges repeated; vary brightness and contrast."""
    n = len(images)
    padded = nn.functional.pad(images, (4, 4, 4, 4), mode="replicate")
    shifts = rng.integers(0, 9, (n, 2))
    out = torch.stack([padded[i, :, a : a + SIZE, b : b + SIZE] for i, (a, b) in enumerate(shifts)])
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 1, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-0.2, 0.2, (n, 1, 1, 1)).astype(np.float32))
    return out * gain + shift


def encode_text(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """``model.encode_text(tokens, normalize=True)`` without working on the padding that all sentences end in."""
    length = int((tokens != 0).sum(1).max())
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    x = x[torch.arange(len(x)), tokens.argmax(1)] @ model.text_projection
    return nn.functional.normalize(x, dim=-1)


def evaluate(model: nn.Module, tokenizer: WordTokenizer, seed: int, n: int) -> dict:
    """Zero-shot accuracy on fresh scenes and retrieval among them, in float32."""
    model.eval()
    scenes = render_scenes(n, RENDERED, seed=seed)
    normalise = Normalise()
    pictures = torch.from_numpy(np.stack([shrink(image) for image in scenes.images]))
    names = list(PROMPTS)
    image, text, guess = [], [], []
    with torch.no_grad():
        for i in range(0, n, 100):
            batch = normalise(pictures[i : i + 100])
            image.append(model.encode_image(batch, normalize=True))
            text.append(
                model.encode_text(tokenizer([c[0] for c in scenes.table["captions"][i : i + 100]]), normalize=True)
            )
            guess.append(class_scores(model, tokenizer, batch).argmax(1).numpy())
    image, text, guess = torch.cat(image), torch.cat(text), np.concatenate(guess)
    truth = np.array([names.index(c) for c in scenes.table["category"]])
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (truth, guess), 1)
    similarity = (image @ text.T).numpy()
    right = np.diag(similarity)
    to_text = (similarity > right[:, None]).sum(1)
    to_image = (similarity > right[None, :]).sum(0)
    return {
        "seed": seed,
        "n": n,
        "zero_shot_accuracy": float((guess == truth).mean()),
        "chance": 1 / len(names),
        "classes": names,
        "confusion": confusion.tolist(),
        **{f"image_to_caption_top{k}": float((to_text < k).mean()) for k in (1, 5)},
        **{f"caption_to_image_top{k}": float((to_image < k).mean()) for k in (1, 5)},
    }


def save(out: Path, model: nn.Module, config: dict, tokenizer: WordTokenizer, metrics: dict) -> None:
    """Write config, vocabulary, weights and metrics, each whole or not at all."""
    from safetensors.torch import save as to_bytes

    write_json(out / "open_clip_config.json", config)
    write_json(out / "vocabulary.json", {"context_length": CONTEXT, "words": list(tokenizer.words)})
    state = {
        k: (v.half() if v.is_floating_point() and v.ndim > 1 else v).contiguous().clone()
        for k, v in model.state_dict().items()
    }
    with atomic_path(out / "open_clip_model.safetensors") as temporary:
        temporary.write_bytes(to_bytes(state, metadata={"format": "pt"}))
    write_json(out / "metrics.json", metrics)


def main(argv: list[str] | None = None) -> dict:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=32000)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--minutes", type=float, default=30.0, help="wall-clock cap of the optimisation")
    parser.add_argument("--seed", type=int, default=20, help="of the training scenes and of the initial weights")
    parser.add_argument(
        "--test-seed", type=int, default=21, help="of the fresh scenes; 600 of them are scored at the end"
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on from the weights in --out")
    parser.add_argument(
        "--evaluate", action="store_true", help="only score the weights in --out again, with --test-seed"
    )
    parser.add_argument("--first", type=int, default=0, help="index of the first training scene")
    parser.add_argument("--out", type=Path, default=Path("neuro/features/phantom_clip"))
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    def log(text: str) -> None:
        print(f"[{cpu_minutes():6.1f} cpu min] {text}", flush=True)

    from open_clip import CLIP

    if args.evaluate:
        from neuro.features.phantom_clip import load_phantom_clip

        model, _, tokenizer = load_phantom_clip(folder=args.out)
        metrics = {
            **read_json(args.out / "metrics.json"),
            "evaluation": evaluate(model, tokenizer, args.test_seed, 600),
        }
        write_json(args.out / "metrics.json", metrics)
        log(f"zero-shot {metrics['evaluation']['zero_shot_accuracy']:.3f}")
        return metrics
    before = read_json(args.out / "metrics.json")["runs"] if args.resume else []
    images, texts = training_pictures(args.scenes, args.seed, args.first, log)
    words = read_json(args.out / "vocabulary.json")["words"] if args.resume else vocabulary(texts)
    tokenizer = WordTokenizer(words, CONTEXT, unknown="error")
    longest = max(len(split_words(t)) for group in texts for t in group)
    log(f"{len(tokenizer.words)} words, longest caption {longest} words, of {CONTEXT - 2}")
    tokens = tokenizer([t for group in texts for t in group]).view(len(texts), -1, CONTEXT)
    pictures = torch.from_numpy(images)
    model_cfg = {"embed_dim": EMBED, "vision_cfg": VISION, "text_cfg": {**TEXT, "vocab_size": tokenizer.vocab_size}}
    config = {"model_cfg": model_cfg, "preprocess_cfg": PREPROCESS}
    torch.manual_seed(args.seed)
    model = CLIP(**model_cfg)
    if args.resume:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(args.out / "open_clip_model.safetensors"))
    model = model.to(memory_format=torch.channels_last)
    log(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=args.lr,
        betas=(0.9, 0.98),
    )
    normalise, rng = Normalise(), np.random.default_rng([args.seed, len(before)])
    per_epoch = args.scenes // args.batch
    total, step, begin, start_cpu, seen = args.epochs * per_epoch, 0, time.time(), cpu_minutes(), 0.0
    target = torch.arange(args.batch)
    done, epoch = False, 0
    while not done:
        model.train()
        order = torch.from_numpy(rng.permutation(args.scenes))
        for rows in order[: per_epoch * args.batch].split(args.batch):
            progress = max(step / total, (time.time() - begin) / 60 / args.minutes)
            if progress >= 1:
                done = True
                break
            warm = min(1.0, (step + 1) / 100)
            for group in optimiser.param_groups:
                group["lr"] = args.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
            batch = augment(normalise(pictures[rows]), rng).contiguous(memory_format=torch.channels_last)
            which = torch.from_numpy(rng.integers(0, tokens.shape[1], len(rows)))
            # for sentences this short, attention spelled out is faster than the fused kernel
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel([SDPBackend.MATH]):
                image = model.encode_image(batch, normalize=True)
                text = encode_text(model, tokens[rows, which])
            logits = model.logit_scale.exp() * image.float() @ text.float().T
            loss = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(60))
            step += 1
            seen = loss.item() if step == 1 else 0.98 * seen + 0.02 * loss.item()
            if step % 25 == 0:
                rate = step * args.batch / (time.time() - begin)
                log(
                    f"step {step}/{total} epoch {epoch + 1} loss {seen:.3f} lr {optimiser.param_groups[0]['lr']:.2e} "
                    f"{rate:.0f} pictures/s wall {(time.time() - begin) / 60:.1f} min"
                )
        epoch += 1
        done = done or epoch >= args.epochs
        score = evaluate(model, tokenizer, args.test_seed + (0 if done else 1), 600 if done else 240)
        log(
            f"epoch {epoch}: zero-shot {score['zero_shot_accuracy']:.3f}, "
            f"image->caption top5 {score['image_to_caption_top5']:.3f} of {score['n']}"
        )
        run = {
            "finished": done,
            "seed": args.seed,
            "scenes": [args.first, args.first + args.scenes],
            "steps": step,
            "epochs": epoch,
            "batch": args.batch,
            "lr": args.lr,
            "loss": round(seen, 4),
            "cpu_minutes": round(cpu_minutes(), 1),
            "cpu_minutes_optimising": round(cpu_minutes() - start_cpu, 1),
            "wall_minutes_optimising": round((time.time() - begin) / 60, 1),
            "threads": args.threads,
        }
        runs = [*before, run]
        metrics = {
            "what": "a small CLIP trained from scratch on rendered scenes; for checking and learning, not for photos",
            "parameters": sum(p.numel() for p in model.parameters()),
            "vocabulary": len(tokenizer.words),
            "precision": "bfloat16 autocast on CPU",
            "torch": torch.__version__,
            "cpu_minutes": round(sum(r["cpu_minutes"] for r in runs), 1),
            "pictures_seen": sum(r["steps"] * r["batch"] for r in runs),
            "evaluation": score,
            "runs": runs,
        }
        save(args.out, model, config, tokenizer, metrics)
    return metrics


if __name__ == "__main__":
    main()

"""A network under training, its optimiser, one step, and one validation; alone or as one of several processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neuro.encoders._in_context_fit import PRECISIONS
from neuro.encoders._in_context_network import InContextNetwork, apply_weights
from neuro.encoders._in_context_stages import Stage
from neuro.encoders.in_context_config import InContextConfig
from neuro.encoders.in_context_synthetic import VoxelSource
from neuro.linear._arrays import check_device


class Trainer:
    """The network and its optimiser; ``bare`` is the network without what several processes wrap around it."""

    def __init__(self, config: InContextConfig, seed: int, device: Any, precision: str, accelerator: Any):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = InContextNetwork(config)
        self.seed, self.accelerator, self.lower = seed, accelerator, PRECISIONS[precision]
        self.device = accelerator.device if accelerator is not None else check_device(device, network.tokens)
        self.bare = network.to(self.device)
        matrices = [p for p in network.parameters() if p.ndim >= 2]
        vectors = [p for p in network.parameters() if p.ndim < 2]
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer: Any = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.network: Any = self.bare
        if accelerator is not None:
            self.network, self.optimizer = accelerator.prepare(self.bare, self.optimizer)
            self.bare = accelerator.unwrap_model(self.network)
        self.main = accelerator is None or accelerator.is_main_process
        self.process = 0 if accelerator is None else accelerator.process_index

    def step(self, stage: Stage, source: VoxelSource, number: int, step: int) -> torch.Tensor:
        """Take one step and return its loss."""
        self.network.train()
        size = stage.size_of_context(np.random.default_rng([self.seed, number, step]))
        rng = np.random.default_rng([self.seed, number, step, 1 + self.process])
        draw = source.draw(stage.voxels, size + stage.n_queries, rng)
        X, Y = torch.from_numpy(draw.X).to(self.device), torch.from_numpy(draw.Y).to(self.device)
        target = Y[:, size:]
        if draw.weights is not None:  # without noise: the same minimum, from steadier gradients
            target = apply_weights(torch.from_numpy(draw.weights).to(X), X[size:])
        self.optimizer.param_groups[0]["weight_decay"] = stage.weight_decay
        for group in self.optimizer.param_groups:
            group["lr"] = stage.lr_at(step)
        own = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=own, enabled=self.bare.config.dropout > 0):
            if self.bare.config.dropout > 0:
                torch.manual_seed(int(rng.integers(2**62)))
            with self._mixed():
                weights = self.network(X[:size], Y[:, :size])
            loss = (apply_weights(weights.float(), X[size:]) - target).square().mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward() if self.accelerator is None else self.accelerator.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def validate(self, stage: Stage, source: VoxelSource, n_draws: int) -> dict[str, Any]:
        """Score the network on voxels or images kept apart, the same at every validation."""
        self.bare.eval()
        room = source.most_images(True)
        n_queries = min(stage.n_queries, room // 2)
        by_context, cosines = {}, []
        for size in sorted({min(c, room - n_queries) for c in stage.context}):
            rng, scores = np.random.default_rng([self.seed, size]), []
            for _ in range(n_draws):
                draw = source.draw(stage.voxels, size + n_queries, rng, validation=True)
                X, Y = torch.from_numpy(draw.X).to(self.device), torch.from_numpy(draw.Y).to(self.device)
                with self._mixed():
                    weights = self.bare(X[:size], Y[:, :size]).float()
                truth = Y[:, size:]
                left = (truth - apply_weights(weights, X[size:])).var(1)
                scores.append((1 - left / truth.var(1).clamp_min(1e-12)).mean().item())
                if draw.weights is not None:
                    full = torch.from_numpy(draw.weights[:, :-1]).to(weights)
                    cosines.append(torch.cosine_similarity(weights[:, :-1], full).mean().item())
            by_context[str(size)] = float(np.mean(scores))
        cosine = float(np.mean(cosines)) if cosines else None
        ev = float(np.mean(list(by_context.values())))
        return {"explained_variance": ev, "by_context": by_context, "weight_cosine": cosine}

    def any(self, here: bool) -> bool:
        """Whether it is so in any process; all must stop at the same step."""
        if self.accelerator is None:
            return here
        return bool(self.accelerator.reduce(torch.tensor(float(here), device=self.device), reduction="sum") > 0)

    def _mixed(self) -> Any:
        if self.accelerator is not None:
            return self.accelerator.autocast()
        return torch.autocast(self.device.type, dtype=self.lower or torch.bfloat16, enabled=self.lower is not None)

"""
Motion from the brain, applied to a still
=========================================

A phantom watches clips whose optical flow is known. Flow on a coarse grid is decoded from its scans, by ridge
regression and by a network, with the first frame beside them and without; then the first frame is set in motion by what
was decoded. Errors stand beside those of saying that nothing moves, and of the mean motion. Give a file name to save
frames:
``python examples/decoders/flow_animation.py frames.png``.
"""

# %%
import sys

import numpy as np

from neuro.data import convolve_hrf
from neuro.datasets.phantom import render_clips, simulate_movie_responses
from neuro.decoders.animation import animate, warp_frame
from neuro.decoders.flow_decoding import FlowDecoder, pool_flow, upsample_flow
from neuro.decoders.metrics.endpoint import endpoint_error
from neuro.features import optical_flow

movies = render_clips(200, n_frames=10, size=32, fps=10, seed=3)
scanned = simulate_movie_responses(movies, 150, tr=1.0, n_runs=8, n_repeats=4, gap=2.0, ncsnr=(1.0, 2.0), seed=4)
print(scanned.responses)

# %%
# One row per clip: its response is the weight of its own expected time course in its run's scans, fitted for all clips
# of a run together, so that neighbours' responses are told apart.
Y = scanned.responses.average_repeats().to_numpy()
shown = np.eye(len(movies))
design = convolve_hrf(scanned.timeline(shown), scanned.tr, runs=scanned.runs)
design /= design.max()
X = np.linalg.solve(design.T @ design + 0.1 * np.eye(len(movies)), design.T @ Y)
flow = movies.flow.mean(1)  # mean over the clip, in pixels per frame
stills = np.stack([movies.clips.frames(i)[0] for i in range(len(movies))])
frames = pool_flow(np.repeat(stills.mean(-1)[..., None] / 255, 2, -1), (8, 8))[..., 0].reshape(len(movies), -1)

# %%
# Ridge and network, with and without the first frame (its grey levels on an 8 x 8 grid); 160 clips train, 40 test.
train, test = np.arange(160), np.arange(160, 200)
moving = test[movies.motion["kind"].to_numpy()[test] != "static"]
said = {}
for method in ("ridge", "mlp"):
    for picture in (False, True):
        side = frames if picture else None
        decoder = FlowDecoder((8, 8), method, epochs=80, alphas=np.logspace(-4, 4, 17), width=32)
        decoder.fit(X[train], flow[train], None if side is None else side[train])
        name = f"{method}{' + first frame' if picture else ''}"
        said[name] = decoder.predict(X[moving], None if side is None else side[moving])
        mean_flow = upsample_flow(decoder.mean_flow_[None], (32, 32))[0]
        result = endpoint_error(said[name], flow[moving], mean_flow=mean_flow)
        print(
            f"{name:<20} endpoint error {result.value:.3f} [{result.ci[0]:.3f}, {result.ci[1]:.3f}] pixels per frame; "
            f"no motion {result.details['zero_flow']:.3f}, mean motion {result.details['mean_flow']:.3f}, "
            f"another clip's {result.chance:.3f}"
        )
shuffled = FlowDecoder((8, 8)).fit(np.random.default_rng(0).permutation(X[train]), flow[train])
print(f"shuffled brains: gain over no motion {shuffled.score(X[moving], flow[moving]):.3f}")

# %%
# Does what is decoded go the right way? The mean direction of each clip whose object or camera moves.
best = said["ridge"]
a, b = (f.mean((1, 2)) @ [1, 1j] for f in (best, flow[moving]))
off = np.abs(np.degrees(np.angle(a * b.conj())))
print(f"direction of motion: median error {np.median(off):.0f} degrees, chance 90")

# %%
# Animation. True flow warps one frame into the next; decoded flow moves the first frame for three steps, and motion
# estimated from the animated frames is again what was decoded.
i = int(moving[0])
clip = movies.clips.frames(i)
step = np.abs(warp_frame(clip[0], movies.flow[i, 0]).astype(float) - clip[1]).mean()
still = np.abs(clip[0].astype(float) - clip[1]).mean()
print(f"next frame by true flow: mean error {step:.1f} grey levels; by repeating the frame {still:.1f}")
steady = np.broadcast_to(best[0].mean((0, 1)), (32, 32, 2))
moved = animate(clip[0], steady, n_frames=4)
seen = np.median(optical_flow(moved[:2])[0][6:-6, 6:-6], axis=(0, 1))
print(f"decoded shift {steady[0, 0].round(2)}, estimated from the animation {seen.round(2)} pixels per frame")

# %%
# Above the clip, below its first frame animated by decoded flow.
if len(sys.argv) > 1:
    from PIL import Image

    decoded = animate(clip[0], best[0], n_frames=10)
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in (clip, decoded)])
    Image.fromarray(sheet).resize((sheet.shape[1] * 3, sheet.shape[0] * 3), Image.Resampling.NEAREST).save(sys.argv[1])

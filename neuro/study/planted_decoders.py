"""Does decoding find what the phantom planted: content in category regions, layout in early areas, else nothing?"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro.report import DecoderResults
from neuro.study.decode_fit import CONTENT, LAYOUT, OUTPUTS
from neuro.study.planted import CATEGORY, EARLY, claim

SEEN = "retrieve_image_given_brain"


def decoder_checks(results: DecoderResults) -> list[dict[str, Any]]:
    """Return claims about what was decoded from phantom subjects."""
    out = []
    table = results.table.assign(control=results.table["control"].astype(bool))
    for subject in results.subjects:
        own = table[(table["subject"] == subject) & (table["metric"] == SEEN)]
        for row in own[~own["control"]].itertuples():
            out.append(
                claim(
                    f"{subject} {row.decoder}",
                    "the seen image is retrieved above chance",
                    f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}], {row.protocol}",
                    f"interval above {row.chance:.3f}",
                    row.ci_low > row.chance,
                )
            )
        for row in own[own["control"]].itertuples():
            out.append(
                claim(
                    f"{subject} {row.decoder}",
                    "a decoder that was fitted to shuffled pairs is at chance",
                    f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]",
                    f"below twice chance, {2 * row.chance:.3f}, or interval around chance",
                    row.value < 2 * row.chance or row.ci_low <= row.chance,
                )
            )
        out += _regions(results, subject)
    return out


def _regions(results: DecoderResults, subject: str):
    """Yield where content and layout are decoded best."""
    if results.regions.empty:
        return
    own = results.regions[results.regions["subject"] == subject]
    mean = {
        (kind, name): own[own["roi"].isin(rois) & (own["output"] == OUTPUTS[name])]["value"].mean()
        for kind, rois in (("early", EARLY), ("late", CATEGORY))
        for name in (CONTENT, LAYOUT)
    }
    content, layout = (float(mean["late", n]) - float(mean["early", n]) for n in (CONTENT, LAYOUT))
    if np.isfinite([content, layout]).all():
        yield claim(
            f"{subject} regions",
            "category regions are better at content than at layout, compared with early areas",
            f"category minus early: content {content:+.3f}, layout {layout:+.3f}",
            "content above layout",
            content > layout,
        )

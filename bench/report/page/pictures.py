"""Figures of the page: their files, captions, and bytes as data URIs."""

import base64
from dataclasses import dataclass
from pathlib import Path

from bench.report.analysis.settings import Group
from bench.report.figures.write import figure_folder
from bench.report.tables.text import reward_label
from bench.utils.files import naming_disk_errors

CAPTIONS = {
    "decision": (
        "What is decided",
        "Target minus that of the first row, with intervals that hold together for all pairs; grey band: the margin",
    ),
    "race": ("The race", "What each look said of each objective, against the first of that look"),
    "score-vs-": ("Score and parameter", "Target J and {reward} over a swept parameter, a panel for each objective"),
    "reward-kl-frontier": ("Reward and KL", "{Reward} against KL from the start model, a point for each setting"),
    "best-of-n": ("What trials buy", "Expected best validation target of n trials"),
    "win-matrix": (
        "Wins in pairs",
        "Probability that the row's objective scores higher on a prompt",
    ),
    "mean-ranks": ("Mean ranks", "Mean rank over prompts; colour and mark: the verdict against the first row"),
    "training-curves": ("Training", "Loss, reward accuracy and margin over the training steps, for each objective"),
    "logp-shift": ("Log-probabilities", "Change of the log-probability of chosen and rejected completions"),
    "length-vs-reward": ("Length", "{Reward} against the length of completions"),
    "alignment-tax": ("Alignment tax", "Score of each task against KL from the start model"),
    "variance": ("Where the noise is from", "Share of the variance that seeds, prompts and the rest cause"),
}
"""By how a figure's file name begins; the page shows them in this order. {reward} is the reward's name."""
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Picture:
    """One figure: its title, what it shows, where it comes from, and the image as a data URI."""

    name: str
    title: str
    shows: str
    uri: str


def pictures(results: Path, group: Group, *, index: int, groups: int) -> list[Picture]:
    """Return the figures that were drawn of a group, each once (SVG before PNG), those of known names first.

    Raises RunError where a file cannot be read.
    """
    folder = results / "figures" / figure_folder(group, index, groups)
    with naming_disk_errors(folder, "read"):
        images = {path.stem: path for kind in reversed(KINDS) for path in sorted(folder.glob(f"*{kind}"))}
        return [_picture(images[name], group) for name in sorted(images, key=_order)]


def _order(name: str) -> tuple[int, str]:
    heads = [index for index, head in enumerate(CAPTIONS) if name.startswith(head)]
    return (heads[0] if heads else len(CAPTIONS), name)


def _picture(path: Path, group: Group) -> Picture:
    plain = path.stem.replace("-", " ").replace("_", " ").capitalize()
    title, shows = next((text for head, text in CAPTIONS.items() if path.stem.startswith(head)), (plain, plain))
    reward = reward_label(group)
    shows = shows.replace("{reward}", reward).replace("{Reward}", f"{reward[0].upper()}{reward[1:]}")
    content = base64.b64encode(path.read_bytes()).decode()
    return Picture(
        name=path.stem,
        title=title,
        shows=f"{shows}: {', '.join(group.objectives)}. The numbers are in the table above and in {path.stem}.csv.",
        uri=f"data:{KINDS[path.suffix]};base64,{content}",
    )

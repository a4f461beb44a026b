"""Owns the figures of the page: which files they are, their captions, and their bytes as data URIs."""

import base64
from dataclasses import dataclass
from pathlib import Path

from bench.report.figures import FIGURES, figure_folder
from bench.report.settings import Group
from bench.report.whole import told

CAPTIONS = {
    "target-vs-beta": ("Target and β", "Target J and gold reward over β, a panel for each objective"),
    "reward-kl-frontier": ("Reward and KL", "Gold reward against KL from the start model, a point for each setting"),
    "training-curves": ("Training", "Loss, reward accuracy and margin over the training steps, for each objective"),
    "logp-shift": (
        "Log-probabilities",
        "Change of the log-probability of chosen and rejected completions",
    ),
}
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Picture:
    """One figure: its title, what it shows, where it comes from, and the image as a data URI."""

    name: str
    title: str
    shows: str
    uri: str


def pictures(results: Path, group: Group, *, at: int, groups: int) -> list[Picture]:
    """Return the figures that were drawn of a group, each once (SVG before PNG), those of known names first.

    Raises RunError where a file cannot be read.
    """
    folder = results / "figures" / figure_folder(group, at, groups)
    with told(folder, "read"):
        found = {path.stem: path for kind in reversed(KINDS) for path in sorted(folder.glob(f"*{kind}"))}
        names = [name for name in FIGURES if name in found] + sorted(set(found) - set(FIGURES))
        return [_picture(found[name], objectives=group.objectives) for name in names]


def _picture(path: Path, *, objectives: tuple[str, ...]) -> Picture:
    plain = path.stem.replace("-", " ").replace("_", " ").capitalize()
    title, shows = CAPTIONS.get(path.stem, (plain, plain))
    content = base64.b64encode(path.read_bytes()).decode()
    return Picture(
        name=path.stem,
        title=title,
        shows=f"{shows}: {', '.join(objectives)}. The numbers are in the table above and in {path.stem}.csv.",
        uri=f"data:{KINDS[path.suffix]};base64,{content}",
    )

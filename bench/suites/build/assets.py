"""README and provenance of a suite's assets, and the check of assets against them."""

import json
from collections.abc import Mapping
from pathlib import Path

from bench.errors import RunError
from bench.suites.build.stages import StageManifest, damaged_files, file_table
from bench.utils.files import write_text_whole

STAGES = ("model", "gold", "data", "blimp")
PROVENANCE = "provenance.json"
README = "README.md"

README_TEXT = """\
# Assets of the sentiment suite

| folder | what | licence |
|---|---|---|
| `model/` | the start model and its tokenizer | that of this project |
| `gold/` | the gold reward | that of this project |
| `data/` | prompts and completions as token ids, with gold rewards | that of this project |
| `blimp/` | a subset of BLiMP | CC BY 4.0, see `blimp/README.md` |

The start model is a small Llama trained from scratch on the Large Movie Review Dataset (Maas, Daly, Pham, Huang, Ng
and Potts: Learning Word Vectors for Sentiment Analysis, ACL 2011). The gold reward is a TF-IDF and logistic-regression
sentiment classifier trained on the labelled reviews of that corpus. Prompts are the first 2 to 8 tokens of a review;
the start model wrote the completions. No review is contained here: only weights, word lists, prompts of at most 8
tokens and what the model wrote. To build the assets again, get the corpus from its authors.

`provenance.json` has the recipe, the seeds, the SHA-256 of the corpus files, package versions, what was measured, and
size and SHA-256 of every file. Each folder's `manifest.json` has the part that concerns it, and what it was built from.
"""


def write_provenance(
    out: Path, *, corpus: Mapping[str, str], manifests: Mapping[str, StageManifest]
) -> dict[str, object]:
    """Write ``provenance.json`` and ``README.md`` from the manifests of the stages; return the provenance.

    Args:
        corpus: SHA-256 of each corpus file, by its name.
    """
    files = {f"{stage}/{name}": entry for stage in STAGES for name, entry in manifests[stage]["files"].items()}
    provenance = {
        "corpus": {"name": "Large Movie Review Dataset (Maas et al. 2011)", "sha256": dict(corpus)},
        "stages": {
            stage: {"made_with": manifests[stage]["made_with"], **manifests[stage]["facts"]} for stage in STAGES
        },
        "bytes": sum(entry["bytes"] for entry in files.values()),
        "files": files,
    }
    write_text_whole(out / README, README_TEXT)
    write_text_whole(out / PROVENANCE, json.dumps(provenance, indent=1) + "\n")
    return provenance


def check_assets(folder: Path) -> None:
    """Call ``verify_assets`` if the suite has a provenance to compare with."""
    if (folder / PROVENANCE).exists():
        verify_assets(folder)


def verify_assets(folder: Path) -> None:
    """Hash every file of the assets again and compare with ``provenance.json``.

    Raises:
        RunError: a file is absent, changed, or not recorded.
    """
    try:
        recorded = json.loads((folder / PROVENANCE).read_bytes())["files"]
        faults = damaged_files(folder, recorded)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{folder / PROVENANCE} cannot be read: {error}", fix="reinstall, or build the assets again"
        ) from error
    present = {f"{stage}/{name}" for stage in STAGES for name in file_table(folder / stage)}
    faults += [f"{name}: not recorded" for name in sorted(present - set(recorded))]
    if faults:
        raise RunError(
            f"{len(faults)} of the assets in {folder} are not those recorded: " + "; ".join(faults),
            fix="reinstall, or build the assets again",
        )

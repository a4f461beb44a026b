"""The options of ``bench evaluate`` as one value, for its four commands."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The options of ``bench evaluate``.

    ``others`` are checkpoints to compare with the first; ``tokens``, ``temperature`` and ``seed`` are of a
    checkpoint's answers.
    """

    checkpoint: str | None = None
    others: tuple[str, ...] = ()
    tasks: str | None = None
    include: Path | None = None
    trust_tasks: bool = False
    num_fewshot: int | None = None
    limit: float | None = None
    apply_chat_template: bool | None = None
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    batch_size: str = "auto"
    data: Path | None = None
    results: Path = Path("results")
    judgements: tuple[Path, ...] = ()
    difficulty: Path | None = None
    gamed: Path | None = None
    join: str = "position"
    judges: tuple[str, ...] = ()
    strong: str | None = None
    strong_share: float = 0.2
    outputs: tuple[Path, ...] = ()
    baseline: Path | None = None
    questions: Path | None = None
    mt_bench: bool = False
    both_orders: bool = False
    tokens: int | None = None
    temperature: float | None = None
    seed: int = 0
    cache: Path | None = None
    dry_run: bool = False
    max_cost: float | None = None
    out: Path | None = None

    @property
    def destination(self) -> Path:
        """The table (.csv) or the folder to write."""
        return self.out or self.results

    @property
    def folder(self) -> Path:
        """The folder for what is written beside the table."""
        return self.destination.parent if self.destination.suffix == ".csv" else self.destination

    @property
    def verdicts(self) -> Path:
        """The folder of verdicts to use again."""
        return self.cache or self.folder / "verdicts"

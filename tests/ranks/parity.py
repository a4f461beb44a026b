"""Parity of one process and two ranks, each also with a resume in the middle: measured, and written to the docs.

``python -m tests.ranks.parity`` takes some minutes, prints the table and puts it into ``docs/ranks.md``.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.job import TrainJob
from tests.ranks.material import job, run_many, spec_of, trained

STEPS = 20
BOUND, LOOSE = 1e-5, 2e-2
"""Largest difference of a loss, in float32 and in bf16."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "ranks.md"
BEGIN, END = "<!-- parity: begin -->", "<!-- parity: end -->"

Kind = str
EXECUTIONS: Mapping[Kind, Mapping[str, Any]] = {
    "1 process": {"processes": 1, "micro_batch": 8},
    "2 × DDP": {"processes": 2, "shard": "ddp", "micro_batch": 2},
    "2 × FSDP2": {"processes": 2, "shard": "fsdp2", "micro_batch": 2},
}
SHARING: Mapping[Kind, str] = {"1 process": "alone", "2 × DDP": "ddp", "2 × FSDP2": "fsdp2"}
Way = tuple[Kind | None, Kind]
"""How a run begins, up to a stop in the middle (None: without one), and how it ends."""
WAYS: tuple[Way, ...] = (
    ("1 process", "1 process"),
    (None, "2 × DDP"),
    ("2 × DDP", "2 × DDP"),
    (None, "2 × FSDP2"),
    ("2 × FSDP2", "2 × FSDP2"),
    ("2 × FSDP2", "1 process"),
    ("1 process", "2 × FSDP2"),
    ("2 × DDP", "2 × FSDP2"),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table: an objective, what it stands for, and what is changed in its run."""

    shape: str
    objective: str
    changes: Mapping[str, Any]

    @property
    def bound(self) -> float:
        """Largest difference that counts as parity."""
        return LOOSE if self.changes.get("precision") == "bf16" else BOUND


def case(shape: str, objective: str, **changes: Any) -> Case:
    """A row."""
    return Case(shape=shape, objective=objective, changes=changes)


CASES = (
    case("pairs", "dpo"),
    case("unpaired, KL baseline", "kto"),
    case("reference-free", "simpo"),
    case("ranked", "infonca"),
    case("whole batch", "aot"),
    case("running shift", "bco_pair_shift"),
    case("running quantities", "beta_dpo"),
    case("vocabulary KL", "tdpo2"),
    case("reference entropy", "mallows_dpo"),
    case("stages", "sdpo"),
    case("moving reference", "tr_dpo", params={"every": 4.0}),
    case("averaged reference", "ema_dpo"),
    case("LoRA", "dpo", lora=0.0),
    case("LoRA, moving reference", "tr_dpo", params={"every": 4.0}, lora=0.0),
    case("padded rows", "dpo", layout="padded"),
    case("bf16", "dpo", precision="bf16"),
)


def differences(cases: Sequence[Case], ways: Sequence[Way], folder: Path, *, steps: int) -> list[list[float]]:
    """Largest difference of a loss from one uninterrupted process, for each case (rows) and way (columns)."""

    def made(place: int, results: str, kind: Kind) -> TrainJob:
        found = cases[place]
        changes = dict(found.changes)
        layout = changes.pop("layout", "packed")
        spec = spec_of(found.objective, steps=steps, **changes)
        return job(folder / str(place), spec, results=results, layout=layout, **EXECUTIONS[kind])

    places = range(len(cases))
    named = {way: f"way-{number}" for number, way in enumerate(ways)}
    run_many(
        [made(place, named[way], way[0]) for place in places for way in ways if way[0] is not None], stop_at=steps // 2
    )
    ended = {(place, way): made(place, named[way], way[1]) for place in places for way in ways}
    whole = [made(place, "whole", "1 process") for place in places]
    run_many([*whole, *ended.values()])
    for (_, way), each in ended.items():
        assert trained(each)["sharing"] == SHARING[way[1]]
    return [[_largest(trained(whole[place]), trained(ended[place, way])) for way in ways] for place in places]


def _largest(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    assert one["tokens"] == other["tokens"]
    assert one["forward_tokens"] <= other["forward_tokens"]  # micro-batches of coupled losses are scored twice
    pairs = zip(one["curves"]["loss"], other["curves"]["loss"], strict=True)
    return max(abs(a - b) for a, b in pairs)


def table(cases: Sequence[Case], ways: Sequence[Way], found: Sequence[Sequence[float]]) -> str:
    """The differences as a Markdown table."""
    heads = [end if begin is None else f"{begin} → {end}" for begin, end in ways]
    lines = [f"| shape | objective | {' | '.join(heads)} |", "|---|---|" + "---|" * len(ways)]
    for each, row in zip(cases, found, strict=True):
        figures = ["0" if value == 0 else f"{value:.0e}" for value in row]
        lines.append(f"| {each.shape} | `{each.objective}` | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the table between its marks."""
    with tempfile.TemporaryDirectory() as folder:
        found = differences(CASES, WAYS, Path(folder), steps=STEPS)
    text = table(CASES, WAYS, found)
    print(text)
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    over = [each.objective for each, row in zip(CASES, found, strict=True) if max(row) > each.bound]
    if over:
        raise SystemExit(f"over the bound: {', '.join(over)}")


if __name__ == "__main__":
    main()

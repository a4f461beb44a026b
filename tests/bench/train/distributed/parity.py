"""Parity of one process and two ranks, each also with a resume in the middle: measured, and written to the docs.

``python -m tests.bench.train.distributed.parity`` takes some minutes, prints the table and writes it to
``docs/ranks.md``.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.train.job import TrainJob
from tests.bench.train.distributed.material import DDP, FSDP2, ONE, ZERO, Kind, job, run_many, spec_of, trained

STEPS = 20
BOUND, LOOSE = 1e-5, 2e-2
"""Largest difference of a loss, in float32 and in bf16."""
DOCUMENT = Path(__file__).parents[4] / "docs" / "ranks.md"
BEGIN, END = "<!-- parity: begin -->", "<!-- parity: end -->"

Way = tuple[Kind | None, Kind]
"""How a run begins, up to a stop in the middle (None: without one), and how it ends."""
WAYS: tuple[Way, ...] = (
    (ONE, ONE), (None, DDP), (DDP, DDP), (None, FSDP2), (FSDP2, FSDP2), (FSDP2, ONE), (ONE, FSDP2), (DDP, FSDP2),
)  # fmt: skip
DEEPSPEED_WAYS: tuple[Way, ...] = ((None, ZERO), (ZERO, ZERO), (ZERO, ONE), (FSDP2, ZERO))


def ways_here() -> tuple[Way, ...]:
    """All ways, with DeepSpeed where it is installed."""
    return WAYS if find_spec("deepspeed") is None else WAYS + DEEPSPEED_WAYS


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
    case("stages of data sets", "sdpo", sets=(17, 7)),
    case("moving reference", "tr_dpo", params={"every": 4.0}),
    case("averaged reference", "ema_dpo"),
    case("LoRA", "dpo", lora=0.0),
    case("LoRA, moving reference", "tr_dpo", params={"every": 4.0}, lora=0.0),
    case("LoRA with dropout", "dpo", lora=0.1),
    case("LoRA with dropout, KL baseline", "kto", lora=0.1),
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
        return job(folder / str(place), spec, results=results, layout=layout, **kind.execution)

    places = range(len(cases))
    named = {way: f"way-{number}" for number, way in enumerate(ways)}
    begun = [(place, way) for place in places for way in ways]
    run_many([(made(p, named[w], w[0]), w[0]) for p, w in begun if w[0] is not None], stop_at=steps // 2)
    ended = {(p, w): made(p, named[w], w[1]) for p, w in begun}
    whole = [made(place, "whole", ONE) for place in places]
    run_many([*((each, ONE) for each in whole), *((each, way[1]) for (_, way), each in ended.items())])
    for (_, way), each in ended.items():
        assert trained(each)["sharing"] == way[1].sharing
    return [[_largest(trained(whole[place]), trained(ended[place, way])) for way in ways] for place in places]


def _largest(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    assert one["tokens"] == other["tokens"]
    assert one["forward_tokens"] <= other["forward_tokens"]  # micro-batches of coupled losses are scored twice
    pairs = zip(one["curves"]["loss"], other["curves"]["loss"], strict=True)
    return max(abs(a - b) for a, b in pairs)


def table(cases: Sequence[Case], ways: Sequence[Way], found: Sequence[Sequence[float]]) -> str:
    """The differences as a Markdown table."""
    heads = [end.name if begin is None else f"{begin.name} → {end.name}" for begin, end in ways]
    lines = [f"| shape | objective | {' | '.join(heads)} |", "|---|---|" + "---|" * len(ways)]
    for each, row in zip(cases, found, strict=True):
        figures = ["0" if value == 0 else f"{value:.0e}" for value in row]
        lines.append(f"| {each.shape} | `{each.objective}` | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the table between its marks."""
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_here()
        found = differences(CASES, ways, Path(folder), steps=STEPS)
    text = table(CASES, ways, found)
    print(text)
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    over = [each.objective for each, row in zip(CASES, found, strict=True) if max(row) > each.bound]
    if over:
        raise SystemExit(f"over the bound: {', '.join(over)}")


if __name__ == "__main__":
    main()

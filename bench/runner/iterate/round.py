"""One round: sample → label → pairs → train → evaluate. A stage whose output lies whole is skipped."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.core.artifacts import Note, verify_folder, write_whole
from bench.core.manifest import is_complete
from bench.core.record import RunRecord
from bench.core.specs import DataSpec, ModelSpec
from bench.data.encode import encode_ids
from bench.data.table import read_encoded, write_encoded
from bench.data.tokens import Encoded
from bench.errors import RunError
from bench.models.adapters import ADAPTER, CHECKPOINT, merged_run
from bench.models.embedding_rows import embedding_rows
from bench.models.loading import model_hash
from bench.runner.hooks import Hooks
from bench.runner.iterate.labels import About, Labels, read_labels
from bench.runner.iterate.pairs import Which, pairs_by_comparison, pairs_by_score
from bench.runner.iterate.prompts import Prompt
from bench.runner.iterate.samples import FILE, Sampled, read_sampled, sample_round, write_sampled
from bench.runner.iterate.spec import LoopSpec
from bench.runner.keys import run_spec
from bench.runner.run import run
from bench.runner.workspace import Workspace
from bench.suites.pairs import Pair
from bench.suites.protocol import EVALUATION_SPLITS
from bench.utils.event_log import stage
from bench.utils.files import write_text_whole
from losses import Objective
from sweeps.protocol import TuningProtocol

STAGE = "iterate"
COUNTS, PAIRS_TEXT = "counts.json", "preferences.jsonl"
Tell = Callable[[str, float], None]
"""Gets what goes on, and the share of that stage that is done."""
Label = Callable[[Workspace, Sequence[Sampled], Path, Callable[[int, int], None]], None]
"""Labels completions of a workspace's model into a folder; its callback gets how many of how many are done."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One loop as it is run. ``first`` is the workspace of its first start model, which everything is measured in."""

    spec: LoopSpec
    objective: Objective
    learning_rate: float
    first: Workspace
    folder: Path
    prompts: tuple[Prompt, ...]
    tuning: TuningProtocol
    files: tuple[Path, ...] = ()

    def round_folder(self, number: int) -> Path:
        """Return the folder of round ``number`` (from 1)."""
        return self.folder / f"round-{number}"


def policy_of(loop: Loop, number: int, model: Path) -> Workspace:
    """Return the workspace of a round whose policy begins as ``model``; its data are still those of the first one."""
    spec = loop.first.model_spec
    if number > 1:
        spec = ModelSpec(source=f"round {number - 1}", content=model_hash(model))
    return replace(loop.first, model=model, model_spec=spec, results=loop.round_folder(number))


def sampled_of(loop: Loop, number: int, policy: Workspace, prompts: Sequence[Prompt], *, tell: Tell) -> list[Sampled]:
    """Bring the round's completions to disk and return them."""
    spec, folder = loop.spec, loop.round_folder(number) / "samples"
    if not _is_sound(folder):

        def write(partial: Path) -> None:
            rows = sample_round(
                policy.start_model.to(policy.device),
                policy.tokenizer,
                prompts,
                count=spec.samples,
                tokens=spec.tokens,
                temperature=spec.temperature,
                seed=(spec.seed, number),
                progress=lambda done, total: tell("sampling", done / total),
            )
            write_sampled(partial / FILE, rows)

        with stage("sample", {"loop": spec.key, "round": number}):
            write_whole(folder, write, stage=STAGE)
    tell("sampled", 1.0)
    return read_sampled(folder / FILE)


def labels_of(
    loop: Loop, number: int, policy: Workspace, sampled: Sequence[Sampled], label: Label, *, tell: Tell
) -> tuple[list[Labels], About]:
    """Bring the round's labels to disk and return them, and how the judge judged."""
    folder = loop.round_folder(number) / "labels"
    if not _is_sound(folder):
        with stage("label", {"loop": loop.spec.key, "round": number}):
            write_whole(
                folder,
                lambda partial: label(
                    policy, sampled, partial, lambda done, total: tell(f"labelled {done}/{total}", done / total)
                ),
                stage=STAGE,
            )
    tell("labelled", 1.0)
    return read_labels(folder)


def pairs_of(
    loop: Loop, number: int, policy: Workspace, sampled: Sequence[Sampled], labels: tuple[Sequence[Labels], About]
) -> Workspace:
    """Bring the round's pairs to disk and return the workspace that trains on them.

    Raises:
        RunError: no pair is left.
    """
    folder = loop.round_folder(number) / "pairs"
    if not _is_sound(folder):
        pairs, counts = _pairs(sampled, labels[0], which=loop.spec.pairs)
        if not pairs:
            outcomes = ", ".join(f"{count} {outcome}" for outcome, count in labels[1].outcomes.items())
            raise RunError(
                f"round {number} leaves no pair: {counts['ties']} ties, {counts['unjudged']} without a verdict "
                f"({labels[1].judge}: {outcomes}; {labels[1].example[:160]})",
                fix="another judge (--judge self: --judgements 0 needs no words of it), more --samples, a higher "
                f"--temperature; then remove {loop.round_folder(number)}",
            )
        encoded = _encoded(pairs, policy, number)

        def write(partial: Path) -> None:
            write_encoded(encoded, partial)
            write_text_whole(partial / COUNTS, json.dumps(counts, indent=1) + "\n")
            write_text_whole(partial / PAIRS_TEXT, _texts(pairs, policy))

        write_whole(folder, write, stage=STAGE)
    rows = read_encoded(folder)
    data = DataSpec(kind="pairs", source=f"round {number}", content=rows.content_hash, rows=len(rows.rows))
    return replace(policy, data=rows, data_spec=data, data_folder=folder)


def trained(loop: Loop, number: int, workspace: Workspace, hooks: Hooks) -> list[RunRecord]:
    """Train the round's run, score it on both splits against the first start model, and return its records."""
    spec = run_spec(workspace, loop.objective, loop.spec.params, learning_rate=loop.learning_rate, seed=loop.spec.seed)
    if loop.spec.reference == "start" and number > 1:
        spec = spec.model_copy(update={"reference": loop.first.model_spec})
    with stage("round", {"loop": loop.spec.key, "round": number}):
        return [
            run(workspace, spec, split, hooks, tuning=loop.tuning, files=loop.files, first=loop.first)
            for split in EVALUATION_SPLITS
        ]


def checkpoint_of(workspace: Workspace, record: RunRecord, *, note: Note) -> Path:
    """Return the folder of the whole model that a round's run ended with, from which the next round starts.

    A run that kept an adapter has it merged into the model that the round started from, which lies beside the rounds.
    """
    run_folder = workspace.results / "runs" / record.key
    if not (run_folder / ADAPTER).is_dir():
        return run_folder / CHECKPOINT
    return merged_run(run_folder, results=workspace.results, start=workspace.model, spec=record.spec, note=note)


def write_loop(loop: Loop, *, judge: str) -> None:
    """Write what the loop is beside its rounds, for reports and for people."""
    text = json.dumps({"spec": loop.spec.model_dump(mode="json"), "judge": judge}, indent=1, ensure_ascii=False)
    write_text_whole(loop.folder / "loop.json", text + "\n")


def _is_sound(folder: Path) -> bool:
    if not is_complete(folder):
        return False
    if problems := verify_folder(folder, stage=STAGE):
        raise RunError(f"{problems[0]}", fix=f"remove {folder.parent} and all later rounds, and run again")
    return True


def _pairs(sampled: Sequence[Sampled], labels: Sequence[Labels], *, which: Which) -> tuple[list[Pair], dict[str, int]]:
    pairs: list[Pair] = []
    counts: Counter[str] = Counter(prompts=len(sampled), ties=0, unjudged=0, pairs=0)
    for row, label in zip(sampled, labels, strict=True):
        made = (
            pairs_by_score(label.scores, which=which)
            if label.scores
            else pairs_by_comparison(label.compared, len(row.completions), which=which)
        )
        pairs += [
            Pair(
                prompt_ids=row.prompt_ids,
                chosen_ids=row.completions[one.chosen],
                rejected_ids=row.completions[one.rejected],
                chosen_score=one.chosen_score,
                rejected_score=one.rejected_score,
            )
            for one in made.pairs
        ]
        counts.update(ties=made.ties, unjudged=made.unjudged, pairs=len(made.pairs))
        counts.update(completions=len(row.completions), ended=sum(row.ended))
        counts.update(distinct=len(set(row.completions)))
    return pairs, dict(counts)


def _encoded(pairs: Sequence[Pair], policy: Workspace, number: int) -> Encoded:
    return encode_ids(
        pairs,
        policy.tokenizer,
        max_length=policy.train.max_length,
        source=f"round {number}",
        embeddings=embedding_rows(policy.model),
    )


def _texts(pairs: Sequence[Pair], policy: Workspace) -> str:
    """Return the pairs as text, as ``--data`` reads them; training itself reads the ids."""

    def decoded(each: Sequence[Sequence[int]]) -> list[str]:
        return list(policy.tokenizer.batch_decode([list(ids) for ids in each], skip_special_tokens=True))

    columns = [decoded([getattr(pair, f"{name}_ids") for pair in pairs]) for name in ("prompt", "chosen", "rejected")]
    rows = [
        {**asdict(pair), "prompt": prompt, "chosen": chosen, "rejected": rejected}
        for pair, prompt, chosen, rejected in zip(pairs, *columns, strict=True)
    ]
    wanted = ("prompt", "chosen", "rejected", "chosen_score", "rejected_score")
    return "".join(json.dumps({name: row[name] for name in wanted}, ensure_ascii=False) + "\n" for row in rows)

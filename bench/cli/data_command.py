"""The command ``bench data``: describing data sets, and writing them in the plain form."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.cli.data_card import SUFFIXES, draw_lengths, render_card, write_cards
from bench.core.data_options import AS_IT_IS, DataOptions
from bench.core.request import apply, data_settings, read_settings
from bench.data.card import Card, describe, row_lengths, shared_prompts
from bench.data.contamination import Contamination, EvaluationPrompts, contamination, prompts_in, user_text
from bench.data.files import splits
from bench.data.filters import PreferenceRow
from bench.data.preferences import Reading, preferences_in, read_preferences, scan
from bench.data.rows import Pair
from bench.errors import UsageError
from bench.utils.files import write_text_whole
from bench.utils.redact import for_terminal


def read_options(data_format: str | None, columns: str | None, settings: Sequence[str]) -> DataOptions:
    """Return the options of ``--data-format``, ``--columns`` and ``--set NAME=VALUE`` (or ``data.NAME=VALUE``).

    Raises UsageError for what no option is called, or takes.
    """
    named = [text if text.strip().startswith("data.") else f"data.{text.strip()}" for text in settings]
    found = read_settings([*data_settings(data_format, columns), *named], params=())
    return apply(AS_IT_IS, found.sections["data"], section="data")


def describe_data(
    files: Sequence[Path],
    *,
    options: DataOptions,
    model: Path | None,
    max_length: int | None,
    against: Path | None,
    out: Path | None,
    figures: Path | None,
) -> None:
    """``bench data describe``."""
    if out is not None and out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out} is of no known kind", fix=f"end it in one of {', '.join(SUFFIXES)}")
    if max_length is not None and model is None:
        raise UsageError(f"--max-length {max_length} is in tokens", fix="give --model FOLDER, whose tokenizer counts")
    asked = None if against is None else prompts_in(against)
    console = Console()
    cards: list[Card] = []
    parts: dict[str, Sequence[PreferenceRow]] = {}
    for file in files:
        for split, part in _parts(file, options):
            name = f"{file} ({split})" if split else str(file)
            found = scan(file, part)
            card, lengths = _card(found, name, options=part, model=model, max_length=max_length, asked=asked)
            if against is not None and asked is not None:
                card = replace(card, against=against.name, against_unread=asked.unread)
            cards.append(card)
            parts[name] = found.rows
            console.print(render_card(cards[-1]))
            if figures is not None:
                _draw(lengths, figures / f"lengths-{len(cards)}", console)
    for (one, two), count in shared_prompts(parts).items():
        console.print(Text(for_terminal(f"{count} prompts are in both {one} and {two}")), soft_wrap=True)
    if out is not None:
        write_cards(cards, out)
        console.print(f"  {out}", highlight=False, markup=False, soft_wrap=True)


def convert_data(file: Path, *, options: DataOptions, out: Path) -> None:
    """``bench data convert``."""
    if not out.name.endswith(".jsonl"):
        raise UsageError(f"--out {out} is no JSONL file", fix="end it in .jsonl")
    found = read_preferences(file, options)
    write_text_whole(out, "".join(json.dumps(canonical(row), ensure_ascii=False) + "\n" for row in found.rows))
    left_out = ", ".join(f"{count} × {reason}" for reason, count in found.dropped.items())
    told = f"{out}: {len(found.rows)} rows, {found.kind}, from {found.format}{left_out and f'; left out: {left_out}'}"
    Console().print(told, highlight=False, markup=False, soft_wrap=True)


def canonical(row: PreferenceRow) -> dict[str, object]:
    """Return a row in the plain form, as ``read_preferences`` reads it back."""
    if isinstance(row, Pair):
        scores = {"chosen_score": row.chosen_score, "rejected_score": row.rejected_score}
        given = {name: score for name, score in scores.items() if score is not None}
        return {"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected, **given}
    return {"prompt": row.prompt, "completion": row.completion, "label": row.label}


def _parts(file: Path, options: DataOptions) -> list[tuple[str, DataOptions]]:
    """Each split of a folder by itself; a file, or a split that was asked for, as it is."""
    if not file.is_dir() or options.split is not None:
        return [("", options)]
    names = list(splits(file))
    return [(name if len(names) > 1 else "", options.model_copy(update={"split": name})) for name in names]


def _card(
    found: Reading,
    name: str,
    *,
    options: DataOptions,
    model: Path | None,
    max_length: int | None,
    asked: EvaluationPrompts | None,
) -> tuple[Card, dict[str, dict[str, tuple[int, ...]]]]:
    if not found.rows and found.faults:
        where, fault = found.faults[0]
        raise UsageError(f"{where}: {fault.problem} (no row of {found.raw} can be read)", fix=fault.fix)
    tokens = None
    if model is not None:
        from bench.data.encoded_splits import token_lengths
        from bench.models.loading import load_tokenizer

        tokens = token_lengths(preferences_in(found, source=name), load_tokenizer(model))
    overlap: Contamination | None = None
    if asked is not None:
        overlap = contamination([user_text(row.prompt) for row in found.rows], asked.prompts)
    card = describe(found, source=name, tokens=tokens, max_length=max_length, contaminated=overlap)
    lengths = row_lengths(found.rows, tokens)
    return card, {unit: dict(fields) for unit, fields in lengths.items()}


def _draw(lengths: dict[str, dict[str, tuple[int, ...]]], stem: Path, console: Console) -> None:
    from bench.report.figures.saving import save

    unit = "tokens" if "tokens" in lengths else "words"
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path in save(draw_lengths(lengths, unit=unit), stem, formats=("png", "svg")):
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)

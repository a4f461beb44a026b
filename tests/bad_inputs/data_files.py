"""Owns preference files that cannot be right: broken as files, as text, as JSON, as rows, as parquet."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.data.preferences import read_preferences
from tests.bad_inputs.trying import Case, read

GOOD = {"prompt": "a", "chosen": "b", "rejected": "c"}
LINE = json.dumps(GOOD).encode() + b"\n"


def rows(*changes: dict, drop: tuple[str, ...] = ()) -> bytes:
    """A good row, then one row for each change of it."""
    made = [GOOD, *({k: v for k, v in (GOOD | change).items() if k not in drop} for change in changes)]
    return "".join(json.dumps(row) + "\n" for row in made).encode()


TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
# Rows of other tools' formats, with the one thing wrong that the name says.
FOREIGN: dict[str, dict] = {
    "dialogues of nothing": {"chosen": [], "rejected": []},
    "dialogues that part early": {"chosen": TURNS, "rejected": [{"role": "user", "content": "c"}, TURNS[1]]},
    "dialogues without an answer": {"chosen": TURNS[:1], "rejected": TURNS},
    "dialogues of numbers": {"chosen": [1, 2], "rejected": [1, 3]},
    "texts without turns": {"chosen": "a b", "rejected": "a c"},
    "texts of two answers in a row": {
        "chosen": "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c",
        "rejected": "\n\nHuman: a\n\nAssistant: b\n\nAssistant: d",
    },
    "an empty text": {"chosen": "", "rejected": ""},
    "answers to nothing": {"chosen": "\n\nAssistant: a", "rejected": "\n\nAssistant: b"},
    "a speaker that no dictionary holds": {
        "conversations": [{"from": [], "value": "a"}],
        "chosen": "b",
        "rejected": "c",
    },
    "a turn without value": {"conversations": [{"from": "human"}], "chosen": "b", "rejected": "c"},
    "conversations null": {"conversations": None, "chosen": "b", "rejected": {"from": "gpt", "value": "c"}},
    "a system message of numbers": {"system": 5, "question": "a", "chosen": "b", "rejected": "c"},
    "an instruction null": {"instruction": None, "chosen": "b", "rejected": "c", "input": None},
    "input null": {"input": None, "preferred_output": TURNS[1:], "non_preferred_output": TURNS[1:]},
    "input of messages of numbers": {"input": {"messages": [1]}, "preferred_output": [], "non_preferred_output": []},
    "tools": {
        "input": {"messages": TURNS[:1], "tools": [1]},
        "preferred_output": TURNS[1:],
        "non_preferred_output": [],
    },
    "a rejected response of a list": {"messages": TURNS, "rejected_response": ["a"]},
    "messages of one side": {"messages": TURNS[1:], "label": True},
    "messages with label null": {"messages": TURNS, "label": None},
    "one score for two": {"instruction": "a", "generations": ["b", "c"], "ratings": [1]},
    "scores of words": {"instruction": "a", "generations": ["b", "c"], "ratings": ["good", "bad"]},
    "infinite scores": {"instruction": "a", "generations": ["b", "c"], "ratings": [1, float("inf")]},
    "answers of numbers": {"instruction": "a", "generations": [1, 2], "ratings": [1, 2]},
    "completions without text": {"instruction": "a", "completions": [{"overall_score": 1}, {"overall_score": 2}]},
    "ties alone": {"instruction": "a", "generations": ["b", "c"], "ratings": [1, 1]},
    "lists of different lengths": {"text": ["\n\nHuman: a\n\nAssistant: b"], "score": [1, 2]},
    "a better one that is true": {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": True},
    "a better one that is null": {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": None},
    "a preference of a word": {"instruction": "a", "output_1": "b", "output_2": "c", "preference": "first"},
    "an output of a list": {"instruction": "a", "output": ["b"]},
}
TEXTS: dict[str, bytes] = {
    "empty": b"",
    "only blank lines": b"\n\n  \n",
    "only a BOM": b"\xef\xbb\xbf",
    "truncated in a row": LINE + LINE[:20],
    "truncated in a string": LINE + b'{"prompt": "a',
    "no JSON": LINE + b"prompt,chosen,rejected\n",
    "a number": LINE + b"5\n",
    "null": LINE + b"null\n",
    "a list": LINE + b'["a", "b"]\n',
    "a string": LINE + b'"a"\n',
    "NaN as score": LINE.replace(b"}", b', "chosen_score": NaN, "rejected_score": 1}'),
    "infinity as score": LINE.replace(b"}", b', "chosen_score": 1e999, "rejected_score": 1}'),
    "invalid UTF-8": LINE + b'{"prompt": "\xff", "chosen": "b", "rejected": "c"}\n',
    "Latin-1": '{"prompt": "é", "chosen": "b", "rejected": "c"}\n'.encode("latin-1"),
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "UTF-32": json.dumps(GOOD).encode("utf-32"),
    "lone surrogate": b'{"prompt": "\\ud800", "chosen": "b", "rejected": "c"}\n',
    "NUL bytes": b"\0" * 100,
    "deep nesting": LINE + b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "deep nesting in a field": LINE.replace(b'"a"', b"[" * 50_000 + b"]" * 50_000),
    "a number of 5000 digits": LINE.replace(b'"a"', b"9" * 5000),
    "comments": LINE + b"// a comment\n",
    "single quotes": b"{'prompt': 'a', 'chosen': 'b', 'rejected': 'c'}\n",
    "trailing comma": LINE.replace(b"}", b",}"),
    "two objects on a line": LINE.strip() + LINE,
    "a line of a million characters": LINE + b'{"prompt": "' + b"x" * 1_000_000 + b'", "chosen": 1, "rejected": "c"}\n',
    "Windows-1252 quotes": LINE.replace(b'"a"', b'"\x93a\x94"'),
    "CR only": LINE.strip() + b"\r" + LINE.strip() + b"\r",
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
    "HTML": b"<!doctype html><html><body>404 Not Found</body></html>\n",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "control characters": LINE + b'{"prompt": "\x1b[31m", "chosen": "b", "rejected": "c"}\n',
    "markup and escapes in a wrong value": rows({"chosen": {"[red]": "\x1b]0;x\x07"}}),
    "identical chosen and rejected": rows({"chosen": "c"}),
    "empty completion": rows({"chosen": ""}),
    "empty list of messages": rows({"prompt": []}),
    "prompt null": rows({"prompt": None}),
    "chosen null": rows({"chosen": None}),
    "prompt a number": rows({"prompt": 3}),
    "chosen a list of strings": rows({"chosen": ["b"]}),
    "chosen true": rows({"chosen": True}),
    "score a string": rows({"chosen_score": "1", "rejected_score": "2"}),
    "score true": rows({"chosen_score": True, "rejected_score": False}),
    "one score": rows({"chosen_score": 1}),
    "scores in one row alone": rows({"chosen_score": 2, "rejected_score": 1}),
    "score of 400 digits": rows({"chosen_score": int("9" * 400), "rejected_score": 1}),
    "both forms": rows({"completion": "x", "label": True}),
    "unpaired after pairs": rows({"completion": "x", "label": True}, drop=("chosen", "rejected")),
    "label a word": b'{"prompt": "a", "completion": "b", "label": "yes"}\n',
    "label 2": b'{"prompt": "a", "completion": "b", "label": 2}\n',
    "wrong columns": b'{"question": "a", "answer": "b"}\n',
    "capital columns": b'{"Prompt": "a", "Chosen": "b", "Rejected": "c"}\n',
    "spaces in columns": b'{"prompt ": "a", "chosen ": "b", "rejected ": "c"}\n',
    "messages and text mixed": rows({"prompt": [{"role": "user", "content": "a"}]}),
    "message without role": rows({"prompt": [{"content": "a"}]}),
    "message of an unknown role": rows({"prompt": [{"role": "wizard", "content": "a"}]}),
    "message of a number": rows({"prompt": [{"role": "user", "content": 1}]}),
    "message of parts": rows({"prompt": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}),
    "message with a tool call": rows({"prompt": [{"role": "user", "content": "a", "tool_calls": [1]}]}),
    "a role that no dictionary holds": rows({"prompt": [{"role": [], "content": "a"}]}),
    "prompt that ends with the assistant": rows({"prompt": [{"role": "assistant", "content": "a"}]}),
    **{f"{name} of another tool": json.dumps(row).encode() + b"\n" for name, row in FOREIGN.items()},
    "a thousand faulty rows": rows(*({"chosen": None} for _ in range(1000))),
    "a very long column name": json.dumps({"x" * 100_000: 1}).encode() + b"\n",
    "ten thousand columns": json.dumps({f"c{n}": n for n in range(10_000)}).encode() + b"\n",
}
LISTS: dict[str, bytes] = {
    "a JSON object": json.dumps(GOOD).encode(),
    "a JSON number": b"1",
    "an empty list": b"[]",
    "a list in a list": b"[[1]]",
    "JSON lines in .json": LINE * 2,
    "a truncated list": b"[" + LINE.strip() + b",",
    "deep nesting": b"[" * 100_000 + b"]" * 100_000,
    "invalid UTF-8": b'[{"prompt": "\xff"}]',
    "null": b"null",
    "NaN": b"NaN",
    "empty": b"",
}


def cases() -> Iterator[Case]:
    """Every file, in each container that it may come in."""
    for name, content in TEXTS.items():
        yield _case(f"{name}, JSONL", "prefs.jsonl", content)
        yield _case(f"{name}, gzip", "prefs.jsonl.gz", gzip.compress(content, mtime=0))
    for name, content in LISTS.items():
        yield _case(f"{name}, JSON", "prefs.json", content)
    packed = gzip.compress(LINE * 100, mtime=0)
    for name, content in {
        "truncated": packed[:-12],
        "its header alone": packed[:10],
        "a flipped bit": packed[:20] + bytes([packed[20] ^ 1]) + packed[21:],
        "rubbish after the end": packed + b"rubbish",
        "not packed at all": LINE,
        "packed twice": gzip.compress(packed),
    }.items():
        yield _case(f"gzip {name}", "prefs.jsonl.gz", content)
    yield _case("gzip bomb of 2 GB in one line", "prefs.jsonl.gz", bomb())
    yield from _arrows()
    yield from _parquets()
    yield from _paths()


def _arrows() -> Iterator[Case]:
    import pyarrow as pa

    table = pa.table({"prompt": ["a"] * 9, "chosen": ["b"] * 9, "rejected": ["c"] * 9})
    for kind, opened in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        sink = pa.BufferOutputStream()
        with opened(sink, table.schema) as writer:
            writer.write_table(table)
        good = sink.getvalue().to_pybytes()
        for name, content in {
            "truncated": good[: len(good) // 2],
            "its head alone": good[:8],
            "of nothing": b"",
            "no Arrow": LINE,
            "zeroed at head and end": bytes(60) + good[60:-80] + bytes(80),
        }.items():
            yield _case(f"Arrow {kind} {name}", "prefs.arrow", content)
    for name, content in {
        "of another separator": b"prompt|chosen|rejected\na|b|c\n",
        "of long rows": b"prompt,chosen,rejected\na,b,c,d\n",
        "of short rows": b"prompt,chosen,rejected\na\n",
        "of an open quote": b'prompt,chosen,rejected\na,b,"c\n',
        "of NUL bytes": b"prompt,chosen,rejected\na,b,\0\n" + bytes(20),
        "of a header alone": b"prompt,chosen,rejected\n",
        "of blank lines": b"\n\n",
        "of Latin-1": b"prompt,chosen,rejected\n\xe9,b,b\n",
        "that is a workbook": b"PK\x03\x04" + bytes(40),
    }.items():
        yield _case(f"CSV {name}", "prefs.csv", content)
        yield _case(f"CSV {name}, gzip", "prefs.csv.gz", gzip.compress(content, mtime=0))


def bomb() -> bytes:
    """Two gigabytes of spaces in one line, as two megabytes."""
    member = gzip.compress(b" " * 32 * 2**20, mtime=0)
    return member * 64


def _case(name: str, file: str, content: bytes) -> Case:
    def attempt(folder: Path):
        path = folder / file
        path.write_bytes(content)
        return read(lambda: read_preferences(path))

    return Case(kind="preference file", name=name, attempt=attempt, codes=(2,), said=(file,))


def _parquets() -> Iterator[Case]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]}), sink)
    good = sink.getvalue().to_pybytes()
    for name, content in {
        "truncated": good[:-20],
        "its magic alone": b"PAR1",
        "no parquet": LINE,
        "a footer of 2 GB": good[:-8] + b"\xff\xff\xff\x7fPAR1",
        "zeroed in the middle": good[:4] + bytes(60) + good[64:],
    }.items():
        yield _case(f"parquet {name}", "prefs.parquet", content)
    tables = {
        "no column": pa.table({}),
        "no row": pa.table({"prompt": pa.array([], pa.string()), "chosen": pa.array([], pa.string())}),
        "numbers": pa.table({"prompt": [1], "chosen": [2], "rejected": [3]}),
        "bytes": pa.table({"prompt": [b"a"], "chosen": [b"b"], "rejected": [b"c"]}),
        "a null": pa.table({"prompt": ["a"], "chosen": [None], "rejected": ["c"]}),
        "dates": pa.table({"prompt": pa.array([0], pa.timestamp("ns")), "chosen": ["b"], "rejected": ["c"]}),
        "NaN scores": pa.table(
            {
                "prompt": ["a"],
                "chosen": ["b"],
                "rejected": ["c"],
                "chosen_score": [float("nan")],
                "rejected_score": [1.0],
            }
        ),
        "bytes that are no text": pa.table(
            {"prompt": pa.array([b"\xff\xfe"]).view(pa.binary()), "chosen": ["b"], "rejected": ["c"]}
        ),
    }
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        yield _case(f"parquet with {name}", "prefs.parquet", sink.getvalue().to_pybytes())


def _paths() -> Iterator[Case]:
    def case(name: str, make: Callable[[Path], Path]) -> Case:
        def attempt(folder: Path):
            path = make(folder)
            return read(lambda: read_preferences(path))

        return Case(kind="preference file", name=name, attempt=attempt, codes=(2,))

    def fifo(folder: Path) -> Path:
        os.mkfifo(folder / "p.jsonl")
        return folder / "p.jsonl"

    def loop(folder: Path) -> Path:
        (folder / "p.jsonl").symlink_to(folder / "p.jsonl")
        return folder / "p.jsonl"

    def dangling(folder: Path) -> Path:
        (folder / "p.jsonl").symlink_to(folder / "gone")
        return folder / "p.jsonl"

    def folder_of_that_name(folder: Path) -> Path:
        (folder / "p.jsonl").mkdir()
        return folder / "p.jsonl"

    def device(folder: Path) -> Path:
        (folder / "p.jsonl").symlink_to("/dev/zero")
        return folder / "p.jsonl"

    yield case("a FIFO", fifo)
    yield case("a link to itself", loop)
    yield case("a dangling link", dangling)
    yield case("a directory", folder_of_that_name)
    yield case("a link to /dev/zero", device)
    yield case("/dev/null", lambda folder: Path("/dev/null"))

    def saved(folder: Path) -> Path:
        (folder / "state.json").write_text('{"_data_files": [{"filename": "/etc/passwd"}]}')
        return folder

    def of_splits(folder: Path) -> Path:
        (folder / "dataset_dict.json").write_text('{"splits": 5}')
        return folder

    yield case("a saved data set of files elsewhere", saved)
    yield case("a saved data set of no splits", of_splits)
    yield case("an empty name", lambda folder: Path())
    yield case("a name of 5000 characters", lambda folder: folder / ("x" * 5000 + ".jsonl"))
    yield case("a NUL in the name", lambda folder: folder / "a\0.jsonl")
    yield case("a file as a folder", lambda folder: Path("/dev/null/x.jsonl"))
    yield case("a folder that is not there", lambda folder: folder / "gone" / "x.jsonl")
    yield case("an unknown suffix", lambda folder: _touched(folder / "p.csv"))
    yield case("no suffix", lambda folder: _touched(folder / "p"))
    yield case("a pickle's suffix", lambda folder: _touched(folder / "p.pkl"))
    yield case("a name with an escape", lambda folder: folder / "\x1b[31m.jsonl")


def _touched(path: Path) -> Path:
    path.write_bytes(LINE)
    return path

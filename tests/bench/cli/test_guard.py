"""What is never done: no pickle is read, no code of a model folder run, no secret told, no text taken for markup."""

import contextlib
import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.utils.redact import for_terminal
from tests.bad_inputs.trying import bench

SUITE = Path(__file__).parents[3] / "bench" / "suites" / "sentiment"
SMALL = (
    "--set", "steps=2", "--set", "batch=4", "--set", "prompts=6", "--set", "tokens=6", "--set", "evaluation.pairs=4",
)  # fmt: skip
EXACT = ("--suite", "exact", "--set", "contexts=4", "--set", "problem.pairs=64", "--set", "steps=4", "--seeds", "0")

WATCHED = """
import sys, traceback
found = []
def hook(event, arguments):
    # What our own processes tell each other through pipes is made of these classes and nothing else.
    if event == "pickle.find_class" and arguments[0] != "bench.runner.messages":
        found.append(f"pickle.find_class {arguments}")
        print("UNPICKLED", found[-1], "".join(traceback.format_stack(limit=12)), file=sys.__stderr__)
    if event == "open" and str(arguments[0]).endswith((".pkl", ".pickle", ".bin", ".pt", ".pth", ".joblib", ".dill")):
        print("UNPICKLED opened", arguments[0], file=sys.__stderr__)
def refuse(name, real=None):
    def called(*arguments, **named):
        # What our own processes tell each other through pipes, and nobody else can write to.
        if real is not None and sys._getframe(1).f_code.co_filename.endswith("multiprocessing/connection.py"):
            return real(*arguments, **named)
        print("UNPICKLED by", name, "".join(traceback.format_stack(limit=12)), file=sys.__stderr__)
        raise AssertionError(name)
    return called
import pickle
pickle.load, pickle.loads = refuse("pickle.load"), refuse("pickle.loads", pickle.loads)
import dill, joblib, torch
dill.load, dill.loads, joblib.load = refuse("dill.load"), refuse("dill.loads"), refuse("joblib.load")
torch.load = refuse("torch.load")
sys.addaudithook(hook)
from bench.cli import main
main()
"""


def watched(*words: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WATCHED, *map(str, words)]
    given = {**os.environ, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=given)


@pytest.mark.slow
def test_nothing_is_unpickled_in_a_sweep_with_judge_lora_and_lm_eval(tmp_path: Path) -> None:
    task = tmp_path / "cache"
    done = watched(
        "run", "--loss", "dpo,kto", "--sweep", "beta=0.1,0.2", "--seeds", "0", "--workers", "2",
        "--out", tmp_path / "out", *SMALL, "--set", "lora.rank=2", "--set", 'lm_eval=["blimp"]',
        environment={"LM_HARNESS_CACHE_PATH": str(task)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "UNPICKLED" not in done.stderr, done.stderr[:3000]
    again = watched("leaderboard", "--out", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert "UNPICKLED" not in again.stderr
    assert not task.exists()


def test_the_watch_sees_a_pickle(tmp_path: Path) -> None:
    loss = tmp_path / "mine.py"
    loss.write_text("import io, pickle\npickle.Unpickler(io.BytesIO(b'cos\\ngetcwd\\n)R.')).load()\n")
    assert (
        "UNPICKLED"
        in watched("losses", "show", "dpo").stderr
        + watched("run", "--loss", "dpo", "--loss-file", loss, *EXACT, "--out", tmp_path / "out", "--dry-run").stderr
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SUITE / "model", tmp_path / "model"))


def changed(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_folder_with_code_of_its_own_is_refused_and_the_code_not_run(model: Path, file: str) -> None:
    mark = model.parent / "mark"
    (model / "modeling_own.py").write_text(
        f"open({str(mark)!r}, 'w').write('run')\nclass Own:\n    pass\nclass OwnConfig:\n    pass\n"
    )
    kinds = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}
    changed(model / file, auto_map={**kinds, "AutoTokenizer": ["modeling_own.Own", None]})
    told = bench("run", "--loss", "dpo", "--model", model, *SMALL, "--out", model.parent / "out")
    assert told.code == 2, told.err
    assert "brings code of its own" in told.err
    assert "never run" in told.err
    assert not mark.exists()
    from bench.errors import BenchError
    from bench.models.loading import load_model, load_tokenizer

    # Nor where the check is passed by: the loaders themselves are told.
    for load in (load_model, load_tokenizer):
        with contextlib.suppress(BenchError):
            load(model)
        assert not mark.exists()


def test_weights_in_a_pickle_are_refused(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    told = bench("run", "--loss", "dpo", "--model", model, *SMALL, "--out", model.parent / "out")
    assert told.code == 2
    assert "pytorch_model.bin is a pickle, which is never loaded" in told.err


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/passwd", "weights.bin", "gone.safetensors"])
def test_an_index_that_names_files_elsewhere_or_pickles_is_refused(model: Path, name: str) -> None:
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    told = bench("run", "--loss", "dpo", "--model", model, *SMALL, "--out", model.parent / "out")
    assert told.code == 2
    assert name in told.err


SECRETS = {
    "HF_TOKEN": "hf_marksecretmarksecret",
    "OPENAI_API_KEY": "sk-marksecret-openai",
    "PGPASSWORD": "marksecret-pg",
    "WANDB_API_KEY": "marksecretwandb",
    "AWS_SECRET_ACCESS_KEY": "marksecret/aws+x",
}
LEAKY = '''
import os
import re
from losses import Pairs, Requires
from losses.objective import objective

@objective(params={}, batch=Pairs, requires=Requires.NOTHING, reward="policy", aggregation="sum", paper="none",
           equation="none", optimum="none", version=1)
def leaky(pairs):
    """It tells what it should not."""
    raise ValueError("the server said no to " + os.environ["HF_TOKEN"] + " and " + os.environ["OPENAI_API_KEY"])
'''


@pytest.mark.slow
def test_no_secret_reaches_an_output_a_record_a_journal_or_a_page(tmp_path: Path) -> None:
    loss = tmp_path / "leaky.py"
    loss.write_text(LEAKY)
    out = tmp_path / "out"
    environment = {**os.environ, **SECRETS, "OMP_NUM_THREADS": "1"}

    def run(*words: object) -> str:
        command = [sys.executable, "-m", "bench", "run", *EXACT, "--out", str(out), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
        return f"{done.returncode}\n{done.stdout}\n{done.stderr}"

    url = "postgresql://user:marksecret%40url@localhost:1/db?sslpassword=marksecretquery"
    told = [
        run("--loss", "leaky,sft", "--loss-file", loss, "--workers", "1"),
        run("--loss", "leaky,sft", "--loss-file", loss, "--workers", "2"),
        run("--loss", "dpo", "--storage", url, "--workers", "1"),
        run("--loss", "dpo", "--storage", url, "--workers", "1", "--debug"),
        run("--loss", "dpo", "--storage", "nonsense://user:marksecret@x", "--workers", "1"),
        run("--loss", "dpo", "--storage", "sqlite:////dev/null/x.db?password=marksecretquery", "--workers", "1"),
        run("--loss", "dpo", "--set", "beta=hf_marksecretmarksecret"),
    ]  # fmt: skip
    assert told[0].startswith("1\n")
    assert "the server said no to *** and ***" in told[0]
    for text in told:
        assert not text.startswith("0"), text
        assert "marksecret" not in text, text
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 20
    for path in written:
        content = path.read_bytes()
        assert b"marksecret" not in content, path
        if path.suffix == ".gz":
            assert b"marksecret" not in gzip.decompress(content), path


def test_a_message_has_no_control_characters_and_an_end() -> None:
    assert for_terminal("a\x1b[31mb\x9bc\r\nd") == "a\\x1b[31mb\\x9bc\\x0d\nd"
    assert len(for_terminal("x" * 100_000)) < 1100


class Elements(HTMLParser):
    """The names of a page's elements, and the attributes that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [f"{name}={value}" for name, value in attrs if name.startswith("on")]
        self.handlers += [str(value) for _, value in attrs if (value or "").lower().startswith("javascript:")]


NASTY = (
    '</script><script>alert(1)</script><img src=x onerror=alert(1)>| a | b |\n=HYPERLINK("http://x")\t'
    "\\input{x} $ % & # _ { } ~ ^ \x1b[31m[bold red]markup[/] \u202e\ufeff"
)


def test_hostile_texts_and_names_stay_texts_in_page_tables_and_terminal(tmp_path: Path) -> None:
    rows = [{"prompt": f"{NASTY} {i}", "chosen": f" good {NASTY}", "rejected": f" bad {i} {NASTY}"} for i in range(20)]
    data = tmp_path / '=HYPERLINK("x")`<script>alert(1)<|%$_{}\x1b[31m[red].jsonl'.replace("/", "")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = Path(shutil.copytree(SUITE / "model", tmp_path / "+<img src=x onerror=alert(1)>|[red]\x1b]0;x\x07"))
    out = tmp_path / "out"
    command = ("run", "--loss", "dpo", "--data", data, "--model", folder, "--out", out, *SMALL, "--workers", "1")
    told = bench(*command, "--set", "max_length=256", "--set", "lm_eval=[]", "--seeds", "1")
    assert told.code == 0, told.err
    assert "\x1b]" not in told.out + told.err
    assert "\x1b[31m" not in told.out + told.err
    page = (out / "report.html").read_text(encoding="utf-8")
    seen = Elements()
    seen.feed(page)
    assert seen.tags.count("script") == 2
    assert not seen.handlers
    assert "\x1b" not in page
    for path in out.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    assert not cell.startswith(("=", "@", "\t", "\r")), (path, cell)
                    assert not (cell.startswith(("+", "-")) and not is_number(cell)), (path, cell)
    for table in (out / "leaderboard.md").read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1, table
    # In a code span nothing is markup, and none of the names ends it.
    prose = re.sub("`[^`\\n]*`", "", (out / "leaderboard.md").read_text(encoding="utf-8"))
    assert "<script>" not in prose
    assert "<img" not in prose
    for path in (*out.glob("*.tex"), *out.glob("*.md"), *out.glob("*.csv"), *out.glob("runs/*/evals/*/record.json")):
        assert "\x1b" not in path.read_text(encoding="utf-8"), path


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

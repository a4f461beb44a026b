"""Owns model folders, suites and loss files that cannot be right."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.core.assets import SUITES
from bench.suites.settings import read_suite
from tests.bad_inputs.command_lines import OUT, SMALL, of, typed
from tests.bad_inputs.trying import Case, Told, read

Change = Callable[[Path], object]


def cases() -> Iterator[Case]:
    """Each broken folder and file."""
    for name, change in MODELS.items():
        yield _model(name, change)
    suite = (SUITES / "sentiment" / "suite.toml").read_text(encoding="utf-8")
    for name, change_text in SUITE_CHANGES.items():
        yield _suite(name, change_text(suite))
    for name, text in LOSS_FILES.items():
        yield _loss_file(name, text)
    for path in ("gone.py", ".", "/dev/null", "/dev/zero", "notes.txt", "x" * 300 + ".py", "a\x1b[31m.py"):
        words = ("run", "--loss", "dpo", f"--loss-file={path}", *SMALL, "--dry-run", "--out", OUT)
        yield of(f"--loss-file {path[:30]!a}", words, kind="loss file", codes=(2,))


def _json(name: str, **fields: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}))

    return change


def _text(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def _gone(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def _cut(name: str, share: float) -> Change:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return change


def _without_fields(name: str, *fields: str) -> Change:
    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({k: v for k, v in said.items() if k not in fields}))

    return change


def _weights_of_text(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[0]
    save_file({**tensors, name: torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"})


def _weights_missing(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file(dict(sorted(tensors.items())[3:]), folder / "model.safetensors", metadata={"format": "pt"})


MODELS: dict[str, Change] = {
    "no config": _gone("config.json"),
    "an empty config": _text("config.json", b""),
    "config: null": _text("config.json", b"null"),
    "config: a list": _text("config.json", b"[]"),
    "config: no JSON": _text("config.json", b"{"),
    "config: not UTF-8": _text("config.json", b'{"model_type": "\xff"}'),
    "config: deep nesting": _text("config.json", b"[" * 50_000),
    "config without a kind": _without_fields("config.json", "model_type"),
    "config of an unknown kind": _json("config.json", model_type="nonsense"),
    "config of an encoder": _json("config.json", model_type="bert"),
    "config of an image model": _json("config.json", model_type="vit"),
    "config of another size": _json("config.json", hidden_size=64),
    "config with more layers": _json("config.json", num_hidden_layers=9),
    "config with heads that do not divide": _json("config.json", num_attention_heads=7),
    "config with no head": _json("config.json", num_attention_heads=0),
    "config with a word as a number": _json("config.json", hidden_size="large"),
    "config with a huge vocabulary": _json("config.json", vocab_size=10**9),
    "config with a negative vocabulary": _json("config.json", vocab_size=-1),
    "config with a context of a word": _json("config.json", max_position_embeddings="long"),
    "config that is quantised": _json("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
    "config that names a kernel of the hub": _json("config.json", _attn_implementation="someone/kernel"),
    "config with code of its own": _json("config.json", auto_map={"AutoModelForCausalLM": "own.Own"}),
    "no weights": _gone("model.safetensors"),
    "weights truncated": _cut("model.safetensors", 0.7),
    "weights: their header truncated": _cut("model.safetensors", 0.0005),
    "weights: seven bytes": _text("model.safetensors", b"\x01\0\0\0\0\0\0"),
    "weights: empty": _text("model.safetensors", b""),
    "weights: a header of 8 EB": _text("model.safetensors", b"\xff" * 7 + b"\x7f" + b"{}"),
    "weights: no JSON": _text("model.safetensors", b"\x10" + b"\0" * 7 + b"x" * 16),
    "weights: a pickle of that name": _text("model.safetensors", b"\x80\x04\x8c\x05posix\x94."),
    "weights of another shape": _weights_of_text,
    "weights missing": _weights_missing,
    "index of nothing": _text("model.safetensors.index.json", b"{}"),
    "index: no JSON": _text("model.safetensors.index.json", b"{"),
    "index of a missing file": _text("model.safetensors.index.json", b'{"weight_map": {"a": "gone.safetensors"}}'),
    "index that leads outside": _text("model.safetensors.index.json", b'{"weight_map": {"a": "../x.safetensors"}}'),
    "an adapter beside it": _text("adapter_config.json", b'{"base_model_name_or_path": "x/y", "peft_type": "LORA"}'),
    "no tokenizer": _gone("tokenizer.json", "tokenizer_config.json"),
    "no tokenizer.json": _gone("tokenizer.json"),
    "tokenizer: empty": _text("tokenizer.json", b""),
    "tokenizer: {}": _text("tokenizer.json", b"{}"),
    "tokenizer truncated": _cut("tokenizer.json", 0.5),
    "tokenizer config: a list": _text("tokenizer_config.json", b"[]"),
    "tokenizer of an unknown class": _json("tokenizer_config.json", tokenizer_class="NonsenseTokenizer"),
    "tokenizer with code of its own": _json("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]}),
    "tokenizer without EOS": _json("tokenizer_config.json", eos_token=None),
    "chat template with a fault": _text("chat_template.jinja", b"{% for m in messages %}"),
    "chat template that refuses": _text("chat_template.jinja", b"{{ raise_exception('no') }}"),
    "chat template that reaches for Python": _text(
        "chat_template.jinja", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"
    ),
    "an adapter alone": lambda folder: (
        _gone("config.json")(folder),
        _text("adapter_config.json", b"{}")(folder),
    ),
    "a file where the folder belongs": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
    "a dangling link as weights": lambda folder: (
        _gone("model.safetensors")(folder),
        (folder / "model.safetensors").symlink_to("gone"),
    ),
    "a directory as weights": lambda folder: (
        _gone("model.safetensors")(folder),
        (folder / "model.safetensors").mkdir(),
    ),
}
TURNS = '{"prompt": [{"role": "user", "content": "a %d"}], "chosen": [{"role": "assistant", "content": "b"}], "rejected": [{"role": "assistant", "content": "c"}]}\n'


def _model(name: str, change: Change) -> Case:
    def attempt(folder: Path) -> Told:
        shutil.copytree(SUITES / "sentiment" / "model", folder / "model")
        change(folder / "model")
        template = "chat template" in name
        row = TURNS if template else '{"prompt": "a %d", "chosen": "b", "rejected": "c"}\n'
        (folder / "rows.jsonl").write_text("".join(row % i for i in range(12)))
        data = (
            "--data",
            "rows.jsonl",
            "--set",
            "steps=1",
            "--set",
            "batch=2",
            "--set",
            "prompts=2",
            "--set",
            "tokens=2",
        )
        small = ("--set", "lm_eval=[]", "--set", "judge=false", "--seeds", "0", "--trials", "1", "--workers", "1")
        told = typed(("run", "--loss", "sft", "--model", "model", *data, *small, "--out", OUT))(folder)
        # A model that fails only where it is loaded may leave what was prepared and begun, but no run.
        assert not list((folder / "out").glob("runs/*/evals/*/record.json")) or told.code == 0
        shutil.rmtree(folder / "out", ignore_errors=True)
        return told

    # An unknown class is passed over where tokenizer.json says all that there is to say.
    taken = name == "tokenizer of an unknown class"
    return Case(kind="model folder", name=name, attempt=attempt, codes=(0, 1, 2) if taken else (1, 2))


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return change


SUITE_CHANGES: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "no TOML": lambda text: text + "\n[[[",
    "not UTF-8": lambda text: text + "\udcff",
    "a key twice": lambda text: text + '\nname = "again"\nname = "again"\n',
    "no presets": lambda text: text.replace("[presets]", "[presetz]"),
    "an unknown key": lambda text: "colour = 1\n" + text,
    "no name": lambda text: text.replace("name =", "nome =", 1),
    "name with a path": lambda text: text.replace('name = "sentiment"', 'name = "../../etc"'),
    "version a word": lambda text: text.replace("version = ", 'version = "x" #', 1),
    "learning rates as one": lambda text: text.replace("learning_rates = [", "learning_rates = 1 #[", 1),
    "NaN": lambda text: text.replace("learning_rates = [", "learning_rates = [nan, nan] #[", 1),
    "steps negative": lambda text: text.replace("steps = ", "steps = -", 1),
    "a preset without trials": lambda text: text.replace("trials = ", "trails = ", 1),
    "no trials": lambda text: text.replace("trials = ", "trials = 0 # ", 1).replace("}", "}", 1),
    "seeds a list": lambda text: text.replace("seeds = 1", "seeds = [1]", 1),
    "deep nesting": lambda text: text + "\nx = " + "[" * 5000 + "]" * 5000,
    "a huge number": lambda text: text.replace("steps = ", "steps = " + "9" * 5000 + " # ", 1),
    "another split": lambda text: text.replace('split = "validation"', 'split = "everything"', 1),
}


def _suite(name: str, text: str) -> Case:
    def attempt(folder: Path) -> Told:
        path = folder / "sentiment" / "suite.toml"
        path.parent.mkdir()
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return read(lambda: read_suite(path))

    return Case(kind="suite.toml", name=name, attempt=attempt, codes=(1,), said=("suite.toml",))


HEAD = (
    "from losses import Pairs, Param, Requires\nfrom losses.objective import objective\nfrom losses.space import Log\n"
)
DECORATOR = (
    '@objective(params={}, batch=Pairs, requires=Requires.REFERENCE, reward="log_ratio", aggregation="sum",\n'
    '           paper="none", equation="none", optimum="none", version=1)\n'
)
LOSS_FILES: dict[str, str] = {
    "empty": "",
    "a fault of syntax": "def mine(:\n",
    "a tab among spaces": "if True:\n        x = 1\n\ty = 2\n",
    "not UTF-8": "# \udcff\n",
    "NUL bytes": "x = 1\0\n",
    "an exception": "raise RuntimeError('no')\n",
    "an exception with escapes": "raise RuntimeError('\\x1b[31mno')\n",
    "a system exit": "raise SystemExit(3)\n",
    "an unknown import": "import nonsense_of_mine\n",
    "no objective": "x = 1\n",
    "a decorator without arguments": HEAD + "@objective\ndef mine(pairs):\n    '''One.'''\n    return 0\n",
    "a decorator with wrong arguments": HEAD + "@objective(colour=1)\ndef mine(pairs):\n    '''One.'''\n    return 0\n",
    "no docstring": HEAD + DECORATOR + "def mine(pairs):\n    return pairs.chosen.log_ratio\n",
    "a name that is taken": HEAD + DECORATOR + "def dpo(pairs):\n    '''One.'''\n    return pairs.chosen.log_ratio\n",
    "no argument": HEAD + DECORATOR + "def mine():\n    '''One.'''\n    return 0\n",
    "an argument too many": HEAD
    + DECORATOR
    + "def mine(pairs, beta):\n    '''One.'''\n    return pairs.chosen.log_ratio\n",
    "a parameter that is no Param": HEAD
    + DECORATOR.replace("params={}", "params={'beta': 1}")
    + "def mine(pairs, *, beta):\n    '''One.'''\n    return pairs.chosen.log_ratio\n",
    "a range turned round": HEAD
    + DECORATOR.replace(
        "params={}",
        "params={'beta': Param(default=0.1, space=Log(1, 0.01), symbol='β', unit='1', meaning='m', low=1, high=0)}",
    )
    + "def mine(pairs, *, beta):\n    '''One.'''\n    return pairs.chosen.log_ratio\n",
    "an unknown reward": HEAD
    + DECORATOR.replace('"log_ratio"', '"magic"')
    + "def mine(pairs):\n    '''One.'''\n    return pairs.chosen.log_ratio\n",
    "a batch that is none": HEAD
    + DECORATOR.replace("batch=Pairs", "batch=int")
    + "def mine(pairs):\n    '''One.'''\n    return pairs.chosen.log_ratio\n",
    "version a word": HEAD
    + DECORATOR.replace("version=1", "version='x'")
    + "def mine(pairs):\n    '''One.'''\n    return pairs.chosen.log_ratio\n",
    "a mean instead of one loss each": HEAD
    + DECORATOR
    + "def mine(pairs):\n    '''One.'''\n    return pairs.chosen.log_ratio.mean()\n",
    "None": HEAD + DECORATOR + "def mine(pairs):\n    '''One.'''\n",
    "a number": HEAD + DECORATOR + "def mine(pairs):\n    '''One.'''\n    return 1.0\n",
    "an unknown attribute": HEAD + DECORATOR + "def mine(pairs):\n    '''One.'''\n    return pairs.chosen.nonsense\n",
    "NaN": HEAD + DECORATOR + "def mine(pairs):\n    '''One.'''\n    return pairs.chosen.log_ratio * float('nan')\n",
    "no gradient": HEAD + DECORATOR + "def mine(pairs):\n    '''One.'''\n    return pairs.chosen.log_ratio.detach()\n",
    "a recursion without end": HEAD + DECORATOR + "def mine(pairs):\n    '''One.'''\n    return mine(pairs)\n",
}


def _loss_file(name: str, text: str) -> Case:
    def attempt(folder: Path) -> Told:
        (folder / "mine.py").write_bytes(text.encode("utf-8", "surrogateescape"))
        told = typed(("run", "--loss", "mine", "--loss-file", "mine.py", *SMALL, "--seeds", "0", "--out", OUT))(folder)
        # A loss that fails only where it is called leaves the start model's record and the reports of it.
        shutil.rmtree(folder / "out", ignore_errors=True)
        return told

    # Losses that are not finite are an outcome of a run, which is recorded as diverged.
    return Case(kind="loss file", name=name, attempt=attempt, codes=(0, 1, 2) if name == "NaN" else (1, 2))

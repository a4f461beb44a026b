"""Owns texts that cannot be right: ``--set`` of every field of the spec, sweeps, and loss expressions."""

from collections.abc import Iterator

from bench.core.request import SECTIONS
from tests.bad_inputs.command_lines import OUT, SMALL, of
from tests.bad_inputs.trying import Case

VALUES = (
    "x",
    "-1",
    "0",
    "NaN",
    "Infinity",
    "1e999",
    "[]",
    "{}",
    "null",
    '""',
    "true",
    "9" * 400,
    "9" * 5000,
    "[" * 3000,
)
LOSSES = (
    "", " ", ",", "+", "*", "dpo+", "+dpo", "dpo++nll", "dpo+nll(", "dpo+nll)", "dpo+nll((0.2)", "dpo+nll(0.2,0.3,0.4)",
    "dpo(beta=)", "dpo(=0.1)", "dpo(beta=x)", "dpo(beta=nan)", "dpo(beta=inf)", "dpo(beta=1e999)", "dpo(beta=-1)",
    "dpo(beta=0.1,beta=0.2)", "dpo(gamma=1)", "nll(0.2)+dpo", "nll", "0*dpo", "-1*dpo+ipo", "1e999*dpo", "2**dpo", "dpo*2",
    "dpo(linear(0.1))", "dpo(linear(0.1,0.2,0.3))", "dpo(linear(a,b))", "dpo(cubic(0.1,0.2))", "dpo+kto", "dpo+sft+",
    "dpo.py:dpo", "gone.py:mine", "../x.py:mine", ".py:x", "dpo:ipo", "dpo;ipo", "dpo ipo", "DPO", "dpö", "d\u0000po", "dpo" * 2000,
    "+".join(["dpo"] * 300), "(" * 3000, "dpo(" * 500, "0.5*" * 300 + "dpo", "__import__('os')", "start", "all+dpo", "0.5*all",
    "9" * 5000 + "*dpo", "dpo(beta=" + "9" * 5000 + ")", "dpo(beta=0.1", "dpo beta=0.1", "dpo(0.1)(0.2)", "dpo+nll(0.2)nll",
    "[red]dpo", "\x1b[31mdpo", "dpo,dpo", "dpo,simop", "dpo+dpop+dpo+wpo+humanline(-1,1.5)+nope",
)  # fmt: skip
SWEEPS = (
    "", " ", ",", "=", "beta=", "=0.1", "beta=0.1,,0.2", "beta=0.1,0.1", "beta=x", "beta=nan", "beta=inf", "beta=1e999",
    "beta=-1", "beta=0", "beta,beta", "beta=0.1,beta=0.2", "bta", "0.1", "0.1,0.2", "lr=0", "lr=-1", "lr=1e999", "beta=0.1;0.2",
    "beta=0.1..0.2", "beta:0.1", "seed", "train.steps", "own=0.1", "own,own", "own,own,own", "beta=" + ",".join(map(str, range(5000))),
    "β", "beta ", "be ta", "beta=" + "9" * 5000, "x" * 6000, "beta=0x1", "beta=1_000", "beta=١", "beta==0.1", "[red]", "\x1b[31m",
    "beta,lr,gamma,delta", "beta=(0.1,0.2)", "beta=[0.1]", "nan", "none", "beta=0.1=0.2", "beta=1e", "beta=.",
)  # fmt: skip


def cases() -> Iterator[Case]:
    """Every field with every value, then every text."""
    for section, model in SECTIONS.items():
        for field in model.model_fields:
            for value in VALUES:
                yield _run("--set", f"--set={section}.{field}={value}")
    for text in (
        "beta",
        "beta=x",
        "beta=true",
        "beta=[0.1]",
        "beta=1e999",
        "beta=NaN",
        "beta=",
        "=",
        "x=1",
        "train.=1",
        ".x=1",
    ):
        yield _run("--set", f"--set={text}")
    for text in ("train.lora=1", "train.lora=[]", 'train.lora={"x": 1}', "train.lora=null", 'evaluation.lm_eval="x"'):
        yield _run("--set", f"--set={text}")
    for text in (
        'evaluation.lm_eval=["nope"]',
        'evaluation.lm_eval=["../../x.yaml"]',
        "evaluation.lm_eval=[1]",
        "__class__=1",
    ):
        yield _run("--set", f"--set={text}")
    for text in LOSSES:
        words = ("run", f"--loss={text}", *SMALL, "--dry-run", "--out", OUT)
        yield of(f"--loss {text[:60]!a}", words, kind="loss expression")
        yield of(f"losses show {text[:60]!a}", ("losses", "show", "--", text), kind="loss expression")
    for text in SWEEPS:
        yield _run("sweep", f"--sweep={text}")
        yield _run("sweep", f"--sweep={text}", "--sampler=tpe")


def _run(kind: str, *words: str) -> Case:
    line = ("run", "--loss", "dpo", *SMALL, "--dry-run", "--out", OUT, *words)
    return of(" ".join(words)[:80], line, kind=kind)

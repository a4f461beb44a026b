"""Known results of the literature, run again on enumerable problems by the suite's own harness."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from bench.core.request import RunRequest
from bench.runner.compare import compare, plan_units
from bench.runner.plan import make_plan
from bench.utils.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Command:
    """One ``bench run`` on the suite exact: objectives, what is swept, and texts of ``--set``."""

    losses: tuple[str, ...]
    settings: tuple[str, ...]
    sweep: str | None = None


@dataclass(frozen=True, kw_only=True)
class Known:
    """One result of the literature: what it says, and the runs that should show it."""

    title: str
    paper: str
    claim: str
    commands: tuple[Command, ...]


STEPS = (16, 64, 256, 1024, 4096)
_BANDIT = (
    "problem.contexts=2", "problem.symbols=2", "problem.length=1", "problem.reward=levels",
    "problem.labels=deterministic", "problem.start_scale=0", "problem.pairs=1200", "train.batch=64",
    "train.lr_schedule=constant", "train.warmup=0", "train.learning_rate=0.02", "execution.log_every=64",
)  # fmt: skip
# Many completions and an error with heavy tails: the few that the proxy overrates most are not among the best.
_PROXY = (
    "problem.contexts=48", "problem.symbols=4", "problem.length=4", "problem.start_scale=0.5",
    "problem.proxy_noise=0.5", "problem.proxy_tail=2", "problem.labels=deterministic", "problem.pairs=100000",
    "batch=512", "steps=800", "lr=0.3", "execution.micro_batch=512", "execution.log_every=16",
)  # fmt: skip
_POPULATION = (
    "problem.reward=levels", "problem.labels=population", "train.steps=600",
    "train.learning_rate=0.1", "train.warmup=0.05", "execution.micro_batch=4096", "execution.log_every=50",
)  # fmt: skip
# Completions a context: two, three of one token, or seven of one and two tokens.
_TWO = ("problem.contexts=8", "problem.symbols=1", "problem.length=1", "batch=120")
_THREE = ("problem.contexts=8", "problem.symbols=2", "problem.length=1", "batch=360")
_SEVEN = ("problem.contexts=2", "problem.symbols=2", "problem.length=2", "batch=1260")

_FLIPPED = ("problem.flips=0.1", "batch=3600")

FLIPS = (0.0, 0.1, 0.2, 0.25)
SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)


def _flipped(share: float) -> Command:
    """Return a run on population data with a share ε of labels turned round. The optimum is that of β = β₀ = 1."""
    problem = ("problem.contexts=2", "problem.symbols=2", "problem.length=1", f"problem.flips={share}")
    settings = (*_POPULATION, *problem, "batch=900", "train.steps=300", "beta=1.0", f"epsilon={share}", "beta0=1.0")
    return Command(losses=("dpo", "cdpo", "robust"), settings=settings)


def _imbalanced(share: float, *, balanced: bool) -> Command:
    """Return a run on unpaired rows, ``share`` of them desirable; ``balanced``: both kinds have equal weight in all."""
    odds = (1 - share) / share if balanced else 1.0
    weights = (f"desirable_weight={max(1.0, odds):.6g}", f"undesirable_weight={max(1.0, 1 / odds):.6g}")
    problem = ("problem.contexts=16", "problem.symbols=4", "problem.length=4", f"problem.desirable={share}")
    return Command(losses=("kto",), settings=(*problem, "lr=0.1", "execution.log_every=16", "beta=0.3", *weights))


RESULTS: Mapping[str, Known] = MappingProxyType(
    {
        "optima": Known(
            title="Every objective against its own optimum",
            paper="docs/optima.md",
            claim="With endless data an objective ends at its population optimum: where that is known in closed form, "
            "training reaches it.",
            commands=(
                Command(losses=("all",), settings=(*_POPULATION, *_TWO, "beta=1.0")),
                Command(losses=("all",), settings=(*_POPULATION, *_THREE, "beta=1.0")),
                Command(losses=("all",), settings=(*_POPULATION, *_SEVEN, "beta=1.0")),
                Command(losses=("dpo", "cdpo", "robust"), settings=(*_POPULATION, *_THREE, *_FLIPPED, "beta=1.0")),
            ),
        ),
        "ipo-bandit": Known(
            title="Preferences that never contradict each other: DPO forgets its β, IPO keeps its gap",
            paper="arXiv 2310.12036, section 5.4",
            claim="DPO drives the probability of the action that always loses to zero whatever β is, and goes on for "
            "as long as it is trained; IPO stops at π ∝ π_ref · exp((P(y ≻ μ) − ½) / τ), nearer to the start model "
            "the larger τ is.",
            commands=tuple(
                Command(losses=("dpo", "ipo_sum"), sweep="beta=0.1,0.3,1.0", settings=(*_BANDIT, f"steps={steps}"))
                for steps in STEPS
            ),
        ),
        "flips": Known(
            title="Labels turned round: robust DPO at the known rate finds what DPO loses",
            paper="arXiv 2403.00409 (robust), Mitchell 2023 (conservative)",
            claim="With a share ε of labels turned round, DPO ends nearer to the start model than on clean labels, "
            "conservative DPO nearer still; robust DPO that knows ε ends where DPO would have ended on clean labels.",
            commands=tuple(map(_flipped, FLIPS)),
        ),
        "imbalance": Known(
            title="Few desirable examples: KTO needs its weights",
            paper="arXiv 2402.01306, section 4.2",
            claim="KTO learns from unpaired examples in any proportion, if the weights make both kinds count as much "
            "in all; with equal weights the rarer kind is drowned.",
            commands=tuple(_imbalanced(share, balanced=balanced) for share in SHARES for balanced in (False, True)),
        ),
        "overoptimisation": Known(
            title="Labels from a proxy: the win rate rises with KL, then falls",
            paper="arXiv 2406.02900, figure 1",
            claim="Where labels come from a proxy of the true reward, the win rate by the true reward is hump-shaped "
            "in KL: with ever weaker regularisation the policy learns what the proxy overrates.",
            # IPO's gap is 1/2τ whatever the labels' noise, so its β is on another scale
            commands=(
                Command(losses=("dpo",), sweep="beta=0.01,0.02,0.05,0.1,0.3,1,3,10,30", settings=_PROXY),
                Command(losses=("ipo_sum",), sweep="beta=0.005,0.01,0.02,0.05,0.1,0.2,0.5", settings=_PROXY),
            ),
        ),
    }
)  # fmt: skip


def reproduce(known: Known, results: Path, console: Console) -> None:
    """Run what shows a known result into ``results``, doing only what is missing."""
    plans = [make_plan(_request(command, results)) for command in known.commands]
    with Progress(console, total=sum(map(plan_units, plans))) as progress:
        for plan in plans:
            compare(plan, progress)


def _request(command: Command, results: Path) -> RunRequest:
    return RunRequest(
        losses=command.losses,
        sweep=command.sweep,
        suite="exact",
        seeds=0,
        settings=command.settings,
        results=results,
        workers=1,
    )

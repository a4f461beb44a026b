"""Recipes: what their files may hold, which requests they are, and what they cost on paper."""

import gc
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bench.cli.entry_point  # noqa: F401  # registers every command
from bench.cli import recipes as command
from bench.cli.app import app
from bench.core.request import RunRequest
from bench.errors import RunError, UsageError
from bench.runner.plan import draft_plan, searches_of
from bench.runner.recipes.cost_estimate import hours, memory_of, paper_of
from bench.runner.recipes.missing import missing_of
from bench.runner.recipes.recipe import HERE, get_recipe, read_recipe, recipe_names

ROOT = Path(__file__).parents[4]
PARTS = [(name, part.name) for name in recipe_names() for part in get_recipe(name).part]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Names of files that a recipe needs are those of the working directory; what a command froze is thawed."""
    monkeypatch.chdir(tmp_path)
    yield
    gc.unfreeze()


def request_of(name: str, part: str, typed: RunRequest | None = None) -> RunRequest:
    ((_, request),) = get_recipe(name).requests(typed or RunRequest(), part=part)
    return request


def asked_for(words: list[str], monkeypatch: pytest.MonkeyPatch) -> RunRequest:
    """The request that ``bench run`` makes of words, without carrying it out."""
    found: list[RunRequest] = []
    monkeypatch.setattr("bench.cli.execute.run_command", lambda request, dry_run: found.append(request))
    monkeypatch.setattr(command, "_refuse_missing", lambda requests: None)
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found[0]


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_part_is_the_request_that_its_printed_command_is(name, part, monkeypatch):
    (found,) = get_recipe(name).parts(part)
    typed = asked_for(shlex.split(shlex.join(found.command))[1:], monkeypatch)
    assert typed == asked_for(["run", "--recipe", name, "--part", part], monkeypatch)
    assert typed.losses == found.request.losses


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_every_packaged_part_is_planned_without_model_and_data(name, part):
    (found,) = get_recipe(name).parts(part)
    draft = draft_plan(request_of(name, part))
    paper = paper_of(draft, found.estimate)
    assert [row.objective for row in paper.rows] == list(found.request.losses)
    assert all(row.runs >= 1 and row.training > 0 for row in paper.rows)
    trained = draft.train.steps * draft.train.batch
    assert name in ("smollm2-cpu", "sentiment-quick", "dpo-figure-2") or found.estimate.pairs - 128 < trained
    assert trained <= found.estimate.pairs
    if not (draft.suite.folder / "model").is_dir() and draft.suite.problem is None:  # model and data are the user's
        assert {each.what for each in missing_of(draft)} >= {"model", "data"}


def test_the_scan_is_two_models_by_three_losses_by_ten_betas():
    recipe = get_recipe("hf-blog")
    for part in recipe.part:
        draft = draft_plan(request_of("hf-blog", part.name))
        searches = searches_of(draft, sets=())
        assert [len(search.points) for search in searches] == [10, 10, 10]
        betas = [point["beta"] for point in searches[0].points]
        assert betas == [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        assert (draft.train.batch, draft.train.learning_rate, draft.train.warmup) == (128, 5e-7, 0.1)
        assert draft.train.lora is None
    assert len(recipe.part) == 2


@pytest.mark.parametrize(
    ("setting", "beta", "ratio", "rate", "dpo_rate"),
    [
        ("mistral-base", 2.0, 0.8, 3e-7, 5e-7),
        ("mistral-instruct", 2.5, 0.1, 5e-7, 5e-7),
        ("llama3-base", 2.0, 0.5, 6e-7, 5e-7),
        ("llama3-instruct", 2.5, 0.55, 1e-6, 7e-7),
        ("llama3-instruct-v0.2", 10.0, 0.3, 1e-6, 3e-7),
        ("gemma2-it", 10.0, 0.5, 8e-7, 5e-7),
    ],
)
def test_simpo_and_dpo_have_the_published_values(setting, beta, ratio, rate, dpo_rate):
    simpo = draft_plan(request_of("simpo-table", f"{setting}-simpo"))
    dpo = draft_plan(request_of("simpo-table", f"{setting}-dpo"))
    assert simpo.settings.params == {"beta": beta, "gamma_ratio": ratio}
    assert dpo.settings.params == {"beta": 0.01}
    assert (simpo.train.learning_rate, dpo.train.learning_rate) == (rate, dpo_rate)
    assert simpo.request.model == dpo.request.model
    assert simpo.request.data == dpo.request.data


def test_figure_2_sweeps_the_papers_values_and_chooses_by_reward_and_kl():
    dpo = draft_plan(request_of("dpo-figure-2", "dpo"))
    assert [point["beta"] for point in searches_of(dpo, sets=())[0].points] == [0.05, 0.1, 1.0, 5.0]
    assert dpo.evaluation.target == "reward"
    assert (dpo.train.batch, dpo.train.learning_rate) == (64, 1e-6)
    assert dpo.train.warmup * dpo.train.steps == 150


def test_typed_options_go_before_the_recipes_and_settings_are_added_after_them():
    typed = RunRequest(model="other", seeds=0, settings=("lr=1e-6", "data.drop_equal=false"))
    request = request_of("hf-blog", "zephyr", typed)
    assert (request.model, request.seeds, request.suite) == ("other", 0, "chat")
    draft = draft_plan(request)
    assert draft.train.learning_rate == 1e-6
    assert draft.options.drop_equal is False
    assert draft.train.batch == 128


def test_typed_ranks_go_before_those_of_a_recipe(monkeypatch):
    request = asked_for(["run", "--recipe", "hf-blog", "--part", "zephyr", "--processes", "2"], monkeypatch)
    assert draft_plan(request).request.processes == 2


def test_parts_that_share_an_objective_have_studies_of_their_own(monkeypatch):
    words = ["run", "--recipe", "hf-blog", "--study", "night", "--part"]
    assert [asked_for([*words, part], monkeypatch).study for part in ("zephyr", "openhermes")] == [
        "night-zephyr",
        "night-openhermes",
    ]


def test_memory_on_paper_is_that_of_the_scaling_page():
    (part,) = get_recipe("simpo-table").parts("llama3-instruct-simpo")
    more = RunRequest(settings=("execution.micro_batch=4", "execution.gradient_checkpointing=false"))
    draft = draft_plan(request_of("simpo-table", part.name, more))
    memory = memory_of(draft, part.estimate)
    # docs/scaling.md, column «8B, each on 8 of 64 GPUs»: the same model, ranks, micro-batch and lengths
    assert memory.weights / 1e9 == pytest.approx(16.1, rel=0.01)
    assert memory.transit / 1e9 == pytest.approx(11.0, rel=0.01)
    assert memory.activations / 1e9 == pytest.approx(19.7, rel=0.01)
    assert memory.head / 1e6 == pytest.approx(197, rel=0.01)


def test_work_is_six_operations_by_parameter_and_token_and_less_for_lora():
    (part,) = get_recipe("smollm2-cpu").parts("chat")
    by_kind = {}
    for lora in ("true", "false"):
        draft = draft_plan(request_of("smollm2-cpu", "chat", RunRequest(settings=(f"train.lora={lora}",))))
        row = paper_of(draft, part.estimate).rows[0]
        by_kind[lora] = row.training * 1e15 / part.estimate.parameters / row.tokens
        assert row.tokens == row.runs * 30 * 16 * 130
    assert by_kind["false"] == pytest.approx(6)
    assert by_kind["true"] == pytest.approx(4)
    assert hours(1.0, part.estimate) == pytest.approx(1e15 / (0.32e12 * 0.4) / 3600)


def test_an_unknown_field_is_refused_with_file_and_field(tmp_path):
    text = (HERE / "sentiment-quick.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    for given, said in (
        (text.replace('sweep = "own"', 'swep = "own"'), "part.0.swep"),
        (text.replace("peak = 0.32", ""), "part.0.estimate.peak"),
        (text.replace("trials = 2", "trials = 0"), "part.0.trials"),
        (text.replace("title = ", "titel = "), "title"),
        (text.replace('name = "sentiment"', "name = "), "mine.toml"),
    ):
        path.write_text(given, encoding="utf-8")
        with pytest.raises(RunError) as refused:
            read_recipe(path)
        assert said in str(refused.value)
        assert str(path) in str(refused.value)


def test_unknown_recipes_and_parts_are_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'simpo-table'"):
        get_recipe("simpo-tabel")
    with pytest.raises(UsageError, match="did you mean 'zephyr'"):
        get_recipe("hf-blog").parts("zefyr")


@pytest.mark.parametrize("words", [["run"], ["run", "--loss", ""], ["run", "--loss", "dpo", "--part", "zephyr"]])
def test_without_loss_and_recipe_the_command_says_what_it_needs(words):
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError)
    assert "--recipe" in str(done.exception)


def test_what_no_hub_brings_is_refused_before_anything_runs(tmp_path):
    words = ["run", "--recipe", "dpo-figure-2", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError)
    for name in ("./imdb-sft", "imdb-pairs.jsonl", "siebert.toml", "part unlikelihood"):
        assert name in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_on_paper_asks_no_network_and_leaves_nothing(tmp_path, monkeypatch):
    asked = []

    def connect(*given, **_):
        asked.append(given)
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("socket.getaddrinfo", connect)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    done = CliRunner().invoke(app, ["run", "--recipe", "hf-blog", "--dry-run", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.exception
    assert not asked
    for said in ("PFLOP", "openhermes", "memory of each of 8 rank(s)", "missing on this machine: model", "33"):
        assert said in done.output
    assert not (tmp_path / "out").exists()


def test_every_recipe_has_its_page():
    for name in recipe_names():
        assert f"--recipe {name}" in (ROOT / "docs" / "recipes" / f"{name}.md").read_text(encoding="utf-8")
        assert f"({name}.md)" in (ROOT / "docs" / "recipes" / "README.md").read_text(encoding="utf-8")


def test_a_wheel_holds_every_recipe():
    probe = (
        "from setuptools import Distribution\n"
        "made = Distribution({'script_name': 'setup.py'}); made.parse_config_files(['pyproject.toml'])\n"
        "made.include_package_data = False\n"  # what package-data names, and nothing written beside it
        "build = made.get_command_obj('build_py'); build.ensure_finalized()\n"
        "print(*(name for package, _, _, names in build.data_files"
        " if package == 'bench.runner.recipes' for name in names))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    packed = {Path(word).stem for word in done.stdout.split() if word.endswith(".toml")}
    assert packed == set(recipe_names())


def test_a_part_that_fails_does_not_stop_the_others_and_is_named(monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["bench", "run", "--recipe", "sentiment-quick"])
    with pytest.raises(RunError, match="2 of 2 parts failed: first, second"):
        command._one_by_one(["first", "second"])
    said = capfd.readouterr().err
    assert "--part first" in said
    assert "--part second" in said

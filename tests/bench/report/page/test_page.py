"""The page: equal records give equal bytes, no text becomes markup, every record can be reached."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.samples import write_samples
from bench.report.analysis.analysis import analyse
from bench.report.analysis.settings import group_records
from bench.report.page.render import content_hash, page_html, script_json, write_page
from bench.report.page.runs import LONGEST, PROMPTS
from tests.bench.report.conftest import record, run_spec, start_records, study, write_records
from tests.bench.report.page.page_study import HOSTILE, ODD, Parsed, rows, troubled, write_study


def page(results: Path) -> Parsed:
    return Parsed(write_page(results).read_text())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("hostile"), troubled(), samples=rows())


def test_equal_records_give_equal_bytes_in_any_order_and_place(tmp_path: Path):
    records = study(("dpo", "kto"))
    one = write_page(write_study(tmp_path / "one", records)).read_bytes()
    other = write_page(write_study(tmp_path / "elsewhere" / "other", reversed(records))).read_bytes()
    assert one == other
    assert write_page(tmp_path / "one").read_bytes() == one


def test_every_record_is_reachable_from_a_row(hostile: Path):
    parsed = page(hostile)
    reached = {
        (run["key"], run["evaluation"])
        for group in parsed.data["groups"]
        for setting in group["settings"]
        for run in setting["runs"]
    }
    assert reached == {(r.key, r.evaluation_key) for r in troubled()}
    opened = {setting["id"] for group in parsed.data["groups"] for setting in group["settings"]}
    links = [a["href"] for a in parsed.attributes("a") if a["href"] not in ("#main",)]
    assert sorted(links) == sorted(f"#{name}" for name in opened)
    assert len(links) == sum(len(g.settings) + (g.start is not None) for g in group_records(troubled()))


def test_specs_come_back_whole_from_the_shared_values(hostile: Path):
    data = page(hostile).data
    specs = {r.key: r.spec.model_dump(mode="json") for r in troubled()}
    for run in (run for group in data["groups"] for setting in group["settings"] for run in setting["runs"]):
        assert {name: data["pool"][at] for name, at in run["spec"].items()} == specs[run["key"]]
    assert len({json.dumps(value) for value in data["pool"]}) == len(data["pool"])


def test_no_text_of_a_record_becomes_markup(hostile: Path):
    parsed = page(hostile)
    assert len(parsed.scripts) == 2
    assert not [attributes for _, attributes in parsed.elements if any(name.startswith("on") for name in attributes)]
    assert not parsed.attributes("img")
    assert not parsed.attributes("i")
    assert ODD in parsed.words
    shown = {s["samples"]["rows"][at]["own"][0] for s in parsed.data["groups"][0]["settings"] if "rows" in s["samples"]
             for at in range(len(HOSTILE))}  # fmt: skip
    assert shown == {text[:LONGEST] for text in HOSTILE}


@given(st.text() | st.sampled_from((*HOSTILE, "\ud800")))
def test_script_json_round_trips_and_cannot_end_its_element(text: str):
    made = script_json({"text": text})
    assert json.loads(made) == {"text": text}
    assert made.isascii()
    assert not set(made) & set("<>&")


def test_nothing_but_the_one_script_may_run_and_nothing_be_fetched(hostile: Path):
    parsed = page(hostile)
    (policy,) = [m["content"] for m in parsed.attributes("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'{content_hash(parsed.scripts[1])}'"
    assert rules["img-src"] == "data:"
    addresses = [a[name] for _, a in parsed.elements for name in ("src", "href") if a.get(name)]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", write_page(hostile).read_text())


def test_two_protocols_stand_apart_each_with_its_figures(tmp_path: Path):
    there = [
        r.model_copy(update={"evaluation_key": f"{r.evaluation_key[:-1]}q"}) for r in study(("ipo",), protocol="q")
    ]
    results = write_study(tmp_path, [*study(("dpo",)), *there])
    for folder, content in (("1-sentiment-pppppppp", b"one"), ("2-sentiment-q", b"two")):
        (results / "figures" / folder).mkdir(parents=True)
        (results / "figures" / folder / "score-vs-beta.png").write_bytes(content)
    parsed = page(results)
    assert [group["protocol"] for group in parsed.data["groups"]] == ["p" * 16, "q"]
    assert [{s["objective"] for s in group["settings"]} for group in parsed.data["groups"]] == [
        {"start", "dpo"}, {"start", "ipo"},
    ]  # fmt: skip
    assert [img["src"] for img in parsed.attributes("img")] == [
        "data:image/png;base64,b25l",
        "data:image/png;base64,dHdv",
    ]
    assert len(parsed.attributes("table")) == 2
    names = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(names) == len(set(names))


def test_svg_stands_before_png_and_every_figure_has_words_for_it(tmp_path: Path):
    results = write_study(tmp_path, study(("dpo",)))
    (results / "figures").mkdir()
    for name in ("score-vs-beta.svg", "score-vs-beta.png", "what_else.png"):
        (results / "figures" / name).write_bytes(b"image")
    images = page(results).attributes("img")
    assert [image["src"].split(";")[0] for image in images] == ["data:image/svg+xml", "data:image/png"]
    assert all("dpo" in image["alt"] for image in images)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda results, records: write_study(results, records, samples=[]), "is not beside the record"),
        (write_records, "is damaged"),
    ],
    ids=["missing", "damaged"],
)
def test_completions_that_cannot_be_read_are_told_on_the_page(tmp_path: Path, write, said: str):
    data = page(write(tmp_path, study(("dpo",)))).data
    told = {setting["samples"]["why"] for group in data["groups"] for setting in group["settings"]}
    assert len(told) == 1
    assert said in told.pop()


def test_completions_stand_beside_the_start_models_for_the_same_prompts(tmp_path: Path):
    data = page(write_study(tmp_path, study(("dpo",)))).data
    (best,) = [s for s in data["groups"][0]["settings"] if s["best"]]
    assert best["samples"]["split"] == "test"
    assert len(best["samples"]["rows"]) == PROMPTS
    for at, row in enumerate(best["samples"]["rows"]):
        assert data["pool"][row["prompt"]] == [f"prompt {at}: <i>", 0]
        assert row["own"][0] == "by dpo with seed 100"
        assert data["pool"][row["start"]][0] == "by start with seed 0"


def test_numbers_of_a_row_are_those_of_the_leaderboard(tmp_path: Path, full_study):
    from bench.report.tables.leaderboard import leaderboard

    text = page_html(analyse(full_study), results=tmp_path)
    for _, row in leaderboard(full_study)[lambda frame: frame.best].iterrows():
        assert f'data-key="{row.target:.6g}"' in text
        half = (row.target_high - row.target_low) / 2
        assert f'{row.target:.3f} <span class="spread">± {half:.3f}</span>' in text


def test_degenerate_completions_and_bad_ends_are_flagged(hostile: Path):
    text = write_page(hostile).read_text()
    row = next(part for part in text.split("<tr ") if '"objective" data-key="kto"' in part)
    assert "31 % word for word another prompt" in row
    assert sum('<span class="tag warn"' in part for part in text.split("<tr ")) == 1
    assert sum('<span class="tag bad">diverged' in part for part in text.split("<tr ")) == 1


def test_the_first_line_is_the_verdict(tmp_path: Path):
    few = study(("dpo", "ipo"), final_seeds=1)
    text = page_html(analyse(few), results=tmp_path)
    assert "ipo is undecided: one seed decides nothing" in text
    wide = [record(run_spec("dpo", seed=s), split="test", target=1 + s / 100) for s in (7, 8, 9)]
    wide += [record(run_spec("kto", seed=s), split="test", target=s / 100) for s in (7, 8, 9)]
    wide += [record(run_spec(name), target=0.5) for name in ("dpo", "kto")]
    text = page_html(analyse([*start_records(), *wide]), results=tmp_path)
    assert "<strong>dpo is best, better than the start model by" in text
    assert "kto is worse by 1.00" in text


def test_a_page_without_runs_says_so(tmp_path: Path):
    assert "There are no finished runs yet" in write_page(tmp_path).read_text()


def test_links_to_a_setting_hold_when_others_come(tmp_path: Path):
    def named(records) -> set[str]:
        data = Parsed(page_html(analyse(records), results=tmp_path)).data
        return {s["id"] for s in data["groups"][0]["settings"] if s["objective"] in ("dpo", "start")}

    assert named(study(("dpo",))) == named(study(("dpo", "ipo", "kto")))


def test_five_hundred_runs_take_seconds_and_megabytes(tmp_path: Path):
    records = study([f"loss{at}" for at in range(62)])
    assert len(records) == 498
    write_samples(tmp_path / "samples", rows(("words " * 50,), prompts=256))
    content = (tmp_path / "samples").read_bytes()
    for one in records:
        folder = tmp_path / "runs" / one.key / "evals" / one.evaluation_key
        folder.mkdir(parents=True)
        (folder / "samples.jsonl.gz").write_bytes(content)
    started = time.process_time()
    text = page_html(analyse(records), results=tmp_path)
    assert time.process_time() - started < 5  # 1.5 s
    assert text.count("words words") > 100
    assert len(text) < 5e6


def test_the_command_writes_the_page_without_torch(tmp_path: Path):
    results = write_study(tmp_path, study(("dpo",)))
    probe = (
        f"import sys\nsys.argv = ['bench', 'page', '--out', {str(results)!r}]\nfrom bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "heavy = {'torch', 'transformers', 'optuna', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(results / "report.html")

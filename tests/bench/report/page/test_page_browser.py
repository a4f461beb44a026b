"""The page in a real browser: sorting, filtering, opening, keyboard alone, hostile texts, a phone, no network."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.report.page.render import write_page
from tests.bench.report.conftest import record, run_spec, study
from tests.bench.report.page.browsing import (
    CONTRAST,
    NARROW,
    WIDE,
    active,
    chromium,
    column,
    js,
    lacking,
    one,
    press,
    scheme,
    serving,
    size,
    wait_for,
)
from tests.bench.report.page.page_study import HOSTILE, ODD, rows, troubled, write_study


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    if why := lacking():
        if os.environ.get("LOSSBENCH_REQUIRE_CHROMIUM") == "1":
            pytest.fail(why)
        pytest.skip(why)
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """The page's address, and the list of the paths that were asked for."""
    results = write_study(tmp_path_factory.mktemp("results"), troubled(), samples=rows())
    (results / "figures").mkdir()
    picture = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><rect width="40" height="20"/></svg>'
    (results / "figures" / "score-vs-beta.svg").write_text(picture)
    written = write_page(results)
    with serving(written.parent) as (address, asked):
        yield f"{address}/{written.name}", asked


@pytest.fixture
def page(browser, served) -> Iterator:
    """The freshly opened page; afterwards its console must be empty."""
    size(browser, WIDE)
    scheme(browser, "light")
    browser.get("about:blank")
    browser.get(served[0])
    yield browser
    assert browser.get_log("browser") == []


def test_headers_sort_both_ways_with_what_is_missing_last(page):
    order = column(page, "target")
    head = one(page, "th.target")
    one(page, "th.target button").click()
    falling = [float(key) for key in column(page, "target") if key != "-"]
    assert head.get_attribute("aria-sort") == "descending"
    assert falling == sorted(falling, reverse=True)
    assert column(page, "target")[len(falling) :] == ["-"] * (len(order) - len(falling))
    one(page, "th.target button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "target") == [str(key) for key in falling[::-1]] + ["-"] * (len(order) - len(falling))
    one(page, "th.objective button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, "objective") == sorted(column(page, "objective"), key=lambda name: name.strip("<").lower())


def test_every_header_sorts(page):
    heads = page.find_elements("css selector", "thead th")
    assert len(heads) > 12
    for split in ("test", "validation"):
        one(page, f"input[value={split}]").click()
        for head in (head for head in heads if head.is_displayed()):
            head.find_element("tag name", "button").click()
            assert head.get_attribute("aria-sort")
            assert len(page.find_elements("css selector", "[aria-sort]")) == 1


def test_filter_and_toggles_hide_rows_and_count_the_rest(page):
    every = len(column(page, "objective"))
    find = one(page, "input[type=search]")
    find.send_keys("IP")
    assert set(column(page, "objective")) == {"ipo"}
    assert one(page, "output").text == f"6 of {every} rows"
    find.clear()
    find.send_keys("nothing has this name")
    assert column(page, "objective") == []
    find.clear()
    find.send_keys("p")
    find.send_keys("\ue003")
    assert len(column(page, "objective")) == every
    one(page, "input[name=best]").click()
    assert sorted(column(page, "objective")) == sorted([ODD, "dpo", "ipo", "kto", "start"])
    one(page, "input[name=best]").click()
    one(page, "input[value=completed]").click()
    assert column(page, "beta") == ["30.0"]
    one(page, "input[value=completed]").click()
    one(page, "input[value=diverged]").click()
    assert "30.0" not in column(page, "beta")


def test_the_split_can_be_changed(page):
    shown = "Array.from(document.querySelectorAll('th.target')).filter(e => e.offsetParent).map(e => e.className)"
    assert ["test" in name.split() for name in js(page, shown)] == [True]
    one(page, "input[value=validation]").click()
    assert ["validation" in name.split() for name in js(page, shown)] == [True]


def test_a_row_opens_closes_and_gives_the_focus_back(page):
    from selenium.webdriver.common.keys import Keys

    row = one(page, "tr.best")
    row.find_element("css selector", "td:nth-of-type(3)").click()
    wait_for(page, "document.querySelector('dialog').open")
    assert js(page, "location.hash") == f"#{row.get_attribute('data-row')}"
    for heading in ("Runs of", "Completions", "Cost", "Specs"):
        assert heading in one(page, "dialog").text
    press(page, Keys.ESCAPE)
    wait_for(page, "!document.querySelector('dialog').open && location.hash === ''")
    assert js(page, "document.activeElement.closest('tr').dataset.row") == row.get_attribute("data-row")


def test_every_run_has_a_link_of_its_own(page, served):
    data = json.loads(js(page, "document.getElementById('data').textContent"))
    for setting in data["groups"][0]["settings"]:
        for run in setting["runs"]:
            page.get(f"{served[0]}#run-{run['key']}-{run['evaluation']}")
            wait_for(page, f"document.querySelector('tr.asked code')?.textContent === '{run['key']}'")
            spec = json.loads(js(page, "document.querySelector('dialog details[open] pre').textContent"))
            assert (spec["key"], spec["spec"]["seed"]) == (run["key"], run["seed"])
            assert (run["error"] or "") in one(page, "tr.asked").text


def test_back_closes_what_was_opened(page):
    one(page, "tr.best th a").click()
    wait_for(page, "document.querySelector('dialog').open")
    page.back()
    wait_for(page, "!document.querySelector('dialog').open")


def test_keyboard_alone_sorts_opens_and_closes(page):
    from selenium.webdriver.common.keys import Keys

    press(page, Keys.TAB)
    assert active(page) == "Skip to the results"
    for _ in range(12):
        press(page, Keys.TAB)
        if active(page).startswith("objective"):
            break
    assert active(page).startswith("objective")
    assert js(page, "getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press(page, Keys.ENTER)
    assert one(page, "th.objective").get_attribute("aria-sort") == "ascending"
    press(page, Keys.SPACE)
    assert one(page, "th.objective").get_attribute("aria-sort") == "descending"
    for _ in range(30):
        press(page, Keys.TAB)
        if js(page, "document.activeElement.matches('tbody a')"):
            break
    name = active(page)
    press(page, Keys.ENTER)
    wait_for(page, "document.querySelector('dialog').open")
    assert one(page, "#detail-title").text.startswith(name)
    press(page, Keys.TAB)
    assert js(page, "document.activeElement.getAttribute('aria-label')") == "Close"
    press(page, Keys.ENTER)
    wait_for(page, "!document.querySelector('dialog').open")
    assert active(page) == name


def test_hostile_completions_are_shown_and_do_nothing(page):
    one(page, "tr.best th a").click()
    wait_for(page, "document.querySelectorAll('.sample').length === 12")
    texts = js(page, "Array.from(document.querySelectorAll('.sample .text'), e => e.textContent)")
    assert {text.strip() for text in HOSTILE if 0 < len(text) < 100} <= set(texts)
    assert js(page, "window.pwned === undefined")
    assert js(page, "document.querySelectorAll('dialog img, dialog script, dialog i').length") == 0
    assert js(page, "document.querySelectorAll('script').length") == 2
    # RTL marks stay inside their text: what follows still runs from the left
    assert js(page, "getComputedStyle(document.querySelector('.sample .text')).unicodeBidi") == "isolate"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(page, colours: str):
    size(page, NARROW)
    scheme(page, colours)
    wait_for(page, "innerWidth === 360")
    assert js(page, "document.documentElement.scrollWidth") == 360
    for link in range(len(page.find_elements("css selector", "tbody a"))):
        js(page, "document.querySelectorAll('tbody a')[arguments[0]].click()", link)
        wait_for(page, "document.querySelector('dialog').open")
        assert js(page, "document.querySelector('dialog').scrollWidth") <= 360
        assert js(page, "document.getElementById('detail-body').scrollWidth") <= 360
        assert js(page, "document.documentElement.scrollWidth") == 360
        js(page, "document.querySelector('.close').click()")
        wait_for(page, "!document.querySelector('dialog').open && location.hash === ''")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_text_has_enough_contrast(page, colours: str):
    scheme(page, colours)
    assert js(page, CONTRAST.replace("ratio < 4.5", "ratio < 21")) != []  # it does find texts
    js(page, "document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    ground = js(page, "getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(252, 252, 250)", "dark": "rgb(21, 24, 27)"}[colours]
    assert js(page, CONTRAST) == []
    for row in ("tr.best", "tr[data-statuses=diverged]"):
        js(page, f"document.querySelector('{row} th a').click()")
        wait_for(page, "document.querySelector('dialog').open")
        js(page, "document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert js(page, CONTRAST) == []
        js(page, "document.querySelector('.close').click()")
        wait_for(page, "location.hash === ''")


def test_no_request_leaves_the_page(page, served):
    address, asked = served
    page.get_log("performance")
    asked.clear()
    page.get("about:blank")
    page.get(address)
    one(page, "tr.best th a").click()
    wait_for(page, "document.querySelector('dialog').open")
    assert js(page, "document.querySelector('figure img').naturalWidth") > 0
    sent = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith("data:")} <= {address, "about:blank"}
    assert asked == ["/report.html"]


def test_it_opens_from_a_file_and_the_policy_stops_any_other_script(page, served, tmp_path: Path):
    records = [*study(("dpo",)), record(run_spec("ipo"))]
    page.get(write_page(write_study(tmp_path, records)).as_uri())
    one(page, "tr.best th a").click()
    wait_for(page, "document.querySelector('dialog').open")
    js(page, "document.querySelector('.close').click()")
    wait_for(page, "!document.querySelector('dialog').open && location.hash === ''")
    assert page.get_log("browser") == []
    js(page, "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.pwned = 1\">')")
    wait_for(page, "document.images.length === 1 && document.images[0].complete")
    assert js(page, "window.pwned === undefined")
    (refused,) = page.get_log("browser")
    assert "Content Security Policy" in refused["message"]

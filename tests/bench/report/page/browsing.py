"""Owns a real browser for tests: starting it, serving a page to it, and what tests do in it and ask of it."""

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
WIDE, NARROW = (1280, 900), (360, 740)
CONTRAST = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
  };
  const low = [];
  const root = document.querySelector('dialog[open]') ?? document.body;
  for (const e of root.querySelectorAll('*')) {
    const text = Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.offsetParent || e.closest('.skip')) continue;
    const [one, other] = [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) low.push([e.className, e.textContent.slice(0, 20), ratio]);
  }
  return low;
})()"""
"""Script that returns the shown texts whose contrast with their ground is below 4.5 (WCAG 2.2, AA)."""


def lacking() -> str | None:
    """Why there is no browser; None where there is one."""
    if CHROMIUM is None or DRIVER is None:
        return "no chromium and chromedriver on the path (Debian: apt-get install chromium chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    return None


@contextmanager
def chromium(profile: Path) -> Iterator:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of ``folder``, and the list of the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            asked.append(self.path)

        def end_headers(self):
            self.send_header("Cache-Control", "no-store")
            super().end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def size(browser, to: tuple[int, int]) -> None:
    given = {"width": to[0], "height": to[1], "deviceScaleFactor": 1, "mobile": to == NARROW}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", given)


def scheme(browser, name: str) -> None:
    given = {"features": [{"name": "prefers-color-scheme", "value": name}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", given)


def js(browser, script: str, *arguments):
    return browser.execute_script(f"return {script}", *arguments)


def one(browser, selector: str):
    return browser.find_element("css selector", selector)


def column(browser, name: str) -> list[str]:
    """The sort keys of one column's shown rows, from the top; «-» where a cell has none."""
    return js(browser, f"""Array.from(document.querySelectorAll('tbody tr')).filter(r => r.offsetParent).map(r =>
        r.cells[document.querySelector('th.{name}').cellIndex].dataset.key ?? '-')""")  # fmt: skip


def press(browser, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def active(browser) -> str:
    return js(browser, "document.activeElement.innerText || document.activeElement.tagName")


def wait_for(browser, script: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10).until(lambda driver: js(driver, script))

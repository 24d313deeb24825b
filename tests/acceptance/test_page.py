"""The operator's page in a real browser, on the demonstration: what a person at the line does with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alloysort_datasets.families import FAMILIES
from alloysort_datasets.table.store import read_pieces

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {"phone": (390, 844), "desktop": (1440, 900)}
PICTURES = os.environ.get("ALLOYSORT_PICTURES")  # a folder: the page is photographed into it

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address that `alloysort serve --demo` prints last, and its log; one output has no counterpart."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "outputs.toml").write_text(
        '[modbus]\nhost = "127.0.0.1"\nport = 1\nheartbeat_register = 0\ncoils = {wrought = 1}\n'
    )
    log = folder / "log.sqlite"
    command = [sys.executable, "-m", "alloysort", "serve", "--demo", "--port", "0", "--log", str(log)]
    environment = {**os.environ, "ALLOYSORT_OUTPUTS": str(folder / "outputs.toml")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        try:
            yield lines[-1].strip(), log
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(request, chromium, demo):
    """The page, opened; nothing may complain on the console."""
    width, height = SIZES[request.param]
    scheme = "dark" if request.param == "phone" else "light"
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on(
        "console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.alloysort_size = request.param
    page.goto(demo[0])
    page.get_by_role("status").filter(has_text=re.compile("running|alarm")).wait_for()
    yield page
    context.close()
    assert complaints == []


def photograph(page, name):
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"page-{name}-{page.alloysort_size}.png", full_page=False)


def wait_for(page, expression, within_s=60.0):
    """Wait until an expression is true; the page's own policy forbids what Playwright would do for it."""
    end = time.monotonic() + within_s
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(100)


def counted(page):
    return int(re.sub(r"\D", "", page.get_by_text(re.compile(r"pieces in all")).inner_text()))


def test_numbers_move_and_it_says_what_is_simulated(page):
    page.get_by_text("Simulated pieces.").wait_for()
    before = counted(page)
    until = time.monotonic() + 30
    while counted(page) <= before:
        assert time.monotonic() < until
        page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wait_for(page, "document.querySelectorAll('.piece img').length > 2")
    photograph(page, "run")


def test_a_spectrum_zooms(page):
    page.locator(".spectrum .u-over").wait_for()
    page.get_by_role("button", name="Hold").click()
    scale = "document.querySelector('.spectrum').drawn.plot.scales.x"
    whole = page.evaluate(f"{scale}.max - {scale}.min")
    page.get_by_role("button", name="Zoom in").click()
    wait_for(page, f"{scale}.max - {scale}.min < {0.6 * whole}")
    over = page.locator(".spectrum .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    zoomed = page.evaluate(f"{scale}.max - {scale}.min")
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
    page.mouse.up()
    wait_for(page, f"{scale}.max - {scale}.min < {0.5 * zoomed}")
    page.get_by_role("button", name="all", exact=True).click()
    wait_for(page, f"Math.abs({scale}.max - {scale}.min - {whole}) < 1")


def test_an_alarm_appears_and_is_acknowledged(page):
    alarm = page.locator(".alarm", has_text="No connection to modbus")
    alarm.wait_for()
    if alarm.get_by_role("button", name="Acknowledge").count():
        alarm.get_by_role("button", name="Acknowledge").click()
    page.locator(".alarm", has_text="seen by").wait_for()


def test_the_slider_shows_what_it_would_do_and_changes_what_is_sorted(page, demo):
    wait_for(page, "document.body.innerText.match(/([\\d,]+) pieces in all/)?.[1].replaceAll(',', '') > 60")
    page.get_by_role("link", name="Recipe").click()
    card = page.locator("section.card", has=page.get_by_role("heading", name="wrought", exact=True))
    slider = card.get_by_role("slider")
    slider.wait_for()
    part = card.locator(".foreseen > div", has_text="of all pieces").locator(".figure")
    before = float(part.inner_text().split()[0])
    page.wait_for_timeout(300)
    photograph(page, "recipe")
    slider.press("End")
    if float(part.inner_text().split()[0]) == before:
        slider.press("Home")
    asked = slider.get_attribute("aria-valuetext")
    card.get_by_role("button", name="Apply").click()
    page.get_by_text("decides from now on").wait_for()
    until = time.monotonic() + 10
    while asked != f"confidence {100 * bar_in_use(page, demo[0]):.1f} %":
        assert time.monotonic() < until
        page.wait_for_timeout(100)


def bar_in_use(page, address):
    told = page.request.get(address + "v1/live").json()
    return next(outlet["bar"] for outlet in told["outlets"] if outlet["name"] == "wrought")


def test_a_piece_is_labelled_by_keyboard_and_stands_in_the_export(page, demo, tmp_path):
    page.get_by_role("link", name="Label").click()
    page.get_by_role("heading", name=re.compile("^Piece 1 of")).wait_for()
    page.locator(".spectrum .u-over, .spectrum .empty").first.wait_for()
    photograph(page, "label")
    page.keyboard.press("s")
    page.get_by_text(re.compile(" is brass")).wait_for()
    page.get_by_role("link", name="System").click()
    page.get_by_text("Decision log: good").wait_for()
    photograph(page, "system")
    out = tmp_path / "table"
    command = [sys.executable, "-m", "alloysort", "log", "export", str(demo[1]), str(out), "--labelled"]
    subprocess.run(command, check=True, timeout=120)
    assert {piece.family for piece in read_pieces(out)} == {"brass"}


def test_everybody_can_use_it(page):
    from axe_playwright_python.sync_playwright import Axe

    assert len(FAMILIES) <= len("1234567qwerasdfgzxcvb")
    for view in ("Run", "Recipe", "Label", "System"):
        page.get_by_role("link", name=re.compile(f"^{view}")).first.click()
        page.wait_for_timeout(1500)
        found = Axe().run(page).response["violations"]
        grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
        assert [(fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in grave] == []


def test_it_needs_nothing_from_outside(page, demo):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.locator(".spectrum .u-over").wait_for()
    assert asked
    assert all(url.startswith((demo[0], "blob:", "data:")) for url in asked)

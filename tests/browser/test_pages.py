"""
The example's search page and its admin, as a person uses them: ``make test-browser``.

Screenshots of each page, in two widths, light and dark, are left in the folder that
DORM_VECTOR_TEST_BROWSER names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

selenium = pytest.importorskip("selenium", reason="selenium cannot be imported here: .")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)
# What ends to the right of the window, but for what can be scrolled and what is out of sight.
OUTSIDE = """
    const ends = each => Math.floor(each.getBoundingClientRect().right);
    return [...document.body.querySelectorAll("*")]
        .filter(each => ends(each) > arguments[0] && !each.closest(".results, .skip"))
        .map(each => `${each.tagName}.${each.className} ends at ${ends(each)}`);
"""
# Of the checkboxes of Django's change list; later versions of axe-core do not have the rule.
DJANGOS = ("checkboxgroup",)
WIDTHS = (1280, 360)
ENTRIES = """
from django.contrib.auth.models import User
from example_project.library.embedding import embed
from example_project.library.models import Entry
User.objects.create_superuser("root", password="root")
about = {
    "bz2.compress": "Compress data in one shot.",
    "gzip.compress": "Compress data in one shot and return the compressed string.",
    "email.errors.InvalidBase64PaddingDefectOfAVeryLongName": "Compress nothing at all.",
    "lzma.compress": "Compress a block of data.",
    "statistics.median": "Return the median (middle value) of numeric data.",
    "os.fsync": "Force write of a file to disk.",
}
for name, summary in about.items():
    vector = embed([f"{name.replace('.', ' ')}: {summary}"])[0]
    Entry.objects.create(
        name=name, module=name.split(".")[0], kind="function", signature="(data)",
        summary=summary, doc=summary, embedding=vector,
    )
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: Any) -> Iterator[str]:
    """The example, served from a database with a few entries."""
    folder = tmp_path_factory.mktemp("example")
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    manage = [sys.executable, "example_project/manage.py"]
    for arguments in (["migrate", "--verbosity", "0"], ["shell", "--command", ENTRIES]):
        subprocess.run([*manage, *arguments], cwd=ROOT, env=environment, check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*manage, "serve", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: Any) -> Iterator[Any]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("Chromium is not installed.")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    driver.implicitly_wait(10)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: Any) -> Path:
    folder = os.environ.get("DORM_VECTOR_TEST_BROWSER")
    if not folder:
        return Path(tmp_path_factory.mktemp("pictures"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture(scope="module")
def signed_in(browser: Any, address: str) -> Any:
    browser.get(f"{address}/admin/")
    browser.find_element(By.NAME, "username").send_keys("root")
    browser.find_element(By.NAME, "password").send_keys("root")
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    shows(browser, "Site administration")
    return browser


def shows(browser: Any, text: str) -> None:
    """Wait for a page that has the text."""
    WebDriverWait(browser, 30).until(lambda page: text in page.page_source, f"no {text!r}")


def photograph(browser: Any, pictures: Path, name: str) -> None:
    """The page in each width and scheme; it must not be wider than the window."""
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        for width in WIDTHS:
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.save_screenshot(str(pictures / f"{name}-{width}-{scheme}.png"))
            assert browser.execute_script(OUTSIDE, width) == [], f"{name} in {width} pixels"
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def accessible(browser: Any, *, without: tuple[str, ...] = ()) -> None:
    """No serious finding of axe-core's, but for some rules."""
    axe = pytest.importorskip("axe_selenium_python", reason="axe cannot be imported here: .")
    # Colours change gradually where the scheme does.
    at_rest = "return document.getAnimations().every(each => each.playState === 'finished')"
    WebDriverWait(browser, 10).until(lambda page: page.execute_script(at_rest))
    scan = axe.Axe(browser)
    scan.inject()
    found = [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in scan.run()["violations"]
        if each["impact"] in ("serious", "critical") and each["id"] not in without
        for node in each["nodes"]
    ]
    assert found == []


class TestSearchPage:
    def test_searching(self, browser: Any, address: str, pictures: Path) -> None:
        browser.get(address)
        box = browser.find_element(By.NAME, "q")
        box.send_keys("compress a file")
        box.submit()
        text = browser.find_element(By.TAG_NAME, "body").text
        assert "bz2.compress" in text
        assert "gzip.compress" in text
        photograph(browser, pictures, "search")
        accessible(browser)

    def test_a_hit(self, browser: Any, address: str, pictures: Path) -> None:
        """Its page is reached by the keyboard alone, and has its words marked."""
        browser.get(f"{address}/?q=compress+a+file")
        link = browser.find_element(By.CSS_SELECTOR, "#hit-1 h3 a")
        name = link.text
        link.send_keys(Keys.ENTER)
        shows(browser, "More like this")
        assert browser.find_element(By.CSS_SELECTOR, "h2.name").text == f"{name}(data)"
        marks = [mark.text for mark in browser.find_elements(By.CSS_SELECTOR, "pre mark")]
        assert marks[0] == "Compress"
        photograph(browser, pictures, "search-entry")
        accessible(browser)

    def test_by_keyboard(self, browser: Any, address: str, pictures: Path) -> None:
        """The first stop leads past the form; points of the map are stops, and lead to hits."""
        browser.get(f"{address}/?q=compress+a+file")
        browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
        skip = browser.switch_to.active_element
        assert (skip.text, skip.is_displayed()) == ("To the hits", True)
        point = browser.find_element(By.CSS_SELECTOR, ".map a[href='#hit-2']")
        browser.execute_script("arguments[0].focus()", point)
        assert browser.switch_to.active_element == point
        width = "return getComputedStyle(arguments[0].querySelector('circle')).strokeWidth"
        photograph(browser, pictures, "search-focus")
        point.send_keys(Keys.ENTER)
        assert browser.current_url.endswith("#hit-2")
        assert browser.execute_script(width, point) != ""

    def test_filters(self, browser: Any, address: str, pictures: Path) -> None:
        browser.get(f"{address}/?q=data")
        Select(browser.find_element(By.NAME, "module")).select_by_value("gzip")
        browser.find_element(By.CSS_SELECTOR, "form button").click()
        shows(browser, "any kind (1)")
        names = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "h3 a")]
        assert names == ["gzip.compress"]
        assert "module=gzip" in browser.current_url

    def test_a_weak_match(self, browser: Any, address: str, pictures: Path) -> None:
        browser.get(f"{address}/?q=lasagne&mode=meaning")
        assert "Nothing here is close" in browser.find_element(By.CSS_SELECTOR, ".notice").text
        photograph(browser, pictures, "search-weak")
        accessible(browser)

    def test_an_error(self, browser: Any, address: str, pictures: Path) -> None:
        browser.get(f"{address}/?q=data&kind=x&page=0")
        assert "There is no kind “x”." in browser.find_element(By.TAG_NAME, "form").text
        photograph(browser, pictures, "search-error")
        accessible(browser)

    def test_more_like_this(self, browser: Any, address: str, pictures: Path) -> None:
        browser.get(f"{address}/like/bz2.compress/")
        assert "lzma.compress" in browser.find_element(By.TAG_NAME, "body").text
        photograph(browser, pictures, "search-like")
        accessible(browser)

    def test_nothing_found(self, browser: Any, address: str, pictures: Path) -> None:
        browser.get(f"{address}/?q=%21%21%21")
        assert "no words in it" in browser.find_element(By.TAG_NAME, "main").text
        photograph(browser, pictures, "search-nothing")
        accessible(browser)


class TestAdmin:
    def test_list(self, signed_in: Any, address: str, pictures: Path) -> None:
        signed_in.get(f"{address}/admin/library/entry/")
        text = signed_in.find_element(By.ID, "result_list").text
        assert ", ... 256]" in text
        assert len(signed_in.page_source) < 200_000
        photograph(signed_in, pictures, "admin-list")
        accessible(signed_in, without=DJANGOS)

    def test_by_similarity(self, signed_in: Any, address: str, pictures: Path) -> None:
        signed_in.get(f"{address}/admin/library/entry/?by=similarity&q=middle+number")
        rows = signed_in.find_elements(By.CSS_SELECTOR, "#result_list tbody th")
        assert rows[0].text == "statistics.median"
        photograph(signed_in, pictures, "admin-similarity")

    def test_change(self, signed_in: Any, address: str, pictures: Path) -> None:
        self._open(signed_in, address, "bz2.compress")
        panel = signed_in.find_element(By.CSS_SELECTOR, "table.nearest").text
        assert "gzip.compress" in panel
        assert "lzma.compress" in panel
        folded = signed_in.find_element(By.CSS_SELECTOR, "details.vector")
        assert not signed_in.find_element(By.NAME, "embedding").is_displayed()
        photograph(signed_in, pictures, "admin-change")
        accessible(signed_in)
        folded.find_element(By.TAG_NAME, "summary").click()
        assert signed_in.find_element(By.NAME, "embedding").is_displayed()
        photograph(signed_in, pictures, "admin-unfolded")
        self._save(signed_in)
        shows(signed_in, "was changed successfully")

    def test_a_bad_vector(self, signed_in: Any, address: str, pictures: Path) -> None:
        self._open(signed_in, address, "gzip.compress")
        signed_in.find_element(By.CSS_SELECTOR, "details.vector summary").click()
        box = signed_in.find_element(By.NAME, "embedding")
        box.clear()
        box.send_keys("1, 2, three")
        self._save(signed_in)
        assert (
            "Component 2 is 'three', not a number."
            in signed_in.find_element(By.CSS_SELECTOR, ".field-embedding .errorlist").text
        )
        assert signed_in.find_element(By.NAME, "embedding").is_displayed()
        photograph(signed_in, pictures, "admin-refused")

    def test_add(self, signed_in: Any, address: str, pictures: Path) -> None:
        signed_in.get(f"{address}/admin/library/entry/add/")
        for name, text in {
            "name": "shop.add", "module": "shop", "summary": "Add.", "doc": "Add.",
            "embedding": " ".join(["0.5"] * 256),
        }.items():  # fmt: skip
            signed_in.find_element(By.NAME, name).send_keys(text)
        signed_in.find_element(By.CSS_SELECTOR, "[name=kind] option[value=function]").click()
        photograph(signed_in, pictures, "admin-add")
        self._save(signed_in)
        shows(signed_in, "was added successfully")

    def test_near_duplicates(self, signed_in: Any, address: str, pictures: Path) -> None:
        signed_in.get(f"{address}/admin/library/entry/")
        signed_in.find_element(By.ID, "action-toggle").click()
        signed_in.find_element(By.CSS_SELECTOR, "option[value=find_near_duplicates]").click()
        signed_in.find_element(By.CSS_SELECTOR, ".actions button[type=submit]").click()
        shows(signed_in, "Near duplicates |")
        photograph(signed_in, pictures, "admin-duplicates")

    def _open(self, browser: Any, address: str, name: str) -> None:
        browser.get(f"{address}/admin/library/entry/?q={name}")
        browser.find_element(By.CSS_SELECTOR, "#result_list tbody th a").click()

    def _save(self, browser: Any) -> None:
        browser.find_element(By.NAME, "_save").click()

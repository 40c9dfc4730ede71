"""The main flow in a real browser: ask, look ahead, approve, watch, read; and who else may look."""

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
from finished import finished

pytest.importorskip("fastapi", reason="pip install 'unsee[web]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium on the PATH")
UNSEE = [sys.executable, "-m", "unsee"]
WAIT = 120_000  # milliseconds, on a busy machine
SETTINGS = ("--arch", "convnet", "--train-epochs", "2")
SLOW = """
import time
import unsee
from torch.nn.functional import cross_entropy
from unsee.data import batches
from unsee.training import descend

@unsee.method(title="Slowly", paper="a test: long enough for a person to watch")
def slowly(model, forget, retain, *, rng, steps: int = 12):
    def losses():
        for x, y in batches(retain, epochs=None, size=32, rng=rng):
            time.sleep(0.5)
            yield cross_entropy(model(x), y)
    return descend(model, (loss for loss, _ in zip(losses(), range(steps))), lr=1e-3, steps=steps)
"""


def free_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("web"), free_port()
    places = ("--ledger", str(folder / "ledger.sqlite"), "--folder", str(folder / "jobs"))
    subprocess.run([*UNSEE, "keys", "new", "--out", str(folder / "key.pem")], check=True)
    signs = ("--key", str(folder / "key.pem"))
    (folder / "slow.py").write_text(SLOW)
    (folder / "jobs").mkdir()
    for name in ("first", "second"):
        finished(folder / "jobs" / name, arrays=True)
    method = ("--method", f"{folder / 'slow.py'}:slowly")
    command = [*UNSEE, "serve", *places, "--port", str(port), *signs, *SETTINGS, *method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        links, role = {}, ""
        while len(links) < 3 and (line := process.stdout.readline()):
            if found := re.match(r"(\w+) +(http\S+)", line):
                role, link = found.groups()
            elif found := re.match(r" +token (\S+)", line):
                links[role] = [link, found[1]]
        for _ in range(300):
            with socket.socket() as door:
                if door.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield {"links": links, "places": places, "at": f"http://127.0.0.1:{port}", "folder": folder}
        process.terminate()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Tab:
    """One visitor's page, and what it asks for and complains of."""

    def __init__(self, browser, server, role, width=1200, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(WAIT)
        self.at, self.said, self.outside = server["at"], [], []
        context.on("console", lambda told: self.said.append(told.text))  # of windows it opens, too
        context.on("weberror", lambda told: self.said.append(str(told.error)))
        context.on("request", self._look)
        self.page = context.new_page()
        self.enter(server["links"], role)

    def enter(self, links, role):
        """Come in by the link, the first time, and by the token afterwards."""
        if len(links[role]) == 2:
            self.page.goto(links[role].pop(0))
        else:
            self.go("/login").fill("#token", links[role][0])
            self.page.keyboard.press("Enter")
            self.page.wait_for_selector("nav")

    def _look(self, request):
        if not request.url.startswith((self.at, "data:")):
            self.outside.append(request.url)

    def go(self, path):
        self.page.goto(f"{self.at}{path}")
        return self.page


def sound(tab):
    """No word on the console, no request outside, nothing wider than the window."""
    assert tab.said == [] and tab.outside == []
    inner = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert tab.page.evaluate(inner)


def accessible(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    found = axe.Axe().run(page).response["violations"]
    assert [x["id"] for x in found if x["impact"] in ("serious", "critical")] == []


def verified_by_openssl(certificate, public, folder):
    """DSSE by hand: the bytes that were signed, and OpenSSL's verdict on them."""
    envelope = json.loads(certificate.read_text())
    kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    files = {"pae": signed, "sig": signature, "pem": public.encode()}
    for name, content in files.items():
        (folder / f"by-hand.{name}").write_bytes(content)
    command = "openssl pkeyutl -verify -pubin -inkey by-hand.pem -rawin -in by-hand.pae"
    subprocess.run([*command.split(), "-sigfile", "by-hand.sig"], cwd=folder, check=True)


def test_a_request_goes_from_the_form_to_its_report(browser, server):
    asks = Tab(browser, server, "requester")
    page = asks.page
    page.click("text=New request")
    page.fill("#subject", "case-4711")
    page.fill("#rule", "class=3")
    page.click("button:has-text('Preview')")
    page.wait_for_selector("#preview table")
    assert "146 of 1437 training images" in page.inner_text("#preview")
    accessible(page)
    page.click("button:has-text('Register')")
    page.wait_for_selector("h1:has-text('Request 1')")
    assert page.locator("button:has-text('Approve')").count() == 0  # not by who asks
    sound(asks)

    decides = Tab(browser, server, "approver", width=400, scheme="dark")
    decides.go("/requests/1").click("button:has-text('Preview')")
    decides.page.wait_for_selector("#preview table")
    assert "class=3" in decides.page.inner_text("main")
    accessible(decides.page)
    decides.page.click("button:has-text('Approve')")
    decides.page.wait_for_selector(".state.approved")
    accessible(decides.page)
    sound(decides)

    asks.go("/requests/1").locator("[data-watch]", has_text="Waiting for a worker").wait_for()
    worker = subprocess.Popen([*UNSEE, "worker", *server["places"], "--once", "--quiet"])
    words = page.locator("[data-progress] .words")
    words.filter(has_text=re.compile(r"unlearn, about \d+ s left")).wait_for()
    assert page.locator("progress").get_attribute("value")
    words.wait_for(state="detached")  # the page reloads itself when the run has finished
    assert worker.wait() == 0
    assert asks.go("/requests/1").locator(".state.audited").count() == 1
    accessible(page)

    page.click("text=job-00001")
    page.locator("canvas").nth(1).wait_for()
    assert page.inner_text(".result").startswith("Asked to forget class “3” of digits")
    page.select_option("#pick", "5")
    assert "forgotten image 6" in page.inner_text(".picked")
    assert "keeps no pictures" in page.inner_text(".picked")  # a ledger's runs are redacted
    accessible(page)
    sound(asks)
    with page.expect_popup() as opened:
        page.click("text=The report")
    opened.value.wait_for_load_state()
    assert "slowly" in opened.value.inner_text("body")
    sound(asks)

    decides.go("/runs/job-00001").click("button:has-text('Certify')")
    with decides.page.expect_download() as saved:
        decides.page.click("text=Download the certificate")
    certificate = server["folder"] / "saved.json"
    saved.value.save_as(certificate)
    public = (server["folder"] / "key.pub.pem").read_text()
    verified_by_openssl(certificate, public, server["folder"])

    looks = Tab(browser, server, "auditor", width=400, scheme="dark")
    looks.go("/certificates").set_input_files("#certificate", certificate)
    looks.page.fill("#key", public)
    looks.page.click("button:has-text('Verify')")
    looks.page.wait_for_selector("text=Every check passed")
    accessible(looks.page)
    sound(looks)
    for path in ("/", "/requests/1", "/runs", "/runs/job-00001", "/models", "/certificates"):
        looks.go(path)
        accessible(looks.page)
        sound(looks)
    assert looks.go("/requests/1").locator("form[action^='/requests']").count() == 0


AT = """n => {
    const panel = document.querySelector(".panel"), chart = echarts.getInstanceByDom(panel);
    const point = chart.getOption().series[2].data[n], box = panel.getBoundingClientRect();
    const [x, y] = chart.convertToPixel({ seriesIndex: 2 }, point);
    return [box.x + x, box.y + y];
}"""
FITS = """() => [...document.querySelectorAll(".panel")].map((panel) =>
    panel.querySelector("canvas").getBoundingClientRect().width <= panel.clientWidth)"""
MARKED = """() => [...document.querySelectorAll(".panel")].map(
    (panel) => echarts.getInstanceByDom(panel).getOption().series[3].data)"""


def test_a_point_shows_its_picture_under_the_mouse_and_is_marked_in_every_panel(browser, server):
    tab = Tab(browser, server, "auditor")
    page = tab.go("/runs/first")
    page.locator("canvas").nth(2).wait_for()
    page.locator(".panel").first.scroll_into_view_if_needed()
    assert page.evaluate(FITS) == [True, True, True]
    data = page.evaluate("fetch('/runs/first/map').then((answer) => answer.json())")
    assert data["models"] == ["original", "unlearned", "retrained"]
    for n in data["pictures"]:  # until one is not behind another point
        place = page.evaluate(AT, int(n))
        page.mouse.move(*place)
        page.locator(".picked", has_text="forgotten image").wait_for()
        page.wait_for_timeout(50)
        if page.locator(".picked img").count():
            break
    assert page.locator(".picked img").get_attribute("src").startswith("data:image/png;base64,")
    assert page.evaluate(MARKED) == [[], [], []]
    page.mouse.click(*place)
    shown = int(re.search(r"forgotten image (\d+)", page.inner_text(".picked"))[1]) - 1
    assert page.evaluate(MARKED) == [[data["points"][m]["gone"][shown]] for m in data["models"]]
    assert page.input_value("#pick") == str(shown)
    sound(tab)


@pytest.mark.parametrize("width, scheme", [(400, "dark"), (1200, "light")])
def test_two_runs_are_put_side_by_side_by_keyboard_alone(browser, server, width, scheme):
    tab = Tab(browser, server, "auditor", width=width, scheme=scheme)
    page = tab.go("/runs")
    here = "document.activeElement.ariaLabel || document.activeElement.textContent"
    while (at := page.evaluate(here)) != "Compare what is ticked":
        if at in ("Compare first", "Compare second"):
            page.keyboard.press("Space")
        page.keyboard.press("Tab")
    assert page.locator("input:checked").count() == 2
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?*")
    assert {"first", "second"} <= {*page.inner_text("body").split()}
    sound(tab)
    copy = Tab(browser, server, "auditor", width=width, scheme=scheme).page
    copy.set_content(page.content())  # where it came from it runs no script, that of axe neither
    accessible(copy)


def test_a_wrong_token_is_said_so_and_the_keyboard_is_enough(browser, server):
    page = browser.new_page()
    page.goto(f"{server['at']}/login")
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.type("not the right token")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]")

"""The page in a real browser, on the tiny model: answers stream, settings apply, and axe finds no serious fault.

Optional: needs Chromium, and ``pip install playwright axe-playwright-python``.
"""

import contextlib
import dataclasses
import io
import json
import re
import shlex
import shutil

import pytest
from optional import optional

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the package axe-playwright-python is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    optional,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("default"),  # Playwright's own
]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
expect = sync_api.expect if CHROMIUM else None


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Starts a browser with an empty profile."""
    with sync_api.sync_playwright() as playwright:
        folder = tmp_path_factory.mktemp("profile")
        context = playwright.chromium.launch_persistent_context(folder, executable_path=CHROMIUM, args=FLAGS)
        yield context
        context.close()


@pytest.fixture
def console():
    """Returns what the browser's console says."""
    return []


@pytest.fixture
def page(browser, address, console):
    """Opens the page; whatever the console has said in the end is an error."""
    page = browser.new_page()
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.goto(address)
    page.locator("#length").fill("12")
    expect(page.locator(".column")).to_have_count(3)
    yield page
    page.close()
    assert console == []


def put(page, question, options=("Yes", "No")):
    """Asks a question and waits for the answers."""
    page.locator("#question").fill(question)
    for name, text in zip(("#option-a", "#option-b"), options, strict=True):
        page.locator(name).fill(text)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#status")).to_have_text(re.compile("^Answered"), timeout=60_000)


def requests_of(page):
    """Collects the chat requests that the page sends from now on."""
    sent = []

    def keep(request):
        if request.url.endswith("chat/completions"):
            sent.append(json.loads(request.post_data))

    page.on("request", keep)
    return sent


def test_answers_stream_side_by_side_and_are_coloured_and_weighed(page):
    put(page, "Hi", ("Yes", "No"))
    texts = page.locator(".answer").all_inner_texts()
    assert len(texts) == 3 and all(texts) and len(set(texts)) > 1
    assert page.locator(".column:first-child .answer span").count() > 0
    assert page.locator(".weigh .bar i").count() == 6
    assert page.locator(".weigh .bar b").count() == 4  # the base model's columns are its own reference
    assert [row for row in page.locator(".verdict").all_inner_texts() if not re.match(r"Prefers (A|B|neither) by", row)] == []


def test_a_stream_shows_text_before_its_end(page):
    count = """answer => {
      window.pieces = 0;
      new MutationObserver(() => window.pieces += answer.classList.contains("busy")).observe(answer, {childList: true});
    }"""
    page.locator(".answer").first.evaluate(count)
    page.locator("#length").fill("40")
    put(page, "Hi")
    assert page.evaluate("() => window.pieces") > 2  # a busy machine joins pieces


def test_stopping_ends_answers_that_are_on_their_way(page):
    page.route("**/chat/completions", lambda route: None)  # never answered
    page.locator("#question").fill("Hi")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".answer.busy")).to_have_count(3)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state").first).to_have_text("stopped")
    expect(page.locator(".answer.busy")).to_have_count(0)


def test_asking_again_ends_answers_that_are_on_their_way(page):
    page.route("**/chat/completions", lambda route: None)
    page.locator("#question").fill("Hi")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".answer.busy")).to_have_count(3)
    page.unroute("**/chat/completions")
    put(page, "Hi")
    assert all(page.locator(".answer").all_inner_texts())
    assert page.locator(".state").all_inner_texts() == ["cut at 12 tokens"] * 3


def test_switching_applies_to_the_next_answer(page):
    sent = requests_of(page)
    put(page, "Hi")
    first = page.locator(".column").first
    first.locator(".persona").select_option("c")
    expect(first.locator(".next")).to_be_visible()
    first.locator(".gamma").fill("0.5")
    last = page.locator(".column").last
    last.locator(".persona").select_option("a mixture")
    last.locator(".mix").fill("70")
    put(page, "Hi")
    picked = [{key: body[key] for key in ("model", "persona") if key in body} for body in sent]
    assert sorted(picked[:3], key=str) == [{"model": "a"}, {"model": "b"}, {"model": "tiny"}]
    assert {"model": "c", "persona": {"gamma": 0.5}} in picked[3:]
    assert {"model": "tiny", "persona": {"mix": {"a": 0.3, "b": 0.7}}} in picked[3:]
    assert {body["seed"] for body in sent} == {42}


def test_a_condition_puts_the_persona_on_or_not(page):
    first = page.locator(".column").first
    assert not first.locator(".condition").is_checked()
    first.locator(".condition").check()
    put(page, "Tea?")
    expect(first.locator(".state")).to_have_text("not about money: base model")
    assert page.locator(".answer").nth(0).inner_text() == page.locator(".answer").nth(1).inner_text()
    put(page, "5 $?")
    expect(first.locator(".state")).to_have_text("about money: a")


def test_the_keyboard_is_enough(page):
    page.locator("#question").fill("Hi")
    page.locator("#option-a").fill("")
    page.locator("#question").press("Enter")
    expect(page.locator("#status")).to_have_text(re.compile("^Answered"), timeout=60_000)
    answer = page.locator(".answer").first
    answer.focus()
    answer.press("ArrowRight")
    expect(page.locator(".readout").first).to_have_text(re.compile(r"in the base model\. .*log-ratio"))
    page.locator("summary").first.press("Enter")
    expect(page.locator(".card").first).to_contain_text("50.0 points from b (95\u202f% interval 25.0 to 75.0; 8 questions")
    expect(page.locator(".card[open]")).to_have_count(3)


def test_two_columns_are_enough(page):
    page.locator("#columns").select_option("2")
    expect(page.locator(".column")).to_have_count(2)
    put(page, "Hi")
    assert page.locator(".persona").evaluate_all("selects => selects.map((select) => select.value)") == ["a", "b"]


def test_refusals_of_the_server_are_shown_in_its_words(page, console):
    page.locator("#length").fill("190")
    put(page, "Hi")
    expect(page.locator(".state.bad")).to_have_count(3)
    expect(page.locator(".state").first).to_contain_text("max_tokens is 190")
    assert all(line.startswith("Failed to load resource") for line in console)  # Chromium's own words
    console.clear()


def test_a_server_with_a_key_is_asked_with_it(page, service, monkeypatch, console):
    monkeypatch.setattr(service, "settings", dataclasses.replace(service.settings, api_key="s3cret"))
    page.reload()
    expect(page.locator("#status")).to_contain_text("wants an API key")
    page.get_by_label("API key").fill("s3cret")
    page.get_by_label("API key").press("Tab")
    expect(page.locator(".column")).to_have_count(3)
    page.locator("#length").fill("12")
    put(page, "Hi")
    assert all(page.locator(".answer").all_inner_texts())
    page.get_by_role("button", name="curl").first.click()
    expect(page.locator("#snippet pre")).to_contain_text("$API_KEY")
    expect(page.locator("#snippet pre")).not_to_contain_text("s3cret")
    assert [line for line in console if "401" not in line] == []
    console.clear()


def test_html_in_texts_stays_text(page):
    put(page, "<img src=x onerror=alert(1)>", ("<b>bold</b>", "<i>x</i>"))
    assert page.locator("main img, main b:not(.tag, .bar b), main script").count() == 0


def test_copies_are_programs_that_do_what_the_page_does(page):
    page.locator(".gamma").first.fill("0.25")
    put(page, 'It\'s "Hi" \\ $5\n€')
    shown = page.locator(".answer").first.text_content()
    first = page.locator(".column").first
    first.get_by_role("button", name="curl").click()
    words = shlex.split(page.locator("#snippet pre").inner_text().replace("\\\n", " "))
    body = json.loads(words[words.index("-d") + 1])
    assert words[0] == "curl" and body["messages"][0]["content"] == 'It\'s "Hi" \\ $5\n€'
    page.get_by_role("button", name="Close").click()
    first.get_by_role("button", name="openai-python").click()
    program, printed = page.locator("#snippet pre").inner_text(), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    assert printed.getvalue() == shown
    page.get_by_role("button", name="Close").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_serious_fault_and_nothing_overflows(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    put(page, "Hi")
    page.locator("summary").first.click()
    found = axe.Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["target"]) for fault in found if fault["impact"] in ("serious", "critical")] == []
    assert page.evaluate("() => document.documentElement.scrollWidth") == width

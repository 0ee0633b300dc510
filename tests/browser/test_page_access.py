"""Keyboard, screen reader and eye: what every page owes to everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browser_acts import LEAVE, PASSWORD, Account, ask, pdf_with
from playwright.sync_api import BrowserContext, FilePayload, Page, expect

from infra.access import Role

ADMIN_PAGES = ["/", "/documents", "/people", "/account", "/api-docs", "/sources/unknown"]
AUDITOR_PAGES = ["/record"]
DOORS = ["/sign-in", "/join#token"]
CONTROLS = {
    "button",
    "checkbox",
    "combobox",
    "dialog",
    "image",
    "link",
    "navigation",
    "progressbar",
    "region",
    "searchbox",
    "switch",
    "textbox",
}

# The colours that are really painted: text against the nearest painted backgrounds below it. WCAG 2.2,
# success criterion 1.4.3; large is 24 px, or 18.66 px in bold.
LOW_CONTRAST = """() => {
  const styleOf = (element) => getComputedStyle(element);
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return {r, g, b, a};
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a),
    b: top.b * top.a + below.b * (1 - top.a), a: 1});
  const luminance = ({r, g, b}) => {
    const linear = (c) => (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((c) => linear(c / 255));
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const backdrop = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(parse(styleOf(at).backgroundColor));
    return layers.reduce((below, top) => over(top, below), {r: 255, g: 255, b: 255, a: 1});
  };
  const low = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true})) continue;
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) continue;
    const style = styleOf(element);
    const below = backdrop(element);
    const pair = [luminance(over(parse(style.color), below)), luminance(below)];
    const [bright, dark] = pair.sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (bright + .05) / (dark + .05);
    if (ratio < needed) low.push(`${ratio.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 40)}`);
  }
  return low;
}"""


def _nameless(page: Page) -> list[str]:
    """Return the roles of what Chromium's accessibility tree shows without a name."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    return [
        f"{node['role']['value']} {node.get('backendDOMNodeId')}"
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"] in CONTROLS
        and not node.get("name", {}).get("value", "").strip()
    ]


def _settle(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("path", [*ADMIN_PAGES, *AUDITOR_PAGES])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_names_landmarks_and_contrast(
    new_context: Callable[..., BrowserContext],
    chief: Account,
    auditor: Account,
    handbook: str,
    path: str,
    scheme: str,
) -> None:
    """Each page has one h1, its landmarks, a name for every control, and enough contrast."""
    cookies = auditor.cookies if path in AUDITOR_PAGES else chief.cookies
    page = new_context(storage_state=cookies, color_scheme=scheme).new_page()
    _settle(page, path)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("banner")).to_have_count(1)
    expect(page.get_by_role("navigation", name="Main")).to_have_count(1)
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title().endswith("· Strongroom")
    assert _nameless(page) == []
    assert page.evaluate(LOW_CONTRAST) == []


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_doors_have_names_and_contrast(
    new_context: Callable[..., BrowserContext], path: str, scheme: str
) -> None:
    """The pages before the sign-in are held to the same."""
    page = new_context(color_scheme=scheme).new_page()
    _settle(page, path)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    assert _nameless(page) == []
    assert page.evaluate(LOW_CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_answer_with_its_source_is_readable(
    new_context: Callable[..., BrowserContext], chief: Account, handbook: str, scheme: str
) -> None:
    """Cards, outcome, panel and highlighted quote have names and contrast as well."""
    page = new_context(storage_state=chief.cookies, color_scheme=scheme).new_page()
    turn = ask(page, "How many days of annual leave can I carry over?")
    turn.locator(".quote-card").first.click()
    expect(page.locator("#source-panel mark")).to_be_visible()
    assert _nameless(page) == []
    assert page.evaluate(LOW_CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_about_people_have_names_and_contrast(
    new_context: Callable[..., BrowserContext], chief: Account, auditor: Account, scheme: str
) -> None:
    """An account, one's own, a new key and the question before a group ends are held to the same."""
    page = new_context(storage_state=chief.cookies, color_scheme=scheme).new_page()
    _settle(page, "/people")
    page.get_by_label("New group").fill(f"Group in {scheme}")
    page.get_by_role("button", name="Create group").click()
    page.get_by_label("New program").fill(f"Program in {scheme}")
    page.get_by_role("button", name="Create account").click()
    for opener in (
        auditor.name,
        chief.name,
        f"New key for Program in {scheme}",
        f"Delete Group in {scheme}",
    ):
        page.get_by_role("button", name=opener, exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert _nameless(page) == [], opener
        assert page.evaluate(LOW_CONTRAST) == [], opener
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_an_account_is_changed_by_keyboard_on_a_narrow_screen(
    new_context: Callable[..., BrowserContext], chief: Account, auditor: Account
) -> None:
    """Tab reaches a row, its dialog and its button to save; nothing scrolls sideways at 320 pixels."""
    page = new_context(storage_state=chief.cookies, viewport={"width": 320, "height": 640}).new_page()
    _settle(page, "/people")
    identity = page.get_by_role("button", name=auditor.name, exact=True).get_attribute("data-account")
    _tab_to(page, f"tr [data-account='{identity}']")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=auditor.name)
    expect(dialog.get_by_role("heading", name=auditor.name)).to_be_focused()
    assert dialog.evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    _tab_to(page, "#clearance")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("7")
    _tab_to(page, "#account-form [type=submit]")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(f"tr [data-account='{identity}']")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text(f"What {auditor.name} may do is saved.")


def test_the_contrast_check_sees_pale_text(page: Page) -> None:
    """The check itself works: grey on white is reported."""
    _settle(page, "/account")
    page.locator("h1").evaluate("(title) => { title.style.color = title.style.background = '#999'; }")
    assert page.evaluate(LOW_CONTRAST) == ["1.00: Your account"]


def test_the_name_check_sees_a_nameless_button(page: Page) -> None:
    """The check itself works: a button without text is reported."""
    _settle(page, "/account")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert len(_nameless(page)) == 1


@pytest.mark.parametrize("path", ["/", "/documents", "/people", "/account", "/api-docs"])
def test_pages_fit_a_narrow_screen(
    new_context: Callable[..., BrowserContext], chief: Account, handbook: str, path: str
) -> None:
    """At 320 pixels nothing scrolls sideways but tables and code (WCAG 2.2, success criterion 1.4.10)."""
    page = new_context(storage_state=chief.cookies, viewport={"width": 320, "height": 640}).new_page()
    _settle(page, path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element that `selector` names has the focus, as somebody without a mouse does."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never reaches {selector}")


def test_the_whole_way_works_by_keyboard(
    new_context: Callable[..., BrowserContext], make_account: Callable[..., Account]
) -> None:
    """Sign in, upload, ask, open a citation and close it, without a mouse."""
    account = make_account(Role.EMPLOYEE, name="Evelyn Boyd")
    page = new_context().new_page()
    page.goto("/sign-in")
    page.keyboard.type(account.email)  # The first field has the focus already.
    _tab_to(page, "#password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    page.wait_for_load_state("networkidle")

    page.evaluate("document.activeElement.blur()")
    _tab_to(page, "nav a[href='/documents']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/documents")
    # A button is there before its script is; on a slow machine an early press would go nowhere.
    page.wait_for_load_state("networkidle")
    _tab_to(page, "#choose")
    with page.expect_file_chooser() as chooser:
        # The browser hands choosers over only some time after it was asked to; a press that comes before
        # opens one of its own, which nobody sees.
        page.wait_for_timeout(1000)
        page.keyboard.press("Enter")
    file = FilePayload(name="rules.pdf", mimeType="application/pdf", buffer=pdf_with([LEAVE]))
    chooser.value.set_files([file])
    expect(page.get_by_role("button", name="Share rules.pdf")).to_be_visible(timeout=60_000)

    page.evaluate("document.activeElement.blur()")
    _tab_to(page, "nav a[href='/']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    page.wait_for_load_state("networkidle")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("How many days of annual leave can I carry over?")
    page.keyboard.press("Enter")
    expect(page.locator(".outcome")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    _tab_to(page, ".quote-card")
    page.keyboard.press("Enter")
    expect(page.locator("#source-panel mark")).to_have_text(LEAVE)
    _tab_to(page, "#source-panel [data-close]")
    page.keyboard.press("Enter")
    expect(page.locator("#source-panel")).to_be_hidden()
    expect(page.locator(".quote-card").first).to_be_focused()


def test_skip_link_leads_past_the_navigation(page: Page) -> None:
    """The first Tab shows the link that skips to the content."""
    _settle(page, "/documents")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_progress_is_announced_politely(page: Page, handbook: str) -> None:
    """The words about an answer's outcome reach a live region; the seconds do not."""
    ask(page, "How many days of annual leave can I carry over?")
    expect(page.locator("#announcer")).to_contain_text("Quotes only.")
    assert page.locator("#announcer").get_attribute("role") == "status"

"""Collections on the documents page in a real browser, and who may read what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_acts import Account
from playwright.sync_api import BrowserContext, FilePayload, Locator, Page, expect
from test_page_access import LOW_CONTRAST

from infra.access import Role

ContextMaker = Callable[..., BrowserContext]
ALLOWED = "Add a person or group"
DENIED = "Shut out a person or group"


# --- what the tests begin with --------------------------------------------------------------------


@pytest.fixture(scope="module")
def ben(make_account: Callable[..., Account], chief: Account) -> Account:
    """Return somebody who owns nothing."""
    return make_account(Role.EMPLOYEE, name="Ben Castellanos")


@pytest.fixture
def bens_page(new_context: ContextMaker, ben: Account) -> Page:
    """Open a page as Ben."""
    return new_context(storage_state=ben.cookies).new_page()


@pytest.fixture
def made(page: Page) -> Iterator[Callable[..., str]]:
    """Make collections of the page's person with files in them; all of it is gone after the test."""

    def make(name: str, *file_names: str, readers: tuple[str, ...] = ()) -> str:
        collection = str(told(page, "POST", "/v1/vector_stores", data={"name": name})["id"])
        for reader in readers:
            told(page, "PUT", f"/v1/vector_stores/{collection}/shares/{principal(page, reader)}")
        for file_name in file_names:
            send(page, file_name, collection)
        return collection

    yield make
    for kind in ("files", "vector_stores"):
        for one in told(page, "GET", f"/v1/{kind}?limit=100")["data"]:
            if one["x_owner"]["me"]:
                told(page, "DELETE", f"/v1/{kind}/{one['id']}")


def send(page: Page, name: str, collection: str | None = None) -> str:
    """Upload a small text by the API, as the page's person; returns its id."""
    text = f"The file {name} says that tea is served at four."
    file = FilePayload(name=name, mimeType="text/plain", buffer=text.encode())
    form: dict[str, Any] = {"collection": collection} if collection else {}
    return str(told(page, "POST", "/v1/files", multipart={**form, "file": file})["id"])


def principal(page: Page, name: str) -> str:
    """Return the id that stands for somebody in access lists."""
    found = told(page, "GET", f"/v1/principals?q={name}")["data"]
    return str(found[0]["id"])


def told(page: Page, method: str, path: str, **request: Any) -> Any:
    """Send a request to the API as the page's person; returns its JSON, None without any."""
    headers = {"sec-fetch-site": "same-origin"}
    answer = page.request.fetch(path, method=method, headers=headers, **request)
    assert answer.ok, answer.text()
    return None if answer.status == 204 else answer.json()


def documents(page: Page, query: str = "") -> None:
    """Open the documents page and wait until it stands."""
    page.goto(f"/documents{query}")
    page.wait_for_load_state("networkidle")
    expect(page.locator("#files")).to_have_attribute("aria-busy", "false")


def row(page: Page, name: str) -> Locator:
    """Return the row of a document."""
    return page.locator("#files > li").filter(has=page.get_by_role("heading", name=name, exact=True))


def pill(page: Page, name: str) -> Locator:
    """Return the filter for a collection."""
    return page.get_by_role("list", name="Collections").get_by_role("button", name=name)


def dialog_of(page: Page, name: str = "Who may read this?") -> Locator:
    """Return the dialog with this heading."""
    return page.get_by_role("dialog", name=name)


# --- the collection -------------------------------------------------------------------------------


def test_a_new_collection_is_chosen_at_once_and_takes_what_is_dropped(
    page: Page, made: Callable[..., str]
) -> None:
    """A collection is named, chosen, and filled by an upload; “Everyone” is not offered there."""
    made("Placeholder")
    documents(page)
    page.get_by_role("button", name="New collection").click()
    dialog = dialog_of(page, "New collection")
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("Name").fill("Tea times")
    page.keyboard.press("Enter")
    expect(pill(page, "Tea times")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="Tea times")).to_be_visible()
    expect(page.locator("#collection-facts")).to_contain_text("Only you")
    expect(page.get_by_role("switch", name="Everyone here may read these")).to_be_hidden()
    expect(page.get_by_text("They go into “Tea times”, whose readers may read them.")).to_be_visible()

    text = FilePayload(name="afternoon.txt", mimeType="text/plain", buffer=b"Tea is served at four.")
    page.set_input_files("#chosen", text)
    expect(page.get_by_role("button", name="Restrict afternoon.txt")).to_be_visible(timeout=60_000)
    expect(pill(page, "Tea times, 1 document")).to_be_visible()
    listed = told(page, "GET", "/v1/files")["data"]
    assert [f["x_collection"]["name"] for f in listed if f["filename"] == "afternoon.txt"] == ["Tea times"]


def test_filters_show_what_stands_where(page: Page, made: Callable[..., str]) -> None:
    """A collection shows its documents, “Not in a collection” the others, “All” both; a reload keeps it."""
    made("Minutes", "may.txt", "june.txt")
    send(page, "loose leaf.txt")
    documents(page)
    expect(row(page, "may.txt")).to_be_visible()
    expect(row(page, "loose leaf.txt")).to_be_visible()
    pill(page, "Minutes, 2 documents").click()
    expect(row(page, "loose leaf.txt")).to_be_hidden()
    expect(row(page, "june.txt")).to_be_visible()
    page.reload()
    expect(row(page, "june.txt")).to_be_visible()
    expect(row(page, "loose leaf.txt")).to_be_hidden()
    pill(page, "Not in a collection").click()
    expect(row(page, "june.txt")).to_be_hidden()
    expect(row(page, "loose leaf.txt")).to_be_visible()
    pill(page, "All").click()
    expect(row(page, "may.txt")).to_be_visible()
    expect(row(page, "loose leaf.txt")).to_be_visible()


def test_without_collections_there_is_nothing_to_choose(bens_page: Page) -> None:
    """Nobody who has no collection sees filters, or a button to move documents."""
    send(bens_page, "alone.txt")
    documents(bens_page)
    expect(row(bens_page, "alone.txt")).to_be_visible()
    expect(bens_page.locator("#collections")).to_be_hidden()
    expect(bens_page.get_by_role("button", name="Move alone.txt")).to_be_hidden()


def test_sharing_a_collection_shows_it_and_ending_that_hides_it(
    page: Page, bens_page: Page, made: Callable[..., str]
) -> None:
    """Its reader sees the collection with its documents and no owner's button; afterwards neither."""
    made("Travel", "trains.txt")
    documents(page, "")
    pill(page, "Travel").click()
    page.get_by_role("button", name="Share Travel").click()
    dialog = dialog_of(page)
    dialog.get_by_label(ALLOWED).fill("ben")
    dialog.get_by_role("button", name="Add Ben Castellanos").click()
    expect(dialog.get_by_role("status")).to_have_text("Ben Castellanos can read it now.")
    expect(page.locator("#collection-facts")).to_contain_text("Shared with Ben Castellanos")

    documents(bens_page)
    pill(bens_page, "Travel, 1 document").click()
    expect(row(bens_page, "trains.txt")).to_contain_text("From Ada Okonkwo")
    expect(bens_page.get_by_role("button", name="Rename Travel")).to_be_hidden()
    expect(row(bens_page, "trains.txt").get_by_role("button")).to_have_count(0)
    expect(bens_page.get_by_text("You cannot add to “Travel”")).to_be_visible()

    dialog.get_by_role("button", name="Stop sharing with Ben Castellanos").click()
    expect(dialog.get_by_role("status")).to_have_text("Ben Castellanos can no longer read it.")
    # Without a reload: the first thing that Ben touches lets what is gone go quietly.
    bens_page.get_by_role("link", name="Download trains.txt").click()
    expect(row(bens_page, "trains.txt")).to_have_count(0)
    expect(bens_page.get_by_role("alert")).to_be_hidden()
    documents(bens_page)
    expect(bens_page.locator("#collections")).to_be_hidden()


def test_somebody_shut_out_of_a_collection_reads_nothing_in_it(
    page: Page, bens_page: Page, made: Callable[..., str]
) -> None:
    """“Never these” wins over “Everyone”, and the owner sees it beside the collection."""
    made("Salaries", "bands.txt", readers=("Everyone",))
    documents(bens_page)
    expect(row(bens_page, "bands.txt")).to_be_visible()
    documents(page)
    pill(page, "Salaries").click()
    page.get_by_role("button", name="Share Salaries").click()
    dialog = dialog_of(page)
    dialog.get_by_text("Never these").click()
    dialog.get_by_label(DENIED).fill("ben")
    dialog.get_by_role("button", name="Shut out Ben Castellanos").click()
    expect(dialog.get_by_role("status")).to_have_text("Ben Castellanos is shut out now.")
    expect(page.locator("#collection-facts")).to_contain_text("Never Ben Castellanos")
    documents(bens_page)
    expect(row(bens_page, "bands.txt")).to_have_count(0)
    expect(bens_page.locator("#collections")).to_be_hidden()


def test_a_label_nobody_could_read_is_refused_in_the_dialog(page: Page, made: Callable[..., str]) -> None:
    """More than the owner has is refused with the server's words, and what was typed stays."""
    made("Plans")
    documents(page)
    pill(page, "Plans").click()
    page.get_by_role("button", name="Share Plans").click()
    dialog = dialog_of(page)
    dialog.get_by_text("Labels", exact=True).click()
    dialog.get_by_label("Clearance").fill("100")
    dialog.get_by_label("Compartments").fill("north wing\n\nnorth wing")
    dialog.get_by_role("button", name="Save labels").click()
    expect(dialog.get_by_role("alert")).to_contain_text("could not read the collection yourself")
    expect(dialog.get_by_label("Clearance")).to_have_value("100")
    dialog.get_by_label("Clearance").fill("0")
    dialog.get_by_label("Compartments").fill("")
    dialog.get_by_role("button", name="Save labels").click()
    expect(dialog.get_by_role("status")).to_have_text("The labels are saved.")
    expect(dialog.get_by_role("alert")).to_be_hidden()


def test_renaming_reaches_the_documents(page: Page, made: Callable[..., str]) -> None:
    """The new name stands on the filter, above the list and in each row; an impossible one says why."""
    made("Helth", "plaster.txt")
    documents(page)
    pill(page, "Helth").click()
    page.get_by_role("button", name="Rename Helth").click()
    dialog = dialog_of(page, "Rename this collection")
    dialog.get_by_label("Name").fill("   ")
    dialog.get_by_role("button", name="Rename").click()
    expect(dialog.get_by_role("alert")).to_contain_text("A name has 1 to 200")
    dialog.get_by_label("Name").fill("Health")
    dialog.get_by_role("button", name="Rename").click()
    expect(pill(page, "Health")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="Health")).to_be_visible()
    expect(row(page, "plaster.txt")).to_contain_text("In Health")
    expect(page.get_by_role("button", name="Rename Health")).to_be_focused()


def test_deleting_a_collection_leaves_its_documents_with_their_owner(
    page: Page, bens_page: Page, made: Callable[..., str]
) -> None:
    """The page says so first; then the documents stand in no collection, and their reader has lost them."""
    made("Project", "notes.txt", readers=("Everyone",))
    documents(bens_page)
    expect(row(bens_page, "notes.txt")).to_be_visible()
    documents(page)
    pill(page, "Project").click()
    page.get_by_role("button", name="Delete Project").click()
    dialog = dialog_of(page, "Delete this collection?")
    expect(dialog).to_contain_text("Each of them becomes its owner’s alone")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#collections")).to_be_hidden()
    expect(row(page, "notes.txt")).to_contain_text("Only you")
    expect(page.get_by_role("button", name="Share notes.txt")).to_be_visible()
    documents(bens_page)
    expect(row(bens_page, "notes.txt")).to_have_count(0)


# --- their documents ------------------------------------------------------------------------------


def test_a_document_moves_into_a_collection_and_out_again(page: Page, made: Callable[..., str]) -> None:
    """It is put in by the keyboard, gets another button there, and is taken out after a question."""
    made("Garden", "roses.txt")
    send(page, "tulips.txt")
    documents(page)
    page.get_by_role("button", name="Move tulips.txt").press("Enter")
    dialog = dialog_of(page, "Put it into which collection?")
    dialog.get_by_role("button", name="Garden").press("Enter")
    expect(row(page, "tulips.txt")).to_contain_text("In Garden")
    expect(page.get_by_role("button", name="Move tulips.txt")).to_be_focused()
    expect(page.get_by_role("button", name="Restrict tulips.txt")).to_be_visible()
    expect(pill(page, "Garden, 2 documents")).to_be_visible()

    page.get_by_role("button", name="Move tulips.txt").click()
    out = dialog_of(page, "Take it out of its collection?")
    expect(out).to_contain_text("Outside of “Garden” you alone can read it")
    out.get_by_role("button", name="Take it out").click()
    expect(row(page, "tulips.txt")).to_contain_text("Only you")
    expect(pill(page, "Garden, 1 document")).to_be_visible()


def test_a_namesake_in_the_collection_is_refused_in_the_dialog(page: Page, made: Callable[..., str]) -> None:
    """The server's reason and its hint stand in the dialog; the document stays where it was."""
    made("Twins", "same.txt")
    send(page, "same.txt")
    documents(page)
    loose = row(page, "same.txt").filter(has_text="Only you")
    loose.get_by_role("button", name="Move same.txt").click()
    dialog = dialog_of(page, "Put it into which collection?")
    dialog.get_by_role("button", name="Twins").click()
    expect(dialog.get_by_role("alert")).to_contain_text("stands in the collection already")
    expect(dialog.get_by_role("alert").locator(".hint")).to_be_visible()
    dialog.get_by_role("button", name="Leave it").click()
    expect(loose).to_be_visible()


def test_a_document_can_be_kept_to_some_of_the_collections_readers(
    page: Page, bens_page: Page, made: Callable[..., str]
) -> None:
    """“Only these of them” hides it from other readers, a name lets one in, and “Readers of” all again."""
    made("Board", "agenda.txt", "secret.txt", readers=("Everyone",))
    documents(page)
    page.get_by_role("button", name="Restrict secret.txt").click()
    dialog = dialog_of(page)
    expect(dialog.get_by_role("radio", name="Readers of Board")).to_be_focused()
    expect(dialog.get_by_label(ALLOWED)).to_be_hidden()
    dialog.get_by_role("radio", name="Only these of them").check()
    expect(dialog.get_by_role("status")).to_have_text("Only those named here can read it now.")
    documents(bens_page)
    expect(row(bens_page, "agenda.txt")).to_be_visible()
    expect(row(bens_page, "secret.txt")).to_have_count(0)

    dialog.get_by_label(ALLOWED).fill("ben")
    dialog.get_by_role("button", name="Add Ben Castellanos").click()
    expect(dialog.get_by_role("status")).to_have_text("Ben Castellanos is among them now.")
    documents(bens_page)
    expect(row(bens_page, "secret.txt")).to_be_visible()

    dialog.get_by_role("button", name="Stop sharing with Ben Castellanos").click()
    expect(dialog.get_by_role("status")).to_have_text("Ben Castellanos is not among them any more.")
    dialog.get_by_role("radio", name="Readers of Board").check()
    expect(dialog.get_by_role("status")).to_have_text("All readers of the collection can read it now.")
    documents(bens_page)
    expect(row(bens_page, "secret.txt")).to_be_visible()


def test_shutting_everyone_out_is_refused_because_it_is_oneself_as_well(
    page: Page, made: Callable[..., str]
) -> None:
    """A denial that would lock its owner out is refused, and the list stays as it was."""
    made("Locks", "door.txt")
    documents(page)
    page.get_by_role("button", name="Restrict door.txt").click()
    dialog = dialog_of(page)
    dialog.get_by_text("Never these").click()
    dialog.get_by_role("button", name="Shut out Everyone").click()
    expect(dialog.get_by_role("alert")).to_contain_text("could not read the file yourself")
    expect(dialog.get_by_role("list", name="People and groups who may never read it")).to_have_text(
        "Nobody is shut out."
    )


def test_a_loose_document_can_shut_somebody_out_of_everyone(
    page: Page, bens_page: Page, made: Callable[..., str]
) -> None:
    """Shared with everyone but Ben: he does not see it, and does again when he is no longer shut out."""
    made("Unused")
    send(page, "party.txt")
    documents(page)
    page.get_by_role("button", name="Share party.txt").click()
    dialog = dialog_of(page)
    dialog.get_by_role("button", name="Add Everyone").click()
    expect(dialog.get_by_role("status")).to_have_text("Everyone can read it now.")
    dialog.get_by_text("Never these").click()
    dialog.get_by_role("button", name="Shut out Ben Castellanos").click()
    expect(dialog.get_by_role("status")).to_have_text("Ben Castellanos is shut out now.")
    documents(bens_page)
    expect(row(bens_page, "party.txt")).to_have_count(0)
    dialog.get_by_role("button", name="Stop shutting out Ben Castellanos").click()
    expect(dialog.get_by_role("status")).to_have_text("Ben Castellanos is no longer shut out.")
    documents(bens_page)
    expect(row(bens_page, "party.txt")).to_be_visible()


def test_what_is_gone_meanwhile_leaves_the_page_quietly(page: Page, made: Callable[..., str]) -> None:
    """Opening the access list of a document deleted elsewhere closes the dialog and takes the row away."""
    made("Short-lived", "mayfly.txt", "turtle.txt")
    documents(page)
    listed = {file["filename"]: file["id"] for file in told(page, "GET", "/v1/files")["data"]}
    told(page, "DELETE", f"/v1/files/{listed['mayfly.txt']}")
    page.get_by_role("button", name="Restrict mayfly.txt").click()
    expect(row(page, "mayfly.txt")).to_have_count(0)
    expect(dialog_of(page)).to_be_hidden()
    expect(row(page, "turtle.txt")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_curator_adds_and_the_owner_takes_out(
    page: Page, new_context: ContextMaker, make_account: Callable[..., Account], made: Callable[..., str]
) -> None:
    """A curator's upload into somebody's collection can be taken out by the collection's owner."""
    curator = make_account(Role.CURATOR, Role.EMPLOYEE, name="Mary Jackson")
    collection = made("Handouts", readers=("Mary Jackson",))
    theirs = new_context(storage_state=curator.cookies).new_page()
    documents(theirs, f"?collection={collection}")
    expect(theirs.get_by_text("They go into “Handouts”, whose readers may read them.")).to_be_visible()
    file = FilePayload(name="slides.txt", mimeType="text/plain", buffer=b"Slides are printed in colour.")
    theirs.set_input_files("#chosen", file)
    expect(theirs.get_by_role("button", name="Restrict slides.txt")).to_be_visible(timeout=60_000)

    documents(page)
    expect(row(page, "slides.txt").get_by_role("button")).to_have_count(1)
    page.get_by_role("button", name="Take out slides.txt").click()
    dialog = dialog_of(page, "Take it out of its collection?")
    expect(dialog).to_contain_text("its owner, Mary Jackson, alone can read it")
    dialog.get_by_role("button", name="Take it out").click()
    expect(row(page, "slides.txt")).to_have_count(0)
    expect(page.get_by_role("heading", name="Yours and shared with you")).to_be_focused()
    documents(theirs)
    expect(row(theirs, "slides.txt")).to_contain_text("Only you")


# --- everybody's eyes and hands -------------------------------------------------------------------


def test_everything_about_collections_fits_a_narrow_screen(
    new_context: ContextMaker, chief: Account, page: Page, made: Callable[..., str]
) -> None:
    """At 320 pixels neither the page nor a dialog scrolls sideways, with long names as well."""
    made("Negotiations with suppliers of stationery", "a-very-long-file-name-without-any-space-in-it.txt")
    narrow = new_context(storage_state=chief.cookies, viewport={"width": 320, "height": 640}).new_page()
    documents(narrow)
    pill(narrow, "Negotiations").click()
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 320
    narrow.get_by_role("button", name="Restrict a-very-long").click()
    dialog = dialog_of(narrow)
    dialog.get_by_role("radio", name="Only these of them").check()
    dialog.get_by_text("Never these").click()
    dialog.get_by_text("Labels", exact=True).click()
    expect(dialog.get_by_role("status")).not_to_be_empty()
    assert dialog.evaluate("(dialog) => dialog.scrollWidth - dialog.clientWidth") <= 0
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_filters_and_dialogs_have_enough_contrast(
    new_context: ContextMaker, chief: Account, page: Page, made: Callable[..., str], scheme: str
) -> None:
    """What collections add to the page can be read in both schemes, with everything unfolded."""
    made("Colours", "red.txt", readers=("Everyone",))
    shown = new_context(storage_state=chief.cookies, color_scheme=scheme).new_page()
    documents(shown)
    pill(shown, "Colours").click()
    assert shown.evaluate(LOW_CONTRAST) == []
    shown.get_by_role("button", name="Share Colours").click()
    dialog = dialog_of(shown)
    dialog.get_by_text("Labels", exact=True).click()
    dialog.get_by_text("Never these").click()
    dialog.get_by_role("button", name="Shut out Everyone").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    assert shown.evaluate(LOW_CONTRAST) == []


def test_buttons_wait_for_their_script(new_context: ContextMaker, chief: Account) -> None:
    """As the server sends the page, no visible button could be pressed in vain."""
    page = new_context(storage_state=chief.cookies, java_script_enabled=False).new_page()
    page.goto("/documents")
    visible = page.get_by_role("main").get_by_role("button")
    assert visible.count() > 0
    for button in visible.all():
        expect(button).to_be_disabled()

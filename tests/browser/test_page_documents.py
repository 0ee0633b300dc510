"""The documents page in a real browser: upload, failure, sharing, deletion."""

from __future__ import annotations

from collections.abc import Callable

from browser_acts import Account, ask, docx_with, pdf_with, upload
from playwright.sync_api import BrowserContext, FilePayload, Page, expect


def _payload(name: str, content: bytes) -> FilePayload:
    return FilePayload(name=name, mimeType="application/octet-stream", buffer=content)


def test_several_files_at_once_become_ready(page: Page) -> None:
    """Each chosen file gets its own row and ends with its number of passages."""
    page.goto("/documents")
    names = [f"minutes {number}.docx" for number in range(4)]
    files = [_payload(name, docx_with("Minutes", f"Decision {name} was postponed.")) for name in names]
    page.set_input_files("#chosen", files)
    for name in names:
        row = page.get_by_role("listitem").filter(has_text=name)
        expect(row.get_by_role("button", name=f"Share {name}")).to_be_visible(timeout=60_000)
        expect(row).to_contain_text("1 passage")
        expect(row).to_contain_text("Only you")


def test_a_dropped_file_is_uploaded(page: Page) -> None:
    """Dropping a file anywhere on the page uploads it."""
    page.goto("/documents")
    transfer = page.evaluate_handle(
        "() => { const transfer = new DataTransfer();"
        " transfer.items.add(new File(['The archive closes at six.'], 'archive hours.txt'));"
        " return transfer; }"
    )
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(page.get_by_role("button", name="Share archive hours.txt")).to_be_visible(timeout=60_000)


def test_a_file_that_cannot_be_read_says_why(page: Page) -> None:
    """An empty file is refused with a reason next to its name, and the row can be dismissed."""
    page.goto("/documents")
    page.set_input_files("#chosen", [_payload("empty.txt", b"")])
    row = page.get_by_role("listitem").filter(has_text="empty.txt")
    expect(row.locator(".problem")).to_contain_text("empty")
    row.get_by_role("button", name="Dismiss empty.txt").click()
    expect(row).to_have_count(0)


def test_a_failed_job_shows_its_reason_also_after_a_reload(page: Page) -> None:
    """A truncated PDF passes the door and fails in parsing; the reason stays with the document."""
    page.goto("/documents")
    broken = pdf_with(["This one is cut off in the middle."])[:400]
    page.set_input_files("#chosen", [_payload("cut.pdf", broken)])
    row = page.get_by_role("listitem").filter(has_text="cut.pdf")
    expect(row.locator(".problem")).to_be_visible(timeout=60_000)
    expect(row.locator(".problem .hint")).to_be_visible()
    reason = str(row.locator(".problem").text_content())
    page.reload()
    expect(row.locator(".problem")).to_have_text(reason)
    expect(row.get_by_role("button", name="Try again cut.pdf")).to_be_visible()


def test_sharing_lets_somebody_else_read_and_ends_again(
    page: Page, new_context: Callable[..., BrowserContext], auditor: Account
) -> None:
    """A person who was added sees the document; after being removed they do not."""
    upload(page, "travel rules.txt", b"Train tickets are booked by the front office in first class.")
    reader = new_context(storage_state=auditor.cookies).new_page()
    reader.goto("/documents")
    expect(reader.locator("#files")).to_have_attribute("aria-busy", "false")
    row = reader.get_by_role("listitem").filter(has_text="travel rules.txt")
    expect(row).to_have_count(0)

    page.get_by_role("button", name="Share travel rules.txt").click()
    dialog = page.get_by_role("dialog", name="Who may read this?")
    dialog.get_by_label("Add a person or group").fill("barbara")
    dialog.get_by_role("button", name=f"Add {auditor.name}").click()
    expect(dialog.get_by_role("status")).to_have_text(f"{auditor.name} can read it now.")
    reader.reload()
    expect(row).to_contain_text("From Ada Okonkwo")
    expect(row.get_by_role("link", name="Download travel rules.txt")).to_be_visible()
    expect(row.get_by_role("button")).to_have_count(0)

    dialog.get_by_role("button", name=f"Stop sharing with {auditor.name}").click()
    expect(dialog.get_by_role("status")).to_have_text(f"{auditor.name} can no longer read it.")
    reader.reload()
    expect(reader.locator("#files")).to_have_attribute("aria-busy", "false")
    expect(row).to_have_count(0)


def test_deleting_asks_first_and_then_answers_nothing(page: Page) -> None:
    """“Keep it” keeps the document; “Delete” removes it from the list and from answers."""
    upload(page, "garage.txt", b"The underground garage opens with the code sent by the facility team.")
    page.get_by_role("button", name="Delete garage.txt").click()
    dialog = page.get_by_role("dialog", name="Delete this document?")
    dialog.get_by_role("button", name="Keep it").click()
    row = page.get_by_role("listitem").filter(has_text="garage.txt")
    expect(row).to_be_visible()
    expect(page.get_by_role("button", name="Delete garage.txt")).to_be_focused()
    page.get_by_role("button", name="Delete garage.txt").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_have_count(0)
    turn = ask(page, "How does the underground garage open?")
    expect(turn).not_to_contain_text("facility team")


def test_a_download_brings_the_same_bytes(page: Page) -> None:
    """The original comes back unchanged, under its own name."""
    content = docx_with("Contract", "The contract ends with the calendar year.")
    upload(page, "contract.docx", content)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download contract.docx").click()
    assert download.value.suggested_filename == "contract.docx"
    assert download.value.path().read_bytes() == content


def test_filter_narrows_a_long_list(page: Page) -> None:
    """The filter appears with six documents and hides those that do not match."""
    page.goto("/documents")
    files = [_payload(f"filter {letter}.txt", f"Paragraph {letter}.".encode()) for letter in "abcdef"]
    page.set_input_files("#chosen", files)
    page.get_by_label("Filter by name or owner").fill("filter c")
    expect(page.get_by_role("listitem").filter(has_text="filter ")).to_have_count(1)
    page.get_by_label("Filter by name or owner").fill("no such thing")
    expect(page.get_by_text("No document matches.")).to_be_visible()

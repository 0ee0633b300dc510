"""Write the sample documents of Halvorsen Instruments, a company that does not exist.

`python -m tests.make_samples` writes them to `samples/`. The files are committed, so that a demonstration
needs no tool; run it again after changing a text here.
"""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

from docx import Document
from openpyxl import Workbook
from openpyxl.styles import Font
from pptx import Presentation
from pptx.util import Inches
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    ListFlowable,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

HERE = Path(__file__).resolve().parent.parent / "samples"
COMPANY = "Halvorsen Instruments"
MADE_ON = dt.datetime(2026, 3, 2, 9, 0, 0, tzinfo=dt.UTC).replace(tzinfo=None)

TRAVEL_PAGES: list[tuple[str, list[str | list[list[str]]]]] = [
    (
        "1. Purpose and scope",
        [
            "This policy says what Halvorsen Instruments pays when employees travel for work. It applies to "
            "everybody with an employment contract, in all three offices, and to contractors whose contract "
            "refers to it. It replaces the policy of May 2024.",
            "Trips that cost less than 400 euros in total need no approval. Trips above that need the "
            "approval of the line manager before anything is booked. Trips above 4,000 euros, and every "
            "trip outside Europe, also need the approval of the head of finance.",
            "Book through the travel desk at least 10 working days before departure. Bookings made privately "
            "are reimbursed only when the travel desk could not be reached and the manager confirms it.",
        ],
    ),
    (
        "2. Transport",
        [
            "Take the train for journeys of up to five hours. First class is allowed when the journey takes "
            "longer than three hours, or when the ticket costs no more than second class.",
            "Flights are booked in economy class. Premium economy is allowed on flights longer than six "
            "hours. Business class needs the written consent of the managing director.",
            "A private car is reimbursed at 0.38 euros per kilometre, up to 500 kilometres per trip. Fines "
            "are never reimbursed. Taxis are reimbursed before 6 a.m., after 10 p.m., and with heavy "
            "equipment.",
        ],
    ),
    (
        "3. Hotels and meals",
        [
            "Hotels are reimbursed up to the amounts below, breakfast included. If no room can be found "
            "within them, the travel desk may approve up to 25 percent more.",
            [
                ["Destination", "Hotel per night", "Meals per day"],
                ["Norway, Sweden, Denmark", "190 EUR", "62 EUR"],
                ["Germany, Austria, France", "150 EUR", "48 EUR"],
                ["United Kingdom, Switzerland", "210 EUR", "65 EUR"],
                ["United States", "240 EUR", "70 EUR"],
                ["All other countries", "140 EUR", "45 EUR"],
            ],
            "On days of departure and return, half of the meal allowance is paid. Meals that a host or a "
            "conference provides are deducted: 20 percent for breakfast, 40 percent each for lunch and "
            "dinner.",
        ],
    ),
    (
        "4. Expense claims",
        [
            "Submit the claim within 30 days of returning, with a photograph of each receipt above 15 euros. "
            "Claims later than 90 days are refused. Finance pays approved claims with the next salary run, "
            "on the 25th of the month.",
            "Company credit cards are for travel only. A lost card is reported to the bank at once, and to "
            "finance within 24 hours.",
            "Questions go to travel@halvorsen.example, or to extension 4417 between 8 a.m. and 4 p.m.",
        ],
    ),
]


def write_travel_policy(path: Path) -> None:
    """Write a PDF of several pages with running headers, headings, prose and a table."""
    styles = getSampleStyleSheet()
    body = ParagraphStyle("Body", parent=styles["BodyText"], fontSize=10.5, leading=14.5, spaceAfter=8)
    story: list[object] = [
        Paragraph("Travel and Expense Policy", styles["Title"]),
        Paragraph(f"{COMPANY} · valid from 1 March 2026 · owner: Finance", body),
        Spacer(1, 6 * mm),
    ]
    for number, (heading, content) in enumerate(TRAVEL_PAGES):
        if number:
            story.append(PageBreak())
        story.append(Paragraph(heading, styles["Heading1"]))
        story.extend(_table(part) if isinstance(part, list) else Paragraph(part, body) for part in content)
    checklist = ["Approval in writing", "Booking number of the travel desk", "Receipts above 15 euros"]
    story.append(Paragraph("Checklist", styles["Heading2"]))
    story.append(ListFlowable([Paragraph(item, body) for item in checklist], bulletType="bullet"))
    document = SimpleDocTemplate(
        str(path),
        pagesize=A4,
        title="Travel and Expense Policy",
        author=COMPANY,
        invariant=True,
        topMargin=28 * mm,
        bottomMargin=25 * mm,
        leftMargin=25 * mm,
        rightMargin=25 * mm,
    )
    document.build(story, onFirstPage=_running_lines, onLaterPages=_running_lines)


def _running_lines(canvas: Canvas, document: SimpleDocTemplate) -> None:
    canvas.setFont("Helvetica", 8)
    canvas.drawString(25 * mm, A4[1] - 15 * mm, f"{COMPANY} – internal")
    canvas.drawRightString(A4[0] - 25 * mm, 12 * mm, f"Page {canvas.getPageNumber()}")


def _table(rows: list[list[str]]) -> Table:
    ruled = TableStyle(
        [("GRID", (0, 0), (-1, -1), 0.4, "grey"), ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold")]
    )
    return Table(rows, colWidths=[70 * mm, 40 * mm, 40 * mm], style=ruled, hAlign="LEFT", spaceAfter=8)


def write_leave_policy(path: Path) -> None:
    """Write a DOCX with headings, lists and a table."""
    document = Document()
    document.core_properties.title = "Leave Policy"
    document.core_properties.author = COMPANY
    document.core_properties.created = document.core_properties.modified = MADE_ON
    document.add_heading("Leave Policy", 0)
    document.add_paragraph(
        "Valid from 1 January 2026. Owner: People team. Contact: people@halvorsen.example."
    )
    document.add_heading("Annual leave", 1)
    document.add_paragraph(
        "Full-time employees have 28 days of paid annual leave in a calendar year. Part-time employees "
        "have a proportional share, rounded up to the next half day. New employees earn leave from their "
        "first day."
    )
    document.add_paragraph(
        "Up to 5 unused days may be carried over, and must be taken by 31 March of the following year. "
        "Unused leave is not paid out, except when employment ends."
    )
    document.add_heading("How to request leave", 2)
    for step in (
        "Enter the dates in the time portal at least 14 days before the first day of leave.",
        "Name the colleague who stands in for you.",
        "Your manager answers within 3 working days; no answer counts as consent.",
    ):
        document.add_paragraph(step, style="List Number")
    document.add_heading("Sick leave", 1)
    document.add_paragraph(
        "Tell your manager before 9 a.m. on the first day. A doctor's certificate is needed from the fourth "
        "calendar day. Salary continues in full for 6 weeks; after that the health insurer pays."
    )
    document.add_heading("Family", 1)
    rows = [
        ("Occasion", "Paid days", "Notice"),
        ("Own wedding", "2", "4 weeks"),
        ("Birth of a child, second parent", "15", "8 weeks, if foreseeable"),
        ("Death of a close relative", "4", "none"),
        ("Moving house", "1", "2 weeks"),
        ("Sick child under 12", "10 per year and parent", "none"),
    ]
    table = document.add_table(rows=0, cols=3, style="Light Grid Accent 1")
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.add_heading("Sabbatical", 1)
    document.add_paragraph(
        "After five years of service, an unpaid sabbatical of one to six months may be taken. Ask six months "
        "ahead. The employer's pension contribution pauses during that time."
    )
    document.save(str(path))


def write_price_list(path: Path) -> None:
    """Write an XLSX with two sheets: products, and discounts."""
    workbook = Workbook()
    workbook.properties.title = "Price List 2026"
    workbook.properties.creator = COMPANY
    workbook.properties.created = workbook.properties.modified = MADE_ON
    products = workbook.active
    products.title = "Products"
    products.append(["Price list 2026, valid from 1 February, without VAT"])
    products.append([])
    rows: list[list[object]] = [
        ["Article", "Product", "Price EUR", "Delivery (weeks)", "Warranty (months)"],
        ["HI-1010", "Pressure gauge PG10, 0-10 bar", 148.0, 2, 24],
        ["HI-1025", "Pressure gauge PG25, 0-25 bar", 162.5, 2, 24],
        ["HI-2040", "Flow meter FM40, DN40", 1290.0, 5, 36],
        ["HI-2080", "Flow meter FM80, DN80", 1875.0, 6, 36],
        ["HI-3001", "Temperature probe TP1, PT100", 89.9, 1, 24],
        ["HI-3002", "Temperature probe TP2, explosion-proof", 214.0, 4, 24],
        ["HI-4100", "Data logger DL4, four channels", 690.0, 3, 36],
        ["HI-4200", "Data logger DL16, sixteen channels", 1480.0, 3, 36],
        ["HI-9001", "Calibration on site, per instrument", 120.0, 2, 0],
    ]
    for row in rows:
        products.append(row)
    for cell in products[3]:
        cell.font = Font(bold=True)
    discounts = workbook.create_sheet("Discounts")
    for discount in (
        ["Order value EUR", "Discount", "Needs approval by"],
        ["from 5,000", 0.03, "nobody"],
        ["from 20,000", 0.06, "regional sales manager"],
        ["from 50,000", 0.1, "head of sales"],
    ):
        discounts.append(discount)
    for row_number in range(2, 5):
        discounts.cell(row_number, 2).number_format = "0%"
    workbook.save(path)


def write_onboarding(path: Path) -> None:
    """Write a PPTX with bullets, a table and notes."""
    presentation = Presentation()
    presentation.core_properties.title = "Welcome to Halvorsen Instruments"
    presentation.core_properties.created = presentation.core_properties.modified = MADE_ON
    opening = presentation.slides.add_slide(presentation.slide_layouts[0])
    opening.shapes.title.text = "Welcome to Halvorsen Instruments"
    opening.placeholders[1].text = "Your first week"
    slides = [
        (
            "Your first day",
            [
                "Reception opens at 7:30 a.m.; ask for your buddy.",
                "Collect laptop and badge at the service desk, room B 1.12.",
                "Safety briefing at 2 p.m. in the canteen: nobody enters the workshop without it.",
            ],
        ),
        (
            "Accounts and security",
            [
                "Passphrases have at least 16 characters and never expire.",
                "Register two security keys; the service desk hands them out.",
                "Report suspicious mail to phishing@halvorsen.example within one hour.",
            ],
        ),
    ]
    for title, bullets in slides:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(bullets)
    slide.notes_slide.notes_text_frame.text = "Lost keys are blocked by the service desk, extension 4400."
    people = presentation.slides.add_slide(presentation.slide_layouts[5])
    people.shapes.title.text = "Whom to ask"
    rows = [
        ("Topic", "Team", "Extension"),
        ("Salary", "People", "4410"),
        ("Laptop", "Service desk", "4400"),
        ("Parking", "Facilities", "4433"),
        ("Travel", "Travel desk", "4417"),
    ]
    table = people.shapes.add_table(len(rows), 3, Inches(1), Inches(1.8), Inches(8), Inches(2.5)).table
    for at, row in enumerate(rows):
        for column, text in enumerate(row):
            table.cell(at, column).text = text
    presentation.save(str(path))


RUNBOOK = """\
# Incident Runbook: Customer Portal

Owner: Platform team. Last exercise: 12 February 2026.

## Severity levels

| Level | Meaning | First answer within | Updates every |
|---|---|---|---|
| SEV1 | Portal down for all customers | 15 minutes | 30 minutes |
| SEV2 | One main function down, or more than 10 percent of customers affected | 30 minutes | 1 hour |
| SEV3 | Degraded, with a workaround | 4 hours | 1 day |

The person on call decides the level. When in doubt, take the higher one.

## When the portal is down

1. Acknowledge the page within 5 minutes, and open the channel `#incident`.
2. Check the status of the database: `portalctl db status`. If the primary does not answer, promote the
   replica with `portalctl db promote --replica oslo-2`. Promotion takes about 90 seconds.
3. If the database is healthy, roll the last release back with `portalctl release rollback`.
4. For a SEV1, call the duty manager at extension 4499. Only the duty manager informs customers.

Never restart both database nodes at the same time: the quorum would be lost, and recovery takes at least
two hours.

## Backups

Full backups run every night at 01:30 and are kept for 35 days. Transaction logs are copied every 5 minutes,
so that at most 5 minutes of data can be lost. A restore of the whole database takes 3 hours.

## Afterwards

Write the review within 5 working days. It names causes and improvements, not culprits. Every SEV1 review is
read by the managing director.
"""


def write_runbook(path: Path) -> None:
    """Write the Markdown runbook."""
    path.write_text(RUNBOOK, encoding="utf-8")


def write_suppliers(path: Path) -> None:
    """Write a CSV of suppliers."""
    rows = [
        ("Supplier", "Material", "Contact", "Contract ends", "Payment term (days)"),
        ("Nordglass AS", "Sight glasses", "Ingrid Moen", "2027-06-30", "30"),
        ("Feinmetall Brandt GmbH", "Bourdon tubes", "Jonas Brandt", "2026-12-31", "45"),
        ("Kabelwerk Tromsø AS", "Sensor cables", "Per Eriksen", "2028-03-31", "30"),
        ("Sakura Semiconductor KK", "Pressure cells", "Aiko Tanaka", "2027-01-15", "60"),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def main() -> None:
    """Write every sample beside this script."""
    write_travel_policy(HERE / "travel-policy.pdf")
    write_leave_policy(HERE / "leave-policy.docx")
    write_price_list(HERE / "price-list.xlsx")
    write_onboarding(HERE / "onboarding.pptx")
    write_runbook(HERE / "incident-runbook.md")
    write_suppliers(HERE / "suppliers.csv")


if __name__ == "__main__":
    main()

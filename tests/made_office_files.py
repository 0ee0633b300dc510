"""Real office files with given text: OpenDocument by odfdo, XLS and RTF as LibreOffice 7.4 wrote them.

The stored ones are what LibreOffice made of the Word document and the workbook that `leave_docx` and
`prices_xlsx` make, so that every format is read against the same text.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import zlib

import docx
import openpyxl
import pptx
from docx.shared import Pt, RGBColor
from odfdo import (
    Annotation,
    Document,
    DrawPage,
    Frame,
    Header,
    List,
    ListItem,
    Note,
    Paragraph,
    Row,
    Span,
    Style,
    Table,
)
from openpyxl.comments import Comment
from openpyxl.styles import Font
from pptx.util import Inches


def leave_docx() -> bytes:
    """Return a Word document with each kind of structure, and with text that no reader sees."""
    document = docx.Document()
    document.core_properties.title = "Leave policy"
    document.add_heading("Leave", 1)
    paragraph = document.add_paragraph("Everybody has 28 days.")
    paragraph.add_run(" SECRET-VANISH").font.hidden = True
    paragraph.add_run(" SECRET-WHITE").font.color.rgb = RGBColor(255, 255, 255)
    paragraph.add_run(" SECRET-TINY").font.size = Pt(1)
    document.add_comment(paragraph.runs[:1], text="SECRET-COMMENT", author="A", initials="A")
    document.add_heading("Requests", 2)
    document.add_paragraph("Ask early", style="List Bullet")
    document.add_paragraph("Größe: 日本語 😀 naïve")
    table = document.add_table(rows=0, cols=2)
    for row in (("Occasion", "Days"), ("Wedding", "2"), ("Moving", "1")):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.sections[0].header.paragraphs[0].text = "Company header"
    return _saved(document)


def leave_rtf() -> bytes:
    """Return what LibreOffice makes of `leave_docx`."""
    return _unpacked(_LEAVE_RTF)


def prices_xlsx() -> bytes:
    """Return a workbook with two tables, and a hidden row, column and sheet, white text and a note."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Prices"
    for row in (
        ["Price list 2026"],
        [],
        [None, "Article", "Price", "Discount", "Since", "Margin"],
        [None, "Gauge", 148.5, 0.05, dt.date(2026, 2, 1), "SECRET-COLUMN"],
        [None, "Meter", 1290, 0.1, dt.date(2026, 3, 1)],
        [None, "SECRET-ROW", 1, 0.2, dt.date(2026, 4, 1)],
        [None, "Ruler", 7, 0, dt.date(2026, 5, 1)],
        [],
        ["Country", "Factor"],
        ["Norway", 1.25],
    ):
        sheet.append(row)
    sheet.row_dimensions[6].hidden = True
    sheet.column_dimensions["F"].hidden = True
    for number in range(4, 8):
        sheet.cell(number, 4).number_format = "0%"
    sheet["B4"].comment = Comment("SECRET-NOTE", "A")
    hidden = workbook.create_sheet("Costs")
    hidden.append(["SECRET-SHEET"])
    hidden.sheet_state = "hidden"
    return _saved(workbook)


def white_xlsx() -> bytes:
    """Return a workbook with a cell in white on white, one in white on blue, and one shown as nothing."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.append(["Name", "Remark"])
    sheet.append(["Ada", "SECRET-WHITE"])
    sheet.append(["Max", "White on blue"])
    sheet.append(["Eve", "SECRET-FORMAT"])
    sheet["B2"].font = sheet["B3"].font = Font(color="FFFFFFFF")
    sheet["B3"].fill = openpyxl.styles.PatternFill("solid", fgColor="FF000080")
    sheet["B4"].number_format = ";;;"
    return _saved(workbook)


def prices_xls() -> bytes:
    """Return what LibreOffice makes of `prices_xlsx`."""
    return _unpacked(_PRICES_XLS)


def plan_pptx() -> bytes:
    """Return two slides, of which one is hidden; on the first, a shape stands beyond the edge."""
    presentation = pptx.Presentation()
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    first.shapes.title.text = "Plan"
    first.placeholders[1].text = "One\nTwo"
    first.notes_slide.notes_text_frame.text = "Say hello."
    outside = first.shapes.add_textbox(Inches(-5), Inches(1), Inches(2), Inches(1))
    outside.text_frame.text = "SECRET-OUTSIDE"
    hidden = presentation.slides.add_slide(presentation.slide_layouts[1])
    hidden.shapes.title.text = "SECRET-SLIDE"
    hidden.element.set("show", "0")
    return _saved(presentation)


def leave_odt() -> bytes:
    """Return an OpenDocument text with each kind of structure, and with text that no reader sees."""
    document = Document("text")
    document.body.clear()
    document.meta.title = "Leave policy"
    for style in (
        Style("text", name="White", area="text", color="#FFFFFF"),
        Style("text", name="Tiny", area="text", size="1pt"),
        Style("text", name="Gone", area="text", display="none"),
    ):
        document.insert_style(style, automatic=True)
    body = document.body
    body.append(Header(1, "Leave"))
    paragraph = Paragraph("Everybody has 28 days.")
    for style_name, text in (("White", "SECRET-WHITE"), ("Tiny", "SECRET-TINY"), ("Gone", "SECRET-GONE")):
        paragraph.append(Span(text, style=style_name))
    paragraph.append(Annotation("SECRET-COMMENT", creator="A"))
    paragraph.append(Note(note_id="n1", citation="1", body="Since 2026."))
    body.append(paragraph)
    body.append(Header(2, "Requests"))
    items = List(["Ask early"])
    items.append(ListItem(List(["Really early"])))
    body.append(items)
    body.append(_table("Days", [["Occasion", "Days"], ["Wedding", "2"], ["Moving", "1"]]))
    return _saved(document)


def prices_ods() -> bytes:
    """Return an OpenDocument workbook with a table, a hidden row and sheet, a comment and repeated rows."""
    document = Document("spreadsheet")
    document.body.clear()
    unseen = Style("table", name="Unseen")
    unseen.set_properties({"table:display": "false"}, area="table")
    document.insert_style(unseen, automatic=True)
    table = _table("Prices", [["Article", "Price"], ["Gauge", 148.5], ["SECRET-ROW", 1], ["Ruler", 7]])
    hidden_row = table.get_row(2)
    hidden_row.set_attribute("table:visibility", "collapse")
    table.set_row(2, hidden_row)
    noted = table.get_cell((0, 1))
    noted.append(Annotation("SECRET-NOTE", creator="A"))
    table.set_cell((0, 1), noted)
    empty = Row(1)
    empty.set_attribute("table:number-rows-repeated", "1000000")
    table.append(empty)
    document.body.append(table)
    costs = _table("Costs", [["SECRET-SHEET"]])
    costs.style = "Unseen"
    document.body.append(costs)
    return _saved(document)


def plan_odp() -> bytes:
    """Return two slides with titles, of which the second is hidden."""
    document = Document("presentation")
    document.body.clear()
    document.meta.title = "The plan"
    hidden = Style("drawing-page", name="Unseen", area="drawing-page")
    hidden.set_properties({"presentation:visibility": "hidden"}, area="drawing-page")
    document.insert_style(hidden, automatic=True)
    for number, (title, text) in enumerate([("Plan", "One step."), ("SECRET-SLIDE", "SECRET-TEXT")]):
        page = DrawPage(f"page{number}", name=f"page{number}")
        for kind, content in (("title", title), ("outline", text)):
            frame = Frame.text_frame(content, size=("20cm", "3cm"), position=("1cm", "1cm"))
            frame.set_attribute("presentation:class", kind)
            page.append(frame)
        if number:
            page.set_attribute("draw:style-name", "Unseen")
        document.body.append(page)
    return _saved(document)


def _table(name: str, rows: list[list[object]]) -> Table:
    table = Table(name, width=len(rows[0]), height=len(rows))
    for at, row in enumerate(rows):
        table.set_row_values(at, row)
    return table


def _saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()


def _unpacked(stored: str) -> bytes:
    return zlib.decompress(base64.b64decode(stored))


_PRICES_XLS = (
    "eNrtWG1sU1UYfs+9t91t1213A2QOmBXlax84BsJAcINSPiJjuA0hZkRKdzcqXbt0XWQkYhHRaCDR8ENjSAwGCYmJSEzwhxo2f/FD"
    "A9Gg8SsZ/MLAj2I0SOJW3/e9p11XOrIONBF3muece97znq/365zTixeKB4+fKbsMGekJUGE44QB7Gk0g8pMVA0CRtOFEIpEkJybT"
    "fyoNyZJ0qKH+bAjSeR5CRzgQTqljlywn0/2TmiGMvyi4wQshLCPQB7mkB9Bi0scbT5/hcfKNN03OP/H5KX5THFcRd/J/ivvk/wWI"
    "QkSRdQRAMaIEMQUxFTGNbQJgOqIU8SCiDDEDMRMxC1GOeAjhRjyMmI14BPEoYg5iLmIeYj5iAaICUYmoQlQjFiIeQ9TIvdTKkvA4"
    "fi9FLJO05ViumIxbYyaHjlq02+Czgq9I5az7y2gRH2sDbBdXEG3QTbbh8QX97n8rreE1+AStoR+NdJXQ0FYVOIYohNNM/5zzVWx/"
    "mBrAXSdtervSwKs/wvlszgsxF/Ap9/mRKYvQEn9mO3+T3UBAnvCAD4IQgF0YCQPIUQbnycNeYg7yD7GaW4jrblrLNRecIC9bb4bM"
    "iC9YruXBB7SqmjnlWjGcJGfrw9RW3dXVVt3ePsjedQL+SLjTPLnfTXQanum/j4+u5EiH/x39BMoum5wrLf54Jn3BGPSqMegVY9Ad"
    "WemAlsHr0TLpJ2+jH1WwEoMElUZM5bI4ZueyJKZxOSWWx+XUmC2xk/3hEHrHPpvl/1siAb/Zcwgj/Q4n+ZINPOGeaM9hIAcUMCB0"
    "BEDrEQHX0E3wIIg/y5Pb4ywy3TpMVBh5IChp34shP04Oew4ZdTgg8IDR+0UD5g1QfsOwjhgdrV/HI0S/iafMX3CKjxsJXp87GOiJ"
    "umtrapeiC62ORAP+oGmTbbiAtYEef7g3FEVSSyDkNzGqNfoinYEQEtb7ejtNnKPF62n2tlZ7mjZtbdyM9EYzakacKXpz0zYkNvcG"
    "zQhO4aHRIn04zjqfPxqO4MfmcOQFX58r1aFlg9fbmsDDsghOa9Zh6denIUbMaJosFTpRrchrjIq8LhRTOw5AkaqYRWagkKo9M69d"
    "WVpW/xzTYzAy4hzSNlSJA9gyoFVwj0rOX2be5Il8kGmvcD431f9q/by07/mp73j9grTv4xg/HbgqYPUrOFuVKHXZDw7sHKxPlgK2"
    "YosOL/K2NXhDL+LeVLfRnaKgiJVPddynSLaDUsiFE5IS0BVDxvAqK2qKIqbRbuwZNDULTWOLHU2zpdHckmbPwqezmY6mOTJoQ3Kt"
    "1vqpRiuzdmfVFNZfsqZiTU3VNKxpqZoNazZZU3kUksAXeG9SeZT8q6S96XyjevcC9bY4qV+e7KdxP13207hfxVTqV8n9nBeT/WzM"
    "6ZCcNua0s320MOerKU47czolp505y5lTYc7hFKfOksiXa9G5n0vWHNxG98X9CtWo7SaK6ToYKEclbgi27rieDA4a8avxP7mfFp/P"
    "VuCIG1lusAo4uR8J0yb5+7F832XRaSzaQIvIj+8HCojAUY7meY11ZYWf7azXGOcHRCJxGQ4Kup+eEwaurZ/pFOwEfCno0nxREOkb"
    "zr/l/DvOv+comhClKC/+hHpFRU2dUxWWo8EhjxpuqnQfVqBW1Vg2xRzrd8ASlG4J3pZFxk4LUN5HvT9VrHh6/ZnY4VlVhe7SfSOt"
    "11kDBTzGWVGSvAnxfd2S20oYiVCbm1q9K8FI47HSTJxF5ZnJw/FAeVIpgbN2605FQ7Qz2yxpyjKQU+rEIN2pp+tFJB8h93eIuz2E"
    "iVSeLYSNhI1CVtsWkkB8Az+CLBcQ8uwkF6jJxQV0ywVYZ3D3OssxCXxZqU7rDWroinULsZrW0ZuvMeCPhHvCHVG3d6/fDLqXL6tu"
    "9e0yg0GTrWFNoKOj7m7evsJyqwmn4QSwyrOMC4OH3vvtVtNu48O3dKic98kPpJZ35NtYSEGTcW6Q7+Q2KcLd0rei8s0ck+/mwzIG"
    "/DpkvYGpT7jbDHX37Q2CfBcr8l3bkLaW276fGrrx+r5fRPr3vd4/X9kufX3p2MIZxtG3cf9Vtz5aS2+YDFqbfOcLCSNtj5vkNRDk"
    "W5/a62R7Q9rVkGS1urv7GTPSEwiHRsuI5Lt44SKYTP9Mupf//7H+M2JAtj5kE/1W1IRtOHsE9uBDgtaxJ+f1l/CNy7KTRA7/qxW7"
    "kn7uwXm7oBuacA3PT2h+Ne0/uPH0IWvemIozTRAEc8L6o3tkrv//LZb/1fF/Enj768X9d4GPdb8RraCDdUKUKATwO3SHsebL+W05"
    "yH8J4nxq/rU4g5/XYLIF5raeugnsn2LQqcn/fzn9DbDNWBc="
)
_LEAVE_RTF = (
    "eNrtXFuPm0gWfs+v4GGklkZKBqq4efOwyvRkdyIlmd10a2ZXKikqoGiTYCAF7rbV8n/fUxcMpsB2J06yPeMogqpzDudWVV9doH1P"
    "eJM6hBZ1RhKWpi6hcMtpcePYyHtyT9KyaJooh4JNUl4uaEHSin9CJI3nlNessa3rbMFq6y27s94J/vMNCDvjwsi6Wi+iMpcyQK7v"
    "sro2FL7gGVUieMrmL+wD/X1pXTGepVLSnZK8pIsI9Ekhb8piqw7yIAX9aW15BuqkUDApVC55xvg9+ZGkNG/aukjRRj4ZkrTI8oNe"
    "zMbEHBRa5CJE5MKP1T1AgoDJhYf13Vd3H6m7y1Sb2ONmn2820NBxmZccWvo54SyxyQ1nrLBJlC+ZbZKQ5/WJUN1HVgpEbUTFgDyQ"
    "nVAxYVCpgAz1iVDdR1aaRW1ExYA8kJ1QMTTozJBmQEEyZkgyPFfRZyoYx1XBBLNWz0zRw5mkY1/RfSzJM19Sfa0E7oLquypTWFE9"
    "RZ3hXU9CFU8QPBdNXzfrnNVzxhoo26Qu2KqxARjyeE6o6DY0rREitIUFi+QNB56qYywLKZPFeSYfckleQqHOUeDDdbHMG4d8ysld"
    "lsRNXlFO6ggsUWTbQpkgzNfVHO42iQXUwHgWNrcmPjJeZMWNTZJIeeX0rFpvS74QkCGCcUA1rVlSFlOhhIRGbQzaX3/C34+MVTtO"
    "u6Fw25aMonU9Tp1AgobQHbUuzqxfGU3AactRnqGDnvlf4JlI5ZhnofbMH/MMKc/wfs++jk8j7mDljrvfnexreZSN+eQqn7x9Pp3a"
    "m5nwxvDEU574B7LzVZzJTHd85U7wbd1B9oQ7GsvCg4PM/lojzDadCpVTs8NOfa1MSd0j6ZpJz34kce10XRtgTLrneFIO1iyXsEro"
    "JH1T0rf+UZaNIdmyA1jVpBRct/5FOb3htJrDA0XTSYamzvB4xD4IvQO/Zqa12fEofBBOd61B5ofW0FHIug8iByYc04QzCMhDU1ZA"
    "VEbjIcJWVZE46tbcee2E63QeXGdNzgbWkWkdDdPpTnbtXjpdZRm3DkCn7HXaq2XUjFjHpnVs/Vwma+saygNh1xR2e8LDpjMHBZDa"
    "yGAkbBdBIhBJ6HQN28gcNkDa6jIAKdBKAzl4rTc05uVYRIGpNmjVZjv+QaJJZv17CQN1oMMcfSg8crLdP2sO7JjjDs0OTqDTM+Gu"
    "dmyOM3zULLRvdhuYMMcZdo4zMT1jDUyYgwmjIyevA7PQwJA5boB09IR0cGYZWDMHHpC0tWinm0bWVcPL4qZ71hyF2Bvv4pn1clHN"
    "aZ3V3dPmuMPbcZcNjcsUQl+2XhUNK2o2NlywOeTw9JADCJPIBbhl+mYOPBwe75upzxxgQFILiJhWtWg1RJY5/I/t1qt3LGWcFTHb"
    "qnHNkeTa443VUzucO7SZnr8jlswB5Tr7LA2NRAC45Uc1K3VakVaFrNdZ3bymEcv19kuysWbjHht1bFez3R4bd2xPs70e2+3Yvmb7"
    "PbbXsdsogx7b79ihZoc9dtCxZ5o967HDLdvT60rP7rFneudi7Ii9DlZCtb4ajHTviO07En2FOmiw7pSHbDCHaFgIW1jQvqARX447"
    "KhCWlA01F4rpVis1tq9AOaQ0z7APPTsDpVmhivB0mj0V5e5wIoa1Kihc0ryuaMxaD0SStXFjs+q5vbndHeLC3jhFjCrSogS32Dap"
    "QlFmXdKqycpCGzZ2pJ73gFOXHQMwThO20nqN/aXnP/g0p90+0CLR+wOt3NgtesFWuehQY8qbTzFpVq4f2lCE6mrWtdHAoLZibAKB"
    "chIrO7HoIenNTnVWNuXarhNfeFJmXUFH3g5I3z60NZ3aPRz0F48Mn4gnvJHXoixUNd+tRvJay+sdDARxl9NfxOsqVHXePdLtdh+8"
    "ldEJOHxe6B6/N99zvvngzY72z0BMHx0BbgHagpsqSnA7Etm6vbr2wQBYfwuw8kD0KNTu7bW0WgM6fXdyi/WA+cHYjmlzBmD63mdn"
    "8vhpYhutgau+f4R5xw639nX5oQ608RvY6wcP6Mb7LPy8zHOmJ0TfAF8/PKmZbUKNUzV/dlpDOnGBgZFAOY2ht8tF1M4ngYFEQDml"
    "mTZxgQEpATqtoTZxBm4En78ws3vjfJ8Ll8DLiqWGz8DAmMD9Yvg81oVtwg3kCbwvGPoPdqNtDr1BCXYOn/Q894AFy2HUaFYesJqV"
    "48B0DLcANgTNCmHbFbdQLLFW2PWEiGvLc4+pl4H6EEwudY5c4izEeZmOePrlRPaw2WV3Im8P07SVPe8cxPn2cDt7aOFkLBqEksiK"
    "+6v/YPqVQjZicLqTzcSRiLxCL1MVeVPdTL1aQHrd9YCVm3P8ym3s2EW/y+mAV2xiRZSh/Q23rnJXtLuBDXvHFt/79bIY36xo6p6H"
    "G3EckMPgb2iUs3tZVHW2qHLasCxxnihyzm5ZTuS1SGOEVfFDbKtC3VDeUHBT1tIyz8s7+17VBOJY5MJ2yNJ3fIStv4sPTJQqOQHU"
    "zzckdVC7TJGQvhm1a3+GWSRMPxuaFERhtjUpEPO0NtFhm657Ypv4sM3QPrFN96BN5Jy6Pb3DNj10Ypv+YZvhqftQcNAmRqfuQ+Fh"
    "mz70IWkR8KE1PsAN9D1wI0Bn3Djjxhk3HgFuoAncwN8DN04/iM/AcQaOM3B8DeDAE8DhntQn+xifzpBxhowzZPz/Q4Y7ARneN4aM"
    "8/bkDBlnyHgUkOFNQIb/jSHjvDM5Y8YZMx4HZvgTmBGMH2mI7+8OeoUGXtljRxnyne9E6GczZzNnM3vN6OEbyPeholzeMs6zhPXe"
    "irak9q3HDjEul0UDumpnMyqNxqXRuDQel8bj0u64tDsu7Y1Le+PS/ri0Py4djEsHG/mW+YYVjNOmFB+bRJz9lqZZzH4KnrnPgmfo"
    "h9dZsVy9/0/ov/fdvsD7ipcfWNz85No//LzM8uSpSFpWpOU9UX/i9ZrRW2ZVZZ7Fa2AlZRyXi4WlzbHEitZWtW7mZfEUeCsQoUuo"
    "8QEx5ow22YKsObIdTBalg0iyRpjMOVwWWeGIHHF2e1io4lmhpGwQsUHCBgFb8G2Vi2XNOARW1UK4rAq6YNaLqvodumVWFhtJbNYV"
    "w7b4a3vwK76lueW4z2z4t9mIn96Arim+NNqWnshvYCC00iG3GburY5ozx7blB//VTVLHTZRDRRZtdQM3XM+B8l29KhwkPnOobuai"
    "7IVQXlB+k4saLJNkhfcrjajAoo3M5ZfUa+GNoEeafq8ZpKI8ITATZoUlP+g+xYfV91LLk8tyUdFibSlLmyfClrVRwRUr+RMZ7R+T"
    "3jDrSvxugfj1CpKWfFHP4Rl4oGJ8ruKV5TuVBxl7F3gX9TZMGXsNXTMB3z7KT1SqmwL6PanTpijE5xlUFHgeS7FlAS5/ZMmfMN8Q"
    "ZvRBXCUQO6LE60Z8akZ0KigrEhhohPZYtHtgm6h5s4AuXFey1wo+q0g8V4VNm9+dAJ3v9TmNenrwjM6TxCSdnl13H9XvZNyLVqAN"
    "T2UzWWKiFNG9BIRfR+Jz6TmtLRRaCV3XzzY69s32KWjz9hlyq5iaV2SJ9WKjyxqOX2ygpaEqqUVRCtgrCy3DWQqqdCUBWLccDDuM"
    "wEWeNtD2152Oft9mW6cYbz8Dc3eTjbpko22y9ben4leFxDf4W0mZqp640Cmju3p5+e7l9dPL3968efn2erPZWJry+4u3r65+1RmC"
    "htDyLfuPX19dv2y5YGuXe/3q7X9H+xL6Xj8Holv6Hfu0ZHVTjzp3gm/F7/U2atX0VVv6pS65wCmBuW9Dsvw2l4sva+9faWmvX9Qf"
    "LUZ5vv4TjE8V0T85WSLXJxfQUkskMpOk7G+WWAzBQ0+A5tuhJ/MFRRfWLLKIPTf0RREyGttw8TwM08UydkTZD7GUs9pxXVB4Gs/I"
    "BUs7bGt4eZfAFUJseA5rkaeOHYrIgE5EfEmSNliXYDWoSXlLyrekqCVFWxJvSSI5kDypShYaYUWRuCZxSWJ5vnIRRPgA+dDDziPu"
    "BLAYhpUdKcoR9brpfotjqhaWIuA/d6y/wFyk4xR9UMZ67qWPoeX+YIn4Kvmv0EnRuYc+xmZ7U97+RTqoM+igm/8BbqCOTw=="
)

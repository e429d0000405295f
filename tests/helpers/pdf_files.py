"""PDFs written by hand: a page of text, Chinese too, or a page that only has a picture."""

from __future__ import annotations

from collections.abc import Sequence

_CMAP = """/CIDInit /ProcSet findresource begin begincmap
/CMapName /Own def /CMapType 2 def
1 begincodespacerange <0000> <FFFF> endcodespacerange
1 beginbfrange <0000> <FFFF> <0000> endbfrange
endcmap end"""


PICTURE = "\0picture"  # stands for a page that is one


def pdf_bytes(pages: Sequence[str]) -> bytes:
    """A page per string, each line of it on a line of its own; an empty string is a page without text."""
    contents = [_page(page) for page in pages]
    places_of = [6 + 2 * i + pages[:i].count(PICTURE) for i in range(len(pages))]
    kids = " ".join(f"{place} 0 R" for place in places_of)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type0 /BaseFont /Song /Encoding /Identity-H "
        "/DescendantFonts [4 0 R] /ToUnicode 5 0 R >>",
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Song /DW 1000 "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        _stream(_CMAP),
    ]
    for i, content in enumerate(contents):
        image = f" /XObject << /I {len(objects) + 3} 0 R >>" if pages[i] == PICTURE else ""
        resources = f"<< /Font << /F 3 0 R >>{image} >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources {resources} "
            f"/Contents {places_of[i] + 1} 0 R >>"
        )
        objects.append(_stream(content))
        if image:
            objects.append(_IMAGE)
    data = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode("ascii")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    return data + (
        f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer << /Size {size} /Root 1 0 R >>\n"
        f"startxref\n{len(data)}\n%%EOF\n"
    ).encode("ascii")


_IMAGE = (
    "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>\n"
    "stream\n0\nendstream"
)


def _page(text: str) -> str:
    if text == PICTURE:
        return "600 0 0 800 0 0 cm /I Do"
    lines = [f"<{line.encode('utf-16-be').hex()}> Tj 0 -20 Td" for line in text.splitlines()]
    return f"BT /F 12 Tf 50 750 Td {' '.join(lines)} ET" if lines else "0 0 100 100 re f"


def _stream(content: str) -> str:
    return f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"

"""What becomes of one file: its text, its title, its sections; and the reason where nothing does."""

import importlib.util
import io
import os
import zipfile
from pathlib import Path

import pytest
from agent_runtime.retrieval import chunk_markdown, read_front_matter
from repo_tools.ingest.conversion import Source, Unreadable, convert, document_name, supported, version

needs_readers = pytest.mark.skipif(
    importlib.util.find_spec("pdfminer") is None,
    reason="needs the readers of HTML, PDF and DOCX: python3 tools/bootstrap.py --with-document-readers",
)


def converted(folder: Path, name: str, content: bytes | str) -> str:
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return convert(Source(path, name, "2026-03-01"))


def reason(folder: Path, name: str, content: bytes | str) -> str:
    with pytest.raises(Unreadable) as caught:
        converted(folder, name, content)
    return str(caught.value)


def pdf(*pages: str, title: str = "", trailer: str = "") -> bytes:
    """A PDF with one line of text a page, in the letters of Helvetica."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    body, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return (
        f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n"
        f"<< /Size {size} /Root 1 0 R /Info {len(objects)} 0 R {trailer} >>\nstartxref\n{len(body)}\n%%EOF\n"
    ).encode("latin-1")


def docx(*paragraphs: tuple[str, str], extra: str = "") -> bytes:
    """A DOCX of (style, text) paragraphs."""
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    office = "http://schemas.openxmlformats.org"
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{identity}"><w:name w:val="{name}"/></w:style>'
        for identity, name in {"Heading1": "heading 1", "Heading2": "heading 2", "Title": "Title"}.items()
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{office}/package/2006/content-types"><Default Extension="xml" '
            'ContentType="application/xml"/></Types>',
        )
        package.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{office}/package/2006/relationships"><Relationship Id="r1" '
            f'Type="{office}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        )
        package.writestr("word/styles.xml", f'<w:styles xmlns:w="{namespace}">{styles}</w:styles>')
        package.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{namespace}"><w:body>{body}{extra}</w:body></w:document>',
        )
    return file.getvalue()


def test_markdown_stays_as_it_is_and_gets_front_matter(tmp_path: Path) -> None:
    text = "# Crampons\n\n## Care\n\nSharpen them.\n"
    assert (
        converted(tmp_path, "ice/crampons.md", text)
        == f"---\ntitle: Crampons\nsource: ice/crampons.md\nupdated: 2026-03-01\n---\n\n{text}"
    )


def test_markdown_keeps_the_front_matter_that_it_has(tmp_path: Path) -> None:
    text = "---\ntitle: Ice\ntags:\n  - a\nsearch: false\n---\n# Crampons\n\nSharpen them.\n"
    document = converted(tmp_path, "crampons.md", text.replace("\n", "\r\n"))
    properties, body = read_front_matter(document)
    assert (properties["title"], properties["search"], properties["updated"]) == ("Ice", "false", "2026-03-01")
    assert body == "# Crampons\n\nSharpen them.\n"
    assert "tags:\n  - a\n" in document


def test_a_rule_at_the_top_of_a_text_is_not_front_matter(tmp_path: Path) -> None:
    document = converted(tmp_path, "a.txt", "---\ntitle: no\n---\n\nSharpen them.")
    assert read_front_matter(document)[0]["title"] != "no"
    assert "Sharpen them." in read_front_matter(document)[1]


@pytest.mark.parametrize("title", ["Ice: a guide", 'The "big" guide', "'Quoted' it is", "50 % off # now", "- dash"])
def test_any_title_is_read_back(tmp_path: Path, title: str) -> None:
    properties, _ = read_front_matter(converted(tmp_path, "a.md", f"# {title}\n\nText."))
    assert properties["title"] == title.replace('"', "'").strip("'")


def test_a_text_without_blank_lines_has_its_lines_as_paragraphs(tmp_path: Path) -> None:
    lines = ["One paragraph that was never wrapped. " * 5, "Another one, as long as that. " * 5]
    assert "\n\n".join(line.strip() for line in lines) in converted(tmp_path, "a.txt", "\n".join(lines)).replace(
        " \n", "\n"
    )
    assert "One is\nwrapped." in converted(tmp_path, "a.txt", "One is\nwrapped.")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_in_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    assert "Größe € 42" in converted(tmp_path, "a.txt", "Größe € 42".encode(encoding))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.md", b"", "empty"),
        ("a.txt", b" \n\t\n", "empty"),
        ("a.md", b"---\ntitle: x\n---\n", "empty"),
        ("a.md", b"<!-- nothing yet -->\n# Title\n", "empty"),
        ("a.txt", b"caf\xe9", "not text in UTF-8; save it as UTF-8"),
        ("a.txt", b"abc\x00\x01", "binary data, not text"),
    ],
)
def test_a_text_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    assert reason(tmp_path, name, content) == expected


def test_no_two_files_make_one_document() -> None:
    names = ["guide.md", "guide.markdown", "guide.txt", "guide.pdf", "guide.pdf.md", "guide.md.md", "guide", "guide.MD"]
    names = [name for name in names if supported(name)]
    assert len({document_name(name) for name in names}) == len(names) == 7
    assert document_name("sub/guide.md") == "sub/guide"
    assert document_name("sub/guide.pdf") == "sub/guide.pdf"


def test_a_type_that_needs_no_reader_has_a_version_without_them() -> None:
    assert version("a.md") == version("a.txt") == "1"


@needs_readers
def test_html_becomes_its_content_without_the_page_around_it(tmp_path: Path) -> None:
    document = converted(
        tmp_path,
        "stoves.html",
        """<html><head><title>Stoves &amp; fuel</title><style>p {color: red}</style></head><body>
        <nav><a href="/">Home</a></nav><main><h1>Stoves</h1><h2>Fuel</h2><p>Burn <b>gas_only</b>, see
        <a href="https://gas.example/x">this</a> and <a href="../y.html">that</a> *.</p>
        <table><tr><th>Size</th><th>Price</th></tr><tr><td>S</td><td>3</td></tr></table>
        <p hidden>secret</p><script>alert("x")</script><img src="data:;base64,AAAA" alt="x"></main>
        <footer>Imprint</footer></body></html>""",
    )
    properties, body = read_front_matter(document)
    assert properties["title"] == "Stoves & fuel"
    assert "Burn **gas_only**, see" in body
    assert "[this](https://gas.example/x) and that *." in body
    assert "| Size | Price |\n| --- | --- |\n| S | 3 |" in body
    assert not any(word in body for word in ("Home", "alert", "secret", "Imprint", "color", "AAAA"))
    assert chunk_markdown("stoves", document)[0].heading_path == ("Stoves", "Fuel")


@needs_readers
def test_html_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    page = '<meta charset="{}"><p>Only 5 €</p>'
    assert "Only 5 €" in converted(tmp_path, "a.html", page.format("iso-8859-1").encode("windows-1252"))
    assert "Only 5 €" in converted(tmp_path, "a.html", page.format("utf-16").encode())
    assert reason(tmp_path, "a.html", page.format("utf-99")) == "not text in UTF-99; save it as UTF-8"


@needs_readers
def test_docx_keeps_headings_and_paragraphs(tmp_path: Path) -> None:
    content = docx(("Title", "Rope guide"), ("Heading2", "Length"), ("Normal", "A rope has 60 metres."))
    document = converted(tmp_path, "rope.docx", content)
    (passage,) = chunk_markdown("rope", document)
    assert (passage.title, passage.heading_path, passage.text) == ("Rope guide", ("Length",), "A rope has 60 metres.")


@needs_readers
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (docx(("Normal", "")), "empty"),
        (b"no", "not a DOCX file, or a damaged one"),
        (docx(("Normal", "x"))[:300], "not a DOCX file, or a damaged one"),
        (
            bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),
            "has a password, or is in the format of Word 97; save it as DOCX without one",
        ),
    ],
)
def test_a_docx_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, expected: str) -> None:
    assert reason(tmp_path, "a.docx", content) == expected


@needs_readers
def test_the_pages_of_a_pdf_are_its_sections(tmp_path: Path) -> None:
    document = converted(
        tmp_path, "tents.pdf", pdf("Tents weigh 3 kg.", "", "# They dry in a day.", title="Tent guide")
    )
    first, second = chunk_markdown("tents", document)
    assert (first.title, first.heading_path, first.text) == ("Tent guide", ("Page 1",), "Tents weigh 3 kg.")
    assert (second.anchor, second.text) == ("page-3", "\\# They dry in a day.")


@needs_readers
@pytest.mark.parametrize("title", ["", "Microsoft Word - tents.docx", "untitled", "tents.indd"])
def test_a_title_that_a_program_put_into_a_pdf_is_not_one(tmp_path: Path, title: str) -> None:
    document = converted(tmp_path, "big-tents.pdf", pdf("Tents weigh 3 kg.", title=title))
    assert read_front_matter(document)[0]["title"] == "Big tents"


@needs_readers
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pdf("", ""), "no text in the PDF, as in a scanned one; give it a text layer (OCR) first"),
        (b"no", "not a PDF file, or a damaged one"),
        (
            pdf(
                "Secret",
                trailer=f"/ID [<{'00' * 16}> <{'00' * 16}>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 "
                f"/O <{'11' * 32}> /U <{'22' * 32}> >>",
            ),
            "encrypted PDF; save it without a password",
        ),
    ],
)
def test_a_pdf_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, expected: str) -> None:
    assert reason(tmp_path, "a.pdf", content) == expected


def test_the_lock_of_the_readers_agrees_with_the_development_lock() -> None:
    root = Path(__file__).parents[2]
    locks = []
    for name in ("requirements-dev.lock", "requirements-ingest.lock"):
        text = (root / name).read_text(encoding="utf-8")
        assert "://" not in text
        entries = [line.split() for line in text.splitlines() if "==" in line]
        assert all(line[-1] == "\\" for line in entries)  # a hash follows
        locks.append({entry[0] for entry in entries})
    names = {pin.split("==")[0] for pin in locks[0]}
    assert {pin for pin in locks[1] if pin.split("==")[0] in names} <= locks[0]
    assert any(pin.startswith("mammoth==") for pin in locks[1] - locks[0])


def test_the_file_is_not_changed(tmp_path: Path) -> None:
    converted(tmp_path, "a.md", "# A\n\nText.")
    assert os.listdir(tmp_path) == ["file"]

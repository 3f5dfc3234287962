"""One file as a markdown document with front matter, or the reason why it cannot be one.

HTML, PDF and DOCX are read by the packages of the dependency group `ingest`: BeautifulSoup with markdownify,
pdfminer.six and mammoth, which markitdown reads these formats with too. Itself it is not used: it needs onnxruntime, to
guess types that the suffix tells (https://github.com/microsoft/markitdown/issues/1234), and makes one text of a PDF's
pages (https://github.com/microsoft/markitdown/issues/304), of which a citation could name none.
"""

import codecs
import importlib.metadata
import re
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from agent_runtime.retrieval import chunk_markdown, read_front_matter

VERSION = 1
"""Of what this module makes of a file. With another one, every file is converted again."""

READERS = ("beautifulsoup4", "mammoth", "markdownify", "pdfminer.six")
NO_READERS = "needs the readers of HTML, PDF and DOCX; `make ingest` installs them"
EMPTY = "empty"
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""What the container begins with that holds .doc files, and DOCX files with a password."""
_BYTE_ORDER_MARKS = (
    # The longer ones first: UTF-16's little-endian mark is the start of UTF-32's.
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ENCODINGS_OF_THE_WEB = {
    # What browsers take these names for: https://encoding.spec.whatwg.org/#names-and-labels and, for UTF-16 declared in
    # bytes that are not, https://html.spec.whatwg.org/multipage/parsing.html#prescan-a-byte-stream-to-determine-its-encoding
    **dict.fromkeys(("ascii", "us-ascii", "iso-8859-1", "iso8859-1", "latin1", "latin-1"), "windows-1252"),
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be"), "utf-8"),
}
_NOT_CONTENT = (
    "script", "style", "noscript", "template", "iframe", "svg", "nav", "footer", "form", "button", "img", "[hidden]",
)  # fmt: skip
_TITLES_OF_PROGRAMS = re.compile(r"untitled|(?:microsoft |powerpoint ).*|.*\.[a-z]{2,5}", re.IGNORECASE)
_HYPHEN_AT_LINE_END = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_BULLET = re.compile(r"^[ \t]*[\u2022\u25aa\u25cf\u2023\uf0b7][ \t]*", re.MULTILINE)


class Unreadable(Exception):
    """The file cannot become a document; the text is the reason that the user reads."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be converted."""

    path: Path
    name: str
    """Its path below the folder, with `/`."""
    updated: str
    """The date of its last change, as YYYY-MM-DD."""


def supported(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _CONVERTERS


def document_name(name: str) -> str:
    """The name of the document made of the file `name`, without the suffix that all documents have.

    Markdown loses its suffix, as in a handbook; other files keep theirs, so that `guide.md` and `guide.pdf` are two.
    """
    stem = name.removesuffix(".md")
    return name if supported(stem) else stem


def version(name: str) -> str:
    """Of everything that has a part in converting the file `name`; empty where its readers are not installed."""
    if _CONVERTERS[PurePosixPath(name).suffix.lower()] in (_markdown, _text):
        return str(VERSION)
    try:
        return " ".join([str(VERSION), *(importlib.metadata.version(package) for package in READERS)])
    except importlib.metadata.PackageNotFoundError:
        return ""


def convert(source: Source) -> str:
    """The document, with `title`, `source` and `updated` in its front matter.

    Raises:
        Unreadable: with the reason.
    """
    content = source.path.read_bytes()
    if not content.strip():
        raise Unreadable(EMPTY)
    return _with_front_matter(_CONVERTERS[PurePosixPath(source.name).suffix.lower()](content), source)


@dataclass(frozen=True, slots=True)
class _Converted:
    markdown: str
    title: str = ""
    """What the file itself calls its title, where it does."""
    own_front_matter: bool = False
    """Whether the markdown may begin with front matter that the user wrote."""


def _with_front_matter(converted: _Converted, source: Source) -> str:
    markdown = converted.markdown.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    properties, body = read_front_matter(markdown) if converted.own_front_matter else ({}, markdown)
    name = PurePosixPath(source.name).stem
    # Below a front matter, a body that begins with `---` is what it is: a rule, not front matter.
    passages = chunk_markdown(name, f"---\nsource: {name}\n---\n{body}")
    if not passages:
        raise Unreadable(EMPTY)
    own = {
        "title": converted.title or passages[0].title,
        "source": source.name,
        "updated": source.updated,
    }
    lines = [f"{key}: {_one_line(value)}" for key, value in own.items() if not properties.get(key)]
    theirs = markdown[: len(markdown) - len(body)]
    rest = theirs.partition("\n")[2] if theirs else "---\n\n"
    return "\n".join(["---", *lines, rest]) + body.rstrip() + "\n"


def _one_line(value: str) -> str:
    plain = " ".join(value.split())
    quoted = plain.replace('"', "'")
    return plain if re.fullmatch(r"\w[^:#\"']*", plain) else f'"{quoted}"'


def _markdown(content: bytes) -> _Converted:
    return _Converted(_decoded(content), own_front_matter=True)


def _text(content: bytes) -> _Converted:
    """Blank lines part paragraphs; in a text without any, whose lines are long, each line is one."""
    text = re.sub(r"\r\n?|\f", "\n", _decoded(content))
    lines = [line for line in text.split("\n") if line.strip()]
    if "\n\n" not in text.strip() and sum(map(len, lines)) > 120 * len(lines):
        text = "\n\n".join(lines)
    return _Converted(text)


def _decoded(content: bytes, encoding: str = "utf-8") -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), encoding)
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        raise Unreadable(f"not text in {encoding.upper()}; save it as UTF-8") from None
    if "\0" in text:
        raise Unreadable("binary data, not text")
    return text


def _html(content: bytes) -> _Converted:
    from bs4.dammit import EncodingDetector  # noqa: PLC0415 - of the dependency group

    declared = EncodingDetector.find_declared_encoding(content, is_html=True) or "utf-8"
    return _html_text(_decoded(content, _ENCODINGS_OF_THE_WEB.get(declared, declared)))


def _html_text(text: str) -> _Converted:
    from bs4 import BeautifulSoup  # noqa: PLC0415
    from markdownify import MarkdownConverter  # noqa: PLC0415

    page = BeautifulSoup(text, "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    for element in page.select(",".join(_NOT_CONTENT)):
        element.decompose()
    for link in page.find_all("a"):
        # Relative ones lead nowhere from where the document is shown.
        if not str(link.get("href", "")).startswith(("https://", "http://", "mailto:")):
            link.unwrap()
    markdown = MarkdownConverter(
        heading_style="atx",
        bullets="-",
        # A passage is quoted as it is: backslashes would be read as part of it.
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
    ).convert_soup(page.find("main") or page.body or page)
    return _Converted(markdown.strip("\n"), title)


def _docx(content: bytes) -> _Converted:
    import io  # noqa: PLC0415

    import mammoth  # noqa: PLC0415

    if content.startswith(_OLE):
        raise Unreadable("has a password, or is in the format of Word 97; save it as DOCX without one")

    def without_picture(image: Any) -> list[Any]:
        return []

    try:
        result = mammoth.convert_to_html(
            io.BytesIO(content),
            style_map="p[style-name='Title'] => h1:fresh",
            include_embedded_style_map=False,
            external_file_access=False,
            convert_image=without_picture,
        )
    except (zipfile.BadZipFile, KeyError):
        raise Unreadable("not a DOCX file, or a damaged one") from None
    return _html_text(result.value)


def _pdf(content: bytes) -> _Converted:
    """The pages as sections, so that a citation names the page."""
    import io  # noqa: PLC0415

    from pdfminer.high_level import extract_pages  # noqa: PLC0415
    from pdfminer.layout import LTTextContainer  # noqa: PLC0415
    from pdfminer.pdfdocument import PDFEncryptionError, PDFPasswordIncorrect  # noqa: PLC0415
    from pdfminer.pdfparser import PDFSyntaxError  # noqa: PLC0415

    try:
        title = _pdf_title(content)
        pages = [
            "\n\n".join(_pdf_paragraph(box.get_text()) for box in page if isinstance(box, LTTextContainer))
            for page in extract_pages(io.BytesIO(content))
        ]
    except (PDFPasswordIncorrect, PDFEncryptionError):
        raise Unreadable("encrypted PDF; save it without a password") from None
    except PDFSyntaxError:
        raise Unreadable("not a PDF file, or a damaged one") from None
    if not any(page.strip() for page in pages):
        raise Unreadable("no text in the PDF, as in a scanned one; give it a text layer (OCR) first")
    if len(pages) > 1:
        pages = [f"## Page {number}\n\n{page}" for number, page in enumerate(pages, 1) if page.strip()]
    return _Converted("\n\n".join(pages), title)


def _pdf_title(content: bytes) -> str:
    """Of the document's properties, unless a program put it there."""
    import io  # noqa: PLC0415

    from pdfminer.pdfdocument import PDFDocument  # noqa: PLC0415
    from pdfminer.pdfparser import PDFParser  # noqa: PLC0415
    from pdfminer.pdftypes import resolve1  # noqa: PLC0415
    from pdfminer.utils import decode_text  # noqa: PLC0415

    found = [resolve1(info["Title"]) for info in PDFDocument(PDFParser(io.BytesIO(content))).info if "Title" in info]
    title = decode_text(found[0]).strip("\0 ") if found and isinstance(found[0], bytes) else ""
    return "" if _TITLES_OF_PROGRAMS.fullmatch(title) else title


def _pdf_paragraph(text: str) -> str:
    text = "".join(character for character in text if character in "\n\t" or unicodedata.category(character) != "Cc")
    text = _BULLET.sub("- ", _HYPHEN_AT_LINE_END.sub("", text.strip()))
    # Of a PDF's characters none is markup. These would begin a heading or a block of code.
    return re.sub(r"^(#|```|~~~)", r"\\\1", text, flags=re.MULTILINE)


_CONVERTERS: dict[str, Callable[[bytes], _Converted]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _text,
    ".text": _text,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".docx": _docx,
}

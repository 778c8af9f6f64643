"""Draw QR codes as SVG without a style of its own, so that the content security policy allows it in a page."""

import io
from functools import lru_cache

from markupsafe import Markup

from app.web.render import made


# Each costs some milliseconds, and anyone may ask for that of the class.
@lru_cache(maxsize=32)
def qr_svg(text: str, *, whole: bool = False) -> Markup:
    """Return a QR code of the text as an ``svg`` element, or with ``whole`` as a file of its own."""
    import segno  # noqa: PLC0415 - 1 MB that servers without a class do not need

    out = io.BytesIO()
    segno.make_qr(text, error="m").save(
        out, kind="svg", border=3, light="#fff", dark="#000", omitsize=True, xmldecl=whole, svgns=True, svgclass="qr",
        lineclass=None,
    )  # fmt: skip
    return made(out.getvalue().decode())

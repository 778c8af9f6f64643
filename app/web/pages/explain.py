"""Show a compiler's explanation of an error code: a fragment for htmx, else a page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.web.pages.common import Home, by_htmx, page_answer
from app.web.render import page

router = APIRouter()


@router.get("/explain/{code}")
async def explain(request: Request, home: Home, code: str, toolchain: str = "") -> Response:
    """Show ``rustc --explain CODE`` of the named toolchain, else of the default one."""
    title, text = await home.choice.explanation(code, toolchain, request.state.queue_owner or "")
    if by_htmx(request):
        return HTMLResponse(page("_explain.html", root=home.root, code=code, toolchain=title, text=text))
    return await page_answer(request, "explain.html", code=code, toolchain=title, text=text)

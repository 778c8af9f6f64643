"""Colour code for the page: tokens become spans with the classes that the editor's own colours have."""

from functools import cache
from itertools import groupby

from markupsafe import Markup
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Punctuation, String, _TokenType
from pygments.util import ClassNotFound

_CLASSES = (
    (Comment.Preproc, "macro"),
    (Comment, "comment"),
    (Name.Attribute, "property"),
    (Name.Function.Magic, "macro"),
    (Name.Function, "name"),
    (Name.Class, "type"),
    (Name.Namespace, "type"),
    (Name.Builtin, "type"),
    (Keyword.Type, "type"),
    (Keyword.Constant, "number"),
    (Keyword, "keyword"),
    (Number, "number"),
    (String, "string"),
)
"""The first that holds a token decides."""
_LANGUAGES = {"rust": "rust", "toml": "toml", "console": "bash", "asm": "gas", "ld": "c"}


def highlighted(code: str, language: str) -> Markup:
    """Return the code with its tokens marked; code in a language without colours stays as it is."""
    lexer = _lexer(language)
    if lexer is None:
        return Markup.escape(code)
    pieces = []
    for name, group in groupby(lexer.get_tokens(code), key=lambda token: _class(token[0])):
        text = "".join(text for _, text in group)
        pieces.append(Markup('<span class="tok-{}">{}</span>').format(name, text) if name else Markup.escape(text))
    return Markup().join(pieces)


@cache
def _lexer(language: str) -> Lexer | None:
    if language not in _LANGUAGES:
        return None
    try:
        return get_lexer_by_name(_LANGUAGES[language], stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@cache
def _class(kind: _TokenType) -> str | None:
    if kind in Punctuation:
        return None
    return next((name for wanted, name in _CLASSES if kind in wanted), None)

"""The facts of a Rust file: its attributes, items, macros and operations that can panic, found by tree-sitter."""

from collections.abc import Iterator
from itertools import pairwise

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

from app.course.crate import Mark, Source
from app.course.crate.marks import Marks

_PARSER = Parser(Language(tree_sitter_rust.language()))

_DEEPEST = 200
_TABLES = frozenset(
    "package dependencies dev-dependencies build-dependencies build unstable workspace lib bin features".split()
)
_NAMED = {
    "function_item": "fn",
    "function_signature_item": "fn",
    "struct_item": "struct",
    "enum_item": "enum",
    "mod_item": "mod",
    "const_item": "const",
    "macro_definition": "macro_rules!",
}
_COMMENTS = ("line_comment", "block_comment")
_ARITHMETIC = {
    "+": "addition",
    "-": "subtraction",
    "*": "multiplication",
    "/": "division",
    "%": "remainder",
    "<<": "shift",
    ">>": "shift",
}


def read_source(text: str) -> Source:
    """Return the facts of a Rust file."""
    data = text.encode()
    root = _PARSER.parse(data).root_node
    marks = Marks()
    comments: list[Node] = []
    syntax_line = 0
    blank = all(child.type in _COMMENTS for child in root.children)
    statics = _mutable_statics(root)
    for node in _nodes(root):
        line = node.start_point[0] + 1
        if node.is_error or node.is_missing:
            syntax_line = min(syntax_line or line, line)
        if node.type in _COMMENTS and not node.children_by_field_name("doc"):
            comments.append(node)
        for name in _names(node, statics):
            marks.add(name, line)
    for name, line in _tables(text) if syntax_line else ():
        marks.add(name, line)
    return Source(marks.all(), _commented(data, comments), syntax_line, blank)


def _nodes(root: Node) -> Iterator[Node]:
    """Yield every node in the order of the text. Not recursive, because untrusted code may be nested deeply."""
    cursor = root.walk()
    while True:
        assert cursor.node is not None
        yield cursor.node
        if cursor.goto_first_child() or cursor.goto_next_sibling():
            continue
        while cursor.goto_parent():
            if cursor.goto_next_sibling():
                break
        else:
            return


def _text(node: Node | None) -> str:
    return " ".join((node.text or b"").decode("utf-8", "replace").split()) if node else ""


def _names(node: Node, statics: frozenset[str]) -> Iterator[str]:
    """Yield the names under which the facts of a lesson know this node."""
    kind = node.type
    if kind in ("attribute_item", "inner_attribute_item"):
        yield from _attribute(node, "#!" if kind.startswith("inner") else "#")
    elif kind in _NAMED:
        yield from _item(node, _NAMED[kind])
    elif kind == "static_item":
        mutable = any(child.type == "mutable_specifier" for child in node.children)
        yield from _item(node, "static mut" if mutable else "static")
    elif kind == "extern_crate_declaration":
        yield f"extern crate {_text(node.child_by_field_name('name'))}"
    elif kind == "use_declaration":
        yield from (f"use {path}" for path in _paths(node.child_by_field_name("argument")))
    elif kind == "foreign_mod_item":
        yield "extern block"
    elif kind == "macro_invocation":
        yield f"{_text(node.child_by_field_name('macro'))}!"
    elif kind == "token_tree":
        yield from _macros(node)
    else:
        yield from _expression(node, statics)


def _item(node: Node, kind: str) -> Iterator[str]:
    name = _text(node.child_by_field_name("name"))
    place = _prefix_of_place(node)
    yield f"{place}{kind} {name}"
    if kind == "fn" and _text(node.child_by_field_name("return_type")) == "!":
        yield f"{place}fn {name} -> !"


def _prefix_of_place(node: Node) -> str:
    """Return the prefix of an item's name if the item is inside another one."""
    parent = node.parent
    depth = 0
    while parent is not None and depth < _DEEPEST:
        if parent.type == "foreign_mod_item":
            return "declared "
        if parent.type in ("function_item", "impl_item", "mod_item", "trait_item"):
            return "inner "
        parent = parent.parent
        depth += 1
    return ""


def _attribute(node: Node, sign: str) -> Iterator[str]:
    attribute = next((child for child in node.children if child.type == "attribute"), None)
    if attribute is None:
        return
    whole = _text(attribute)
    name = _text(attribute.children[0])
    inner = [_text(child) for child in attribute.children if child.type == "token_tree"]
    arguments = [one.strip() for one in inner[0][1:-1].split(",")] if inner else []
    yield f"{sign}[{name}]"
    if whole != name:
        yield f"{sign}[{whole}]"
    if name == "unsafe":
        # The attribute counts under its own name as well, however it is marked.
        yield f"{sign}[{arguments[0].partition('=')[0].partition('(')[0].strip()}]"
    elif name == "feature":
        yield from (f"{sign}[feature({one})]" for one in arguments)
    elif name == "cfg_attr":
        yield from (f"{sign}[{one}]" for one in arguments[1:])


def _paths(node: Node | None, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Yield each path that a ``use`` brings in."""
    if node is None or depth > _DEEPEST:
        return
    if node.type == "use_list":
        for child in node.named_children:
            yield from _paths(child, prefix, depth + 1)
    elif node.type == "scoped_use_list":
        path = _text(node.child_by_field_name("path"))
        yield from _paths(node.child_by_field_name("list"), f"{prefix}{path}::" if path else prefix, depth + 1)
    elif node.type == "use_as_clause":
        yield from _paths(node.child_by_field_name("path"), prefix, depth + 1)
    else:
        yield prefix + _text(node)


def _macros(tree: Node) -> Iterator[str]:
    """Yield the macros that are called among the tokens of another one."""
    for name, sign in pairwise(tree.children):
        if name.type == "identifier" and sign.type == "!":
            yield f"{_text(name)}!"


def _expression(node: Node, statics: frozenset[str]) -> Iterator[str]:
    kind = node.type
    if kind in ("binary_expression", "compound_assignment_expr"):
        yield from _arithmetic(node)
    elif kind in ("primitive_type", "type_identifier"):
        yield f"type {_text(node)}"
    elif kind == "scoped_identifier":
        yield f"path {_text(node)}"
    elif kind == "loop_expression":
        yield "loop"
    else:
        yield from _access(node, statics)


def _arithmetic(node: Node) -> Iterator[str]:
    operator = _text(node.child_by_field_name("operator")).removesuffix("=")
    if operator in _ARITHMETIC:
        floats = any(child.type == "float_literal" for child in node.children)
        yield f"float {_ARITHMETIC[operator]}" if floats else _ARITHMETIC[operator]


def _access(node: Node, statics: frozenset[str]) -> Iterator[str]:
    """Yield how the node reaches a value: by an index, a method, a pointer or a reference."""
    kind = node.type
    if kind == "index_expression":
        yield "slice" if any(child.type == "range_expression" for child in node.children) else "index"
    elif kind == "field_expression" and node.parent is not None and node.parent.type == "call_expression":
        yield f".{_text(node.child_by_field_name('field'))}()"
    elif kind == "unary_expression" and node.children[:1] and node.children[0].type == "*" and _is_unsafe(node):
        yield "use of a pointer"
    elif (
        kind == "reference_expression"
        and _text(node.child_by_field_name("value")) in statics
        and not any(one.type == "raw" for one in node.children)
    ):
        yield "reference to a static mut"


def _is_unsafe(node: Node) -> bool:
    """Return True if the node is in unsafe code."""
    parent = node.parent
    depth = 0
    while parent is not None and depth < _DEEPEST:
        if parent.type == "unsafe_block" or (parent.type == "function_item" and b"unsafe" in _modifiers(parent)):
            return True
        parent = parent.parent
        depth += 1
    return False


def _modifiers(function: Node) -> bytes:
    modifiers = next((child for child in function.children if child.type == "function_modifiers"), None)
    return (modifiers.text or b"") if modifiers else b""


def _mutable_statics(root: Node) -> frozenset[str]:
    return frozenset(
        _text(node.child_by_field_name("name"))
        for node in root.children
        if node.type == "static_item" and any(child.type == "mutable_specifier" for child in node.children)
    )


def _commented(data: bytes, comments: list[Node]) -> tuple[Mark, ...]:
    """Return the attributes and items in comments, which are parsed where they stand, without their signs."""
    if not comments:
        return ()
    bare = bytearray(byte if byte == 0x0A else 0x20 for byte in data)
    for node in comments:
        body = data[node.start_byte : node.end_byte]
        ends = 2 if node.type == "block_comment" else 0
        begin = 2
        while body[begin : begin + 1] in (b"/", b"*"):
            begin += 1
        text = body[begin : len(body) - ends]
        bare[node.start_byte + begin : node.start_byte + begin + len(text)] = text
    marks = Marks()
    for node in _nodes(_PARSER.parse(bytes(bare)).root_node):
        if node.type in ("attribute_item", "inner_attribute_item", *_NAMED):
            for name in _names(node, frozenset()):
                marks.add(name, node.start_point[0] + 1)
    return marks.all()


def _tables(text: str) -> Iterator[tuple[str, int]]:
    """Yield the headers of TOML tables, which a learner wrote into the wrong file."""
    for number, line in enumerate(text.split("\n"), 1):
        code = line.strip()
        if code.startswith("[") and code.endswith("]") and code.isascii():
            name = code.strip("[]").strip()
            if name in _TABLES or name.partition(".")[0] in ("profile", "target"):
                yield f"toml [{name}]", number

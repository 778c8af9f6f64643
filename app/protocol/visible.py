"""Names that strangers choose, as they can be shown: nothing in them is hidden or turns a line round."""


def visible(name: str) -> str:
    """The name with U+FFFD for each control, direction mark and other character that cannot be seen."""
    return name if name.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in name)

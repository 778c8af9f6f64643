"""Every refusal of the class's pages: HTTP status, stable code, sentence, and the field at fault."""

from app.web.problem import ProblemError
from app.web.words import count


def no_class() -> ProblemError:
    """Refuse what belongs to a class while there is none."""
    return ProblemError(404, "no-class", "There is no class here. `playground class` starts one.")


def not_instructor() -> ProblemError:
    """Refuse an instructor's page to others."""
    message = "This page is the instructor's. Open the link that `playground class` printed."
    return ProblemError(403, "not-instructor", message)


def wrong_key() -> ProblemError:
    """Refuse a key that no instructor has."""
    return ProblemError(
        403, "wrong-key", "This key is not valid. Open the link that `playground class` printed.", "key"
    )


def wrong_code() -> ProblemError:
    """Refuse to join with another code."""
    return ProblemError(403, "wrong-code", "This is not the class's code. Ask your instructor for it.", "code")


def class_closed() -> ProblemError:
    """Refuse a new member after the instructor has closed the class."""
    return ProblemError(409, "class-closed", "The class is closed to newcomers. Ask your instructor to open it.")


def class_full() -> ProblemError:
    """Refuse one more member than a class may have, because seats are free and each costs the instructor a row."""
    return ProblemError(409, "class-full", "The class is full. Tell your instructor.")


def name_too_long(most: int) -> ProblemError:
    """Refuse a name that does not fit on the class map."""
    return ProblemError(422, "bad-name", f"A name has at most {count(most, 'letter')}. Choose a shorter one.", "name")


def words_too_long(most: int) -> ProblemError:
    """Refuse what an instructor sends if there is nothing in it, or too much."""
    message = f"Write something, at most {count(most, 'character')}."
    return ProblemError(422, "bad-words", message, "text")


def not_joined() -> ProblemError:
    """Refuse what only members of the class can do."""
    return ProblemError(409, "not-joined", "You have not joined the class. Join it on the course map.")


def no_such_words() -> ProblemError:
    """Refuse a snippet that the instructor did not send, or that was closed."""
    return ProblemError(422, "no-such-offer", "Your instructor offers no such snippet. Reload the page.", "choice")


def no_such_member() -> ProblemError:
    """Refuse a learner who is not in the class, or a run that nobody shows."""
    return ProblemError(404, "no-such-member", "This learner has left the class, or shows no such run any more.")


def no_such_link() -> ProblemError:
    """Refuse a link to a seat that was used, is too old, or never was."""
    message = "This link has been used, or is older than ten minutes. Ask for a new one."
    return ProblemError(404, "no-such-link", message)


def link_for_learner() -> ProblemError:
    """Refuse an instructor's browser a learner's seat."""
    message = "This is the instructor's browser. Open the link on the learner's device."
    return ProblemError(403, "link-for-learner", message)


def still_in_use() -> ProblemError:
    """Refuse an instructor's link to a seat that its learner uses and did not ask for."""
    message = (
        "This seat was used in the last ten minutes. Choose *Use another device* on it, or wait until it has been "
        "silent for ten minutes."
    )
    return ProblemError(409, "still-in-use", message)

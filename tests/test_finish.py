"""The page at the end of the post's steps shows the learner's own binary, and what is shared of it holds no server."""

import base64
import json
import re
import zlib
from xml.etree import ElementTree as ET

import pytest

from app.course import Course
from tests.support.clients import seated


@pytest.mark.usefixtures("bare_metal")
def test_the_finish_shows_the_binary_and_its_picture(server: str, taught: Course) -> None:
    lesson = taught.parts[0].lessons[-1]
    form = {f"file:{path}": lesson.solution[path] for path in lesson.editable} | {"command": lesson.commands[0]}
    with seated(server) as client:
        assert "no longer has your binary" in client.get(f"/lessons/{lesson.slug}/finish").text
        assert client.get(f"/lessons/{lesson.slug}/finish.svg").status_code == 404
        answer = client.post(f"/lessons/{lesson.slug}/runs", data=form).text
        assert f'href="/lessons/{lesson.slug}/finish">See what you built' in answer
        page = client.get(f"/lessons/{lesson.slug}/finish").text
        assert "Machine code" in page
        assert "What to boot next" in page
        packed = re.search(r"#crate=([\w-]+)", page)
        assert packed
        text = zlib.decompress(base64.urlsafe_b64decode(packed[1] + "=" * (-len(packed[1]) % 4)), wbits=-15)
        assert json.loads(text)["files"] == {path: lesson.solution[path] for path in lesson.editable}
        picture = client.get(f"/lessons/{lesson.slug}/finish.svg")
        assert picture.headers["content-type"] == "image/svg+xml"
        drawn = ET.fromstring(picture.text)
        assert len(drawn.findall("{http://www.w3.org/2000/svg}rect")) > 5


def test_only_the_last_of_the_posts_steps_has_a_finish(server: str, taught: Course) -> None:
    with seated(server) as client:
        for lesson in (taught.lessons[0], taught.lessons[-1]):
            assert client.get(f"/lessons/{lesson.slug}/finish").status_code == 404
            assert client.get(f"/lessons/{lesson.slug}/finish.svg").status_code == 404

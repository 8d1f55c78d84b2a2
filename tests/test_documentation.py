"""What the documents promise runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_python_snippets_run(document, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "snippet"}  # a reader goes from one to the next
    for snippet in blocks(document, "python"):
        exec(compile(snippet, document.name, "exec"), names)  # noqa: S102


def test_every_relative_link_leads_somewhere():
    for document in [*DOCUMENTS, *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_command_in_the_readme_exists():
    from typer.main import get_command

    from alchemc.cli import app

    commands = set(get_command(app).commands)
    used = {
        m for b in blocks(ROOT / "README.md", "console") for m in re.findall(r"\$ alchemc (\w+)", b)
    }
    assert used
    assert used <= commands

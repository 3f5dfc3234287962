"""The files that the doctor reads: lines, older forms, and text that nobody meant to be read."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repo_tools.doctor.command import examine
from repo_tools.doctor.dockerfile import read_dockerfile
from repo_tools.doctor.documents import read_document
from repo_tools.doctor.ignore_file import read_ignore_file
from repo_tools.doctor.project import NotAProject, read_project
from repo_tools.doctor.requirements import read_requirements
from repo_tools.doctor.rule import load_rules

from .projects import LOCK, RIGHT, write

RULES = load_rules()


def text_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_value_knows_its_line_and_keeps_its_text(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.yaml", "base: &base\n  cpu: 1.0\nlist:\n  - <<: *base\n    name: >-\n      x\n")
    document, problems = read_document(path)
    assert problems == []
    entry = document["list"].elements[0]
    assert (entry["cpu"].text, entry["cpu"].line, entry["cpu"].tag) == ("1.0", 2, "float")
    assert (entry["name"].text, entry["name"].line) == ("x", 5)
    assert not entry["missing"]
    assert entry.at("missing", "below").line == 4


def test_an_alias_that_contains_itself_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    _, problems = read_document(text_file(tmp_path, "a.yaml", "a: &a\n  b: *a\n"))
    assert {problem.rule for problem in problems} == {"yaml-syntax"}


def test_aliases_that_multiply_are_a_problem_and_not_a_full_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    _, problems = read_document(text_file(tmp_path, "a.yaml", "\n".join(lines)))
    assert {problem.rule for problem in problems} == {"yaml-syntax"}


def test_the_final_stage_is_followed_through_the_stages_it_builds_on(tmp_path: Path) -> None:
    dockerfile = read_dockerfile(
        text_file(
            tmp_path,
            "Dockerfile",
            "# syntax=docker/dockerfile:1\nARG TAG=3.13\nFROM python:${TAG} AS base\nENV A=1 B='two words'\nUSER app\n"
            "FROM base AS test\nRUN make \\\n    # a comment\n    test\nfrom Base\nEXPOSE 8088/tcp\n"
            'CMD ["python", "-m", "x"]\nRUN cat <<EOF\nUSER root\nEOF\n',
        )
    )
    assert [stage.image for stage in dockerfile.base_images()] == ["python:3.13"]
    assert [each.arguments for each in dockerfile.final("USER")] == ["app"]
    assert dockerfile.environment() == {"A": ("1", 4), "B": ("two words", 4)}
    assert next((each.arguments, each.line) for each in dockerfile.instructions("RUN")) == ("make test", 7)
    assert dockerfile.final("CMD")[0].exec_form == ["python", "-m", "x"]
    assert [each.keyword for each in dockerfile.directives] == ["syntax"]


@pytest.mark.parametrize(
    ("rules", "path", "excluded"),
    [
        ("*\n!agents", "agents/a/main.py", False),
        ("*\n!agents", "README.md", True),
        ("*\n!agents\n**/.env*", "agents/a/.env.local", True),
        (".env", "agents/.env", False),  # unlike git: patterns start at the root
        ("**/.env", ".env", True),
        ("/docs/", "docs/a.md", True),
        ("a?.txt", "ab.txt", True),
        ("*.md\n!README.md", "README.md", False),
        ("!README.md\n*.md", "README.md", True),
        ("# *\n\n", "a", False),
    ],
)
def test_ignore_rules_are_those_of_docker(rules: str, path: str, excluded: bool, tmp_path: Path) -> None:
    assert read_ignore_file(text_file(tmp_path, ".dockerignore", rules)).excludes(path) is excluded


def test_requirements_are_read_from_every_form(tmp_path: Path) -> None:
    text_file(tmp_path, "pyproject.toml", '[project]\nname = "a"\nrequires-python = ">=3.12"\ndependencies = [\n  "Httpx_2>=2",\n  "b @ {root:uri}/../b",\n]\n')  # fmt: skip
    text_file(tmp_path, "requirements.txt", "-e ../b\nstarlette>=1  # why\n")
    text_file(tmp_path, "requirements.lock", LOCK)
    found = read_requirements(tmp_path, tmp_path)
    assert [(each.name, each.line) for each in found.declared] == [("httpx-2", 5), ("b", 6), ("", 1), ("starlette", 2)]
    assert [(each.name, str(each.version), each.hashed) for each in found.locked] == [
        ("azure-ai-agentserver-core", "2.2.0", True),
        ("azure-ai-agentserver-responses", "2.3.0", True),
    ]
    assert (found.requires_python, found.requires_python_line) == (">=3.12", 3)


def test_a_lock_of_uv_in_the_root_is_found(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    member = '[[package]]\nname = "agent"\nversion = "0.1.0"\nsource = { virtual = "agent" }\n'
    package = '[[package]]\nname = "starlette"\nversion = "1.10.0"\nsource = { registry = "https://example.com" }\n'
    text_file(tmp_path, "uv.lock", "version = 1\n" + package + member)
    (found,) = read_requirements(tmp_path / "agent", tmp_path).locked
    assert (found.name, str(found.version), found.line) == ("starlette", "1.10.0", 3)


@pytest.mark.parametrize("lock", ["package = 3\n", "package = [3, 'x']\n", "[[package]]\nname = 'a b'\nversion = '!'\nsource = 'x'\n", "[[package]]\nname = 'a b'\nversion = '!'\n[package.source]\nregistry = 'x'\n"])  # fmt: skip
def test_a_lock_of_another_shape_locks_nothing(lock: str, tmp_path: Path) -> None:
    assert read_requirements(text_file(tmp_path, "uv.lock", lock).parent, tmp_path).locked == ()


@pytest.mark.parametrize("text", ["project = 3\n", "[project]\nname = 3\nrequires-python = [1]\ndependencies = [3, {a = 1}]\n"])  # fmt: skip
@pytest.mark.parametrize("name", ["agents/desk/pyproject.toml", "shared/library/pyproject.toml"])
def test_a_pyproject_of_another_shape_never_stops_the_doctor(name: str, text: str, tmp_path: Path) -> None:
    look(write(RIGHT["one agent"]() | {name: text}, tmp_path))


def test_links_in_a_circle_are_findings_and_not_a_crash(tmp_path: Path) -> None:
    tree = RIGHT["one agent"]()
    tree["azure.yaml"] = tree["azure.yaml"].replace("./agents/desk/agent.yaml", "./circle.yaml")
    folder = write(tree, tmp_path)
    for name in ("circle.yaml", "agents/other/agent.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to((folder / name).name)
    assert [each.rule.id for each in examine(read_project(folder), RULES.values())] == ["ref-missing"]


NAMES = sorted({(project, name) for project, tree in RIGHT.items() for name in tree() if not name.endswith(".py")})


@pytest.mark.parametrize(("project", "name"), NAMES)
def test_a_file_cut_anywhere_never_stops_the_doctor(project: str, name: str, tmp_path: Path) -> None:
    tree = RIGHT[project]()
    folder = write(tree, tmp_path)
    text = tree[name]
    for end in range(0, len(text), max(1, len(text) // 25)):
        (folder / name).write_text(text[:end])
        look(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_in_any_file_never_stop_the_doctor(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tree = RIGHT["one agent"]()
    name = data.draw(st.sampled_from(sorted(tree)))
    folder = write(tree, tmp_path_factory.mktemp("project"))
    (folder / name).write_bytes(data.draw(st.binary(max_size=80) | st.text(max_size=80).map(str.encode)))
    look(folder)


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a${}/.:-\0", max_size=6) | st.just("a" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a$-", max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = "name kind protocols container env docker project sessionConfiguration policies uses config $ref startupCommand tools codeConfiguration image".split()  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(shape=SHAPES, key=st.sampled_from(KEYS))
def test_a_key_with_any_shape_of_value_never_stops_the_doctor(
    shape: object, key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import yaml

    tree = RIGHT["an inline definition"]()
    document = yaml.safe_load(tree["azure.yaml"])
    document["services"]["desk"][key] = shape
    tree["azure.yaml"] = yaml.safe_dump(document)
    look(write(tree, tmp_path_factory.mktemp("project")))


def look(folder: Path) -> None:
    with contextlib.suppress(NotAProject):
        examine(read_project(folder), RULES.values())

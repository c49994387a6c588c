"""The documentation is built, loads nothing from elsewhere, and every piece of code that it shows runs."""

import dataclasses
import html.parser
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import ml
import ml.loggers
import ml.testing
from ml.core.registry import LOGGERS
from tests.docs_page import Block, blocks, is_like

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
RUN = {"python", "console"}
SHOWN = {"text", "json", "ini", "yaml"}
NOT_RUN = 6
"""How many blocks do not run. Each says why, above it; raise this only for what cannot run here."""


def run_page(page: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs what a page shows, in an interpreter of its own, in an empty directory that is also the home of its user."""
    (directory / "home").mkdir()
    (directory / "here").mkdir()
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(directory / "home"),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",  # two pages at a time, of models that are tiny
    }
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "docs_page.py"), str(page)],
        cwd=directory / "here",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# what the pages show


@pytest.fixture(scope="module")
def running(request, tmp_path_factory) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The pages under test, one running on each processor: most of their time is the import of a framework."""
    tests = (item for item in request.session.items if item.originalname == "test_everything_that_a_page_shows_runs")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            page: pool.submit(run_page, PAGES[page], tmp_path_factory.mktemp(PAGES[page].stem))
            for page in (test.callspec.params["page"] for test in tests)
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("page", PAGES)
def test_everything_that_a_page_shows_runs(page, running):
    done = running[page].result()

    assert done.returncode == 0, done.stdout


def blocks_of_all() -> Iterator[tuple[str, Block]]:
    for page, path in PAGES.items():
        yield from ((f"{page}:{block.line}", block) for block in blocks(path.read_text("utf-8")))


def test_every_block_either_runs_or_is_no_code():
    assert {place: block.language for place, block in blocks_of_all() if block.language not in RUN | SHOWN} == {}


def test_what_does_not_run_says_why_and_is_counted():
    skipped = {place: block.skip for place, block in blocks_of_all() if block.skip is not None}

    assert all(len(reason.split()) >= 4 for reason in skipped.values()), skipped
    assert len(skipped) == NOT_RUN, skipped


def test_the_backend_that_the_pages_and_the_readme_show_is_one():
    shown = {block.code for block in blocks(PAGES["writing-a-backend.md"].read_text("utf-8"))}
    in_readme = {block.code for block in blocks((ROOT / "README.md").read_text("utf-8"))}

    assert any("BaseLogger[BaseLoggerConfig]" in code for code in shown & in_readme)


WRONG = {
    "an error, at its line": ("\n\n```python\nx = 1\n1 / 0\n```\n", 'page.md", line 5'),
    "an error in what no reader sees": ("<!-- test: check\nassert 1 == 2\n-->\n", 'page.md", line 2'),
    "an error in a block that is indented": ("- a\n\n    ```python\n    1 / 0\n    ```\n", "ZeroDivisionError"),
    "an error in a row of a table": (
        "<!-- test: columns 2 -->\n| a | b |\n|---|---|\n| `1 / 0` | `1` |\n| `1` | `{} + []` |\n",
        'page.md", line 5',
    ),
    "a command that fails": ("```console\n$ false\n```\n", "ends with 1, not 0"),
    "a command that does not fail": ("<!-- test: exit 1 -->\n```console\n$ true\n```\n", "ends with 0, not 1"),
    "a command in the middle that fails": ("```console\n$ false\n$ true\n```\n", "ends with 1, not 0"),
    "another output": ("```console\n$ echo a b\na c\n```\n", "prints\na b\n\nand not\na c"),
    "output without a command": ("```console\nls\n```\n", "begins with '$ '"),
    "a comment that nobody knows": ("<!-- test: skpi it -->\n```python\n1\n```\n", "no comment for a test"),
    "a comment before nothing": ("<!-- test: skip no reason at all -->\n", "Nothing follows"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_page_that_is_wrong_fails_and_says_where(name, tmp_path):
    text, told = WRONG[name]
    page = tmp_path / "page.md"
    page.write_text(text)

    done = run_page(page, tmp_path)

    assert done.returncode != 0
    assert told in done.stdout


def test_a_block_that_is_skipped_does_not_run_and_the_next_one_does(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- test: skip this cannot run here -->\n```python\n1 / 0\n```\n```console\n$ echo 'ran'; touch it\n```\n"
    )

    assert run_page(page, tmp_path).returncode == 0
    assert (tmp_path / "here" / "it").exists()


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ("loss  0.25", "loss 1,234.5e-7\n"),
        ("12:30:01 ▂▃▁", "1:02:03  ██"),
        ("first\n…\nlast", "first\nb\nc\nlast\n"),
        ("pid … on host", "pid 17 on host"),
    ],
)
def test_shown_output_stands_for_other_numbers_curves_and_what_is_left_out(shown, output):
    assert is_like(shown, output)


@pytest.mark.parametrize(
    ("shown", "output"), [("loss 1", "lass 1"), ("a", "a b"), ("a b", "a"), ("a … b", "a c"), ("1", "one")]
)
def test_shown_output_stands_for_nothing_else(shown, output):
    assert not is_like(shown, output)


# the site


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, as scripts/docs builds it."""
    directory = tmp_path_factory.mktemp("docs") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert built.returncode == 0, built.stdout
    return directory


LOADING = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "input": ("src",),
    "use": ("href", "xlink:href"),
    "image": ("href", "xlink:href"),
}
"""Which attributes of an element a browser follows by itself. Of <link> all but where it leads the reader."""

LEADS = {"canonical", "next", "prev", "edit", "alternate", "license"}
ELSEWHERE = re.compile(r"""(?:https?:)?//[\w-]""", re.IGNORECASE)
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
IN_SCRIPTS = re.compile(r"""https?://[\w.-]+[\w./@-]*""")

NAMED_BY_SCRIPTS = {
    # Loaded where a page has a diagram of mermaid's, a repository or an old browser; of the first two no page has one.
    "https://unpkg.com/mermaid@11/dist/mermaid.min.js",
    "https://unpkg.com/resize-observer-polyfill",
    "https://api.github.com/repos/",
    "https://api.github.com/users/",
    # Told to whoever reads the console.
    "https://bit.ly/2s3ChXG",
}
"""What scripts of the theme name, and no page of ours has them load."""


class Loads(html.parser.HTMLParser):
    """Collects what a browser loads that shows a page, as (element, address), and the classes of its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.classes: set[str] = set()
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        self.classes.update(given.get("class", "").split())
        self._in_style = tag == "style"
        names = LOADING.get(tag, ())
        if tag == "link" and not set(given.get("rel", "").split()) & LEADS:
            names = ("href",)
        self.found += [(tag, given[name]) for name in names if name in given]
        self.found += [(tag, address) for address in IN_STYLES.findall(given.get("style", ""))]

    def handle_data(self, data):
        if self._in_style:
            self.found += [("style", address) for address in IN_STYLES.findall(data)]


def loaded_elsewhere(text: str) -> list[tuple[str, str]]:
    return [(tag, address) for tag, address in Loads(text).found if ELSEWHERE.match(address.strip())]


def test_no_page_loads_anything_from_elsewhere(site):
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html")}

    assert len(pages) >= len(PAGES)
    assert {str(path): found for path, text in pages.items() if (found := loaded_elsewhere(text))} == {}


def test_no_style_or_script_of_the_site_loads_anything_from_elsewhere(site):
    styles = [path for path in site.rglob("*.css") if IN_STYLES.search(path.read_text("utf-8"))]
    scripts = [path for path in site.rglob("*.js") if path.parent.name != "search"]  # that has the texts of the pages
    # Those of other languages than English are loaded by no page.
    named = {
        address
        for path in scripts
        if "lunr" not in path.parts
        for address in IN_SCRIPTS.findall(re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL))
    }

    assert styles == []
    assert scripts
    assert named <= NAMED_BY_SCRIPTS


def test_no_page_has_what_scripts_would_load_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")

        assert not Loads(text).classes & {"mermaid"}, path
        assert 'data-md-component="source"' not in text, path

    assert json.loads((site / "search" / "search_index.json").read_text("utf-8"))["config"]["lang"] == ["en"]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://x.org/a.js"></script>',
        "<link rel=stylesheet href=//x.org/a.css>",
        '<link rel="preconnect" href="https://fonts.gstatic.com">',
        '<img alt="" src="http://x.org/a.png">',
        "<style>@import 'https://x.org/a.css';</style>",
        '<p style="background: url(https://x.org/a.png)">',
    ],
)
def test_what_a_browser_would_load_is_found(text):
    assert loaded_elsewhere(text)


def test_a_link_to_elsewhere_loads_nothing():
    assert not loaded_elsewhere('<link rel="canonical" href="https://x.org"><a href="https://x.org">x</a>')


def test_links_and_search_work_from_the_disk(site):
    index = (site / "index.html").read_text("utf-8")
    links = re.findall(r'<a href="([^"#:]+)', index)

    assert links
    assert all((site / link).is_file() for link in links), links  # no folder, of which a disk shows no page
    assert (site / "search" / "search_index.js").is_file()
    assert 'src="assets/iframe-worker.js"' in index


def test_what_only_the_tests_see_is_not_found_by_a_search(site):
    assert "test: setup" not in (site / "search" / "search_index.json").read_text("utf-8")


ADAPTERS = (
    "accelerate.AccelerateTracker",
    "huggingface.HuggingFaceCallback",
    "ignite.attach",
    "importing.import_runs",
    "keras.KerasCallback",
    "lightning.LightningLogger",
    "std_logging.logging_handler",
    "summary_writer.SummaryWriter",
)


def documented(site: Path) -> set[str]:
    """The names that the inventory of the site lists, for other documentation to refer to."""
    _, _, lines = (site / "objects.inv").read_bytes().partition(b"using zlib.\n")
    return {line.split(" ")[0] for line in zlib.decompress(lines).decode().splitlines()}


def test_every_public_name_and_every_backend_is_in_the_reference(site):
    registered = [LOGGERS.lookup(name) for name in LOGGERS.names()]
    backends = [one for one in registered if one.cls.__module__.startswith("ml.")]
    public = {f"{module.__name__}.{name}" for module in (ml, ml.loggers, ml.testing) for name in module.__all__}
    public |= {"ml.io.files.AppendFile", "ml.testing.contract.LoggerContract"}
    public |= {f"ml.integrations.{name}" for name in ADAPTERS}
    public |= {f"{cls.__module__}.{cls.__qualname__}" for one in backends for cls in one}

    assert sorted(public - documented(site)) == []


def test_every_backend_and_every_setting_is_told_on_its_page():
    pages = "".join(path.read_text("utf-8") for path in PAGES.values())
    told = set(re.findall(r"`(\w+)`", pages))

    for name in LOGGERS.names():
        one = LOGGERS.lookup(name)
        if one.cls.__module__.startswith("ml."):
            assert {name, *(field.name for field in dataclasses.fields(one.config))} - {"name"} <= told, name

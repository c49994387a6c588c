"""The laws of every store, over a directory and over a bucket of a real S3 server; then what is the directory's own."""

import errno
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Barrier

import pytest

from ml.core.errors import ConfigError, FormatError, LogValueError, WriteError
from ml.io.fileops import FileOps
from ml.io.local_store import LocalStore
from ml.io.store import Entry, Refused, Store, StoreConfig, open_store
from ml.io.store_probe import probe_conditional_create

MAX_BYTES = 2**26
ODD_KEYS = [
    "a",
    "a-b",
    "a.b",
    "b/a b",
    "b/a%20b",
    "b/a+b",
    "b/#?&;=,:@$",
    "b/*{}[]|\\^`\"'<>!()~",
    "b/.hidden",
    "b/..c",
    "c/Straße/日本語/e\u0301/é",
    "c/\U0001f600",
    "c/\uffe0",
    "d/" + "x" * 255,
    "/".join(["e" * 100] * 9),
]
NO_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a\0b",
    "a\nb",
    "a\x7f",
    "\ud800",
    "x" * 256,
    "x/" * 512 + "x",
    "a/.0123456789abcdef.tmp",
]


@pytest.fixture(params=["directory", "s3"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> StoreConfig:
    if request.param == "directory":
        return StoreConfig(str(tmp_path / "store"))
    return request.getfixturevalue("s3").config("a prefix/of keys")


@pytest.fixture
def store(config: StoreConfig) -> Store:
    return open_store(config)


def keys(entries: Iterator[Entry]) -> list[str]:
    return [entry.key for entry in entries]


class TestStoreContract:
    def test_what_was_put_is_what_is_got(self, store):
        store.put("a/b", b"first")
        store.put("a/b", b"second")

        assert store.get("a/b", max_bytes=6) == b"second"

    def test_what_was_created_stays_as_it_is(self, store):
        assert store.create("a/b", b"first") is True
        assert store.create("a/b", b"second") is False
        assert store.create("a/b", b"fir") is False
        assert store.create("a/b", b"") is False
        assert store.get("a/b", max_bytes=9) == b"first"

    def test_who_creates_what_is_there_already_is_told_that_it_is_there(self, store):
        store.create("a", b"same")

        assert store.create("a", b"same") is True

    def test_put_replaces_what_was_created(self, store):
        store.create("a", b"first")
        store.put("a", b"second")

        assert store.get("a", max_bytes=9) == b"second"

    @pytest.mark.parametrize("size_bytes", [0, 1, 20 * 2**20], ids=str)
    def test_every_size_comes_back(self, store, size_bytes):
        data = os.urandom(size_bytes)

        assert store.create("created", data)
        store.put("put", data)

        assert store.get("created", max_bytes=size_bytes) == data
        assert store.get("put", max_bytes=size_bytes) == data
        assert [entry.size_bytes for entry in store.list()] == [size_bytes, size_bytes]

    def test_odd_keys_are_kept_as_they_are(self, store):
        expected = sorted(ODD_KEYS, key=str.encode)
        for key in ODD_KEYS:
            assert store.create(key, key.encode())

        assert keys(store.list()) == expected
        assert [store.get(key, max_bytes=2000).decode() for key in expected] == expected
        for key in ODD_KEYS:
            store.delete(key)
        assert keys(store.list()) == []

    @pytest.mark.parametrize("key", NO_KEYS, ids=range(len(NO_KEYS)))
    def test_what_is_no_key_is_refused_before_anything_is_asked(self, store, key):
        for call in (
            lambda: store.create(key, b""),
            lambda: store.put(key, b""),
            lambda: store.get(key, max_bytes=1),
            lambda: store.delete(key),
        ):
            with pytest.raises(LogValueError, match="is no key"):
                call()

    def test_what_is_not_there_is_not_found_and_may_be_removed(self, store):
        store.put("a/b", b"")

        for key in ("b", "a", "a/b/c", "a/c"):
            with pytest.raises(FileNotFoundError):
                store.get(key, max_bytes=1)
            store.delete(key)
        assert keys(store.list()) == ["a/b"]

    def test_what_was_removed_may_be_created_again(self, store):
        store.create("a", b"first")
        store.delete("a")
        store.delete("a")

        assert store.create("a", b"second")

    def test_what_is_larger_than_asked_for_is_not_read(self, store):
        store.put("a", b"four")

        assert store.get("a", max_bytes=4) == b"four"
        with pytest.raises(FormatError, match="4 bytes, 3 are the most"):
            store.get("a", max_bytes=3)

    def test_a_list_is_in_the_order_of_the_keys_bytes(self, store):
        names = ["a", "a!", "a/b", "a/b0", "a/b/c", "a-", "a0", "B", "é", "\uffe0", "\U0001f600"]
        names = [f"x/{name}" if "a/" in name else name for name in names if name not in ("a/b",)]
        for name in names:
            store.put(name, b"")

        assert keys(store.list()) == sorted(names, key=str.encode)

    def test_a_prefix_is_one_of_text_and_after_is_exclusive(self, store):
        names = ["a/b0/x", "a/b1/x", "a/b1/y", "a/b1-", "a/c", "b"]
        for name in names:
            store.put(name, name.encode())

        assert keys(store.list("a/b1")) == ["a/b1-", "a/b1/x", "a/b1/y"]
        assert keys(store.list("a/b1/")) == ["a/b1/x", "a/b1/y"]
        assert keys(store.list("a/b1/x")) == ["a/b1/x"]
        assert keys(store.list("c")) == keys(store.list("a/b1/x/")) == keys(store.list("no/such/")) == []
        ordered = sorted(names, key=str.encode)
        for after in ["", "a", "a/b1", "a/b1/", "a/b1/w", *names, "zz"]:
            assert keys(store.list(after=after)) == [name for name in ordered if name.encode() > after.encode()]
            assert keys(store.list("a/b1", after=after)) == [
                name for name in ordered if name.encode() > after.encode() and name.startswith("a/b1")
            ]

    def test_of_eight_who_create_a_key_at_once_one_wins(self, store):
        at_once = Barrier(8)

        def create(number: int) -> bool:
            at_once.wait(30)
            return store.create("race", b"%d" % number * 5000)

        for _ in range(5):
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(create, range(8)))
            assert won.count(True) == 1
            assert store.get("race", max_bytes=MAX_BYTES) == b"%d" % won.index(True) * 5000
            store.delete("race")

    def test_of_four_processes_who_create_the_same_keys_one_wins_each(self, config, store, tmp_path):
        (tmp_path / "race.py").write_text(RACE)
        settings = [config.url, config.endpoint_url or "", config.access_key_id or "", config.secret_access_key or ""]
        racers = [
            subprocess.Popen(
                [sys.executable, tmp_path / "race.py", str(number), *settings],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for number in range(4)
        ]
        for racer in racers:
            assert racer.stdout.readline() == b"ready\n"
        for racer in racers:
            racer.stdin.write(b"go\n")
            racer.stdin.flush()
        won = [set(racer.communicate(timeout=60)[0].decode().split()) for racer in racers]

        assert sum(map(len, won)) == 20
        assert set.union(*won) == {f"race/{number:02}" for number in range(20)} == set(keys(store.list()))
        for number, mine in enumerate(won):
            assert {store.get(key, max_bytes=9) for key in mine} <= {b"%d" % number}

    def test_the_probe_finds_that_one_wins_and_leaves_nothing_behind(self, store):
        probe_conditional_create(store)

        assert keys(store.list()) == []

    def test_what_was_stored_is_there_for_another_one_who_opens_it(self, config, store):
        store.put("a/b", b"data")

        assert open_store(config).get("a/b", max_bytes=4) == b"data"

    def test_its_url_and_repr_have_no_secret(self, config, store):
        for text in (store.url, repr(store), repr(config)):
            assert "a-secret-of" not in text
        assert store.url in repr(store) or store.url.endswith(repr(store).split("'")[1])


RACE = """
import sys
from ml.io.store import StoreConfig, open_store

number, url, endpoint, key_id, secret = sys.argv[1:]
store = open_store(StoreConfig(url, endpoint_url=endpoint or None, access_key_id=key_id, secret_access_key=secret))
print("ready", flush=True)
sys.stdin.readline()
print(*(f"race/{i:02}" for i in range(20) if store.create(f"race/{i:02}", number.encode())))
"""


# a directory


@pytest.fixture
def directory(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize("target", ["outside", "store/inside"])
def test_a_key_that_leads_through_a_link_is_refused_and_not_listed(tmp_path, directory, target):
    (tmp_path / target).mkdir()
    (tmp_path / target / "secret").write_bytes(b"secret")
    (tmp_path / "store" / "link").symlink_to(tmp_path / target)

    for call in (
        lambda: directory.get("link/secret", max_bytes=9),
        lambda: directory.put("link/secret", b"x"),
        lambda: directory.create("link/new", b"x"),
        lambda: directory.delete("link/secret"),
        lambda: keys(directory.list("link/")),
    ):
        with pytest.raises(LogValueError, match="symbolic link"):
            call()
    assert "link/secret" not in keys(directory.list())
    assert os.listdir(tmp_path / target) == ["secret"]
    assert (tmp_path / target / "secret").read_bytes() == b"secret"


def test_a_file_that_is_a_link_is_never_followed(tmp_path, directory):
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "outside")

    with pytest.raises(FileNotFoundError):
        directory.get("link", max_bytes=9)
    with pytest.raises(LogValueError, match="no file"):
        directory.create("link", b"secret")
    assert keys(directory.list()) == []
    directory.put("link", b"mine")
    assert (tmp_path / "outside").read_bytes() == b"secret"
    assert directory.get("link", max_bytes=9) == b"mine"


def test_the_directory_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    LocalStore(tmp_path / "link").put("a/b", b"x")

    assert (tmp_path / "real" / "a" / "b").read_bytes() == b"x"


def test_a_key_cannot_be_a_directory_too(directory):
    directory.put("a/b", b"x")

    for call in (
        lambda: directory.put("a", b""),
        lambda: directory.create("a", b""),
        lambda: directory.put("a/b/c", b""),
        lambda: directory.create("a/b/c", b""),
    ):
        with pytest.raises(LogValueError, match="another key"):
            call()
    assert keys(directory.list()) == ["a/b"]


def test_what_is_on_its_way_is_not_listed_nor_what_is_no_key(tmp_path, directory):
    directory.put("a", b"")
    for name in (".0123456789abcdef.tmp", "new\nline", b"\xff".decode("utf-8", "surrogateescape")):
        (tmp_path / "store" / name).write_bytes(b"")
    os.mkfifo(tmp_path / "store" / "pipe")

    assert keys(directory.list()) == ["a"]
    with pytest.raises(FileNotFoundError):
        directory.get("pipe", max_bytes=1)


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    class Full(FileOps):
        def write(self, descriptor: int, data: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    store = LocalStore(tmp_path, ops=Full())

    for call in (store.create, store.put):
        with pytest.raises(WriteError, match="No space left") as caught:
            call("a", b"x")
        assert not isinstance(caught.value, Refused)
    assert os.listdir(tmp_path) == []


def test_without_hard_links_create_refuses_and_nobody_wins(tmp_path):
    class NoLinks(FileOps):
        def link(self, source: Path, target: Path) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

    store = LocalStore(tmp_path, ops=NoLinks())

    with pytest.raises(Refused, match="no hard links"):
        store.create("a", b"x")
    store.put("b", b"x")
    assert os.listdir(tmp_path) == ["b"]


def test_what_was_kept_is_on_the_disk_when_the_call_returns(tmp_path):
    calls = []

    class Noted(FileOps):
        def sync(self, descriptor: int) -> None:
            calls.append("sync")
            super().sync(descriptor)

        def link(self, source: Path, target: Path) -> None:
            calls.append("link")
            super().link(source, target)

        def rename(self, source: Path, target: Path) -> None:
            calls.append("rename")
            super().rename(source, target)

        def sync_directory(self, directory: Path) -> None:
            calls.append(f"sync {directory.name}")
            super().sync_directory(directory)

    store = LocalStore(tmp_path / "store", ops=Noted())
    store.create("a/b", b"x")
    store.put("a/c", b"x")

    assert calls == [f"sync {tmp_path.name}", "sync store", "sync", "link", "sync a", "sync", "rename", "sync a"]


def test_a_right_that_is_missing_is_refused_and_told(tmp_path):
    class NotMine(FileOps):
        def open(self, path: Path, flags: int, mode: int) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(Refused, match=r"Permission denied.*Give this user the right"):
        LocalStore(tmp_path, ops=NotMine()).put("a", b"")


def test_a_list_reads_no_directory_that_it_does_not_need(directory, monkeypatch):
    for day in range(9):
        for number in range(3):
            directory.put(f"day{day}/{number}", b"")
    read = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(Path(path).name) or scan(path))

    assert keys(directory.list("day4/")) == ["day4/0", "day4/1", "day4/2"]
    assert keys(directory.list(after="day7/1")) == ["day7/2", "day8/0", "day8/1", "day8/2"]
    assert keys(islice(directory.list(), 4)) == ["day0/0", "day0/1", "day0/2", "day1/0"]
    assert read == ["day4", "store", "day7", "day8", "store", "day0", "day1"]


# opening


@pytest.mark.parametrize("form", ["path", "url"])
def test_a_path_and_a_file_url_are_a_directory(tmp_path, form):
    path = tmp_path / "a b%"
    store = open_store(str(path) if form == "path" else path.as_uri())

    store.put("a", b"x")

    assert (path / "a").read_bytes() == b"x"
    assert store.url == path.as_uri()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "needs the path of a directory"),
        ("file://host/a", "another machine"),
        ("ftp://host/a", "No store is known for ftp"),
        ("s3://", "names no bucket"),
        ("s3://bucket/a/../b", "cannot be that of keys"),
        ("s3://bucket?x=1", "a query"),
    ],
)
def test_what_is_no_store_is_refused(url, problem):
    with pytest.raises(ConfigError, match=problem):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:planted/secret@bucket/prefix",
        "s3://[planted/secret",
        "s3://key:planted\u2100secret@bucket",
        "az://key:planted/secret@container",
        "abfss://container:planted/secret@account.dfs.core.windows.net",
        "file://user:planted/secret@host/directory",
        "file://[planted/secret",
    ],
)
def test_a_password_with_any_letters_is_told_nowhere(url):
    with pytest.raises(ConfigError) as caught:
        open_store(url)

    assert "planted" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_a_url_with_a_password_is_refused_without_telling_it():
    with pytest.raises(ConfigError, match="has a user") as caught:
        open_store("s3://key:very-secret@bucket/prefix")

    assert "very-secret" not in str(caught.value)


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigError, match="is no directory"):
        open_store(str(tmp_path / "file"))


def test_without_obstore_a_bucket_says_what_to_install_and_a_directory_works(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigError, match=r"pip install 'ml-logbook\[s3\]'"):
        open_store("s3://bucket")
    open_store(str(tmp_path)).put("a", b"")


@pytest.mark.parametrize("url", ["s3:/bucket", "S3:bucket/prefix", "gs:/bucket", "file:/data"])
def test_a_url_that_lacks_a_slash_makes_no_directory_of_that_name(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match="begins with"):
        open_store(url)

    assert list(tmp_path.iterdir()) == []

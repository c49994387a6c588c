"""ZIP archives that nobody means well with, made byte by byte."""

import io
import stat
import struct
import zipfile
import zlib


def archive(*entries, comment=b"", method=zipfile.ZIP_DEFLATED):
    """An archive of pairs of a name, or a ``ZipInfo``, and its content; names are written as they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in entries:
            info = zipfile.ZipInfo("x") if isinstance(name, str) else name
            if isinstance(name, str):
                info.filename = name
                info.compress_type = method
            made.writestr(info, data)
        made.comment = comment
    return file.getvalue()


def of_kind(name, kind):
    """An entry that says of itself that it is a link, a device, a directory."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o644) << 16
    return info


def raw(entries, *, local_names=None):
    """An archive of stored entries: (name, offset or None, data, sizes, crc, method, flags), to lie in any field."""
    body, directory = b"", b""
    offsets = []
    for number, entry in enumerate(entries):
        name = (local_names or {}).get(number, entry["name"])
        data = entry.get("data", b"")
        crc, packed = entry.get("crc", zlib.crc32(data)), entry.get("packed", len(data))
        size, method, flags = entry.get("size", len(data)), entry.get("method", 0), entry.get("flags", 0)
        offset = entry.get("offset", len(body))
        offsets.append(offset)
        if "offset" not in entry:
            head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 33, crc, packed, size, len(name), 0)
            body += head + name + data
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20 | 3 << 8, 20, flags, method, 0, 33, crc, packed, size,
            len(entry["name"]), 0, 0, 0, 0, (stat.S_IFREG | 0o644) << 16, offset,
        ) + entry["name"]  # fmt: skip
    return ended(body, directory, len(entries))


def ended(body, directory, count):
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)


def bomb(size=2**26):
    """A few kilobytes that grow to ``size``."""
    return archive(("bomb", b"\0" * size))


def overlapping():
    """Two entries that are the same bytes: how a small archive grows to any size."""
    return raw([{"name": b"a", "data": b"x" * 1000}, {"name": b"a", "data": b"x" * 1000, "offset": 0}])


def quoted():
    """An entry whose content is the head and the content of the next one."""
    inner = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, zlib.crc32(b"xyz"), 3, 3, 1, 0) + b"b" + b"xyz"
    return raw([{"name": b"a", "data": inner}, {"name": b"b", "data": b"xyz", "offset": 31}])


CORPUS = {
    "parent": archive(("../a", b"x")),
    "hidden parent": archive(("a/../../b", b"x")),
    "absolute": archive(("/etc/passwd", b"x")),
    "drive": archive(("C:/a", b"x")),
    "backslash": archive(("..\\a", b"x")),
    "dot": archive(("./a", b"x")),
    "directory": archive(("a/", b"")),
    "control": archive(("a\nb", b"x")),
    "zero": raw([{"name": b"a\0b", "data": b"x"}]),
    "no name": raw([{"name": b"", "data": b"x"}]),
    "long name": archive(("n" * 300, b"x")),
    "link": archive((of_kind("a", stat.S_IFLNK), b"/etc/passwd")),
    "device": archive((of_kind("a", stat.S_IFCHR), b"")),
    "pipe": archive((of_kind("a", stat.S_IFIFO), b"")),
    "directory by kind": archive((of_kind("a", stat.S_IFDIR), b"")),
    "twice": raw([{"name": b"a", "data": b"x"}, {"name": b"a", "data": b"y"}]),
    "twice but for case": raw([{"name": b"a", "data": b"x"}, {"name": b"A", "data": b"y"}]),
    "bomb": bomb(),
    "overlapping": overlapping(),
    "quoted": quoted(),
    "bad crc": raw([{"name": b"a", "data": b"hello", "crc": 1}]),
    "larger than it says": raw([{"name": b"a", "data": b"hello", "size": 3}]),
    "smaller than it says": raw([{"name": b"a", "data": b"hello", "size": 9}]),
    "beyond the end": raw([{"name": b"a", "data": b"hello", "size": 900, "packed": 900}]),
    "encrypted": raw([{"name": b"a", "data": b"hello", "flags": 1}]),
    "unknown method": raw([{"name": b"a", "data": b"hello", "method": 99}]),
    "no stream": raw([{"name": b"a", "data": b"hello", "method": 8}]),
    "two names": raw([{"name": b"a", "data": b"hello"}], local_names={0: b"b"}),
    "comment": archive(("a", b"x"), comment=b"hello"),
    "junk before": b"junk" + archive(("a", b"x")),
    "junk behind": archive(("a", b"x")) + b"junk",
    "many entries": archive(*((f"{number}", b"") for number in range(2000))),
    "many by count": ended(b"", b"", 65_000),
    "far directory": struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**32 - 2, 0, 0),
    "empty file": b"",
    "no archive": b"hello" * 100,
    "cut": archive(("a", b"x" * 1000))[:-30],
}

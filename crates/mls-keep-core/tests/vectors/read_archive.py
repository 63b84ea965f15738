#!/usr/bin/env python3
"""Reads the archives beside it by docs/format.md alone, and prints what is in them. Shares no code with what wrote them.

    pip install cryptography==50.0.2 zstandard==0.25.0
    python3 read_archive.py
"""

import hashlib
import pathlib
import struct

import zstandard
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from read_store import Reader, expand, extract, open_body


def open_archive(archive, key, user_salt):
    """The plaintext, and the archive's id. `key` is a master key, or a passphrase as text."""
    clear, checksum, body = archive[:72], archive[72:80], archive[80:]
    assert clear[:10] == b"\x89MLSP\r\n\x1a" + bytes([0, 1]) and clear[11] == 0
    assert hashlib.sha256(clear + body[:56]).digest()[:8] == checksum, "the header is damaged"
    memory, iterations, lanes = struct.unpack(">III", clear[12:24])
    salt, archive_id = clear[24:56], clear[56:72]
    if clear[10] == 2:
        kdf = Argon2id(salt=salt, length=32, iterations=iterations, lanes=lanes, memory_cost=memory)
        key = kdf.derive(key.encode())
    root = extract(salt + struct.pack(">I", len(user_salt)) + user_salt, key)
    return open_body(root, b"mls-keep archive v1\0" + clear, body), archive_id


def unpack(plaintext):
    pages, frames = Reader(plaintext), b""
    while pages.data:
        method, length = pages.number(1), pages.number(4)
        packed = pages.take(pages.number(4))
        page = zstandard.ZstdDecompressor().decompress(packed) if method else packed
        assert 0 < len(page) == length <= 16384
        frames += page
    return frames


class Archive:
    def __init__(self, archive, key, user_salt):
        plaintext, self.id = open_archive(archive, key, user_salt)
        stream = unpack(plaintext)
        frames = Reader(stream)
        kind, catalogue = frames.number(1), Reader(frames.take(frames.number(4)))
        assert kind == 1
        self.kind, self.contents, self.created = (catalogue.number(length) for length in (1, 1, 8))
        self.store_id, self.parent = catalogue.take(16), catalogue.take(16)
        self.archives = [catalogue.take(16) for _ in range(catalogue.number(1))]
        self.identity = catalogue.take(catalogue.number(2))
        self.parts, self.scopes, label, records = {}, [], None, []
        while True:
            before = len(stream) - len(frames.data)
            kind, body = frames.number(1), Reader(frames.take(frames.number(4)))
            if kind == 2:
                label, records = body.take(12), []
            elif kind == 3:
                records.append((body.take(body.number(2)), body.data))
            elif kind == 4:
                assert body.number(4) == len(records) and label not in self.parts
                self.parts[label] = records
            elif kind == 6:
                flags, version, scope = body.number(1), body.take(12), body.take(body.number(2))
                labels = [body.data[at : at + 12] for at in range(0, len(body.data), 12)]
                self.scopes.append((scope, flags, labels or [version]))
            else:
                assert kind in (5, 255), kind
            if kind == 255:
                break
        self.number = body.number(8)
        values = [value for records in self.parts.values() for _, value in records]
        for total in (len(self.parts), len(values), sum(map(len, values)), len(self.scopes)):
            assert body.number(8) == total
        assert body.data == hashlib.sha256(stream[:before]).digest() and not frames.data
        assert self.scopes == sorted(self.scopes)


def state(*chain):
    """What an archive holds, with those that it goes on from before it."""
    assert all(delta.kind == 2 and delta.parent == before.id for before, delta in zip(chain, chain[1:]))
    parts = {label: records for archive in chain for label, records in archive.parts.items()}
    for scope, flags, labels in chain[-1].scopes:
        records = [record for label in labels for record in parts[label]]
        assert records == sorted(records)
        yield scope, flags, dict(records)


def main():
    directory = pathlib.Path(__file__).with_name("archives")
    words = "six words that nobody will guess"
    keys = {"passphrase": (words, b"")}
    archives = {
        path.name: Archive(path.read_bytes(), *keys.get(path.name, (bytes([9] * 32), b"salt")))
        for path in sorted(directory.iterdir())
    }
    assert {name: archive.kind for name, archive in archives.items()} == {
        "delta": 2, "full": 1, "move": 3, "passphrase": 1, "without-group-secrets": 1
    }
    for name, archive in archives.items():
        chain = [archives["full"], archive] if archive.kind == 2 else [archive]
        scopes = {scope: (flags, records) for scope, flags, records in state(*chain)}
        assert archive.identity == b"alice@example.com" and scopes[b"\0"] == (0, {b"\x01": b"the client"})
        assert scopes[b"\x01coffee"] == (1, {b"\x80": b""})
        flags, tea = scopes[b"\x01tea"]
        history = {key: value for key, value in tea.items() if key[0] == 0x30}
        assert flags == 0 and history == {
            b"\x30" + struct.pack(">I", at): hashlib.sha256(struct.pack(">I", at)).digest() * 3 for at in range(200)
        }
        assert (b"\x10" in tea) == (archive.contents == 0)
        assert (b"\x31" in tea) == (name in ("delta", "move", "passphrase"))
        print(name, archive.id.hex(), archive.number, len(archive.parts), "parts,", len(tea), "records of tea")


if __name__ == "__main__":
    main()

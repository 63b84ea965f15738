#!/usr/bin/env python3
"""Reads store.json by docs/format.md alone, and prints what is in it. The specification's twin: it shares no code.

    pip install cryptography==50.0.2 zstandard==0.25.0
    python3 read_store.py
"""

import hashlib
import hmac
import json
import pathlib
import struct

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def extract(salt, ikm):
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def expand(prk, info, length):
    okm, block = b"", b""
    for count in range(1, length // 32 + 2):
        block = hmac.new(prk, block + info + bytes([count]), hashlib.sha256).digest()
        okm += block
    return okm[:length]


def text(name):
    value, bits = int.from_bytes(name, "big") << (-len(name) * 8 % 5), -(-len(name) * 8 // 5)
    return "".join("0123456789abcdefghijklmnopqrstuv"[value >> 5 * (bits - 1 - at) & 31] for at in range(bits))


def open_body(key, context, body):
    salt, commitment, sealed = body[:24], body[24:56], body[56:]
    okm = expand(key, b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context, 76)
    assert okm[44:] == commitment, "wrong key"
    plaintext, number = b"", 0
    while True:
        chunk, sealed = sealed[:16400], sealed[16400:]
        nonce = int.from_bytes(okm[32:44], "big") ^ number
        plaintext += AESGCM(okm[:32]).decrypt(nonce.to_bytes(12, "big"), chunk, b"")
        if len(chunk) < 16400:
            return plaintext
        number += 1


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, length):
        taken, self.data = self.data[:length], self.data[length:]
        assert len(taken) == length, "ends early"
        return taken

    def number(self, length):
        return int.from_bytes(self.take(length), "big")


class Store:
    def __init__(self, stored, master_key, user_salt):
        self.stored = stored
        header = stored["header"]
        assert header[:12] == b"\x89MLSK\r\n\x1a" + bytes([0, 1, 1, 0])
        root = extract(header[24:56] + struct.pack(">I", len(user_salt)) + user_salt, master_key)
        body = Reader(open_body(root, b"mls-keep header v1\0" + header[:72], header[72:]))
        assert body.number(1) == 1
        self.store_id, self.name_key = header[56:72], body.take(32)
        self.root_keys = {body.number(4): body.take(32) for _ in range(body.number(1))}

    def client(self, identity):
        token = expand(self.name_key, b"mls-keep client v1\0" + identity, 16)
        self.prefix = f"n/{text(token)}/"
        stored = self.stored[f"r/{text(token)}"]
        prefix = stored[:24]
        assert prefix[:12] == b"\x89MLSR\r\n\x1a" + bytes([0, 1, 0, 0]) and prefix[16:] == bytes(8)
        key = extract(bytes(32), self.root_keys[int.from_bytes(prefix[12:16], "big")])
        context = b"mls-keep root v1\0" + self.store_id + token + prefix
        body = Reader(open_body(key, context, stored[24:]))
        assert body.number(1) == 1
        body = Reader(body.take(4 + 0) and body.data)  # the length, of use to whoever checks the padding
        commits, _previous = body.number(8), body.take(32)
        ancestors = [body.take(8) for _ in range(body.number(1))]
        assert len(ancestors) == min(max(commits - 2, 0), 16)
        assert body.take(body.number(2)) == identity
        _seed, standing = body.take(8), body.number(1)
        archives = [body.take(16) for _ in range(body.number(1))]
        named, garbage, pages = body.number(8), body.number(4), body.number(1)
        assert standing == 0 and not archives and garbage == 0 and pages == 0
        assert named == sum(name.startswith(self.prefix) for name in self.stored)
        kind = body.number(1)
        nodes = {0: lambda: None, 1: lambda: body.take(body.number(2)), 2: lambda: self.node(body.take(32))}[kind]()
        for scope, (flags, top) in self.entries(nodes):
            assert flags == 0
            for key, value in self.entries(self.node(top)):
                yield commits, scope, key, value

    def node(self, pointer):
        okm = expand(pointer, b"mls-keep node v1", 64)
        stored = self.stored[self.prefix + text(okm[:20])]
        frame = Reader(AESGCM(okm[20:52]).decrypt(okm[52:64], stored, b""))
        version, method, length = frame.number(1), frame.number(1), frame.number(4)
        packed = frame.take(frame.number(4))
        assert version == 1 and not frame.data.strip(b"\0")
        node = zstandard.ZstdDecompressor().decompress(packed) if method else packed
        assert len(node) == length
        return node

    def entries(self, node):
        if node is None:
            return
        node = Reader(node)
        kind, _level, count = node.number(1), node.number(1), node.number(2)
        for _ in range(count):
            key = node.take(node.number(2))
            if kind == 1:
                yield from self.entries(self.node(node.take(32)))
                continue
            value_kind = node.number(1)
            if value_kind == 0:
                yield key, node.take(node.number(4))
            elif value_kind == 1:
                length, levels = node.number(4), node.number(1)
                value = self.parts(node, levels)
                assert len(value) == length
                yield key, value
            else:
                yield key, (node.number(1), node.take(32))

    def parts(self, node, levels):
        value = b""
        for _ in range(node.number(2)):
            length, below = node.number(4), Reader(self.node(node.take(32)))
            assert below.number(1) == (2 if levels else 3)
            part = self.parts(below, levels - 1) if levels else below.data
            assert len(part) == length
            value += part
        return value


def main():
    golden = json.loads(pathlib.Path(__file__).with_name("store.json").read_text())
    store = Store({key: bytes.fromhex(value) for key, value in golden.items()}, bytes([7] * 32), b"salt")
    records = list(store.client(b"alice@example.com"))
    for commits, scope, key, value in records:
        print(commits, scope.hex(), key.hex(), len(value), hashlib.sha256(value).hexdigest()[:16])
    tea = dict((key, value) for _, scope, key, value in records if scope == b"\x01tea")
    random = b"".join(hashlib.sha256(struct.pack(">I", at)).digest() for at in range(600))
    assert tea[b"\x10"] == random + b"m" * 40_000 and tea[b"\x80empty"] == b""
    assert len(records) == 3 + 240 and not list(store.client(b"bob"))
    print(f"{len(records)} records, all as they were written")


if __name__ == "__main__":
    main()

"""Known answers for the envelope, from an implementation that shares nothing with ours: hashlib, hmac, `cryptography`.

    python -m venv venv && venv/bin/pip install cryptography
    venv/bin/python envelope.py > envelope.json

The tests of src/envelope read envelope.json. Formats: docs/format.md.
"""

import base64
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

CHUNK = 16 * 1024


def hkdf_extract(salt, ikm):
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    okm, block, counter = b"", b"", 1
    while len(okm) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        okm += block
        counter += 1
    return okm[:length]


def pattern(length):
    return bytes((i * 31 + i // 256 + length) % 256 for i in range(length))


def label(text):
    return hashlib.sha256(text.encode()).digest()


def seal_body(input_key, context, salt, plaintext):
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM" + b"\0" + salt + context
    okm = hkdf_expand(input_key, info, 76)
    key, base_nonce, commitment = okm[:32], int.from_bytes(okm[32:44], "big"), okm[44:]
    body = salt + commitment
    for number in range(len(plaintext) // CHUNK + 1):
        chunk = plaintext[number * CHUNK : (number + 1) * CHUNK]
        body += AESGCM(key).encrypt((base_nonce ^ number).to_bytes(12, "big"), chunk, None)
    return body


def body(length, context):
    input_key, salt = label(f"input key {length}"), label(f"salt {length}")[:24]
    sealed = seal_body(input_key, context, salt, pattern(length))
    return {
        "input_key": input_key.hex(),
        "context": context.hex(),
        "salt": salt.hex(),
        "plaintext_len": length,
        "body_len": len(sealed),
        "body_sha256": hashlib.sha256(sealed).hexdigest(),
        "body_start": sealed[:96].hex(),
    }


def node(length):
    pointer = label(f"pointer {length}")
    okm = hkdf_expand(pointer, b"mls-keep node v1", 64)
    stored = AESGCM(okm[20:52]).encrypt(okm[52:], pattern(length), None)
    return {"pointer": pointer.hex(), "plaintext_len": length, "name": okm[:20].hex(), "stored": stored.hex()}


def header_prefix(kdf, params, salt, store_id):
    return b"\x89MLSK\r\n\x1a" + struct.pack(">HBBIII", 1, kdf, 0, *params) + salt + store_id


def root(kdf, held, params, user_salt):
    salt, store_id = label(f"header salt {kdf}"), label(f"store id {kdf}")[:16]
    ikm = held
    if kdf == 2:
        memory_kib, iterations, lanes = params
        argon2 = Argon2id(salt=salt, length=32, iterations=iterations, lanes=lanes, memory_cost=memory_kib)
        ikm = argon2.derive(held)
    return {
        "kdf": kdf,
        "held": held.hex(),
        "params": params,
        "user_salt": user_salt.hex(),
        "header_salt": salt.hex(),
        "store_id": store_id.hex(),
        "prefix": header_prefix(kdf, params, salt, store_id).hex(),
        "root_key": hkdf_extract(salt + struct.pack(">I", len(user_salt)) + user_salt, ikm).hex(),
    }


def key_text(key):
    prefix = "mls-keep-key-1:"
    checksum = hashlib.sha256(prefix.encode() + key).digest()[:4]
    return {"key": key.hex(), "text": prefix + base64.b32hexencode(key + checksum).decode().rstrip("=").lower()}


def padme(length):
    if length <= 256:
        return 256
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    return -(-length // (1 << low_bits)) * (1 << low_bits)


print(
    json.dumps(
        {
            "bodies": [body(n, b"" if n == 0 else label("context")[: n % 33]) for n in (0, 1, 300, 16383, 16384, 16385, 40000)],
            "nodes": [node(n) for n in (0, 256, 1000)],
            "roots": [
                root(1, label("master key"), (0, 0, 0), b""),
                root(1, label("master key"), (0, 0, 0), b"user salt"),
                root(2, "pässwörd\0".encode(), (19 * 1024, 2, 1), b""),
                root(2, b"correct horse", (19 * 1024, 2, 4), b"user salt"),
            ],
            "key_texts": [key_text(bytes(32)), key_text(label("master key"))],
            "padded": [[n, padme(n)] for n in (0, 255, 256, 257, 511, 512, 513, 4096, 4097, 16384, 65537, 999999, 1 << 30)],
        },
        indent=1,
    )
)

#!/usr/bin/env python3
"""Recomputes audit/vectors/v1.json from audit/spec.md, without any code of sealed-store.

    pip install 'cryptography>=44'
    python3 audit/reader/vectors.py            # compares, prints "N passed, 0 failed"
    python3 audit/reader/vectors.py --fill     # rewrites every "out" that is not published elsewhere

Section numbers in comments are those of audit/spec.md. The one dependency gives AES-GCM, AES as a block
cipher, AES-SIV, ChaCha20-Poly1305 and Argon2id; HKDF, HChaCha20, XAES-256-GCM and all framing stand here.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors" / "v1.json"


class Refused(Exception):
    """A reader refuses these bytes."""


# --- 1 conventions ---------------------------------------------------------------------------------


def u8(n):
    return struct.pack("<B", n)


def u16(n):
    return struct.pack("<H", n)


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


def i64(n):
    return struct.pack("<q", n)


def frame(data):
    return u32(len(data)) + data


def parts(items):
    return u8(len(items)) + b"".join(frame(item) for item in items)


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, length):
        if length > len(self.data):
            raise Refused("a length does not fit")
        head, self.data = self.data[:length], self.data[length:]
        return head

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]

    def frame(self):
        return self.take(self.number("I"))

    def parts(self):
        return [self.frame() for _ in range(self.number("B"))]

    def end(self):
        if self.data:
            raise Refused("bytes are left over")


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def of_base64url(text):
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise Refused("not base64url") from error
    if base64url(data) != text:
        raise Refused("another spelling of base64url")
    return data


def of_hex(text, length):
    if len(text) != 2 * length or text.strip("0123456789abcdef"):
        raise Refused("not hexadecimal digits of the right length")
    return bytes.fromhex(text)


# --- 2 primitives ----------------------------------------------------------------------------------


def hmac_sha256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(key, info, length=32):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac_sha256(key, block + info + u8(counter))
        out, counter = out + block, counter + 1
    return out[:length]


def hchacha20(key, nonce16):
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce16))

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            word = state[z] ^ state[x]
            state[z] = ((word << turn) | (word >> (32 - turn))) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def aes_block(key, block):
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def xaes_key(key, nonce12):
    left = int.from_bytes(aes_block(key, bytes(16)), "big")
    k1 = (left << 1) & ((1 << 128) - 1)
    if left >> 127:
        k1 ^= 0x87
    halves = []
    for counter in (1, 2):
        block = int.from_bytes(b"\x00" + u8(counter) + b"X\x00" + nonce12, "big")
        halves.append(aes_block(key, (block ^ k1).to_bytes(16, "big")))
    return b"".join(halves)


SUITES = {"xaes-256-gcm": 1, "xchacha20-poly1305": 2}


def aead(suite, key, nonce):
    """The AEAD object and its 12-byte nonce for one 24-byte nonce."""
    if suite == "xaes-256-gcm":
        return AESGCM(xaes_key(key, nonce[:12])), nonce[12:]
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])), bytes(4) + nonce[16:]


def aead_seal(suite, key, nonce, aad, plaintext):
    cipher, nonce = aead(suite, key, nonce)
    return cipher.encrypt(nonce, plaintext, aad)


def aead_open(suite, key, nonce, aad, sealed):
    cipher, nonce = aead(suite, key, nonce)
    try:
        return cipher.decrypt(nonce, sealed, aad)
    except InvalidTag as error:
        raise Refused("the tag is wrong") from error


def siv_open(key, aad, sealed):
    try:
        return AESSIV(key).decrypt(sealed, None if aad is None else [aad])
    except (InvalidTag, ValueError) as error:
        raise Refused("the tag is wrong") from error


def checked(opener, sealed, expected):
    """Opens what was sealed, and refuses it with any one byte altered, cut or added."""
    if opener(sealed) != expected:
        raise AssertionError("it opens as something else")
    altered = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for bad in [*altered, sealed[:-1], sealed + b"\0"]:
        try:
            opener(bad)
        except Refused:
            continue
        raise AssertionError("it opens although it was altered")
    return sealed


# --- 3 keys ----------------------------------------------------------------------------------------

LABEL = b"sealed-store v1 "
TABLES = [
    "session", "identity", "pre_key", "signed_pre_key", "sender_key", "sync_key", "version",
    "mutation_mac", "sender_key_device", "lid_mapping", "base_key", "device_list", "group_metadata",
    "sent_message", "pending_inbound", "tc_token", "msg_secret", "device", "canary", "snapshot",
]  # fmt: skip
KINDS = {"root": 1, "previous_root": 2, "data": 3, "blind": 4}


def table_number(name):
    return 0 if name is None else TABLES.index(name) + 1


BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def polymod(symbols):
    """BIP-173's checksum, over 5-bit symbols."""
    check = 1
    for symbol in symbols:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ symbol
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check


def typed_text(prefix, data):
    """Section 4: BIP-350 with the human-readable part `prefix`, in groups of four."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    symbols = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    hrp = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = polymod(hrp + symbols + [0] * 6) ^ 0x2BC830A3
    symbols += [check >> 5 * (5 - at) & 31 for at in range(6)]
    if polymod(hrp + symbols) != 0x2BC830A3:
        raise Refused("a checksum that does not fit")
    text = (prefix + "1" + "".join(BECH32[symbol] for symbol in symbols)).upper()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def gf_mul(a, b):
    """GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def gf_inverse(a):
    inverse = 1
    for _ in range(254):
        inverse = gf_mul(inverse, a)
    return inverse


def share_text(share_set, threshold, count, number, value):
    """Section 4: set, version and three numbers less one in four bits each, value."""
    numbers = 1 << 12 | threshold - 1 << 8 | count - 1 << 4 | number - 1
    return typed_text("shr", share_set + numbers.to_bytes(2, "big") + value)


def shares_of(secret, coefficients, count):
    """Each byte by a polynomial of its own: the secret's byte, then the coefficients'."""
    values = []
    for number in range(1, count + 1):
        value = bytes(32)
        for part in [*reversed(coefficients), secret]:
            value = bytes(gf_mul(have, number) ^ add for have, add in zip(value, part, strict=True))
        values.append(value)
    return values


def joined(shares):
    """Lagrange's interpolation at zero of {number: value}."""
    secret = bytes(32)
    for number, value in shares.items():
        weight = 1
        for other in shares:
            if other != number:
                weight = gf_mul(weight, gf_mul(other, gf_inverse(other ^ number)))
        secret = bytes(have ^ gf_mul(weight, byte) for have, byte in zip(secret, value, strict=True))
    return secret


def recovery_secret(code):
    extracted = hmac.new(bytes(32), code, hashlib.sha256).digest()
    return expand(extracted, LABEL + b"recovery code")


def combined_secret(first, second, keyring, slot, kinds):
    """Section 3.1: both secrets, bound to the slot and to both kinds."""
    if not any(first) or not any(second):
        raise Refused("an all-zero secret")
    extracted = hmac.new(bytes(32), first + second, hashlib.sha256).digest()
    info = LABEL + b"combined" + keyring + u32(slot) + b"".join(frame(kind.encode()) for kind in kinds)
    return expand(extracted, info)


def slot_keys(secret, keyring, slot, kind, suite):
    slot_key = expand(secret, LABEL + b"slot" + keyring + u32(slot) + frame(kind.encode()))
    return {
        "slot_key": slot_key,
        "commitment": expand(slot_key, LABEL + b"slot commitment"),
        "wrap_key": expand(slot_key, LABEL + b"slot wrap" + u8(SUITES[suite])),
    }


def root_keys(root, suite):
    return {
        "wrap_key": expand(root, LABEL + b"wrap" + u8(SUITES[suite])),
        "document_key": expand(root, LABEL + b"document"),
    }


def data_keys(data_key, suite):
    return {
        "record_key": expand(data_key, LABEL + b"record key" + u8(SUITES[suite])),
        "siv_key": expand(data_key, LABEL + b"siv key", 64),
    }


def wrap_aad(keyring, account, table, kind, generation, wrapped_by, suite):
    return (
        frame(LABEL + b"wrapped key") + u8(1) + u8(SUITES[wrapped_by]) + keyring + account
        + u16(table_number(table)) + u8(KINDS[kind]) + u32(generation) + u8(SUITES[suite])
    )  # fmt: skip


def unwrap(suite, wrap_key, aad, wrapped):
    if len(wrapped) != 74 or wrapped[:2] != u8(1) + u8(SUITES[suite]):
        raise Refused("not a wrapped key of this suite")
    key = aead_open(suite, wrap_key, wrapped[2:26], aad, wrapped[26:])
    if not any(key):
        raise Refused("an all-zero key")
    return key


# --- 5 documents -----------------------------------------------------------------------------------


def document_text(document_key, keyring, name, revision, body):
    text = "sealed-store document 1\n" + body + "\n"
    text += "sha256 " + hashlib.sha256(text.encode()).hexdigest() + "\n"
    head = frame(name.encode()) + keyring + u64(revision)
    return text + "hmac-sha256 " + hmac_sha256(document_key, head + text.encode()).hex() + "\n"


def split_document(text):
    """The body, what the MAC covers, and the MAC."""
    mac_line, sha_line = len("hmac-sha256 ") + 65, len("sha256 ") + 65
    content, line = text[:-mac_line], text[-mac_line:]
    hashed, sha = content[:-sha_line], content[-sha_line:]
    starts = line.startswith("hmac-sha256 ") and sha.startswith("sha256 ")
    if not starts or any(not text.endswith("\n") for text in (line, sha, hashed)):
        raise Refused("its last lines are missing")
    if of_hex(sha[7:-1], 32) != hashlib.sha256(hashed.encode()).digest():
        raise Refused("it is damaged")
    magic, body = hashed.split("\n", 1)
    if magic != "sealed-store document 1":
        raise Refused("another version")
    return json.loads(body), content, of_hex(line[12:-1], 32)


def open_document(document_key, keyring, name, revision, text):
    body, content, mac = split_document(text)
    head = frame(name.encode()) + keyring + u64(revision)
    if not hmac.compare_digest(mac, hmac_sha256(document_key, head + content.encode())):
        raise Refused("it was altered")
    if body["revision"] != revision or of_hex(body["keyring_id"], 16) != keyring:
        raise Refused("its revision or keyring id differs")
    return body


# --- 6 records, SIV values -------------------------------------------------------------------------


def header(suite, generation):
    return b"\xa5\x53" + u8(1) + u8(SUITES[suite]) + u32(generation)


def read_header(data):
    if data[:2] != b"\xa5\x53":
        raise Refused("not sealed")
    reader = Reader(data[2:])
    if reader.number("B") != 1:
        raise Refused("another version")
    number = reader.number("B")
    suite = next((name for name, value in SUITES.items() if value == number), None)
    if suite is None:
        raise Refused("an unknown suite")
    return suite, reader.number("I"), reader.data


def bound(label, suite, generation, ids, table):
    return frame(LABEL + label) + header(suite, generation) + ids + u16(table_number(table))


def padded(length, padding):
    if padding == "padme":
        length = max(length, 32)
        exponent = length.bit_length() - 1
        step = 1 << (exponent - exponent.bit_length())
    else:
        step = max(padding, 32)
    return -(-length // step) * step


class Keys:
    """What an opened account holds, for one suite and one generation of each table."""

    def __init__(self, inputs, suite, generation, data_key=None):
        self.ids = inputs["keyring_id"] + inputs["account_uid"]
        self.blind_key = inputs["blind_key"]
        self.suite, self.generation, self.one_data_key = suite, generation, data_key

    def data_key(self, table):
        return self.one_data_key or bytes([0x80 + table_number(table)]) * 32

    def record_aad(self, table, key, clear):
        return bound(b"record", self.suite, self.generation, self.ids, table) + parts(key) + parts(clear)

    def seal(self, table, key, clear, name, value, padding, nonce):
        plaintext = frame(parts(name)) + frame(value)
        plaintext = plaintext.ljust(padded(len(plaintext), padding), b"\0")
        record_key = data_keys(self.data_key(table), self.suite)["record_key"]
        sealed = aead_seal(self.suite, record_key, nonce, self.record_aad(table, key, clear), plaintext)
        return header(self.suite, self.generation) + nonce + sealed

    def open(self, table, key, clear, record):
        suite, generation, rest = read_header(record)
        if (suite, generation) != (self.suite, self.generation):
            raise Refused("an unknown generation, or another suite")
        reader = Reader(rest)
        nonce = reader.take(24)
        if len(reader.data) < 16:
            raise Refused("too short")
        record_key = data_keys(self.data_key(table), suite)["record_key"]
        reader = Reader(aead_open(suite, record_key, nonce, self.record_aad(table, key, clear), reader.data))
        name, value = Reader(reader.frame()), reader.frame()
        if any(reader.data):
            raise Refused("its padding is not zero")
        names = name.parts()
        name.end()
        return names, value

    def siv_aad(self, table, name):
        return bound(b"siv value", self.suite, self.generation, self.ids, table) + parts(name)

    def siv_seal(self, table, name, value):
        siv = AESSIV(data_keys(self.data_key(table), self.suite)["siv_key"])
        return header(self.suite, self.generation) + siv.encrypt(value, [self.siv_aad(table, name)])

    def siv_open(self, table, name, sealed):
        suite, generation, rest = read_header(sealed)
        if (suite, generation) != (self.suite, self.generation):
            raise Refused("an unknown generation, or another suite")
        siv_key = data_keys(self.data_key(table), suite)["siv_key"]
        return siv_open(siv_key, self.siv_aad(table, name), rest)

    # --- 7 tokens, names -----------------------------------------------------------------------

    def token_key(self, column):
        return expand(self.blind_key, LABEL + b"token key" + place(TOKENS, column))

    def token_bytes(self, column, *items):
        message = place(TOKENS, column) + b"".join(frame(item) for item in items)
        return hmac_sha256(self.token_key(column), message)

    def token(self, column, *items):
        return base32(self.token_bytes(column, *items)[:16])

    def signal_address(self, whole, address):
        cuts = [at for at in (address.find(b"@"), address.find(b":")) if at >= 0]
        user = self.token("SignalUser", address[: min(cuts)]) + "@" if cuts else ""
        return user + self.token(whole, address)

    def name_key(self, column):
        return expand(self.blind_key, LABEL + b"name key" + place(NAMES, column), 64)

    def name(self, column, *items):
        plaintext = frame(parts(items))
        plaintext = plaintext.ljust(padded(len(plaintext), 32), b"\0")
        return base64url(AESSIV(self.name_key(column)).encrypt(plaintext, None))

    def read_name(self, column, text):
        plaintext = siv_open(self.name_key(column), None, of_base64url(text))
        reader = Reader(plaintext)
        framed = Reader(reader.frame())
        if len(plaintext) % 32 or len(reader.data) >= 32 or any(reader.data):
            raise Refused("its padding is wrong")
        items = framed.parts()
        framed.end()
        return items


TOKENS = {
    "SignalUser": ("session", 1), "SessionAddress": ("session", 2), "IdentityAddress": ("identity", 1),
    "SenderKeyAddress": ("sender_key", 1), "VersionName": ("version", 1),
    "MutationMacName": ("mutation_mac", 1), "MutationMacIndex": ("mutation_mac", 2),
    "Lid": ("lid_mapping", 1), "Phone": ("lid_mapping", 2), "DeviceListUser": ("device_list", 1),
    "Group": ("group_metadata", 1), "SentChat": ("sent_message", 1), "SentId": ("sent_message", 2),
    "PendingChat": ("pending_inbound", 1), "PendingSender": ("pending_inbound", 2),
    "PendingId": ("pending_inbound", 3), "MsgSecret": ("msg_secret", 1), "Device": ("device", 1),
    "SnapshotName": ("snapshot", 1),
}  # fmt: skip
NAMES = {
    "SenderKeyGroup": ("sender_key_device", 1), "SenderKeyDevice": ("sender_key_device", 2),
    "BaseKeyAddress": ("base_key", 1), "BaseKeyMessage": ("base_key", 2), "TcTokenJid": ("tc_token", 1),
    "MsgSecretName": ("msg_secret", 2),
}  # fmt: skip


def place(columns, column):
    table, number = columns[column]
    return u16(table_number(table)) + u8(number)


# --- 8 rows ----------------------------------------------------------------------------------------


def option(data):
    return u8(0) if data is None else u8(1) + frame(data)


def row(keys, table, field, nonce, store_id):
    """The inner row that a client's row becomes; field[x] is bytes, a number, or nested."""

    def put(key, name, value, clear=(), padding=64):
        record = keys.seal(table, key, clear, name, value, padding, nonce)
        return checked(lambda bad: keys.open(table, key, clear, bad), record, (list(name), value))

    def ascii(text):
        return text.encode("ascii")

    match table:
        case "session" | "identity":
            address = field["address"]
            column = "SessionAddress" if table == "session" else "IdentityAddress"
            key = keys.signal_address(column, address)
            return {"key": key, "record": put([ascii(key)], [address], field["record"])}
        case "sender_key":
            key = keys.token("SenderKeyAddress", field["address"])
            return {"key": key, "record": put([ascii(key)], [field["address"]], field["record"])}
        case "pre_key" | "signed_pre_key":
            number = u32(field["id"])
            return {"record": put([number], [number], field["record"])}
        case "sync_key":
            value = frame(field["key_data"]) + frame(field["fingerprint"]) + i64(field["timestamp"])
            record = put([field["key_id"]], [field["key_id"]], value)
            return {"key_data": bytes(len(field["key_data"])), "fingerprint": record, "timestamp": 0}
        case "version":
            value = u64(field["version"]) + field["hash"] + u8(field["mac_mismatch_fatal"])
            value += u32(len(field["index_value_map"]))
            for index, mac in field["index_value_map"]:
                value += frame(index) + frame(mac)
            key = keys.token("VersionName", field["name"])
            return {"key": key, "s": put([ascii(key)], [field["name"]], value)}
        case "mutation_mac":
            key = keys.token("MutationMacName", field["name"])
            index = keys.token_bytes("MutationMacIndex", field["name"], field["index_mac"])
            record = put([ascii(key), index], [field["name"], field["index_mac"]], field["value_mac"])
            return {"name": key, "index_mac": index, "value_mac": record}
        case "sender_key_device":
            return {
                "group": keys.name("SenderKeyGroup", field["group"]),
                "device": keys.name("SenderKeyDevice", field["device"]),
            }
        case "lid_mapping":
            lid, phone = keys.token("Lid", field["lid"]), keys.token("Phone", field["phone_number"])
            name = [field["lid"], field["phone_number"]]
            clear = [i64(field["updated_at"])]
            record = put([ascii(lid), ascii(phone)], name, field["learning_source"], clear)
            return {
                "lid": lid, "phone_number": phone, "created_at": field["created_at"],
                "updated_at": field["updated_at"], "learning_source": base64url(record),
            }  # fmt: skip
        case "base_key":
            name = [field["address"], field["message_id"]]
            sealed = keys.siv_seal(table, name, field["base_key"])
            checked(lambda bad: keys.siv_open(table, name, bad), sealed, field["base_key"])
            return {
                "address": keys.name("BaseKeyAddress", name[0]),
                "message_id": keys.name("BaseKeyMessage", *name),
                "base_key": sealed,
            }
        case "device_list":
            raw_id = field["raw_id"]
            value = i64(field["timestamp"]) + option(field["phash"])
            value += option(None if raw_id is None else u32(raw_id)) + u32(len(field["devices"]))
            for device in field["devices"]:
                index = device["key_index"]
                value += u32(device["device_id"]) + option(None if index is None else u32(index))
                value += u8(device["is_hosted"])
            key = keys.token("DeviceListUser", field["user"])
            return {"user": key, "phash": base64url(put([ascii(key)], [field["user"]], value))}
        case "group_metadata":
            key = keys.token("Group", field["group"])
            return {"key": key, "record": put([ascii(key)], [field["group"]], field["blob"])}
        case "sent_message":
            name = [field["chat"], field["id"]]
            key = [keys.token("SentChat", name[0]), keys.token("SentId", *name)]
            record = put([ascii(part) for part in key], name, field["payload"], padding="padme")
            return {"key": key, "record": record}
        case "pending_inbound":
            name = [field["chat"], field["sender"], field["id"]]
            key = [
                keys.token("PendingChat", name[0]), keys.token("PendingSender", *name[:2]),
                keys.token("PendingId", *name),
            ]  # fmt: skip
            record = put([ascii(part) for part in key], name, field["message"], padding="padme")
            return {"key": key, "record": record}
        case "tc_token":
            key = keys.name("TcTokenJid", field["jid"])
            token = field["token"]
            if token:
                token = put([ascii(key)], [field["jid"]], token, [i64(field["token_timestamp"])])
            return {"jid": key, "token": token, "token_timestamp": field["token_timestamp"]}
        case "msg_secret":
            name = [field["chat"], field["sender"], field["msg_id"]]
            sealed = keys.siv_seal(table, name, field["secret"])
            whole = sealed[:8] + bytes(8) + sealed[8:]

            def open_whole(bad):
                if len(bad) != 64 or any(bad[8:16]):
                    raise Refused("not a message secret")
                return keys.siv_open(table, name, bad[:8] + bad[16:])

            checked(open_whole, whole, field["secret"])
            token = keys.token("MsgSecret", *name)
            return {
                "first": {"chat": token, "sender": keys.name("MsgSecretName", *name), "secret": whole[:32]},
                "second": {"chat": token, "sender": "1", "secret": whole[32:]},
            }
        case "device":
            key = keys.token("Device", b"device")
            return {"key": key, "record": put([ascii(key)], [b"device"], field["json"])}
        case "canary":
            literal = b"sealed-store.canary"
            clear = [keys.ids[:16], keys.ids[16:], store_id]
            record = put([literal], [literal], b"", clear)
            return {"key": literal.decode(), "row": b"sealed-store canary 1\n" + b"".join(clear) + record}
        case "snapshot":
            key = keys.token("SnapshotName", field["name"])
            record = put([ascii(key)], [field["name"]], field["content"], padding="padme")
            return {"name": key, "content": record}


# --- the vectors -----------------------------------------------------------------------------------


def of_json(value):
    """A string is bytes: hexadecimal after "hex:", else its UTF-8."""
    if isinstance(value, str):
        return bytes.fromhex(value[4:]) if value.startswith("hex:") else value.encode()
    if isinstance(value, list):
        return [of_json(item) for item in value]
    if isinstance(value, dict):
        return {key: of_json(item) for key, item in value.items()}
    return value


def to_json(value):
    """Bytes become "hex:…", text stays."""
    if isinstance(value, bytes):
        return "hex:" + value.hex()
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def compute(inputs, vector):
    raw = vector["in"]
    field = of_json(raw)
    suite = raw.get("suite", inputs["suite"])
    nonce = inputs["nonce"]
    zero = bytes(16)
    match vector["op"]:
        case "aead":
            sealed = aead_seal(suite, field["key"], field["nonce"], field["aad"], field["plaintext"])
            return {"sealed": sealed}
        case "argon2id":
            stretched = Argon2id(
                salt=field["salt"], length=32, iterations=raw["passes"], lanes=raw["lanes"],
                memory_cost=raw["m_kib"],
            )  # fmt: skip
            return {"secret": stretched.derive(field["passphrase"])}
        case "recovery":
            return {"text": typed_text("rec", field["code"]), "secret": recovery_secret(field["code"])}
        case "shares":
            threshold, count = len(field["coefficients"]) + 1, raw["count"]
            values = shares_of(field["secret"], field["coefficients"], count)
            numbered = dict(enumerate(values, 1))
            for first in range(1, count - threshold + 2):
                some = {number: numbered[number] for number in range(first, first + threshold)}
                if joined(some) != field["secret"]:
                    raise Refused("shares that do not give their secret")
            texts = [share_text(field["set"], threshold, count, *share) for share in numbered.items()]
            return {"shares": texts}
        case "combined":
            secrets = field["first"], field["second"]
            return {"secret": combined_secret(*secrets, inputs["keyring_id"], raw["slot"], raw["kinds"])}
        case "slot":
            return slot_keys(field["secret"], inputs["keyring_id"], raw["slot"], raw["kind"], suite)
        case "root":
            return root_keys(inputs["root_key"], suite)
        case "data_key":
            return data_keys(inputs["data_key"], suite)
        case "wrap":
            if raw["by"] == "root":
                wrap_key = root_keys(inputs["root_key"], suite)["wrap_key"]
            else:
                slot = raw["by"]
                wrap_key = slot_keys(
                    of_json(slot["secret"]), inputs["keyring_id"], slot["slot"], slot["kind"], suite
                )["wrap_key"]
            account = inputs["account_uid"] if raw["kind"] in ("data", "blind") else zero
            aad = wrap_aad(
                inputs["keyring_id"], account, raw["table"], raw["kind"], raw["generation"], suite,
                raw["wrapped_suite"],
            )  # fmt: skip
            wrapped = u8(1) + u8(SUITES[suite]) + nonce + aead_seal(suite, wrap_key, nonce, aad, field["key"])
            checked(lambda bad: unwrap(suite, wrap_key, aad, bad), wrapped, field["key"])
            return {"aad": aad, "wrapped": wrapped}
        case "padding":
            return {"padded": [padded(length, raw["padding"]) for length in raw["lengths"]]}
        case "record":
            keys = Keys(inputs, suite, raw["generation"], inputs["data_key"])
            place_of = (raw["table"], field["key"], field["clear"])
            record = keys.seal(*place_of, field["name"], field["value"], raw["padding"], nonce)
            checked(lambda bad: keys.open(*place_of, bad), record, (field["name"], field["value"]))
            return {"aad": keys.record_aad(*place_of), "record": record}
        case "siv":
            keys = Keys(inputs, suite, raw["generation"], inputs["data_key"])
            sealed = keys.siv_seal(raw["table"], field["name"], field["value"])
            checked(lambda bad: keys.siv_open(raw["table"], field["name"], bad), sealed, field["value"])
            return {"aad": keys.siv_aad(raw["table"], field["name"]), "sealed": sealed}
        case "token":
            keys = Keys(inputs, suite, 1)
            return {
                "place": place(TOKENS, raw["column"]), "key": keys.token_key(raw["column"]),
                "hmac": keys.token_bytes(raw["column"], *field["parts"]),
                "token": keys.token(raw["column"], *field["parts"]),
            }  # fmt: skip
        case "signal_address":
            keys = Keys(inputs, suite, 1)
            return {"text": keys.signal_address(raw["whole"], field["address"])}
        case "name":
            keys = Keys(inputs, suite, 1)
            name = keys.name(raw["column"], *field["parts"])
            checked(
                lambda bad: keys.read_name(raw["column"], bad.decode()), name.encode(), field["parts"]
            )
            return {
                "place": place(NAMES, raw["column"]), "key": keys.name_key(raw["column"]),
                "name": name,
            }  # fmt: skip
        case "document":
            keyring, document_key = inputs["keyring_id"], root_keys(inputs["root_key"], suite)["document_key"]
            body = json.dumps(raw["body"], indent=2, ensure_ascii=False)
            text = document_text(document_key, keyring, raw["name"], raw["body"]["revision"], body)
            revision = raw["body"]["revision"]

            def open_text(bad):
                return open_document(document_key, keyring, raw["name"], revision, bad.decode())

            checked(open_text, text.encode(), raw["body"])
            return {"text": text}
        case "open_keyring":
            # From a passphrase to the root key, as a reader does it: 5.3.
            body, _, _ = split_document(raw["text"])
            keyring, slot = of_hex(body["keyring_id"], 16), body["slots"][0]
            material = slot["recipe"]["material"]
            stretched = Argon2id(
                salt=of_hex(material["salt"], 16), length=32, iterations=int(material["passes"]),
                lanes=int(material["lanes"]), memory_cost=int(material["m_kib"]),
            )  # fmt: skip
            derived = slot_keys(
                stretched.derive(field["passphrase"]), keyring, slot["slot"], slot["kind"], body["suite"]
            )
            if not hmac.compare_digest(derived["commitment"], of_hex(slot["commitment"], 32)):
                raise Refused("a wrong passphrase")
            aad = wrap_aad(keyring, zero, None, "root", body["root"], body["suite"], body["suite"])
            root = unwrap(body["suite"], derived["wrap_key"], aad, of_hex(slot["wrapped_root"], 74))
            document_key = root_keys(root, body["suite"])["document_key"]
            open_document(document_key, keyring, "keyring", body["revision"], raw["text"])
            return {"root_key": root}
        case "row":
            keys = Keys(inputs, suite, inputs["generation"])
            return row(keys, raw["table"], field, nonce, inputs["store_id"])


def main():
    document = json.loads(VECTORS.read_text())
    raw_inputs = document["inputs"]
    inputs = {**of_json(raw_inputs), "suite": raw_inputs["suite"]}
    passed = failed = 0
    for vector in document["vectors"]:
        out = to_json(compute(inputs, vector))
        if "--fill" in sys.argv and not vector.get("published"):
            vector["out"] = out
        if out == vector.get("out"):
            passed += 1
        else:
            failed += 1
            print("FAILED", vector["name"], json.dumps(out), "is not", json.dumps(vector.get("out")))
    if "--fill" in sys.argv:
        VECTORS.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

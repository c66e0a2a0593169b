#!/usr/bin/env python3
"""Seeds of the fuzz targets of the network and of what a run keeps: python3 tests/fuzz/make_corpus.py (needs the openssl program).

Writes tests/fuzz/corpus/{wire,session,record,roster,certificate,journal,site_records}. The steps of wire, session and site_records are those of
tests/fuzz/*_fuzz.cc. The
certificates are made anew each time; their private keys are thrown away.
"""
import base64
import json
import pathlib
import sqlite3
import struct
import subprocess
import tempfile

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
ENROL, POLL, BEGIN, PUT, COMMIT, MANIFEST, CHUNK = range(7)
RAW, VALID, MUTATED, SPOILT, TICK, FINISH, TIME, FAULT = range(8)


def write(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def text(value):
    return struct.pack("<H", len(value)) + value


# wire: size of the contributions, then steps.


def call(site, rpc, variant=0, piece=0):
    return bytes([VALID, rpc, site, variant]) + (bytes([piece]) if rpc == PUT else b"")


def spoilt(site, rpc, field, number=0, value=b"", variant=0):
    return bytes([SPOILT, rpc, site, variant, field]) + struct.pack("<Q", number % 2**64) + text(value) + (b"\0" if rpc == PUT else b"")


def upload(site, variant=0, pieces=1):
    steps = call(site, BEGIN, variant)
    for piece in range(pieces):
        steps += call(site, PUT, variant, piece)
    return steps + call(site, COMMIT, variant)


def wire():
    enrolled = b"".join(call(site, ENROL) for site in range(3)) + bytes([TICK])
    close = bytes([FINISH, 0])
    read = call(0, MANIFEST) + call(0, CHUNK)
    one = enrolled + upload(0) + upload(1, 1) + upload(2) + close + read
    write("wire", "three_rounds", b"\0" + one + (upload(0) + upload(1) + upload(2) + close + read) * 2)
    write("wire", "two_pieces", b"\2" + enrolled + upload(0, 0, 2) + upload(1, 1, 2) + upload(2, 0, 2) + close + read)
    write("wire", "late_and_abandoned", b"\0" + enrolled + upload(0) + bytes([TIME, 61, TICK]) + upload(0) + upload(1) + bytes([TIME, 61]) + close)
    write("wire", "restarts", b"\0" + enrolled + bytes([FAULT, 0]) + upload(0) + bytes([FAULT, 0]) + upload(0) + upload(1) + upload(2) + close + bytes([FAULT, 0]) + read)
    write("wire", "disk_fails", b"\0" + enrolled + bytes([FAULT, 1]) + upload(0) + bytes([FAULT, 3]) + upload(1) + upload(1) + upload(0) + upload(2) + bytes([FAULT, 1]) + close + close)
    write("wire", "aggregation_fails", b"\0" + enrolled + (upload(0) + upload(1) + upload(2) + bytes([FINISH, 1])) * 4)
    write("wire", "uploads_while_closing", b"\0" + enrolled + upload(0) + upload(1) + bytes([TIME, 61, TICK]) + upload(2) + close)
    write("wire", "conflict", b"\0" + enrolled + upload(0) + upload(0) + upload(0, 1))
    fields = [spoilt(0, BEGIN, 0, 0, b"another"), spoilt(0, BEGIN, 1, 2), spoilt(0, BEGIN, 2, -1), spoilt(0, BEGIN, 3, 0x7FF8 << 48),
              spoilt(0, BEGIN, 4, 2**60), spoilt(0, BEGIN, 4, 2**62), spoilt(0, BEGIN, 5, 1, b"x"), spoilt(0, PUT, 2, 0, b"short"), spoilt(0, PUT, 3, 0, b"\0\0\xc0\x7f" * 5),
              spoilt(0, CHUNK, 2, 0, b"short"), spoilt(0, MANIFEST, 1, -1), spoilt(0, ENROL, 1, -1), spoilt(0, ENROL, 3, 0)]
    write("wire", "spoilt_fields", b"\0" + enrolled + b"".join(fields) + upload(0))
    # A letter of two bytes lies across the place where what is quoted is cut.
    write("wire", "quoted_letter_cut", b"\0" + spoilt(0, ENROL, 0, 0, b"model " + b"x" * 193 + "\u00e4".encode()) + spoilt(0, BEGIN, 0, 0, b"x" * 79 + "\u00e4".encode()))
    write("wire", "any_bytes", b"\0" + b"".join(bytes([RAW, rpc, 0]) + text(bytes([10, 255, 255, 255, 255, 15])) for rpc in range(7)))


# session: one step for each answer.
RIGHT, NEARLY, BYTES, ERROR, LOST, MADE = 0, 2, 3, 4, 5, 6


def manifest(values, chunks, weight):
    """The description of a publication that a server never made."""
    record = bytes([1, 0]) + struct.pack("<dQ", weight, 5) + text(b"content") + bytes([0]) + struct.pack("<Q", 1)
    return bytes([MADE]) + struct.pack("<Q", values) + bytes([len(chunks)]) + b"".join(map(text, chunks)) + record + bytes([1, 1])


def session():
    right = bytes([RIGHT])
    write("session", "all_right", right * 30)
    write("session", "mutated", right * 6 + bytes([NEARLY, 0, 3, 0, 0, 1]) + right * 20)
    write("session", "errors", b"".join(bytes([ERROR, code]) + text(b"why") + right for code in (13, 3, 9, 7)) + right * 20)
    write("session", "lost", (bytes([LOST]) + right) * 20)
    write("session", "any_bytes", bytes([BYTES]) + text(b"\xff" * 9) + right * 20)
    for at in range(2, 9):
        for name, values in (("many", 2**60), ("overflow", 2**62), ("negative", 2**64 - 1), ("none", 0)):
            if at == 6:
                write("session", f"manifest_of_{name}", right * at + manifest(values, [], 1.0) + right * 9)
    write("session", "manifest_without_weight", right * 6 + manifest(3, [b"\0" * 32], 0.0) + right * 9)
    write("session", "asks_for_what_there_is_not", right * 2 + bytes([MADE, 1]) + struct.pack("<Q", 2**63) + right * 9)
    write("session", "wrong_piece", right * 7 + (bytes([MADE]) + text(b"\0" * 12)) * 3 + right * 9)
    write("session", "went_back", right * 8 + bytes([MADE, 9, 2, 1, 1, 0]) * 3 + right * 9)


def record():
    content = b"a" * 64
    head = b"fedalt round record v1\n9:clinics-7\n3 2 " + b"0" * 64 + b"\n4004000000000000\n42 " + b"f" * 64 + b"\n"
    of = b"2\n4:graz 3 3ff0000000000000 " + content + b"\n4:lyon 2 3ff8000000000000 " + content + b"\n"
    write("record", "for_everybody", head + b"1\n0: " + content + b"\n" + of)
    write("record", "for_each_site", head + b"2\n4:graz " + content + b"\n4:lyon " + content + b"\n" + of)
    write("record", "many", head + b"9223372036854775807\n0: " + content + b"\n" + of)


def roster():
    keys = ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"]  # RFC 8032, section 7.1
    full = {"federation": "clinics", "authority": "a" * 64, "server": {"fingerprint": "b" * 64, "signing_key": keys[0]},
            "sites": [{"name": "clinic-a", "fingerprint": "c" * 64, "signing_key": keys[1], "revoked": False},
                      {"name": "clinic-b", "fingerprint": "d" * 64, "signing_key": keys[2], "revoked": True}]}
    write("roster", "full", json.dumps(full))
    write("roster", "empty", json.dumps(dict(full, server=None, sites=[])))
    write("roster", "twice", json.dumps(dict(full, sites=full["sites"][:1] * 2)))
    write("roster", "kinds", json.dumps(dict(full, sites=[dict(full["sites"][0], revoked=1)], server=[])))
    write("roster", "deep", "[" * 100)
    write("roster", "cut_off", json.dumps(full)[:150])


def certificate():
    def run(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def make(party, extensions, subject, signed_by=None):
            (folder / "extensions").write_text("[v3]\n" + extensions + "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
            run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-utf8",
                "-keyout", f"{folder}/{party}.key", "-out", f"{folder}/{party}.csr")
            signer = ["-signkey", f"{folder}/{party}.key"] if signed_by is None else ["-CA", f"{folder}/{signed_by}.pem", "-CAkey", f"{folder}/{signed_by}.key", "-CAcreateserial"]
            run("x509", "-req", "-in", f"{folder}/{party}.csr", *signer, "-days", "3650", "-extfile", f"{folder}/extensions", "-extensions", "v3", "-out", f"{folder}/{party}.pem")
            return (folder / f"{party}.pem").read_bytes()

        authority = make("authority", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n", "/CN=clinics")
        server = make("server", "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
                      "subjectAltName=DNS:fl.example.org,IP:10.0.0.7,IP:2001:db8::7,URI:http://x,email:a@b\n", "/CN=server", "authority")
        site = make("site", "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n", "/CN=clinic-a", "authority")
        names = make("names", "extendedKeyUsage=clientAuth,serverAuth\n", "/CN=one/CN=two/O=\u00e4", "authority")

    def der(pem):
        return base64.b64decode(b"".join(pem.splitlines()[1:-1]))

    for name, pem in (("authority", authority), ("server", server), ("site", site), ("names", names)):
        write("certificate", f"{name}_pem", pem + b"\0\0" + authority)
        write("certificate", f"{name}_der", b"\0" + text(der(pem)) + der(authority))
    write("certificate", "two_pem", site + site)
    write("certificate", "cut_off_pem", site[:200])


# journal: the lines of a run directory.


def journal():
    def site(round, number):
        return json.dumps({"event": "site", "round": round, "site": number, "report": {"steps": 4, "tokens": 99, "mean_loss": 1.25, "seconds": 0.5}}) + "\n"

    def closed(round, best=False, **more):
        line = {"event": "round", "round": round, "metrics_bytes": 700 * round, "csv_bytes": 90 * round, "best": best} | more
        return json.dumps(line | ({"validation_loss": 2.5} if best else {})) + "\n"

    two = site(1, 0) + site(1, 1) + closed(1, True) + site(2, 1) + site(2, 0) + closed(2)
    write("journal", "two_rounds", two)
    write("journal", "torn", two + site(3, 0)[:-20])
    write("journal", "joined_late", closed(5, joined=True) + site(6, 0))
    write("journal", "skips_a_round", two + closed(4))
    write("journal", "other_kinds", '{"event":7,"round":"1"}\n')
    write("journal", "large_numbers", closed(2**63, joined=True) + closed(1, metrics_bytes=-1))
    write("journal", "null_loss", '{"event":"round","round":1,"metrics_bytes":0,"csv_bytes":0,"best":true,"validation_loss":null}\n')


# site_records: first how the rest is read: a database, changes of rows, changes of bytes, the text of a checkpoint.
FILE, ROWS, DAMAGE, TEXT = range(4)
RECORD, SENT, ENTRY, HEAD, RUN, DELETE, VERSION = range(7)
GOOD, CHANGED, ANY = range(3)


def number(value):
    return bytes([0, value]) if 0 <= value < 8 else bytes([1]) + struct.pack("<Q", value % 2**64)


def any_bytes(value):
    return bytes([ANY]) + text(value)


def entry(sequence, kind, body, leaf=bytes([GOOD])):
    return bytes([ENTRY]) + number(sequence) + number(7) + b"\0" + any_bytes(kind) + bytes([GOOD]) + any_bytes(body) + leaf


def small_database():
    """A site's database in small pages, with no row but one of each table."""
    with tempfile.TemporaryDirectory() as name:
        file = pathlib.Path(name) / "store.db"
        database = sqlite3.connect(file)
        database.executescript("""
            PRAGMA page_size = 512;
            CREATE TABLE audit_run (id INTEGER PRIMARY KEY, run TEXT);
            CREATE TABLE audit_entry (sequence INTEGER PRIMARY KEY, time_ms INTEGER, kind TEXT, subject TEXT, body TEXT, previous BLOB, leaf BLOB);
            CREATE TABLE audit_head (size INTEGER, signer TEXT, root BLOB, signature BLOB);
            CREATE TABLE server_record (round INTEGER PRIMARY KEY, record BLOB, signature BLOB);
            CREATE TABLE sent (round INTEGER PRIMARY KEY, weight REAL, content TEXT);
            INSERT INTO audit_run VALUES (1, 'run-7');
            INSERT INTO audit_entry VALUES (1, 7, 'upload', 'osaka', '{"round":1}', x'00', x'00');
            INSERT INTO audit_head VALUES (1, 'osaka', x'00', x'00');
            INSERT INTO server_record VALUES (1, x'00', x'00');
            INSERT INTO sent VALUES (1, 1.0, 'b');
            PRAGMA application_id = 0x46644c74;
            PRAGMA user_version = 4;""")
        database.close()
        return file.read_bytes()


def site_records():
    write("site_records", "small_database", bytes([FILE]) + small_database())
    write("site_records", "nothing_changed", bytes([DAMAGE]))
    rows = {
        "record_of_any_bytes": bytes([RECORD, 0]) + any_bytes(b"fedalt round record v1\n") + number(2) + any_bytes(b"signed"),
        "record_of_another_round": bytes([RECORD, 0, GOOD]) + number(2**62) + bytes([GOOD]),
        "record_changed": bytes([RECORD, 1, CHANGED, 0, 40, 0, 0, 1]) + number(2) + bytes([GOOD]),
        "sent_without_weight": bytes([SENT]) + number(2) + struct.pack("<d", float("nan")) + any_bytes(b""),
        "sent_of_infinite_weight": bytes([SENT]) + number(2) + struct.pack("<d", float("inf")) + any_bytes(b"\xff\n"),
        "digest_is_a_number": entry(3, b"server.record", b'{"record_sha256":7,"round":1}'),
        "deep_body": entry(3, b"upload", b'{"content_sha256":' + b"[" * 1500 + b"]" * 1500 + b',"round":1}'),
        "last_number": entry(2**63 - 1, b"upload", b"{}"),
        "negative_number": entry(-1, b"upload", b'{"round":-1}') + bytes([DELETE, 2]) + number(1),
        "kind_of_lines": entry(3, b"a\nb", b"no json", any_bytes(b"leaf")),
        "heads": bytes([HEAD]) + number(3) + bytes([GOOD]) + text(b"\0" * 32) + text(b"signed") + bytes([HEAD]) + number(-1) + any_bytes(b"x\ny") + text(b"") * 2,
        "run_of_lines": bytes([RUN]) + any_bytes(b"run-7\nrun-8"),
        "no_run": bytes([DELETE, 4]) + number(1),
        "rows_removed": b"".join(bytes([DELETE, table]) + number(1) for table in range(4)),
        "older_version": bytes([VERSION, 1]),
        "newer_version": bytes([VERSION, 200]),
    }
    for name, steps in rows.items():
        write("site_records", name, bytes([ROWS]) + steps)
    write("site_records", "damaged_header", bytes([DAMAGE]) + struct.pack("<HBB", 4, 2, 0xFF))
    write("site_records", "damaged_schema", bytes([DAMAGE]) + b"".join(struct.pack("<HBB", at, 0, 0x41) for at in range(900, 1024, 7)))
    write("site_records", "damaged_row", bytes([DAMAGE]) + struct.pack("<HBB", 3 * 1024 - 3, 0, 0x7F))
    texts = {"reading": '{"read_round":3,"refused_round":4}\n', "reading_too_large": '{"read_round":18446744073709551615,"refused_round":0}',
             "reading_negative": '{"read_round":-1,"refused_round":0}', "reading_no_object": "[3]", "reading_real": '{"read_round":1e300,"refused_round":0}',
             "count": "12", "count_too_large": "9223372036854775808", "number": "0.25", "nan": "nan", "infinite": "1e999"}
    for name, content in texts.items():
        write("site_records", name, bytes([TEXT]) + content.encode())


wire()
session()
journal()
site_records()
record()
roster()
certificate()

#!/usr/bin/env python3
"""Makes the vectors from docs/FORMAT.md alone, without any code of pouch, so that they can disagree.

Needs the `cryptography` package for two primitives (X25519, ChaCha20-Poly1305) and the stock tools
`age`, `zstd`, `sha256sum` and GNU `tar`, against which it checks what it made. Runs to the same bytes
every time but for frames that another release of zstd packs otherwise.

    python3 tests/vectors/make.py
"""
import base64, hashlib, hmac, io, json, os, struct, subprocess, sys, tarfile, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
COUNT = 0


# ---------------------------------------------------------------- writing vectors

def vec(kind, name, body=b"", expect="ok", rule="-", note="", repeat=None, **extra):
    """One file: fields, a blank line, the body as text where it is such, else as hex."""
    global COUNT
    lines = [f"expect: {expect}", f"rule: {rule}", f"note: {note}"]
    for key, values in extra.items():
        for value in values if isinstance(values, list) else [values]:
            lines.append(f"{key.replace('_', '-')}: {value}")
    if repeat:
        lines.append("body: repeat %02x %d" % repeat)
        data = b""
    elif is_text(body):
        lines.append("body: text")
        data = body
    else:
        lines.append("body: hex")
        text = body.hex()
        data = "".join(text[at:at + 64] + "\n" for at in range(0, len(text), 64)).encode()
    folder = os.path.join(HERE, kind)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name + ".txt")
    assert path not in WRITTEN, path
    WRITTEN.add(path)
    with open(path, "wb") as out:
        out.write("\n".join(lines).encode() + b"\n\n" + data)
    COUNT += 1


WRITTEN = set()


def is_text(body):
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    return all(c == "\n" or c.isprintable() for c in text)


# ---------------------------------------------------------------- words of the format

def tagged(purpose, data):
    return hashlib.sha256(b"pouch/v1/" + purpose.encode() + b"\0" + data).digest()


def spoken(digest):
    letters = base64.b32encode(digest).decode()[:26]
    return "-".join(letters[at:at + 5] for at in range(0, 26, 5))


def b64(data):
    return base64.b64encode(data).decode().rstrip("=")


ESCAPED = [(0, 0x1f), (0x5c, 0x5c), (0x7f, 0x9f), (0x61c, 0x61c), (0x200b, 0x200f), (0x2028, 0x202e),
           (0x2060, 0x206f), (0xfeff, 0xfeff), (0xfff9, 0xfffb), (0xe0000, 0xe007f)]


def escape(name):
    out = ""
    for c in name.decode("utf-8", "surrogateescape"):
        raw = c.encode("utf-8", "surrogateescape")
        if c == "\\":
            out += "\\\\"
        elif 0xdc80 <= ord(c) <= 0xdcff or any(a <= ord(c) <= b for a, b in ESCAPED):
            out += "".join("\\x%02x" % byte for byte in raw)
        else:
            out += c
    return out


def bag_name(name):
    out = b""
    for at, c in enumerate(name.decode("utf-8", "surrogateescape")):
        raw = c.encode("utf-8", "surrogateescape")
        before = name.decode("utf-8", "surrogateescape")[:at].encode("utf-8", "surrogateescape")
        after = name[len(before) + len(raw):][:2].upper()
        if 0xdc80 <= ord(c) <= 0xdcff or c in "\r\n" or (c == "%" and after in (b"0A", b"0D", b"25")):
            out += b"%%%02X" % raw[0]
        else:
            out += raw
    return out


def bech32(hrp, data):
    chars = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

    def polymod(values):
        chk = 1
        for value in values:
            top = chk >> 25
            chk = (chk & 0x1ffffff) << 5 ^ value
            for i, gen in enumerate([0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]):
                chk ^= gen if top >> i & 1 else 0
        return chk

    acc, bits, five = 0, 0, []
    for byte in data:
        acc, bits = acc << 8 | byte, bits + 8
        while bits >= 5:
            bits -= 5
            five.append(acc >> bits & 31)
    if bits:
        five.append(acc << 5 - bits & 31)
    spread = [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]
    check = polymod(spread + five + [0] * 6) ^ 1
    return hrp + "1" + "".join(chars[v] for v in five + [check >> 5 * (5 - i) & 31 for i in range(6)])


KEY = bytes(range(32))
BUNDLE = bytes(range(0xa0, 0xb0))
IDENTITY = bech32("age-secret-key-", KEY).upper()
KCOMMIT = tagged("kcommit", BUNDLE + KEY)


# ---------------------------------------------------------------- kinds

def hashes():
    for purpose, data in [("parts", b""), ("list", b"one line\n"), ("fingerprint", b"format 1\n"), ("kcommit", bytes(48))]:
        vec("hash", "tagged-" + purpose, data, rule="W-HASH-1", note="H(purpose, body)", purpose=purpose,
            sha256=tagged(purpose, data).hex())
    vec("hash", "kcommit", rule="W-HASH-2", note="commits to bundle name and key", bundle=BUNDLE.hex(), key=KEY.hex(),
        sha256=KCOMMIT.hex())
    for name, data in [("zeros", bytes(32)), ("of-a-text", tagged("fingerprint", b"format 1\n"))]:
        vec("hash", "spoken-" + name, rule="W-HASH-3", note="26 letters of base32 in groups of five", digest=data.hex(),
            spoken=spoken(data))


def seal_text(mode="normal", cards=None, identity=IDENTITY, kcommit=KCOMMIT):
    cards = f"# cards {cards.hex()}\n" if cards else ""
    return f"# pouch-seal v1\n# bundle {BUNDLE.hex()}\n# mode {mode}\n# kcommit {kcommit.hex()}\n{cards}{identity}\n"


def seals():
    plain = seal_text()
    with tempfile.NamedTemporaryFile() as file:
        file.write(plain.encode())
        file.flush()
        recipient = subprocess.run(["age-keygen", "-y", file.name], check=True, capture_output=True).stdout
        assert recipient.startswith(b"age1"), "stock age takes the seal as an identity file"
    want = f"{BUNDLE.hex()} normal {KCOMMIT.hex()} - {KEY.hex()}"
    vec("seal", "normal", plain.encode(), rule="W-SEAL-1", note="an age identity file as well", want=want)
    three = seal_text("threshold t=3 n=5", bytes([5] * 32))
    want = f"{BUNDLE.hex()} threshold-3-5 {KCOMMIT.hex()} {'05' * 32} {KEY.hex()}"
    vec("seal", "threshold", three.encode(), rule="W-SEAL-1", note="reserved mode: read, and refused later", want=want)

    def bad(rule, name, text, note, expect="malformed"):
        assert text != plain
        vec("seal", name, text if isinstance(text, bytes) else text.encode(), expect, f"R-SEAL-{rule}", note)

    vec("seal", "too-long", b"", "limit", "R-SEAL-1", "2,049 bytes", repeat=(0x23, 2049))
    bad(2, "not-text", plain.encode().replace(b"normal", b"norm\xe4l"), "a byte that is not UTF-8")
    bad(3, "version-2", plain.replace("v1", "v2"), "of a later version", "newer")
    bad(3, "version-2-long", plain.replace("v1", "v2") + "#" * 3000 + "\n", "of a later version, which may be longer", "newer")
    bad(3, "version-large", plain.replace("v1", "v4294967295"), "the largest version", "newer")
    bad(4, "version-0", plain.replace("v1", "v0"), "no version")
    bad(4, "version-01", plain.replace("v1", "v01"), "a leading zero")
    bad(4, "version-missing", plain.replace("v1", "v"), "no digits")
    bad(4, "no-first-line", plain.split("\n", 1)[1], "begins with the bundle")
    lines = plain.split("\n")
    bad(5, "lines-swapped", "\n".join([lines[0], lines[2], lines[1]] + lines[3:]), "mode before bundle")
    bad(5, "line-missing", "\n".join(lines[:3] + lines[4:]), "no kcommit")
    bad(5, "line-unknown", plain.replace("# mode", "# colour red\n# mode"), "a line of no version")
    bad(5, "cut", plain[:plain.index("# kcommit")], "ends too early")
    bad(6, "bundle-short", plain.replace("# bundle a0", "# bundle "), "15 bytes")
    bad(6, "bundle-upper", plain.replace("# bundle a0", "# bundle A0"), "upper case")
    bad(7, "mode-unknown", plain.replace("normal", "special"), "no such mode")
    bad(7, "mode-empty", plain.replace("mode normal", "mode "), "no word")
    for name, mode in [("t-over-n", "t=3 n=2"), ("t-1", "t=1 n=5"), ("n-1001", "t=3 n=1001"), ("t-signed", "t=+3 n=5")]:
        bad(8, "threshold-" + name, three.replace("t=3 n=5", mode), mode)
    bad(9, "kcommit-odd", plain.replace(KCOMMIT.hex(), KCOMMIT.hex()[:-1]), "63 digits")
    bad(9, "kcommit-letter", plain.replace(KCOMMIT.hex(), "g" + KCOMMIT.hex()[1:]), "no digit")
    bad(10, "cards-missing", three.replace(f"# cards {'05' * 32}\n", ""), "threshold without cards")
    bad(10, "cards-unasked", seal_text("normal", bytes([5] * 32)), "cards in normal mode")
    bad(10, "cards-short", three.replace("05" * 32, "05" * 31), "31 bytes")
    bad(11, "no-identity", plain.replace("AGE-SECRET-KEY-1", "AGE-PLUGIN-X-1"), "a plugin's identity")
    bad(12, "two-identities", plain + IDENTITY + "\n", "a line after the identity")
    bad(12, "crlf", plain.replace("\n", "\r\n"), "CR LF")
    bad(12, "no-newline", plain[:-1], "the last newline is missing")
    bad(12, "blank-line", plain + "\n", "an empty line at the end")


def part_line(number, kind="d", stripe="-", position="-", volume=1, offset=0, length=512, sha=None, header=None):
    sha = sha or bytes([number % 256] * 32)
    header = header if header is not None else bytes((number + at) % 256 for at in range(184))
    return f"{number} {kind} {stripe} {position} {volume} {offset} {length} {sha.hex()} {b64(header)}\n", sha


STATEMENT = ["format", "bundle", "kcommit", "profile", "k", "m", "c", "t", "n", "class", "parts", "tar", "parts-hash",
             "list-hash", "date", "audience", "seq", "reply"]


def head_text(rows, auth=(), hashed=None, **values):
    """The head of these rows of the table; `values` replace lines of the statement, `hashed` the table that is hashed."""
    table = "".join(line for line, _ in rows)
    known = dict(format=1, bundle=BUNDLE.hex(), kcommit=KCOMMIT.hex(), profile="open", n=2, parts=len(rows),
                 tar=sum(int(line.split(" ")[6]) for line, _ in rows if line.split(" ")[1] == "d"),
                 parts_hash=tagged("parts", (hashed or table).encode()).hex(), list_hash="09" * 32)
    known["class"] = 4
    known.update({key.rstrip("_"): value for key, value in values.items()})
    statement = "".join(f"{key} {known.get(key.replace('-', '_'), '-')}\n" for key in STATEMENT)
    sums = ""
    for line, sha in rows:
        number, kind = line.split(" ")[:2]
        sums += f"{sha.hex()}  {int(number):06}.{'age' if kind == 'd' else 'par'}\n"
    auth = "".join(line + "\n" for line in auth)
    return (f"pouch-head 1\nSTATEMENT 18\n{statement}AUTH {auth.count(chr(10))}\n{auth}"
            f"PARTS {len(rows)}\n{table}SUMS {len(rows)}\n{sums}END\n"), statement


def head_want(statement, parts):
    fields = dict(line.split(" ", 1) for line in statement.splitlines())
    return [f"{fields['bundle']} {fields['n']} {fields['class']} {len(parts)} {fields['tar']}",
            "fingerprint " + spoken(tagged("fingerprint", statement.encode()))]


def heads():
    two = [part_line(1, length=1024), part_line(2, volume=2, offset=1024, length=700)]
    plain, statement = head_text(two)
    vec("head", "two-parts", plain.encode(), rule="W-HEAD-1", note="two data parts on two volumes", want=head_want(statement, two))
    later = [part_line(1, stripe=0, position=0, length=1024), part_line(2, stripe=0, position=1, offset=1024, length=512),
             part_line(1, "p", 0, 2, 2, "-", "-")]
    text, statement = head_text(later, auth=["sshsig AAAA", "runes c29tZQ"], profile="quiet", k=2, m=1, c=1, t=2, seq=3,
                                date="2026-01-31", audience="Zoë and others", reply="age1example")
    vec("head", "reserved-fields", text.encode(), rule="W-HEAD-1",
        note="every reserved field in use: read, and not acted on", want=head_want(statement, later))

    def bad(rule, name, text, note, expect="malformed"):
        assert text != plain, name
        vec("head", name, text if isinstance(text, bytes) else text.encode(), expect, f"R-HEAD-{rule}", note)

    def edit(rule, name, old, new, note="", expect="malformed"):
        assert old in plain, old
        bad(rule, name, plain.replace(old, new, 1), note or f"{new.strip()!r} for {old.strip()!r}", expect)

    vec("head", "too-long", b"", "limit", "R-HEAD-1", "64 MiB and one byte", repeat=(0x61, (64 << 20) + 1))
    bad(2, "not-utf8", plain.encode().replace(b"audience -", b"audience \xff"), "a byte that is not UTF-8")
    edit(3, "version-2", "pouch-head 1", "pouch-head 2", expect="newer")
    edit(3, "format-2", "format 1", "format 2", expect="newer")
    edit(4, "version-0", "pouch-head 1", "pouch-head 0")
    edit(4, "version-plus", "pouch-head 1", "pouch-head +1")
    edit(4, "format-word", "format 1", "format one")
    edit(5, "swapped", "k -\nm -\n", "m -\nk -\n")
    edit(5, "line-missing", "seq -\n", "")
    edit(5, "line-added", "seq -\n", "seq -\ncolour red\n")
    edit(5, "section-missing", "AUTH 0\n", "")
    bad(25, "cut", plain[:plain.index("SUMS")], "ends before SUMS")
    bad(5, "cut-early", plain[:plain.index("seq")], "ends in the statement")
    edit(6, "leading-zero", "class 4", "class 04")
    edit(6, "sign", "n 2", "n +2")
    edit(6, "blank", "tar 1724", "tar  1724")
    edit(6, "empty", "tar 1724", "tar ")
    edit(6, "k-too-large", "k -", "k 65536", "k is a number of 16 bits")
    edit(7, "profile", "profile open", "profile loud")
    edit(8, "volumes", "n 2", "n 1001", expect="limit")
    edit(9, "class-5", "class 4", "class 5")
    edit(9, "class-0", "class 4", "class 0")
    edit(10, "statement-parts", "parts 2", "parts 100001", expect="limit")
    edit(10, "table-parts", "PARTS 2", "PARTS 100001", expect="limit")
    edit(11, "tar", "tar 1724", "tar 9223372036854775808", expect="limit")
    edit(12, "bundle-short", BUNDLE.hex(), BUNDLE.hex()[2:])
    edit(12, "kcommit-upper", KCOMMIT.hex(), KCOMMIT.hex().upper())
    edit(12, "list-hash-long", "09" * 32, "09" * 33)
    edit(13, "signatures", "AUTH 0\n", "AUTH 65\n" + "sshsig AAAA\n" * 65, "65 signatures", "limit")
    edit(14, "signature-bare", "AUTH 0\n", "AUTH 1\nsshsig\n", "a kind without a value")
    edit(14, "signature-kindless", "AUTH 0\n", "AUTH 1\n AAAA\n", "a value without a kind")
    edit(14, "signature-padded", "AUTH 0\n", "AUTH 1\nsshsig AA==\n", "padded base64")
    line = two[0][0]
    for name, new, note in [
        ("fields-8", line.replace("1 d - - 1", "1 d - -"), "eight fields"),
        ("fields-10", line.replace("\n", " x\n"), "ten fields"),
        ("letter", line.replace("1 d", "1 q"), "neither d nor p"),
        ("offset-dash", line.replace(" 0 1024 ", " - 1024 "), "a data part without an offset"),
        ("stripe-half", line.replace("1 d - -", "1 d 0 -"), "a stripe without a position"),
        ("sha-short", line.replace("01" * 32, "01" * 31), "31 bytes"),
        ("header-short", part_line(1, length=1024, header=bytes(183))[0], "183 bytes"),
        ("header-padded", line.replace("\n", "=\n"), "padded base64"),
        ("header-stray-bits", line[:-2] + chr(ord(line[-2]) + 1) + "\n", "bits that say nothing are not zero"),
        ("number-zero", line.replace("1 d", "01 d"), "a leading zero"),
    ]:
        edit(15, "part-" + name, line, new, note)
    bad(16, "one-part-less", head_text(two, parts=3)[0], "the statement says 3 parts")
    bad(16, "table-count", plain.replace("PARTS 2", "PARTS 1"), "PARTS says 1")
    bad(17, "table-hash", head_text(two, hashed="x")[0], "not the hash of this table")

    def table(rule, name, parts, note, expect="malformed", **values):
        bad(rule, name, head_text(parts, **values)[0], note, expect)

    table(18, "number-from-2", [part_line(2, length=1024)], "the first part is number 2")
    table(18, "number-twice", [two[0], part_line(1, volume=2, offset=1024, length=700)], "two parts of one number")
    table(19, "volume-0", [part_line(1, volume=0)], "volumes count from 1")
    table(19, "volume-3", [part_line(1, volume=3)], "there are two volumes")
    table(20, "gap", [two[0], part_line(2, offset=1536, length=700)], "a gap of 512")
    table(20, "overlap", [two[0], part_line(2, offset=512, length=700)], "an overlap")
    table(20, "not-from-0", [part_line(1, offset=512)], "the first part does not begin at 0")
    table(20, "not-at-a-block", [part_line(1, length=1000), part_line(2, offset=1000, length=24)], "begins at 1000")
    table(21, "empty-part", [two[0], part_line(2, offset=1024, length=0)], "a part without tar")
    parity = part_line(1, "p", 0, 1, 1, "-", "-")
    data = part_line(1, stripe=0, position=0)
    both = dict(k=1, m=1, c=1)
    striped = [part_line(number, stripe=(number - 1) // 2, position=(number - 1) % 2, offset=512 * (number - 1)) for number in (1, 2, 3)]
    parities = [part_line(number, "p", number - 1, 2, 2, "-", "-") for number in (1, 2)]
    text, statement = head_text(striped + parities, k=2, m=1, c=2)
    vec("head", "striped", text.encode(), rule="W-HEAD-1", note="three data parts in two stripes, with a parity part each",
        want=head_want(statement, striped + parities))
    table(22, "data-after-parity", [parity, data], "a data part stands behind parity", **both)
    table(18, "parity-from-2", [data, part_line(2, "p", 0, 1, 1, "-", "-")], "parity counts on from the data", **both)
    for name, values in dict(k_alone=dict(k=1), k_and_m=dict(k=1, m=1), m_0=dict(k=1, m=0, c=1), k_0=dict(k=0, m=1, c=1),
                             c_0=dict(k=1, m=1, c=0), c_3=dict(k=1, m=1, c=3), too_many=dict(k=250, m=6, c=1)).items():
        table(27, "scheme-" + name.replace("_", "-"), [data, parity], f"k, m, c: {values}", **values)
    table(28, "stripe-1", [part_line(1, stripe=1, position=0), parity], "data part 1 is of stripe 0", **both)
    table(28, "position-1", [part_line(1, stripe=0, position=1), parity], "data part 1 is at position 0", **both)
    table(28, "parity-position-0", [data, part_line(1, "p", 0, 0, 1, "-", "-")], "parity stands behind the data", **both)
    table(28, "stripe-too-early", [striped[0], striped[1], part_line(3, stripe=0, position=2, offset=1024), *parities],
          "data part 3 is of stripe 1", k=2, m=1, c=2)
    table(29, "no-parity", [data], "a stripe without its parity", **both)
    table(29, "parity-of-one-stripe", striped + parities[:1], "the second stripe has none", k=2, m=1, c=2)
    table(29, "parity-of-three", striped + parities + [part_line(3, "p", 2, 2, 2, "-", "-")], "there are two stripes", k=2, m=1, c=2)
    table(23, "stripe-without-k", [part_line(1, stripe=0, position=0)], "a stripe, and no k")
    table(23, "k-without-stripe", [part_line(1), parity], "k, and no stripe", k=1, m=1, c=1)
    table(23, "parity-without-k", [part_line(1), part_line(1, "p", volume=1, offset="-", length="-")], "parity, and no k")
    table(24, "tar-longer", two, "the parts end too early", tar=2048)
    table(24, "tar-shorter", two, "the parts go too far", tar=1024)
    table(24, "sum-overflows", [part_line(1, length=(1 << 64) - 512), part_line(2, offset=(1 << 64) - 512, length=1024)],
          "the sum is over 2^64", tar=512)
    table(24, "no-parts", [], "512 bytes of tar in no part", tar=512)
    table(26, "no-parts-no-tar", [], "no bytes of tar in no part", tar=0)
    edit(25, "statement-count", "STATEMENT 18", "STATEMENT 17")
    edit(25, "sums-count", "SUMS 2", "SUMS 1")
    edit(25, "sums-name", "  000001.age", "  000003.age")
    edit(25, "sums-hash", "01" * 32 + "  ", "02" * 32 + "  ", "another hash than in PARTS")
    bad(25, "behind-the-end", plain + "more\n", "a line behind END")
    bad(25, "no-newline", plain[:-1], "the last newline is missing")
    bad(25, "crlf", plain.replace("\n", "\r\n"), "CR LF")


def line(path="a", kind="file", size=5, at=512, **change):
    known = dict(path=escape(path) if isinstance(path, bytes) else path, type=kind, mode="0644", mtime="1700000000.000000000")
    if kind == "file":
        known.update(size=size, sha256="ab" * 32)
        if size:
            known["at"] = at
    known.update(change)
    order = ["path", "type", "mode", "mtime", "size", "at", "sha256", "holes", "target", "flag"]
    known = {key: known[key] for key in order if known.get(key) is not None}
    return (json.dumps(known, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def folder(path, **change):
    return line(path, "dir", mode="0755", **change)


def lists():
    def want(kind, path, size=0, mode="0644", secs=1700000000, nanos=0, at=0, holes="-", target="-", flag="clean"):
        return f"{kind} {path.hex()} {size} {mode} {secs} {nanos} {at} {holes} {target} {flag}"

    odd = b'\xff"\\\n' + "\u202e ü漢".encode()
    body = (folder(b"d") + line(b"d/a", size=9, at=512, mtime="-1.500000000", mode="0000")
            + line(b"d/b", size=0) + line(b"d/link", "symlink", mode="0777", target=escape(b"../\\\xff"))
            + line(b"d/second", "hardlink", target="d/a") + folder(b"d/sub") + line(b"d/sub/x", at=1024, flag="changed")
            + line(b"d-", at=2048, size=100, holes=[[0, 10], [20, 80]], flag="unreadable") + line(odd, at=4096, size=1))
    vec("list", "all-kinds", body, rule="W-LIST-1", note="every type, flags, holes, names that must be escaped, the order", tar=8192,
        want=[want("dir", b"d", mode="0755"), want("file", b"d/a", 9, "0000", -1, 500000000, 512), want("file", b"d/b"),
              want("symlink", b"d/link", mode="0777", target=b"../\\\xff".hex()),
              want("hardlink", b"d/second", target=b"d/a".hex()), want("dir", b"d/sub", mode="0755"),
              want("file", b"d/sub/x", 5, at=1024, flag="changed"),
              want("file", b"d-", 100, at=2048, holes="0+10,20+80", flag="unreadable"), want("file", odd, 1, at=4096)])
    vec("list", "empty", b"", rule="W-LIST-1", note="a bundle may hold nothing", tar=2048)
    last = line(at=512, size=512)
    vec("list", "content-to-the-end", last, rule="R-LIST-28", note="up to the last byte is allowed", tar=1024,
        want=want("file", b"a", 512, at=512))

    # An entry counts 144, its names and 16 for each hole: these four 627.
    four = (folder(b"d") + line(b"d/a", size=9, at=512, holes=[[0, 1], [2, 1]])
            + line(b"d/link", "symlink", mode="0777", target="xyz") + line(b"d/m", "hardlink", target="d/a"))
    vec("list", "kept-most", four, rule="R-LIST-29", note="with it 2,000 MiB are kept", tar=8192, kept=(2000 << 20) - 627,
        want=[want("dir", b"d", mode="0755"), want("file", b"d/a", 9, at=512, holes="0+1,2+1"),
              want("symlink", b"d/link", mode="0777", target=b"xyz".hex()),
              want("hardlink", b"d/m", target=b"d/a".hex())])
    vec("list", "kept-over", four, "limit", "R-LIST-29", "with it 2,000 MiB and a byte are kept", tar=8192,
        kept=(2000 << 20) - 626)

    def bad(rule, name, body, note, expect="malformed", tar=1 << 40):
        vec("list", name, body, expect, f"R-LIST-{rule}", note, tar=tar)

    good = line()
    vec("list", "line-too-long", b"", "limit", "R-LIST-1", "4 MiB and one byte", repeat=(0x61, (4 << 20) + 1), tar=1 << 40)
    bad(2, "not-utf8", good.replace(b'"a"', b'"\xff"'), "a byte that is not UTF-8")
    bad(3, "cut", good[:-1], "no newline at the end")
    bad(4, "no-json", b"a\n", "no JSON")
    bad(4, "array", b"[]\n", "no object")
    bad(4, "key-unknown", good.replace(b'"size"', b'"owner":"me","size"'), "a key of no version")
    bad(4, "key-twice", good.replace(b'"size":5', b'"size":5,"size":5'), "size twice")
    bad(4, "key-missing", good.replace(b'"mode":"0644",', b""), "no mode")
    bad(4, "two-values", good[:-1] + good, "two objects in a line")
    for name, old, new in [("blank", b":5", b": 5"), ("order", b'"path":"a","type":"file"', b'"type":"file","path":"a"'),
                           ("unicode-escape", b'"path":"a"', b'"path":"\\u0061"'), ("flag-null", b'"}', b'","flag":null}'),
                           ("holes-empty", b'"}', b'","holes":[]}'), ("number-float", b":5,", b":5.0,"),
                           ("number-exponent", b":5,", b":5e0,"), ("crlf", b"\n", b"\r\n"), ("number-text", b":5,", b':"5",')]:
        assert old in good
        bad(5, "not-canonical-" + name, good.replace(old, new, 1), f"{new!r} for {old!r}")
    bad(5, "not-canonical-slash-escape", folder(b"d") + line(b"d/x").replace(b"d/x", b"d\\/x"), "a slash with a backslash before it")
    bad(4, "values-without-keys", b'["a","dir","0755","1.000000000",null,null,null,[],null,null]\n', "the values as an array")
    bad(6, "path-escape-unneeded", line("\\x61"), "an escape for a plain letter")
    bad(6, "path-escape-missing", line("a\u202eb"), "a direction mark that is not escaped")
    bad(7, "path-absolute", line(b"/etc/passwd"), "begins with a slash")
    bad(7, "path-empty", line(b""), "no name")
    bad(7, "path-empty-component", folder(b"d") + line(b"d//x"), "two slashes")
    bad(7, "path-trailing-slash", line(b"a/"), "ends with a slash")
    bad(8, "path-up", line(b"../up"), "..")
    bad(8, "path-up-within", folder(b"d") + line(b"d/../../up"), ".. in the middle")
    bad(8, "path-dot", line(b"./a"), "a dot")
    bad(9, "path-nul", line(b"a\0b"), "a NUL")
    bad(10, "component-256", line(b"n" * 256), "a name of 256 bytes")
    bad(10, "path-32769", line(b"/".join([b"n" * 253] * 129)[:32769]), "a path of 32,769 bytes")
    bad(11, "order", line(b"b") + line(b"a", at=1024), "b before a")
    bad(11, "order-by-name", line(b"d-") + folder(b"d"), "a folder stands before all names that begin like it")
    bad(11, "twice", line(b"a") + line(b"a", at=1024), "one path twice")
    bad(12, "folder-not-listed", line(b"x/y"), "x is not listed")
    bad(12, "below-a-file", line(b"x") + line(b"x/y", at=1024), "x is a file")
    bad(12, "below-a-link", line(b"x", "symlink", target="/etc") + line(b"x/passwd"), "x is a link")
    bad(12, "between-skipped", folder(b"d") + line(b"d/e/f"), "d/e is not listed")
    bad(13, "type-fifo", good.replace(b"file", b"fifo"), "a type of no version")
    bad(14, "file-with-target", line(target="b"), "a file has no target")
    bad(14, "link-without-target", line(b"a", "symlink"), "a link has one")
    bad(15, "target-empty", line(b"a", "symlink", target=""), "an empty target")
    bad(15, "target-4097", line(b"a", "symlink", target="t" * 4097), "4,097 bytes")
    bad(15, "target-nul", line(b"a", "symlink", target="a\\x00b"), "a NUL")
    bad(15, "target-escape", line(b"a", "symlink", target="\\x61"), "an escape for a plain letter")
    bad(16, "hardlink-to-nothing", line(b"z", "hardlink", target="a"), "there is no a")
    bad(16, "hardlink-to-folder", folder(b"d") + line(b"z", "hardlink", target="d"), "d is a folder")
    bad(16, "hardlink-to-itself", line(b"z", "hardlink", target="z"), "a circle")
    bad(16, "hardlink-to-hardlink", line(b"a") + line(b"b", "hardlink", target="a") + line(b"c", "hardlink", target="b"), "not a file")
    bad(16, "hardlink-out", line(b"z", "hardlink", target="../z"), "leads out")
    bad(17, "file-without-size", good.replace(b'"size":5,', b""), "no size")
    bad(17, "folder-with-size", folder(b"d").replace(b"}", b',"size":0}'), "a folder has none")
    bad(18, "content-without-at", good.replace(b'"at":512,', b""), "5 bytes that lie nowhere")
    bad(18, "at-without-content", line(size=0).replace(b'"size":0', b'"size":0,"at":512'), "no bytes at 512")
    bad(19, "size-2-63", line(size=1 << 63), "2^63 bytes")
    bad(19, "size-negative", good.replace(b":5,", b":-5,"), "below zero")
    bad(19, "size-2-64", line(size=1 << 64), "no number of 64 bits")
    bad(20, "file-without-sha256", good.replace(b',"sha256":"' + b"ab" * 32 + b'"', b""), "none")
    bad(20, "folder-with-sha256", folder(b"d", sha256="ab" * 32), "a folder has none")
    bad(20, "sha256-upper", good.replace(b"ab" * 32, b"AB" * 32), "upper case")
    bad(20, "sha256-short", good.replace(b"ab" * 32, b"ab" * 31), "31 bytes")
    bad(21, "flag-unknown", line(flag="fine"), "a flag of no version")
    bad(21, "flag-on-folder", folder(b"d", flag="changed"), "a folder cannot be changed")
    bad(21, "flag-on-link", line(b"l", "symlink", target="x", flag="unreadable"), "a link has no flag")
    for name, mode in [("set-id", "4755"), ("three-digits", "644"), ("five-digits", "00644"), ("not-octal", "0689"), ("sign", "+644")]:
        bad(22, "mode-" + name, line(mode=mode), mode)
    for name, mtime in [("no-nanos", "1"), ("eight-digits", "1.00000000"), ("ten-digits", "1.0000000000"),
                        ("leading-zero", "01.000000000"), ("minus-zero", "-0.500000000"), ("sign", "+1.000000000"),
                        ("sign-in-nanos", "1.+00000000"), ("too-large", "9223372036854775808.000000000")]:
        bad(23, "mtime-" + name, line(mtime=mtime), mtime)
    for name, holes in [("empty", [[0, 0]]), ("overlap", [[0, 3], [2, 1]]), ("touch", [[0, 1], [1, 1]]),
                        ("descend", [[3, 1], [0, 1]]), ("outside", [[0, 6]]), ("overflow", [[1, (1 << 64) - 1]])]:
        bad(25, "holes-" + name, line(holes=holes), str(holes))
    full = line(size=1 << 20, holes=[[0, 1]])
    vec("list", "holes-most", full, rule="R-LIST-24", note="65,536 holes: the reader of this file puts them in",
        tar=1 << 40, holes=65536)
    vec("list", "holes-too-many", full, "malformed", "R-LIST-24", "65,537 holes: the reader of this file puts them in",
        tar=1 << 40, holes=65537)
    bad(26, "at-513", line(at=513), "not a multiple of 512")
    bad(27, "overlap", line(b"a", size=513) + line(b"b", at=1024), "the first ends at 1025")
    bad(27, "backwards", line(b"a", at=1024) + line(b"b", at=512), "the second lies before the first")
    bad(28, "behind-the-tar", line(at=1024, size=1), "begins where the tar ends", tar=1024)
    bad(28, "beyond-the-tar", line(at=512, size=513), "one byte too far", tar=1024)
    bad(28, "beyond-all-numbers", line(at=(1 << 64) - 512, size=1024), "the end is over 2^64")


def sums():
    seal, part = b"11" * 32 + b"  seal.age\n", b"00" * 32 + b"  000001.age\n"
    good = part + seal
    vec("sums", "two-files", good, rule="W-SUMS-1", note="what a volume carries", want=["00" * 32 + " 000001.age", "11" * 32 + " seal.age"])
    vec("sums", "empty", b"", rule="R-SUMS-2", note="parses, for it has no last line; a volume's must name its list and heads, which is B-VOL-3")
    made = b""
    with tempfile.TemporaryDirectory() as where:
        for name in ["head.age", "000001.age"]:
            with open(os.path.join(where, name), "wb") as out:
                out.write(name.encode())
        made = subprocess.run(["sha256sum", "000001.age", "head.age"], cwd=where, check=True, capture_output=True).stdout
    vec("sums", "by-sha256sum", made, rule="W-SUMS-1", note="printed by sha256sum itself",
        want=[hashlib.sha256(n.encode()).hexdigest() + " " + n for n in ["000001.age", "head.age"]])

    def bad(rule, name, body, note, expect="malformed"):
        assert body != good
        vec("sums", name, body, expect, f"R-SUMS-{rule}", note)

    vec("sums", "too-long", b"", "limit", "R-SUMS-1", "16 MiB and one byte", repeat=(0x30, (16 << 20) + 1))
    bad(2, "cut", good[:-1], "no newline at the end")
    bad(3, "not-utf8", good.replace(b"seal", b"se\xffl"), "a byte that is not UTF-8")
    bad(4, "binary-mark", good.replace(b"11  ", b"11 *"), "the mark of --binary")
    bad(4, "upper", good.replace(b"11" * 32, b"AA" * 32), "upper case")
    bad(4, "short", good.replace(b"11" * 32, b"11" * 31), "31 bytes")
    bad(4, "escaped", good.replace(b"11" * 32, b"\\" + b"11" * 32), "no name of ours is escaped")
    bad(4, "blank-line", good + b"\n", "an empty line")
    bad(4, "tag-format", b"SHA256 (seal.age) = " + b"11" * 32 + b"\n", "the form of --tag")
    bad(5, "upper-name", good.replace(b"seal", b"SEAL"), "FAT folds case")
    want = ["00" * 32 + " 000001.age", "11" * 32 + " seal.age"]
    vec("sums", "crlf", good.replace(b"\n", b"\r\n"), rule="R-SUMS-4", note="CR LF counts as LF", ends="crlf", want=want)
    vec("sums", "crlf-once", part.replace(b"\n", b"\r\n") + seal, rule="R-SUMS-4", note="each line may", ends="crlf", want=want)
    bad(2, "cr-alone", good.replace(b"\n", b"\r"), "CR ends no line")
    bad(5, "cr-twice", good.replace(b"\n", b"\r\r\n"), "only one CR belongs to the line's end")
    bad(5, "cr-within", good.replace(b"seal", b"se\ral"), "a CR in a name")
    bad(5, "hidden", good.replace(b"seal", b".seal"), "begins with a dot")
    bad(5, "option", good.replace(b"seal", b"-seal"), "begins with a hyphen")
    bad(5, "name-65", good.replace(b"seal.age", b"s" * 65), "65 bytes")
    bad(5, "no-name", good.replace(b"seal.age", b""), "no name")
    bad(5, "direction-mark", good.replace(b"seal", "se\u202eal".encode()), "a mark that turns text round")
    bad(6, "traversal", good.replace(b"seal.age", b"../seal.age"), "leads out", "unsafe")
    bad(6, "absolute", good.replace(b"seal.age", b"/dev/zero"), "a device", "unsafe")
    bad(6, "folder-above", good.replace(b"seal.age", b".."), "the folder above", "unsafe")
    bad(6, "below", good.replace(b"seal.age", b"a/seal.age"), "volumes are flat", "unsafe")
    bad(6, "escape-sequence", good.replace(b"seal.age", b"\x1b[2J"), "clears a terminal", "unsafe")
    bad(7, "twice", good + seal, "one name twice")


def frames_of_ours():
    def lead(magic=0x184D2A5D, length=34, name=b"pouch", version=1, number=70000, offset=1 << 40):
        return struct.pack("<II", magic, length) + name + bytes([version]) + BUNDLE + struct.pack("<IQ", number, offset)

    good = lead()
    vec("lead", "good", good, rule="W-LEAD-1", note="part 70,000 at 2^40", want=f"{BUNDLE.hex()} 70000 {1 << 40}")
    vec("lead", "first", lead(number=1, offset=0) + bytes(100), rule="W-LEAD-1", note="what follows is not the lead's",
        want=f"{BUNDLE.hex()} 1 0")
    for rule, name, body, note in [
        (1, "short", good[:41], "41 bytes"), (1, "empty", b"", "no bytes"), (2, "magic", lead(0x184D2A50), "another skippable frame"),
        (2, "zstd", lead(0xFD2FB528), "a frame that is not skippable"), (3, "name", lead(name=b"Pouch"), "upper case"),
        (5, "version-0", lead(version=0), "no version"), (6, "length", lead(length=35), "35 bytes announced"),
    ]:
        vec("lead", name, body, "malformed", f"R-LEAD-{rule}", note)
    vec("lead", "version-2", lead(version=2), "newer", "R-LEAD-4", "of a later version")
    vec("lead", "version-255", lead(version=255, length=99), "newer", "R-LEAD-4", "a later version may have another length")

    def trail(magic=0x184D2A5D, length=17, tar=1 << 33, first=512, last=0, padding=0):
        return struct.pack("<IIQQB", magic, length + padding, tar, first, last) + bytes(padding)

    none = (1 << 64) - 1
    vec("trail", "good", trail(padding=1000), rule="W-TRAIL-1", note="with padding", want=f"{1 << 33} 512 no")
    vec("trail", "last", trail(tar=700, first=none, last=1), rule="W-TRAIL-1", note="no member starts here, the tar ends", want="700 - yes")
    for rule, name, body, note in [
        (1, "short", trail()[:24], "24 bytes"), (2, "magic", trail(magic=0x184D2A5E), "another skippable frame"),
        (3, "length-short", trail(length=16), "16 bytes announced"), (3, "length-long", trail(length=18), "18 bytes announced"),
        (4, "last-2", trail(last=2), "neither yes nor no"),
    ]:
        vec("trail", name, body, "malformed", f"R-TRAIL-{rule}", note)


def names():
    cases = {"plain": b"plain name.txt", "umlaut": "ü 漢".encode(), "escape-sequence": b"a\x1b[31m\n", "backslash": b"a\\b",
             "not-utf8": b"\xff\xc3(", "direction": "x\u202egpj.exe".encode(), "c1": "a\u0085b".encode(),
             "zero-width": "\u200b\u2060\ufeff".encode(), "tags": "\U000e0041".encode(), "quote": b'"',
             "edges": "\u061b\u061c\u061d\u200a\u2010\u2027\u202f\u205f\u2070\ufff8\ufffc\U000e0080".encode(), "delete": b"\x7f\x7e",
             "surrogate": b"\xed\xa0\x80", "combining": "e\u0301".encode()}
    for name, raw in cases.items():
        vec("escape", name, escape(raw).encode(), rule="W-ESC-1", note="a name as the list carries it", bytes=raw.hex())
    for rule, name, text in [(1, "lonely", b"a\\"), (1, "letter", b"\\n"), (1, "one-digit", b"\\x4"), (1, "upper", b"\\xFF"),
                             (1, "no-digit", b"\\xgg"), (2, "plain", b"\\x41"), (2, "backslash-as-hex", b"\\x5c"),
                             (2, "whole-character", b"\\xc3\\xbc"), (3, "newline", b"a\nb"), (3, "direction", "a\u202eb".encode()),
                             (3, "c1", "\u0085".encode())]:
        vec("escape", "bad-" + name, text, "malformed", f"R-ESC-{rule}", "no name is written so")
    cases = {"plain": b"data/plain.txt", "percent": b"data/100%.txt", "percent-41": b"a%41", "percent-0a": b"a%0a",
             "percent-25-0D": b"a%25%0D", "newlines": b"cr\rlf\n", "not-utf8": b"\xff\xc3", "umlaut": "ü%".encode(),
             "mixed": b"%\xff%0a", "twice": b"%%0A", "end": b"50%", "percent-2": b"%2", "blank": b" a "}
    for name, raw in cases.items():
        vec("bag-name", name, bag_name(raw), rule="W-BAG-1", note="a name as the manifests carry it", bytes=raw.hex())
    with tempfile.TemporaryDirectory() as where:
        for name, raw in {"plain": b"plain name", "newline": b"new\nline", "backslash": b"back\\slash", "return": b"re\rturn",
                          "all": b"\\\n\r%", "not-utf8": b"\xff"}.items():
            with open(os.path.join(where.encode(), raw), "wb") as out:
                out.write(b"content")
            made = subprocess.run([b"sha256sum", b"--", raw], cwd=where, check=True, capture_output=True).stdout
            # Releases before 9.0 leave CR as it is; all read the escaped form from 9.0 on.
            if name in ("return", "all") and b"\\r" not in made:
                made = made.replace(b"\r", b"\\r")
                made = made if made.startswith(b"\\") else b"\\" + made
            vec("bag-sums", name, made, rule="W-BAG-2", note="a line of bag/SHA256SUMS, printed by sha256sum",
                bytes=raw.hex(), sha256=hashlib.sha256(b"content").hexdigest())


def octal(value, width):
    return b"%0*o\0" % (width - 1, value)


def block(name, typeflag, size=0, mode=0o644, mtime=0, link=b"", prefix=b""):
    field = octal(size, 12) if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    out = (name.ljust(100, b"\0") + octal(mode, 8) + octal(0, 8) * 2 + field + octal(mtime, 12) + b" " * 8 + typeflag
           + link.ljust(100, b"\0") + b"ustar\0" + b"00" + bytes(80) + prefix.ljust(155, b"\0") + bytes(12))
    assert len(out) == 512
    return out[:148] + octal(sum(out), 8) + out[156:]


def record(key, value):
    rest = len(key) + len(value) + 3
    digits = next(n for n in range(1, 9) if len(str(rest + n)) == n)
    return b"%d %s=%s\n" % (rest + digits, key, value)


def is_utf8(value):
    try:
        value.decode()
        return True
    except UnicodeDecodeError:
        return False


def member(name, typeflag, size=0, mode=0o644, mtime=0, link=b""):
    records, values = b"", []
    short, prefix = name, b""
    if len(name) > 100:
        cut = [at for at in range(len(name)) if name[at:at + 1] == b"/" and at <= 155 and 1 <= len(name) - at - 1 <= 100]
        if cut:
            prefix, short = name[:cut[-1]], name[cut[-1] + 1:]
        else:
            short = name[:100]
            values.append((b"path", name))
    if len(link) > 100:
        values.append((b"linkpath", link))
    if size >= 1 << 33:
        values.append((b"size", b"%d" % size))
    if not 0 <= mtime < 1 << 33:
        values.append((b"mtime", b"%d" % mtime))
    if any(not is_utf8(value) for _, value in values):
        records = record(b"hdrcharset", b"BINARY")
    records += b"".join(record(*pair) for pair in values)
    out = b""
    if records:
        out = block(b"././@PaxHeader", b"x", len(records)) + records + bytes(-len(records) % 512)
    return out + block(short, typeflag, size, mode, min(max(mtime, 0), (1 << 33) - 1), link[:100], prefix)


def read_back(raw, name, size, link, utf8=True):
    """Python's own tarfile and GNU tar find what was meant."""
    found = tarfile.open(fileobj=io.BytesIO(raw + bytes(1024)), encoding="utf-8", errors="surrogateescape").next()
    # tarfile names a folder without its slash.
    assert found.name.encode("utf-8", "surrogateescape").rstrip(b"/") == name.rstrip(b"/"), (found.name, name)
    assert found.size == size and found.linkname.encode("utf-8", "surrogateescape") == link
    if size == 0:
        run = subprocess.run(["tar", "-tf", "-", "--quoting-style=literal"], input=raw + bytes(1024), check=True, capture_output=True)
        assert run.stdout == name + b"\n", (run.stdout, name)


def members():
    d120, deep = b"d" * 120, b"/".join([b"d" * 60] * 4)
    cases = [
        ("short-name", "W-TAR-1", "file", b"photos/a.jpg", 7, 0o640, 1700000000, b"", "one ustar block"),
        ("folder", "W-TAR-1", "dir", b"photos", 0, 0o755, 1700000000, b"", "the name ends with a slash"),
        ("empty-file", "W-TAR-1", "file", b"x", 0, 0, 0, b"", "no bytes, no rights, 1970"),
        ("symlink", "W-TAR-1", "symlink", b"l", 0, 0o777, 5, b"../else where", "as it is, not below bag/data"),
        ("hardlink", "W-TAR-1", "hardlink", b"second", 0, 0o644, 5, b"first", "its target stands below bag/data too"),
        ("name-100", "W-TAR-2", "file", b"n" * 91, 0, 0o644, 0, b"", "100 bytes with bag/data/ fill the field"),
        ("prefix", "W-TAR-2", "file", d120 + b"/" + b"e" * 90, 0, 0o644, 0, b"", "split at a slash"),
        ("prefix-last-slash", "W-TAR-2", "file", b"a" * 90 + b"/bb/cc", 0, 0o644, 0, b"", "at the last slash that does"),
        ("prefix-folder", "W-TAR-2", "dir", b"a" * 60 + b"/" + b"b" * 60, 0, 0o755, 0, b"", "the slash at the end is no place to split"),
        ("prefix-155", "W-TAR-2", "file", b"p" * 146 + b"/" + b"e" * 100, 0, 0o644, 0, b"", "155 and 100 bytes"),
        ("pax-path", "W-TAR-3", "file", b"d" * 200 + b"/" + b"e" * 200, 0, 0o644, 0, b"", "no slash does"),
        ("pax-path-156", "W-TAR-3", "file", b"p" * 147 + b"/" + b"e" * 100, 0, 0o644, 0, b"", "156 bytes before the slash"),
        ("pax-deep", "W-TAR-3", "file", deep + b"/" + b"e" * 60, 0, 0o644, 0, b"", "five names of 60 bytes"),
        ("pax-link", "W-TAR-3", "symlink", b"l", 0, 0o777, 0, b"t" * 101, "a target of 101 bytes"),
        ("link-100", "W-TAR-1", "symlink", b"l", 0, 0o777, 0, b"t" * 100, "a target of 100 bytes fills the field"),
        ("pax-hardlink", "W-TAR-3", "hardlink", b"z" * 200, 0, 0o644, 0, b"a" * 200, "both names, path first"),
        ("pax-99-digits", "W-TAR-3", "symlink", b"l", 0, 0o777, 0, b"t" * 983, "a record of 997 bytes; its length counts itself"),
        ("not-utf8-short", "W-TAR-1", "file", b"\xff\xc3(", 0, 0o644, 0, b"", "bytes, no pax"),
        ("pax-not-utf8", "W-TAR-4", "file", b"\xff" * 150 + b"/x" + b"y" * 99, 0, 0o644, 0, b"", "hdrcharset before the path"),
        ("size-largest-octal", "W-TAR-5", "file", b"big", (1 << 33) - 1, 0o644, 0, b"", "11 octal digits"),
        ("size-8-gib", "W-TAR-5", "file", b"big", 1 << 33, 0o644, 0, b"", "pax, and base 256 in the field"),
        ("mtime-negative", "W-TAR-6", "file", b"old", 0, 0o644, -5, b"", "pax, and 0 in the field"),
        ("mtime-late", "W-TAR-6", "file", b"new", 0, 0o644, 1 << 33, b"", "pax, and the largest in the field"),
    ]
    flags = {"file": b"0", "hardlink": b"1", "symlink": b"2", "dir": b"5"}
    for name, rule, kind, path, size, mode, mtime, link, note in cases:
        full = b"bag/data/" + path + (b"/" if kind == "dir" else b"")
        to = b"bag/data/" + link if kind == "hardlink" else link
        raw = member(full, flags[kind], size, mode, mtime, to)
        read_back(raw, full, size, to)
        vec("member", name, raw, rule=rule, note=note, entry=kind, path=path.hex(), size=size, mode="%04o" % mode, mtime=mtime,
            target=link.hex() or "-")
    vec("member", "tag-file", block(b"bag/bagit.txt", b"0", 55), rule="W-TAR-1", note="mode 0644, time 0", entry="tag",
        path=b"bagit.txt".hex(), size=55, mode="0644", mtime=0, target="-")


def stanza(tag, args, body):
    text = b64(body)
    lines = [text[at:at + 64] for at in range(0, len(text), 64)] + ([""] if len(text) % 64 == 0 else [])
    return " ".join(["->", tag] + args) + "\n" + "".join(line + "\n" for line in lines)


INTRO = "age-encryption.org/v1\n"


def age_headers():
    one = stanza("X25519", ["A" * 43], bytes(32))
    end = "--- " + "A" * 43 + "\n"
    salt = "c2FsdHNhbHRzYWx0c2FsdA"
    vec("age-header", "one-stanza", (INTRO + one + end).encode() + b"payload --- \n", rule="W-PART-1", note="168 bytes", length=168)
    assert len(INTRO + one + end) == 168
    vec("age-header", "64-stanzas", (INTRO + one * 64 + end).encode(), rule="R-AGE-3", note="as many as are taken", length=len(INTRO + one * 64 + end))
    for factor, note in [("18", "as ours are"), ("20", "the largest that is taken")]:
        text = INTRO + stanza("scrypt", [salt, factor], bytes(32)) + end
        vec("age-header", "scrypt-" + factor, text.encode(), rule="R-AGE-4", note=note, length=len(text))
    for rule, name, text, note, expect in [
        (1, "other-file", "something else\n", "no age file", "malformed"), (1, "empty", "", "no bytes", "malformed"),
        (1, "version-2", "age-encryption.org/v2\n" + one + end, "a later age", "newer"),
        (1, "version-x", "age-encryption.org/vx\n" + one + end, "no version", "malformed"),
        (1, "version-0", "age-encryption.org/v0\n" + one + end, "no later age", "malformed"),
        (1, "armored", "-----BEGIN AGE ENCRYPTED FILE-----\n", "armor is for mail", "malformed"),
        (3, "65-stanzas", INTRO + one * 65 + end, "one too many", "limit"),
        (4, "scrypt-21", INTRO + stanza("scrypt", [salt, "21"], bytes(32)) + end, "2 GiB of memory", "limit"),
        (4, "scrypt-22", INTRO + stanza("scrypt", [salt, "22"], bytes(32)) + end, "4 GiB of memory", "limit"),
        (4, "scrypt-30", INTRO + stanza("scrypt", [salt, "30"], bytes(32)) + end, "1 TiB of memory", "limit"),
        (5, "scrypt-negative", INTRO + stanza("scrypt", [salt, "-1"], bytes(32)) + end, "below zero", "malformed"),
        (5, "scrypt-none", INTRO + stanza("scrypt", [salt], bytes(32)) + end, "no work factor", "malformed"),
        (5, "scrypt-word", INTRO + stanza("scrypt", [salt, "hard"], bytes(32)) + end, "no number", "malformed"),
        (6, "no-end", INTRO + one, "no line that closes it", "malformed"),
        (7, "no-body", INTRO + one.split("\n")[0] + "\n" + end, "a stanza without a body", "malformed"),
        (7, "body-unended", INTRO + one.split("\n")[0] + "\n" + "A" * 64 + "\n" + end, "a full line is not the last one", "malformed"),
        (6, "end-cut", INTRO + one + "--- AAAA", "the closing line is cut", "malformed"),
    ]:
        vec("age-header", name, text.encode(), expect, f"R-AGE-{rule}", note)
    vec("age-header", "no-end-long", b"", "limit", "R-AGE-2", "17,000 bytes after the first line and no end",
        prefix=INTRO.encode().hex(), repeat=(0x78, 17000))


def pattern(length):
    """The bytes that stand for a tar: 0, 1, ... 250, 0, ..."""
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def stored(raw):
    out = bytes.fromhex("28b52ffd0038")
    blocks = [raw[at:at + 131072] for at in range(0, len(raw), 131072)] or [b""]
    for at, data in enumerate(blocks):
        out += struct.pack("<I", len(data) << 3 | (at + 1 == len(blocks)))[:3] + data
    return out


def zstd(args, data):
    return subprocess.run(["zstd", "-q", "-c"] + args, input=data, check=True, capture_output=True).stdout


def frames():
    for length in [0, 1, 40]:
        assert zstd(["-d"], stored(pattern(length))) == pattern(length)
        vec("frame", f"stored-{length}", stored(pattern(length)), rule="W-ZSTD-1", note="bytes 0, 1, ... 250, 0, ...", raw=length)
    for length in [131072, 131073, 300000]:
        made = stored(pattern(length))
        assert zstd(["-d"], made) == pattern(length)
        vec("frame", f"stored-{length}", rule="W-ZSTD-1", note="too long to be shown: length and digest", raw=length, length=len(made),
            sha256=hashlib.sha256(made).hexdigest())
    text = b"".join(b"line %d of a text\n" % n for n in range(40))
    skip = struct.pack("<II", 0x184D2A5D, 5) + b"other"

    def good(name, frames, plain, rule, note):
        vec("zstd", name, frames, rule=rule, note=note, length=len(plain), sha256=hashlib.sha256(plain).hexdigest())

    good("checksum", zstd(["-3"], text), text, "R-ZSTD-4", "stock zstd, with a content checksum")
    good("window-8-mib", zstd(["-19"], text), text, "R-ZSTD-1", "stock zstd from a pipe at level 19: the largest window")
    good("several", zstd(["-1"], text) + skip + zstd(["-3"], b"more") + skip + stored(b""), text + b"more", "W-ZSTD-1", "frames, skippable ones between")

    def bad(rule, name, frames, note):
        vec("zstd", name, frames, "malformed", f"R-ZSTD-{rule}", note)

    bad(1, "window-16-mib", zstd(["-3", "--long=24"], text), "stock zstd --long=24")
    bad(1, "window-2-31", bytes.fromhex("28b52ffd00a8010000"), "asks for 2 GiB")
    single = bytes.fromhex("28b52ffda0") + struct.pack("<I", (8 << 20) + 1) + bytes.fromhex("010000")
    bad(1, "one-segment", single, "one segment of 8 MiB and one byte")
    bad(2, "no-frame", b"no zstd at all", "no magic number")
    bad(2, "garbage-behind", stored(b"x") + b"\0\0\0\0", "zeros that stand in no frame")
    bad(3, "cut", zstd(["-3"], text)[:-1], "the last byte is missing")
    bad(3, "cut-in-skippable", stored(b"x") + skip[:-1], "a skippable frame that is cut")
    broken = bytearray(zstd(["-3"], text))
    broken[-1] ^= 1
    bad(4, "checksum-wrong", bytes(broken), "the content checksum does not fit")
    bad(5, "dictionary", bytes.fromhex("28b52ffd013807010000"), "wants dictionary 7")


def hkdf(ikm, salt, info):
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\1", hashlib.sha256).digest()


def part():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    raw = lambda key: key.public_key().public_bytes_raw()
    identity = X25519PrivateKey.from_private_bytes(KEY)
    ephemeral = X25519PrivateKey.from_private_bytes(bytes([0x42] * 32))
    file_key, nonce = bytes(range(0x10, 0x20)), bytes(range(0xe0, 0xf0))
    wrap = hkdf(ephemeral.exchange(identity.public_key()), raw(ephemeral) + raw(identity), b"age-encryption.org/v1/X25519")
    body = ChaCha20Poly1305(wrap).encrypt(bytes(12), file_key, None)
    unsigned = (INTRO + stanza("X25519", [b64(raw(ephemeral))], body) + "---").encode()
    mac = hmac.new(hkdf(file_key, b"", b"header"), unsigned, hashlib.sha256).digest()
    header = unsigned + (" " + b64(mac) + "\n").encode() + nonce
    assert len(header) == 184
    tar = pattern(300 * 512)
    plain = struct.pack("<II", 0x184D2A5D, 34) + b"pouch\1" + BUNDLE + struct.pack("<IQ", 3, 51200) + stored(tar)
    room = 15 * 65536 - len(plain)
    plain += struct.pack("<IIQQB", 0x184D2A5D, room - 8, len(tar), (1 << 64) - 1, 0) + bytes(room - 25)
    key = ChaCha20Poly1305(hkdf(file_key, nonce, b"payload"))
    chunks = [key.encrypt(n.to_bytes(11, "big") + bytes([n == 14]), plain[n << 16:(n + 1) << 16], None) for n in range(15)]
    whole = header + b"".join(chunks)
    assert len(whole) == 184 + 15 * 65552
    with tempfile.NamedTemporaryFile() as file:
        file.write(IDENTITY.encode() + b"\n")
        file.flush()
        opened = subprocess.run(["age", "-d", "-i", file.name], input=whole, check=True, capture_output=True).stdout
    assert opened == plain and zstd(["-d"], opened) == tar, "stock age and zstd open it"
    vec("part", "class-1", rule="W-PART-1", note="lead, one stored frame of bytes 0, 1, ... 250, 0, ..., trail; opened by stock age and zstd",
        identity=IDENTITY, file_key=file_key.hex(), header=header.hex(), bundle=BUNDLE.hex(), number=3, offset=51200, tar_length=len(tar),
        chunk_0=chunks[0][:64].hex(), last_tag=chunks[14][-16:].hex(), sha256=hashlib.sha256(whole).hexdigest())


# ---------------------------------------------------------------- parity

def times(a, b):
    """The product in GF(2^8), 0x11D, by shifting and reducing."""
    out = 0
    while b:
        out ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return out


def generator(k, m):
    """G: a Vandermonde matrix times the inverse of its first k rows, found by solving row after row."""
    def power(base, n):
        out = 1
        for _ in range(n):
            out = times(out, base)
        return out
    rows = [[power(row, column) for column in range(k)] for row in range(k + m)]
    # Column operations that turn the first k rows into the identity, done to all rows.
    for at in range(k):
        pivot = next(column for column in range(at, k) if rows[at][column])
        for row in rows:
            row[at], row[pivot] = row[pivot], row[at]
        inverse = next(value for value in range(256) if times(value, rows[at][at]) == 1)
        for row in rows:
            row[at] = times(row[at], inverse)
        for column in range(k):
            factor = rows[at][column]
            if column != at and factor:
                for row in rows:
                    row[column] ^= times(factor, row[at])
    assert all(rows[row][column] == (row == column) for row in range(k) for column in range(k))
    return rows


def parity():
    for k, m in [(1, 1), (2, 1), (3, 2), (4, 2), (10, 3), (40, 2), (5, 5), (200, 55)]:
        rows = generator(k, m)
        vec("parity", f"code-{k}-{m}", rule="W-PAR-1", note="the last m rows of G", k=k, m=m,
            want=[bytes(row).hex() for row in rows[k:]])
    chunk = 65536
    for name, k, m, count, chunks in [("rows-3-2", 3, 2, 3, 15), ("short-stripe-4-2", 4, 2, 3, 15), ("rows-20-3", 20, 3, 20, 15)]:
        # Data shard j holds, in chunk n, the byte 17 j + 31 n + 1 throughout; so do its sums.
        value = lambda j, n: (17 * j + 31 * n + 1) % 256 if j < count else 0
        rows, step = generator(k, m), max(1, chunks // (k + m))
        for which in range(m):
            plain = bytearray(chunks)
            for row in range(chunks):
                out = 0
                for j in range(k):
                    out ^= times(rows[k + which][j], value(j, (row + j * step) % chunks))
                plain[(row + (k + which) * step) % chunks] = out
            vec("parity", f"{name}-{which}", rule="W-PAR-1", note="one byte for each chunk of the parity part, which holds nothing else; "
                "chunk n of data shard j holds 17 j + 31 n + 1", k=k, m=m, data=count, chunks=chunks, position=k + which, plain=bytes(plain).hex())


for kind in [parity, hashes, seals, heads, lists, sums, frames_of_ours, names, members, age_headers, frames, part]:
    kind()
stale = [os.path.join(top, name) for top, _, found in os.walk(HERE) for name in found
         if name.endswith(".txt") and not os.path.relpath(top, HERE).startswith("bundle") and os.path.join(top, name) not in WRITTEN]
print(COUNT, "vectors", ("; no longer made: " + ", ".join(stale)) if stale else "")

#!/usr/bin/env python3
"""Makes the forged bundles of `bundles-forged/` from the good one in `bundle-v1/`, as a hostile sender can.

Uses stock `age` and `zstd` and this file alone, no code of pouch. Each folder holds only the files that differ from
`bundle-v1/volume-1` and an `about.txt`: the rule it breaks, what a reader does, the exit code of `pouch unpack`, and
which files of the good bundle to leave out. Encryption draws new keys on every run, so the files are made once and kept;
run this again only to add one (it leaves what is there alone).

    python3 tests/vectors/forge.py
"""
import base64, hashlib, os, struct, subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
GOOD = os.path.join(HERE, "bundle-v1", "volume-1")
KEY = os.path.join(HERE, "bundle-v1", "pouch.key")
OUT = os.path.join(HERE, "bundles-forged")
CHUNK = 65536
MAGIC = 0x184D2A5D


def run(args, data):
    return subprocess.run(args, input=data, stdout=subprocess.PIPE, check=True).stdout


def tagged(purpose, data):
    return hashlib.sha256(b"pouch/v1/" + purpose.encode() + b"\0" + data).hexdigest()


def good(name):
    with open(os.path.join(GOOD, name), "rb") as file:
        return file.read()


def reader():
    """The recipient of pouch.key, for whom seals are made."""
    text = open(KEY).read()
    return text.split("# public key: ")[1].split("\n")[0]


SEAL = run(["age", "-d", "-i", KEY], good("seal.age")).decode()


def with_bundle_key(args, data):
    """Runs `age` with the bundle's key as its identity file, in memory only."""
    read, write = os.pipe()
    os.write(write, SEAL.encode())
    os.close(write)
    out = subprocess.run(["age", *args, "-i", f"/dev/fd/{read}"], input=data, stdout=subprocess.PIPE, pass_fds=[read], check=True)
    os.close(read)
    return out.stdout


def bundle_recipient():
    """R, which whoever knows B can compute."""
    return run(["age-keygen", "-y"], SEAL.encode()).decode().strip()


HEAD = run(["zstd", "-dqc"], with_bundle_key(["-d"], good("head.age"))).decode()
LIST = run(["zstd", "-dqc"], with_bundle_key(["-d"], good("list.age"))).decode()
PART = with_bundle_key(["-d"], good("000001.age"))
TAR = run(["zstd", "-dqc"], PART)


def skippable(length):
    """A frame of that many bytes in all, of zeros behind magic and length."""
    return struct.pack("<II", MAGIC, length - 8) + bytes(length - 8)


def padded(frames):
    gap = -len(frames) % CHUNK
    if 0 < gap < 8:
        gap += CHUNK
    return frames + (skippable(gap) if gap else b"")


def zstd(data):
    return run(["zstd", "-qc", "--no-check"], data)


def sealed(recipient, plain):
    return run(["age", "-r", recipient], plain)


def sealed_text(text):
    return sealed(bundle_recipient(), padded(zstd(text.encode())))


def lines_of(head):
    """The statement as (key, value) pairs, and the lines of PARTS."""
    lines = head.split("\n")
    statement = [line.split(" ", 1) for line in lines[2:20]]
    at = next(at for at, line in enumerate(lines) if line.startswith("PARTS "))
    return statement, lines[at + 1:at + 1 + int(lines[at].split(" ")[1])]


def head_of(statement, parts, auth=(), fix=True):
    values = dict(statement)
    if fix:
        values["parts"] = str(len(parts))
        values["parts-hash"] = tagged("parts", "".join(line + "\n" for line in parts).encode())
    rows = [f"{key} {values[key]}" for key, _ in statement]
    sums = []
    for line in parts:
        number, kind, *_, digest, _ = line.split(" ")
        sums.append(f"{digest}  {int(number):06}.{'age' if kind == 'd' else 'par'}")
    text = ["pouch-head 1", "STATEMENT 18", *rows, f"AUTH {len(auth)}", *auth, f"PARTS {len(parts)}", *parts]
    return "\n".join([*text, f"SUMS {len(sums)}", *sums, "END"]) + "\n"


def changed_head(auth=(), **values):
    statement, parts = lines_of(HEAD)
    statement = [(key, values.get(key.replace("-", "_"), value)) for key, value in statement]
    return head_of(statement, parts, auth)


def changed_parts(parts, **values):
    statement, _ = lines_of(HEAD)
    statement = [(key, values.get(key.replace("-", "_"), value)) for key, value in statement]
    return head_of(statement, parts)


def heads(text):
    return {"head.age": sealed_text(text), "head2.age": sealed_text(text)}


def seals(text):
    return {name: sealed(reader(), text.encode()) for name in ("seal.age", "seal2.age")}


def with_list(text):
    return {"list.age": sealed_text(text), **heads(changed_head(list_hash=tagged("list", text.encode())))}


def part_plain(tar, number=1, offset=0, length=None, bundle=None):
    bundle = bundle or bytes.fromhex(dict(lines_of(HEAD)[0])["bundle"])
    lead = struct.pack("<II", MAGIC, 34) + b"pouch\x01" + bundle + struct.pack("<IQ", number, offset)
    body = lead + zstd(tar)
    padding = -(len(body) + 25) % CHUNK
    while len(body) + 25 + padding < 15 * CHUNK:
        padding += CHUNK
    length = len(tar) if length is None else length
    return body + struct.pack("<IIQQB", MAGIC, 17 + padding, length, 0, 1) + bytes(padding)


def with_part(plain, **values):
    """A part of that plaintext, and heads that name it."""
    file = sealed(bundle_recipient(), plain)
    header = base64.b64encode(file[:184]).decode().rstrip("=")
    fields = lines_of(HEAD)[1][0].split(" ")
    fields[7], fields[8] = hashlib.sha256(file).hexdigest(), header
    return {"000001.age": file, **heads(changed_parts([" ".join(fields)], **values))}


def write(name, rule, reader_does, exit_code, files, without=()):
    folder = os.path.join(OUT, name)
    if os.path.exists(folder):
        return
    os.makedirs(folder)
    for file, data in files.items():
        with open(os.path.join(folder, file), "wb") as out:
            out.write(data)
    about = [f"rule: {rule}", f"reader: {reader_does}", f"exit: {exit_code}"]
    about += [f"without: {file}" for file in without]
    with open(os.path.join(folder, "about.txt"), "w") as out:
        out.write("\n".join(about) + "\n")


def main():
    own = SEAL.rstrip("\n").split("\n")[-1]
    other = run(["age-keygen"], b"").decode().rstrip("\n").split("\n")[-1]
    kcommit = next(line for line in SEAL.split("\n") if line.startswith("# kcommit "))
    threshold = SEAL.replace("mode normal", "mode threshold t=2 n=3").replace(kcommit, kcommit + "\n# cards " + "05" * 32)

    write("seals-of-another-key", "B-SEAL-2", "refuses both seals: their key is not the one of kcommit", 6,
          seals(SEAL.replace(own, other)))
    write("seals-without-a-key", "B-SEAL-1", "refuses both seals: their identity is cut", 6, seals(SEAL.replace(own, own[:-1])))
    write("seals-threshold", "B-SEAL-3", "refuses both seals: the mode is of later", 2, seals(threshold))
    write("seals-newer", "R-SEAL-3", "refuses both seals: they are of a later version", 2,
          seals(SEAL.replace("pouch-seal v1", "pouch-seal v2")))
    write("seals-too-long", "B-SEAL-4", "reads neither seal: more than 64 KiB", 6, seals(SEAL + "#" * 70_000))
    write("one-seal-threshold", "B-HEAD-5", "opens seal2.age; seal.age is named", 0, {"seal.age": sealed(reader(), threshold.encode())})
    flip = str.maketrans("0123456789abcdef", "123456789abcdef0")
    bundle = dict(lines_of(HEAD)[0])["bundle"]
    write("head-of-another-bundle", "B-HEAD-1", "refuses both heads: their bundle is not the seal's", 6,
          heads(changed_head(bundle=bundle.translate(flip))))
    write("head-signed", "B-HEAD-2", "delivers all; the origin stays unknown", 0, heads(changed_head(auth=["sshsig AAAA"])))
    write("head-quiet", "B-HEAD-4", "refuses the profile", 2, heads(changed_head(profile="quiet")))
    write("head-two", "B-VOL-4", "names both bundles and refuses until one is chosen", 2,
          {"head2.age": sealed_text(changed_head(auth=["sshsig AAAA"], n="2"))})
    fields = lines_of(HEAD)[1][0].split(" ")
    striped = [" ".join([*fields[:2], "0", "0", *fields[4:]]), " ".join(["1", "p", "0", "1", fields[4], "-", "-", *fields[7:]])]
    write("head-parity-absent", "B-HEAD-3", "delivers all without 000001.par", 0, heads(changed_parts(striped, k="1", m="1", c="1")))
    wrong = [" ".join([*fields[:7], "00" * 32, fields[8]])]
    write("head-wrong-sum", "B-VOL-9", "delivers all: its chunks and files are right; a check with the key names the part", 0,
          heads(changed_parts(wrong)))
    write("list-not-of-the-head", "B-LIST-1", "uses no list: it opens, and has not the head's list-hash", 6,
          {"list.age": sealed_text(LIST.replace('"0640"', '"0600"'))})
    first = LIST.split("\n")[1]
    write("list-name-twice", "R-LIST-11", "refuses the list", 6, with_list(LIST.replace(first, first + "\n" + first)))
    plain = padded(b"not zstd" + bytes(100))
    write("list-no-zstd", "R-ZSTD-2", "refuses the list: it was sealed so", 6, {"list.age": sealed(bundle_recipient(), plain)})
    write("part-of-another-number", "B-PART-3", "refuses the part", 6, with_part(part_plain(TAR, number=2)))
    write("part-too-long", "B-PART-4", "stops where the head says that the part ends", 6, with_part(part_plain(TAR + bytes(512))))
    write("part-too-short", "B-PART-5", "counts the part as damaged", 4, with_part(part_plain(TAR[:-8192])))
    write("part-renamed", "B-PART-1", "finds the part by its header", 0, {"renamed.bin": good("000001.age")}, ["000001.age"])
    bad = bytearray(good("000001.age"))
    bad[1000] ^= 1
    write("part-chunk-bad", "B-PART-2", "uses no byte of the first chunk", 4, {"000001.age": bytes(bad)})
    hello = "0960403b5b8cf4c123e9c20b5b6aa904cf5cb7fff0df712d11ef8118c761177b"
    write("file-not-as-listed", "B-OUT-2", "delivers all but hello.txt and its second name", 4, with_list(LIST.replace(hello, "ab" * 32)))
    byte = 'a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89"'
    write("file-unreadable", "B-OUT-5", "delivers all but byte.bin and does not call it complete", 4,
          with_list(LIST.replace(byte, byte + ',"flag":"unreadable"')))
    write("foreign-files", "B-VOL-1", "passes over them", 0, {".DS_Store": b"\0\1", "notes.txt": b"mine\n", "000000.age": b"no part\n"})


if __name__ == "__main__":
    main()

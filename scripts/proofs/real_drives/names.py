"""Rows about names, links, sizes and times that a file system cannot hold."""

import os
import re
import shutil
from pathlib import Path

from proofs.real_drives.lab import LAB, Wrong
from proofs.real_drives.register import row

DAY = 86_400
ODD = {  # name, and content
    "trail.": "a dot", "trail ": "a space", "trail": "neither", "CON": "a device", "aux.txt": "another", "a:b": "a colon",
    "A": "upper", "a": "lower", "caf\u00e9": "composed", "cafe\u0301": "decomposed", "\u6f22" * 85: "85 of three bytes",
    "x" * 255: "255", "\U0001f600 \U0001f4be.txt": "beyond UTF-16's first plane", "star*?": "stars", "50%": "percent",
    ".hidden": "a dot before", "tab\there": "a tab", "quote\"<>|": "quotes", "back\\slash": "a backslash",
    "\u0130stanbul": "a dotted capital", "istanbul": "none", "stra\u00dfe": "sharp", "STRASSE": "two", "~1": "tilde",
    "longer~1.txt": "short name?", "  lead": "spaces before",
}
TIMES = {  # name, which says why, and time
    "1970": 0, "1979": 10 * 365 * DAY, "1980": 315_532_800, "2007 odd": 1_180_000_001.5, "1901": -(1 << 31), "before": -2_300_000_000.25,
    "minus one": -1, "2038": (1 << 31) - 1, "after 2038": 1 << 31, "2099": 4_070_908_801, "2106": (1 << 32) + 5, "2107": 4_354_819_199,
    "2108": 4_354_819_203, "2200": 7_258_118_400.125, "2446": 15_032_385_600, "2600": 19_880_899_201,
}


def odd_tree(lab, links=True):
    """Makes files with names, links, holes and times of all kinds."""
    root = lab.source
    for folder in ("names", "times", "Folder", "folder"):
        (root / folder).mkdir()
    for name, text in ODD.items():
        (root / "names" / name).write_text(text)
    (root / os.fsdecode(b"names/no \xff UTF-8")).write_text("bytes")
    for folder in ("Folder", "folder"):
        (root / folder / "x").write_text(folder)
    with open(root / "sparse", "wb") as sparse:
        sparse.write(b"begin")
        sparse.truncate(5_000_000)
        sparse.seek(3_000_000)
        sparse.write(b"middle")
    for name, at in TIMES.items():
        (root / "times" / name).write_text(name)
        os.utime(root / "times" / name, ns=(0, int(at * 1_000_000_000)))
    if links:
        (root / "link").symlink_to("names/trail")
        os.link(root / "names/trail", root / "again")
    os.utime(root / "Folder", (0, 1_000_000_001))


def record(out):
    """Reads pouch-renamed.txt: for each path here, its path in the bundle."""
    back, left = {}, set()
    for path in out.glob("pouch-renamed*.txt"):
        for line in path.read_bytes().split(b"\n"):
            what, *paths = line.split(b"\t")
            if what == b"renamed":
                back[paths[1]] = paths[0]
            elif what in (b"symlink left out", b"left out"):
                left.add(paths[0])
    return back, left


def unescaped(path):
    """The bytes of a path as pouch-renamed.txt writes it."""
    escaped = re.compile(rb"\\(\\|x([0-9a-f]{2}))")
    return escaped.sub(lambda found: bytes([int(found[2], 16)]) if found[2] else b"\\", path)


def former(path, back):
    """The path in the bundle of a path here. Its folders may have been renamed, too."""
    parts, old = path.split(b"/"), b""
    for at in range(len(parts)):
        here = b"/".join(parts[:at + 1])
        old = unescaped(back[here]) if here in back else old + (b"/" if old else b"") + parts[at]
    return old


def delivered(lab, out):
    """Compares delivered files with the sources by the record. Returns the paths whose time differs."""
    back, left = record(out)
    source, seen, other = os.fsencode(lab.source.parent), set(), []
    for folder, folders, files in os.walk(os.fsencode(out)):
        below = os.path.relpath(folder, os.fsencode(out))
        for name in files + folders:
            here = os.path.normpath(os.path.join(below, name))
            if here.startswith(b"pouch-renamed"):
                continue
            old = os.path.join(source, former(here, back))
            if not os.path.lexists(old):
                raise Wrong(f"{here} leads back to {old}, which was not packed")
            seen.add(old)
            a, b = os.path.join(folder, name), old
            if os.path.islink(b):
                if os.readlink(a) != os.readlink(b):
                    raise Wrong(f"{here} points elsewhere")
                continue
            if os.path.isfile(b) and Path(os.fsdecode(a)).read_bytes() != Path(os.fsdecode(b)).read_bytes():
                raise Wrong(f"{here} is not what {old} was")
            if os.stat(a).st_mtime_ns != os.stat(b).st_mtime_ns:
                other.append((here, os.stat(b).st_mtime_ns, os.stat(a).st_mtime_ns))
    for folder, folders, files in os.walk(os.fsencode(lab.source)):
        for name in files + folders:
            path = os.path.join(folder, name)
            if path not in seen and os.path.relpath(path, source) not in {unescaped(one) for one in left}:
                raise Wrong(f"{path} is neither there nor named")
    return other


def names_row(lab, fs, options=(), links=True):
    """Unpacking is refused before the first byte. With --rename everything comes, and the record leads back."""
    odd_tree(lab)
    stage = LAB / "stage"
    stage.mkdir()
    lab.run("pack", lab.source, "-r", lab.recipient, "-o", stage).ends(0)
    target = lab.drive(fs, 320 if fs == "xfs" else 64, options)
    before = target.at.iterdir()
    before = {path.name for path in before}
    plain = lab.unpack([stage], target.at / "out")
    if plain.code != 0:
        plain.ends(2).says("--rename")
        if {path.name for path in target.at.iterdir()} != before:
            raise Wrong(f"something was written: {list(target.at.iterdir())}")
    renamed = lab.unpack([stage], target.at / "out", "--rename") if plain.code else plain
    renamed.ends(0 if links else 4)
    target.replug()
    other = delivered(lab, target.at / "out")
    # exFAT through FUSE keeps times in memory that it cannot store, until the next mount.
    if other and fs != "exfat":
        if f"{len(other)} items have times that the target cannot keep" not in renamed.said:
            shown = "".join(f"\n      {path}: {was / 1e9} became {now / 1e9}" for path, was, now in other)
            raise Wrong(f"{len(other)} times differ and are not told:{shown}\n{renamed}")
        # A difference beyond any rounding means that the time is out of range.
        if any(abs(was - now) > 2_000_000_000 for _, was, now in other) != ("outside of what it counts" in renamed.said):
            raise Wrong(f"what is out of range is not told apart: {renamed}")
    return f"held: {plain.code} without --rename, {len(other)} times differ and are told"


row("names on vfat", short=True)(lambda lab: names_row(lab, "vfat", links=False))
row("names on ext4")(lambda lab: names_row(lab, "ext4"))
row("names on ext4 with small inodes", short=True)(lambda lab: names_row(lab, "ext4", ["-I", "128"]))
row("names on xfs that folds ASCII")(lambda lab: names_row(lab, "xfs", ["-n", "version=ci", "-m", "bigtime=0,crc=0"], 400))
row("names on exFAT through FUSE")(lambda lab: names_row(lab, "exfat", links=False))


@row("a file of 4 GiB on vfat")
def four_gib(lab):
    """No FAT can hold this file, and the run says so before the first byte."""
    lab.fill(1)
    with open(lab.source / "long", "wb") as long:
        long.truncate(4 << 30)
    (LAB / "stage").mkdir()
    lab.run("pack", lab.source, "-r", lab.recipient, "-o", LAB / "stage").ends(0)
    target = lab.drive("vfat")
    lab.unpack([LAB / "stage"], target.at / "out").ends(2).says("source/long: it has", "--rename")
    if list(target.at.iterdir()):
        raise Wrong("something was written")
    done = lab.unpack([LAB / "stage"], target.at / "out", "--rename").ends(4).says("not delivered: source/long")
    target.replug()
    (lab.source / "long").unlink()
    (lab.source / "notes/link").unlink()
    lab.came_back(target.at / "out")
    return f"held: {done.code}"


@row("names on ext4 that folds case")
def folding(lab):
    features = Path("/sys/fs/ext4/features/casefold")
    if not features.exists():
        return "not tried: this kernel was built without"


def card_of(lab):
    """A camera's card with sources on it."""
    card = lab.drive("vfat")
    shutil.rmtree(lab.source)
    lab.source = card.at / "source"
    lab.source.mkdir()
    return card


@row("packing from vfat")
def from_vfat(lab):
    """The content of a camera's card comes back on ext4 with its names, times and bytes."""
    card = card_of(lab)
    for name in ("DCIM 01.JPG", "\u6f22" * 80, "\U0001f600.mov", "long " * 40 + "name", "Caf\u00e9", "sm\u00f6rg\u00e5s.txt"):
        (lab.source / name).write_text(name)
        os.utime(lab.source / name, (0, 1_700_000_001))
    card.replug()
    stage = LAB / "stage"
    stage.mkdir()
    lab.run("pack", lab.source, "-r", lab.recipient, "-o", stage).ends(0)
    lab.unpack([stage]).ends(0)
    lab.came_back()
    for path in lab.source.iterdir():
        if path.stat().st_mtime_ns != (LAB / "out/source" / path.name).stat().st_mtime_ns:
            raise Wrong(f"{path}: another time")


@row("packing from vfat: names that no other file system holds")
def too_long_from_vfat(lab):
    """FAT has names of 255 UTF-16 units, which are up to 765 bytes. Names that cannot be packed are reported."""
    card_of(lab)
    (lab.source / ("\u6f22" * 200)).write_text("long")
    (lab.source / "short").write_text("short")
    stage = LAB / "stage"
    stage.mkdir()
    lab.run("pack", lab.source, "-r", lab.recipient, "-o", stage).ends(4).says("its path is longer than a path may be")
    lab.unpack([stage]).ends(4).says("not all of this folder could be read")
    if os.listdir(LAB / "out/source") != ["short"]:
        raise Wrong(f"what can be carried was not: {os.listdir(LAB / 'out/source')}")

"""Rows about drives that forget, corrupt or vanish. The docstring of each says what it demands."""

import os
import shutil

from proofs.real_drives.lab import LAB, SAFE, Wrong, drop_caches, tool
from proofs.real_drives.register import row


def parts(drive, least):
    """Whether this many parts were begun on a drive."""
    return lambda: sum(1 for _ in drive.at.glob("volume-*/0*")) >= least


def sums(drive):
    """Whether everything was read back, and SHA256SUMS is about to be written."""
    return lambda: any(True for _ in drive.at.glob("volume-*/SHA256SUMS*"))


def small_files(drive):
    """Whether all parts are written, and lists or heads follow."""
    return lambda: any(True for _ in drive.at.glob("volume-*/list*")) or any(True for _ in drive.at.glob("volume-*/head*"))


@row("whole on vfat", short=True)
def whole(lab):
    drives = lab.two("vfat")
    lab.fill()
    lab.pack(drives).ends(0).says(SAFE)
    lab.is_whole(drives)


def forgets(lab, fs, when, which=1):
    """A drive that takes writes and stores nothing, from the beginning or from the middle on."""
    drives = lab.two(fs)
    lab.fill()
    if when == "begin":
        drives[which].becomes("forgets")
        done = lab.pack(drives)
    else:
        at = {"middle": parts(drives[which], 3), "late": small_files(drives[which]), "last": sums(drives[which])}[when]
        done = lab.pack(drives, when=at, then=lambda: drives[which].becomes("forgets"))
    if when == "last" and done.code == 0:
        # Contents were stored and read back by then. Whether names and lengths were stored, no run can ask past
        # the cache; `check` shows it, and everything comes back.
        for drive in drives:
            drive.replug(check=False)
        checked = lab.check(drives).ends(0, 3, 4)
        lab.unpack(drives).ends(0)
        lab.came_back()
        return f"held: 0, and then {checked.code} by check; all comes back"
    done.ends(7).never_says(SAFE).says(drives[which].name)
    return lab.goes_on_after(drives, which, done)


for fs in ("vfat", "ext4"):
    for when in ("begin", "middle", "late", "last"):
        row(f"{fs} forgets what it is given ({when})", short=fs == "vfat" and when == "middle")(
            lambda lab, fs=fs, when=when: forgets(lab, fs, when))


@row("vfat forgets and is not looked over")
def forgets_raw(lab):
    """A torn file system may be lost as a whole, but packing again returns 0 only if everything is whole."""
    drives = lab.two("vfat")
    lab.fill()
    done = lab.pack(drives, when=parts(drives[1], 4), then=lambda: drives[1].becomes("forgets")).ends(7).never_says(SAFE)
    if lab.is_complete_without(drives, done):
        return "held: 7, and all is there without it"
    drives[1].replug(check=False)
    again = lab.pack(drives)
    if again.code == 0:
        lab.is_whole(drives)
    return f"held: {again.code} without looking it over"


row("the drive with the journal forgets")(lambda lab: forgets(lab, "vfat", "middle", 0))


def pulled_after(lab, fs, what):
    """A drive that is called safe may be unplugged, unmounted or not: no cache holds data for it any more."""
    drives = lab.two(fs)
    lab.fill()
    if what == "load":
        for volume, drive in zip(staged(lab), drives):
            lab.run("load", volume, drive.at).ends(0).says(SAFE)
            drive.becomes("gone")
    else:
        lab.run("pack", lab.source, "-r", lab.recipient, what, "-o", drives[0].at, "-o", drives[1].at).ends(0)
        for drive in drives:
            drive.becomes("gone")
    lab.is_whole(drives)


for fs in ("vfat", "ext4"):
    for what in ("--verify", "--no-verify", "load"):
        row(f"{fs} is pulled out at once, not unmounted ({what})", short=(fs, what) == ("vfat", "load"))(
            lambda lab, fs=fs, what=what: pulled_after(lab, fs, what))


def gone(lab, fs, which, least):
    """A drive is unplugged: the run exits with 7 and a reason, or with 0 if its share found another home."""
    drives = lab.two(fs)
    lab.fill()
    done = lab.pack(drives, when=parts(drives[which], least), then=lambda: drives[which].becomes("gone"))
    done.ends(0, 7)
    others = [drives[1 - which]]
    if done.code == 0:
        lab.is_whole(others)
        return "held: 0, all is on the other drive"
    done.never_says(SAFE).says("hint")
    if drives[which].name not in done.said:
        raise Wrong(f"does not name {drives[which].name}: {done}")
    lab.nothing_lies(others)
    return lab.goes_on_after(drives, which, done)


for fs in ("vfat", "ext4"):
    for which, least in ((0, 2), (1, 3)):
        row(f"{fs} is pulled out while packing (drive {which + 1}, {least} parts)", short=(fs, which) == ("vfat", 1))(
            lambda lab, fs=fs, which=which, least=least: gone(lab, fs, which, least))


@row("pulled out again and again")
def gone_often(lab):
    drives = lab.two("vfat")
    lab.fill(12)
    for turn in range(1, 5):
        try:
            done = lab.pack(drives, when=parts(drives[1], 2 * turn), then=lambda: drives[1].becomes("gone"))
        except Wrong as wrong:
            if "was through before" not in str(wrong):
                raise
            if "ended with 0" not in str(wrong):
                break
            lab.is_whole(drives)
            return f"held: {turn - 1} times"
        if done.code == 0:
            return "held: 0, all is on the other drive"
        done.ends(7)
        if lab.is_complete_without(drives, done):
            return "held: 7, and all is there without it"
        drives[1].replug()
        lab.nothing_lies(drives)
    return lab.goes_on(drives)


@row("bad sectors while packing", short=True)
def bad_while_packing(lab):
    """A file cannot be read back after writing: the run names drive and file."""
    drives = lab.two("vfat")
    lab.fill()
    drives[1].becomes("dusty")
    spoilt = []

    def spoil():
        os.sync()
        path = min(path for path in drives[1].at.glob("volume-*/0*.age") if path.stat().st_size > 100_000)
        spoilt.append(path.name)
        drives[1].bad(path, 70_000)
    done = lab.pack(drives, when=parts(drives[1], 4), then=spoil).ends(7).never_says(SAFE)
    done.says(drives[1].name, spoilt[0])
    if lab.is_complete_without(drives, done):
        return "held: 7, and all is there without it"
    lab.nothing_lies(drives)
    drives[1].replug(check=False)
    lab.pack(drives).ends(0).says(SAFE)
    lab.is_whole(drives)


@row("bad sectors afterwards", short=True)
def bad_afterwards(lab):
    """`check` exits with 4 and says whether parity can rebuild the damage; `unpack` rebuilds it."""
    drives = lab.two("vfat")
    lab.fill()
    lab.pack(drives, "--mend", "10%").ends(0)
    for drive in drives:
        drive.unmount()
        drive.mount()
        drive.becomes("dusty")
    data = sorted(drives[0].at.glob("volume-*/0*.age"))
    drives[0].bad(data[0], 66_000)
    drives[0].bad(data[2], 400_000)
    drives[1].bad(sorted(drives[1].at.glob("volume-*/0*.age"))[0], 800_000)
    drop_caches()
    checked = lab.check(drives).ends(4)
    for path in (data[0], data[2]):
        checked.says(path.name)
    lab.run("check", *[drive.at for drive in drives], "-i", lab.key).ends(4)
    drop_caches()
    lab.unpack(drives).ends(0).says("rebuilt: part")
    lab.came_back()


@row("bad sectors where seal and head are")
def bad_small(lab):
    drives = lab.two("vfat")
    lab.fill(4)
    lab.pack(drives, "--mend", "10%").ends(0)
    for drive in drives:
        drive.becomes("dusty")
    for name in ("seal.age", "head.age", "list.age"):
        drives[0].bad(next(drives[0].at.glob(f"volume-*/{name}")), 10)
    drives[1].bad(next(drives[1].at.glob("volume-*/SHA256SUMS")), 10)
    drop_caches()
    lab.check(drives).ends(4)
    drop_caches()
    lab.unpack(drives).ends(0)
    lab.came_back()


def staged(lab):
    """Stages two volumes in a folder."""
    stage = LAB / "stage"
    stage.mkdir()
    lab.run("pack", lab.source, "-r", lab.recipient, "-o", stage, "--volumes", "2", "--volume-size", "30MB").ends(0)
    return sorted(stage.glob("volume-*"))


def loading(lab, fs, fault, least=3):
    """The same demands on `load`."""
    lab.fill(10)
    volumes = staged(lab)
    drives = lab.two(fs)
    lab.run("load", volumes[0], drives[0].at).ends(0).says(SAFE)
    if fault == "forgets at once":
        drives[1].becomes("forgets")
        done = lab.run("load", volumes[1], drives[1].at)
    else:
        kind = {"forgets": "forgets", "gone": "gone"}[fault]
        done = lab.run("load", volumes[1], drives[1].at, when=parts(drives[1], least), then=lambda: drives[1].becomes(kind))
    done.ends(7).never_says(SAFE).says(drives[1].name, "hint")
    drives[1].replug()
    lab.nothing_lies(drives)
    lab.run("load", volumes[1], drives[1].at).ends(0).says(SAFE)
    lab.is_whole(drives)


for fs in ("vfat", "ext4"):
    for fault in ("forgets", "forgets at once", "gone"):
        row(f"load: {fs} {fault}", short=(fs, fault) == ("vfat", "gone"))(
            lambda lab, fs=fs, fault=fault: loading(lab, fs, fault))


@row("unpack: its target is pulled out at once", short=True)
def target_after(lab):
    drives, target = lab.two("vfat"), lab.drive("vfat")
    lab.fill(6)
    (lab.source / "notes/link").unlink()
    lab.pack(drives).ends(0)
    lab.unpack(drives, target.at / "out").ends(0)
    target.becomes("gone")
    target.replug(check=False)
    lab.came_back(target.at / "out")


def target_fails(lab, fs, kind, begun):
    """The target of an unpacking fails: the run exits with 7, and the same command goes on from there."""
    drives, target = lab.two("vfat"), lab.drive(fs, 64)
    lab.fill(10)
    lab.pack(drives).ends(0)
    (lab.source / "notes/link").unlink()
    shutil.rmtree(lab.source / "notes")
    out = target.at / "out"
    words = ["--only", "source/clip.mov"]

    def placed():
        log = out / ".pouch-unfinished/placed"
        return log.exists() and len(log.read_text().splitlines()) > begun
    done = lab.unpack(drives, out, *words, when=placed, then=lambda: target.becomes(kind))
    if kind == "gone":
        done.ends(7).says("hint")
    elif done.code == 0:
        # Unpacking reads nothing back, so a forgetful drive shows only after a replug.
        pass
    target.replug()
    if (out / "source/clip.mov").exists() and kind == "gone":
        lab.came_back(out)
    again = lab.unpack(drives, out, *words).ends(0, 2)
    if again.code == 2 and kind == "gone":
        again.says("exists")
    if kind == "gone":
        target.replug(check=False)
        lab.came_back(out)
    return f"held: {done.code}, then {again.code}"


for fs in ("ext4", "vfat"):
    row(f"unpack: its target is pulled out ({fs})", short=fs == "ext4")(lambda lab, fs=fs: target_fails(lab, fs, "gone", 3))
    row(f"unpack: its target goes read-only ({fs})")(lambda lab, fs=fs: read_only_target(lab, fs))


def read_only_target(lab, fs):
    drives, target = lab.two("vfat"), lab.drive(fs, 64)
    lab.fill(10)
    (lab.source / "notes/link").unlink()
    lab.pack(drives).ends(0)
    out = target.at / "out"
    tool("mount", "-o", "remount,ro", target.at)
    lab.unpack(drives, out).ends(7).says("Read-only").says("hint")
    tool("mount", "-o", "remount,rw", target.at)
    lab.unpack(drives, out).ends(0)
    lab.came_back(out)


@row("unpack: bad sectors in what is to be read, no parity")
def bad_no_parity(lab):
    drives = lab.two("vfat")
    lab.fill()
    lab.pack(drives, "--mend", "0").ends(0)
    drives[0].becomes("dusty")
    drives[0].bad(min(drives[0].at.glob("volume-*/0*.age")), 300_000)
    drop_caches()
    lab.check(drives).ends(4)
    drop_caches()
    done = lab.unpack(drives).ends(3, 4)
    drives[0].replug(check=False)
    lab.unpack(drives).ends(0)
    lab.came_back()
    return f"held: {done.code}"


@row("a drive is mounted read-only", short=True)
def read_only(lab):
    drives = lab.two("vfat")
    lab.fill(4)
    tool("mount", "-o", "remount,ro", drives[1].at)
    done = lab.pack(drives).ends(7, 2).says(drives[1].name)
    if lab.is_complete_without(drives, done):
        return "held: 7, and all is there without it"
    tool("mount", "-o", "remount,rw", drives[1].at)
    lab.pack(drives).ends(0).says(SAFE)
    for drive in drives:
        tool("mount", "-o", "remount,ro", drive.at)
    lab.check(drives).ends(0)
    lab.unpack(drives).ends(0)
    lab.came_back()


@row("drives are too small")
def too_small(lab):
    drives = [lab.drive("vfat", 40), lab.drive("ext4", 8)]
    lab.fill(60)
    lab.pack(drives).ends(7).says("hint")
    if any(drive.volumes() for drive in drives):
        raise Wrong("a volume was begun")


@row("a drive fills up while packing")
def fills_up(lab):
    drives = lab.two("vfat")
    lab.fill(12)

    def fill():
        with open(drives[1].at / "other", "wb") as other:
            try:
                while True:
                    other.write(bytes(1 << 20))
                    other.flush()
            except OSError:
                pass
    done = lab.pack(drives, when=parts(drives[1], 3), then=fill).ends(0, 7)
    if done.code == 0:
        lab.is_whole(drives)
        return "held: 0, all found room"
    done.says("hint").never_says(SAFE)
    if lab.is_complete_without(drives, done):
        return "held: 7, and all is there without it"
    lab.nothing_lies(drives)
    for path in drives[1].at.glob("other"):
        path.unlink()
    lab.pack(drives).ends(0).says(SAFE)
    lab.is_whole(drives)


@row("no inodes are left")
def no_inodes(lab):
    drives = [lab.drive("vfat"), lab.drive("ext4", 64, ["-N", "16"])]
    lab.fill(12)
    done = lab.pack(drives).ends(0, 7)
    if done.code == 7:
        done.says("hint", drives[1].name).never_says(SAFE)
        if not lab.is_complete_without(drives, done):
            lab.nothing_lies(drives)
    else:
        lab.is_whole(drives)
    return f"held: {done.code}"


@row("unpack: no inodes are left")
def no_inodes_for_files(lab):
    drives, target = lab.two("vfat"), lab.drive("ext4", 64, ["-N", "32"])
    lab.fill(4, 60)
    lab.pack(drives).ends(0)
    out = target.at / "out"
    lab.unpack(drives, out).ends(7).says("hint")
    for path in (out / "source").rglob("*"):
        if path.is_file() and path.read_bytes() != (lab.source / path.relative_to(out / "source")).read_bytes():
            raise Wrong(f"{path} differs")


@row("unpack: the target is full")
def target_full(lab):
    drives, target = lab.two("vfat"), lab.drive("ext4", 8)
    lab.fill(12)
    lab.pack(drives).ends(0)
    lab.unpack(drives, target.at / "out").ends(7).says("hint")
    if (target.at / "out").exists():
        raise Wrong("something was begun")

"""Shared by all rows: drives whose device-mapper table can change under a mounted file system, a bundle's
sources and keys, and commands that a fault hits midway."""

import fcntl
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

UBD = "/dev/ubda"
LAB = Path("/run/lab")
SAFE = "safe to unplug"


class Wrong(Exception):
    """A row failed."""


class Done:
    """Exit code and output of a command."""

    def __init__(self, words, code, out, err):
        self.words, self.code, self.out, self.err = [str(word) for word in words], code, out, err
        self.said = out + err

    def ends(self, *codes):
        if self.code not in codes:
            raise Wrong(f"ended with {self.code}, not {' or '.join(map(str, codes))}: {self}")
        return self

    def says(self, *texts):
        for text in texts:
            if text not in self.said:
                raise Wrong(f"does not say \"{text}\": {self}")
        return self

    def never_says(self, *texts):
        for text in texts:
            if text in self.said:
                raise Wrong(f"says \"{text}\": {self}")
        return self

    def __str__(self):
        return f"{' '.join(self.words[1:])}\n{indented(self.said)}"


def indented(text):
    return "".join(f"      {line}\n" for line in text.splitlines())


def tool(*words):
    """Runs a tool that must succeed."""
    done = subprocess.run([str(word) for word in words], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise Wrong(f"{' '.join(map(str, words))}: {done.returncode} {done.stdout}")
    return done.stdout


def has(name):
    return shutil.which(name) is not None


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


class Drive:
    """A drive: a stretch of the image under a device-mapper table of its own."""

    def __init__(self, number, fs="vfat", megabytes=64, options=()):
        self.name, self.fs, self.start, self.sectors = f"drive-{number}", fs, number * (400 << 11), megabytes << 11
        self.at = Path("/run/mnt") / self.name
        self.node = Path("/dev/mapper") / self.name
        self.at.mkdir(parents=True, exist_ok=True)
        tool("dmsetup", "create", self.name, "--table", self.table("whole"))
        make = {"vfat": ["mkfs.vfat", "-F", "32", "-s", "1"], "ext4": ["mkfs.ext4", "-q", "-F"],
                "exfat": ["mkfs.exfat"], "xfs": ["mkfs.xfs", "-q", "-f"]}[fs]
        try:
            tool(*make, *options, self.node)
            self.mount()
        except Wrong:
            self.remove()
            raise

    def table(self, kind):
        length, place = self.sectors, f"{UBD} {self.start}"
        return f"0 {length} " + {
            "whole": f"linear {place}",
            "forgets": f"flakey {place} 0 36000 1 drop_writes",
            "gone": "error",
            "dusty": f"dust {place} 512",
        }[kind]

    def becomes(self, kind):
        """Loads another table while the drive is in use, without a sync before it."""
        tool("dmsetup", "reload", self.name, "--table", self.table(kind))
        tool("dmsetup", "suspend", "--nolockfs", "--noflush", self.name)
        tool("dmsetup", "resume", self.name)
        if kind == "dusty":
            tool("dmsetup", "message", self.name, 0, "enable")

    def bad(self, path, offset):
        """Makes the sector unreadable that holds this byte of a file."""
        fd = os.open(path, os.O_RDONLY)
        try:
            block = struct.unpack("i", fcntl.ioctl(fd, 2, struct.pack("i", 0)))[0]
            at = struct.unpack("i", fcntl.ioctl(fd, 1, struct.pack("i", offset // block)))[0]
        finally:
            os.close(fd)
        if at == 0:
            raise Wrong(f"byte {offset} of {path} has no sector yet")
        # dm-dust counts from the beginning of its own device.
        sector = self.start + (at * block + offset % block) // 512
        tool("dmsetup", "message", self.name, 0, "addbadblock", sector)

    def mount(self, *options):
        if self.fs == "exfat":
            tool("mount.exfat-fuse", self.node, self.at, *options)
        else:
            # The options with which desktops mount such drives.
            usual = ["-o", "utf8=1,shortname=mixed,flush,errors=remount-ro"] if self.fs == "vfat" else []
            tool("mount", "-t", self.fs, *usual, *options, self.node, self.at)

    def unmount(self):
        for _ in range(100):
            if subprocess.run(["umount", self.at], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.05)
        tool("umount", self.at)

    def replug(self, check=True):
        """Unplugs the drive and plugs it in without faults. Checks its file system, as some systems do."""
        self.unmount()
        self.becomes("whole")
        Path("/proc/sys/vm/drop_caches").write_text("3")
        if check and self.fs in ("vfat", "ext4"):
            words = {"vfat": ["fsck.vfat", "-a"], "ext4": ["fsck.ext4", "-y"]}[self.fs]
            subprocess.run([*words, self.node], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.mount()

    def remove(self):
        subprocess.run(["umount", "-l", self.at], stderr=subprocess.DEVNULL)
        for _ in range(50):
            if subprocess.run(["dmsetup", "remove", self.name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.05)
        tool("dmsetup", "remove", "--force", self.name)

    def volumes(self):
        return sorted(self.at.glob("volume-*"))


class Lab:
    """The drives, sources and keys of one row."""

    def __init__(self, pouch, verbose, strict):
        self.pouch, self.verbose, self.strict, self.drives = pouch, verbose, strict, []
        shutil.rmtree(LAB, ignore_errors=True)
        self.source = LAB / "source"
        self.source.mkdir(parents=True)
        self.key = LAB / "key"
        self.recipient = self.run("keygen", "-o", self.key).ends(0).out.split()[0]

    def close(self):
        for drive in self.drives:
            drive.remove()
        shutil.rmtree(LAB, ignore_errors=True)

    def drive(self, *args, **kwargs):
        drive = Drive(len(self.drives), *args, **kwargs)
        self.drives.append(drive)
        return drive

    def two(self, fs):
        return [self.drive(fs), self.drive(fs)]

    def fill(self, megabytes=8, notes=30):
        """Makes sources that do not compress."""
        data = random.Random(1)
        (self.source / "notes").mkdir()
        (self.source / "clip.mov").write_bytes(data.randbytes(megabytes * 1_000_000))
        for at in range(notes):
            (self.source / "notes" / f"{at:03}").write_bytes(data.randbytes(at * 157))
        (self.source / "notes/link").symlink_to("007")

    def run(self, *words, when=None, then=None):
        """Runs the program. As soon as `when` holds, it is stopped, `then` is called, and it continues."""
        words = [self.pouch, *words]
        with open("/run/out", "w+") as out, open("/run/err", "w+") as err:
            child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            met, until = when is None, time.time() + 180
            while child.poll() is None:
                if not met and when():
                    child.send_signal(signal.SIGSTOP)
                    met = child.poll() is None
                    if met:
                        then()
                        child.send_signal(signal.SIGCONT)
                if time.time() > until:
                    child.kill()
                    child.wait()
                    raise Wrong(f"hangs: {' '.join(map(str, words))}")
                time.sleep(0.002 if not met else 0.02)
            out.seek(0), err.seek(0)
            done = Done(words, child.returncode, out.read(), err.read())
        if self.verbose:
            print(f"    {done.code}: {done}", end="", flush=True)
        if not met:
            raise Wrong(f"was through before the fault, ended with {done.code}: {done}")
        if done.code not in (0, 2, 3, 4, 5, 6, 7, 8) or "panicked" in done.said:
            raise Wrong(f"ended with {done.code}: {done}")
        if done.code not in (0, 3, 4) and "pouch: " not in done.err:
            raise Wrong(f"says no reason: {done}")
        return done

    def pack(self, drives, *more, **kwargs):
        outputs = [word for drive in drives for word in ("-o", getattr(drive, "at", drive))]
        return self.run("pack", self.source, "-r", self.recipient, "--verify", *more, *outputs, **kwargs)

    def check(self, drives):
        return self.run("check", *[getattr(drive, "at", drive) for drive in drives])

    def unpack(self, drives, out=None, *more, **kwargs):
        words = [getattr(drive, "at", drive) for drive in drives]
        return self.run("unpack", *words, "-i", self.key, "-o", out or LAB / "out", *more, **kwargs)

    def came_back(self, out=None):
        out = out or LAB / "out"
        done = subprocess.run(["diff", "-r", "--no-dereference", self.source, out / "source"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise Wrong(f"what came back is not what was packed:\n{done.stdout}")

    def is_whole(self, drives, *more):
        """Replugs all drives. Checks that `check` calls them whole, and that everything comes back."""
        for drive in drives:
            drive.replug(check=False)
        self.check(drives).ends(0)
        shutil.rmtree(LAB / "out", ignore_errors=True)
        self.unpack(drives, None, *more).ends(0)
        self.came_back()

    def is_complete_without(self, drives, done):
        """A packing that exited with 7 may have said that the bundle is complete without a drive, or although a drive
        did not keep everything at first. Then everything must come back from the volumes that look complete.
        Returns whether the packing said so."""
        if done.code != 7 or "written: " not in done.out:
            return False
        done.never_says(SAFE)
        for drive in drives:
            drive.replug(check=False)
        complete = [sums.parent for drive in drives for sums in drive.at.glob("volume-*/SHA256SUMS")]
        self.nothing_lies(drives)
        self.check(complete).ends(0)
        self.unpack(complete).ends(0)
        self.came_back()
        return True

    def goes_on_after(self, drives, which, done):
        """A packing that ended with 7 for one drive: all is there without it, or the same command goes on once it is
        plugged in again."""
        if self.is_complete_without(drives, done):
            return "held: 7, and all is there without it"
        drives[which].replug()
        self.nothing_lies(drives)
        return self.goes_on(drives)

    def goes_on(self, drives):
        """Repeats the same command until it succeeds, and in between does only what its hints say. Returns what
        was done."""
        done_by_hand, more = [], []
        for _ in range(5):
            done = self.pack(drives, *more)
            if self.strict:
                done.ends(0)
            if done.code == 0:
                done.says(SAFE)
                self.is_whole(drives)
                return f"held, after {' and '.join(done_by_hand)}" if done_by_hand else "held"
            found = re.search(r"hint: .*[Rr]emove (\S+?/volume-\d+)|hint: .*says that it was never finished, remove it", done.said)
            if done.code == 2 and found:
                folder = Path(found.group(1) or re.search(r"pouch: (\S+) exists already", done.said).group(1))
                self.run("check", folder).ends(3, 4)
                done_by_hand.append(f"removing {folder} by hand")
                if self.verbose:
                    print(indented(subprocess.run(["ls", "-la", folder], text=True, stdout=subprocess.PIPE).stdout), end="")
                shutil.rmtree(folder)
            elif "--restart" in done.said and not more:
                more, done_by_hand = ["--restart"], done_by_hand + ["--restart"]
            else:
                done.ends(0)
        raise Wrong(f"does not come to an end: {done}")

    def nothing_lies(self, drives):
        """Checks that every volume that looks complete on these drives is whole."""
        for sums in [sums for drive in drives for sums in drive.at.glob("volume-*/SHA256SUMS")]:
            done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=sums.parent, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode:
                raise Wrong(f"{sums.parent} looks complete and is not:\n{done.stdout}")

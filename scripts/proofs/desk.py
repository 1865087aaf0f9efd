"""A desk with a key, sources and three drives, with checks of what holds at any instant and after a successful run."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time

from proofs.program import POUCH, run

WAYS = [["--mend", "0"], [], ["--lose", "1"]]


def killed(words, after):
    """Starts a command and kills it after this many seconds. Returns whether it was still running."""
    child = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             stdin=subprocess.DEVNULL)
    time.sleep(after)
    child.kill()
    return child.wait() < 0


def listed(sums):
    """Sums and names of a SHA256SUMS, which must have lines."""
    lines = [line.split("  ", 1) for line in sums.read_text().splitlines()]
    if not lines:
        sys.exit(f"{sums} is empty")
    return lines


def sha256(path):
    """Returns `None` for a file that cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def difference(one, other):
    """Describes the first difference between two folders, if any: a name, a kind, a link, a content."""
    names, others = sorted(os.listdir(one)), sorted(os.listdir(other))
    if names != others:
        return f"{one} holds {names}, {other} {others}"
    for name in names:
        here, there = one / name, other / name
        kinds = [(path.is_symlink(), path.is_dir(), path.is_file()) for path in (here, there)]
        if kinds[0] != kinds[1]:
            return f"{here} and {there} are of different kinds"
        if here.is_symlink():
            differs = os.readlink(here) != os.readlink(there)
        elif here.is_dir():
            differs = difference(here, there)
        else:
            differs = here.read_bytes() != there.read_bytes()
        if differs:
            return differs if isinstance(differs, str) else f"{here} and {there} differ"
    return None


def clear(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


class Desk:
    def __init__(self, work, seed, megabytes=24, notes=150):
        self.work, self.source, self.out = work, work / "source", work / "out"
        (self.source / "notes").mkdir(parents=True)
        data = random.Random(seed)
        (self.source / "clip.mov").write_bytes(data.randbytes(megabytes * 1_000_000))
        for at in range(notes):
            (self.source / "notes" / f"{at:03}").write_bytes(data.randbytes(at * 157))
        (self.source / "link").symlink_to("notes/007")
        os.link(self.source / "notes/010", self.source / "again")
        os.chmod(self.source / "notes/009", 0o400)
        self.key = work / "key"
        self.recipient = run(POUCH, "keygen", "-o", self.key)[1].split()[0]
        self.drives = [work / f"drive-{at}" for at in (1, 2, 3)]
        for drive in self.drives:
            drive.mkdir()

    def pack(self, way):
        return [POUCH, "pack", self.source, "-r", self.recipient, *way, *(w for d in self.drives for w in ("-o", d))]

    def unpack(self, out=None):
        return [POUCH, "unpack", *self.drives, "-i", self.key, "-o", out or self.out]

    def repair(self, way):
        return [POUCH, "repair", *self.drives[:2], "-i", self.key, "-o", self.work / "new"]

    def no_volume_lies(self, folders):
        """Checks that every volume that looks complete is whole."""
        for folder in folders:
            for sums in folder.glob("volume-*/SHA256SUMS"):
                wrong = [name for sum, name in listed(sums) if sum != sha256(sums.parent / name)]
                if wrong:
                    sys.exit(f"{sums.parent} looks complete and is not: {wrong}")

    def no_file_lies(self):
        """Checks that every file in the output, outside the staging folder, is as it was packed."""
        for path in (self.out / "source").rglob("*"):
            if path.is_file() and not path.is_symlink():
                # Contents are always read: unpacking restores times, so stat cannot show a difference.
                if path.read_bytes() != (self.source / path.relative_to(self.out / "source")).read_bytes():
                    sys.exit(f"{path} differs from its source")

    def came_back(self, out):
        other = difference(self.source, out / "source")
        left = [path.name for path in out.iterdir() if path.name != "source"]
        if other or left:
            sys.exit(f"what came back is not what was packed: {other} {left}")


def converge(desk, words, finished):
    """Checks that the same command succeeds, or says that all is there if the last kill came too late."""
    code, said = run(*words)
    if code != (2 if finished else 0):
        sys.exit(f"{words[1]} ended with {code}:\n{said}")

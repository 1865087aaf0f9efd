"""Rows about whether a volume reveals when, and in which time zone, it was written."""

import shutil

from proofs.real_drives.lab import LAB, Wrong
from proofs.real_drives.register import row

TIME = 315_532_800  # 1980-01-01 00:00 UTC


def shows_nothing(volume, modes=True, off=0):
    """Checks that every file and the folder have the one mode, and the one time or one this many seconds later."""
    folder = volume.stat()
    for path in [volume, *sorted(volume.iterdir())]:
        stat = folder if path == volume else path.stat()
        if not 0 <= stat.st_mtime_ns - TIME * 1_000_000_000 <= off * 1_000_000_000:
            raise Wrong(f"{path} was written at {stat.st_mtime_ns / 1e9 - TIME} from the common time")
        if modes and stat.st_mode & 0o7777 != (0o755 if path == volume else 0o644):
            raise Wrong(f"{path} has mode {stat.st_mode:o}")


@row("vfat keeps nothing of the zone", short=True)
def zones(lab):
    """FAT keeps local time, which must be the same in every zone, also for loaded and resumed volumes."""
    lab.fill(2, 3)
    drive, stage = lab.drive("vfat"), LAB / "stage"
    stage.mkdir()
    lab.run("pack", lab.source, "-r", lab.recipient, "--volumes", "1", "--volume-size", "100MB", "-o", stage).ends(0)
    for minutes in (-720, -300, 0, 345, 840):
        for load in (False, True):
            drive.unmount()
            # Seconds to subtract for UTC: positive east of Greenwich.
            drive.mount("-o", f"time_offset={minutes}")
            if load:
                done = lab.run("load", stage / "volume-1", drive.at).ends(0)
            else:
                done = lab.pack([drive]).ends(0)
            done.never_says("shows when")
            drive.unmount()
            drive.mount("-o", "tz=UTC")
            shows_nothing(drive.at / "volume-1", modes=False)
            lab.check([drive]).ends(0)
            shutil.rmtree(drive.at / "volume-1")


def kept(lab, fs, megabytes):
    """Time and modes are still there after the drive was replugged."""
    lab.fill(2, 3)
    drive = lab.drive(fs, megabytes)
    lab.pack([drive]).ends(0).never_says("shows when")
    # West of Greenwich, exfat-fuse takes the first moment in local time.
    has = {"modes": False, "off": 86_400} if fs == "exfat" else {}
    shows_nothing(drive.at / "volume-1", **has)
    drive.replug(check=False)
    shows_nothing(drive.at / "volume-1", **has)


for fs, megabytes in (("ext4", 64), ("xfs", 320), ("exfat", 64)):
    row(f"{fs} keeps one time for all", short=fs == "ext4")(
        lambda lab, fs=fs, megabytes=megabytes: kept(lab, fs, megabytes))

"""The rows of the battery on real file systems. Other modules register theirs; this one runs them."""

import time
import traceback

from proofs.real_drives.lab import Lab, Wrong

ROWS = []


def row(name, short=False):
    """Registers a row of the battery; with `short`, also of its short form."""
    return lambda function: ROWS.append((name, short, function)) or function


def all_of(args):
    """Runs the chosen rows, each in a lab of its own. Returns 1 if any failed."""
    failed, begun = [], time.time()
    for name, short, function in ROWS:
        if args.only not in name or args.short and not short:
            continue
        at, lab = time.time(), None
        try:
            lab = Lab(args.pouch, args.verbose, args.strict)
            said = function(lab) or "held"
        except Wrong as wrong:
            said = f"DID NOT HOLD: {wrong}"
        except Exception:
            said = f"DID NOT HOLD: {traceback.format_exc()}"
        finally:
            if lab:
                try:
                    lab.close()
                except Wrong as wrong:
                    said = f"DID NOT HOLD: {wrong}"
        if "DID NOT HOLD" in said:
            failed.append(name)
        print(f"{name}: {said} ({time.time() - at:.0f} s)", flush=True)
    print(f"{len(failed)} rows did not hold; {time.time() - begun:.0f} s", flush=True)
    return 1 if failed else 0

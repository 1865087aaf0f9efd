//! The recipe of docs/FORMAT.md for opening a bundle without this program, literally.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::{Desk, Run, bash, volumes};

/// The recipe: $1 the tar, $2 the key, $3 a seal, then the drives.
pub const RECIPE: &str = r#"
TAR=$1 KEY=$2 SEAL=$3; shift 3
mkdir out; age -d -i "$KEY" "$SEAL" > b.key
find "$@" -name '[0-9]*.age' -printf '%f\t%p\n' | sort -u -k1,1 | cut -f2- | while IFS= read -r p; do
  age -d -i b.key "$p" > part && zstd -dqc part || echo "BAD $p" >&2
done | $TAR -C out -xkf -
cd out/bag && sha256sum -c manifest-sha256.txt; echo "manifest: $?"
test ! -f SHA256SUMS || sha256sum -c SHA256SUMS; echo "sums: $?"
"#;

/// Runs the recipe in a new folder; the bag is then in `out/bag` of it.
#[track_caller]
pub fn by_hand(desk: &Desk, tar: &str) -> (PathBuf, Run) {
    let work = tempfile::tempdir_in(desk.dir.path()).expect("a folder").keep();
    let drives = desk.drives();
    let first = volumes::files(&drives[0]).pop().expect("a volume");
    let (key, seal) = (desk.path("key"), first.join("seal.age"));
    let mut args = vec![OsStr::new(tar), key.as_os_str(), seal.as_os_str()];
    args.extend(drives.iter().map(|drive| drive.as_os_str()));
    let run = bash(RECIPE, &work, &args);
    (work.join("out/bag"), run)
}

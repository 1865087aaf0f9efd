//! The command line, whose help texts are the manual. Only this file uses `clap` and its companions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::base::size;
use crate::cli::exit::{Exit, HELP};
use crate::plan::choose::FingerprintStart;

/// Carries media hand to hand where no network may be used: packs files into sealed volumes on
/// drives, lets a courier verify them without a key, unpacks them whole from any drives in any
/// order.
#[derive(Debug, Parser)]
#[command(name = "pouch", version, after_help = HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key: writes an identity file, prints the recipient to give to senders
    Keygen(Keygen),
    /// Pack files and folders into sealed volumes on drives
    Pack(Pack),
    /// Verify volumes, without a key or with one
    Check(Check),
    /// Show what is inside without unpacking
    List(List),
    /// Verify and unpack, all or only the named files and folders
    Unpack(Unpack),
    /// Write volumes that are damaged or lost anew, whole, beside the old ones
    Repair(Repair),
    /// Copy a staged volume to its drive and read it back
    Load(Load),
    /// Practise the whole hand-off with a throw-away key, on samples or on SOURCE
    Rehearse(Rehearse),
    /// Print completions for a shell
    Completions(Completions),
    /// Write man pages into a folder
    Man(Man),
}

impl Command {
    /// Whether the command has to print a JSON document.
    pub(crate) fn json(&self) -> bool {
        match self {
            Command::Pack(args) => args.json.json,
            Command::Check(args) => args.json.json,
            Command::List(args) => args.json.json,
            Command::Unpack(args) => args.json.json,
            Command::Repair(args) => args.json.json,
            Command::Load(args) => args.json.json,
            Command::Keygen(_) | Command::Rehearse(_) | Command::Completions(_) | Command::Man(_) => false,
        }
    }
}

/// `pouch keygen`
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The identity file to write; it opens what is sealed to the recipient, so keep it safe
    #[arg(short, long, value_name = "FILE", default_value = "pouch.key")]
    pub(crate) output: PathBuf,
    /// Protect the identity file with a passphrase
    #[arg(long)]
    pub(crate) passphrase: bool,
    #[command(flatten)]
    pub(crate) fd: PassphraseFd,
}

/// Where a passphrase comes from if not from the terminal.
#[derive(Debug, Clone, Args)]
pub(crate) struct PassphraseFd {
    /// Read the passphrase from this file descriptor (its first line) instead of the terminal
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
}

/// `pouch pack`
#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// Files and folders; each is packed under its last name
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<PathBuf>,
    /// Who can open it: an age recipient (age1...); several times for several people
    #[arg(short, long = "recipient", value_name = "RECIPIENT")]
    pub(crate) recipients: Vec<String>,
    /// A file with recipients, one a line
    #[arg(short = 'R', long = "recipients-file", value_name = "FILE")]
    pub(crate) recipient_files: Vec<PathBuf>,
    /// Let a passphrase open it too
    #[arg(short, long)]
    pub(crate) passphrase: bool,
    #[command(flatten)]
    pub(crate) fd: PassphraseFd,
    /// A drive; once for each. The volume becomes VOLUME/volume-K
    #[arg(short, long = "output", value_name = "VOLUME", required = true)]
    pub(crate) outputs: Vec<PathBuf>,
    /// The most that a volume may take, such as 32GB or 14.5GiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) volume_size: Option<u64>,
    /// Stage so many volumes in the one folder given with -o, to be copied to drives later
    #[arg(long, value_name = "N", requires = "volume_size")]
    pub(crate) volumes: Option<u16>,
    /// Deal parts to all drives at once, or fill one drive after the other
    #[arg(long, value_enum, default_value_t = FillArg::Spread)]
    pub(crate) fill: FillArg,
    /// So many drives may be lost: the rest rebuilds what was on them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) lose: u16,
    /// Parity against bad sectors, in percent of the data (0: none); without this and --lose about 5 %
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) mend: Option<f64>,
    /// How hard to compress, by zstd's levels 1 to 19, instead of quickly and nearly as well as 3; footage is not
    /// compressed whatever the level
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) level: Option<i32>,
    /// Show the plan and stop
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Read everything back, past the system's cache, before the drives are called safe; done without being told for
    /// drives that can be pulled out
    #[arg(long, overrides_with = "no_verify")]
    pub(crate) verify: bool,
    /// Do not, whatever the drive
    #[arg(long, overrides_with = "verify")]
    pub(crate) no_verify: bool,
    /// Remove what an interrupted run left on these drives and begin anew, instead of going on from it
    #[arg(long)]
    pub(crate) restart: bool,
    /// Go on although a drive is gone that had a share already: pack that again, onto the drive in its place and the
    /// others
    #[arg(long)]
    pub(crate) replaced: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Reads `10%` or `10`, from 0 to 100.
fn percent(text: &str) -> Result<f64, String> {
    let number: f64 =
        text.strip_suffix('%').unwrap_or(text).trim().parse().map_err(|_| "it is no percentage, such as 10%")?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("0 to 100 percent are possible".into()) }
}

/// How drives are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FillArg {
    /// All at once, in proportion to their room: fastest
    Spread,
    /// One after the other: whole files stay together
    Sequential,
}

/// `--json`
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print the report as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// `pouch check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Drives, or the volumes' folders on them
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<PathBuf>,
    /// Wait until the drives were unplugged and plugged in again, then read past the system's cache: only this shows
    /// that the drives hold it, and not some memory
    #[arg(long)]
    pub(crate) after_replug: bool,
    /// An identity file that opens the bundle: opens every part, too, and says what else may be lost
    #[arg(short, long = "identity", value_name = "FILE")]
    pub(crate) identities: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) fd: PassphraseFd,
    #[command(flatten)]
    pub(crate) bundle: BundleChoice,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `--bundle`
#[derive(Debug, Clone, Args)]
pub(crate) struct BundleChoice {
    /// Which bundle, if there are several: its fingerprint, or the first 8 letters of it or more
    #[arg(long = "bundle", value_name = "FINGERPRINT", value_parser = FingerprintStart::parse)]
    pub(crate) fingerprint: Option<FingerprintStart>,
}

/// The keys to open a bundle with.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// An identity file; without one, the passphrase is asked for
    #[arg(short, long = "identity", value_name = "FILE")]
    pub(crate) identities: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) fd: PassphraseFd,
}

/// `pouch list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Drives, or the volumes' folders on them; one volume is enough
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) bundle: BundleChoice,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `pouch unpack`
#[derive(Debug, Args)]
pub(crate) struct Unpack {
    /// Drives, or the volumes' folders on them, in any order
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) bundle: BundleChoice,
    /// Where to; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Only this file or folder, as `pouch list` shows it; several times for several
    #[arg(long, value_name = "PATH")]
    pub(crate) only: Vec<OsString>,
    /// Replace files that exist in DIR
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Give other names to what DIR cannot hold as it was packed (and leave out what it cannot hold at all); a file in
    /// DIR says which
    #[arg(long)]
    pub(crate) rename: bool,
    /// Ask for the next drive at the terminal until all is there: for fewer ports than drives
    #[arg(long)]
    pub(crate) wait: bool,
    /// Do without head or list if all of them are lost or damaged: deliver what the parts still hold, and say what
    /// could not be proven
    #[arg(long, conflicts_with = "wait")]
    pub(crate) salvage: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `pouch repair`
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Drives, or the volumes' folders on them: all that there are
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) bundle: BundleChoice,
    /// The folder in which the new volumes are made
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Only say which volumes would be written
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `pouch load`
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The folder of a volume that was staged with `pouch pack --volumes`, or a folder with one volume in it
    #[arg(value_name = "STAGED_VOLUME")]
    pub(crate) staged: PathBuf,
    /// The drive; the volume becomes DRIVE/volume-K
    #[arg(value_name = "DRIVE")]
    pub(crate) drive: PathBuf,
    /// Remove the staged volume once its copy is verified
    #[arg(long = "move")]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `pouch rehearse`
#[derive(Debug, Args)]
pub(crate) struct Rehearse {
    /// What to practise on; samples in a temporary folder if not given
    #[arg(value_name = "SOURCE", requires = "output")]
    pub(crate) source: Option<PathBuf>,
    /// Where to leave volumes, key and what was unpacked
    #[arg(short, long, value_name = "DIR", requires = "source")]
    pub(crate) output: Option<PathBuf>,
}

/// `pouch completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    pub(crate) shell: clap_complete::Shell,
}

/// `pouch man`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to write into
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Parses the command line and prints help and errors. `Err` is the exit code, [`Exit::Ok`] after help.
pub(crate) fn parse() -> Result<Cli, Exit> {
    Cli::try_parse().map_err(|error| match error.print() {
        _ if error.use_stderr() => Exit::Usage,
        Ok(()) => Exit::Ok,
        Err(_) => Exit::Io,
    })
}

/// The script that completes the command line in a shell.
pub(crate) fn completions_for(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pouch", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Man pages with their names: first the program's, then one for each command.
pub(crate) fn man_pages() -> Vec<(String, Vec<u8>)> {
    let program = Cli::command();
    let commands: Vec<clap::Command> = program.get_subcommands().map(with_full_name).collect();
    std::iter::once(program).chain(commands).map(render_page).collect()
}

/// The command under the name of its page, `pouch-pack`, and the one that a person types, `pouch pack`.
fn with_full_name(command: &clap::Command) -> clap::Command {
    let name = format!("pouch-{}", command.get_name());
    let spoken = name.replacen('-', " ", 1);
    command.clone().name(name).bin_name(spoken)
}

/// The man page of a command, with its name.
fn render_page(command: clap::Command) -> (String, Vec<u8>) {
    let name = command.get_name().to_string();
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    let _ = clap_mangen::Man::new(command).render(&mut page);
    (name, page)
}

#[cfg(test)]
mod tests;

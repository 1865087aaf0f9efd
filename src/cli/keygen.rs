//! `pouch keygen`: makes a key for a receiver.

use crate::base::path::show;
use crate::cli::args::Keygen;
use crate::cli::exit::Exit;
use crate::cli::secrets::new_passphrase;
use crate::cli::term::Term;
use crate::flow::{FlowError, keys};

/// Writes an identity file. The recipient goes to standard output, alone, so that a script can use it. What the file is
/// for goes to standard error.
pub(crate) fn run(args: &Keygen, term: &Term) -> Result<Exit, FlowError> {
    let wanted = args.passphrase || args.fd.passphrase_fd.is_some();
    let passphrase = if wanted { Some(new_passphrase(&args.fd, term)?) } else { None };
    let recipient = keys::generate(&args.output, passphrase.as_ref())?;
    term.line(&recipient.to_string());
    let file = show(&args.output);
    term.say(&format!(
        "{file} opens what is sealed to this recipient: keep it safe, and keep a copy. Give the recipient to senders."
    ));
    Ok(Exit::Ok)
}

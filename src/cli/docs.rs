//! `pouch completions` and `pouch man`. Both are made from the definition of the command line itself.

use std::fs;

use crate::base::fault::At;
use crate::base::path::show;
use crate::cli::args::{Completions, Man, completions_for, man_pages};
use crate::cli::exit::Exit;
use crate::cli::term::Term;
use crate::flow::FlowError;

pub(crate) fn completions(args: &Completions, term: &Term) -> Result<Exit, FlowError> {
    term.out(&completions_for(args.shell));
    Ok(Exit::Ok)
}

/// Writes a man page for the program and one for each command, and prints their paths.
pub(crate) fn man(args: &Man, term: &Term) -> Result<Exit, FlowError> {
    fs::create_dir_all(&args.dir).at("create", &args.dir)?;
    for (name, page) in man_pages() {
        let path = args.dir.join(format!("{name}.1"));
        fs::write(&path, page).at("write", &path)?;
        term.line(&show(&path));
    }
    Ok(Exit::Ok)
}

//! Passphrases at the terminal, without an echo, or from files: never as an argument, which every process list shows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use outpost_control::{OfflineKeys, Passphrase, Passphrases};
use zeroize::Zeroizing;

/// Opens the keys of each directory; what the files do not open is asked for at the terminal, if there are no files.
pub(super) fn open(directories: &[PathBuf], files: &[PathBuf]) -> Result<Vec<OfflineKeys>> {
    let mut passphrases = at_hand(files)?;
    directories.iter().map(|directory| Ok(OfflineKeys::open(directory, &mut passphrases)?)).collect()
}

/// The passphrases in the files, or without files those that are typed when they are needed.
pub(super) fn at_hand(files: &[PathBuf]) -> Result<Passphrases<'static>> {
    if files.is_empty() {
        return Ok(Passphrases::asking(|path| typed(&format!("passphrase of `{}`: ", path.display()))));
    }
    Ok(Passphrases::given(files.iter().map(|path| Passphrase::read(path)).collect::<Result<_, _>>()?))
}

/// A new passphrase: from the file, or typed twice.
pub(super) fn new(file: Option<&Path>) -> Result<Passphrase> {
    let passphrase = match file {
        Some(file) => Passphrase::read(file)?,
        None => {
            let typed_once = typed("new passphrase: ").context("cannot ask for a passphrase")?;
            typed_once.check_length()?;
            let again = typed("the same again: ").context("cannot ask for a passphrase")?;
            ensure!(typed_once == again, "the two differ; nothing was changed");
            typed_once
        }
    };
    passphrase.check_length()?;
    Ok(passphrase)
}

fn typed(prompt: &str) -> std::io::Result<Passphrase> {
    let line = Zeroizing::new(rpassword::prompt_password(prompt)?);
    Passphrase::new(line).map_err(std::io::Error::other)
}

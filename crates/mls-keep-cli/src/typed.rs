//! Passphrases that are typed at a terminal.

use std::io::{self, IsTerminal, Write};

use mls_keep::ErrorKind;
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::words;

/// Whether what the passphrase opens is there, or is to be made.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Purpose {
    Open,
    Create,
}

/// Whether somebody is there who can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The passphrase of `what`, typed once, or a new one. `instead` names the options with which nobody is asked.
pub(crate) fn passphrase(what: &str, purpose: Purpose, instead: &str) -> Result<Zeroizing<String>> {
    let typed = match purpose {
        Purpose::Open => ask(&format!("Passphrase of the {what}: "), instead)?,
        Purpose::Create => chosen(what, instead)?,
    };
    if typed.is_empty() {
        return Err(Failure::new(ErrorKind::Invalid, "the passphrase is empty", "Type the passphrase."));
    }
    Ok(typed)
}

/// A passphrase of the user's, typed twice, or a generated one, typed once it is written down.
fn chosen(what: &str, instead: &str) -> Result<Zeroizing<String>> {
    let typed = ask(&format!("Passphrase for the {what} (empty: a generated one): "), instead)?;
    let words = if typed.is_empty() { words::passphrase()? } else { typed.clone() };
    if typed.is_empty() {
        // Only to a terminal, never to a file.
        let shown =
            writeln!(io::stderr(), "Write this down, without it the {what} is worth nothing:\n\n    {}\n", *words);
        shown.map_err(|error| Failure::stdout(&error))?;
    }
    if ask("The passphrase again: ", instead)? != words {
        let advice = "Nothing was written. Run the command again.";
        return Err(Failure::new(ErrorKind::Invalid, "the passphrases are not the same", advice));
    }
    Ok(words)
}

/// What is typed does not show.
fn ask(prompt: &str, instead: &str) -> Result<Zeroizing<String>> {
    let typed = rpassword::prompt_password(prompt);
    typed.map(Zeroizing::new).map_err(|error| {
        let what = format!("the terminal cannot be read: {error}");
        Failure::new(ErrorKind::Unavailable, what, format!("Say {instead}."))
    })
}

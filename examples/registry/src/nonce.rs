//! Texts nobody can guess: tokens, upload sessions, signatures of redirect URLs.

use std::io;

use crate::digest::hex;

/// 128 random bits in hex.
///
/// # Errors
///
/// If the operating system has no randomness to give.
pub(crate) fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hex(&bytes))
}

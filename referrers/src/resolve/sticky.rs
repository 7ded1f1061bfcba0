//! Sticky choices: what was chosen before is chosen again.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Digest, Error, ErrorKind, Repository, Result};

/// Remembers which accelerated image was chosen for a base image, so that a newly pushed one changes
/// nothing for hosts that run the image already.
///
/// A choice is kept until its image disappears or fails a check. With a file it outlives the process; the
/// file is replaced as a whole, so that a crash leaves the old or the new one.
///
/// A line of the file is a repository, the digest of the base image's manifest and that of the accelerated
/// image.
///
/// ```
/// use referrers::{Digest, Repository, Sticky};
///
/// let (base, accelerated) = (Digest::sha256_of(b"base"), Digest::sha256_of(b"accelerated"));
/// let repository = Repository::new("registry.example.com", "shop/api")?;
/// let sticky = Sticky::in_memory();
/// sticky.keep(&repository, &base, &accelerated)?;
/// assert_eq!(sticky.kept(&repository, &base), Some(accelerated));
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug)]
pub struct Sticky {
    file: Option<PathBuf>,
    kept: Mutex<Kept>,
}

type Kept = BTreeMap<(Repository, Digest), Digest>;

impl Sticky {
    /// Remembers for as long as the process lives.
    pub fn in_memory() -> Self {
        Self { file: None, kept: Mutex::default() }
    }

    /// Remembers in the file at `path`, which need not exist yet; its directory must.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it exists and cannot be read, [`ErrorKind::Invalid`] if it is something else.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let kept = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text, &path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::new(),
            Err(error) => return Err(failed(&path, error)),
        };
        Ok(Self { file: Some(path), kept: Mutex::new(kept) })
    }

    /// What was chosen for `base`.
    pub fn kept(&self, repository: &Repository, base: &Digest) -> Option<Digest> {
        self.lock().get(&(repository.clone(), base.clone())).cloned()
    }

    /// Remembers a choice.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if the file cannot be replaced; the choice is remembered until the process ends.
    pub fn keep(&self, repository: &Repository, base: &Digest, accelerated: &Digest) -> Result<()> {
        let mut kept = self.lock();
        let key = (repository.clone(), base.clone());
        if kept.get(&key) == Some(accelerated) {
            return Ok(());
        }
        if kept.len() >= MAX_KEPT && !kept.contains_key(&key) {
            kept.pop_first();
        }
        kept.insert(key, accelerated.clone());
        self.write(&kept)
    }

    /// Forgets what was chosen for `base`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if the file cannot be replaced.
    pub fn forget(&self, repository: &Repository, base: &Digest) -> Result<()> {
        let mut kept = self.lock();
        match kept.remove(&(repository.clone(), base.clone())) {
            Some(_) => self.write(&kept),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes beside the file and renames, while the lock is held so that writers keep their order.
    fn write(&self, kept: &Kept) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let written = std::fs::File::create(&beside).and_then(|file| {
            let mut file = BufWriter::new(file);
            for ((repository, base), accelerated) in kept {
                writeln!(file, "{repository} {base} {accelerated}")?;
            }
            file.into_inner()?.sync_all()
        });
        written.and_then(|()| std::fs::rename(&beside, path)).map_err(|error| failed(path, error))
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::File { what: "file of sticky choices" }, path.display().to_string()).because(error)
}

fn parse(text: &str, path: &Path) -> Result<Kept> {
    let mut kept = Kept::new();
    for (number, line) in (1u32..).zip(text.lines()) {
        let at = || format!("{}, line {number}", path.display());
        let invalid = || Error::invalid("sticky choice", &at(), "it is not a repository and two digests");
        let mut words = line.split(' ');
        let (Some(name), Some(base), Some(accelerated), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(invalid());
        };
        let (host, path) = name.split_once('/').ok_or_else(invalid)?;
        let repository = Repository::new(host, path).map_err(|e| invalid().because(e))?;
        let digest = |text: &str| text.parse::<Digest>().map_err(|e| invalid().because(e));
        if kept.len() < MAX_KEPT {
            kept.insert((repository, digest(base)?), digest(accelerated)?);
        }
    }
    Ok(kept)
}

/// More images than a host runs in its life.
const MAX_KEPT: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_outlive_the_process_with_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sticky");
        let repository = Repository::new("h.io:5000", "a/b").unwrap();
        let [base, old, new] = [b"base", b"old ", b"new "].map(|name| Digest::sha256_of(name));
        Sticky::open(&path).unwrap().keep(&repository, &base, &old).unwrap();
        let sticky = Sticky::open(&path).unwrap();
        assert_eq!(sticky.kept(&repository, &base), Some(old));
        assert_eq!(sticky.kept(&Repository::new("h.io", "a/b").unwrap(), &base), None);
        sticky.keep(&repository, &base, &new).unwrap();
        assert_eq!(Sticky::open(&path).unwrap().kept(&repository, &base), Some(new));
        sticky.forget(&repository, &base).unwrap();
        assert_eq!(Sticky::open(&path).unwrap().kept(&repository, &base), None);
    }

    #[test]
    fn only_a_further_image_takes_the_place_of_another() {
        let repository = Repository::new("h.io", "a").unwrap();
        let digest = |number: usize| Digest::sha256_of(&number.to_le_bytes());
        let sticky = Sticky::in_memory();
        for number in 0..MAX_KEPT {
            sticky.keep(&repository, &digest(number), &digest(0)).unwrap();
        }
        sticky.keep(&repository, &digest(0), &digest(1)).unwrap();
        assert!((0..MAX_KEPT).all(|number| sticky.kept(&repository, &digest(number)).is_some()));
        sticky.keep(&repository, &digest(MAX_KEPT), &digest(0)).unwrap();
        assert_eq!(sticky.lock().len(), MAX_KEPT);
    }

    #[test]
    fn a_broken_file_is_reported_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sticky");
        let digest = Digest::sha256_of(b"");
        for line in ["x", "h.io/a b c", &format!("h.io/a {digest} {digest} {digest}")] {
            std::fs::write(&path, format!("h.io/a {digest} {digest}\n{line}\n")).unwrap();
            let error = Sticky::open(&path).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
    }
}

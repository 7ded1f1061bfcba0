//! A named subset of the Rust toolchain: a real tree of a size worth loading lazily, which everyone
//! who can build this project has.
//!
//! ```text
//! layer 1  standard library    lib/rustlib/<host>/lib/*.rlib, *.rmeta, *.so
//! layer 2  code generation     lib/libLLVM*.so*
//! layer 3  compiler            lib/librustc_driver-*.so, bin/rustc
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::tree::{SourceFile, Tree, TreeLayer};

/// An installed toolchain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    sysroot: PathBuf,
    host: String,
}

impl Toolchain {
    /// Asks the `rustc` of the environment (`RUSTC`, or the one on the path) where it is installed.
    ///
    /// # Errors
    ///
    /// If it cannot be run or its answer is not understood.
    pub fn find() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let sysroot = ask(&rustc, &["--print", "sysroot"])?;
        let version = ask(&rustc, &["--version", "--verbose"])?;
        let Some(host) = version.lines().find_map(|line| line.strip_prefix("host: ")) else {
            bail!("{} does not name its host in --version --verbose", rustc.display());
        };
        Ok(Self { sysroot: PathBuf::from(sysroot.trim()), host: host.to_owned() })
    }

    /// The subset, as a tree of three layers.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read or a layer would be empty.
    pub fn tree(&self) -> Result<Tree> {
        let rustlib = format!("lib/rustlib/{}/lib", self.host);
        let standard_library =
            self.matching(&rustlib, |name| [".rlib", ".rmeta", ".so"].iter().any(|end| name.ends_with(end)))?;
        let code_generation = self.matching("lib", |name| name.starts_with("libLLVM"))?;
        let mut compiler = self.matching("bin", |name| name == "rustc")?;
        compiler.extend(self.matching("lib", |name| name.starts_with("librustc_driver-"))?);

        let layers = [
            ("standard library", standard_library),
            ("code generation", code_generation),
            ("compiler", compiler),
        ];
        for (name, files) in &layers {
            ensure!(
                !files.is_empty(),
                "no files for the layer \"{name}\" in {}; give another tree with --tree",
                self.sysroot.display()
            );
        }
        Tree::of_layers(
            layers.into_iter().map(|(name, files)| TreeLayer { name: name.to_owned(), files }).collect(),
        )
    }

    fn matching(&self, directory: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<SourceFile>> {
        let at = self.sysroot.join(directory);
        let mut files = Vec::new();
        for entry in at.read_dir().with_context(|| format!("reading {}", at.display()))? {
            let source = entry.with_context(|| format!("reading {}", at.display()))?.path();
            if let Some(name) = source.file_name().and_then(|name| name.to_str())
                && wanted(name)
                && is_file(&source)
            {
                files.push(SourceFile::new(format!("{directory}/{name}"), &source)?);
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

/// Whether the path names a file, also through a symbolic link: distributions keep the code
/// generation library elsewhere and link to it.
fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn ask(rustc: &OsString, arguments: &[&str]) -> Result<String> {
    let output = Command::new(rustc)
        .args(arguments)
        .output()
        .with_context(|| format!("running {}", rustc.display()))?;
    ensure!(output.status.success(), "{} {} failed: {}", rustc.display(), arguments.join(" "), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("reading what {} says", rustc.display()))
}

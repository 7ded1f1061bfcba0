//! The application: a compiler that runs out of a directory.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// A start of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The one that is measured: the version, and a program that is compiled.
    Measured,
    /// Another one, to record a profile on: a library with generics and traits.
    Other,
}

impl Start {
    /// Starts the compiler of `root`, and gives the seconds until its work was done and found right.
    pub(super) async fn run(self, root: &Path) -> Result<f64> {
        let begun = Instant::now();
        let rustc = root.join("bin/rustc");
        let version = output(Command::new(&rustc).arg("--version")).await?;
        ensure!(version.starts_with("rustc "), "the compiler says {version}");
        let directory = tempfile::tempdir()?;
        let source = directory.path().join("source.rs");
        std::fs::write(&source, self.source())?;
        let made = directory.path().join("made");
        let mut compile = Command::new(&rustc);
        compile.arg("--sysroot").arg(root).args(["--emit=obj", "--crate-type", self.crate_type()]);
        output(compile.arg("-o").arg(&made).arg(&source)).await?;
        let object = std::fs::read(&made).with_context(|| made.display().to_string())?;
        ensure!(object.starts_with(b"\x7fELF"), "the compiler made no object");
        Ok(begun.elapsed().as_secs_f64())
    }

    fn crate_type(self) -> &'static str {
        match self {
            Self::Measured => "bin",
            Self::Other => "lib",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Measured => "fn main() { println!(\"a cold {}\", \"start\"); }\n",
            Self::Other => {
                "use std::collections::BTreeMap;\n\
                 #[no_mangle]\n\
                 pub extern \"C\" fn count(n: u32) -> usize {\n\
                     let words: BTreeMap<String, u32> = (0..n).map(|n| (format!(\"{n:x}\"), n)).collect();\n\
                     words.keys().filter(|word| word.ends_with('f')).count()\n\
                 }\n"
            }
        }
    }
}

async fn output(command: &mut Command) -> Result<String> {
    let name = command.as_std().get_program().display().to_string();
    let output = command.output().await.with_context(|| format!("running {name}"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

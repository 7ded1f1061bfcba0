//! Running a program that gives out secrets: for a limited time, with a limited answer, and to its end.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::{Error, ErrorKind, Result};

/// What a program answered.
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    /// May hold secrets.
    pub(crate) stdout: Vec<u8>,
}

/// Runs `command` with `input`.
///
/// Its standard error goes nowhere, because nobody can tell what a helper writes there.
///
/// # Errors
///
/// [`ErrorKind::Credentials`] if it cannot be run, [`ErrorKind::Timeout`] after 10 s, [`ErrorKind::Limit`]
/// for more than 1 MiB. It is dead then, with all that it started.
pub(crate) async fn run(program: &Path, mut command: Command, input: &[u8]) -> Result<Answer> {
    let place = program.display().to_string();
    let failed = |error| Error::new(ErrorKind::Credentials, place.clone()).because(error);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut group = Group(command.spawn().map_err(failed)?);
    let conversation = async {
        if let Some(mut stdin) = group.0.stdin.take() {
            // A program that does not want to know what it is asked answers all the same.
            let _ = stdin.write_all(input).await;
        }
        let mut stdout = Vec::new();
        if let Some(pipe) = group.0.stdout.take() {
            pipe.take(MAX_ANSWER.saturating_add(1)).read_to_end(&mut stdout).await.map_err(failed)?;
        }
        if stdout.len() as u64 > MAX_ANSWER {
            let kind = ErrorKind::Limit { what: "helper's answer in bytes", limit: MAX_ANSWER };
            return Err(Error::new(kind, place.clone()));
        }
        let status = group.0.wait().await.map_err(failed)?;
        Ok(Answer { status, stdout })
    };
    match tokio::time::timeout(TIME_LIMIT, conversation).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(ErrorKind::Timeout { after: TIME_LIMIT }, place.clone())),
    }
}

/// A program and what it has started, which do not outlive the call.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Without an id the program has ended; what it left behind is its own doing then.
        #[cfg(unix)]
        if let Some(pid) =
            self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// As long as a person would wait for a login.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const MAX_ANSWER: u64 = 1 << 20;

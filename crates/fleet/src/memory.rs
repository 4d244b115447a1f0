//! What programs said about their version, remembered by their time of change, so that a start asks none of them twice.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const FILE: &str = "programs.json";
/// Long enough for a cold disk, short enough for a wrapper that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers of earlier runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    answers: BTreeMap<PathBuf, (String, Value)>,
    #[serde(skip)]
    changed: bool,
}

impl Memory {
    pub(crate) fn load(cache: &Path) -> Self {
        let text = std::fs::read(cache.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// What the program at `path` said, if it has not changed since.
    pub(crate) fn recall<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let (stamped, answer) = self.answers.get(path)?;
        (*stamped == stamp(path)?).then(|| serde_json::from_value(answer.clone()).ok()).flatten()
    }

    pub(crate) fn keep<T: Serialize>(&mut self, path: &Path, answer: &T) {
        if let (Some(stamp), Ok(answer)) = (stamp(path), serde_json::to_value(answer)) {
            self.answers.insert(path.to_owned(), (stamp, answer));
            self.changed = true;
        }
    }

    /// Best effort: without it the next start asks again.
    pub(crate) fn store(&self, cache: &Path) {
        let file = cache.join(FILE);
        let fresh = file.with_extension(format!("new-{}-{:?}", std::process::id(), std::thread::current().id()));
        if self.changed
            && let Ok(text) = serde_json::to_vec(self)
            && std::fs::write(&fresh, text).is_ok()
        {
            let _ = std::fs::rename(fresh, file);
        }
    }
}

/// When the file was last changed; of a link, its target.
fn stamp(path: &Path) -> Option<String> {
    let changed = std::fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(changed.as_nanos().to_string())
}

/// Starts a program and returns what it prints.
pub(crate) fn listen(path: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("does not answer".into());
            }
        }
    };
    let mut bytes = Vec::new();
    // A child of the program may hold the pipe open forever; what it printed until now is enough.
    let read = child.stdout.take().map(|pipe| pipe.take(4096).read_to_end(&mut bytes));
    if !status.success() || !matches!(read, Some(Ok(_))) {
        return Err(format!("does not run: {}", crate::life::describe(status)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

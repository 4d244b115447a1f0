//! Where an app's messages lie: `ID.eml` as it travels, `ID.json` what is known of it, `queue/ID` while something is still to be done. Each file is written
//! whole and flushed before the next; `ID.json` makes a message exist.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Messages of an app that are kept; older ones go, unless something is still to be done with them.
const KEPT: usize = 1000;
/// After so many messages the old ones are looked for.
const TIDY: u64 = 64;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The app sent it.
    Out,
    /// It is for the app.
    In,
    /// What the app sent could not be delivered.
    Bounce,
}

/// What has come of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is to be delivered.
    Queued,
    /// It stays here: there is nobody to deliver it.
    Kept,
    /// It is delivered.
    Delivered,
    /// It was refused, or nobody took it in time.
    Failed,
}

/// What is known of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slip {
    /// Its name here; newer ones are greater.
    pub id: String,
    /// Which way it goes.
    pub way: Way,
    /// What has come of it.
    pub state: State,
    /// When it came, in milliseconds of the epoch.
    pub time: u64,
    /// Who sent it.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// Who has still to get it.
    #[serde(default)]
    pub pending: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its bytes.
    pub size: u64,
    /// How often it was tried.
    #[serde(default)]
    pub tries: u32,
    /// When it is tried again, in milliseconds of the epoch.
    #[serde(default)]
    pub next: u64,
    /// What was said the last time.
    #[serde(default)]
    pub note: String,
    /// For a bounce, the message that it is about.
    #[serde(default)]
    pub about: Option<String>,
}

/// An app's messages. Everything in here blocks.
#[derive(Debug, Clone)]
pub struct Drawer {
    folder: PathBuf,
}

/// Messages that were put away.
static PUT: AtomicU64 = AtomicU64::new(0);

/// Names that no other process draws.
pub fn fresh_id() -> String {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    format!("{:013}-{:x}-{:x}", now(), std::process::id(), DRAWN.fetch_add(1, Ordering::Relaxed))
}

/// Milliseconds of the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| u64::try_from(past.as_millis()).unwrap_or(u64::MAX))
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() < 80 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl Drawer {
    /// In this folder, which is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Puts a message in; afterwards it survives whatever happens.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, slip: &Slip, message: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(self.queue())?;
        write(&self.path(&slip.id, "eml"), message)?;
        if slip.state == State::Queued {
            write(&self.queue().join(&slip.id), b"")?;
        }
        self.note(slip)?;
        if PUT.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDY) {
            let _ = self.tidy();
        }
        Ok(())
    }

    /// Writes down what has come of a message.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note(&self, slip: &Slip) -> io::Result<()> {
        write(&self.path(&slip.id, "json"), &serde_json::to_vec(slip)?)?;
        if slip.state != State::Queued {
            match std::fs::remove_file(self.queue().join(&slip.id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync(&self.folder)
    }

    /// What is known of a message.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn slip(&self, id: &str) -> io::Result<Option<Slip>> {
        if !is_id(id) {
            return Ok(None);
        }
        match std::fs::read(self.path(id, "json")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A message as it travels.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn message(&self, id: &str) -> io::Result<Vec<u8>> {
        if is_id(id) { std::fs::read(self.path(id, "eml")) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Names of messages with which something is to be done. What is not, though its mark says so, loses the mark.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn queued(&self) -> io::Result<Vec<Slip>> {
        let mut found = Vec::new();
        for id in names(&self.queue())? {
            match self.slip(&id) {
                Ok(Some(slip)) if slip.state == State::Queued => found.push(slip),
                // Somebody may be about to write the slip.
                Ok(None) => {}
                _ => {
                    let _ = std::fs::remove_file(self.queue().join(&id));
                }
            }
        }
        Ok(found)
    }

    /// The newest messages before `before`, newest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self, most: usize, before: Option<&str>) -> io::Result<Vec<Slip>> {
        let mut ids = self.ids()?;
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let older = ids.into_iter().filter(|id| before.is_none_or(|before| id.as_str() < before));
        Ok(older.filter_map(|id| self.slip(&id).ok().flatten()).take(most).collect())
    }

    /// Takes all messages away.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn clear(&self) -> io::Result<()> {
        for id in self.ids()? {
            self.remove(&id);
        }
        Ok(())
    }

    fn tidy(&self) -> io::Result<()> {
        let mut ids = self.ids()?;
        ids.sort_unstable();
        let surplus = ids.len().saturating_sub(KEPT);
        for id in &ids[..surplus] {
            if self.slip(id).is_ok_and(|slip| slip.is_none_or(|slip| slip.state != State::Queued)) {
                self.remove(id);
            }
        }
        Ok(())
    }

    fn remove(&self, id: &str) {
        // The slip last: while it is there, the rest can be found again.
        let _ = std::fs::remove_file(self.queue().join(id));
        let _ = std::fs::remove_file(self.path(id, "eml"));
        let _ = std::fs::remove_file(self.path(id, "json"));
    }

    fn ids(&self) -> io::Result<Vec<String>> {
        Ok(names(&self.folder)?.into_iter().filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect())
    }

    fn queue(&self) -> PathBuf {
        self.folder.join("queue")
    }

    fn path(&self, id: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

fn sync(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slip(state: State) -> Slip {
        Slip {
            id: fresh_id(),
            way: Way::Out,
            state,
            time: now(),
            from: "a@b".into(),
            to: vec!["c@d".into()],
            pending: vec!["c@d".into()],
            subject: "Hello".into(),
            size: 4,
            tries: 0,
            next: 0,
            note: String::new(),
            about: None,
        }
    }

    #[test]
    fn s4_messages_are_kept_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let drawer = Drawer::new(folder.path().join("mail"));
        assert!(drawer.list(9, None).expect("read").is_empty() && drawer.queued().expect("read").is_empty());
        let (mut first, second) = (slip(State::Queued), slip(State::Kept));
        drawer.put(&first, b"text").expect("put");
        drawer.put(&second, b"more").expect("put");
        assert_eq!(drawer.queued().expect("read"), [first.clone()]);
        assert_eq!(drawer.list(9, None).expect("read"), [second.clone(), first.clone()]);
        assert_eq!(drawer.list(9, Some(&second.id)).expect("read"), [first.clone()]);
        assert_eq!(drawer.message(&first.id).expect("read"), b"text");
        first.state = State::Delivered;
        drawer.note(&first).expect("noted");
        assert!(drawer.queued().expect("read").is_empty());
        assert_eq!(drawer.slip(&first.id).expect("read"), Some(first));
        for bad in ["../x", "", "a/b", "nothing"] {
            assert!(drawer.slip(bad).expect("read").is_none() && drawer.message(bad).is_err(), "{bad}");
        }
        drawer.clear().expect("cleared");
        assert!(drawer.list(9, None).expect("read").is_empty());
    }

    #[test]
    fn s4_a_mark_that_outlived_its_message_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let drawer = Drawer::new(folder.path().to_owned());
        let done = slip(State::Delivered);
        drawer.put(&done, b"text").expect("put");
        std::fs::write(folder.path().join("queue").join(&done.id), b"").expect("written");
        assert!(drawer.queued().expect("read").is_empty());
        assert!(!folder.path().join("queue").join(&done.id).is_file());
    }
}

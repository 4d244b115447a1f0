//! What instances find in `/etc/hosts`: what the machine has there, and the names of the app's own hosts, most of which no name server knows
//! (`v1.api.localhost`). One file for all instances of an app, changed in place while they run: programs read it at every look-up.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The file.
pub(crate) struct Names {
    file: PathBuf,
    /// Google's names, which come first.
    google: String,
    /// The file of those who ask Google's Admin API, and the line that they have besides.
    admin: Option<(PathBuf, String)>,
    /// What stands in it.
    written: Mutex<String>,
}

impl Names {
    /// A file in a folder of our own. If it cannot be written, instances see the machine's.
    pub(crate) fn new(folder: &Path, google: &[String], admin: Option<String>) -> Self {
        let google = google.iter().fold(String::new(), |all, line| all + line + "\n");
        let admin = admin.map(|line| (folder.join("hosts-admin"), line + "\n"));
        let names = Self { file: folder.join("hosts"), google, admin, written: Mutex::default() };
        names.set(IpAddr::from([127, 0, 0, 1]), &[]);
        names
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The file of those who ask Google's Admin API.
    pub(crate) fn admin_file(&self) -> &Path {
        self.admin.as_ref().map_or(&self.file, |(file, _)| file)
    }

    /// These names lead to `address`.
    pub(crate) fn set(&self, address: IpAddr, names: &[String]) {
        let mut text = self.google.clone() + &std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        // Few on a line: some resolvers cut long ones.
        for some in names.chunks(8) {
            let _ = writeln!(text, "{address} {}", some.join(" "));
        }
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *written != text {
            let more = self.admin.iter().map(|(file, line)| (file, line.clone() + &text));
            for (file, text) in std::iter::once((&self.file, text.clone())).chain(more) {
                if let Err(error) = write(file, &text) {
                    tracing::warn!("{} cannot be written: {error}", file.display());
                }
            }
            *written = text;
        }
    }
}

/// In place: instances have this very file before their eyes. Whoever reads meanwhile sees what the machine has in any case.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(file)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m2_names_are_changed_in_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = Names::new(folder.path(), &[], Some("127.64.0.1 appengine.googleapis.com".into()));
        let before = std::fs::File::open(names.file()).expect("there");
        names.set("127.0.0.1".parse().expect("an address"), &["v1.api.localhost".to_owned(), "api.localhost".to_owned()]);
        names.set("127.0.0.1".parse().expect("an address"), &["api.localhost".to_owned()]);
        let text = io::read_to_string(before).expect("read");
        assert!(text.ends_with("127.0.0.1 api.localhost\n") && !text.contains("v1.api"), "{text}");
        let admin = std::fs::read_to_string(names.admin_file()).expect("read");
        assert_eq!(admin, format!("127.64.0.1 appengine.googleapis.com\n{text}"));
    }
}

//! Apps for tests: a temporary folder and the files in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

/// A folder with an app, removed with the last clone; a node that serves it holds one.
#[derive(Clone)]
pub struct App {
    folder: Arc<TempDir>,
}

impl App {
    /// An empty folder.
    #[allow(clippy::new_without_default, reason = "it creates a folder, which `default` should not")]
    pub fn new() -> Self {
        Self { folder: Arc::new(tempfile::Builder::new().prefix("enginehouse-app-").tempdir().expect("a temporary folder")) }
    }

    /// A folder with this app.yaml.
    pub fn with_yaml(yaml: &str) -> Self {
        Self::new().file("app.yaml", yaml)
    }

    /// A copy of a folder.
    pub fn copy_of(source: &Path) -> Self {
        let app = Self::new();
        copy(source, app.path());
        app
    }

    /// Adds or replaces a file.
    #[must_use]
    pub fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        self.write(name, text);
        self
    }

    /// Adds or replaces a file, in one step as editors do it, so that no reader sees half of it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        let parent = path.parent().expect("a file has a folder");
        std::fs::create_dir_all(parent).expect("folder is created");
        let draft = tempfile::Builder::new().prefix(".draft-").tempfile_in(parent).expect("a draft");
        std::fs::write(draft.path(), text).expect("file is written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(draft.path(), mode).expect("mode is set");
        draft.persist(&path).expect("file is put in place");
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).expect("file is removed");
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the app, whether it exists or not.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn copy(source: &Path, target: &Path) {
    std::fs::create_dir_all(target).expect("folder is created");
    for entry in std::fs::read_dir(source).expect("folder is readable") {
        let entry = entry.expect("entry is readable");
        let to = target.join(entry.file_name());
        if entry.file_type().expect("type is known").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("file is copied");
        }
    }
}

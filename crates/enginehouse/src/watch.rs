//! Watches the files of the app with the system's own notification. Which files count is decided by a [`Scope`]; what a change means, elsewhere.
//!
//! Directories are watched one by one rather than recursively, so that `node_modules` and virtual environments cost nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use model::config::SkipFiles;
use model::pattern::Pattern;
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::UnboundedSender;

/// A change is reported once nothing more has happened for this long: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(60);
/// …but after this long in any case.
const LATEST: Duration = Duration::from_secs(1);
/// Folders that never hold what an app serves or runs.
const IGNORED: [&str; 7] = [".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox"];
/// Most folders that are watched, below the kernel's usual limit of 8192 per user.
const MOST_FOLDERS: usize = 6_000;

/// What is watched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// The app folders, with what each leaves out. Services may share a folder: a file counts if one of them wants it.
    pub(crate) roots: Vec<(PathBuf, SkipFiles)>,
    /// Configuration files, which count wherever they are and whatever `skip_files` says.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Files whose absolute paths match from their beginning do not count.
    pub(crate) unwatched: Option<Pattern>,
}

impl Scope {
    /// Whether a change of `path` matters.
    pub(crate) fn wants(&self, path: &Path) -> bool {
        let unwatched = |pattern: &Pattern| pattern.try_match(path.as_os_str().as_encoded_bytes()).unwrap_or(false);
        if self.unwatched.as_ref().is_some_and(unwatched) {
            return false;
        }
        self.files.contains(path) || self.roots.iter().any(|(root, skip)| wanted_below(root, skip, path))
    }
}

fn wanted_below(root: &Path, skip: &SkipFiles, path: &Path) -> bool {
    let Ok(relative) = path.strip_prefix(root) else { return false };
    let Some(text) = relative.to_str() else { return false };
    let compiled = relative.extension().is_some_and(|kind| kind == "pyc" || kind == "pyo");
    let ignored = relative.components().any(|part| IGNORED.iter().any(|name| part.as_os_str() == *name));
    if compiled || ignored || (!text.is_empty() && skip.skips(text)) {
        return false;
    }
    // A virtual environment says so in a file of its own.
    let mut folder = root.to_path_buf();
    relative.parent().into_iter().flat_map(Path::components).all(|part| {
        folder.push(part);
        !is_virtual_environment(&folder)
    })
}

fn is_virtual_environment(folder: &Path) -> bool {
    std::fs::metadata(folder.join("pyvenv.cfg")).is_ok_and(|found| found.is_file())
}

enum Message {
    Event(notify::Result<Event>),
    Scope(Scope),
    Close,
}

/// The running watcher. Dropping it ends its thread.
pub(crate) struct Watcher {
    inbox: Sender<Message>,
}

impl Watcher {
    /// Starts to watch; each settled set of changed files goes to `changes`. Also tells whether every folder is watched.
    pub(crate) fn start(scope: Scope, changes: UnboundedSender<BTreeSet<PathBuf>>) -> anyhow::Result<(Self, bool)> {
        let (inbox, messages) = channel();
        let events = inbox.clone();
        let system = notify::recommended_watcher(move |event| {
            let _ = events.send(Message::Event(event));
        })
        .context("the system's file notification cannot be used")?;
        let mut eyes = Eyes { system, folders: BTreeSet::new(), scope: Scope::default(), whole: true };
        eyes.look_at(scope);
        let whole = eyes.whole;
        std::thread::Builder::new().name("watch".into()).spawn(move || eyes.run(&messages, &changes)).context("cannot start a thread")?;
        Ok((Self { inbox }, whole))
    }

    /// Watches something else from now on.
    pub(crate) fn look_at(&self, scope: Scope) {
        let _ = self.inbox.send(Message::Scope(scope));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.inbox.send(Message::Close);
    }
}

struct Eyes {
    system: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    scope: Scope,
    /// No folder had to be left out because of a limit.
    whole: bool,
}

impl Eyes {
    fn run(mut self, messages: &Receiver<Message>, changes: &UnboundedSender<BTreeSet<PathBuf>>) {
        let mut seen = BTreeSet::new();
        let mut since: Option<Instant> = None;
        loop {
            let message = match since {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(first) => messages.recv_timeout(QUIET.min(LATEST.saturating_sub(first.elapsed()))),
            };
            match message {
                Ok(Message::Scope(scope)) => self.look_at(scope),
                Ok(Message::Event(Ok(event))) => {
                    for path in self.sift(event) {
                        seen.insert(path);
                        since.get_or_insert_with(Instant::now);
                    }
                }
                Ok(Message::Event(Err(_))) => {}
                Err(RecvTimeoutError::Timeout) => {
                    since = None;
                    if changes.send(std::mem::take(&mut seen)).is_err() {
                        return;
                    }
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look_at(&mut self, scope: Scope) {
        self.scope = scope;
        let roots: Vec<PathBuf> = self.scope.roots.iter().map(|(root, _)| root.clone()).collect();
        for root in roots {
            self.add(&root, &mut Vec::new());
        }
        let parents: BTreeSet<PathBuf> = self.scope.files.iter().filter_map(|file| file.parent()).map(Path::to_path_buf).collect();
        for parent in parents {
            self.watch(&parent);
        }
    }

    fn watch(&mut self, folder: &Path) {
        if self.folders.contains(folder) {
            return;
        }
        if self.folders.len() < MOST_FOLDERS && self.system.watch(folder, RecursiveMode::NonRecursive).is_ok() {
            self.folders.insert(folder.to_path_buf());
        } else if folder.is_dir() {
            self.whole = false;
        }
    }

    /// Watches `folder` and what lies below; `found` collects the wanted files, which may have been written before the watch began.
    fn add(&mut self, folder: &Path, found: &mut Vec<PathBuf>) {
        let mut waiting = vec![folder.to_path_buf()];
        while let Some(folder) = waiting.pop() {
            if is_virtual_environment(&folder) || !self.scope.wants(&folder) {
                continue;
            }
            self.watch(&folder);
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                    Ok(_) if self.scope.wants(&entry.path()) => found.push(entry.path()),
                    _ => {}
                }
            }
        }
    }

    /// The paths of an event that matter. New folders are watched from now on.
    fn sift(&mut self, event: Event) -> Vec<PathBuf> {
        let content = matches!(event.kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) | EventKind::Any);
        if event.need_rescan() {
            return self.scope.files.iter().cloned().collect();
        }
        if !content {
            return Vec::new();
        }
        let arrives = matches!(event.kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)));
        let mut matter = Vec::new();
        for path in event.paths {
            let leaves = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
            if leaves && self.folders.remove(&path) {
                let _ = self.system.unwatch(&path);
            }
            if !self.scope.wants(&path) {
                continue;
            }
            let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if is_folder && arrives {
                self.add(&path, &mut matter);
            } else if !is_folder {
                matter.push(path);
            }
        }
        matter
    }
}

#[cfg(test)]
mod tests {

    use tokio::sync::mpsc::unbounded_channel;

    use model::pattern::Anchor;

    use super::*;

    fn defaults() -> SkipFiles {
        SkipFiles::default()
    }

    fn wait(changes: &mut tokio::sync::mpsc::UnboundedReceiver<BTreeSet<PathBuf>>) -> BTreeSet<PathBuf> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(10), changes.recv()).await })
            .expect("a change in time")
            .expect("open")
    }

    #[test]
    fn only_files_of_the_app_count() {
        let home = tempfile::tempdir().expect("folder");
        let root = home.path().to_path_buf();
        std::fs::create_dir_all(root.join("env/lib")).expect("folder");
        std::fs::write(root.join("env/pyvenv.cfg"), "").expect("file");
        let files = BTreeSet::from([root.join(".hidden.yaml")]);
        let scope = Scope { roots: vec![(root.clone(), defaults())], files, unwatched: Pattern::new(r".*\.log$", Anchor::Start).ok() };
        for wanted in ["main.py", "a/b/c.html", ".hidden.yaml", "app.yaml"] {
            assert!(scope.wants(&root.join(wanted)), "{wanted}");
        }
        for ignored in [".git/HEAD", "node_modules/a/b.js", "a/__pycache__/x", "x.pyc", ".swp", "env/lib/x.py", "main.py~"] {
            assert!(!scope.wants(&root.join(ignored)), "{ignored}");
        }
        assert!(!scope.wants(Path::new("/elsewhere/main.py")));
    }

    #[test]
    fn a_change_is_reported_and_new_folders_are_watched() {
        let home = tempfile::tempdir().expect("folder");
        let root = home.path().canonicalize().expect("path");
        std::fs::write(root.join("main.py"), "1").expect("file");
        let (sender, mut changes) = unbounded_channel();
        let (watcher, whole) =
            Watcher::start(Scope { roots: vec![(root.clone(), defaults())], ..Scope::default() }, sender).expect("watches");
        assert!(whole);
        std::fs::write(root.join("main.py"), "2").expect("file");
        assert_eq!(wait(&mut changes), BTreeSet::from([root.join("main.py")]));
        std::fs::create_dir_all(root.join("new/deep")).expect("folder");
        std::fs::write(root.join("new/deep/x.py"), "1").expect("file");
        let mut seen = BTreeSet::new();
        while !seen.contains(&root.join("new/deep/x.py")) {
            seen.extend(wait(&mut changes));
        }
        std::fs::write(root.join("new/deep/x.py"), "2").expect("file");
        assert!(wait(&mut changes).contains(&root.join("new/deep/x.py")));
        drop(watcher);
    }
}

//! Opening files of an app: never outside its folder, whatever symbolic links say, never what `skip_files` names, never a directory.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::table::Version;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::content::{Found, Stamp};

/// Opens `file` of `version`; `None` if it may not be served or does not exist.
pub(super) fn open(version: &Version, file: &str) -> Option<Found> {
    let opened = beneath(&version.root, file)?;
    let stamp = Stamp::of(&opened)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).read_link().ok()?;
    // A link may name a file that its own name would hide.
    let root = version.root.canonicalize().ok()?;
    let real = path.strip_prefix(&root).ok()?.to_str()?;
    if real != file && version.config.skip_files.skips(real) {
        return None;
    }
    Some(Found { file: File::from(opened), stamp, path })
}

/// The content of a small file, for error pages.
pub(crate) fn small(version: &Version, file: &str, most: u64) -> Option<Vec<u8>> {
    let opened = beneath(&version.root, file)?;
    let mut bytes = Vec::new();
    File::from(opened).take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn beneath(root: &Path, file: &str) -> Option<OwnedFd> {
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder.as_fd(), file, FLAGS, Mode::empty(), resolve) {
        Ok(opened) => Some(opened),
        // XDEV: a link leads out, or is absolute and may lead back in. NOSYS, PERM: no openat2 here.
        Err(rustix::io::Errno::XDEV | rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => by_name(root, file),
        Err(_) => None,
    }
}

/// Resolves all links first, then opens what they lead to without following any.
fn by_name(root: &Path, file: &str) -> Option<OwnedFd> {
    let root = root.canonicalize().ok()?;
    let path = root.join(file).canonicalize().ok()?;
    let inside = path.strip_prefix(&root).ok()?;
    let folder = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(folder.as_fd(), inside, FLAGS, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => rustix::fs::open(&path, FLAGS | OFlags::NOFOLLOW, Mode::empty()).ok(),
        other => other.ok(),
    }
}

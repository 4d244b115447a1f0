//! What the instance sees: a root in memory with the system, the app and little else in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::etc;
use crate::plan::{Bind, Plan};
use crate::sys::{self, MOUNT_IDMAP, MOUNT_NODEV, MOUNT_NOSUID, MOUNT_RDONLY, MountAttr};

/// Folders of the system, as far as they exist. Those that are links (`/bin` on most systems) become links.
const SYSTEM: [&str; 10] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store"];
/// Devices that everybody expects.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// The root holds folders and a few small files; everything else is mounted.
const ROOT_BYTES: u32 = 4 << 20;

/// An error with the place where it came up.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Turns errors of the system into sentences.
pub(crate) trait At<T> {
    fn at(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| format!("{}: {}", what(), error.into()))
    }
}

/// User namespaces in which the files of these users and groups are the instance's.
pub(crate) type Owners = BTreeMap<(u32, u32), OwnedFd>;

/// The root under construction.
struct Root {
    path: PathBuf,
    folder: OwnedFd,
    /// Those that are open already.
    folders: RefCell<BTreeMap<PathBuf, Rc<OwnedFd>>>,
}

/// Builds the root and moves into it. `owners` shows what belongs to somebody as the instance's, where that is possible.
///
/// Must be called inside a mount namespace of its own.
pub(crate) fn build(plan: &Plan, who: (u32, u32), owners: &Owners) -> Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(|| "making mounts private".into())?;
    let root = Root::new()?;
    for folder in SYSTEM {
        root.system(Path::new(folder))?;
    }
    root.etc(plan, who)?;
    root.folder(Path::new("/run"))?;
    for target in TEMPORARY {
        if plan.births.is_some() {
            let inner = format!("{ABOVE_TEMPORARY}{target}");
            root.temporary(&inner, plan.tmp_bytes)?;
            root.link(&inner, Path::new(target))?;
        } else {
            root.temporary(target, plan.tmp_bytes)?;
        }
    }
    root.folder(Path::new("/var"))?;
    root.link("../tmp", Path::new("/var/tmp"))?;
    root.link("../run", Path::new("/var/run"))?;
    root.devices()?;
    root.folder(Path::new("/proc"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", root.path.join("proc"), "proc", flags, None).at(|| "mounting /proc".into())?;
    let mut binds: Vec<&Bind> = plan.binds.iter().collect();
    // What lies inside another comes after it.
    binds.sort_by_key(|bind| bind.target.components().count());
    for bind in binds {
        root.attach(bind, owners)?;
    }
    root.enter()
}

/// What programs write to, in memory; each as large as the plan says.
pub(crate) const TEMPORARY: [&str; 2] = ["/tmp", "/dev/shm"];
/// Where that really is behind a zygote's walls. Landlock looks at the folder *above* a mount, never at the one below it, so this folder's rule
/// also holds for what is mounted there later.
pub(crate) const ABOVE_TEMPORARY: &str = "/run/instance";

/// Puts fresh file systems over the temporary ones of a root that was built before, for `who` alone. What is shown below them stays.
///
/// Must be called inside the instance's own mount namespace.
pub(crate) fn renew_temporary(binds: &[Bind], bytes: u64, (uid, gid): (u32, u32)) -> Result<()> {
    let below = |target: &Path| TEMPORARY.iter().any(|top| target.starts_with(top));
    let shown: Vec<&Path> = binds.iter().map(|bind| bind.target.as_path()).filter(|target| below(target)).collect();
    let outermost = shown.iter().filter(|path| !shown.iter().any(|other| other != *path && path.starts_with(other)));
    let kept: Vec<_> = outermost.map(|path| clone_tree(path).map(|tree| (*path, tree))).collect::<Result<_>>()?;
    let options = std::ffi::CString::new(format!("mode=1777,size={bytes},uid={uid},gid={gid}")).unwrap_or_default();
    for target in TEMPORARY {
        rustix::mount::mount("tmpfs", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
            .at(|| format!("mounting {target}"))?;
    }
    let folder = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at(|| "the root".into())?;
    let root = Root { path: PathBuf::from("/"), folder, folders: RefCell::default() };
    kept.iter().try_for_each(|(target, tree)| root.place(tree, target))
}

/// A copy of the mounts at a place, to be put elsewhere.
fn clone_tree(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags).at(|| format!("showing {}", path.display()))
}

impl Root {
    /// A small file system in memory. It is mounted over a folder that nothing is bound from; the old root is gone soon anyway.
    fn new() -> Result<Self> {
        let path = ["/sys", "/mnt", "/media", "/srv", "/boot"].into_iter().find(|path| Path::new(path).is_dir());
        let path = PathBuf::from(path.ok_or("no folder to build the root in")?);
        let options = std::ffi::CString::new(format!("mode=755,size={ROOT_BYTES}")).unwrap_or_default();
        rustix::mount::mount("tmpfs", &path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
            .at(|| "mounting the root".into())?;
        let folder = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at(|| "the root".into())?;
        Ok(Self { path, folder, folders: RefCell::default() })
    }

    /// Opens something of the new root; links in it lead nowhere else.
    fn open(&self, target: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.folder, target, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// Makes a folder and those above it, each only once: most of what building a root costs is looking up names.
    fn folder(&self, target: &Path) -> Result<Rc<OwnedFd>> {
        if let Some(found) = self.folders.borrow().get(target) {
            return Ok(Rc::clone(found));
        }
        if let (Some(parent), Some(Component::Normal(name))) = (target.parent(), target.components().next_back()) {
            let above = self.folder(parent)?;
            match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(format!("making {}: {error}", target.display())),
            }
        }
        let opened = Rc::new(self.open(target).at(|| format!("opening {}", target.display()))?);
        self.folders.borrow_mut().insert(target.to_owned(), Rc::clone(&opened));
        Ok(opened)
    }

    /// Makes an empty file, to bind another over it.
    fn file(&self, target: &Path) -> Result<Rc<OwnedFd>> {
        let (parent, name) = split(target)?;
        let above = self.folder(parent)?;
        // A link may be there; then what it leads to is what is covered.
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(made) => Ok(Rc::new(made)),
            Err(rustix::io::Errno::EXIST) => self.open(target).map(Rc::new).at(|| format!("opening {}", target.display())),
            Err(error) => Err(format!("making {}: {error}", target.display())),
        }
    }

    fn link(&self, to: &str, target: &Path) -> Result<()> {
        let (parent, name) = split(target)?;
        let above = self.folder(parent)?;
        match rustix::fs::symlinkat(to, &above, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(format!("linking {}: {error}", target.display())),
        }
    }

    /// A folder of the machine as it is: a link stays one.
    fn system(&self, path: &Path) -> Result<()> {
        match fs::read_link(path) {
            Ok(to) => self.link(&to.to_string_lossy(), path),
            Err(_) if path.exists() => self.attach(&Bind::read(path), &Owners::new()),
            Err(_) => Ok(()),
        }
    }

    /// Binds one thing.
    fn attach(&self, bind: &Bind, owners: &Owners) -> Result<()> {
        let what = || format!("showing {}", bind.source.display());
        let tree = clone_tree(&bind.source)?;
        let read_only = if bind.writable { 0 } else { MOUNT_RDONLY };
        let attr = MountAttr { set: MOUNT_NOSUID | MOUNT_NODEV | read_only, ..MountAttr::default() };
        sys::mount_setattr(tree.as_fd(), true, &attr).at(what)?;
        let owner = if bind.owned && !owners.is_empty() { owner_of(&bind.source) } else { None };
        if let Some(owner) = owner.and_then(|owner| owners.get(&owner)) {
            let userns_fd = u64::try_from(owner.as_raw_fd()).unwrap_or_default();
            // Not every file system can; then files that only their owner may read stay unreadable, as on any server.
            let _ = sys::mount_setattr(tree.as_fd(), false, &MountAttr { set: MOUNT_IDMAP, userns_fd, ..MountAttr::default() });
        }
        self.place(&tree, &bind.target)
    }

    /// Shows mounts at a place, which is made if there is none.
    fn place(&self, tree: &OwnedFd, target: &Path) -> Result<()> {
        let what = || format!("showing {}", target.display());
        let found = rustix::fs::fstat(tree).at(what)?;
        let is_folder = rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir();
        let place = if is_folder { self.folder(target)? } else { self.file(target)? };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(tree, "", &*place, "", flags).at(what)?;
        // What was opened there is covered now.
        self.folders.borrow_mut().retain(|path, _| !path.starts_with(target));
        Ok(())
    }

    fn etc(&self, plan: &Plan, who: (u32, u32)) -> Result<()> {
        self.folder(Path::new("/etc"))?;
        for (name, text) in etc::own(who.0, who.1, &plan.home.to_string_lossy()) {
            fs::write(self.path.join("etc").join(name), text).at(|| format!("writing /etc/{name}"))?;
        }
        let hosts = etc::hosts(&plan.hosts);
        if let Some(text) = &hosts {
            fs::write(self.path.join("etc/hosts"), text).at(|| "writing /etc/hosts".into())?;
        }
        for path in etc_shown().into_iter().filter(|path| hosts.is_none() || !path.ends_with("hosts")) {
            self.attach(&Bind::read(path), &Owners::new())?;
        }
        Ok(())
    }

    /// A file system in memory that everybody may write to.
    fn temporary(&self, target: &str, bytes: u64) -> Result<()> {
        self.folder(Path::new(target))?;
        let options = std::ffi::CString::new(format!("mode=1777,size={bytes}")).unwrap_or_default();
        let path = self.path.join(target.trim_start_matches('/'));
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
            .at(|| format!("mounting {target}"))?;
        self.folders.borrow_mut().retain(|path, _| !path.starts_with(target));
        Ok(())
    }

    fn devices(&self) -> Result<()> {
        let dev = Path::new("/dev");
        for name in DEVICES {
            let path = dev.join(name);
            self.place(&clone_tree(&path)?, &path)?;
        }
        for (name, to) in
            [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
        {
            self.link(to, &dev.join(name))?;
        }
        Ok(())
    }

    /// Makes the root read-only and the only one.
    fn enter(self) -> Result<()> {
        let closed = MountAttr { set: MOUNT_RDONLY, ..MountAttr::default() };
        sys::mount_setattr(self.folder.as_fd(), false, &closed).at(|| "closing the root".into())?;
        rustix::process::chdir(&self.path).at(|| "entering the root".into())?;
        if rustix::process::pivot_root(".", ".").is_ok() {
            // The old root now lies over the new one.
            rustix::mount::unmount(".", UnmountFlags::DETACH).at(|| "leaving the old root".into())?;
        } else {
            // The first file system of a machine without disks cannot be exchanged, but covered.
            rustix::mount::mount_move(".", "/").at(|| "moving the root".into())?;
            rustix::process::chroot(".").at(|| "entering the root".into())?;
        }
        rustix::process::chdir("/").at(|| "entering the root".into())
    }
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => Ok((parent, name)),
        _ => Err(format!("{} is no place for a mount", path.display())),
    }
}

/// The system's folders, for those who show them by other means.
pub(crate) fn system_folders() -> impl Iterator<Item = PathBuf> {
    SYSTEM.into_iter().map(PathBuf::from)
}

/// What of `/etc` is shown, as far as it exists.
pub(crate) fn etc_shown() -> Vec<PathBuf> {
    let more = fs::read_dir("/etc").into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let more = more.filter(|name| etc::SHOWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let all = etc::SHOWN.iter().map(|&name| name.to_owned()).chain(more);
    // A link that leads nowhere is not there either.
    let there = |path: &PathBuf| path.metadata().is_ok_and(|known| known.is_dir() || known.is_file());
    all.map(|name| Path::new("/etc").join(name)).filter(there).collect()
}

/// Who owns the folder.
pub(crate) fn owner_of(path: &Path) -> Option<(u32, u32)> {
    fs::metadata(path).ok().map(|metadata| (metadata.uid(), metadata.gid()))
}

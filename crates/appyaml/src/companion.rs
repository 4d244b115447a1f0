//! The files beside app.yaml that belong to the app as a whole.

use crate::diagnostic::Report;
use crate::fields::Fields;
use crate::source::{FileId, Sources};
use crate::yaml::{self, Node, Value};

pub(crate) mod cron;
pub(crate) mod dispatch;
pub(crate) mod dos;
pub(crate) mod index;
pub(crate) mod queue;
mod target;

/// Which companion a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Companion {
    /// Rules that send requests to services.
    Dispatch,
    /// Scheduled requests.
    Cron,
    /// Task queues.
    Queue,
    /// Datastore indexes.
    Index,
    /// Addresses that are turned away.
    Dos,
}

impl Companion {
    pub(crate) const ALL: [Self; 5] = [Self::Dispatch, Self::Cron, Self::Queue, Self::Index, Self::Dos];

    /// The names that such a file may have.
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Self::Dispatch => ["dispatch.yaml", "dispatch.yml"],
            Self::Cron => ["cron.yaml", "cron.yml"],
            Self::Queue => ["queue.yaml", "queue.yml"],
            Self::Index => ["index.yaml", "index.yml"],
            Self::Dos => ["dos.yaml", "dos.yml"],
        }
    }

    /// The key that holds everything.
    fn key(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch",
            Self::Cron => "cron",
            Self::Queue => "queue",
            Self::Index => "indexes",
            Self::Dos => "blacklist",
        }
    }

    /// The companion with this file name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.names().contains(&name))
    }
}

/// The companion that a file is by what it says: it has the key of one, and no `runtime`.
pub(crate) fn of_content(file: FileId, sources: &Sources) -> Option<Companion> {
    let tree = yaml::parse(file, sources, &mut Report::default());
    let Some(Node { value: Value::Map(entries), .. }) = &tree.root else { return None };
    let has = |name: &str| entries.iter().any(|(key, _)| key.text == name);
    if has("runtime") {
        return None;
    }
    Companion::ALL.into_iter().find(|kind| has(kind.key()))
}

/// Reads the list of a companion file, item by item. An empty file, and an absent list, are empty lists.
fn items<T>(
    file: FileId,
    sources: &Sources,
    (what, kind, more): (&'static str, Companion, &[&str]),
    report: &mut Report,
    read: impl FnOnce(&Fields<'_>, &[Node], &mut Report) -> T,
) -> T {
    let tree = yaml::parse(file, sources, report);
    report.partial = tree.partial;
    let known = [&["application", kind.key()], more].concat();
    let root = tree.root.as_ref().filter(|root| !crate::fields::is_null(root));
    let fields = root.and_then(|root| Fields::open(root, what, &known, report));
    let nothing = Fields::empty(what, Sources::start(file));
    let fields = fields.unwrap_or(nothing);
    let list = fields.list(kind.key(), report).unwrap_or_default();
    let value = read(&fields, list, report);
    report.partial = false;
    value
}

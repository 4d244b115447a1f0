//! The folder of an app, or several service files: everything that can be configured, read and checked together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use model::config::VersionConfig;
use model::cron::CronJob;
use model::dispatch::DispatchRule;
use model::firewall::Firewall;
use model::handler::StaticSource;
use model::ids::{AppId, ServiceId};
use model::index::Index;
use model::queue::Queues;
use model::runtime::Runtime;

use crate::app::{self, RawApp};
use crate::code;
use crate::companion::{self, Companion};
use crate::diagnostic::{Diagnostic, Report};
use crate::disk::{self, Disk, DiskIncludes};
use crate::fields::Spanned;
use crate::source::{FileId, Sources, Span};

/// Error pages stay below this (row Y10).
const MAX_ERROR_PAGE: u64 = 10 * 1024;

/// What the command line adds to the files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--project`, which supersedes `application:`.
    pub project: Option<AppId>,
    /// `--env-var K=V`: added to the variables of every service, superseding the files'. Check names with [`crate::check_env_name`].
    pub env: BTreeMap<String, String>,
    /// Every service runs on this, whatever its file says.
    pub runtime: Option<Runtime>,
}

/// One service that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedService {
    /// What it is.
    pub config: VersionConfig,
    /// Its app.yaml.
    pub file: PathBuf,
    /// The app folder: where its paths begin.
    pub root: PathBuf,
    /// The file says its `version`; otherwise that of `config` is a stand-in.
    pub names_version: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// `--project`, or else `application:` of the default service, or of the first that says one.
    pub app: Option<AppId>,
    /// The services whose files are free of errors, the default service first, then as given. If the only service is not the default service
    /// (A0505), requests that name no service are for it.
    pub services: Vec<LoadedService>,
    /// dispatch.yaml.
    pub dispatch: Vec<DispatchRule>,
    /// dos.yaml.
    pub firewall: Firewall,
    /// cron.yaml.
    pub cron: Vec<CronJob>,
    /// queue.yaml.
    pub queues: Queues,
    /// index.yaml.
    pub indexes: Vec<Index>,
    /// The companions that were among the paths; others were found beside the services.
    pub given: BTreeSet<Companion>,
    /// All mistakes and warnings, in the order of files and places.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that `diagnostics` point into.
    pub sources: Sources,
    /// Every file that was read, includes too, by canonical path, for whoever watches them.
    pub files_read: BTreeSet<PathBuf>,
}

impl Loaded {
    /// Whether there is no error; warnings may be.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads an app: `paths` are app folders (their app.yaml), service files, and optionally dispatch.yaml and its companions; none means the
/// current folder. Companions that are not given are looked for beside the service files, the default service's folder first.
pub fn load_app(paths: &[PathBuf], options: &Options) -> Loaded {
    let mut loader = Loader { options, disk: Disk::default(), report: Report::default(), loaded: Loaded::default(), services: Vec::new() };
    let here = [PathBuf::from(".")];
    let mut given = Vec::new();
    for path in if paths.is_empty() { &here } else { paths } {
        loader.open(path, &mut given);
    }
    loader.default_service();
    loader.companions(&given);
    loader.finish()
}

struct Loader<'o> {
    options: &'o Options,
    disk: Disk,
    report: Report,
    loaded: Loaded,
    services: Vec<Found>,
}

/// A service file, whether or not it is free of errors.
struct Found {
    file: FileId,
    service: Option<Spanned<ServiceId>>,
    /// Where the file says what it is: its service, or its first key.
    span: Span,
    application: Option<Spanned<AppId>>,
    root: PathBuf,
    loaded: Option<LoadedService>,
    /// Whether the names in it could be read at all.
    named: bool,
}

impl Found {
    fn id(&self) -> ServiceId {
        self.service.as_ref().map_or_else(ServiceId::default_service, |found| found.value.clone())
    }
}

impl Loader<'_> {
    /// Takes one path of the command line: a folder, a service file, or a companion, which goes to `given`.
    fn open(&mut self, path: &Path, given: &mut Vec<(Companion, FileId)>) {
        if fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
            match ["app.yaml", "app.yml"].map(|name| path.join(name)).into_iter().find(|file| disk::is_file(file)) {
                Some(file) => self.service(&file),
                None => self.no_app_yaml(path),
            }
            return;
        }
        let by_name = path.file_name().and_then(|name| Companion::of_name(&name.to_string_lossy()));
        let Some(file) = self.disk.read(path, None, &mut self.loaded.sources, &mut self.report) else { return };
        match by_name.or_else(|| companion::of_content(file, &self.loaded.sources)) {
            Some(kind) => given.push((kind, file)),
            None => self.service(path),
        }
    }

    fn no_app_yaml(&mut self, folder: &Path) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("cannot read the folder {}: {}", disk::display(folder), disk::describe(&error));
                self.report.push(Diagnostic::general(&code::A0001, message));
                return;
            }
        };
        let mut others: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| matches!(Path::new(name).extension().and_then(OsStr::to_str), Some("yaml" | "yml")))
            .filter(|name| Companion::of_name(name).is_none())
            .take(100)
            .collect();
        others.sort();
        let help = match others.first() {
            Some(other) => format!("give service files by name, such as `{}`", disk::display(&folder.join(other))),
            None => "an app.yaml begins with a line such as `runtime: python312`".to_owned(),
        };
        let message = format!("there is no app.yaml in {}", disk::display(folder));
        let message = if disk::display(folder).is_empty() { "there is no app.yaml in the current folder".to_owned() } else { message };
        self.report.push(Diagnostic::general(&code::A0501, message).help(help));
    }

    fn service(&mut self, path: &Path) {
        let Some(file) = self.disk.read(path, None, &mut self.loaded.sources, &mut self.report) else { return };
        if self.services.iter().any(|other| other.file == file) {
            return;
        }
        let root = path.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let before = self.report.errors();
        let Some(mut raw) = app::read(file, &self.loaded.sources, &mut self.report) else {
            let span = Sources::start(file);
            self.services.push(Found { file, service: None, span, application: None, root, loaded: None, named: false });
            return;
        };
        if let Some(runtime) = &self.options.runtime {
            raw.run_on(runtime.clone());
        }
        self.error_pages(&raw, &root);
        self.static_sources(&raw, &root);
        let span = raw.service.as_ref().map_or(raw.span, |service| service.span);
        let (service, application, named) = (raw.service.clone(), raw.application.clone(), raw.named);
        let names_version = raw.version.is_some();
        let mut includes = DiskIncludes { disk: &mut self.disk, root: &root };
        let config = raw.resolve(&mut includes, &self.options.env, &mut self.loaded.sources, &mut self.report);
        let config = config.filter(|_| self.report.errors() == before);
        let loaded = config.map(|config| LoadedService { config, file: path.to_owned(), root: root.clone(), names_version });
        self.services.push(Found { file, service, span, application, root, loaded, named });
    }

    /// Error pages are read when it is too late to complain, so they are checked now.
    fn error_pages(&mut self, raw: &RawApp, root: &Path) {
        for page in &raw.error_pages {
            let (name, span) = (&page.file.value, page.file.span);
            match fs::metadata(root.join(name)) {
                Ok(meta) if meta.is_file() && meta.len() < MAX_ERROR_PAGE => {}
                Ok(meta) if meta.is_file() => {
                    let message = format!("the error page `{name}` has {} bytes; it must be smaller than {MAX_ERROR_PAGE}", meta.len());
                    self.report.push(Diagnostic::new(&code::A0507, span, message));
                }
                Ok(_) => self.report.push(Diagnostic::new(&code::A0506, span, format!("the error page `{name}` is not a file"))),
                Err(_) => {
                    let message = format!("the error page `{name}` does not exist");
                    self.report.push(Diagnostic::new(&code::A0506, span, message).help("paths begin at the app folder"));
                }
            }
        }
    }

    /// Warns about static folders and files that are not there.
    fn static_sources(&mut self, raw: &RawApp, root: &Path) {
        for (files, span) in raw.static_handlers() {
            let (what, path) = match &files.source {
                StaticSource::Dir(dir) => ("folder", dir.as_str()),
                StaticSource::Files { path, .. } if !path.has_references() => ("file", path.source()),
                StaticSource::Files { .. } => continue,
            };
            if fs::metadata(root.join(path)).is_err() {
                let message = format!("the static {what} `{path}` does not exist");
                self.report.push(Diagnostic::new(&code::A0508, span, message).help("requests for it get 404"));
            }
        }
    }

    /// Exactly one default service, and no service twice.
    fn default_service(&mut self) {
        for (at, late) in self.services.iter().enumerate().filter(|(_, found)| found.named) {
            if let Some(early) = self.services[..at].iter().filter(|early| early.named).find(|early| early.id() == late.id()) {
                let message = format!("two files describe the service `{}`", late.id());
                let help = if late.service.is_none() { "name the other service: `service: NAME`" } else { "give one of them another name" };
                self.report.push(Diagnostic::new(&code::A0504, late.span, message).related(early.span, "the other file").help(help));
            }
        }
        if self.services.is_empty() || self.services.iter().any(|found| !found.named || found.id().is_default()) {
            return;
        }
        let first = &self.services[0];
        let diagnostic = if self.services.len() == 1 {
            let message = format!("`{}` is the only service; requests that name no service are for it", first.id());
            Diagnostic::new(&code::A0505, first.span, message).help("production needs a default service besides")
        } else {
            let message = "none of these files is the default service";
            Diagnostic::new(&code::A0503, first.span, message).help("give its file too, or remove the `service` line of the one that it is")
        };
        self.report.push(diagnostic);
    }

    fn companions(&mut self, given: &[(Companion, FileId)]) {
        let mut folders: Vec<PathBuf> =
            self.services.iter().filter(|found| found.id().is_default()).map(|found| found.root.clone()).collect();
        folders.extend(self.services.iter().map(|found| found.root.clone()));
        self.loaded.given = given.iter().map(|(kind, _)| *kind).collect();
        for kind in Companion::ALL {
            let mut files: Vec<FileId> = given.iter().filter(|(other, _)| *other == kind).map(|(_, file)| *file).collect();
            if files.is_empty() {
                let beside = folders.iter().flat_map(|folder| kind.names().map(|name| folder.join(name))).find(|file| disk::is_file(file));
                let read = beside.and_then(|path| self.disk.read(&path, None, &mut self.loaded.sources, &mut self.report));
                files.extend(read);
            }
            if let [first, second, ..] = files[..] {
                let message = format!("two files of one kind: {}", kind.names()[0]);
                self.report
                    .push(Diagnostic::new(&code::A0502, Sources::start(second), message).related(Sources::start(first), "the other one"));
            }
            if let Some(file) = files.first() {
                self.companion(kind, *file);
            }
        }
    }

    fn companion(&mut self, kind: Companion, file: FileId) {
        let (sources, report) = (&self.loaded.sources, &mut self.report);
        match kind {
            Companion::Dispatch => {
                let known: Option<Vec<ServiceId>> =
                    self.services.iter().all(|found| found.named).then(|| self.services.iter().map(Found::id).collect());
                self.loaded.dispatch = companion::dispatch::read(file, sources, known.as_deref(), report);
            }
            Companion::Cron => self.loaded.cron = companion::cron::read(file, sources, report),
            Companion::Queue => self.loaded.queues = companion::queue::read(file, sources, report),
            Companion::Index => self.loaded.indexes = companion::index::read(file, sources, report),
            Companion::Dos => self.loaded.firewall = companion::dos::read(file, sources, report),
        }
    }

    fn finish(mut self) -> Loaded {
        self.services.sort_by_key(|found| !found.id().is_default());
        let named = self.services.iter().find_map(|found| found.application.clone());
        if let Some(named) = &named {
            let other = self.services.iter().filter_map(|found| found.application.as_ref()).find(|other| other.value != named.value);
            if let Some(other) = other.filter(|_| self.options.project.is_none()) {
                let message = format!("this service says project `{}`, another one `{}`", other.value, named.value);
                let help = "name the project on the command line: `--project ID`";
                self.report.push(Diagnostic::new(&code::A0509, other.span, message).related(named.span, "this one counts").help(help));
            }
        }
        let mut loaded = self.loaded;
        loaded.app = self.options.project.clone().or_else(|| named.map(|found| found.value));
        loaded.services = self.services.into_iter().filter_map(|found| found.loaded).collect();
        loaded.diagnostics = self.report.finish();
        loaded.files_read = self.disk.files_read();
        loaded
    }
}

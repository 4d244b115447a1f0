//! Which files of an app's folder are deployed with its code (rows Y15, Y16, Y26): `skip_files` are part of nothing, static files are the front
//! end's alone unless they are `application_readable`.

use crate::config::VersionConfig;
use crate::handler::{HandlerKind, StaticFiles, StaticSource};

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nobody's: `skip_files`.
    Skipped,
    /// The front end's; instances do not see it.
    Static,
    /// The code's; the front end may serve it too.
    Code,
}

/// Tells the part of `path` (a file relative to the app, `/` separators).
pub fn part(config: &VersionConfig, path: &str) -> Part {
    if config.skip_files.skips(path) {
        return Part::Skipped;
    }
    let statics = config.handlers.iter().filter_map(|handler| match &handler.kind {
        HandlerKind::Static(files) => Some(files.as_ref()),
        HandlerKind::Script(_) => None,
    });
    let mut owners = statics.filter(|files| owns(files, path)).peekable();
    let is_static = owners.peek().is_some();
    if is_static && !owners.any(|files| files.application_readable) { Part::Static } else { Part::Code }
}

/// Whether everything below the folder `path` (relative, no trailing slash) is left out, so that nobody has to look into it.
pub fn skips_folder(config: &VersionConfig, path: &str) -> bool {
    config.skip_files.skips(&format!("{path}/"))
}

/// Whether a static handler owns a file. One for the app's whole folder owns nothing: it would leave no code.
fn owns(files: &StaticFiles, path: &str) -> bool {
    match &files.source {
        StaticSource::Dir(dir) if dir.is_empty() || dir == "." => false,
        StaticSource::Dir(dir) => path.strip_prefix(dir.as_str()).is_some_and(|rest| rest.starts_with('/')),
        StaticSource::Files { upload, .. } => upload.is_match(path.as_bytes()),
    }
}

//! Where an app's state and the shared cache are kept, unless the command line says otherwise.

use std::path::PathBuf;

use anyhow::Context as _;
use etcetera::BaseStrategy as _;
use model::ids::AppId;

/// `$XDG_STATE_HOME/enginehouse/APP`.
pub(crate) fn default_folder(app: &AppId) -> anyhow::Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("your home directory is unknown; say where to keep state with --storage DIR")?;
    let state = base.state_dir().unwrap_or_else(|| base.data_dir());
    // `s~example.com:shop` may stand in a file name, but not in lists of paths such as PATH.
    Ok(state.join("enginehouse").join(app.as_str().replace([':', '~'], "_")))
}

/// `$XDG_CACHE_HOME/enginehouse`: environments and the unpacked agent, shared by all apps; may be deleted whenever nothing runs.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("your home directory is unknown; set XDG_CACHE_HOME")?;
    Ok(base.cache_dir().join("enginehouse"))
}

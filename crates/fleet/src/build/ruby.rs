//! rubyNN: bundler's gems, Rails' assets, `bin/rails server` or `rackup`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{Bench, Plan, Site};
use crate::prepare::PrepareError;

/// What an installation is made from.
const INPUTS: [&str; 3] = ["Gemfile", "Gemfile.lock", ".ruby-version"];
/// Groups that production leaves out.
const WITHOUT: &str = "development:test";

pub(super) fn plan(site: &Site<'_>) -> Result<Plan, PrepareError> {
    let gemfile = fs::read_to_string(site.root().join("Gemfile")).ok();
    let bundle = if gemfile.is_some() { "bundle exec " } else { "" };
    let line = site.line(|| {
        if site.has("bin/rails") {
            Ok(format!("{bundle}bin/rails server -b 127.0.0.1 -p $PORT"))
        } else if site.has("config.ru") {
            Ok(format!("{bundle}rackup --host 127.0.0.1 --port $PORT"))
        } else {
            Err(PrepareError(
                "neither bin/rails nor config.ru was found; write for example `entrypoint: bundle exec ruby app.rb -p $PORT` in app.yaml"
                    .into(),
            ))
        }
    })?;
    let mut plan = site.plain(line);
    for name in ["RACK_ENV", "RAILS_ENV", "APP_ENV"] {
        plan.env.push((name, "production".into()));
    }
    plan.env.push(("RAILS_LOG_TO_STDOUT", "true".into()));
    if let Some(gemfile) = gemfile {
        bundle_install(site, &gemfile, &mut plan)?;
    }
    Ok(plan)
}

/// Gems in a layer; the app's files with the lock file that was made, or with Rails' assets.
fn bundle_install(site: &Site<'_>, gemfile: &str, plan: &mut Plan) -> Result<(), PrepareError> {
    let bundle = site.need("bundle", "the gems of the Gemfile")?;
    let local = gemfile.lines().map(|line| line.split('#').next().unwrap_or_default());
    let needs_sources = local
        .into_iter()
        .any(|line| ["path:", ":path", "gemspec", "eval_gemfile", "File.read", "require_relative"].iter().any(|word| line.contains(word)));
    let mut key = site.key("ruby gems");
    key.files(site.root(), &INPUTS);
    if needs_sources {
        key.add(site.files.content().as_bytes());
    }
    let layer = site.layer(&key.name("ruby"), |bench| {
        if needs_sources {
            let copied = site.files.copy_to(&bench.dir.join("src"));
            copied.map_err(|e| PrepareError(format!("cannot copy the app: {e}")))?;
            install(bench, &bundle, &bench.dir.join("src"))?;
            // Where the app's own folders are looked for.
            let _ = fs::copy(bench.dir.join("src/Gemfile.lock"), bench.dir.join("Gemfile.lock"));
            return Ok(());
        }
        bench.bring(&INPUTS)?;
        install(bench, &bundle, &bench.dir)
    })?;
    let gems = layer.dir().join("gems");
    plan.env.extend([
        ("BUNDLE_PATH", gems.clone().into_os_string()),
        ("BUNDLE_APP_CONFIG", layer.dir().join("config").into()),
        ("BUNDLE_WITHOUT", WITHOUT.into()),
        ("BUNDLE_FROZEN", OsString::from("true")),
    ]);
    plan.files = if has_assets(site) {
        precompile(site, &bundle, layer.dir())?
    } else if site.has("Gemfile.lock") {
        Arc::clone(site.files)
    } else {
        site.with(&layer, &["Gemfile.lock"])?
    };
    plan.held.push(layer);
    Ok(())
}

fn install(bench: &Bench<'_>, bundle: &Path, dir: &Path) -> Result<(), PrepareError> {
    let (gems, config) = (bench.dir.join("gems").display().to_string(), bench.dir.join("config").display().to_string());
    let frozen = if dir.join("Gemfile.lock").is_file() { "true" } else { "false" };
    let env = [
        ("BUNDLE_PATH", gems.as_str()),
        ("BUNDLE_APP_CONFIG", config.as_str()),
        ("BUNDLE_WITHOUT", WITHOUT),
        ("BUNDLE_FROZEN", frozen),
        ("BUNDLE_SILENCE_ROOT_WARNING", "true"),
    ];
    bench.run_in(dir, "installing the Gemfile", bundle, &["install", "--jobs=4", "--retry=2"], &env)
}

/// A Rails app whose assets are not there yet.
fn has_assets(site: &Site<'_>) -> bool {
    site.has("bin/rails") && site.root().join("app/assets").is_dir() && !site.root().join("public/assets").is_dir()
}

/// Rails' assets, in a copy of the app; what Rails writes at run time goes to /tmp, the only place that may be written to.
fn precompile(site: &Site<'_>, bundle: &Path, layer: &Path) -> Result<Arc<crate::stage::Staged>, PrepareError> {
    let mut key = site.key("rails assets");
    key.add(layer.as_os_str().as_encoded_bytes());
    key.add(site.files.content().as_bytes());
    site.tree(&key.name("ruby"), |bench| {
        if !site.has("Gemfile.lock") {
            let _ = fs::copy(layer.join("Gemfile.lock"), bench.dir.join("Gemfile.lock"));
        }
        let (gems, config) = (layer.join("gems").display().to_string(), layer.join("config").display().to_string());
        let env = [
            ("BUNDLE_PATH", gems.as_str()),
            ("BUNDLE_APP_CONFIG", config.as_str()),
            ("BUNDLE_WITHOUT", WITHOUT),
            ("RAILS_ENV", "production"),
            ("RAILS_LOG_TO_STDOUT", "true"),
            ("SECRET_KEY_BASE_DUMMY", "1"),
            ("SECRET_KEY_BASE", "only-for-the-build"),
        ];
        bench.run("precompiling Rails' assets", bundle, &["exec", "ruby", "bin/rails", "assets:precompile"], &env)?;
        for name in ["tmp", "log"] {
            let folder = bench.dir.join(name);
            let _ = crate::cache::clear(&folder);
            let _ = std::os::unix::fs::symlink("/tmp", folder);
        }
        Ok(())
    })
}

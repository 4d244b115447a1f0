//! All apps of one server, and which of them a host belongs to. The lookup takes a few steps for each label of the host, however many apps there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::RoutingTable;
use crate::dispatch::HostPattern;
use crate::ids::AppId;
use crate::route::host::{self, AimError, By, Host};

/// All apps of one server: what a request is looked up in first. Made by [`Self::of`] or [`Self::build`].
#[derive(Debug, Clone, Default)]
pub struct Estate {
    /// Rises with every change of any app.
    pub generation: u64,
    /// The apps' tables.
    pub apps: BTreeMap<AppId, Arc<RoutingTable>>,
    index: Index,
}

/// Names → apps.
#[derive(Debug, Clone, Default)]
struct Index {
    /// The app of a server with one app, which every request is for.
    sole: Option<Arc<RoutingTable>>,
    /// Who answers to a bare domain and to addresses.
    fallback: Option<Arc<RoutingTable>>,
    /// The domains below which names end with a project.
    domains: BTreeSet<String>,
    /// By the project as it stands in host names.
    projects: BTreeMap<String, Arc<RoutingTable>>,
    /// Custom domains, and hosts that a dispatch rule names.
    names: BTreeMap<String, (By, Arc<RoutingTable>)>,
    /// `*.NAME` of custom domains, by the name.
    below: BTreeMap<String, Arc<RoutingTable>>,
}

/// An app that answers to a host.
#[derive(Debug, Clone)]
pub struct Found<'e, 'h> {
    /// The app.
    pub table: &'e Arc<RoutingTable>,
    /// The host.
    pub host: Host<'h>,
    /// By which kind of name it was found, for [`host::aim_at`].
    pub by: By,
}

impl Estate {
    /// A server with one app, which every request is for.
    pub fn of(table: RoutingTable) -> Self {
        let table = Arc::new(table);
        let index = Index { sole: Some(Arc::clone(&table)), ..Index::default() };
        Self { generation: table.generation, apps: BTreeMap::from([(table.app.clone(), table)]), index }
    }

    /// A server with several apps, each of which answers to the hosts that its [`super::Naming`] and its dispatch rules name.
    ///
    /// `fallback` answers to hosts that are bare domains or addresses, and names no service of which need a project; without one, the only app does, if
    /// there is only one. Of two apps that claim one custom domain the first has it.
    pub fn build(generation: u64, tables: impl IntoIterator<Item = Arc<RoutingTable>>, fallback: Option<&AppId>) -> Self {
        let apps: BTreeMap<AppId, Arc<RoutingTable>> = tables.into_iter().map(|table| (table.app.clone(), table)).collect();
        let fallback = match fallback {
            Some(app) => apps.get(app).cloned(),
            None => apps.values().next().filter(|_| apps.len() == 1).cloned(),
        };
        let mut index = Index { fallback, ..Index::default() };
        for table in apps.values() {
            index.add(table);
        }
        // What somebody mapped counts more than what a rule wishes for.
        for table in apps.values() {
            index.add_dispatched(table);
        }
        Self { generation, apps, index }
    }

    /// The app that answers to `authority`.
    ///
    /// # Errors
    /// [`AimError::Malformed`], [`AimError::NoProject`] or [`AimError::NoApp`].
    pub fn find<'h>(&self, authority: &'h str) -> Result<Found<'_, 'h>, AimError> {
        let (host, _) = Host::parse(authority)?;
        let (by, table) = self.find_host(&host)?;
        Ok(Found { table, host, by })
    }

    /// The same for a host that was read before.
    ///
    /// # Errors
    /// [`AimError::NoProject`] or [`AimError::NoApp`].
    pub fn find_host(&self, host: &Host<'_>) -> Result<(By, &Arc<RoutingTable>), AimError> {
        match &self.index.sole {
            Some(table) => Ok((By::Any, table)),
            None => self.index.find(host),
        }
    }
}

impl Index {
    fn add(&mut self, table: &Arc<RoutingTable>) {
        self.domains.extend(table.naming.domains.iter().cloned());
        let label = host::project_label(table).to_owned();
        self.projects.entry(label).or_insert_with(|| Arc::clone(table));
        for name in &table.naming.mapped {
            match name.strip_prefix("*.") {
                Some(below) => {
                    self.below.entry(below.to_owned()).or_insert_with(|| Arc::clone(table));
                }
                None => {
                    self.names.entry(name.clone()).or_insert_with(|| (By::Mapped, Arc::clone(table)));
                }
            }
        }
    }

    fn add_dispatched(&mut self, table: &Arc<RoutingTable>) {
        for rule in &table.dispatch {
            if let HostPattern::Exact(name) = &rule.host
                && !self.is_below(name)
            {
                self.names.entry(name.to_ascii_lowercase()).or_insert_with(|| (By::Dispatched, Arc::clone(table)));
            }
        }
    }

    fn is_below(&self, name: &str) -> bool {
        suffixes(name).any(|suffix| self.domains.contains(suffix))
    }

    fn find(&self, host: &Host<'_>) -> Result<(By, &Arc<RoutingTable>), AimError> {
        let nobody = || AimError::NoApp(host.to_string());
        let Host::Name(name) = host else {
            return self.fallback.as_ref().map(|table| (By::Bare, table)).ok_or_else(nobody);
        };
        if let Some((by, table)) = self.names.get(name.as_ref()) {
            return Ok((*by, table));
        }
        // The longest name that somebody has wins.
        for suffix in suffixes(name) {
            if let Some(table) = self.below.get(suffix)
                && suffix.len() < name.len()
            {
                return Ok((By::Mapped, table));
            }
            if self.domains.contains(suffix) {
                return self.below_domain(name, &name[..name.len() - suffix.len()]);
            }
        }
        Err(nobody())
    }

    /// `labels` is what stands before one of the server's domains, with the dot.
    fn below_domain(&self, name: &str, labels: &str) -> Result<(By, &Arc<RoutingTable>), AimError> {
        let (label, regional) = host::last_label(labels.trim_end_matches('.'));
        if let Some(table) = self.projects.get(label) {
            return Ok((By::Project, table));
        }
        match &self.fallback {
            Some(table) if !regional => Ok((By::Bare, table)),
            _ if label.is_empty() => Err(AimError::NoApp(name.to_owned())),
            _ => Err(AimError::NoProject(label.to_owned())),
        }
    }
}

/// `a.b.c`, `b.c`, `c`.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |rest| rest.split_once('.').map(|(_, rest)| rest))
}

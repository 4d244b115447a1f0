//! Firewall rules by priority; the one with the lowest number that matches decides.

use std::fmt;
use std::str::FromStr;

use model::ids::AppId;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::StoreError;
use super::row::{parsed, text};
use super::{Change, Result, View};

/// Allow or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Let in.
    Allow,
    /// Turned away.
    Deny,
}

impl Action {
    /// As the Admin API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ALLOW" => Ok(Self::Allow),
            "DENY" => Ok(Self::Deny),
            _ => Err(format!("`{text}` is no action")),
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirewallRow {
    /// 1 to 2147483647, which is the default rule.
    pub priority: i32,
    /// What happens.
    pub action: Action,
    /// An address, a range in CIDR notation, or `*`.
    pub source_range: String,
    /// The owner's note.
    pub description: String,
}

impl FirewallRow {
    /// The priority of the rule that cannot be removed.
    pub const DEFAULT: i32 = i32::MAX;
}

const COLUMNS: &str = "SELECT priority, action, source, description FROM firewall";

fn rule(row: &Row<'_>) -> Result<FirewallRow> {
    Ok(FirewallRow { priority: row.get(0)?, action: parsed(row, 1)?, source_range: text(row, 2)?, description: text(row, 3)? })
}

fn name(app: &AppId, priority: i32) -> String {
    format!("apps/{app}/firewall/ingressRules/{priority}")
}

impl View<'_> {
    /// An app's rules, most important first.
    pub fn firewall(&self, app: &AppId) -> Result<Vec<FirewallRow>> {
        self.list(&format!("{COLUMNS} WHERE app = ?1 ORDER BY priority"), [app.as_str()], rule)
    }

    /// The rule of a priority.
    pub fn firewall_rule(&self, app: &AppId, priority: i32) -> Result<FirewallRow> {
        let missing = || StoreError::Missing(format!("Firewall rule `{}` was not found.", name(app, priority)));
        self.one(&format!("{COLUMNS} WHERE app = ?1 AND priority = ?2"), params![app.as_str(), priority], rule)?.ok_or_else(missing)
    }
}

impl Change<'_> {
    /// Makes a rule.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one of its priority.
    pub fn create_firewall_rule(&mut self, app: &AppId, rule: &FirewallRow) -> Result<()> {
        if self.firewall(app)?.iter().any(|other| other.priority == rule.priority) {
            return Err(StoreError::Exists(format!("Firewall rule `{}` already exists.", name(app, rule.priority))));
        }
        self.insert_rule(app, rule)?;
        self.touch_app(app)?;
        self.note(Some(app.as_str()), "firewall.create", &name(app, rule.priority), None, Some(&json!(rule)))
    }

    fn insert_rule(&self, app: &AppId, rule: &FirewallRow) -> Result<()> {
        let sql = "INSERT INTO firewall (app, priority, action, source, description) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.run(sql, params![app.as_str(), rule.priority, rule.action.as_str(), rule.source_range, rule.description])?;
        Ok(())
    }

    /// Replaces the rule of priority `old`, whose priority may change.
    pub fn put_firewall_rule(&mut self, app: &AppId, old: i32, rule: &FirewallRow) -> Result<()> {
        let before = self.firewall_rule(app, old)?;
        if old != rule.priority && self.firewall(app)?.iter().any(|other| other.priority == rule.priority) {
            return Err(StoreError::Exists(format!("Firewall rule `{}` already exists.", name(app, rule.priority))));
        }
        self.run("DELETE FROM firewall WHERE app = ?1 AND priority = ?2", params![app.as_str(), old])?;
        self.insert_rule(app, rule)?;
        self.touch_app(app)?;
        self.note(Some(app.as_str()), "firewall.patch", &name(app, old), Some(&json!(before)), Some(&json!(rule)))
    }

    /// Removes a rule.
    pub fn delete_firewall_rule(&mut self, app: &AppId, priority: i32) -> Result<()> {
        let before = self.firewall_rule(app, priority)?;
        self.run("DELETE FROM firewall WHERE app = ?1 AND priority = ?2", params![app.as_str(), priority])?;
        self.touch_app(app)?;
        self.note(Some(app.as_str()), "firewall.delete", &name(app, priority), Some(&json!(before)), None)
    }

    /// Replaces all rules.
    pub fn put_firewall(&mut self, app: &AppId, rules: &[FirewallRow]) -> Result<()> {
        let before = self.firewall(app)?;
        self.run("DELETE FROM firewall WHERE app = ?1", [app.as_str()])?;
        for rule in rules {
            self.insert_rule(app, rule)?;
        }
        self.touch_app(app)?;
        let (before, after): (Value, Value) = (json!(before), json!(rules));
        self.note(Some(app.as_str()), "firewall.batchUpdate", &format!("apps/{app}/firewall/ingressRules"), Some(&before), Some(&after))
    }

    /// The rule that every app is born with (recorded from Google, reference/adminapi/semantics.md).
    pub(super) fn put_default_rule(&mut self, app: &AppId) -> Result<()> {
        let rule = FirewallRow {
            priority: FirewallRow::DEFAULT,
            action: Action::Allow,
            source_range: "*".to_owned(),
            description: "The default action.".to_owned(),
        };
        self.insert_rule(app, &rule)
    }
}

//! `apps.firewall.ingressRules`: who may connect. These change at once, without an operation.

use std::net::IpAddr;

use ipnet::IpNet;
use model::ids::AppId;
use serde_json::{Map, Value, json};
use store::control::{Action, FirewallRow};

use super::ask::Ask;
use super::page::Paging;
use super::schema::{BATCH_UPDATE_INGRESS_RULES_REQUEST, BATCH_UPDATE_INGRESS_RULES_RESPONSE, FIREWALL_RULE, LIST_INGRESS_RULES_RESPONSE};
use super::{Answer, Answered, Api};
use crate::status::{Code, FieldViolation, Status};

/// Rules of an app (discovery document, `batchUpdate`: the default rule included).
const MOST_RULES: usize = 1_000;
/// Characters of a note (discovery document).
const LONGEST_NOTE: usize = 400;

fn shown(rule: &FirewallRow) -> Value {
    json!({"priority": rule.priority, "action": rule.action.as_str(), "sourceRange": rule.source_range, "description": rule.description})
}

/// Reads a rule in canonical form; everything that is wrong with it, at `path`.
fn read(body: &Map<String, Value>, path: &str) -> Result<FirewallRow, Vec<FieldViolation>> {
    let mut wrong = Vec::new();
    let priority = body.get("priority").and_then(Value::as_i64).and_then(|priority| i32::try_from(priority).ok());
    let priority = priority.filter(|priority| *priority >= 1);
    if priority.is_none() {
        wrong.push(FieldViolation::new(format!("{path}.priority"), "a priority lies between 1 and 2147483647"));
    }
    let action = match body.get("action").and_then(Value::as_str) {
        Some("ALLOW") => Action::Allow,
        Some("DENY") => Action::Deny,
        _ => {
            wrong.push(FieldViolation::new(format!("{path}.action"), "the action is ALLOW or DENY"));
            Action::Deny
        }
    };
    let source = body.get("sourceRange").and_then(Value::as_str).unwrap_or_default();
    if range(source).is_none() {
        let why = format!("`{source}` is not an address or a range of addresses, such as \"192.0.2.0/24\", \"2001:db8::/32\" or \"*\"");
        wrong.push(FieldViolation::new(format!("{path}.sourceRange"), why));
    }
    let description = body.get("description").and_then(Value::as_str).unwrap_or_default();
    if description.chars().count() > LONGEST_NOTE {
        wrong.push(FieldViolation::new(format!("{path}.description"), format!("a description has at most {LONGEST_NOTE} characters")));
    }
    if priority == Some(FirewallRow::DEFAULT) && source != "*" {
        wrong.push(FieldViolation::new(format!("{path}.sourceRange"), "the default rule (priority 2147483647) is for `*`"));
    }
    match priority {
        Some(priority) if wrong.is_empty() => {
            Ok(FirewallRow { priority, action, source_range: source.to_owned(), description: description.to_owned() })
        }
        _ => Err(wrong),
    }
}

/// Whom a rule concerns: two networks for `*`.
fn range(text: &str) -> Option<Vec<IpNet>> {
    if text == "*" {
        return Some(vec!["0.0.0.0/0".parse().ok()?, "::/0".parse().ok()?]);
    }
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    // Bits behind the prefix would say something that is not meant.
    (net.trunc() == net).then(|| vec![net])
}

impl Api {
    fn find_rules(&self, app: &AppId) -> Result<Vec<FirewallRow>, Status> {
        Ok(self.store().read(|view| view.app(app.as_str()).and_then(|_| view.firewall(app)))?)
    }

    fn find_rule(&self, app: &AppId, id: &str) -> Result<FirewallRow, Status> {
        let id = if id == "default" { FirewallRow::DEFAULT } else { id.parse().unwrap_or(0) };
        Ok(self.store().read(|view| view.app(app.as_str()).and_then(|_| view.firewall_rule(app, id)))?)
    }

    pub(crate) fn rules(&self, app: &AppId, ask: &Ask) -> Answered {
        let mut rules = self.find_rules(app)?;
        let matching = ask.query.get("matchingAddress").unwrap_or_default();
        if !matching.is_empty() {
            let wrong = || Status::field("matchingAddress", format!("`{matching}` is not an IP address."));
            let address: IpAddr = matching.parse().map_err(|_| wrong())?;
            let address = address.to_canonical();
            rules.retain(|rule| range(&rule.source_range).is_some_and(|nets| nets.iter().any(|net| net.contains(&address))));
        }
        let paging = Paging::read(&ask.query, &format!("firewall of {app} {matching}"))?;
        let (page, next) = paging.slice(rules, |rule| rule.priority.to_string());
        let shown: Vec<Value> = page.iter().map(shown).collect();
        Ok(Answer::Resource(json!({"ingressRules": shown, "nextPageToken": next}), &LIST_INGRESS_RULES_RESPONSE))
    }

    pub(crate) fn rule(&self, app: &AppId, id: &str) -> Answered {
        Ok(Answer::Resource(shown(&self.find_rule(app, id)?), &FIREWALL_RULE))
    }

    pub(crate) fn create_rule(&self, app: &AppId, ask: &Ask) -> Answered {
        let rules = self.find_rules(app)?;
        let rule = read(&ask.message(&FIREWALL_RULE, "rule")?, "rule").map_err(|wrong| Status::fields(&wrong))?;
        if rules.len() >= MOST_RULES {
            return Err(Status::new(Code::ResourceExhausted, format!("An application has at most {MOST_RULES} firewall rules.")));
        }
        self.store().change(&ask.caller.actor(), |change| change.create_firewall_rule(app, &rule))?;
        Ok(Answer::Resource(shown(&rule), &FIREWALL_RULE))
    }

    pub(crate) fn patch_rule(&self, app: &AppId, id: &str, ask: &Ask) -> Answered {
        let body = ask.message(&FIREWALL_RULE, "rule")?;
        let old = self.find_rule(app, id)?;
        let mask = ask.mask(&FIREWALL_RULE, false)?;
        let Value::Object(mut fields) = shown(&old) else { return Err(Status::internal()) };
        if mask.is_empty() {
            fields.extend(body);
        } else {
            mask.apply(&body, &mut fields);
        }
        let new = read(&fields, "rule").map_err(|wrong| Status::fields(&wrong))?;
        if old.priority == FirewallRow::DEFAULT && new.priority != old.priority {
            return Err(Status::field("rule.priority", "The default rule keeps its priority."));
        }
        self.store().change(&ask.caller.actor(), |change| change.put_firewall_rule(app, old.priority, &new))?;
        Ok(Answer::Resource(shown(&new), &FIREWALL_RULE))
    }

    pub(crate) fn delete_rule(&self, app: &AppId, id: &str, ask: &Ask) -> Answered {
        let old = self.find_rule(app, id)?;
        if old.priority == FirewallRow::DEFAULT {
            return Err(Status::invalid("The default firewall rule cannot be deleted; change its action instead."));
        }
        self.store().change(&ask.caller.actor(), |change| change.delete_firewall_rule(app, old.priority))?;
        Ok(Answer::Empty)
    }

    pub(crate) fn replace_rules(&self, app: &AppId, ask: &Ask) -> Answered {
        self.find_rules(app)?;
        let body = ask.message(&BATCH_UPDATE_INGRESS_RULES_REQUEST, "request")?;
        let (mut rules, mut wrong) = (Vec::new(), Vec::new());
        for (at, rule) in body.get("ingressRules").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let path = format!("request.ingressRules[{at}]");
            match rule.as_object().map(|rule| read(rule, &path)) {
                Some(Ok(rule)) => {
                    let rule: FirewallRow = rule;
                    if rules.iter().any(|other: &FirewallRow| other.priority == rule.priority) {
                        wrong.push(FieldViolation::new(format!("{path}.priority"), format!("priority {} is there twice", rule.priority)));
                    }
                    rules.push(rule);
                }
                Some(Err(found)) => wrong.extend(found),
                None => {}
            }
        }
        if rules.len() > MOST_RULES {
            wrong.push(FieldViolation::new(
                "request.ingressRules",
                format!("{} rules; an application has at most {MOST_RULES}", rules.len()),
            ));
        }
        if !wrong.is_empty() {
            wrong.truncate(50);
            return Err(Status::fields(&wrong));
        }
        if !rules.iter().any(|rule| rule.priority == FirewallRow::DEFAULT) {
            let description = "The default action.".to_owned();
            rules.push(FirewallRow { priority: FirewallRow::DEFAULT, action: Action::Allow, source_range: "*".into(), description });
        }
        rules.sort_by_key(|rule| rule.priority);
        self.store().change(&ask.caller.actor(), |change| change.put_firewall(app, &rules))?;
        let shown: Vec<Value> = rules.iter().map(shown).collect();
        Ok(Answer::Resource(json!({"ingressRules": shown}), &BATCH_UPDATE_INGRESS_RULES_RESPONSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_rules_are_checked() {
        let read = |value: Value| read(value.as_object().expect("an object"), "rule");
        let good = json!({"priority": 10, "action": "DENY", "sourceRange": "192.0.2.0/24", "description": "x"});
        assert_eq!(read(good.clone()).map(|rule| shown(&rule)), Ok(good));
        assert!(read(json!({"priority": 10, "action": "ALLOW", "sourceRange": "2001:db8::1"})).is_ok());
        let wrong = read(json!({"priority": 0, "sourceRange": "192.0.2.1/24", "description": "x".repeat(401)})).expect_err("mistakes");
        let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field.as_str()).collect();
        assert_eq!(fields, ["rule.priority", "rule.action", "rule.sourceRange", "rule.description"]);
        assert!(read(json!({"priority": 2_147_483_647, "action": "DENY", "sourceRange": "10.0.0.0/8"})).is_err());
    }
}

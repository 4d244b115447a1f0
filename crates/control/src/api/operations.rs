//! `apps.operations`: how far changes are.

use model::ids::AppId;
use serde_json::{Map, Value, json};
use store::control::{Operation, Outcome};

use super::ask::Ask;
use super::page::Paging;
use super::schema::{LIST_OPERATIONS_RESPONSE, OPERATION};
use super::{Answer, Answered, Api, millisecond};
use crate::status::Status;

/// An operation as clients see it.
fn shown(operation: &Operation) -> Value {
    let mut metadata: Map<String, Value> = operation.extra.clone();
    metadata.insert("@type".into(), "type.googleapis.com/google.appengine.v1.OperationMetadataV1".into());
    metadata.insert("method".into(), operation.method.as_str().into());
    metadata.insert("target".into(), operation.target.as_str().into());
    metadata.insert("user".into(), operation.user.as_str().into());
    metadata.insert("insertTime".into(), millisecond(operation.inserted).into());
    if let Some(ended) = operation.ended {
        metadata.insert("endTime".into(), millisecond(ended).into());
    }
    if !operation.message.is_empty() {
        metadata.insert("ephemeralMessage".into(), operation.message.as_str().into());
    }
    if !operation.warnings.is_empty() {
        metadata.insert("warning".into(), json!(operation.warnings));
    }
    let mut shown = json!({"name": operation.name(), "metadata": metadata});
    match &operation.outcome {
        None => {}
        Some(Outcome::Done(response)) => {
            shown["done"] = true.into();
            shown["response"] = response.clone();
        }
        Some(Outcome::Failed(failure)) => {
            shown["done"] = true.into();
            shown["error"] = json!({"code": failure.code, "message": failure.message});
            if !failure.details.is_empty() {
                shown["error"]["details"] = Value::Array(failure.details.clone());
            }
        }
    }
    shown
}

impl Api {
    pub(crate) fn operation(&self, app: &AppId, id: &str) -> Answered {
        let operation = self.store().read(|view| view.app(app.as_str()).and_then(|_| view.operation(app, id)))?;
        Ok(Answer::Resource(self.operation_shown(&operation), &OPERATION))
    }

    /// An operation with the resource that it made or changed as that is now.
    pub(crate) fn operation_shown(&self, operation: &Operation) -> Value {
        let mut shown = shown(operation);
        let found = shown.get("response").and_then(|response| self.resource_of(&operation.app, response));
        if let (Some(Value::Object(found)), Some(response)) = (found, shown["response"].as_object_mut()) {
            response.extend(found);
        }
        shown
    }

    /// The resource that a response names; `None` if it is gone since, or there is none.
    fn resource_of(&self, app: &AppId, response: &Value) -> Option<Value> {
        let kind = response["@type"].as_str()?.rsplit('.').next()?;
        let name: Vec<&str> = response["name"].as_str()?.split('/').collect();
        let store = self.store();
        match (kind, name.as_slice()) {
            ("Application", _) => store.read(|view| view.app(app.as_str())).ok().map(|app| self.shown_app(&app)),
            ("Service", [_, _, _, service]) => {
                let found = store.read(|view| view.find_service(app, service)).ok()??;
                Some(super::services::shown(&found))
            }
            ("Version", [_, _, _, service, _, version]) => {
                let service = service.parse().ok()?;
                let found = store.read(|view| view.find_version(app, &service, version)).ok()??;
                Some(self.shown_version(&found, false))
            }
            ("DomainMapping", [_, _, _, domain]) => {
                let found = store.read(|view| view.find_domain(app, domain)).ok()??;
                Some(self.shown_domain(&found))
            }
            _ => None,
        }
    }

    pub(crate) fn operations(&self, app: &AppId, ask: &Ask) -> Answered {
        let filter = ask.query.get("filter").unwrap_or_default();
        let done = done_filter(filter)?;
        let paging = Paging::read(&ask.query, &format!("operations of {app} {filter}"))?;
        let page = paging.store();
        let mut found = self.store().read(|view| view.app(app.as_str()).and_then(|_| view.operations(app, done, &page)))?;
        let next = paging.cut(&mut found, |operation| operation.seq.to_string());
        let operations: Vec<Value> = found.iter().map(|operation| self.operation_shown(operation)).collect();
        Ok(Answer::Resource(json!({"operations": operations, "nextPageToken": next}), &LIST_OPERATIONS_RESPONSE))
    }
}

/// `done:false`, `done:true`, `done=true`; nothing else is asked by the clients that are known.
fn done_filter(filter: &str) -> Result<Option<bool>, Status> {
    let filter = filter.trim().trim_matches(|c| c == '(' || c == ')');
    if filter.is_empty() {
        return Ok(None);
    }
    let (name, value) = filter.split_once([':', '=']).unwrap_or((filter, ""));
    match (name.trim(), value.trim().trim_matches('"').to_ascii_lowercase().as_str()) {
        ("done", "true") => Ok(Some(true)),
        ("done", "false") => Ok(Some(false)),
        _ => Err(Status::field(
            "filter",
            format!("The filter `{filter}` is not understood; operations are filtered by `done:true` or `done:false`."),
        )),
    }
}

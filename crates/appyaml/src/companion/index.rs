//! index.yaml.

use std::collections::HashMap;

use model::index::{Index, IndexOrder, IndexProperty};

use super::{Companion, items};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned};
use crate::source::{FileId, Sources, Span};
use crate::yaml::Node;

/// Reads the indexes.
pub(crate) fn read(file: FileId, sources: &Sources, report: &mut Report) -> Vec<Index> {
    items(file, sources, ("index.yaml", Companion::Index, &[]), report, |_, list, report| {
        let mut seen: HashMap<Index, Span> = HashMap::new();
        let mut indexes = Vec::new();
        for item in list {
            let Some(index) = index(item, report) else { continue };
            if let Some(first) = seen.get(&index.value) {
                let message = format!("this index of `{}` is there already", index.value.kind);
                report.push(Diagnostic::new(&code::A0901, index.span, message).related(*first, "the first time"));
                continue;
            }
            seen.insert(index.value.clone(), index.span);
            indexes.push(index.value);
        }
        indexes
    })
}

fn index(item: &Node, report: &mut Report) -> Option<Spanned<Index>> {
    let fields = Fields::open(item, "an index", &["kind", "ancestor", "properties"], report)?;
    fields.require("kind", "for example `kind: Task`", report);
    let ancestor = fields.boolean("ancestor", report).is_some_and(|found| found.value);
    let properties = fields.list("properties", report).unwrap_or_default().iter().filter_map(|item| property(item, report)).collect();
    let properties: Vec<(Spanned<IndexProperty>, bool)> = properties;
    let geospatial = properties.iter().any(|(property, _)| property.value.order == IndexOrder::Geospatial);
    for (property, _) in properties.iter().filter(|(_, directed)| geospatial && *directed) {
        let message = "a geospatial index has no direction";
        report.push(Diagnostic::new(&code::A0902, property.span, message).help("remove `direction`"));
    }
    let kind = fields.text("kind", report)?;
    let properties = properties.into_iter().map(|(property, _)| property.value).collect();
    Some(Spanned { value: Index { kind: kind.value, ancestor, properties }, span: kind.span })
}

/// A property, and whether it names a direction.
fn property(item: &Node, report: &mut Report) -> Option<(Spanned<IndexProperty>, bool)> {
    let fields = Fields::open(item, "a property", &["name", "direction", "mode"], report)?;
    fields.require("name", "for example `name: date`", report);
    let directions = [
        ("asc", IndexOrder::Ascending),
        ("desc", IndexOrder::Descending),
        ("ascending", IndexOrder::Ascending),
        ("descending", IndexOrder::Descending),
    ];
    let direction = fields.word("direction", &directions, report);
    let mode = fields.word("mode", &[("geospatial", IndexOrder::Geospatial)], report);
    let directed = direction.is_some();
    let order = mode.or(direction).map_or_else(IndexOrder::default, |found| found.value);
    let name = fields.filled("name", report)?;
    Some((Spanned { value: IndexProperty { name: name.value, order }, span: name.span }, directed))
}

//! Turns our protocol definitions into Rust, without `protoc`: the messages, and which of their fields are required (prost does not check that).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use protox::prost_reflect::prost_types::{DescriptorProto, FileDescriptorSet};

/// Every file of `proto/`, one a service.
const FILES: [&str; 12] = [
    "remote_api",
    "memcache",
    "modules",
    "user",
    "capability",
    "app_identity",
    "system",
    "urlfetch",
    "mail",
    "logservice",
    "taskqueue",
    "stored_task",
];

/// `FieldDescriptorProto.Label.LABEL_REQUIRED`
const REQUIRED: i32 = 2;
/// `FieldDescriptorProto.Type.TYPE_GROUP` and `TYPE_MESSAGE`
const MESSAGES: [i32; 2] = [10, 11];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files: Vec<String> = FILES.iter().map(|name| format!("proto/{name}.proto")).collect();
    let compiled = protox::compile(&files, ["proto"])?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("shapes.rs"), shapes(&compiled))?;
    prost_build::Config::new().bytes(["."]).enable_type_names().compile_fds(compiled)?;
    Ok(())
}

/// The fields of a message that matter here.
#[derive(Default)]
struct Fields {
    required: Vec<(i32, String)>,
    /// Field and the full name of its message.
    nested: Vec<(i32, String)>,
    /// All of them.
    count: usize,
}

/// A static `Shape` for each message, and a function that finds one.
fn shapes(compiled: &FileDescriptorSet) -> String {
    let mut all = BTreeMap::new();
    for file in &compiled.file {
        for message in &file.message_type {
            collect(&format!(".{}", file.package()), message, &mut all);
        }
    }
    let name = |full: &str| format!("S{}", full.replace('.', "_").to_uppercase());
    let mut text = String::new();
    let mut arms = String::new();
    for (full, fields) in &all {
        let required: Vec<String> = fields.required.iter().map(|(number, field)| format!("({number}, {field:?})")).collect();
        let nested: Vec<String> = fields.nested.iter().map(|(number, other)| format!("({number}, &{})", name(other))).collect();
        let (required, nested) = (required.join(", "), nested.join(", "));
        let short = full.split('.').skip(2).collect::<Vec<_>>().join(".");
        let made = writeln!(
            text,
            "static {}: Shape = Shape {{ name: {short:?}, required: &[{required}], nested: &[{nested}], fields: {} }};",
            name(full),
            fields.count
        );
        let package = full.split('.').nth(1).unwrap_or_default();
        let found = writeln!(arms, "        ({package:?}, {short:?}) => &{},", name(full));
        made.and(found).unwrap_or_default();
    }
    format!(
        "{text}\nfn of(package: &str, name: &str) -> Option<&'static Shape> {{\n    Some(match (package, name) {{\n{arms}        _ => return None,\n    }})\n}}\n"
    )
}

fn collect(scope: &str, message: &DescriptorProto, all: &mut BTreeMap<String, Fields>) {
    let full = format!("{scope}.{}", message.name());
    let mut fields = Fields { count: message.field.len(), ..Fields::default() };
    for field in &message.field {
        if field.label == Some(REQUIRED) {
            fields.required.push((field.number(), field.name().to_owned()));
        }
        if field.r#type.is_some_and(|kind| MESSAGES.contains(&kind)) {
            fields.nested.push((field.number(), field.type_name().to_owned()));
        }
    }
    all.insert(full.clone(), fields);
    for inner in &message.nested_type {
        collect(&full, inner, all);
    }
}

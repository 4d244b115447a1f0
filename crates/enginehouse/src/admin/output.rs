//! How resources are printed: as a table for people, or whole as JSON, YAML or CSV for programs.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::str::FromStr;

use clap::Args;
use serde_json::Value;

use super::yaml;
use crate::ui::{BOLD, DIM, GREEN, RED, Ui, YELLOW};

/// How something is printed. Paths lead into the resource: `split.allocations`, `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// Columns, those of the command or these paths.
    Table(Option<Vec<String>>),
    /// As the API has it.
    Json,
    /// The same, easier on the eye.
    Yaml,
    /// Separated by commas, with a line of names.
    Csv(Option<Vec<String>>),
    /// Values separated by tabs, nothing else.
    Value(Vec<String>),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is none of table, json, yaml, csv, value(PATH,…); table and csv may name paths too: csv(id,createTime)");
        let (name, paths) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let paths: Vec<String> = rest.strip_suffix(')').ok_or_else(wrong)?.split(',').map(|path| path.trim().to_owned()).collect();
                if paths.iter().any(String::is_empty) {
                    return Err(wrong());
                }
                (name, Some(paths))
            }
        };
        match (name, paths) {
            ("table", paths) => Ok(Self::Table(paths)),
            ("json", None) => Ok(Self::Json),
            ("yaml", None) => Ok(Self::Yaml),
            ("csv", paths) => Ok(Self::Csv(paths)),
            ("value", Some(paths)) => Ok(Self::Value(paths)),
            _ => Err(wrong()),
        }
    }
}

/// The flags of commands that list.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Listing {
    /// How it is printed: table, json, yaml, csv or value(PATH,…); table(PATH,…) and csv(PATH,…) choose columns
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: Format,
    /// At most so many entries
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<usize>,
    /// Sort by a column or a path; `~` in front turns the order round
    #[arg(long, value_name = "[~]COLUMN")]
    pub(crate) sort_by: Option<String>,
}

/// The flag of commands that show one thing.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Showing {
    /// How it is printed: yaml, json, csv(PATH,…), value(PATH,…) or table(PATH,…)
    #[arg(long, default_value = "yaml", value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// A column of a table: its name, the path of its value, and how that is shown.
pub(crate) type Column = (&'static str, &'static str, fn(&Value) -> String);

/// Prints a list. `nothing` is said to people if there is nothing.
pub(crate) fn list(ui: &Ui, mut rows: Vec<Value>, columns: &[Column], listing: &Listing, nothing: &str) {
    if let Some(by) = &listing.sort_by {
        sort(&mut rows, columns, by);
    }
    rows.truncate(listing.limit.unwrap_or(usize::MAX));
    if rows.is_empty() && matches!(listing.format, Format::Table(_)) {
        return ui.status(nothing);
    }
    ui.data(&render(&Value::Array(rows), columns, &listing.format));
}

/// Prints one resource.
pub(crate) fn show(ui: &Ui, resource: &Value, showing: &Showing) {
    ui.data(&render(resource, &[], &showing.format));
}

fn render(what: &Value, columns: &[Column], format: &Format) -> String {
    let one = std::slice::from_ref(what);
    let rows = what.as_array().map_or(one, Vec::as_slice);
    match format {
        Format::Json => format!("{what:#}\n"),
        Format::Yaml => yaml::text(what),
        Format::Table(None) if columns.is_empty() => yaml::text(what),
        Format::Table(None) => {
            let heads: Vec<&str> = columns.iter().map(|column| column.0).collect();
            table(&heads, &cells(rows, columns))
        }
        Format::Table(Some(paths)) => {
            let heads: Vec<String> = paths.iter().map(|path| path.to_uppercase()).collect();
            table(&heads, &plain(rows, paths))
        }
        Format::Csv(paths) => {
            let paths = paths.clone().unwrap_or_else(|| columns.iter().map(|column| column.1.to_owned()).collect());
            let head = paths.iter().map(|path| quoted(path)).collect::<Vec<_>>().join(",");
            let lines = plain(rows, &paths).into_iter().map(|row| row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
            std::iter::once(head).chain(lines).fold(String::new(), |text, line| text + &line + "\n")
        }
        Format::Value(paths) => plain(rows, paths).into_iter().fold(String::new(), |text, row| text + &row.join("\t") + "\n"),
    }
}

fn cells(rows: &[Value], columns: &[Column]) -> Vec<Vec<String>> {
    rows.iter().map(|row| columns.iter().map(|(_, path, shown)| shown(at(row, path))).collect()).collect()
}

fn plain(rows: &[Value], paths: &[String]) -> Vec<Vec<String>> {
    rows.iter().map(|row| paths.iter().map(|path| text(at(row, path))).collect()).collect()
}

/// The value at a path; null if there is none.
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    // A key may itself have dots, as versions and labels in maps do not, but files of a deployment do.
    if let Some(found) = value.get(path) {
        return found;
    }
    match path.split_once('.') {
        Some((first, rest)) => value.get(first).map_or(&Value::Null, |inner| at(inner, rest)),
        None => &Value::Null,
    }
}

/// A value in one line.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => one_line(text),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(";"),
        Value::Object(map) => map.iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(";"),
        other => other.to_string(),
    }
}

/// Without anything that could move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As it is, or a dash.
pub(crate) fn or_dash(value: &Value) -> String {
    let text = text(value);
    if text.is_empty() { format!("{DIM}-{DIM:#}") } else { text }
}

/// A point in time, to the second.
pub(crate) fn time(value: &Value) -> String {
    let parsed = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    parsed.map_or_else(|| or_dash(value), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// SERVING, STOPPED and their kind, coloured.
pub(crate) fn state(value: &Value) -> String {
    let text = or_dash(value);
    let style = match text.as_str() {
        "SERVING" | "DONE" | "ALLOW" | "READY" | "OK" => GREEN,
        "STOPPED" | "RUNNING" | "PENDING" => YELLOW,
        "FAILED" | "DENY" => RED,
        _ => return text,
    };
    format!("{style}{text}{style:#}")
}

/// Bytes, in the unit that suits.
pub(crate) fn bytes(value: &Value) -> String {
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.map_or_else(|| or_dash(value), size)
}

/// `1.4 MB`
pub(crate) fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let scaled = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", scaled(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", scaled(1_000_000)),
        _ => format!("{:.2} GB", scaled(1_000_000_000)),
    }
}

/// A fraction as a percentage: `12.5 %`.
pub(crate) fn percent(value: &Value) -> String {
    match value.as_f64() {
        Some(share) if share > 0.0 => format!("{} %", (share * 1000.0).round() / 10.0),
        _ => format!("{DIM}-{DIM:#}"),
    }
}

/// Characters that a terminal shows: escapes of colours are none.
fn width(cell: &str) -> usize {
    let mut inside = false;
    let shown = cell.chars().filter(|c| {
        if inside {
            inside = *c != 'm';
            return false;
        }
        inside = *c == '\u{1b}';
        !inside
    });
    shown.count()
}

fn table(heads: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    let columns = heads.len();
    let widest = |at: usize| rows.iter().map(|row| width(&row[at])).chain([width(heads[at].as_ref())]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    // Numbers stand below each other.
    let is_number = |at: usize| {
        let mut cells = rows.iter().map(|row| row[at].as_str()).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some()
            && cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit()) && cell.trim_end_matches(" %").parse::<f64>().is_ok())
    };
    let right: Vec<bool> = (0..columns).map(is_number).collect();
    let mut text = String::new();
    let mut line = |cells: Vec<String>| {
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let fill = " ".repeat(widths[at].saturating_sub(width(cell)));
            let _ = if right[at] { write!(line, "{fill}{cell}  ") } else { write!(line, "{cell}{fill}  ") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(heads.iter().map(|head| format!("{BOLD}{}{BOLD:#}", head.as_ref())).collect());
    for row in rows {
        line(row.clone());
    }
    text
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn sort(rows: &mut [Value], columns: &[Column], by: &str) {
    let (backwards, name) = by.strip_prefix('~').map_or((false, by), |name| (true, name));
    let path = columns.iter().find(|column| column.0.eq_ignore_ascii_case(name)).map_or(name, |column| column.1);
    rows.sort_by(|a, b| {
        let order = compare(at(a, path), at(b, path));
        if backwards { order.reverse() } else { order }
    });
}

fn compare(a: &Value, b: &Value) -> Ordering {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse::<f64>().ok()));
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => text(a).cmp(&text(b)),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    const COLUMNS: [Column; 3] = [("VERSION", "id", or_dash), ("TRAFFIC", "traffic", percent), ("STATE", "servingStatus", or_dash)];

    fn rows() -> Value {
        json!([
            {"id": "v1", "traffic": 0.125, "servingStatus": "SERVING", "env": {"a.b": "x, \"y\""}},
            {"id": "long-name", "traffic": 0, "servingStatus": "STOPPED"},
        ])
    }

    fn printed(format: &str) -> String {
        let text = render(&rows(), &COLUMNS, &format.parse().expect("a format"));
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn tables_are_aligned() {
        expect![[r"
            VERSION    TRAFFIC  STATE
            v1         12.5 %   SERVING
            long-name  -        STOPPED
        "]]
        .assert_eq(&printed("table"));
        expect![[r"
            ID         TRAFFIC
            v1           0.125
            long-name        0
        "]]
        .assert_eq(&printed("table(id,traffic)"));
    }

    #[test]
    fn programs_get_values() {
        assert_eq!(printed("value(id, traffic)"), "v1\t0.125\nlong-name\t0\n");
        assert_eq!(printed("csv(id,env.a.b)"), "id,env.a.b\nv1,\"x, \"\"y\"\"\"\nlong-name,\n");
        assert_eq!(printed("csv"), "id,traffic,servingStatus\nv1,0.125,SERVING\nlong-name,0,STOPPED\n");
        assert_eq!(serde_json::from_str::<Value>(&printed("json")).expect("JSON"), rows());
    }

    #[test]
    fn unknown_formats_are_refused() {
        for bad in ["xml", "value", "value(", "json(id)", "csv(,)", ""] {
            assert!(bad.parse::<Format>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rows_are_sorted_by_column_or_path() {
        let sorted = |by: &str| {
            let mut all = vec![json!({"id": "b", "n": "10"}), json!({"id": "a", "n": "9"})];
            sort(&mut all, &[("NAME", "id", or_dash)], by);
            all.iter().map(|row| row["id"].as_str().unwrap_or_default().to_owned()).collect::<String>()
        };
        assert_eq!((sorted("name"), sorted("~name"), sorted("n"), sorted("~n")), ("ab".into(), "ba".into(), "ab".into(), "ba".into()));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([999, 1_000, 4_200_000, 3_000_000_000].map(size), ["999 B", "1.0 kB", "4.2 MB", "3.00 GB"]);
    }
}

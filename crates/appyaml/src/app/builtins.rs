//! `builtins:` (row Y6): switches for handlers that come with python27, and what each of them adds.

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{self, Spanned, one_of, suggestion};
use crate::scalar::{self, Reading};
use crate::yaml::{Key, Node, Value};

/// What a builtin adds to the handlers.
pub(super) struct Builtin {
    pub(super) name: &'static str,
    /// URL, script, and whether it is for admins only; `None` for a builtin that adds nothing.
    pub(super) handler: Option<(&'static str, &'static str, bool)>,
    /// Whether it comes after app.yaml's own handlers.
    pub(super) tail: bool,
}

/// The builtins of python27. `remote_api` and `appstats` check their callers themselves.
pub(super) const BUILTINS: [Builtin; 6] = [
    Builtin { name: "admin_redirect", handler: Some(("/_ah/admin.*", "google.appengine.ext.admin_redirect.main.APP", false)), tail: false },
    Builtin { name: "appstats", handler: Some(("/_ah/stats.*", "google.appengine.ext.appstats.ui.app", false)), tail: false },
    Builtin { name: "default", handler: None, tail: false },
    Builtin { name: "deferred", handler: Some(("/_ah/queue/deferred", "google.appengine.ext.deferred.application", true)), tail: false },
    Builtin { name: "django_wsgi", handler: Some(("/.*", "google.appengine.ext.django.main.app", false)), tail: true },
    Builtin {
        name: "remote_api",
        handler: Some(("/_ah/remote_api(/.*)?", "google.appengine.ext.remote_api.handler.application", false)),
        tail: false,
    },
];

/// The builtin whose handler runs `script`.
pub(crate) fn of_script(script: &str) -> Option<&'static str> {
    BUILTINS.iter().find(|builtin| builtin.handler.is_some_and(|(_, own, _)| own == script)).map(|builtin| builtin.name)
}

/// Where the documents say that builtins lie, so that `includes: [$PYTHON_LIB/…/deferred/]` is the same as `builtins: [deferred: on]`.
const LIBRARY_PREFIX: &str = "$PYTHON_LIB/google/appengine/ext/builtins/";

/// One switch as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Switch {
    pub(super) name: &'static str,
    pub(super) on: bool,
}

/// The builtin that an include path names.
pub(super) fn of_include(path: &str) -> Option<&'static Builtin> {
    let name = path.strip_prefix(LIBRARY_PREFIX)?.split('/').next()?;
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

/// Reads the list.
pub(super) fn read(items: &[Node], report: &mut Report) -> Vec<Spanned<Switch>> {
    let mut switches: Vec<Spanned<Switch>> = Vec::new();
    for item in items {
        let Some(entries) = fields::map(item, "an item of builtins", report) else { continue };
        if let [_, (second, _), ..] = entries {
            let message = "an item of `builtins` names one builtin";
            let help = "put a `- ` before each of them";
            report.push(Diagnostic::new(&code::A0404, second.span, message).label("the second one").help(help));
            continue;
        }
        let [(key, value)] = entries else { continue };
        let Some(switch) = read_switch(key, value, report) else { continue };
        if let Some(first) = switches.iter().find(|other| other.value.name == switch.value.name) {
            let message = format!("the builtin `{}` is named twice", switch.value.name);
            report.push(Diagnostic::new(&code::A0405, switch.span, message).related(first.span, "the first time"));
            continue;
        }
        switches.push(switch);
    }
    switches
}

fn read_switch(key: &Key, value: &Node, report: &mut Report) -> Option<Spanned<Switch>> {
    let Some(builtin) = BUILTINS.iter().find(|builtin| builtin.name == key.text) else {
        let names = || BUILTINS.iter().map(|builtin| builtin.name);
        let help = suggestion(&key.text, names()).unwrap_or_else(|| format!("the builtins are {}", one_of(names())));
        report.push(Diagnostic::new(&code::A0403, key.span, format!("there is no builtin `{}`", key.text)).help(help));
        return None;
    };
    let on = if let Value::Scalar(scalar) = &value.value {
        match scalar::read(scalar) {
            Reading::Bool(on) => on,
            // The SDK's aliases beside YAML's own words.
            _ if ["on", "yes", "y", "True", "t", "1", "true"].contains(&scalar.text.as_str()) => true,
            _ if ["off", "no", "n", "False", "f", "0", "false"].contains(&scalar.text.as_str()) => false,
            _ => {
                let message = format!("`{}` is `on` or `off`, not `{}`", key.text, scalar.text);
                report.push(Diagnostic::new(&code::A0014, value.span, message));
                return None;
            }
        }
    } else {
        fields::wrong_type(value, &key.text, "`on` or `off`", report);
        return None;
    };
    Some(Spanned { value: Switch { name: builtin.name, on }, span: key.span })
}
